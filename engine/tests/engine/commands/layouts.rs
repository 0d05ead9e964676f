//! Commands that move planes: linear maps, transposes, interleaved elements, tiles.

use std::slice::from_ref;

use furthermore::plan::Kernel;

use super::harness::{OPTIONS, Planes, Rig, everywhere};
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

/// Runs a command of one operand on every device and hands what each wrote to `check`.
fn each_device(rig: &Rig, kernel: &Kernel, x: &Planes, y: Planes, check: impl Fn(&Planes)) {
    let y = [y];
    for device in rig.devices() {
        let found = rig.run_on(device.as_ref(), kernel, from_ref(x), &y, &OPTIONS);
        check(&found.unwrap_or_else(|error| panic!("{} {error}", device.name()))[0]);
    }
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
                let x = planes(columns, len, noise);
                let kernel = Kernel::LinearMap {
                    matrix: matrix.clone(),
                };
                let bound = Law::plain(rig.dtype).bound(columns + 1, 8.0 * columns as f64);
                each_device(rig, &kernel, &x, poisoned(rows, len), |found| {
                    for (found, weights) in found.iter().zip(matrix.chunks(columns)) {
                        let of = |e: usize| weights.iter().zip(&x).map(|(w, x)| w * x[e]).sum();
                        let expected: Vec<f64> = (0..len).map(of).collect();
                        compare(found, &expected, bound).unwrap_or_else(|e| panic!("{e}"));
                    }
                });
            }
        }
    });
}

/// Of a plane of weight zero nothing gets through.
#[test]
fn linear_map_of_what_is_not_finite() {
    everywhere(263, |rig, noise| {
        let mut x = planes(2, 3, noise);
        x[1] = vec![f64::NAN, f64::INFINITY, 1.0];
        let kernel = Kernel::LinearMap {
            matrix: vec![1.0, 0.0],
        };
        each_device(rig, &kernel, &x, poisoned(1, 3), |found| {
            assert_eq!(found[0], x[0]);
        });
    });
}

/// Planes and batch, rows, columns: past the tiles of every shape, which the shorter side decides.
const TRANSPOSED: [(usize, [usize; 3]); 9] = [
    (1, [3, 19, 7]),
    (2, [3, 19, 7]),
    (4, [1, 33, 70]),
    (9, [2, 5, 1]),
    (1, [2, 2, 1100]),
    (2, [1, 1100, 3]),
    (1, [1, 1, 2500]),
    (1, [1, 2500, 1]),
    (2, [4, 0, 3]),
];

/// Elements are moved, not computed with: bit by bit as they were.
#[test]
fn transposes() {
    everywhere(262, |rig, noise| {
        for (count, [batch, rows, columns]) in TRANSPOSED {
            let len = batch * rows * columns;
            let x = planes(count, len, noise);
            let kernel = Kernel::Transpose {
                sizes: [batch, rows, columns],
            };
            each_device(rig, &kernel, &x, poisoned(count, len), |found| {
                for (found, x) in found.iter().zip(&x) {
                    for (i, found) in found.iter().enumerate() {
                        let (n, i) = (i / (rows * columns), i % (rows * columns));
                        let from = (n * rows + i % rows) * columns + i / rows;
                        assert_eq!(*found, x[from]);
                    }
                }
            });
        }
    });
}

#[test]
fn interleaves() {
    everywhere(264, |rig, noise| {
        for (count, len) in [(1, 399), (2, 1100), (4, 399), (9, 300), (33, 70), (2, 0)] {
            let x = planes(count, len, noise);
            let together: Vec<f64> = (0..count * len).map(|i| x[i % count][i / count]).collect();
            let together = vec![together];
            let into = Kernel::Interleave { into: true };
            each_device(rig, &into, &x, poisoned(1, count * len), |found| {
                assert_eq!(*found, together);
            });
            let back = Kernel::Interleave { into: false };
            each_device(rig, &back, &together, poisoned(count, len), |found| {
                assert_eq!(*found, x);
            });
        }
    });
}

#[test]
fn tiles() {
    everywhere(265, |rig, noise| {
        let images = |batch, rows, columns| Images {
            batch,
            channels: 1,
            rows,
            columns,
        };
        let sizes = [images(35, 4, 3), images(64, 9, 5), images(5, 40, 30)];
        for (count, images) in [1, 2, 4, 9].into_iter().zip(sizes.into_iter().cycle()) {
            let (batch, pixels) = (images.batch, images.rows * images.columns);
            let samples = planes(count, batch * pixels, noise);
            let mut tiled = samples.clone();
            for (tiled, samples) in tiled.iter_mut().zip(&samples) {
                for n in 0..batch {
                    for (row, column) in images.pixels() {
                        let sample = samples[n * pixels + row * images.columns + column];
                        tiled[images.at(n, 0, row, column)] = sample;
                    }
                }
            }
            let into = Kernel::Tiles { batch, into: true };
            each_device(
                rig,
                &into,
                &samples,
                poisoned(count, batch * pixels),
                |found| {
                    assert_eq!(*found, tiled);
                },
            );
            let back = Kernel::Tiles { batch, into: false };
            each_device(
                rig,
                &back,
                &tiled,
                poisoned(count, batch * pixels),
                |found| {
                    assert_eq!(*found, samples);
                },
            );
        }
    });
}
