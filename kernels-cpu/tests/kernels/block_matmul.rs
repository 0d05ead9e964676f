//! Matrix products over every algebra, operand kind, instruction set, transposition and epilogue,
//! at sizes about the register tile's. What blocking and threads do is in `block_matmul_blocking`.

use crate::support::{
    Algebra, Case, Guarded, Kind, Noise, Operand, Prepared, compare, same_bits, single,
};
use furthermore_kernels_cpu::block_matmul::{Epilogue, MatmulShape, block_matmul, scratch_len};
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::{Element, Exec, Isa, PlanesMut};
use proptest::prelude::*;

const BIASES: [Option<Kind>; 3] = [None, Some(Kind::Plain), Some(Kind::Cipher)];
const ACTIVATIONS: [Option<Function>; 3] = [None, Some(Function::Relu), Some(Function::Tanh)];

/// Every combination of operand kinds that the algebra has.
fn kinds(algebra: &Algebra) -> impl Iterator<Item = (Kind, Kind)> {
    let kinds = algebra.kinds();
    kinds
        .iter()
        .flat_map(|&a| kinds.iter().map(move |&b| (a, b)))
}

/// Runs one case on every instruction set.
fn everywhere<T: Element>(algebra: &Algebra, case: Case, seed: u64) {
    let prepared = Prepared::<T>::new(algebra, case, seed);
    for exec in single() {
        prepared.check(&exec);
    }
}

/// Every way of storing the operands with every epilogue, at sizes that leave part of a tile.
fn every_option<T: Element>() {
    let mut seed = 0;
    for algebra in Algebra::all() {
        for (a, b) in kinds(&algebra) {
            for (transpose_a, transpose_b) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                for bias in BIASES {
                    for activation in ACTIVATIONS {
                        seed += 1;
                        let case = Case::plain(7, 5, 19, a, b)
                            .transposed(transpose_a, transpose_b)
                            .then(bias, activation);
                        everywhere::<T>(&algebra, case, seed);
                    }
                }
            }
        }
    }
}

#[test]
fn every_option_f32() {
    every_option::<f32>();
}

#[test]
fn every_option_f64() {
    every_option::<f64>();
}

/// All shapes of zeros, ones and a few more, epilogue and storage taken in turn.
fn tiny_shapes<T: Element>() {
    let sizes = [0, 1, 2, 3, 5];
    let mut noise = Noise::new(1);
    for algebra in Algebra::all() {
        for (a, b) in kinds(&algebra) {
            for m in sizes {
                for k in sizes {
                    for n in sizes {
                        let case = Case::plain(m, k, n, a, b)
                            .transposed(noise.below(2) == 0, noise.below(2) == 0)
                            .then(noise.pick(&BIASES), noise.pick(&ACTIVATIONS));
                        everywhere::<T>(&algebra, case, noise.next());
                    }
                }
            }
        }
    }
}

#[test]
fn tiny_shapes_f32() {
    tiny_shapes::<f32>();
}

#[test]
fn tiny_shapes_f64() {
    tiny_shapes::<f64>();
}

/// Every height of a tile with every number of vectors, whole and partial: the heights go past the
/// tallest tile (12) and the widths past the widest (32 f32).
fn every_tile<T: Element>() {
    let mut noise = Noise::new(2);
    for algebra in [Algebra::real(), Algebra::compact2([0.75, -0.5])] {
        let kind = algebra.kinds()[algebra.kinds().len() - 1];
        for m in 1..=14 {
            for n in [1, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47] {
                let case = Case::plain(m, 4, n, kind, kind)
                    .transposed(noise.below(2) == 0, noise.below(2) == 0);
                everywhere::<T>(&algebra, case, noise.next());
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

/// A product of depth 0 is zero, so the result is the activation of the bias: of what C held before,
/// NaN here, nothing may be left.
#[test]
fn depth_zero_leaves_bias_and_activation() {
    let algebra = Algebra::real();
    let bias: Vec<f32> = (0..21).map(|j| (j as f32 - 10.0) / 4.0).collect();
    let operand = Operand::<f32>::new(
        &algebra,
        Kind::Plain,
        vec![bias.iter().map(|x| f64::from(*x)).collect()],
    );
    let shape = MatmulShape {
        batch: 1,
        m: 5,
        k: 0,
        n: 21,
        transpose_a: false,
        transpose_b: false,
    };
    let nothing = Operand::<f32>::new(&algebra, Kind::Plain, vec![vec![]]);
    for exec in single() {
        for (with_bias, activation) in [
            (false, None),
            (true, None),
            (true, Some(Function::Relu)),
            (false, Some(Function::Sigmoid)),
        ] {
            let mut c = Guarded::poisoned(1, 5 * 21, 0);
            let epilogue = Epilogue {
                bias: with_bias.then(|| operand.view()),
                activation,
            };
            let needs = scratch_len::<f32>(&exec, &algebra.arithmetic, &shape, 1, 1);
            block_matmul(
                &exec,
                &algebra.arithmetic,
                &shape,
                nothing.view(),
                nothing.view(),
                &mut c.view_mut(),
                &epilogue,
                &mut vec![f32::NAN; needs],
            )
            .expect("the operands fit");
            for (at, &found) in c.planes()[0].iter().enumerate() {
                let x = if with_bias { bias[at % 21] } else { 0.0 };
                // Each of these is exact, so no tolerance applies.
                let expected = match activation {
                    None => x,
                    Some(Function::Relu) => x.max(0.0),
                    _ => 0.5,
                };
                assert_eq!(found, expected, "{exec:?} {activation:?} element {at}");
            }
        }
    }
}

/// The smallest cases that can be checked by eye: a ciphertext times a ciphertext is the ciphertext
/// of the product, its other slot the product of the masks.
#[test]
fn one_by_one_by_hand() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    let operand =
        |m: f64, r: f64| Operand::<f64>::new(&algebra, Kind::Cipher, vec![vec![m], vec![r]]);
    let case = Case::plain(1, 1, 1, Kind::Cipher, Kind::Cipher);
    let (a, b) = (operand(3.0, -2.0), operand(0.5, 7.0));
    for exec in single() {
        let mut c = Guarded::poisoned(2, 1, 2);
        let needs = scratch_len::<f64>(&exec, &algebra.arithmetic, &case.shape, 2, 2);
        block_matmul(
            &exec,
            &algebra.arithmetic,
            &case.shape,
            a.view(),
            b.view(),
            &mut c.view_mut(),
            &Epilogue::NONE,
            &mut vec![f64::NAN; needs],
        )
        .expect("the operands fit");
        let found = algebra.decrypt_planes(&c.planes());
        // Coordinates below 25 in size, some twenty roundings of 2^-53.
        let bounds = [
            vec![25.0 * 20.0 * f64::EPSILON],
            vec![25.0 * 20.0 * f64::EPSILON],
        ];
        compare(&[vec![1.5], vec![-14.0]], &found, &bounds).expect("3 x 0.5 and -2 x 7");
    }
}

/// Scratch may be longer than needed and hold anything; what is past its need is not touched.
#[test]
fn scratch_content_does_not_matter() {
    for algebra in [Algebra::compact2([0.75, -0.5]), Algebra::blocks(2)] {
        let case = Case::plain(30, 40, 50, Kind::Cipher, Kind::Cipher).transposed(true, true);
        let prepared = Prepared::<f32>::new(&algebra, case, 3);
        for exec in single() {
            let expected = prepared.check(&exec);
            let planes = algebra.dim;
            let needs = scratch_len::<f32>(&exec, &algebra.arithmetic, &case.shape, planes, planes);
            let mut scratch = vec![f32::INFINITY; needs + 100];
            let mut c = vec![0.5; planes * 30 * 50];
            block_matmul(
                &exec,
                &algebra.arithmetic,
                &case.shape,
                prepared.a.view(),
                prepared.b.view(),
                &mut PlanesMut::new(&mut c, planes, 30 * 50, 30 * 50).expect("they fit"),
                &Epilogue::NONE,
                &mut scratch,
            )
            .expect("the operands fit");
            assert_eq!(c, expected.planes().concat(), "{} {exec:?}", algebra.name);
            assert!(scratch[needs..].iter().all(|x| *x == f32::INFINITY));
        }
    }
}

/// Without an activation nothing is observed; with one, its arguments are, infinite ones too.
#[test]
fn magnitudes_are_those_of_the_activation() {
    let algebra = Algebra::real();
    let a = Operand::<f32>::new(&algebra, Kind::Plain, vec![vec![1.0, 2.0, -3.0]]);
    let b = Operand::<f32>::new(&algebra, Kind::Plain, vec![vec![4.0]]);
    let infinite = Operand::<f32>::new(&algebra, Kind::Plain, vec![vec![f64::INFINITY]]);
    let case = Case::plain(3, 1, 1, Kind::Plain, Kind::Plain);
    for exec in single() {
        let run = |b: &Operand<f32>, activation| {
            let needs = scratch_len::<f32>(&exec, &algebra.arithmetic, &case.shape, 1, 1);
            block_matmul(
                &exec,
                &algebra.arithmetic,
                &case.shape,
                a.view(),
                b.view(),
                &mut PlanesMut::plain(&mut [0.0; 3]),
                &Epilogue {
                    bias: None,
                    activation,
                },
                &mut vec![f32::NAN; needs],
            )
            .expect("the operands fit")
        };
        assert!(run(&b, None).max_abs().is_empty());
        let seen = run(&b, Some(Function::Relu));
        assert_eq!((seen.max_abs(), seen.finite()), (&[12.0][..], true));
        assert!(!run(&infinite, Some(Function::Relu)).finite());
    }
}

/// An error is as near to its bound for a corrupted result as the bound is tight; a bound far above
/// every result would let anything pass.
#[test]
fn bounds_are_small_beside_results() {
    for algebra in Algebra::all() {
        let kind = algebra.kinds()[algebra.kinds().len() - 1];
        let case = Case::plain(16, 50, 16, kind, kind);
        let prepared = Prepared::<f32>::new(&algebra, case, 4);
        let largest = |values: &[Vec<f64>]| {
            values
                .iter()
                .flatten()
                .fold(0.0, |x: f64, y| x.max(y.abs()))
        };
        let (bound, result) = (largest(&prepared.bounds), largest(&prepared.expected));
        assert!(
            bound < 0.02 * result,
            "{}: bound {bound:e} beside {result:e}",
            algebra.name
        );
    }
}

fn any_case() -> impl Strategy<Value = (usize, [usize; 3], [bool; 4], usize, usize, u64)> {
    let size = || prop_oneof![Just(0usize), Just(1), 2usize..12, 12usize..70];
    (
        0..9usize,
        [size(), size(), size()],
        any::<[bool; 4]>(),
        0..3usize,
        0..3usize,
        any::<u64>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_shape((algebra, [m, k, n], flags, bias, activation, seed) in any_case()) {
        let algebra = &Algebra::all()[algebra];
        let kind = |cipher: bool| algebra.kinds()[usize::from(cipher).min(algebra.kinds().len() - 1)];
        let case = Case::plain(m, k, n, kind(flags[0]), kind(flags[1]))
            .transposed(flags[2], flags[3])
            .then(BIASES[bias], ACTIVATIONS[activation]);
        if seed % 2 == 0 {
            everywhere::<f32>(algebra, case, seed);
        } else {
            everywhere::<f64>(algebra, case, seed);
        }
    }
}

/// No number of pieces is refused: zero counts as one.
#[test]
fn zero_threads_are_one() {
    let algebra = Algebra::real();
    let case = Case::plain(20, 20, 20, Kind::Plain, Kind::Plain);
    let prepared = Prepared::<f32>::new(&algebra, case, 5);
    prepared.check(&Exec {
        isa: Isa::best(),
        threads: 0,
    });
}

/// Products of a batch are those of its matrices one by one, bit for bit: cut as one product is where
/// there are fewer than threads, and on one thread each where there are more.
fn batches<T: Element>() {
    let mut noise = Noise::new(77);
    for algebra in [Algebra::real(), Algebra::compact2([0.75, -0.5])] {
        for (a_kind, b_kind) in kinds(&algebra) {
            for (batch, [m, k, n]) in [
                (0, [3, 4, 5]),
                (1, [5, 3, 7]),
                (2, [1, 9, 40]),
                (3, [160, 70, 65]),
                (7, [13, 5, 33]),
                (9, [96, 64, 32]),
            ] {
                let shape = MatmulShape {
                    batch,
                    m,
                    k,
                    n,
                    transpose_a: noise.below(2) == 0,
                    transpose_b: noise.below(2) == 0,
                };
                let mut draw = |kind, len: usize| {
                    Operand::<T>::drawn(&algebra, kind, || noise.slots(len, -1.0, 1.0))
                };
                let a = draw(a_kind, batch * m * k);
                let b = draw(b_kind, batch * k * n);
                let planes = algebra.planes(a_kind.and(b_kind));
                for isa in Isa::available() {
                    for threads in [1, 4] {
                        let exec = Exec { isa, threads };
                        let run = |exec: &Exec, shape: &MatmulShape, a: &[Vec<T>], b: &[Vec<T>]| {
                            let (a, b) = (Guarded::filled(a, 3), Guarded::filled(b, 1));
                            let mut c = Guarded::poisoned(planes, shape.batch * m * n, 2);
                            let (x, y) = (a.view(), b.view());
                            let arithmetic = &algebra.arithmetic;
                            let needs =
                                scratch_len::<T>(exec, arithmetic, shape, x.count(), y.count());
                            let mut scratch = Guarded::poisoned(1, needs, 0);
                            let (none, to) = (Epilogue::NONE, scratch.slice_mut());
                            block_matmul(
                                exec,
                                arithmetic,
                                shape,
                                x,
                                y,
                                &mut c.view_mut(),
                                &none,
                                to,
                            )
                            .expect("operands that fit");
                            c.intact().expect("nothing else was written");
                            scratch
                                .intact()
                                .expect("nothing behind the scratch was written");
                            c.planes()
                                .iter()
                                .map(|plane| plane.to_vec())
                                .collect::<Vec<_>>()
                        };
                        let part = |operand: &Operand<T>, nth: usize, len: usize| -> Vec<Vec<T>> {
                            let planes = operand.buffer.planes();
                            planes
                                .iter()
                                .map(|p| p[nth * len..][..len].to_vec())
                                .collect()
                        };
                        let found = run(
                            &exec,
                            &shape,
                            &part(&a, 0, batch * m * k),
                            &part(&b, 0, batch * k * n),
                        );
                        let alone = Exec {
                            threads: if batch < threads.max(2) { threads } else { 1 },
                            ..exec
                        };
                        for nth in 0..batch {
                            let (a, b) = (part(&a, nth, m * k), part(&b, nth, k * n));
                            let expected = run(&alone, &MatmulShape { batch: 1, ..shape }, &a, &b);
                            for (found, expected) in found.iter().zip(&expected) {
                                let found = &found[nth * m * n..][..m * n];
                                assert!(
                                    same_bits(found, expected),
                                    "{isa} {threads} {shape:?} {nth}"
                                );
                                assert!(expected.iter().all(|x| x.is_finite()));
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn batches_f32() {
    batches::<f32>();
}

#[test]
fn batches_f64() {
    batches::<f64>();
}

/// One row, whose tiles are wider: with every number of vectors, whole and partial.
#[test]
fn one_row() {
    let mut noise = Noise::new(78);
    for algebra in [
        Algebra::real(),
        Algebra::compact2([0.75, -0.5]),
        Algebra::blocks(2),
    ] {
        for (a, b) in kinds(&algebra) {
            for n in [1, 31, 32, 33, 64, 65, 100, 127, 128, 129, 160, 257] {
                let case = Case::plain(1, 37, n, a, b)
                    .transposed(noise.below(2) == 0, noise.below(3) == 0)
                    .then(noise.pick(&BIASES), noise.pick(&ACTIVATIONS));
                everywhere::<f32>(&algebra, case, noise.next());
                everywhere::<f64>(&algebra, case, noise.next());
            }
        }
    }
}
