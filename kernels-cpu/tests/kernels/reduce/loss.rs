//! Losses, slot by slot against f64 formulas.
use crate::support::{
    Algebra, Guarded, Kind, Noise, Operand, Slot, Tolerance, compare, execs, read, same_bits,
    single, verify, written,
};
use furthermore_kernels_cpu::reduce::{
    binary_cross_entropy, binary_cross_entropy_gradient, mean_squared_error, softmax_cross_entropy,
    softmax_cross_entropy_gradient,
};
use furthermore_kernels_cpu::{Element, Exec, Isa, Planes};

/// Rows and columns: none, one, odd ones, and enough for five threads.
const SHAPES: [(usize, usize); 8] = [
    (0, 10),
    (1, 1),
    (1, 10),
    (7, 3),
    (5, 17),
    (3, 1),
    (64, 10),
    (501, 13),
];

/// A context for a failure.
fn name<T: Element>(algebra: &Algebra, kinds: (Kind, Kind), shape: (usize, usize)) -> String {
    format!("{} {} {kinds:?} {shape:?}", algebra.name, T::NAME)
}

/// Predictions up to `scale`, and targets whose rows are distributions in every slot.
fn operands<T: Element>(
    noise: &mut Noise,
    algebra: &Algebra,
    (predicted, target): (Kind, Kind),
    (rows, columns): (usize, usize),
    scale: f64,
) -> (Operand<T>, Operand<T>) {
    let len = rows * columns;
    let x = Operand::drawn(algebra, predicted, || noise.slots(len, -scale, scale));
    let y = Operand::drawn(algebra, target, || {
        let mut y: Vec<f64> = (0..len).map(|_| noise.uniform(0.0, 1.0)).collect();
        for (nth, row) in y.chunks_mut(columns).enumerate() {
            // Every other row is one-hot, as labels are.
            if nth % 2 == 0 {
                row.fill(0.0);
                row[nth / 2 % columns] = 1.0;
            }
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|y| *y /= sum);
        }
        y
    });
    (x, y)
}

/// Operand kinds of a loss: targets may be plaintext beside ciphertexts, not the reverse.
fn kinds(algebra: &Algebra) -> Vec<(Kind, Kind)> {
    let (p, c) = (Kind::Plain, Kind::Cipher);
    if algebra.dim == 1 {
        vec![(p, p)]
    } else {
        vec![(p, p), (c, p), (c, c)]
    }
}

fn losses<T: Element>(scale: f64) {
    let mut noise = Noise::new(2);
    for shape in SHAPES {
        for algebra in Algebra::all() {
            for kinds in kinds(&algebra) {
                let form = algebra.of_kind(kinds.0);
                let (rows, columns) = shape;
                let (x, y) = operands::<T>(&mut noise, &algebra, kinds, shape, scale);
                let (xs, ys) = (read(&form, &x), read(&form, &y));
                let slot = |k: usize| Slot {
                    columns,
                    x: &xs[k],
                    y: &ys[k],
                };
                let all = || (0..form.slots).map(slot);
                let arithmetic = &algebra.arithmetic;
                let check = |what: &str, c: &Guarded<T>, slots: &[Vec<(f64, f64)>]| {
                    let (expected, bounds) = written::<T>(&form, slots);
                    verify(&form, c, (&expected, &bounds)).unwrap_or_else(|error| {
                        panic!("{what} {}: {error}", name::<T>(&algebra, kinds, shape))
                    });
                };
                let one = |value: (f64, f64)| vec![value];

                for exec in if rows > 100 { execs() } else { single() } {
                    let mut loss = Guarded::poisoned(form.dim, 1, 2);
                    let seen = softmax_cross_entropy(
                        &exec,
                        arithmetic,
                        x.view(),
                        y.view(),
                        columns,
                        &mut loss.view_mut(),
                    )
                    .expect("the operands fit");
                    let slots: Vec<_> = all().map(|slot| one(slot.cross_entropy::<T>())).collect();
                    check("cross entropy", &loss, &slots);
                    assert!(seen.finite() && seen.max_abs().len() == form.slots);
                    for (k, xs) in xs.iter().enumerate() {
                        let most = xs.iter().fold(0.0f64, |most, x| most.max(x.0.abs()));
                        let off = xs.iter().fold(0.0f64, |off, x| off.max(x.1));
                        assert!(
                            (seen.max_abs()[k] - most).abs() <= off,
                            "magnitude of slot {k}"
                        );
                    }

                    let slots: Vec<_> = all().map(|slot| slot.gradient::<T>()).collect();
                    let mut gradient = Guarded::poisoned(form.dim, rows * columns, 2);
                    let again = softmax_cross_entropy_gradient(
                        &exec,
                        arithmetic,
                        x.view(),
                        y.view(),
                        columns,
                        &mut gradient.view_mut(),
                    )
                    .expect("the operands fit");
                    check("gradient", &gradient, &slots);
                    assert_eq!(seen, again, "the same logits have the same magnitudes");

                    let mut loss = Guarded::poisoned(form.dim, 1, 2);
                    let again = mean_squared_error(
                        &exec,
                        arithmetic,
                        x.view(),
                        y.view(),
                        &mut loss.view_mut(),
                    )
                    .expect("the operands fit");
                    let slots: Vec<_> = all().map(|slot| one(slot.squared_error::<T>())).collect();
                    check("squared error", &loss, &slots);
                    assert_eq!(seen, again, "the same predictions have the same magnitudes");

                    let mut loss = Guarded::poisoned(form.dim, 1, 2);
                    let again = binary_cross_entropy(
                        &exec,
                        arithmetic,
                        x.view(),
                        y.view(),
                        &mut loss.view_mut(),
                    )
                    .expect("the operands fit");
                    let slots: Vec<_> = all()
                        .map(|slot| one(slot.binary_cross_entropy::<T>()))
                        .collect();
                    check("binary cross entropy", &loss, &slots);
                    assert_eq!(seen, again, "the same logits have the same magnitudes");

                    let slots: Vec<_> = all().map(|slot| slot.binary_gradient::<T>()).collect();
                    let mut gradient = Guarded::poisoned(form.dim, rows * columns, 2);
                    let again = binary_cross_entropy_gradient(
                        &exec,
                        arithmetic,
                        x.view(),
                        y.view(),
                        &mut gradient.view_mut(),
                    )
                    .expect("the operands fit");
                    check("binary gradient", &gradient, &slots);
                    assert_eq!(seen, again, "the same logits have the same magnitudes");
                }
            }
        }
    }
}

#[test]
fn losses_f32() {
    losses::<f32>(4.0);
}

#[test]
fn losses_f64() {
    losses::<f64>(4.0);
}

/// Logits of a thousand would overflow an exponential that the row's maximum is not taken off of.
#[test]
fn large_logits_f64() {
    losses::<f64>(1e3);
}

/// In f32 the slots of ciphertexts of a thousand are known to some 1e-3, and the bounds say so.
#[test]
fn large_logits_f32() {
    losses::<f32>(1e3);
}

/// All logits of a row far below zero, or one far above the rest, label on it or not: the losses are
/// ln 3, nothing and the distance, the gradients a third each or all on one.
#[test]
fn extreme_rows() {
    let real = Algebra::real();
    let rows = vec![-1e3, -1e3, -1e3, 1e30, -1e30, 0.0, 2e4, -2e4, 0.0];
    let labels = vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    let x = Operand::<f32>::new(&real, Kind::Plain, vec![rows]);
    let y = Operand::<f32>::new(&real, Kind::Plain, vec![labels]);
    let mut loss = Guarded::<f32>::poisoned(1, 1, 0);
    softmax_cross_entropy(
        &Exec {
            isa: Isa::best(),
            threads: 1,
        },
        &real.arithmetic,
        x.view(),
        y.view(),
        3,
        &mut loss.view_mut(),
    )
    .expect("the operands fit");
    let expected = (3.0f64.ln() + 4e4) / 3.0;
    let bound = Tolerance::roundings::<f32>(16).of(expected);
    let found = f64::from(loss.planes()[0][0]);
    assert!(
        (found - expected).abs() <= bound,
        "{found} where {expected} is right"
    );
    let third = 1.0 / 3.0;
    let expected = [third - 1.0, third, third, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0].map(|g| g / 3.0);
    let bounds = vec![Tolerance::roundings::<f32>(16).of(1.0); 9];
    for exec in single() {
        let mut gradient = Guarded::<f32>::poisoned(1, 9, 0);
        let mut to = gradient.view_mut();
        let (x, y) = (x.view(), y.view());
        softmax_cross_entropy_gradient(&exec, &real.arithmetic, x, y, 3, &mut to)
            .expect("the operands fit");
        let found = real.decrypt_planes(&gradient.planes());
        compare(&[expected.to_vec()], &found, std::slice::from_ref(&bounds))
            .unwrap_or_else(|error| panic!("{exec:?}: {error}"));
    }
}

/// A logit that is not finite is seen by the loss and by the gradient, wherever it stands.
#[test]
fn spoilt_logits_are_seen() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let clean = vec![vec![0.5f32; 12], vec![0.25; 12]];
    let targets = vec![1.0f32; 12];
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for plane in 0..2 {
            for at in 0..12 {
                let mut logits = Guarded::filled(&clean, 1);
                logits.view_mut().plane_mut(plane)[at] = odd;
                let targets = Planes::plain(&targets);
                for exec in single() {
                    let mut loss = Guarded::poisoned(2, 1, 0);
                    let seen = softmax_cross_entropy(
                        &exec,
                        &compact.arithmetic,
                        logits.view(),
                        targets,
                        4,
                        &mut loss.view_mut(),
                    );
                    assert!(!seen.expect("they fit").finite(), "{odd} at {at}");
                    let mut gradient = Guarded::poisoned(2, 12, 0);
                    let seen = softmax_cross_entropy_gradient(
                        &exec,
                        &compact.arithmetic,
                        logits.view(),
                        targets,
                        4,
                        &mut gradient.view_mut(),
                    );
                    assert!(!seen.expect("they fit").finite(), "{odd} at {at} {exec:?}");
                }
            }
        }
    }
}

/// The gradient is that of the loss: central differences of the kernel's own loss, slot by slot.
#[test]
fn gradient_is_the_losses_slope() {
    let mut noise = Noise::new(3);
    let step = 1e-4;
    for algebra in [
        Algebra::real(),
        Algebra::compact2([0.75, -0.5]),
        Algebra::blocks(2),
        Algebra::compact(3),
    ] {
        let kind = algebra.kinds()[algebra.kinds().len() - 1];
        let (x, y) = operands::<f64>(&mut noise, &algebra, (kind, kind), (3, 4), 2.0);
        let exec = Exec {
            isa: Isa::best(),
            threads: 1,
        };
        let arithmetic = &algebra.arithmetic;
        let mut gradient = Guarded::poisoned(algebra.dim, 12, 0);
        softmax_cross_entropy_gradient(
            &exec,
            arithmetic,
            x.view(),
            y.view(),
            4,
            &mut gradient.view_mut(),
        )
        .expect("the operands fit");
        let gradient = algebra.decrypt_planes(&gradient.planes());
        let loss = |slots: Vec<Vec<f64>>, k: usize| {
            let x = Operand::<f64>::new(&algebra, kind, slots);
            let mut loss = Guarded::poisoned(algebra.dim, 1, 0);
            softmax_cross_entropy(
                &exec,
                arithmetic,
                x.view(),
                y.view(),
                4,
                &mut loss.view_mut(),
            )
            .expect("the operands fit");
            let (xs, ys) = (read(&algebra, &x), read(&algebra, &y));
            let bound = Slot {
                columns: 4,
                x: &xs[k],
                y: &ys[k],
            };
            let bound = bound.cross_entropy::<f64>().1;
            (algebra.decrypt_planes(&loss.planes())[k][0], bound)
        };
        for k in 0..algebra.slots {
            for e in 0..12 {
                let moved = |by: f64| {
                    let mut slots = x.slots.clone();
                    slots[k][e] += by;
                    loss(slots, k)
                };
                let ((up, up_off), (down, down_off)) = (moved(step), moved(-step));
                let slope = (up - down) / (2.0 * step);
                // A central difference is off by step^2 / 6 times the third derivative, which for
                // a softmax is below one; and both losses by their roundings, doubled for what
                // writing them adds.
                let bound = step * step / 6.0 + (up_off + down_off) / step;
                let off = (slope - gradient[k][e]).abs();
                assert!(
                    off <= bound,
                    "{} slot {k} element {e}: {off:e}",
                    algebra.name
                );
            }
        }
    }
}

/// A row is summed by one thread in one order, so the cut does not show in the bits.
#[test]
fn same_bits_for_any_cut() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let mut noise = Noise::new(4);
    let kinds = (Kind::Cipher, Kind::Plain);
    let (x, y) = operands::<f32>(&mut noise, &compact, kinds, (1003, 10), 5.0);
    for isa in Isa::available() {
        let run = |threads| {
            let mut gradient = Guarded::poisoned(2, 10_030, 0);
            softmax_cross_entropy_gradient(
                &Exec { isa, threads },
                &compact.arithmetic,
                x.view(),
                y.view(),
                10,
                &mut gradient.view_mut(),
            )
            .expect("the operands fit");
            gradient.planes().concat()
        };
        let one = run(1);
        for threads in [2, 3, 5, 64] {
            assert!(same_bits(&one, &run(threads)), "{isa} {threads}");
        }
    }
}
