//! Commands that move planes: linear maps, transposes, interleaved elements, tiles.

use std::slice::from_ref;

use furthermore::plan::Kernel;

use super::harness::{OPTIONS, Planes, everywhere};
use super::images::Images;
use crate::support::{Law, Noise, compare};

/// Numbers that both element types hold.
fn planes(count: usize, len: usize, noise: &mut Noise) -> Planes {
    let mut plane = || -> Vec<f64> {
        let numbers = noise.numbers(len, -1.0, 1.0).into_iter();
        numbers.map(|x| f64::from(x as f32)).collect()
    };
    (0..count).map(|_| plane()).collect()
}

fn poisoned(count: usize, len: usize) -> Planes {
    vec![vec![f64::NAN; len]; count]
}

/// Slots to coordinates, which encrypts, and coordinates to one slot, which decrypts.
#[test]
fn linear_map() {
    everywhere(261, |rig, noise| {
        let (dim, slots) = (rig.arithmetic.dim(), rig.arithmetic.slots());
        let maps = [
            (rig.arithmetic.from_slots().to_vec(), dim, slots),
            (rig.arithmetic.to_slots()[..dim].to_vec(), 1, dim),
            (noise.numbers(9 * 7, -1.0, 1.0), 9, 7),
        ];
        for (matrix, rows, columns) in maps {
            for len in [0, 1, 300] {
                let x = [planes(columns, len, noise)];
                let y = [poisoned(rows, len)];
                let kernel = Kernel::LinearMap {
                    matrix: matrix.clone(),
                };
                let found = rig.run(&kernel, &x, &y, &OPTIONS);
                let found = found.unwrap_or_else(|error| panic!("{error}"));
                let bound = Law::plain(rig.dtype).bound(columns + 1, 8.0 * columns as f64);
                for (found, weights) in found[0].iter().zip(matrix.chunks(columns)) {
                    let of = |e: usize| weights.iter().zip(&x[0]).map(|(w, x)| w * x[e]).sum();
                    let expected: Vec<f64> = (0..len).map(of).collect();
                    compare(found, &expected, bound).unwrap_or_else(|error| panic!("{error}"));
                }
            }
        }
    });
}

/// Elements are moved, not computed with: bit by bit as they were.
#[test]
fn moves() {
    everywhere(262, |rig, noise| {
        let [batch, rows, columns] = [3, 19, 7];
        for count in [1, 2, 4, 9] {
            let x = planes(count, batch * rows * columns, noise);
            let moved = |kernel: &Kernel, x: &Planes, like: Planes| -> Planes {
                let found = rig.run(kernel, from_ref(x), &[like], &OPTIONS);
                found.unwrap_or_else(|error| panic!("{error}")).remove(0)
            };
            let kernel = Kernel::Transpose {
                sizes: [batch, rows, columns],
            };
            let found = moved(&kernel, &x, poisoned(count, batch * rows * columns));
            for (found, x) in found.iter().zip(&x) {
                for (i, found) in found.iter().enumerate() {
                    let (n, i) = (i / (rows * columns), i % (rows * columns));
                    let from = (n * rows + i % rows) * columns + i / rows;
                    assert_eq!(*found, x[from]);
                }
            }

            let len = x[0].len();
            let into = Kernel::Interleave { into: true };
            let found = moved(&into, &x, poisoned(1, count * len));
            for (i, found) in found[0].iter().enumerate() {
                assert_eq!(*found, x[i % count][i / count]);
            }
            let back = Kernel::Interleave { into: false };
            assert_eq!(moved(&back, &found, poisoned(count, len)), x);

            let images = Images {
                batch: 35,
                channels: 1,
                rows: 4,
                columns: 3,
            };
            let batch = images.batch;
            let samples = planes(count, batch * 12, noise);
            let into = Kernel::Tiles { batch, into: true };
            let found = moved(&into, &samples, poisoned(count, batch * 12));
            for (found, samples) in found.iter().zip(&samples) {
                for n in 0..batch {
                    for (row, column) in images.pixels() {
                        let sample = samples[n * 12 + row * 3 + column];
                        assert_eq!(found[images.at(n, 0, row, column)], sample);
                    }
                }
            }
            let back = Kernel::Tiles { batch, into: false };
            assert_eq!(moved(&back, &found, poisoned(count, batch * 12)), samples);
        }
    });
}
