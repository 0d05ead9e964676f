//! Sums, means and maxima along an axis.

use crate::support::{
    Algebra, Guarded, Kind, Noise, Operand, Tolerance, each_element, execs, read, same_bits,
    single, verify, written,
};
use furthermore_kernels_cpu::reduce::{Axis, max, max_gradient, mean, sum};
use furthermore_kernels_cpu::{Element, Exec, Isa, KernelError};

/// Outer, length and inner: nothing in any place, the contiguous axis and others, rows shorter than a
/// vector and past four of them, chunks and past them, and enough for five threads.
const AXES: [(usize, usize, usize); 18] = [
    (0, 3, 2),
    (3, 0, 5),
    (3, 0, 1),
    (3, 5, 0),
    (1, 1, 1),
    (2, 7, 1),
    (5, 10, 1),
    (1, 16, 1),
    (3, 77, 1),
    (2, 1000, 1),
    (1, 64, 33),
    (3, 16, 17),
    (7, 3, 16),
    (4, 5, 3),
    (2, 129, 64),
    (1, 301, 130),
    (5, 20, 1000),
    (3000, 31, 1),
];

fn axis((outer, length, inner): (usize, usize, usize)) -> Axis {
    Axis {
        outer,
        length,
        inner,
    }
}

/// The elements that are reduced to element `e`.
fn line(axis: &Axis, e: usize) -> Vec<usize> {
    let (outer, inner) = (e / axis.inner, e % axis.inner);
    (0..axis.length)
        .map(|step| (outer * axis.length + step) * axis.inner + inner)
        .collect()
}

/// Algebras for a tensor of that size: larger ones say nothing new about threads.
fn algebras(len: usize) -> Vec<Algebra> {
    if len < 10_000 {
        Algebra::all()
    } else {
        vec![Algebra::real(), Algebra::compact2([0.75, -0.5])]
    }
}

fn execs_of(len: usize) -> Vec<Exec> {
    if len < 10_000 { single() } else { execs() }
}

fn sums<T: Element>() {
    let mut noise = Noise::new(1);
    for axis in AXES.map(axis) {
        let (reduced, length) = (axis.outer * axis.inner, axis.length);
        let len = reduced * length;
        for algebra in algebras(len) {
            for &kind in algebra.kinds() {
                let form = algebra.of_kind(kind);
                let input = Operand::<T>::drawn(&algebra, kind, || noise.slots(len, -1.0, 1.0));
                // As stored; a chunk of at most 128 in order, the chunks, four accumulators and the
                // lanes of a vector; and for a mean its factor and product.
                let count = 1 + length.min(128) + length.div_ceil(128) + 12;
                let tolerance = Tolerance::roundings::<T>(count).plus(form.defect);
                let oracle = |scale: f64| {
                    each_element(form.slots, reduced, |e| {
                        let (mut total, mut sizes) = (vec![0.0; form.slots], vec![0.0; form.dim]);
                        for e in line(&axis, e) {
                            for (total, x) in total.iter_mut().zip(input.element(e, form.slots)) {
                                *total += scale * x;
                            }
                            for (size, plane) in sizes.iter_mut().zip(&input.sizes) {
                                *size += tolerance.of(scale * plane[e]);
                            }
                        }
                        (total, form.slot_errors(&sizes))
                    })
                };
                for of_mean in [false, true] {
                    if of_mean && length == 0 {
                        continue;
                    }
                    let scale = if of_mean { 1.0 / length as f64 } else { 1.0 };
                    let (expected, bounds) = oracle(scale);
                    for exec in execs_of(len) {
                        let mut output = Guarded::poisoned(form.dim, reduced, 4);
                        let kernel = if of_mean { mean } else { sum };
                        kernel(&exec, &axis, input.view(), &mut output.view_mut())
                            .expect("they fit");
                        verify_zeros(&output, length);
                        if length > 0 {
                            verify(&form, &output, (&expected, &bounds)).unwrap_or_else(|error| {
                                let name = &algebra.name;
                                panic!("{name} {kind:?} {axis:?} {of_mean} {exec:?}: {error}")
                            });
                        }
                    }
                }
            }
        }
    }
}

/// Nothing sums to exactly zero, and no more is written.
fn verify_zeros<T: Element>(output: &Guarded<T>, length: usize) {
    output.intact().expect("nothing is written beside");
    let zeros = output.planes().concat().iter().all(|x| x.is_zero());
    assert!(length > 0 || zeros);
}

#[test]
fn sums_f32() {
    sums::<f32>();
}

#[test]
fn sums_f64() {
    sums::<f64>();
}

/// A running sum of ten million in f32 is off by percents.
#[test]
fn long_axes_keep_their_digits() {
    let values = vec![1.7f32; 10_000_000];
    for exec in single() {
        for inner in [1, 2] {
            let axis = axis((1, values.len() / inner, inner));
            let mut output = Guarded::poisoned(1, inner, 0);
            let input = furthermore_kernels_cpu::Planes::plain(&values);
            sum(&exec, &axis, input, &mut output.view_mut()).expect("they fit");
            let expected = f64::from(1.7f32) * axis.length as f64;
            // Chunks as long as there are chunks, and what a short axis takes.
            let bound = Tolerance::roundings::<f32>(2 * axis.length.isqrt() + 14).of(expected);
            for x in output.planes()[0] {
                let off = (f64::from(*x) - expected).abs();
                assert!(off <= bound, "{off:e} {axis:?} {exec:?}");
            }
        }
    }
}

/// Slots in steps that no rounding closes, each line shuffled; in every line of two or more elements
/// one is there twice, in all slots, so that there are ties.
fn stepped<T: Element>(
    noise: &mut Noise,
    algebra: &Algebra,
    kind: Kind,
    axis: &Axis,
) -> Operand<T> {
    let reduced = axis.outer * axis.inner;
    let slots = algebra.of_kind(kind).slots;
    let mut values = vec![vec![0.0; reduced * axis.length]; slots];
    for e in 0..reduced {
        let line = line(axis, e);
        for values in &mut values {
            let mut left = line.clone();
            for rank in 0..line.len() {
                let at = left.swap_remove(noise.below(left.len()));
                values[at] = 2.0 * (rank as f64 + 0.5) / line.len() as f64 - 1.0;
            }
        }
        if line.len() > 1 {
            // The largest in some slot.
            let most = &values[noise.below(slots)];
            let top = line
                .iter()
                .copied()
                .max_by(|&x, &y| most[x].total_cmp(&most[y]));
            let (top, other) = (top.expect("a line"), line[noise.below(line.len())]);
            for values in &mut values {
                values[other] = values[top];
            }
        }
    }
    Operand::new(algebra, kind, values)
}

fn maxima<T: Element>() {
    let mut noise = Noise::new(2);
    for axis in AXES.map(axis).into_iter().filter(|axis| axis.length > 0) {
        let reduced = axis.outer * axis.inner;
        let len = reduced * axis.length;
        for algebra in algebras(len) {
            for &kind in algebra.kinds() {
                let form = algebra.of_kind(kind);
                let input = stepped::<T>(&mut noise, &algebra, kind, &axis);
                let g = Operand::<T>::drawn(&algebra, kind, || noise.slots(reduced, -1.0, 1.0));
                let (xs, gs) = (read(&form, &input), read(&form, &g));
                let mut values = vec![vec![(0.0, 0.0); reduced]; form.slots];
                let mut gradients = vec![vec![(0.0, 0.0); len]; form.slots];
                for k in 0..form.slots {
                    for e in 0..reduced {
                        let line = line(&axis, e);
                        let mut first = line[0];
                        for &at in &line {
                            if xs[k][at].0 > xs[k][first].0 {
                                first = at;
                            }
                        }
                        let off = line.iter().fold(0.0f64, |off, &at| off.max(xs[k][at].1));
                        values[k][e] = (xs[k][first].0, off);
                        gradients[k][first] = gs[k][e];
                    }
                }
                let values = written::<T>(&form, &values);
                let gradients = written::<T>(&form, &gradients);
                for exec in execs_of(len) {
                    let context = || format!("{} {kind:?} {axis:?} {exec:?}", algebra.name);
                    let arithmetic = &algebra.arithmetic;
                    let mut output = Guarded::poisoned(form.dim, reduced, 4);
                    let to = &mut output.view_mut();
                    let seen = max(&exec, arithmetic, &axis, input.view(), to).expect("they fit");
                    verify(&form, &output, (&values.0, &values.1))
                        .unwrap_or_else(|error| panic!("{}: {error}", context()));
                    let mut output = Guarded::poisoned(form.dim, len, 4);
                    let to = &mut output.view_mut();
                    let (x, g) = (input.view(), g.view());
                    let again = max_gradient(&exec, arithmetic, &axis, x, g, to).expect("they fit");
                    verify(&form, &output, (&gradients.0, &gradients.1))
                        .unwrap_or_else(|error| panic!("gradient {}: {error}", context()));
                    for (seen, slots) in [(seen, &xs), (again, &gs)] {
                        assert!(seen.finite() && seen.max_abs().len() == form.slots);
                        for (k, slot) in slots.iter().enumerate() {
                            let most = slot.iter().fold(0.0f64, |most, x| most.max(x.0.abs()));
                            let off = slot.iter().fold(0.0f64, |off, x| off.max(x.1));
                            assert!((seen.max_abs()[k] - most).abs() <= off, "{}", context());
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn maxima_f32() {
    maxima::<f32>();
}

#[test]
fn maxima_f64() {
    maxima::<f64>();
}

/// Of equal elements the first has the gradient, all of it and exactly, along either kind of axis.
#[test]
fn the_first_of_equals() {
    let real = Algebra::real();
    for exec in single() {
        for length in [1, 2, 7, 16, 40] {
            for inner in [1, 3] {
                let axis = axis((2, length, inner));
                for first in 0..length {
                    let len = 2 * length * inner;
                    let mut x = vec![-2.0f32; len];
                    let mut expected = vec![0.0f32; len];
                    for e in 0..2 * inner {
                        let line = line(&axis, e);
                        for &at in &line[first..] {
                            x[at] = -1.0;
                        }
                        expected[line[first]] = 3.5;
                    }
                    let x = Guarded::filled(&[x], 0);
                    let g = Guarded::filled(&[vec![3.5f32; 2 * inner]], 0);
                    let mut output = Guarded::poisoned(1, len, 0);
                    let to = &mut output.view_mut();
                    max_gradient(&exec, &real.arithmetic, &axis, x.view(), g.view(), to)
                        .expect("they fit");
                    assert_eq!(output.planes()[0], expected, "{axis:?} {first} {exec:?}");
                }
            }
        }
    }
}

/// Numbers that are not finite are seen, and lead to no write beside the output.
#[test]
fn spoilt_inputs_are_seen() {
    let real = Algebra::real();
    for exec in single() {
        for axis in [(1, 21, 1), (1, 3, 7)].map(axis) {
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for from in 0..21 {
                    let x = (0..21)
                        .map(|at| if at < from { 0.5 } else { odd })
                        .collect();
                    let x = Guarded::filled(&[x], 0);
                    let reduced = axis.outer * axis.inner;
                    let mut output = Guarded::poisoned(1, reduced, 0);
                    let to = &mut output.view_mut();
                    let seen = max(&exec, &real.arithmetic, &axis, x.view(), to);
                    assert!(!seen.expect("they fit").finite(), "{odd} {axis:?} {exec:?}");
                    output.intact().expect("nothing is written beside");
                    let g = Guarded::filled(&[vec![1.0; reduced]], 0);
                    let mut output = Guarded::poisoned(1, 21, 0);
                    let to = &mut output.view_mut();
                    max_gradient(&exec, &real.arithmetic, &axis, x.view(), g.view(), to)
                        .expect("they fit");
                    output.intact().expect("nothing is written beside");
                }
            }
        }
    }
}

/// An axis of nothing has a sum, but neither mean nor maximum.
#[test]
fn nothing_has_no_mean() {
    let real = Algebra::real();
    let exec = Exec {
        isa: Isa::PORTABLE,
        threads: 1,
    };
    let none = Guarded::<f32>::poisoned(1, 0, 0);
    let two = Guarded::<f32>::poisoned(1, 2, 0);
    let mut output = two.clone();
    let axis = axis((2, 0, 1));
    let refused = KernelError::Length {
        kernel: "reduce",
        operand: "axis",
        needs: 1,
        has: 0,
    };
    let to = &mut output.view_mut();
    assert_eq!(mean(&exec, &axis, none.view(), to), Err(refused.clone()));
    let arithmetic = &real.arithmetic;
    let outcome = max(&exec, arithmetic, &axis, none.view(), to);
    assert_eq!(outcome, Err(refused.clone()));
    let mut empty = none.clone();
    let to = &mut empty.view_mut();
    let outcome = max_gradient(&exec, arithmetic, &axis, none.view(), two.view(), to);
    assert_eq!(outcome, Err(refused));
    assert!(output.planes()[0].iter().all(|x| x.is_nan()));
}

/// A sum is made by one thread in one order, so the cut does not show in the bits.
#[test]
fn same_bits_for_any_cut() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let mut noise = Noise::new(3);
    for axis in [(3, 40, 999), (999, 40, 3), (5000, 30, 1)].map(axis) {
        let (reduced, full) = (
            axis.outer * axis.inner,
            axis.outer * axis.inner * axis.length,
        );
        let draw = || noise.slots(full, -1.0, 1.0);
        let x = Operand::<f32>::drawn(&compact, Kind::Cipher, draw);
        for isa in Isa::available() {
            let run = |threads| {
                let exec = Exec { isa, threads };
                let mut sums = Guarded::poisoned(2, reduced, 0);
                let (mut tops, mut back) = (sums.clone(), x.buffer.clone());
                let arithmetic = &compact.arithmetic;
                sum(&exec, &axis, x.view(), &mut sums.view_mut()).expect("it fits");
                max(&exec, arithmetic, &axis, x.view(), &mut tops.view_mut()).expect("it fits");
                let to = &mut back.view_mut();
                max_gradient(&exec, arithmetic, &axis, x.view(), sums.view(), to).expect("it fits");
                [sums, tops, back].map(|c| c.planes().concat()).concat()
            };
            let one = run(1);
            for threads in [2, 3, 5, 64] {
                assert!(same_bits(&one, &run(threads)), "{isa} {threads}");
            }
        }
    }
}
