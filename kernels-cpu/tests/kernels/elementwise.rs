//! Weighted sums and products element by element, over every mix of plaintext and ciphertext.

use crate::support::{
    Algebra, Guarded, Kind, LENGTHS, Noise, Operand, Tolerance, compare, each_element, execs_for,
    same_bits,
};
use furthermore_kernels_cpu::elementwise::{linear, multiply};
use furthermore_kernels_cpu::{Element, Isa};
use proptest::prelude::*;

/// The algebras to test at that length: larger ones say nothing new about threads.
fn algebras(len: usize) -> Vec<Algebra> {
    if len < 2000 {
        Algebra::all()
    } else {
        vec![Algebra::real(), Algebra::compact2([0.75, -0.5])]
    }
}

/// Sizes of an element's coordinates in a result's algebra: a plaintext is its multiple of one.
fn sizes<T: Element>(form: &Algebra, operand: &Operand<T>, e: usize) -> Vec<f64> {
    if operand.buffer.count() == form.dim {
        operand.sizes.iter().map(|plane| plane[e]).collect()
    } else {
        form.coordinate_sizes(&operand.element(e, form.slots))
    }
}

fn check_linear<T: Element>(
    algebra: &Algebra,
    (alpha, a): (f64, &Operand<T>),
    (beta, b): (f64, &Operand<T>),
) {
    let kind = a.kind.and(b.kind);
    let form = algebra.of_kind(kind);
    let (len, period) = (a.buffer.len(), b.buffer.len().max(1));
    // Each operand as stored, its weight times one, that rounded, the product; and the sum.
    let tolerance = Tolerance::roundings::<T>(5).plus(2.0 * form.defect);
    let (expected, bounds) = each_element(form.slots, len, |e| {
        let (x, y) = (a.element(e, form.slots), b.element(e % period, form.slots));
        let values = x.iter().zip(y).map(|(x, y)| alpha * x + beta * y).collect();
        let (x, y) = (sizes(&form, a, e), sizes(&form, b, e % period));
        let sizes = x
            .iter()
            .zip(y)
            .map(|(x, y)| alpha.abs() * x + beta.abs() * y);
        let errors: Vec<f64> = sizes.map(|size| tolerance.of(size)).collect();
        (values, form.slot_errors(&errors))
    });
    for exec in execs_for(len) {
        let mut output = Guarded::poisoned(form.dim, len, 3);
        linear(
            &exec,
            &algebra.arithmetic,
            (alpha, a.view()),
            (beta, b.view()),
            &mut output.view_mut(),
        )
        .expect("the operands fit");
        let outcome = output.intact().and_then(|()| {
            let found = form.decrypt_planes(&output.planes());
            compare(&expected, &found, &bounds).map_err(|mismatch| mismatch.to_string())
        });
        outcome.unwrap_or_else(|error| {
            let (name, kinds) = (&algebra.name, (a.kind, b.kind));
            panic!(
                "{name} {} {kinds:?} {len}/{period} {exec:?}: {error}",
                T::NAME
            )
        });
    }
}

fn linear_everywhere<T: Element>() {
    let mut noise = Noise::new(1);
    // Lengths of a and of b, which repeats: every element, one number, rows shorter and longer than
    // a vector, and rows that pieces cut in two.
    let shapes = [
        (0, 0),
        (0, 3),
        (6, 3),
        (12, 1),
        (17 * 16, 17),
        (31 * 33, 33),
        (64, 32),
        (40_000, 1),
        (39_999, 3),
        (40_000, 20_000),
    ];
    let shapes = LENGTHS.iter().map(|&len| (len, len)).chain(shapes);
    for (len, period) in shapes {
        for algebra in algebras(len) {
            for &a in algebra.kinds() {
                for &b in algebra.kinds() {
                    let a = Operand::<T>::drawn(&algebra, a, || noise.slots(len, -1.0, 1.0));
                    let b = Operand::<T>::drawn(&algebra, b, || noise.slots(period, -1.0, 1.0));
                    let weights = if len > 2000 {
                        &[(0.3, -1.7)][..]
                    } else {
                        &[(1.0, 1.0), (1.0, -1.0), (0.3, -1.7), (0.0, 2.0)]
                    };
                    for &(alpha, beta) in weights {
                        check_linear(&algebra, (alpha, &a), (beta, &b));
                    }
                }
            }
        }
    }
}

#[test]
fn linear_f32() {
    linear_everywhere::<f32>();
}

#[test]
fn linear_f64() {
    linear_everywhere::<f64>();
}

/// Weights of one are sums and differences exactly as the element type rounds them.
#[test]
fn plain_sums_are_exact() {
    let real = Algebra::real();
    let mut noise = Noise::new(2);
    let mut draw = || Operand::<f32>::drawn(&real, Kind::Plain, || noise.slots(37, -1.0, 1.0));
    let (a, b) = (draw(), draw());
    for exec in execs_for(37) {
        for sign in [1.0f32, -1.0] {
            let mut output = Guarded::poisoned(1, 37, 0);
            linear(
                &exec,
                &real.arithmetic,
                (1.0, a.view()),
                (f64::from(sign), b.view()),
                &mut output.view_mut(),
            )
            .expect("the operands fit");
            let (a, b) = (a.view().plane(0), b.view().plane(0));
            let expected: Vec<f32> = a.iter().zip(b).map(|(a, b)| a + sign * b).collect();
            assert_eq!(output.planes()[0], expected, "{exec:?}");
        }
    }
}

fn check_product<T: Element>(algebra: &Algebra, a: &Operand<T>, b: &Operand<T>) {
    let form = algebra.of_kind(a.kind.and(b.kind));
    let program = algebra.program_of(a.kind, b.kind);
    let longest = |side: &[Vec<(usize, f64)>]| side.iter().map(Vec::len).max().unwrap_or(0);
    // Both operands as stored; a product, a sum and a weight for each part of a combination; the
    // product; a product, a sum and a weight for each term.
    let combined = longest(&program.left) + longest(&program.right);
    let count = 2 + 3 * combined + 1 + 3 * program.terms.len();
    let tolerance = Tolerance::roundings::<T>(count).plus(3.0 * form.defect);
    let len = a.buffer.len();
    let (expected, bounds) = each_element(form.slots, len, |e| {
        let (x, y) = (a.element(e, form.slots), b.element(e, form.slots));
        let values = x.iter().zip(y).map(|(x, y)| x * y).collect();
        let size = |side: &[(usize, f64)], operand: &Operand<T>| -> f64 {
            side.iter()
                .map(|&(p, w)| w.abs() * operand.sizes[p][e])
                .sum()
        };
        let mut errors = vec![0.0; form.dim];
        for term in &program.terms {
            let (x, y) = (&program.left[term.left], &program.right[term.right]);
            let product = size(x, a) * size(y, b);
            for &(p, w) in &term.outputs {
                errors[p] += tolerance.of(w.abs() * product);
            }
        }
        (values, form.slot_errors(&errors))
    });
    for exec in execs_for(len) {
        let mut output = Guarded::poisoned(form.dim, len, 3);
        multiply(
            &exec,
            &algebra.arithmetic,
            a.view(),
            b.view(),
            &mut output.view_mut(),
        )
        .expect("the operands fit");
        let outcome = output.intact().and_then(|()| {
            let found = form.decrypt_planes(&output.planes());
            compare(&expected, &found, &bounds).map_err(|mismatch| mismatch.to_string())
        });
        outcome.unwrap_or_else(|error| {
            let (name, kinds) = (&algebra.name, (a.kind, b.kind));
            panic!("{name} {} {kinds:?} {len} {exec:?}: {error}", T::NAME)
        });
    }
}

fn products<T: Element>() {
    let mut noise = Noise::new(3);
    for len in LENGTHS {
        for algebra in algebras(len) {
            for &a in algebra.kinds() {
                for &b in algebra.kinds() {
                    let mut draw =
                        |kind| Operand::<T>::drawn(&algebra, kind, || noise.slots(len, -2.0, 2.0));
                    check_product(&algebra, &draw(a), &draw(b));
                }
            }
        }
    }
}

#[test]
fn products_f32() {
    products::<f32>();
}

#[test]
fn products_f64() {
    products::<f64>();
}

/// One is one: multiplying by the encryption of ones, or by the plaintext, gives the operand back.
#[test]
fn multiplying_by_one() {
    let mut noise = Noise::new(4);
    for algebra in Algebra::all() {
        let kind = algebra.kinds()[algebra.kinds().len() - 1];
        let a = Operand::<f64>::drawn(&algebra, kind, || noise.slots(33, -1.0, 1.0));
        for &one in algebra.kinds() {
            let one = Operand::new(&algebra, one, vec![vec![1.0; 33]; algebra.slots]);
            check_product(&algebra, &a, &one);
            check_product(&algebra, &one, &a);
        }
    }
}

/// Every element is computed by itself, so the cut does not show in the bits.
#[test]
fn same_bits_for_any_cut() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let mut noise = Noise::new(5);
    let len = 40_003;
    let mut draw =
        |len| Operand::<f32>::drawn(&compact, Kind::Cipher, || noise.slots(len, -1.0, 1.0));
    let (a, b) = (draw(len), draw(len));
    for isa in Isa::available() {
        let run = |threads| {
            let exec = furthermore_kernels_cpu::Exec { isa, threads };
            let mut sum = Guarded::poisoned(2, len, 0);
            let mut product = sum.clone();
            let (x, y) = (a.view(), b.view());
            linear(
                &exec,
                &compact.arithmetic,
                (0.3, x),
                (1.1, y),
                &mut sum.view_mut(),
            )
            .expect("the operands fit");
            multiply(&exec, &compact.arithmetic, x, y, &mut product.view_mut())
                .expect("the operands fit");
            [sum.planes().concat(), product.planes().concat()].concat()
        };
        let one = run(1);
        for threads in [2, 3, 5, 64] {
            assert!(same_bits(&one, &run(threads)), "{isa} {threads}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_broadcast(
        algebra in 0..9usize,
        period in 1..50usize,
        repeats in 0..20usize,
        weights in (-3.0..3.0f64, -3.0..3.0f64),
        kinds in any::<[bool; 2]>(),
        seed in any::<u64>(),
    ) {
        let algebra = &Algebra::all()[algebra];
        let kinds = kinds.map(|cipher| algebra.kinds()[usize::from(cipher).min(algebra.kinds().len() - 1)]);
        let mut noise = Noise::new(seed);
        let mut draw = |kind, len| Operand::<f32>::drawn(algebra, kind, || noise.slots(len, -5.0, 5.0));
        let (a, b) = (draw(kinds[0], period * repeats), draw(kinds[1], period));
        check_linear(algebra, (weights.0, &a), (weights.1, &b));
    }
}
