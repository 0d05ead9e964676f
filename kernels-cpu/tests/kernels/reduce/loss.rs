//! Losses, slot by slot against f64 formulas.

use crate::support::{
    Algebra, Guarded, Kind, Noise, Operand, Slot, Tolerance, compare, execs, read, same_bits,
    single, verify, written,
};
use furthermore_kernels_cpu::reduce::{
    binary_cross_entropy, binary_cross_entropy_gradient, mean_squared_error, softmax_cross_entropy,
    softmax_cross_entropy_gradient,
};
use furthermore_kernels_cpu::{
    Arithmetic, Element, Exec, Isa, KernelError, Planes, PlanesMut, SlotMaxima,
};

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

/// A loss or its gradient: predictions, targets and columns in, one element or as many as there are
/// predictions out.
type Kernel<T> = fn(
    &Exec,
    &Arithmetic,
    Planes<'_, T>,
    Planes<'_, T>,
    usize,
    &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError>;

/// The elements that a slot of the result has to have, with how far each may be off.
type Formula = fn(&Slot<'_>) -> Vec<(f64, f64)>;

/// Every kernel with its formula.
fn kernels<T: Element>() -> [(&'static str, Kernel<T>, Formula); 5] {
    [
        ("cross entropy", softmax_cross_entropy, |slot| {
            vec![slot.cross_entropy::<T>()]
        }),
        ("gradient", softmax_cross_entropy_gradient, |slot| {
            slot.gradient::<T>()
        }),
        (
            "squared error",
            |exec, arithmetic, x, y, _, to| mean_squared_error(exec, arithmetic, x, y, to),
            |slot| vec![slot.squared_error::<T>()],
        ),
        (
            "binary cross entropy",
            |exec, arithmetic, x, y, _, to| binary_cross_entropy(exec, arithmetic, x, y, to),
            |slot| vec![slot.binary_cross_entropy::<T>()],
        ),
        (
            "binary gradient",
            |exec, arithmetic, x, y, _, to| {
                binary_cross_entropy_gradient(exec, arithmetic, x, y, to)
            },
            |slot| slot.binary_gradient::<T>(),
        ),
    ]
}

/// What a kernel writes into `len` elements, and the magnitudes it has seen.
fn run<T: Element>(
    kernel: Kernel<T>,
    exec: &Exec,
    algebra: &Algebra,
    (x, y): (Planes<'_, T>, Planes<'_, T>),
    columns: usize,
    len: usize,
) -> (Guarded<T>, SlotMaxima) {
    let mut output = Guarded::poisoned(x.count(), len, 2);
    let to = &mut output.view_mut();
    let seen = kernel(exec, &algebra.arithmetic, x, y, columns, to).expect("the operands fit");
    (output, seen)
}

/// The best instruction set, one piece.
fn best() -> Exec {
    Exec {
        isa: Isa::best(),
        threads: 1,
    }
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
                for exec in if rows > 100 { execs() } else { single() } {
                    let mut first = None;
                    for (what, kernel, formula) in kernels::<T>() {
                        let slots: Vec<_> = (xs.iter().zip(&ys))
                            .map(|(x, y)| formula(&Slot { columns, x, y }))
                            .collect();
                        let operands = (x.view(), y.view());
                        let len = slots[0].len();
                        let (output, seen) = run(kernel, &exec, &algebra, operands, columns, len);
                        let (expected, bounds) = written::<T>(&form, &slots);
                        verify(&form, &output, (&expected, &bounds)).unwrap_or_else(|error| {
                            let (name, element) = (&algebra.name, T::NAME);
                            panic!("{what} {name} {element} {kinds:?} {shape:?}: {error}")
                        });
                        let first = *first.get_or_insert(seen);
                        assert_eq!(seen, first, "the same predictions have the same magnitudes");
                    }
                    let seen = first.expect("there are kernels");
                    assert!(seen.finite() && seen.max_abs().len() == form.slots);
                    for (k, xs) in xs.iter().enumerate() {
                        let most = xs.iter().fold(0.0f64, |most, x| most.max(x.0.abs()));
                        let off = xs.iter().fold(0.0f64, |off, x| off.max(x.1));
                        assert!(
                            (seen.max_abs()[k] - most).abs() <= off,
                            "magnitude of slot {k}"
                        );
                    }
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
    let operands = (x.view(), y.view());
    let (loss, _) = run(softmax_cross_entropy, &best(), &real, operands, 3, 1);
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
        let kernel = softmax_cross_entropy_gradient;
        let (gradient, _) = run(kernel, &exec, &real, operands, 3, 9);
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
                let operands = (logits.view(), Planes::plain(&targets));
                for exec in single() {
                    for (what, kernel, len) in [
                        ("loss", softmax_cross_entropy as Kernel<f32>, 1),
                        ("gradient", softmax_cross_entropy_gradient, 12),
                    ] {
                        let (_, seen) = run(kernel, &exec, &compact, operands, 4, len);
                        assert!(!seen.finite(), "{what}: {odd} at {at} {exec:?}");
                    }
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
        let kernel = softmax_cross_entropy_gradient;
        let (gradient, _) = run(kernel, &best(), &algebra, (x.view(), y.view()), 4, 12);
        let gradient = algebra.decrypt_planes(&gradient.planes());
        let loss = |slots: Vec<Vec<f64>>, k: usize| {
            let x = Operand::<f64>::new(&algebra, kind, slots);
            let kernel = softmax_cross_entropy;
            let (loss, _) = run(kernel, &best(), &algebra, (x.view(), y.view()), 4, 1);
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
            let (exec, operands) = (Exec { isa, threads }, (x.view(), y.view()));
            let kernel = softmax_cross_entropy_gradient;
            let (gradient, _) = run(kernel, &exec, &compact, operands, 10, 10_030);
            gradient.planes().concat()
        };
        let one = run(1);
        for threads in [2, 3, 5, 64] {
            assert!(same_bits(&one, &run(threads)), "{isa} {threads}");
        }
    }
}
