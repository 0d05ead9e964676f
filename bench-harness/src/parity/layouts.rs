//! Commands that know nothing of slots: maps of planes to planes, and elements moved.

use furthermore::plan::Kernel;

use super::Parity;
use super::bounds::Law;
use super::images::Images;
use super::noise::Noise;
use super::rig::Planes;

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
pub(super) fn linear_map(parity: &Parity) {
    parity.everywhere(261, |rig, noise| {
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
                let bound = Law::plain(rig.precision).bound(columns + 1, 8.0 * columns as f64);
                rig.check_planes(&kernel, &x, &poisoned(rows, len), bound, |x| {
                    let plane = |weights: &[f64]| -> Vec<f64> {
                        let of = |e: usize| weights.iter().zip(x).map(|(w, x)| w * x[e]).sum();
                        (0..len).map(of).collect()
                    };
                    matrix.chunks(columns).map(plane).collect()
                });
            }
        }
    });
}

/// Elements are moved, not computed with: they are as they were.
pub(super) fn moves(parity: &Parity) {
    parity.everywhere(262, |rig, noise| {
        let sizes = [3, 19, 7];
        let [batch, rows, columns] = sizes;
        for count in [1, 2, 4, 9] {
            let len = batch * rows * columns;
            let x = planes(count, len, noise);
            let kernel = Kernel::Transpose { sizes };
            rig.check_planes(&kernel, &x, &poisoned(count, len), 0.0, |x| {
                let from = |i: usize| {
                    let (n, i) = (i / (rows * columns), i % (rows * columns));
                    (n * rows + i % rows) * columns + i / rows
                };
                moved(x, from)
            });

            let together =
                |x: &Planes| vec![(0..count * len).map(|i| x[i % count][i / count]).collect()];
            let into = Kernel::Interleave { into: true };
            rig.check_planes(&into, &x, &poisoned(1, count * len), 0.0, together);
            let back = Kernel::Interleave { into: false };
            rig.check_planes(
                &back,
                &together(&x),
                &poisoned(count, len),
                0.0,
                |together| {
                    let plane = |p: usize| (0..len).map(|e| together[0][e * count + p]).collect();
                    (0..count).map(plane).collect()
                },
            );

            let images = Images {
                batch: 35,
                channels: 1,
                rows: 4,
                columns: 3,
            };
            let (batch, len) = (images.batch, images.batch * 12);
            let samples = planes(count, len, noise);
            // By element of the tiles, the element of the samples.
            let mut order = vec![0; len];
            for n in 0..batch {
                for (row, column) in images.pixels() {
                    order[images.at(n, 0, row, column)] = n * 12 + row * 3 + column;
                }
            }
            let into = Kernel::Tiles { batch, into: true };
            rig.check_planes(&into, &samples, &poisoned(count, len), 0.0, |x| {
                moved(x, |i| order[i])
            });
            let back = Kernel::Tiles { batch, into: false };
            let tiles = moved(&samples, |i| order[i]);
            rig.check_planes(&back, &tiles, &poisoned(count, len), 0.0, |tiles| {
                let mut samples = tiles.clone();
                for (samples, tiles) in samples.iter_mut().zip(tiles) {
                    for (at, x) in order.iter().zip(tiles) {
                        samples[*at] = *x;
                    }
                }
                samples
            });
        }
    });
}

/// Each plane with element `from(i)` in place i.
fn moved(x: &Planes, from: impl Fn(usize) -> usize) -> Planes {
    let plane = |x: &Vec<f64>| (0..x.len()).map(|i| x[from(i)]).collect();
    x.iter().map(plane).collect()
}
