//! Commands with planes that are too large, each in sizes that have to be cut.

use furthermore::network::Function;
use furthermore::plan::{Kernel, Reduction};
use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::conv2d::{Conv2dShape, steps_len};
use furthermore_kernels_cpu::convert::{CopyAxis, Rest, StridedCopy};
use furthermore_kernels_cpu::elementwise::Broadcast;
use furthermore_kernels_cpu::pool::{Pool, PoolShape};
use furthermore_kernels_cpu::reduce::Axis;

/// Elements that one binding takes.
pub(super) const MOST: usize = 1024;

/// A command whose operands have so many elements, or words where they are bits.
pub(super) struct Case {
    pub(super) kernel: Kernel,
    pub(super) reads: Vec<usize>,
    pub(super) writes: Vec<usize>,
    /// The place of an operand that is not a tensor of the algebra, among those read and then those
    /// written, and its planes: none of bits.
    pub(super) other: Option<(usize, usize)>,
    /// Elements that one binding takes.
    pub(super) most: usize,
}

pub(super) fn case(kernel: Kernel, reads: &[usize], writes: &[usize]) -> Case {
    Case {
        kernel,
        reads: reads.to_vec(),
        writes: writes.to_vec(),
        other: None,
        most: MOST,
    }
}

/// Four tiles of images, the last of them narrow; a whole one has 1024 elements, and its result 2048.
const IMAGES: Conv2dShape = Conv2dShape {
    batch: 100,
    in_channels: 2,
    out_channels: 4,
    input: [4, 4],
    kernel: [3, 3],
    stride: [1, 1],
    padding: [[1, 1], [1, 1]],
    dilation: [1, 1],
    groups: 1,
};

pub(super) fn products() -> Vec<Case> {
    vec![
        product([1, 70, 24, 20], [false, false], true),
        product([1, 131, 15, 13], [false, true], false),
        product([3, 30, 32, 32], [false, false], true),
        // Products by themselves, and then their rows.
        product([2, 80, 16, 16], [false, false], false),
    ]
}

/// Batch, m, k and n of a product of whose sides each may be transposed.
fn product([batch, m, k, n]: [usize; 4], transposed: [bool; 2], bias: bool) -> Case {
    let shape = MatmulShape {
        batch,
        m,
        k,
        n,
        transpose_a: transposed[0],
        transpose_b: transposed[1],
    };
    let kernel = Kernel::BlockMatmul {
        shape,
        bias,
        activation: bias.then_some(Function::Tanh),
    };
    let mut reads = vec![batch * m * k, batch * k * n];
    reads.extend(bias.then_some(n));
    case(kernel, &reads, &[batch * m * n])
}

/// What parts of these products leave to each other are C's planes in single precision.
pub(super) fn products_of_terms() -> Vec<Case> {
    let (plain, left, right, both) = ([false; 2], [true, false], [false, true], [true; 2]);
    let of_plaintext = |operand, case| Case {
        other: Some((operand, 1)),
        ..case
    };
    vec![
        // Gradients by weights of long batches, then with a result that is too large as well.
        product([1, 3, 1031, 5], left, false),
        of_plaintext(0, product([1, 8, 300, 12], left, false)),
        product([1, 40, 64, 40], left, true),
        // Large weights.
        product([1, 5, 72, 20], plain, true),
        product([1, 3, 131, 13], plain, false),
        product([1, 5, 32, 72], right, true),
        product([1, 3, 13, 131], right, false),
        product([1, 1, 4, 1500], right, true),
        product([1, 6, 200, 8], both, true),
    ]
}

pub(super) fn images() -> Vec<Case> {
    let (shape, window) = (IMAGES, [2, 2]);
    let (len, weights) = (shape.input_len(), shape.weight_len());
    let result = shape.output_len();
    let words = steps_len(shape.output_sizes());
    let pool = PoolShape {
        batch: shape.batch,
        channels: 2,
        input: [4, 4],
        kernel: [3, 3],
        stride: [1, 1],
        padding: [[1, 1], [1, 1]],
        dilation: [1, 1],
        ceil: false,
    };
    let pooled = |steps: bool| {
        let kernel = Kernel::Conv2dPooled {
            shape,
            bias: true,
            window,
        };
        let mut pooled = case(kernel, &[len, weights, 4], &[result / 4]);
        if steps {
            pooled.other = Some((4, 0));
            pooled.writes.push(words);
        }
        pooled
    };
    let by_input = |pooled: Option<[usize; 2]>| {
        let kernel = Kernel::Conv2dGradientInput { shape, pooled };
        match pooled {
            None => case(kernel, &[result, weights], &[len]),
            Some(_) => Case {
                other: Some((2, 0)),
                ..case(kernel, &[result / 4, weights, words], &[len])
            },
        }
    };
    let convolution = Kernel::Conv2d {
        shape,
        bias: true,
        activation: Some(Function::Tanh),
    };
    let (rectified, batch) = (false, shape.batch);
    let maximum = Kernel::Pool {
        pool: Pool::Max,
        shape: pool,
        rectified,
    };
    let gradient = Kernel::PoolGradient {
        pool: Pool::Average,
        shape: pool,
        rectified,
    };
    let tiles = |into| case(Kernel::Tiles { batch, into }, &[len], &[len]);
    let cases = vec![
        case(convolution, &[len, weights, 4], &[result]),
        pooled(false),
        pooled(true),
        by_input(None),
        by_input(Some(window)),
        case(maximum, &[len], &[len]),
        case(gradient, &[len, len], &[len]),
        tiles(true),
        tiles(false),
    ];
    let of_tile = |case| Case { most: 2048, ..case };
    cases.into_iter().map(of_tile).collect()
}

pub(super) fn elements(dim: usize) -> Vec<Case> {
    const LEN: usize = 5003;
    let function = Function::Tanh;
    let meet = |a: &[usize], b: &[usize]| {
        let broadcast = Broadcast::new(a, b).expect("shapes that meet");
        let lens = [broadcast.a_len(), broadcast.b_len()];
        case(Kernel::Multiply { broadcast }, &lens, &[broadcast.len()])
    };
    let broadcast = Broadcast::same(LEN);
    let linear = Kernel::Linear {
        broadcast,
        alpha: 0.5,
        beta: -2.0,
    };
    let constants = Some(vec![0.5, -1.0, 0.25]);
    let matrix = (0..dim * dim).map(|i| 0.25 + (i as f64).sin()).collect();
    let sgd = Kernel::Sgd {
        rate: None,
        momentum: 0.5,
        weight_decay: 0.1,
    };
    let adam = Kernel::Adam {
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-2,
        weight_decay: 0.1,
    };
    vec![
        case(Kernel::FunctionMap { function }, &[LEN], &[LEN]),
        case(Kernel::FunctionMap { function }, &[], &[LEN]),
        case(Kernel::FunctionMapGradient { function }, &[LEN], &[LEN]),
        case(Kernel::PolyMap { constants: None }, &[LEN, 3], &[LEN]),
        case(Kernel::PolyMapGradient { constants }, &[LEN], &[LEN]),
        case(linear, &[LEN, LEN], &[LEN]),
        case(Kernel::Divide { broadcast }, &[LEN, LEN], &[LEN]),
        meet(&[LEN], &[1]),
        meet(&[192, 13], &[13]),
        meet(&[192, 1], &[1, 13]),
        // Places along the outermost axis are too large as well.
        meet(&[2, 1920], &[1920]),
        meet(&[2, 64, 64], &[2, 1, 64]),
        case(Kernel::LinearMap { matrix }, &[LEN], &[LEN]),
        case(sgd, &[LEN], &[LEN, LEN]),
        case(adam, &[LEN], &[LEN, LEN, LEN]),
        case(Kernel::Clip { limit: 0.1 }, &[], &[LEN]),
    ]
}

pub(super) fn rows() -> Vec<Case> {
    let axis = Axis {
        outer: 96,
        length: 3,
        inner: 16,
    };
    let reduce = |reduction| {
        let kernel = Kernel::Reduce { reduction, axis };
        case(kernel, &[axis.full()], &[axis.reduced()])
    };
    let (columns, len) = (13, 13 * 200);
    let softmax = |logarithm| case(Kernel::Softmax { columns, logarithm }, &[len], &[len]);
    let gradient = Kernel::SoftmaxGradient {
        columns,
        logarithm: false,
    };
    let sizes = [7, 16, 32];
    let of_maximum = Kernel::MaxGradient { axis };
    vec![
        reduce(Reduction::Sum),
        reduce(Reduction::Mean),
        reduce(Reduction::Max),
        case(of_maximum, &[axis.full(), axis.reduced()], &[axis.full()]),
        softmax(false),
        softmax(true),
        case(gradient, &[len, len], &[len]),
        case(Kernel::Transpose { sizes }, &[3584], &[3584]),
    ]
}

/// Weights are too large, and channels many.
const WIDE: Conv2dShape = Conv2dShape {
    batch: 70,
    in_channels: 8,
    out_channels: 16,
    input: [1, 1],
    kernel: [3, 3],
    stride: [1, 1],
    padding: [[1, 1], [1, 1]],
    dilation: [1, 1],
    groups: 1,
};

pub(super) fn channels() -> Vec<Case> {
    let grouped = Conv2dShape {
        in_channels: 24,
        out_channels: 48,
        groups: 4,
        ..WIDE
    };
    let few = Conv2dShape {
        batch: 3,
        input: [2, 2],
        ..WIDE
    };
    let convolution = |shape: Conv2dShape| {
        let kernel = Kernel::Conv2d {
            shape,
            bias: true,
            activation: Some(Function::Tanh),
        };
        let lens = [shape.input_len(), shape.weight_len(), shape.out_channels];
        case(kernel, &lens, &[shape.output_len()])
    };
    let by_input = |shape: Conv2dShape, pooled: Option<[usize; 2]>| {
        let kernel = Kernel::Conv2dGradientInput { shape, pooled };
        let (output, weights) = (shape.output_len(), shape.weight_len());
        match pooled {
            None => case(kernel, &[output, weights], &[shape.input_len()]),
            Some(window) => Case {
                other: Some((2, 0)),
                ..case(
                    kernel,
                    &[
                        output / (window[0] * window[1]),
                        weights,
                        steps_len(shape.output_sizes()),
                    ],
                    &[shape.input_len()],
                )
            },
        }
    };
    let by_weights = |shape: Conv2dShape| {
        let kernel = Kernel::Conv2dGradientWeights {
            shape,
            pooled: None,
        };
        let lens = [shape.input_len(), shape.output_len()];
        case(kernel, &lens, &[shape.weight_len()])
    };
    let pooled = |shape: Conv2dShape, window: [usize; 2]| {
        let kernel = Kernel::Conv2dPooled {
            shape,
            bias: true,
            window,
        };
        let reads = [shape.input_len(), shape.weight_len(), shape.out_channels];
        let averages = shape.output_len() / (window[0] * window[1]);
        let words = steps_len(shape.output_sizes());
        Case {
            other: Some((4, 0)),
            ..case(kernel, &reads, &[averages, words])
        }
    };
    let pool = PoolShape {
        batch: 11,
        channels: 10,
        input: [4, 4],
        kernel: [2, 2],
        stride: [1, 1],
        padding: [[0, 0], [0, 0]],
        dilation: [1, 1],
        ceil: false,
    };
    let maximum = Kernel::Pool {
        pool: Pool::Max,
        shape: pool,
        rectified: false,
    };
    let of_bias = Kernel::Conv2dGradientBias {
        sizes: [11, 12, 4, 4],
        pooled: None,
    };
    vec![
        convolution(WIDE),
        convolution(grouped),
        pooled(few, [2, 2]),
        by_input(WIDE, None),
        by_input(few, Some([2, 2])),
        by_input(grouped, None),
        by_weights(few),
        case(maximum, &[pool.input_len()], &[pool.output_len()]),
        case(of_bias, &[11 * 12 * 16], &[12]),
    ]
}

pub(super) fn sums_of_images() -> Vec<Case> {
    let window = [2, 2];
    let odd = Conv2dShape {
        batch: 161,
        in_channels: 3,
        out_channels: 5,
        input: [3, 5],
        padding: [[0, 0], [1, 0]],
        ..IMAGES
    };
    let grouped = Conv2dShape {
        in_channels: 4,
        groups: 2,
        ..IMAGES
    };
    let by_weights = |shape: Conv2dShape, pooled: Option<[usize; 2]>| {
        let kernel = Kernel::Conv2dGradientWeights { shape, pooled };
        let (input, output) = (shape.input_len(), shape.output_len());
        let weights = [shape.weight_len()];
        match pooled {
            None => case(kernel, &[input, output], &weights),
            Some(_) => Case {
                other: Some((2, 0)),
                ..case(
                    kernel,
                    &[input, output / 4, steps_len(shape.output_sizes())],
                    &weights,
                )
            },
        }
    };
    let by_bias = |shape: Conv2dShape, pooled: Option<[usize; 2]>| {
        let sizes = shape.output_sizes();
        let kernel = Kernel::Conv2dGradientBias { sizes, pooled };
        let output = shape.output_len();
        match pooled {
            None => case(kernel, &[output], &[sizes[1]]),
            Some(_) => Case {
                other: Some((1, 0)),
                ..case(kernel, &[output / 4, steps_len(sizes)], &[sizes[1]])
            },
        }
    };
    let cases = vec![
        by_weights(IMAGES, None),
        by_weights(IMAGES, Some(window)),
        by_weights(odd, None),
        by_weights(grouped, None),
        by_bias(IMAGES, None),
        by_bias(odd, None),
    ];
    let of_tile = |case| Case { most: 3072, ..case };
    let pooled = Case {
        most: 1024,
        ..by_bias(IMAGES, Some(window))
    };
    let mut cases: Vec<Case> = cases.into_iter().map(of_tile).collect();
    cases.push(pooled);
    cases
}

pub(super) fn sums() -> Vec<Case> {
    let reduce = |reduction, [outer, length, inner]: [usize; 3]| {
        let axis = Axis {
            outer,
            length,
            inner,
        };
        let kernel = Kernel::Reduce { reduction, axis };
        case(kernel, &[axis.full()], &[axis.reduced()])
    };
    let kinds = [Reduction::Sum, Reduction::Mean, Reduction::Max];
    let shapes = [[1, 20_011, 1], [1, 613, 7], [16, 200, 1], [4, 300, 8]];
    let of = |kind: &Reduction| shapes.map(|shape| reduce(*kind, shape));
    let mut cases: Vec<Case> = kinds.iter().flat_map(of).collect();
    for len in [5003, 40_009] {
        let by_coefficients = Kernel::PolyMapCoefficientGradient;
        cases.push(case(by_coefficients, &[len, len], &[5]));
    }
    cases
}

pub(super) fn losses() -> Vec<Case> {
    const LEN: usize = 5003;
    let (columns, len) = (13, 13 * 200);
    let plain = |case| Case {
        other: Some((1, 1)),
        ..case
    };
    let cross = || case(Kernel::SoftmaxCrossEntropy { columns }, &[len; 2], &[1]);
    let of_cross = Kernel::SoftmaxCrossEntropyGradient { columns };
    let of_cross = || case(of_cross.clone(), &[len; 2], &[len]);
    let mean = |kernel| case(kernel, &[LEN; 2], &[1]);
    let of_binary = || case(Kernel::BinaryCrossEntropyGradient, &[LEN; 2], &[LEN]);
    vec![
        cross(),
        plain(cross()),
        of_cross(),
        plain(of_cross()),
        mean(Kernel::BinaryCrossEntropy),
        plain(mean(Kernel::BinaryCrossEntropy)),
        of_binary(),
        plain(of_binary()),
        mean(Kernel::MeanSquaredError),
        plain(mean(Kernel::MeanSquaredError)),
    ]
}

/// What no part can be made of, or of sums what all parts write to: planes are bound in segments.
pub(super) fn segments() -> Vec<Case> {
    const LEN: usize = 2001;
    const COLUMNS: usize = 2500;
    let axis = |length, inner| Axis {
        outer: 1,
        length,
        inner,
    };
    let softmax = |logarithm| {
        let kernel = Kernel::Softmax {
            columns: COLUMNS,
            logarithm,
        };
        case(kernel, &[2 * COLUMNS], &[2 * COLUMNS])
    };
    let of_softmax = Kernel::SoftmaxGradient {
        columns: LEN,
        logarithm: true,
    };
    let columns = LEN;
    let of_maximum = Kernel::MaxGradient { axis: axis(LEN, 1) };
    let reduce = |reduction| {
        let kernel = Kernel::Reduce {
            reduction,
            axis: axis(3, LEN),
        };
        case(kernel, &[3 * LEN], &[LEN])
    };
    let of_weights = Kernel::Conv2dGradientWeights {
        shape: WIDE,
        pooled: None,
    };
    // A tile's input is too large, and its result.
    let tile = Conv2dShape {
        batch: 33,
        in_channels: 3,
        out_channels: 3,
        input: [4, 4],
        ..WIDE
    };
    let (images, weights, result) = (tile.input_len(), tile.weight_len(), tile.output_len());
    let pooled = Some([2, 2]);
    let words = steps_len(tile.output_sizes());
    let convolution = Kernel::Conv2d {
        shape: tile,
        bias: true,
        activation: Some(Function::Tanh),
    };
    let averages = Kernel::Conv2dPooled {
        shape: tile,
        bias: true,
        window: [2, 2],
    };
    let by_input = Kernel::Conv2dGradientInput {
        shape: tile,
        pooled,
    };
    let of_bias = Kernel::Conv2dGradientBias {
        sizes: tile.output_sizes(),
        pooled,
    };
    let bits = |nth, case| Case {
        other: Some((nth, 0)),
        ..case
    };
    vec![
        softmax(false),
        softmax(true),
        case(of_softmax, &[LEN, LEN], &[LEN]),
        case(Kernel::SoftmaxCrossEntropy { columns }, &[LEN; 2], &[1]),
        case(
            Kernel::SoftmaxCrossEntropyGradient { columns },
            &[LEN; 2],
            &[LEN],
        ),
        case(of_maximum, &[LEN, 1], &[LEN]),
        reduce(Reduction::Sum),
        reduce(Reduction::Max),
        product([1, 1, 3, LEN], [false; 2], true),
        product([1, LEN, 3, 1], [true, false], false),
        product([1, 1, LEN, 1], [false; 2], false),
        product([1, 40, LEN, 36], [false; 2], false),
        // Read four numbers at a time.
        product([1, 16, 2048, 64], [false; 2], false),
        case(convolution, &[images, weights, 3], &[result]),
        bits(
            4,
            case(averages, &[images, weights, 3], &[result / 4, words]),
        ),
        bits(2, case(by_input, &[result / 4, weights, words], &[images])),
        case(
            of_weights,
            &[WIDE.input_len(), WIDE.output_len()],
            &[WIDE.weight_len()],
        ),
        Case {
            most: 256,
            ..bits(1, case(of_bias, &[result / 4, words], &[3]))
        },
    ]
}

/// Ten tiles, of 27 words of steps each: their bindings begin late, and those of two slots are too large
/// for one.
pub(super) fn late_steps() -> Vec<Case> {
    let bits = |nth, case| Case {
        other: Some((nth, 0)),
        ..case
    };
    let late = Conv2dShape {
        batch: 300,
        in_channels: 1,
        out_channels: 3,
        input: [3, 3],
        ..WIDE
    };
    let [images, weights, averages, words] = [
        late.input_len(),
        late.weight_len(),
        late.output_len() / 9,
        steps_len(late.output_sizes()),
    ];
    let window = [3, 3];
    let pooled = Some(window);
    let cases = [
        bits(
            4,
            case(
                Kernel::Conv2dPooled {
                    shape: late,
                    bias: true,
                    window,
                },
                &[images, weights, 3],
                &[averages, words],
            ),
        ),
        bits(
            2,
            case(
                Kernel::Conv2dGradientInput {
                    shape: late,
                    pooled,
                },
                &[averages, weights, words],
                &[images],
            ),
        ),
        bits(
            2,
            case(
                Kernel::Conv2dGradientWeights {
                    shape: late,
                    pooled,
                },
                &[images, averages, words],
                &[weights],
            ),
        ),
        bits(
            1,
            case(
                Kernel::Conv2dGradientBias {
                    sizes: late.output_sizes(),
                    pooled,
                },
                &[averages, words],
                &[3],
            ),
        ),
    ];
    cases.map(|case| Case { most: 256, ..case }).into()
}

pub(super) fn boxes() -> Vec<Case> {
    let axis = |size, from, to| CopyAxis { size, from, to };
    let copy = |[from_len, from]: [usize; 2], [to_len, to]: [usize; 2], axes: &[CopyAxis], rest| {
        let copy = StridedCopy::new(from_len, from, to_len, to, axes).expect("it lies in both");
        case(Kernel::StridedCopy { copy, rest }, &[from_len], &[to_len])
    };
    let (keep, zero) = (Rest::Keep, Rest::Zero);
    let transpose = |sizes: [usize; 3]| {
        let len = sizes.iter().product();
        case(Kernel::Transpose { sizes }, &[len], &[len])
    };
    let mut cases = Vec::new();
    for rest in [keep, zero] {
        cases.extend([
            // A slice of few, a part of a concatenation, and a pad.
            copy([5003, 4001], [37, 0], &[axis(37, 1, 1)], rest),
            copy([1501, 0], [5003, 3001], &[axis(1501, 1, 1)], rest),
            copy(
                [900, 0],
                [4096, 65],
                &[axis(30, 1, 1), axis(30, 30, 64)],
                rest,
            ),
            // Turned, backwards, and one element repeated.
            copy(
                [4189, 0],
                [4189, 0],
                &[axis(59, 1, 71), axis(71, 59, 1)],
                rest,
            ),
            copy(
                [4189, 4188],
                [4500, 11],
                &[axis(71, -1, 59), axis(59, -71, 1)],
                rest,
            ),
            copy([5, 3], [3000, 7], &[axis(40, 0, 70), axis(69, 0, 1)], rest),
            copy(
                [3000, 0],
                [3000, 0],
                &[axis(10, 300, 1), axis(20, 15, 10), axis(15, 1, 200)],
                rest,
            ),
        ]);
    }
    cases.extend([
        transpose([1, 59, 71]),
        transpose([3, 40, 40]),
        transpose([1, 2, 3001]),
    ]);
    // A tile is the transpose of its samples.
    for (batch, into) in [(20, true), (45, false), (45, true)] {
        let len = batch * 61;
        cases.push(case(Kernel::Tiles { batch, into }, &[len], &[len]));
    }
    cases
}

pub(super) fn interleaved(dim: usize) -> Vec<Case> {
    let (elements, interleaved) = (2001, 2001 * dim);
    let of = |into, read, written, interleaved| Case {
        other: Some((interleaved, 1)),
        ..case(Kernel::Interleave { into }, &[read], &[written])
    };
    vec![
        of(true, elements, interleaved, 1),
        of(false, interleaved, elements, 0),
    ]
}
