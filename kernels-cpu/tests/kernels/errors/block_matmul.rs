//! What matrix products refuse.

use super::{ABSURD, EXEC, compact, ones, out, refused, untouched};
use crate::support::{Algebra, Guarded};
use furthermore_kernels_cpu::block_matmul::{Epilogue, MatmulShape, block_matmul, scratch_len};
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::{Exec, Isa, Planes, PlanesMut};

/// Runs a 3 x 4 x 5 product of operands with these planes and lengths, one thing wrong at a time.
#[test]
fn matrix_products() {
    let compact = compact();
    let shape = MatmulShape {
        batch: 1,
        m: 3,
        k: 4,
        n: 5,
        transpose_a: false,
        transpose_b: false,
    };
    let run = |a: (usize, usize), b: (usize, usize), c: (usize, usize), bias, missing: usize| {
        let (a, b, mut c) = (ones(a.0, a.1), ones(b.0, b.1), out(c.0, c.1));
        let bias: Option<(usize, usize)> = bias;
        let bias = bias.map(|(planes, len)| ones(planes, len));
        let planes = |count| if count == 1 { 1 } else { 2 };
        let (left, right) = (planes(a.count()), planes(b.count()));
        let needs = scratch_len::<f32>(&EXEC, &compact.arithmetic, &shape, left, right);
        let mut scratch = out(1, needs - missing);
        let outcome = block_matmul(
            &EXEC,
            &compact.arithmetic,
            &shape,
            a.view(),
            b.view(),
            &mut c.view_mut(),
            &Epilogue {
                bias: bias.as_ref().map(Guarded::view),
                activation: Some(Function::Relu),
            },
            scratch.slice_mut(),
        );
        if outcome.is_err() {
            untouched(&c);
            untouched(&scratch);
        }
        (outcome, needs)
    };
    let name = |operand| ("block_matmul", operand);
    let (two, one) = (2, 1);
    run((2, 12), (2, 20), (2, 15), Some((2, 5)), 0)
        .0
        .expect("all fits");
    for has in [0, 11, 13] {
        let outcome = run((2, has), (2, 20), (2, 15), None, 0).0;
        refused(outcome, name("A"), false, (12, has));
    }
    for has in [19, 21] {
        let outcome = run((2, 12), (1, has), (2, 15), None, 0).0;
        refused(outcome, name("B"), false, (20, has));
    }
    for has in [14, 16] {
        let outcome = run((1, 12), (2, 20), (2, has), None, 0).0;
        refused(outcome, name("C"), false, (15, has));
    }
    refused(
        run((3, 12), (2, 20), (2, 15), None, 0).0,
        name("A"),
        true,
        (one, 3),
    );
    refused(
        run((2, 12), (4, 20), (2, 15), None, 0).0,
        name("B"),
        true,
        (one, 4),
    );
    refused(
        run((2, 12), (2, 20), (1, 15), None, 0).0,
        name("C"),
        true,
        (two, 1),
    );
    refused(
        run((1, 12), (1, 20), (2, 15), None, 0).0,
        name("C"),
        true,
        (one, 2),
    );
    // A ciphertext row cannot be added to a plaintext.
    let outcome = run((1, 12), (1, 20), (1, 15), Some((2, 5)), 0).0;
    refused(outcome, name("bias"), true, (one, 2));
    let outcome = run((2, 12), (1, 20), (2, 15), Some((3, 5)), 0).0;
    refused(outcome, name("bias"), true, (one, 3));
    for has in [0, 1, 4, 6, 15] {
        let outcome = run((2, 12), (1, 20), (2, 15), Some((1, has)), 0).0;
        refused(outcome, name("bias"), false, (5, has));
    }
    let (outcome, needs) = run((2, 12), (2, 20), (2, 15), None, 1);
    refused(outcome, name("scratch"), false, (needs, needs - 1));
}

/// Scratch for several pieces is needed in full, whatever one of them would take.
#[test]
fn short_scratch_for_several_pieces() {
    let compact = compact();
    let shape = MatmulShape {
        batch: 1,
        m: 120,
        k: 120,
        n: 120,
        transpose_a: false,
        transpose_b: true,
    };
    for isa in Isa::available() {
        let need =
            |threads| scratch_len::<f32>(&Exec { isa, threads }, &compact.arithmetic, &shape, 2, 2);
        assert!(need(3) > need(1), "pieces have scratch of their own");
        let (a, b, mut c) = (ones(2, 14_400), ones(2, 14_400), out(2, 14_400));
        let mut scratch = out(1, need(1));
        let outcome = block_matmul(
            &Exec { isa, threads: 3 },
            &compact.arithmetic,
            &shape,
            a.view(),
            b.view(),
            &mut c.view_mut(),
            &Epilogue::NONE,
            scratch.slice_mut(),
        );
        refused(
            outcome,
            ("block_matmul", "scratch"),
            false,
            (need(3), need(1)),
        );
        untouched(&c);
        untouched(&scratch);
    }
}

/// Shapes whose sizes pass the largest number do not come round to the size of what is there.
#[test]
fn shapes_past_counting() {
    let real = Algebra::real();
    let huge = usize::MAX / 2 + 1;
    for (m, k, n, operand) in [
        (huge, 2, 1, "A"),
        (usize::MAX, usize::MAX, 0, "A"),
        (0, huge, 2, "B"),
        (huge, 0, 2, "C"),
        (2, 0, huge, "C"),
    ] {
        let shape = MatmulShape {
            batch: 1,
            m,
            k,
            n,
            transpose_a: false,
            transpose_b: false,
        };
        let outcome = block_matmul::<f32>(
            &EXEC,
            &real.arithmetic,
            &shape,
            Planes::plain(&[]),
            Planes::plain(&[]),
            &mut PlanesMut::plain(&mut []),
            &Epilogue::NONE,
            &mut [],
        );
        refused(outcome, ("block_matmul", operand), false, (usize::MAX, 0));
    }
}

/// Sizes whose products pass every number are refused, or have nothing to do where one is zero.
#[test]
fn absurd_sizes() {
    let compact = compact();
    let arithmetic = &compact.arithmetic;
    let mut fitting = 0;
    for batch in ABSURD {
        for m in ABSURD {
            for k in ABSURD {
                for n in ABSURD {
                    let shape = MatmulShape {
                        batch,
                        m,
                        k,
                        n,
                        transpose_a: m > k,
                        transpose_b: k > n,
                    };
                    let needs = scratch_len::<f32>(&EXEC, arithmetic, &shape, 2, 2);
                    let pairs = [(m, k), (k, n), (m, n)];
                    let fits = pairs.iter().all(|(x, y)| [batch, *x, *y].contains(&0));
                    let mut scratch = vec![0.0; if fits { needs } else { 0 }];
                    let empty = || Planes::new(&[], 2, usize::MAX, 0).expect("nothing is needed");
                    let outcome = block_matmul::<f32>(
                        &EXEC,
                        arithmetic,
                        &shape,
                        empty(),
                        empty(),
                        &mut PlanesMut::new(&mut [], 2, usize::MAX, 0).expect("as above"),
                        &Epilogue::NONE,
                        &mut scratch,
                    );
                    assert_eq!(outcome.is_ok(), fits, "{shape:?}: {outcome:?}");
                    fitting += usize::from(fits);
                }
            }
        }
    }
    assert!(fitting > 7 * 7 * 7, "{fitting}");
}
