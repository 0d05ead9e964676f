//! Commands that know nothing of slots: maps of planes to planes, and elements moved.

use furthermore::plan::Kernel;

use super::Parity;
use super::bounds::Law;
use super::images::Images;
use super::noise::Noise;
use super::rig::Planes;

fn planes(count: usize, len: usize, noise: &mut Noise) -> Planes {
    (0..count).map(|_| noise.numbers(len, -1.0, 1.0)).collect()
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

/// Of a plane of weight zero nothing gets through.
pub(super) fn linear_map_of_what_is_not_finite(parity: &Parity) {
    parity.everywhere(263, |rig, noise| {
        let mut x = planes(2, 3, noise);
        x[1] = vec![f64::NAN, f64::INFINITY, 1.0];
        let kernel = Kernel::LinearMap {
            matrix: vec![1.0, 0.0],
        };
        rig.check_planes(&kernel, &x, &poisoned(1, 3), 0.0, |x| x[..1].to_vec());
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
pub(super) fn transpose(parity: &Parity) {
    parity.everywhere(262, |rig, noise| {
        for (count, sizes) in TRANSPOSED {
            let [batch, rows, columns] = sizes;
            let len = batch * rows * columns;
            let x = planes(count, len, noise);
            let kernel = Kernel::Transpose { sizes };
            rig.check_planes(&kernel, &x, &poisoned(count, len), 0.0, |x| {
                moved(x, |i| {
                    let (n, i) = (i / (rows * columns), i % (rows * columns));
                    (n * rows + i % rows) * columns + i / rows
                })
            });
        }
    });
}

pub(super) fn interleave(parity: &Parity) {
    parity.everywhere(264, |rig, noise| {
        for (count, len) in [(1, 399), (2, 1100), (4, 399), (9, 300), (33, 70), (2, 0)] {
            let x = planes(count, len, noise);
            let together = |x: &Planes| -> Planes {
                vec![(0..count * len).map(|i| x[i % count][i / count]).collect()]
            };
            let into = Kernel::Interleave { into: true };
            rig.check_planes(&into, &x, &poisoned(1, count * len), 0.0, together);
            let back = Kernel::Interleave { into: false };
            rig.check_planes(&back, &together(&x), &poisoned(count, len), 0.0, |x| {
                let plane = |p: usize| (0..len).map(|e| x[0][e * count + p]).collect();
                (0..count).map(plane).collect()
            });
        }
    });
}

pub(super) fn tiles(parity: &Parity) {
    parity.everywhere(265, |rig, noise| {
        let images = |batch, rows, columns| Images {
            batch,
            channels: 1,
            rows,
            columns,
        };
        let sizes = [images(35, 4, 3), images(64, 9, 5), images(5, 40, 30)];
        for (count, images) in [1, 2, 4, 9].into_iter().zip(sizes.into_iter().cycle()) {
            let (batch, pixels) = (images.batch, images.rows * images.columns);
            let len = batch * pixels;
            let samples = planes(count, len, noise);
            // By element of the tiles, the element of the samples; and the other way.
            let (mut order, mut place) = (vec![0; len], vec![0; len]);
            for n in 0..batch {
                for (row, column) in images.pixels() {
                    let (tile, sample) = (
                        images.at(n, 0, row, column),
                        n * pixels + row * images.columns + column,
                    );
                    order[tile] = sample;
                    place[sample] = tile;
                }
            }
            let poisoned = poisoned(count, len);
            let into = Kernel::Tiles { batch, into: true };
            rig.check_planes(&into, &samples, &poisoned, 0.0, |x| moved(x, |i| order[i]));
            let tiled = moved(&samples, |i| order[i]);
            let back = Kernel::Tiles { batch, into: false };
            rig.check_planes(&back, &tiled, &poisoned, 0.0, |x| moved(x, |i| place[i]));
        }
    });
}

/// Each plane with element `from(i)` in place i.
fn moved(x: &Planes, from: impl Fn(usize) -> usize) -> Planes {
    let plane = |x: &Vec<f64>| (0..x.len()).map(|i| x[from(i)]).collect();
    x.iter().map(plane).collect()
}
