//! Planes larger than one binding: commands go through them in parts, and give what a processor does.

use std::sync::Arc;

use furthermore::device::{Cpu, Device, Program, RunOptions, Source};
use furthermore::network::Function;
use furthermore::plan::{Kernel, Operand, Plan, Reduction, Region};
use furthermore::scheme::Guard;
use furthermore::tensor::{Buffer, DType};
use furthermore::{Algebra, Error};
use furthermore_kernels_cpu::Arithmetic;
use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::conv2d::{Conv2dShape, steps_len};
use furthermore_kernels_cpu::elementwise::Broadcast;
use furthermore_kernels_cpu::pool::{Pool, PoolShape};
use furthermore_kernels_cpu::reduce::Axis;

use crate::bindings::{command, largest_plane, limited};
use crate::gpu;

/// Elements that one binding takes. Sizes are such that parts of these can begin at any multiple of 256
/// bytes, the most that adapters ask for.
const MOST: usize = 1024;

/// A command whose operands have so many elements, or words where they are bits.
struct Case {
    kernel: Kernel,
    reads: Vec<usize>,
    writes: Vec<usize>,
    /// The place of an operand that is not a tensor of the algebra, among those read and then those
    /// written, and its planes: none of bits.
    other: Option<(usize, usize)>,
    /// Elements that one binding takes.
    most: usize,
    /// Scratch has as many planes as ciphertexts, and is bound as one: that takes as many times more.
    scratch: bool,
}

fn case(kernel: Kernel, reads: &[usize], writes: &[usize]) -> Case {
    Case {
        kernel,
        reads: reads.to_vec(),
        writes: writes.to_vec(),
        other: None,
        most: MOST,
        scratch: false,
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

fn products() -> Vec<Case> {
    let product = |[batch, m, k, n]: [usize; 4], transpose_b, bias| {
        let shape = MatmulShape {
            batch,
            m,
            k,
            n,
            transpose_a: false,
            transpose_b,
        };
        let kernel = Kernel::BlockMatmul {
            shape,
            bias,
            activation: bias.then_some(Function::Tanh),
        };
        let mut reads = vec![batch * m * k, batch * k * n];
        reads.extend(bias.then_some(n));
        case(kernel, &reads, &[batch * m * n])
    };
    vec![
        product([1, 70, 24, 20], false, true),
        product([1, 131, 15, 13], true, false),
        product([3, 30, 32, 32], false, true),
        // Products by themselves, and then their rows.
        product([2, 80, 16, 16], false, false),
    ]
}

fn images() -> Vec<Case> {
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
        pooled.scratch = true;
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

fn elements(dim: usize) -> Vec<Case> {
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

fn rows() -> Vec<Case> {
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

/// Ciphertexts with slots of either sign, or near 2 where these are divided by; and words.
fn numbers(region: &Region, nth: usize, arithmetic: &Arithmetic, divided: bool) -> Buffer {
    let wave = |at: usize| ((at + 101 * nth) as f64 * 0.7).sin();
    if region.planes == 0 {
        let mut buffer = Buffer::zeroed(DType::F32, region.elements).expect("memory");
        for (at, word) in buffer.as_mut_words().iter_mut().enumerate() {
            *word = (wave(at) as f32).to_bits().wrapping_mul(0x9e37_79b1);
        }
        return buffer;
    }
    let (slots, from_slots) = (arithmetic.slots(), arithmetic.from_slots());
    let slot =
        |at: usize, slot: usize| 0.4 * wave(at + 37 * slot) + if divided { 2.0 } else { 0.0 };
    let len = region.planes * region.stride;
    let mut buffer = Buffer::zeroed(DType::F32, len).expect("memory");
    for plane in 0..region.planes {
        let to = &mut buffer.as_mut_slice::<f32>()[plane * region.stride..][..region.elements];
        for (at, x) in to.iter_mut().enumerate() {
            let coordinate = |k: usize| from_slots[plane * slots + k] * slot(at, k);
            *x = (0..slots).map(coordinate).sum::<f64>() as f32;
        }
    }
    buffer
}

/// What a command writes: numbers, and words.
fn run(device: &dyn Device, plan: &Arc<Plan>, arithmetic: &Arithmetic) -> (Vec<f32>, Vec<u32>) {
    let program = device.load(Arc::clone(plan), arithmetic.clone());
    let mut program = program.expect("the device takes it");
    let command = &plan.commands()[0];
    let divided = matches!(command.kernel, Kernel::Divide { .. });
    let regions = command.reads.iter().chain(&command.writes);
    for (nth, region) in regions.enumerate() {
        let source = Source {
            buffer: &numbers(region, nth, arithmetic, divided),
            stride: region.stride,
            row: 1,
            rows: None,
            embed: None,
        };
        program.upload(region, source).expect("it fits");
    }
    program.run(&options()).expect("it runs");
    let (mut numbers, mut words) = (Vec::new(), Vec::new());
    for region in &command.writes {
        let len = (region.planes * region.stride).max(region.elements);
        let mut buffer = Buffer::zeroed(DType::F32, len).expect("memory");
        program.download(region, &mut buffer).expect("it fits");
        if region.planes == 0 {
            words.extend_from_slice(&buffer.as_words()[..region.elements]);
        } else {
            numbers.extend_from_slice(buffer.as_slice::<f32>());
        }
    }
    (numbers, words)
}

fn options() -> RunOptions<'static> {
    RunOptions {
        learning_rate: 0.1,
        step: 2,
        guard: Guard {
            warn: f64::INFINITY,
            fail: f64::INFINITY,
        },
        cancel: None,
    }
}

fn hold_to_processor(cases: impl Fn(usize) -> Vec<Case>) {
    if gpu().is_none() {
        return;
    }
    let cpu = Cpu::new().expect("an instruction set of this machine");
    for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Blocks(2)] {
        let (dim, slots) = (algebra.dim(), algebra.slots());
        for case in cases(dim) {
            let name = format!("{algebra} {}", case.kernel.name());
            let operand = |nth: usize, elements: usize| {
                let other = case.other.filter(|(other, _)| *other == nth);
                let planes = other.map_or(dim, |(_, planes)| planes);
                Operand {
                    planes,
                    elements: if planes == 0 {
                        elements * slots
                    } else {
                        elements
                    },
                }
            };
            let operands = |lens: &[usize], first: usize| -> Vec<Operand> {
                let lens = lens.iter().enumerate();
                lens.map(|(nth, len)| operand(first + nth, *len)).collect()
            };
            let reads = operands(&case.reads, 0);
            let writes = operands(&case.writes, reads.len());
            let (plan, arithmetic) = command(algebra, case.kernel, &reads, &writes);
            let planes = if case.scratch { dim } else { 1 };
            let limit = (case.most * planes * 4) as u64;
            // What is too large may be scratch alone.
            assert!(case.scratch || largest_plane(&plan) > limit, "{name}");
            let (expected, bits) = run(&cpu, &plan, &arithmetic);
            let (found, found_bits) = run(&limited(limit, false), &plan, &arithmetic);
            let largest = expected.iter().fold(0.1f32, |most, x| most.max(x.abs()));
            assert_eq!(found.len(), expected.len());
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let off = (found - expected).abs();
                assert!(off <= 1e-5 * largest, "{name} at {at}: {found}, {expected}");
            }
            assert_eq!(found_bits, bits, "{name}");
        }
    }
}

#[test]
fn products_go_by_products_and_rows() {
    hold_to_processor(|_| products());
}

#[test]
fn images_go_by_tiles() {
    hold_to_processor(|_| images());
}

#[test]
fn elements_go_in_ranges() {
    hold_to_processor(elements);
}

#[test]
fn rows_go_in_ranges() {
    hold_to_processor(|_| rows());
}

#[test]
fn interleaved_elements_go_in_ranges() {
    hold_to_processor(|dim| {
        let (elements, interleaved) = (2001, 2001 * dim);
        let of = |into, read, written, interleaved| Case {
            other: Some((interleaved, 1)),
            ..case(Kernel::Interleave { into }, &[read], &[written])
        };
        vec![
            of(true, elements, interleaved, 1),
            of(false, interleaved, elements, 0),
        ]
    });
}

/// The guard sees every part, and what went wrong is looked for in every part.
#[test]
fn what_is_not_finite_in_the_last_part_is_named() {
    if gpu().is_none() {
        return;
    }
    const LEN: usize = 5003;
    let operand = Operand {
        planes: 2,
        elements: LEN,
    };
    let function = Function::Ln;
    let kernel = Kernel::FunctionMap { function };
    let (plan, arithmetic) = command(Algebra::Compact(2), kernel, &[operand], &[operand]);
    let gpu = limited((MOST * 4) as u64, false);
    let mut program = gpu
        .load(Arc::clone(&plan), arithmetic.clone())
        .expect("the device takes it");
    let region = plan.commands()[0].reads[0];
    let upload = |program: &mut dyn Program, last: f32| {
        let mut buffer = numbers(&region, 0, &arithmetic, true);
        buffer.as_mut_slice::<f32>()[LEN - 1] = last;
        let source = Source {
            buffer: &buffer,
            stride: region.stride,
            row: 1,
            rows: None,
            embed: None,
        };
        program.upload(&region, source).expect("it fits");
    };
    // What is read, and what is written of a negative number.
    for (last, of_operation) in [(f32::NAN, false), (-1.0, true)] {
        upload(program.as_mut(), last);
        match program.run(&options()) {
            Err(Error::RunNotFinite { detail, .. }) => {
                let blamed = detail.contains("from operands that all are");
                assert_eq!(blamed, of_operation, "{last}: {detail}");
            }
            other => panic!("{other:?}"),
        }
    }
    upload(program.as_mut(), 0.5);
    program.run(&options()).expect("all are finite");
}

/// What every part would take whole, or what no part can be made of.
#[test]
fn what_cannot_be_cut_is_named() {
    if gpu().is_none() {
        return;
    }
    let shape = |m, n, transpose_a| MatmulShape {
        batch: 1,
        m,
        k: 64,
        n,
        transpose_a,
        transpose_b: false,
    };
    let product = |m, n, transpose_a| {
        let kernel = Kernel::BlockMatmul {
            shape: shape(m, n, transpose_a),
            bias: false,
            activation: None,
        };
        case(kernel, &[m * 64, 64 * n], &[m * n])
    };
    let axis = Axis {
        outer: 1,
        length: 2048,
        inner: 1,
    };
    let reduction = Reduction::Sum;
    let cases = [
        (product(8, 32, false), "'b'", "8192 bytes"),
        (product(32, 8, true), "'a'", "8192 bytes"),
        (
            case(Kernel::Reduce { reduction, axis }, &[2048], &[1]),
            "'x'",
            "8192 bytes",
        ),
    ];
    for (case, operand, bytes) in cases {
        let name = format!("'{}'", case.kernel.family());
        let operands = |lens: &[usize]| -> Vec<Operand> {
            let operand = |&elements: &usize| Operand {
                planes: 2,
                elements,
            };
            lens.iter().map(operand).collect()
        };
        let (reads, writes) = (operands(&case.reads), operands(&case.writes));
        let (plan, arithmetic) = command(Algebra::Compact(2), case.kernel, &reads, &writes);
        let loaded = limited((MOST * 4) as u64, false).load(plan, arithmetic);
        let error = loaded.err().expect("a plane is too large").to_string();
        for part in [&name[..], operand, bytes, "of 16384", "4096 bytes"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
