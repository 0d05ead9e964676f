//! Averages and maxima of windows, and their gradients, over every algebra, instruction set and
//! thread count. What is refused is in `pool_errors`.

use crate::support::{
    Algebra, Guarded, Kind, Noise, Pooling, Pools, Values, pool_images, same_bits, single,
};
use furthermore_kernels_cpu::pool::{Pool, PoolShape, pool, pool_gradient};
use furthermore_kernels_cpu::{Element, Exec, Isa};
use proptest::prelude::*;

pub(crate) const POOLS: [Pool; 3] = [Pool::Average, Pool::AverageWithPadding, Pool::Max];
const VALUES: [Values; 2] = [Values::Distinct, Values::Few];

/// A window that moves by its own size.
pub(crate) fn shape(
    batch: usize,
    channels: usize,
    input: [usize; 2],
    kernel: [usize; 2],
) -> PoolShape {
    PoolShape {
        batch,
        channels,
        input,
        kernel,
        stride: kernel,
        padding: [[0, 0], [0, 0]],
        dilation: [1, 1],
        ceil: false,
    }
}

/// Shapes each of which has something another has not; ceil mode doubles them.
fn awkward() -> Vec<PoolShape> {
    let base = [
        shape(1, 1, [4, 4], [2, 2]),
        shape(2, 3, [5, 7], [2, 3]),
        shape(31, 2, [3, 4], [1, 2]),
        shape(32, 2, [4, 4], [2, 2]),
        shape(33, 1, [3, 5], [3, 2]),
        shape(64 + 17, 2, [3, 3], [2, 2]),
        // Windows that overlap, that leave elements out, and of one element.
        PoolShape {
            stride: [1, 2],
            ..shape(3, 2, [6, 7], [3, 3])
        },
        PoolShape {
            stride: [3, 3],
            ..shape(3, 2, [7, 8], [2, 1])
        },
        shape(5, 3, [2, 3], [1, 1]),
        // Padding, the same all round and not; as much as half of the window.
        PoolShape {
            padding: [[1, 1], [1, 1]],
            stride: [2, 2],
            ..shape(4, 2, [5, 6], [3, 3])
        },
        PoolShape {
            padding: [[0, 1], [2, 0]],
            stride: [1, 3],
            ..shape(2, 3, [4, 7], [3, 5])
        },
        PoolShape {
            padding: [[1, 1], [2, 2]],
            stride: [2, 3],
            ..shape(2, 1, [3, 5], [2, 4])
        },
        // Dilation, with padding too.
        PoolShape {
            dilation: [2, 3],
            stride: [1, 1],
            ..shape(2, 2, [6, 8], [3, 2])
        },
        PoolShape {
            dilation: [2, 1],
            padding: [[2, 1], [1, 0]],
            stride: [2, 2],
            ..shape(2, 2, [6, 5], [3, 3])
        },
        // One dimension; the whole image; an image of one pixel, padded or not.
        PoolShape {
            stride: [1, 2],
            ..shape(6, 2, [1, 13], [1, 4])
        },
        shape(3, 4, [5, 4], [5, 4]),
        shape(3, 4, [1, 1], [1, 1]),
        PoolShape {
            padding: [[1, 1], [1, 1]],
            stride: [1, 1],
            ..shape(2, 2, [1, 1], [3, 3])
        },
        // A window larger than the image, by less than its step or by more; on one axis alone.
        PoolShape {
            stride: [2, 3],
            ..shape(2, 2, [2, 3], [3, 5])
        },
        PoolShape {
            stride: [1, 1],
            ..shape(2, 2, [2, 2], [3, 2])
        },
        shape(2, 2, [2, 5], [3, 2]),
        // Nothing.
        shape(0, 3, [4, 4], [2, 2]),
        shape(3, 0, [4, 4], [2, 2]),
        shape(3, 2, [0, 4], [2, 2]),
    ];
    let ceil = base.map(|shape| PoolShape {
        ceil: true,
        ..shape
    });
    base.into_iter().chain(ceil).collect()
}

/// Runs one case on every instruction set.
fn everywhere<T: Element>(algebra: &Algebra, case: Pooling, seed: u64) {
    let prepared = Pools::<T>::new(algebra, case, seed);
    for exec in single() {
        prepared.check(&exec);
    }
}

fn awkward_shapes<T: Element>(algebras: &[Algebra]) {
    let mut noise = Noise::new(1);
    for algebra in algebras {
        for &kind in algebra.kinds() {
            for shape in awkward() {
                for pool in POOLS {
                    for gradient in [false, true] {
                        for values in VALUES {
                            let case = Pooling {
                                shape,
                                pool,
                                gradient,
                                kind,
                                values,
                            };
                            everywhere::<T>(algebra, case, noise.next());
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn awkward_shapes_f32() {
    awkward_shapes::<f32>(&Algebra::all());
}

#[test]
fn awkward_shapes_f64() {
    awkward_shapes::<f64>(&Algebra::all());
}

/// Places by PyTorch's documented rule, and a few by hand.
#[test]
fn places() {
    for shape in awkward() {
        let output = pool_images(&shape)[1];
        assert_eq!(shape.output(), [output.rows, output.columns], "{shape:?}");
    }
    let along = |input, kernel, stride, padding, ceil| {
        let shape = PoolShape {
            stride: [stride, 1],
            padding: [[padding, padding], [0, 0]],
            ceil,
            ..shape(1, 1, [input, 1], [kernel, 1])
        };
        shape.output()[0]
    };
    for (input, kernel, stride, padding, floor, ceil) in [
        (5, 2, 2, 0, 2, 3),
        (6, 3, 2, 0, 2, 3),
        (7, 3, 2, 1, 4, 4),
        // A third window would start in the padding after the image.
        (4, 2, 2, 1, 3, 3),
        (3, 2, 2, 1, 2, 2),
        // The image is smaller than the window: one that starts in it and ends past it.
        (2, 3, 2, 0, 0, 1),
        (2, 3, 1, 0, 0, 0),
        (1, 5, 3, 0, 0, 0),
    ] {
        assert_eq!(along(input, kernel, stride, padding, false), floor);
        assert_eq!(along(input, kernel, stride, padding, true), ceil);
    }
}

/// Of equal elements the first in the order rows, columns gets the whole gradient, exactly.
#[test]
fn ties_go_to_the_first() {
    let algebra = Algebra::real();
    let shape = PoolShape {
        stride: [1, 1],
        ..shape(2, 1, [2, 3], [2, 2])
    };
    // Image by image: (1 1 0 / 1 2 2) and (3 3 3 / 3 3 3), side by side.
    let input = [
        1.0, 3.0, 1.0, 3.0, 0.0, 3.0, 1.0, 3.0, 2.0, 3.0, 2.0, 3.0f32,
    ];
    let gradient = [5.0, 7.0, 11.0, 13.0f32];
    // The first image's windows both have their largest in the middle below, the second's in their
    // upper left corners.
    let expected = [0.0, 7.0, 0.0, 13.0, 0.0, 0.0, 0.0, 0.0, 16.0, 0.0, 0.0, 0.0];
    for exec in single() {
        let (from, above) = (filled(&input), filled(&gradient));
        let mut output = Guarded::poisoned(1, 4, 0);
        let mut found = Guarded::poisoned(1, 12, 0);
        let arithmetic = &algebra.arithmetic;
        let (x, g) = (from.view(), above.view());
        pool(
            &exec,
            arithmetic,
            &shape,
            Pool::Max,
            x,
            &mut output.view_mut(),
        )
        .expect("it fits");
        assert_eq!(output.planes()[0], [2.0, 3.0, 2.0, 3.0]);
        let to = &mut found.view_mut();
        pool_gradient(&exec, arithmetic, &shape, Pool::Max, x, g, to).expect("it fits");
        assert_eq!(found.planes()[0], expected, "{exec:?}");
    }
}

/// A plaintext.
pub(crate) fn filled(values: &[f32]) -> Guarded<f32> {
    Guarded::filled(&[values.to_vec()], 0)
}

/// Channels are one task's each, so threads change no bit.
fn any_number_of_threads<T: Element>() {
    let shape = PoolShape {
        padding: [[1, 0], [1, 1]],
        stride: [2, 2],
        ..shape(33, 7, [20, 21], [3, 3])
    };
    let algebra = Algebra::compact2([0.75, -0.5]);
    for kind in Kind::ALL {
        for pool in POOLS {
            for gradient in [false, true] {
                let case = Pooling {
                    shape,
                    pool,
                    gradient,
                    kind,
                    values: Values::Distinct,
                };
                let prepared = Pools::<T>::new(&algebra, case, 2);
                for isa in Isa::available() {
                    let alone = prepared.check(&Exec { isa, threads: 1 });
                    for threads in [0, 2, 3, 4, 5] {
                        let found = prepared.check(&Exec { isa, threads });
                        for (a, b) in alone.planes().into_iter().zip(found.planes()) {
                            assert!(same_bits(a, b), "{isa} {threads} {case:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn any_number_of_threads_f32() {
    any_number_of_threads::<f32>();
}

#[test]
fn any_number_of_threads_f64() {
    any_number_of_threads::<f64>();
}

/// A shape, with windows that all have an element.
fn any_shape() -> impl Strategy<Value = PoolShape> {
    let batch = prop_oneof![Just(0usize), Just(1), 2usize..9, 30usize..36];
    let pair = |most: usize| [1..=most, 1..=most];
    (
        (batch, 1usize..4, any::<bool>()),
        pair(9),
        pair(5),
        pair(4),
        [[0usize..5, 0usize..5], [0usize..5, 0usize..5]],
        pair(3),
    )
        .prop_map(
            |((batch, channels, ceil), input, kernel, stride, mut padding, dilation)| {
                for axis in 0..2 {
                    let span = (kernel[axis] - 1) * dilation[axis] + 1;
                    padding[axis] = padding[axis].map(|p| p.min(span / 2));
                }
                PoolShape {
                    batch,
                    channels,
                    input,
                    kernel,
                    stride,
                    padding,
                    dilation,
                    ceil,
                }
            },
        )
        .prop_filter("a window without an element", |shape| {
            // Taps further apart than the image is long may all miss it.
            (0..2).all(|axis| shape.dilation[axis] <= shape.input[axis])
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
        pool in 0..3usize,
        (gradient, cipher, few) in any::<(bool, bool, bool)>(),
        seed in any::<u64>(),
    ) {
        let algebra = &Algebra::all()[algebra];
        let kinds = algebra.kinds();
        let case = Pooling {
            shape,
            pool: POOLS[pool],
            gradient,
            kind: kinds[usize::from(cipher).min(kinds.len() - 1)],
            values: VALUES[usize::from(few)],
        };
        let output = pool_images(&shape)[1];
        prop_assert_eq!(shape.output(), [output.rows, output.columns]);
        if seed % 2 == 0 {
            everywhere::<f32>(algebra, case, seed);
        } else {
            everywhere::<f64>(algebra, case, seed);
        }
    }
}

/// A bound far above every result would let anything pass.
#[test]
fn bounds_are_small_beside_results() {
    for algebra in Algebra::all() {
        for pool in POOLS {
            for gradient in [false, true] {
                let case = Pooling {
                    shape: shape(3, 2, [4, 6], [2, 3]),
                    pool,
                    gradient,
                    kind: algebra.kinds()[algebra.kinds().len() - 1],
                    values: Values::Distinct,
                };
                let prepared = Pools::<f32>::new(&algebra, case, 4);
                let largest = |values: &[Vec<f64>]| {
                    let all = values.iter().flatten();
                    all.fold(0.0, |x: f64, y| x.max(y.abs()))
                };
                let (bound, result) = (largest(&prepared.bounds), largest(&prepared.expected));
                assert!(
                    bound < 0.02 * result,
                    "{} {pool:?}: bound {bound:e} beside {result:e}",
                    algebra.name
                );
            }
        }
    }
}
