//! Convolutions and their gradients over every algebra, operand kind and instruction set, at shapes
//! whose windows meet every border. Threads are in `conv2d_threads`, bad input in `conv2d_errors`.

use crate::support::{
    Algebra, Conv, Convolution, Guarded, Images, Kind, Noise, Operand, Tolerance, channel_sizes,
    compare, conv2d_images, conv2d_lens, single,
};
use furthermore_kernels_cpu::Element;
use furthermore_kernels_cpu::conv2d::{Conv2dPass, Conv2dShape, conv2d_gradient_bias};
use furthermore_kernels_cpu::function_map::Function;
use proptest::prelude::*;

pub(crate) const PASSES: [Conv2dPass; 3] = [
    Conv2dPass::Forward,
    Conv2dPass::GradientInput,
    Conv2dPass::GradientWeights,
];
const BIASES: [Option<Kind>; 3] = [None, Some(Kind::Plain), Some(Kind::Cipher)];
const ACTIVATIONS: [Option<Function>; 3] = [None, Some(Function::Relu), Some(Function::Tanh)];

/// A dense convolution of stride 1 without padding, to be varied.
pub(crate) fn shape(
    batch: usize,
    [in_channels, out_channels]: [usize; 2],
    input: [usize; 2],
    kernel: [usize; 2],
) -> Conv2dShape {
    Conv2dShape {
        batch,
        in_channels,
        out_channels,
        input,
        kernel,
        stride: [1, 1],
        padding: [[0, 0], [0, 0]],
        dilation: [1, 1],
        groups: 1,
    }
}

fn padded(padding: [[usize; 2]; 2], shape: Conv2dShape) -> Conv2dShape {
    Conv2dShape { padding, ..shape }
}

fn strided(stride: [usize; 2], shape: Conv2dShape) -> Conv2dShape {
    Conv2dShape { stride, ..shape }
}

fn dilated(dilation: [usize; 2], shape: Conv2dShape) -> Conv2dShape {
    Conv2dShape { dilation, ..shape }
}

fn grouped(groups: usize, shape: Conv2dShape) -> Conv2dShape {
    Conv2dShape { groups, ..shape }
}

/// Shapes each of which has something another has not.
fn awkward() -> Vec<Conv2dShape> {
    let all = |p: usize| [[p, p], [p, p]];
    vec![
        // Batches that leave part of a vector or of a tile, and channels that leave part of a tile.
        shape(1, [1, 1], [5, 5], [3, 3]),
        padded(all(2), shape(2, [3, 8], [5, 6], [5, 5])),
        shape(31, [2, 3], [3, 5], [1, 1]),
        shape(32, [3, 9], [4, 4], [3, 3]),
        shape(33, [2, 17], [3, 4], [2, 2]),
        shape(81, [1, 2], [4, 3], [2, 3]),
        shape(3, [17, 1], [3, 3], [2, 2]),
        shape(7, [9, 8], [3, 4], [3, 1]),
        // Strides, even and uneven, and padding that differs on all sides.
        strided(
            [2, 2],
            padded([[1, 0], [0, 2]], shape(5, [3, 4], [6, 5], [3, 3])),
        ),
        strided([1, 2], shape(4, [2, 5], [4, 8], [2, 3])),
        strided(
            [3, 2],
            padded([[0, 3], [2, 1]], shape(2, [2, 3], [7, 9], [5, 4])),
        ),
        strided([3, 3], shape(2, [1, 2], [7, 8], [1, 1])),
        // Dilation, with strides it shares a divisor with and others; past the input's size.
        dilated([2, 3], shape(3, [2, 2], [7, 9], [3, 3])),
        dilated(
            [3, 2],
            padded([[4, 2], [1, 3]], shape(3, [2, 2], [5, 6], [3, 3])),
        ),
        strided(
            [2, 3],
            dilated([2, 2], padded(all(3), shape(2, [2, 2], [6, 7], [3, 4]))),
        ),
        strided(
            [2, 2],
            dilated([3, 3], padded(all(2), shape(2, [1, 3], [8, 9], [3, 3]))),
        ),
        strided(
            [3, 2],
            dilated([2, 3], padded(all(4), shape(2, [1, 3], [5, 4], [4, 3]))),
        ),
        dilated([7, 5], padded(all(6), shape(2, [2, 1], [3, 2], [2, 3]))),
        // Groups: several channels each, depthwise, and several results to a channel.
        grouped(2, padded(all(1), shape(3, [4, 6], [4, 3], [3, 3]))),
        grouped(8, padded(all(1), shape(5, [8, 8], [4, 4], [3, 3]))),
        grouped(3, shape(2, [3, 9], [3, 4], [2, 2])),
        grouped(2, shape(2, [18, 2], [3, 3], [2, 3])),
        strided([2, 1], grouped(2, shape(2, [2, 20], [4, 3], [2, 2]))),
        // Kernels in a row, in a column, and of more columns than a tile of the gradient holds.
        padded([[0, 0], [3, 3]], shape(3, [2, 3], [3, 8], [1, 7])),
        padded([[2, 3], [0, 1]], shape(2, [2, 3], [5, 4], [6, 2])),
        shape(2, [2, 2], [2, 13], [1, 11]),
        strided(
            [1, 2],
            padded([[1, 1], [5, 4]], shape(2, [1, 4], [3, 6], [2, 11])),
        ),
        dilated(
            [1, 2],
            padded([[0, 0], [6, 6]], shape(2, [1, 5], [2, 5], [1, 8])),
        ),
        // One dimension.
        padded([[0, 0], [2, 2]], shape(9, [3, 4], [1, 17], [1, 5])),
        strided([1, 3], dilated([1, 2], shape(2, [2, 3], [1, 20], [1, 3]))),
        // Single pixels; kernels larger than the image; windows that lie in the padding alone.
        shape(3, [3, 2], [1, 1], [1, 1]),
        padded(all(1), shape(2, [2, 3], [1, 1], [3, 3])),
        padded(all(2), shape(2, [2, 2], [2, 2], [5, 5])),
        padded([[4, 0], [0, 4]], shape(2, [2, 2], [2, 3], [5, 6])),
        padded(all(2), shape(2, [2, 3], [2, 2], [1, 1])),
        strided([3, 2], padded(all(5), shape(2, [1, 2], [2, 3], [2, 2]))),
        padded([[0, 6], [6, 0]], shape(2, [1, 2], [1, 2], [2, 1])),
        // Nothing: no image, no place for the kernel along one axis or both, no pixel.
        padded(all(1), shape(0, [2, 3], [4, 4], [3, 3])),
        shape(2, [2, 3], [2, 2], [3, 3]),
        shape(2, [2, 3], [2, 4], [3, 3]),
        shape(2, [2, 3], [4, 2], [3, 3]),
        strided([2, 2], shape(2, [2, 3], [4, 2], [3, 3])),
        dilated([2, 3], shape(2, [2, 3], [3, 3], [3, 3])),
        padded(all(1), shape(2, [1, 2], [0, 3], [2, 2])),
        // Rows enough that the gradient is gone through in several strips.
        padded([[1, 1], [1, 1]], shape(32, [1, 8], [23, 3], [3, 3])),
    ]
}

/// Every combination of operand kinds that the algebra has.
pub(crate) fn kinds(algebra: &Algebra) -> impl Iterator<Item = (Kind, Kind)> {
    let kinds = algebra.kinds();
    kinds
        .iter()
        .flat_map(|&a| kinds.iter().map(move |&b| (a, b)))
}

/// Runs one case on every instruction set.
fn everywhere<T: Element>(algebra: &Algebra, case: Conv, seed: u64) {
    let prepared = Convolution::<T>::new(algebra, case, seed);
    for exec in single() {
        prepared.check(&exec);
    }
}

/// Every awkward shape, pass and pair of kinds, epilogues taken in turn.
fn awkward_shapes<T: Element>(algebras: &[Algebra]) {
    let mut noise = Noise::new(1);
    for algebra in algebras {
        for (left, right) in kinds(algebra) {
            for shape in awkward() {
                for pass in PASSES {
                    let mut case = Conv::new(shape, pass, left, right);
                    if pass == Conv2dPass::Forward {
                        case = case.then(noise.pick(&BIASES), noise.pick(&ACTIVATIONS));
                    }
                    everywhere::<T>(algebra, case, noise.next());
                }
            }
        }
    }
}

#[test]
fn awkward_shapes_f32() {
    awkward_shapes::<f32>(&[Algebra::real(), Algebra::compact2([0.75, -0.5])]);
}

#[test]
fn awkward_shapes_f64() {
    awkward_shapes::<f64>(&[Algebra::real(), Algebra::compact2([0.75, -0.5])]);
}

/// Every algebra with every bias and activation, and its gradients, at a border and inside.
fn every_algebra<T: Element>() {
    let mut noise = Noise::new(2);
    let small = padded([[1, 0], [0, 1]], shape(3, [2, 3], [3, 4], [2, 3]));
    let tiles = grouped(2, strided([1, 2], shape(33, [2, 4], [2, 3], [2, 2])));
    for algebra in Algebra::all() {
        for (left, right) in kinds(&algebra) {
            for shape in [small, tiles] {
                for bias in BIASES {
                    for activation in ACTIVATIONS {
                        let case = Conv::new(shape, Conv2dPass::Forward, left, right)
                            .then(bias, activation);
                        everywhere::<T>(&algebra, case, noise.next());
                    }
                }
                for pass in [Conv2dPass::GradientInput, Conv2dPass::GradientWeights] {
                    let case = Conv::new(shape, pass, left, right);
                    everywhere::<T>(&algebra, case, noise.next());
                }
            }
        }
    }
}

#[test]
fn every_algebra_f32() {
    every_algebra::<f32>();
}

#[test]
fn every_algebra_f64() {
    every_algebra::<f64>();
}

/// Every number of channels to a tile with every number of vectors of images, whole and partial.
fn every_tile<T: Element>() {
    let mut noise = Noise::new(3);
    let algebra = Algebra::real();
    for channels in 1..=17 {
        for batch in [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 34] {
            for columns in [1, 2, 3, 4, 5, 6] {
                // Both ways, so that targets of the gradients come in every number too.
                let sizes = [[2, channels], [channels, 2]];
                let shape = padded(
                    [[0, 0], [columns / 2, 0]],
                    shape(batch, noise.pick(&sizes), [1, 4], [1, columns]),
                );
                for pass in PASSES {
                    let case = Conv::new(shape, pass, Kind::Plain, Kind::Plain);
                    everywhere::<T>(&algebra, case, noise.next());
                }
            }
        }
    }
}

#[test]
fn every_tile_f32() {
    every_tile::<f32>();
}

#[test]
fn every_tile_f64() {
    every_tile::<f64>();
}

/// The gradient by the bias sums the output's gradient over images and pixels.
fn gradients_by_the_bias<T: Element>() {
    let mut noise = Noise::new(4);
    let mut shapes = awkward();
    shapes.push(shape(70, [1, 3], [9, 11], [1, 1]));
    for algebra in Algebra::all() {
        for &kind in algebra.kinds() {
            let form = algebra.of_kind(kind);
            for shape in &shapes {
                let output = conv2d_images(shape)[1];
                let gradient =
                    Operand::<T>::drawn(&algebra, kind, || noise.slots(output.len(), -1.0, 1.0));
                let sums = |plane: &[f64]| -> Vec<f64> {
                    let mut sums = vec![0.0; output.channels];
                    for (channel, sum) in sums.iter_mut().enumerate() {
                        each_pixel(&output, channel, |at| *sum += plane[at]);
                    }
                    sums
                };
                let expected: Vec<Vec<f64>> = gradient.slots.iter().map(|s| sums(s)).collect();
                // One sum for each element, lanes and strands, and the element as stored.
                let terms = output.batch * output.rows * output.columns + 16 + 4 + 1;
                let tolerance = Tolerance::roundings::<T>(terms).plus(2.0 * algebra.defect);
                let sizes: Vec<Vec<f64>> = gradient.sizes.iter().map(|s| sums(s)).collect();
                let mut bounds = vec![Vec::new(); form.slots];
                for channel in 0..output.channels {
                    let errors: Vec<f64> = sizes.iter().map(|s| tolerance.of(s[channel])).collect();
                    for (bounds, error) in bounds.iter_mut().zip(form.slot_errors(&errors)) {
                        bounds.push(error);
                    }
                }
                for exec in single() {
                    let mut found = Guarded::poisoned(form.dim, output.channels, 3);
                    conv2d_gradient_bias(
                        &exec,
                        &algebra.arithmetic,
                        channel_sizes(shape),
                        gradient.view(),
                        &mut found.view_mut(),
                    )
                    .expect("the operands fit");
                    found.intact().expect("nothing is written beside");
                    let slots = form.decrypt_planes(&found.planes());
                    if let Err(error) = compare(&expected, &slots, &bounds) {
                        panic!("{} {exec:?} {shape:?}: {error}", algebra.name);
                    }
                }
            }
        }
    }
}

fn each_pixel(images: &Images, channel: usize, mut see: impl FnMut(usize)) {
    for n in 0..images.batch {
        for row in 0..images.rows {
            for column in 0..images.columns {
                see(images.at(n, channel, row, column));
            }
        }
    }
}

#[test]
fn gradients_by_the_bias_f32() {
    gradients_by_the_bias::<f32>();
}

#[test]
fn gradients_by_the_bias_f64() {
    gradients_by_the_bias::<f64>();
}

/// `<dy, conv(x, w)> = <dx, x> = <dw, w>` in every slot: the three operations are one trilinear form,
/// whatever the oracle thinks of its indices.
#[test]
fn gradients_are_adjoint() {
    let mut noise = Noise::new(5);
    for algebra in [
        Algebra::real(),
        Algebra::compact2([0.75, -0.5]),
        Algebra::blocks(2),
        Algebra::compact(3),
    ] {
        let kind = algebra.kinds()[algebra.kinds().len() - 1];
        for shape in awkward() {
            let operands = conv2d_lens(&shape)
                .map(|len| Operand::<f64>::drawn(&algebra, kind, || noise.slots(len, -1.0, 1.0)));
            let [x, w, dy] = &operands;
            for exec in single() {
                // What each operation gives, and the operand it is multiplied with.
                let pairs = [
                    (Conv2dPass::Forward, x, w, dy),
                    (Conv2dPass::GradientInput, dy, w, x),
                    (Conv2dPass::GradientWeights, x, dy, w),
                ];
                let products = pairs.map(|(pass, left, right, with)| {
                    let case = Conv::new(shape, pass, kind, kind);
                    let (left, right) = (left.clone(), right.clone());
                    let prepared = Convolution::of(&algebra, case, left, right, None);
                    let found = prepared.check(&exec);
                    let found = prepared.decrypt(&found);
                    let dot = |k: usize| -> f64 {
                        let pairs = found[k].iter().zip(with.slot(k));
                        pairs.map(|(a, b)| a * b).sum()
                    };
                    let error = |k: usize| -> f64 {
                        let rounding = Tolerance::roundings::<f64>(found[k].len() + 1);
                        let elements = found[k].iter().zip(with.slot(k)).zip(&prepared.bounds[k]);
                        elements
                            .map(|((a, b), bound)| b.abs() * bound + rounding.of((a * b).abs()))
                            .sum()
                    };
                    let slots = 0..algebra.slots;
                    slots.map(|k| (dot(k), error(k))).collect::<Vec<_>>()
                });
                let [forward, by_input, by_weights] = products;
                for k in 0..algebra.slots {
                    for gradient in [&by_input, &by_weights] {
                        let distance = (forward[k].0 - gradient[k].0).abs();
                        assert!(
                            distance <= forward[k].1 + gradient[k].1,
                            "{} {exec:?} {shape:?} slot {k}: {forward:?} {gradient:?}",
                            algebra.name
                        );
                    }
                }
            }
        }
    }
}

/// Small enough to be checked by eye: two images, one channel, a row of three pixels, a kernel of two
/// taps, one zero before the row. The two images' pixels lie side by side.
#[test]
fn by_hand() {
    let algebra = Algebra::real();
    let shape = padded([[0, 0], [1, 0]], shape(2, [1, 1], [1, 3], [1, 2]));
    let plain = |values: &[f64]| Operand::<f32>::new(&algebra, Kind::Plain, vec![values.to_vec()]);
    let x = plain(&[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
    let w = plain(&[5.0, 7.0]);
    let dy = plain(&[1.0, 0.0, 2.0, 0.0, 4.0, 1.0]);
    for exec in single() {
        for (pass, left, right, expected) in [
            // 0 1 2 3: 5 * 0 + 7 * 1, 5 * 1 + 7 * 2, 5 * 2 + 7 * 3.
            (
                Conv2dPass::Forward,
                &x,
                &w,
                &[7.0, 70.0, 19.0, 190.0, 31.0, 310.0][..],
            ),
            // Pixel 0 by tap 1 of place 0 and tap 0 of place 1: 7 * 1 + 5 * 2, and so on.
            (
                Conv2dPass::GradientInput,
                &dy,
                &w,
                &[17.0, 0.0, 34.0, 5.0, 28.0, 7.0],
            ),
            // Tap 0: 1 * 2 + 2 * 4 and 20 * 1; tap 1: 1 * 1 + 2 * 2 + 3 * 4 and 30 * 1.
            (Conv2dPass::GradientWeights, &x, &dy, &[30.0, 47.0]),
        ] {
            let case = Conv::new(shape, pass, Kind::Plain, Kind::Plain);
            let prepared = Convolution::of(&algebra, case, left.clone(), right.clone(), None);
            let found = prepared.check(&exec);
            assert_eq!(found.planes()[0], expected, "{exec:?} {pass:?}");
        }
        let mut bias = Guarded::<f32>::poisoned(1, 1, 0);
        conv2d_gradient_bias(
            &exec,
            &algebra.arithmetic,
            channel_sizes(&shape),
            dy.view(),
            &mut bias.view_mut(),
        )
        .expect("they fit");
        assert_eq!(bias.planes()[0], [8.0]);
    }
}

/// A bound far above every result would let anything pass.
#[test]
fn bounds_are_small_beside_results() {
    let shape = padded([[1, 1], [1, 1]], shape(5, [3, 4], [5, 5], [3, 3]));
    for algebra in Algebra::all() {
        let kind = algebra.kinds()[algebra.kinds().len() - 1];
        for pass in PASSES {
            let case = Conv::new(shape, pass, kind, kind);
            let prepared = Convolution::<f32>::new(&algebra, case, 6);
            let largest = |values: &[Vec<f64>]| {
                let all = values.iter().flatten();
                all.fold(0.0, |x: f64, y| x.max(y.abs()))
            };
            let (bound, result) = (largest(&prepared.bounds), largest(&prepared.expected));
            assert!(
                bound < 0.02 * result,
                "{} {pass:?}: bound {bound:e} beside {result:e}",
                algebra.name
            );
        }
    }
}

/// Sizes of a shape whose work is small enough for a test.
fn any_shape() -> impl Strategy<Value = Conv2dShape> {
    let batch = prop_oneof![Just(0usize), Just(1), 2usize..9, 30usize..36];
    let channels = || prop_oneof![Just(1usize), 2usize..5, Just(9)];
    let pair = |most: usize| [1..=most, 1..=most];
    let padding = || prop_oneof![Just(0usize), Just(1), 0usize..6];
    (
        (batch, channels(), channels(), 1usize..4),
        pair(8),
        [1usize..6, 1usize..9],
        pair(3),
        [[padding(), padding()], [padding(), padding()]],
        pair(3),
    )
        .prop_map(
            |((batch, ins, outs, groups), input, kernel, stride, padding, dilation)| Conv2dShape {
                batch,
                in_channels: ins * groups,
                out_channels: outs * groups,
                input,
                kernel,
                stride,
                padding,
                dilation,
                groups,
            },
        )
        .prop_filter("too much work for a test", |shape| {
            let [_, weights, _] = conv2d_lens(shape);
            let output = conv2d_images(shape)[1];
            weights * output.rows * output.columns * shape.batch < 200_000
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_shapes(
        shape in any_shape(),
        algebra in 0..9usize,
        pass in 0..3usize,
        (left, right) in (any::<bool>(), any::<bool>()),
        (bias, activation) in (0..3usize, 0..3usize),
        seed in any::<u64>(),
    ) {
        let algebra = &Algebra::all()[algebra];
        let kind = |cipher: bool| algebra.kinds()[usize::from(cipher).min(algebra.kinds().len() - 1)];
        let mut case = Conv::new(shape, PASSES[pass], kind(left), kind(right));
        if pass == 0 {
            case = case.then(BIASES[bias], ACTIVATIONS[activation]);
        }
        if seed % 2 == 0 {
            everywhere::<f32>(algebra, case, seed);
        } else {
            everywhere::<f64>(algebra, case, seed);
        }
    }
}
