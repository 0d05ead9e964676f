//! Layouts move bits and compute nothing: planes interleaved and back, matrices transposed.

use crate::support::{Guarded, Noise, execs, same_bits, single};
use furthermore_kernels_cpu::convert::{deinterleave, interleave, transpose};
use furthermore_kernels_cpu::{Element, Exec};

/// Planes of random numbers, and of numbers that arithmetic would change.
fn planes<T: Element>(noise: &mut Noise, count: usize, len: usize) -> Vec<Vec<T>> {
    let mut planes: Vec<Vec<T>> = (0..count)
        .map(|_| noise.slots(len, -1.0, 1.0).into_iter().map(T::of).collect())
        .collect();
    for plane in planes.iter_mut().filter(|plane| plane.len() > 2) {
        plane[0] = T::of(-0.0);
        plane[1] = T::nan();
        plane[2] = T::infinity();
    }
    planes
}

fn execs_for(numbers: usize) -> Vec<Exec> {
    if numbers < 20_000 { single() } else { execs() }
}

/// Blocks laid out element by element: the coordinates of each beside each other, and back.
fn interleaved<T: Element>() {
    let mut noise = Noise::new(1);
    for count in [0, 1, 2, 3, 4, 5, 9, 16, 17, 64] {
        for len in [0, 1, 2, 7, 16, 33, 100, 257, 6007] {
            if count > 16 && len > 1000 {
                continue;
            }
            let planes = planes::<T>(&mut noise, count, len);
            let input = Guarded::filled(&planes, 3);
            let mut expected = Vec::with_capacity(count * len);
            for e in 0..len {
                expected.extend(planes.iter().map(|plane| plane[e]));
            }
            for exec in execs_for(count * len) {
                let context = || format!("{count} planes of {len}, {exec:?}");
                let mut output = Guarded::poisoned(1, count * len, 0);
                interleave(&exec, input.view(), output.slice_mut()).expect("the operands fit");
                output
                    .intact()
                    .unwrap_or_else(|e| panic!("{}: {e}", context()));
                let found = output.planes()[0];
                assert!(same_bits(found, &expected), "{}", context());

                let mut back = Guarded::poisoned(count, len, 3);
                deinterleave(&exec, found, &mut back.view_mut()).expect("the operands fit");
                back.intact()
                    .unwrap_or_else(|e| panic!("{}: {e}", context()));
                for (found, expected) in back.planes().into_iter().zip(&planes) {
                    assert!(same_bits(found, expected), "{}", context());
                }
            }
        }
    }
}

#[test]
fn interleaved_f32() {
    interleaved::<f32>();
}

#[test]
fn interleaved_f64() {
    interleaved::<f64>();
}

fn transposed<T: Element>() {
    let mut noise = Noise::new(2);
    let sides = [0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 300];
    for rows in sides {
        for columns in sides {
            for (count, batch) in [(1, 1), (2, 3), (3, 0)] {
                let len = batch * rows * columns;
                let planes = planes::<T>(&mut noise, count, len);
                let input = Guarded::filled(&planes, 2);
                for exec in execs_for(count * len) {
                    let context = format!("{count} planes of {batch} {rows} x {columns}, {exec:?}");
                    let mut output = Guarded::poisoned(count, len, 5);
                    let shape = [batch, rows, columns];
                    transpose(&exec, shape, input.view(), &mut output.view_mut())
                        .expect("the operands fit");
                    output.intact().unwrap_or_else(|e| panic!("{context}: {e}"));
                    for (from, to) in planes.iter().zip(output.planes()) {
                        let expected: Vec<T> = (0..len)
                            .map(|at| {
                                let (matrix, at) = (at / (rows * columns), at % (rows * columns));
                                let (column, row) = (at / rows, at % rows);
                                from[(matrix * rows + row) * columns + column]
                            })
                            .collect();
                        assert!(same_bits(to, &expected), "{context}");
                    }
                }
            }
        }
    }
}

#[test]
fn transposed_f32() {
    transposed::<f32>();
}

#[test]
fn transposed_f64() {
    transposed::<f64>();
}

/// A comparison of bits sees two numbers in each other's place, and a zero's sign.
#[test]
fn exchange_is_found() {
    assert!(same_bits(&[1.0f32, 2.0], &[1.0, 2.0]));
    assert!(!same_bits(&[1.0f32, 2.0], &[2.0, 1.0]));
    assert!(!same_bits(&[0.0f64], &[-0.0]));
}
