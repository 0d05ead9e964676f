//! Encryption, decryption and other algebras: linear maps are exact but for one rounding.

use crate::support::{
    Algebra, Guarded, Kind, LENGTHS, Noise, Operand, Tolerance, compare, each_element, execs_for,
    same_bits, single,
};
use furthermore_kernels_cpu::convert::linear_map;
use furthermore_kernels_cpu::{Element, Exec, Isa};
use proptest::prelude::*;

/// Lengths of all kernels, and about the block of sums that is kept in cache.
fn lengths() -> impl Iterator<Item = usize> {
    LENGTHS.into_iter().chain([255, 256, 257, 511, 513])
}

fn algebras(len: usize) -> Vec<Algebra> {
    if len < 2000 {
        Algebra::all()
    } else {
        vec![
            Algebra::real(),
            Algebra::compact2([0.75, -0.5]),
            Algebra::blocks(2),
        ]
    }
}

/// Runs the kernel over slices, into guarded planes.
fn map<T: Element>(exec: &Exec, matrix: &[f64], inputs: &[&[T]], len: usize) -> Guarded<T> {
    let count = matrix.len() / inputs.len();
    let mut output = Guarded::poisoned(count, len, 6);
    linear_map(exec, matrix, inputs, &mut output.view_mut()).expect("the operands fit");
    output
        .intact()
        .unwrap_or_else(|error| panic!("{exec:?} {len}: {error}"));
    output
}

/// Slots of `T`, rounded from random numbers.
fn slots<T: Element>(noise: &mut Noise, count: usize, len: usize) -> Vec<Vec<T>> {
    (0..count)
        .map(|_| noise.slots(len, -1.0, 1.0).into_iter().map(T::of).collect())
        .collect()
}

fn slices<T>(planes: &[Vec<T>]) -> Vec<&[T]> {
    planes.iter().map(Vec::as_slice).collect()
}

/// The map is computed in f64 and rounded once, so it has one right answer, to the bit: on every
/// instruction set and for every cut.
fn one_rounding<T: Element>() {
    let mut noise = Noise::new(1);
    for len in lengths() {
        for algebra in algebras(len) {
            let slots = slots::<T>(&mut noise, algebra.slots, len);
            let expected: Vec<Vec<T>> = algebra
                .from
                .chunks(algebra.slots)
                .map(|row| {
                    let sum = |e: usize| {
                        let terms = row.iter().zip(&slots);
                        terms.fold(0.0, |sum, (w, slot)| sum + w * slot[e].wide())
                    };
                    (0..len).map(|e| T::of(sum(e))).collect()
                })
                .collect();
            for exec in execs_for(len) {
                let c = map(&exec, &algebra.from, &slices(&slots), len);
                for (found, expected) in c.planes().into_iter().zip(&expected) {
                    assert!(
                        same_bits(found, expected),
                        "{} {} {len} {exec:?}",
                        algebra.name,
                        T::NAME
                    );
                }
            }
        }
    }
}

#[test]
fn one_rounding_f32() {
    one_rounding::<f32>();
}

#[test]
fn one_rounding_f64() {
    one_rounding::<f64>();
}

/// Encrypted and decrypted, every slot comes back: all of them at once or one alone.
fn round_trip<T: Element>() {
    let mut noise = Noise::new(2);
    for len in lengths() {
        for algebra in algebras(len) {
            let slots = slots::<T>(&mut noise, algebra.slots, len);
            // A rounding to store each coordinate, and one to store the slot.
            let stored = Tolerance::roundings::<T>(1).plus(2.0 * algebra.defect);
            let (expected, bounds) = each_element(algebra.slots, len, |e| {
                let slots: Vec<f64> = slots.iter().map(|slot| slot[e].wide()).collect();
                let sizes = algebra.coordinate_sizes(&slots);
                let errors: Vec<f64> = sizes.iter().map(|&size| stored.of(size)).collect();
                let errors = algebra.slot_errors(&errors);
                let bounds = slots.iter().zip(errors);
                let bounds = bounds.map(|(slot, error)| error + stored.of(slot.abs() + error));
                let bounds = bounds.collect();
                (slots, bounds)
            });
            for exec in execs_for(len) {
                let c = map(&exec, &algebra.from, &slices(&slots), len);
                let back = map(&exec, &algebra.to, &c.planes(), len);
                let wide = |planes: Vec<&[T]>| -> Vec<Vec<f64>> {
                    planes
                        .iter()
                        .map(|p| p.iter().map(|x| x.wide()).collect())
                        .collect()
                };
                compare(&expected, &wide(back.planes()), &bounds)
                    .unwrap_or_else(|error| panic!("{} {len} {exec:?}: {error}", algebra.name));
                for k in 0..algebra.slots {
                    let row = &algebra.to[k * algebra.dim..][..algebra.dim];
                    let message = map(&exec, row, &c.planes(), len);
                    assert!(same_bits(message.planes()[0], back.planes()[k]));
                }
            }
        }
    }
}

#[test]
fn round_trip_f32() {
    round_trip::<f32>();
}

#[test]
fn round_trip_f64() {
    round_trip::<f64>();
}

/// The same slots carried from the compact form to blocks and back decrypt to the same messages.
#[test]
fn between_algebras() {
    let (compact, blocks) = (Algebra::compact2([0.75, -0.5]), Algebra::blocks(2));
    let product = |x: &[f64], y: &[f64], columns: usize| -> Vec<f64> {
        let rows = x.len() / 2;
        (0..rows * columns)
            .map(|at| {
                (0..2)
                    .map(|p| x[at / columns * 2 + p] * y[p * columns + at % columns])
                    .sum()
            })
            .collect()
    };
    let there = product(&blocks.from, &compact.to, 2);
    let mut noise = Noise::new(3);
    let c = Operand::<f64>::drawn(&compact, Kind::Cipher, || noise.slots(77, -1.0, 1.0));
    for exec in single() {
        let b = map(&exec, &there, &c.buffer.planes(), 77);
        let found = blocks.decrypt_planes(&b.planes());
        let (expected, bounds) = each_element(2, 77, |e| {
            let slots = c.element(e, 2);
            // The largest coordinates on the way, through four matrices of at most four terms.
            let size = blocks.split_size(&blocks.join_sizes(&slots));
            let way = compact.split_size(&compact.join_sizes(&slots));
            let bound = Tolerance::roundings::<f64>(16).of(size * way.max(1.0));
            (slots, vec![bound; 2])
        });
        compare(&expected, &found, &bounds).unwrap_or_else(|error| panic!("{exec:?}: {error}"));
    }
}

/// A map from nothing is zero.
#[test]
fn no_inputs_give_zeros() {
    for exec in single() {
        for len in [0, 1, 300] {
            let mut output = Guarded::<f32>::poisoned(2, len, 1);
            linear_map(&exec, &[], &[], &mut output.view_mut()).expect("an empty matrix fits");
            assert!(
                output
                    .planes()
                    .iter()
                    .all(|plane| plane.iter().all(|x| *x == 0.0))
            );
            output.intact().expect("zeros lie within the planes");
        }
        // And a map to nothing writes nothing.
        let mut output = Guarded::<f32>::poisoned(0, 5, 0);
        linear_map(&exec, &[], &[&[1.0; 5]], &mut output.view_mut()).expect("it fits");
        output.intact().expect("no plane, no write");
    }
}

/// What an input of weight zero holds does not matter, however many inputs there are.
#[test]
fn weight_zero_is_not_read() {
    for exec in single() {
        for columns in 1..8 {
            for read in 0..columns {
                let matrix: Vec<f64> = (0..columns)
                    .map(|j| if j == read { 2.0 } else { 0.0 })
                    .collect();
                let inputs: Vec<Vec<f32>> = (0..columns)
                    .map(|j| vec![if j == read { 1.5 } else { f32::NAN }; 20])
                    .collect();
                let found = map(&exec, &matrix, &slices(&inputs), 20);
                assert_eq!(found.planes()[0], [3.0; 20], "{exec:?} {read} of {columns}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Any matrix, not only a key's: with whole numbers nothing is rounded.
    #[test]
    fn any_matrix_of_whole_numbers(
        rows in 1..5usize,
        columns in 1..9usize,
        len in 0..600usize,
        threads in 1..6usize,
        seed in any::<u64>(),
    ) {
        let mut noise = Noise::new(seed);
        let mut whole = |count: usize| -> Vec<f64> {
            (0..count).map(|_| noise.below(19) as f64 - 9.0).collect()
        };
        let matrix = whole(rows * columns);
        let inputs: Vec<Vec<f32>> = (0..columns)
            .map(|_| whole(len).into_iter().map(|x| x as f32).collect())
            .collect();
        for isa in Isa::available() {
            let found = map(&Exec { isa, threads }, &matrix, &slices(&inputs), len);
            for i in 0..rows {
                for e in 0..len {
                    let sum: f64 = (0..columns)
                        .map(|j| matrix[i * columns + j] * f64::from(inputs[j][e]))
                        .sum();
                    prop_assert_eq!(f64::from(found.planes()[i][e]), sum);
                }
            }
        }
    }
}
