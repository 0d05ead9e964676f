//! What a pooling refuses, and that the tests notice a wrong one.

use crate::pool::{POOLS, filled, shape};
use crate::support::{Algebra, Guarded, Kind, Pooling, Pools, Values, same_bits, single};
use furthermore_kernels_cpu::pool::{Pool, PoolShape, pool, pool_gradient};
use furthermore_kernels_cpu::{Element, Exec, Isa, KernelError};

const EXEC: Exec = Exec {
    isa: Isa::PORTABLE,
    threads: 2,
};

/// Planes and elements of an operand.
type Size = (usize, usize);

/// Runs a pooling, or its gradient where there is one, on operands of these sizes; where it is
/// refused nothing may be written.
fn run(
    shape: &PoolShape,
    kind: Pool,
    input: Size,
    gradient: Option<Size>,
    output: Size,
) -> Result<(), KernelError> {
    let arithmetic = &Algebra::compact2([0.75, -0.5]).arithmetic;
    let ones = |(planes, len): Size| Guarded::filled(&vec![vec![1.0f32; len]; planes], 1);
    let (input, gradient) = (ones(input), gradient.map(ones));
    let mut to = Guarded::poisoned(output.0, output.1, 1);
    let outcome = match &gradient {
        None => pool(
            &EXEC,
            arithmetic,
            shape,
            kind,
            input.view(),
            &mut to.view_mut(),
        ),
        Some(gradient) => pool_gradient(
            &EXEC,
            arithmetic,
            shape,
            kind,
            input.view(),
            gradient.view(),
            &mut to.view_mut(),
        ),
    };
    if outcome.is_err() {
        to.intact().expect("nothing is written beside");
        let all = to.planes().into_iter().flatten().all(|x| x.is_nan());
        assert!(all, "a refused kernel wrote to its output");
    }
    outcome.map(drop)
}

#[test]
fn operands_that_do_not_fit() {
    let length = |operand, needs, has| {
        Err(KernelError::Length {
            kernel: "pool",
            operand,
            needs,
            has,
        })
    };
    let planes = |operand, needs, has| {
        Err(KernelError::PlaneCount {
            kernel: "pool",
            operand,
            needs,
            has,
        })
    };
    // 60 elements, 12 places.
    let shape = shape(2, 3, [5, 2], [2, 2]);
    for kind in POOLS {
        let forward = |input, output| run(&shape, kind, input, None, output);
        forward((2, 60), (2, 12)).expect("all fits");
        forward((1, 60), (1, 12)).expect("all fits");
        for has in [0, 59, 61] {
            assert_eq!(forward((2, has), (2, 12)), length("input", 60, has));
        }
        for has in [0, 11, 13] {
            assert_eq!(forward((2, 60), (2, has)), length("output", 12, has));
        }
        assert_eq!(forward((1, 60), (2, 12)), planes("input", 2, 1));
        assert_eq!(forward((2, 60), (1, 12)), planes("input", 1, 2));
        assert_eq!(forward((3, 60), (3, 12)), planes("output", 1, 3));
        assert_eq!(forward((0, 0), (0, 0)), planes("output", 1, 0));
        let back = |input, gradient, output| run(&shape, kind, input, Some(gradient), output);
        back((2, 60), (2, 12), (2, 60)).expect("all fits");
        for has in [0, 59, 61] {
            let wrong = (2, has);
            assert_eq!(back(wrong, (2, 12), (2, 60)), length("input", 60, has));
            assert_eq!(back((2, 60), (2, 12), wrong), length("output", 60, has));
        }
        for has in [0, 11, 13] {
            let outcome = back((2, 60), (2, has), (2, 60));
            assert_eq!(outcome, length("gradient", 12, has));
        }
        assert_eq!(back((1, 60), (2, 12), (2, 60)), planes("input", 2, 1));
        assert_eq!(back((2, 60), (1, 12), (2, 60)), planes("gradient", 2, 1));
        assert_eq!(back((2, 60), (2, 12), (3, 60)), planes("output", 1, 3));
    }
    let error = run(&shape, Pool::Max, (2, 60), None, (2, 7)).expect_err("it does not fit");
    let message = error.to_string();
    for part in ["pool", "output", "12", "7"] {
        assert!(message.contains(part), "'{message}' lacks {part}");
    }
}

/// Shapes that are no pooling are refused by their reason, whatever the operands.
#[test]
fn shapes_that_are_none() {
    let base = shape(2, 3, [5, 4], [2, 2]);
    let zero = "window, stride and dilation have to be at least 1";
    let half = "the padding is more than half of the window";
    let empty = "a window covers no element";
    let mut shapes = Vec::new();
    for axis in 0..2 {
        let set = |mut sizes: [usize; 2], x| {
            sizes[axis] = x;
            sizes
        };
        let pad = |before, after| {
            let mut padding = base.padding;
            padding[axis] = [before, after];
            padding
        };
        let (kernel, stride, dilation) = (
            set(base.kernel, 0),
            set(base.stride, 0),
            set(base.dilation, 0),
        );
        shapes.push((PoolShape { kernel, ..base }, zero));
        shapes.push((PoolShape { stride, ..base }, zero));
        shapes.push((PoolShape { dilation, ..base }, zero));
        for (before, after) in [(2, 0), (0, 2), (2, 2), (usize::MAX, 0)] {
            let padding = pad(before, after);
            shapes.push((PoolShape { padding, ..base }, half));
        }
        // Two taps three apart, about an image of two.
        let around = PoolShape {
            input: set(base.input, 2),
            padding: pad(1, 1),
            dilation: set(base.dilation, 3),
            ..base
        };
        shapes.push((around, empty));
    }
    for (shape, reason) in shapes {
        for kind in POOLS {
            let (x, y) = ((2, shape.input_len()), (2, shape.output_len().min(1000)));
            let refusal = Err(KernelError::Shape {
                kernel: "pool",
                reason,
            });
            assert_eq!(run(&shape, kind, x, None, y), refusal, "{shape:?}");
            assert_eq!(run(&shape, kind, x, Some(y), x), refusal, "{shape:?}");
        }
    }
    // Half of the window is allowed.
    let padding = [[1, 1], [1, 1]];
    let shape = PoolShape { padding, ..base };
    run(&shape, Pool::Max, (2, 120), None, (2, 54)).expect("each window has an element");
}

/// Sizes whose sums and products pass every number are refused or have nothing to do: no panic, no
/// endless loop, no small number that they come round to.
#[test]
fn absurd_sizes() {
    type Field = fn(&mut PoolShape) -> &mut usize;
    let fields: [Field; 14] = [
        |s| &mut s.batch,
        |s| &mut s.channels,
        |s| &mut s.input[0],
        |s| &mut s.input[1],
        |s| &mut s.kernel[0],
        |s| &mut s.kernel[1],
        |s| &mut s.stride[0],
        |s| &mut s.stride[1],
        |s| &mut s.padding[0][0],
        |s| &mut s.padding[0][1],
        |s| &mut s.padding[1][0],
        |s| &mut s.padding[1][1],
        |s| &mut s.dilation[0],
        |s| &mut s.dilation[1],
    ];
    let mut refused = 0;
    for (batch, channels) in [(2, 3), (0, 3), (2, 0)] {
        for ceil in [false, true] {
            let base = PoolShape {
                ceil,
                ..shape(batch, channels, [5, 4], [2, 2])
            };
            for first in 0..fields.len() {
                for second in first..fields.len() {
                    for value in [usize::MAX, usize::MAX / 2 + 1, 1 << 40, 1 << 32] {
                        let mut shape = base;
                        *fields[first](&mut shape) = value;
                        *fields[second](&mut shape) = value;
                        let (x, y) = (shape.input_len(), shape.output_len());
                        // What cannot be had is handed over short.
                        let (from, to) = ((2, x.min(1000)), (2, y.min(1000)));
                        for kind in POOLS {
                            let outcomes = [
                                run(&shape, kind, from, None, to),
                                run(&shape, kind, from, Some(to), from),
                            ];
                            if x > 1000 || y > 1000 {
                                for outcome in outcomes {
                                    outcome.expect_err("no such operands exist");
                                    refused += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(refused > 1000);
}

/// What is not finite is seen by a maximum, wherever it lies in a window.
#[test]
fn infinities_are_seen() {
    let algebra = Algebra::real();
    let shape = shape(3, 1, [2, 2], [2, 2]);
    for exec in single() {
        for at in 0..12 {
            for (x, finite) in [
                (0.5, true),
                (f32::INFINITY, false),
                (f32::NEG_INFINITY, false),
                (f32::NAN, false),
            ] {
                let mut values = vec![1.0; 12];
                values[at] = x;
                let input = filled(&values);
                let mut output = Guarded::poisoned(1, 3, 0);
                let to = &mut output.view_mut();
                let seen = pool(
                    &exec,
                    &algebra.arithmetic,
                    &shape,
                    Pool::Max,
                    input.view(),
                    to,
                );
                assert_eq!(seen.expect("it fits").finite(), finite, "{exec:?} {at} {x}");
            }
        }
    }
}

/// One element off by little is found, and so is one in another's place.
fn corruption_is_found<T: Element>() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    for pool in POOLS {
        for gradient in [false, true] {
            let case = Pooling {
                shape: shape(3, 2, [4, 6], [2, 3]),
                pool,
                gradient,
                kind: Kind::Cipher,
                values: Values::Distinct,
            };
            let prepared = Pools::<T>::new(&algebra, case, 3);
            let right = prepared.check(&EXEC);
            let worst = prepared
                .bounds
                .iter()
                .flatten()
                .fold(0.0f64, |x, y| x.max(*y));
            for plane in 0..2 {
                let shown = [0, 1].map(|k| algebra.to[k * 2 + plane].abs());
                let shown = shown[0].max(shown[1]);
                for at in [0, right.len() / 2, right.len() - 1] {
                    let x = right.planes()[plane][at].wide();
                    for wrong in [x + 4.0 * worst / shown, x - 4.0 * worst / shown, f64::NAN] {
                        let mut result = right.clone();
                        result.view_mut().plane_mut(plane)[at] = T::of(wrong);
                        let outcome = prepared.compare(&result);
                        assert!(outcome.is_err(), "{wrong} in place of {x} went unnoticed");
                    }
                }
            }
            // Images 0 and 1 exchanged at one pixel.
            let mut result = right.clone();
            for plane in 0..2 {
                result.view_mut().plane_mut(plane).swap(0, 1);
            }
            let differ = right.planes().iter().any(|p| !same_bits(&p[..1], &p[1..2]));
            assert!(!differ || prepared.compare(&result).is_err(), "{case:?}");
        }
    }
}

#[test]
fn corruption_is_found_f32() {
    corruption_is_found::<f32>();
}

#[test]
fn corruption_is_found_f64() {
    corruption_is_found::<f64>();
}
