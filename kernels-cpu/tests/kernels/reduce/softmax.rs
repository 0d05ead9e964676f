//! Softmax and its logarithm over rows, and their gradients, slot by slot.

use crate::support::{
    Algebra, Guarded, Noise, Operand, Slot, execs, read, same_bits, single, verify, written,
};
use furthermore_kernels_cpu::reduce::{
    log_softmax, log_softmax_gradient, softmax, softmax_gradient,
};
use furthermore_kernels_cpu::{Element, Exec, Isa};

/// Rows and columns about vectors' widths, and enough for five threads.
const SHAPES: [(usize, usize); 9] = [
    (0, 10),
    (1, 1),
    (3, 1),
    (1, 10),
    (7, 3),
    (4, 16),
    (5, 33),
    (2, 300),
    (901, 13),
];

fn everywhere<T: Element>(scale: f64) {
    let mut noise = Noise::new(1);
    for (rows, columns) in SHAPES {
        let len = rows * columns;
        for algebra in Algebra::all() {
            for &kind in algebra.kinds() {
                let form = algebra.of_kind(kind);
                let arithmetic = &algebra.arithmetic;
                let x = Operand::<T>::drawn(&algebra, kind, || noise.slots(len, -scale, scale));
                let g = Operand::<T>::drawn(&algebra, kind, || noise.slots(len, -1.0, 1.0));
                for logarithm in [false, true] {
                    // Any output will do for the gradients; these are of a softmax's sizes.
                    let low = if logarithm { -6.0 } else { 0.0 };
                    let y = Operand::<T>::drawn(&algebra, kind, || {
                        noise.slots(len, low, low + 6.0 / 7.0)
                    });
                    let (xs, ys, gs) = (read(&form, &x), read(&form, &y), read(&form, &g));
                    let slot = |x, y| Slot { columns, x, y };
                    let values: Vec<_> = (0..form.slots)
                        .map(|k| slot(&xs[k], &gs[k]).normalised::<T>(logarithm))
                        .collect();
                    let gradients: Vec<_> = (0..form.slots)
                        .map(|k| slot(&ys[k], &gs[k]).normalised_gradient::<T>(logarithm))
                        .collect();
                    let (values, gradients) = (
                        written::<T>(&form, &values),
                        written::<T>(&form, &gradients),
                    );
                    for exec in if rows > 100 { execs() } else { single() } {
                        let context = || {
                            let name = &algebra.name;
                            format!("{name} {kind:?} {rows}x{columns} ln {logarithm} {exec:?}")
                        };
                        let mut output = Guarded::poisoned(form.dim, len, 3);
                        let to = &mut output.view_mut();
                        let seen = if logarithm {
                            log_softmax(&exec, arithmetic, x.view(), columns, to)
                        } else {
                            softmax(&exec, arithmetic, x.view(), columns, to)
                        };
                        let seen = seen.expect("the operands fit");
                        verify(&form, &output, (&values.0, &values.1))
                            .unwrap_or_else(|error| panic!("{}: {error}", context()));
                        assert!(seen.finite() && seen.max_abs().len() == form.slots);

                        let mut output = Guarded::poisoned(form.dim, len, 3);
                        let to = &mut output.view_mut();
                        let (y, g) = (y.view(), g.view());
                        let seen = if logarithm {
                            log_softmax_gradient(&exec, arithmetic, y, g, columns, to)
                        } else {
                            softmax_gradient(&exec, arithmetic, y, g, columns, to)
                        };
                        let seen = seen.expect("the operands fit");
                        verify(&form, &output, (&gradients.0, &gradients.1))
                            .unwrap_or_else(|error| panic!("gradient {}: {error}", context()));
                        for (k, gs) in gs.iter().enumerate() {
                            let most = gs.iter().fold(0.0f64, |most, g| most.max(g.0.abs()));
                            let off = gs.iter().fold(0.0f64, |off, g| off.max(g.1));
                            assert!((seen.max_abs()[k] - most).abs() <= off, "{}", context());
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn softmax_f32() {
    everywhere::<f32>(4.0);
}

#[test]
fn softmax_f64() {
    everywhere::<f64>(4.0);
}

/// Inputs of a thousand would overflow an exponential that the row's maximum is not taken off of.
#[test]
fn large_inputs() {
    everywhere::<f64>(1e3);
}

/// What is not finite is seen in whatever lane it stands.
#[test]
fn spoilt_inputs_are_seen() {
    let real = Algebra::real();
    for exec in single() {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..33 {
                let mut x = Guarded::filled(&[vec![0.5f32; 33]], 1);
                x.view_mut().plane_mut(0)[at] = odd;
                let mut output = Guarded::poisoned(1, 33, 0);
                let to = &mut output.view_mut();
                let seen = softmax(&exec, &real.arithmetic, x.view(), 11, to);
                assert!(!seen.expect("they fit").finite(), "{odd} at {at} {exec:?}");
                let seen = softmax_gradient(&exec, &real.arithmetic, x.view(), x.view(), 11, to);
                assert!(!seen.expect("they fit").finite(), "{odd} at {at} {exec:?}");
            }
        }
    }
}

/// A row is summed by one thread in one order, so the cut does not show in the bits.
#[test]
fn same_bits_for_any_cut() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let mut noise = Noise::new(2);
    let kind = compact.kinds()[1];
    let x = Operand::<f32>::drawn(&compact, kind, || noise.slots(10_010, -2.0, 2.0));
    for isa in Isa::available() {
        let run = |threads| {
            let exec = Exec { isa, threads };
            let (mut y, mut g) = (
                Guarded::poisoned(2, 10_010, 0),
                Guarded::poisoned(2, 10_010, 0),
            );
            let arithmetic = &compact.arithmetic;
            log_softmax(&exec, arithmetic, x.view(), 10, &mut y.view_mut()).expect("it fits");
            let to = &mut g.view_mut();
            log_softmax_gradient(&exec, arithmetic, y.view(), x.view(), 10, to).expect("it fits");
            [y.planes().concat(), g.planes().concat()].concat()
        };
        let one = run(1);
        for threads in [2, 3, 5, 64] {
            assert!(same_bits(&one, &run(threads)), "{isa} {threads}");
        }
    }
}
