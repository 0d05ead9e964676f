//! Commands that know nothing of slots: maps of planes to planes, and elements moved.

use furthermore::plan::Kernel;
use furthermore_kernels_cpu::convert::{CopyAxis, Rest, StridedCopy};

use super::Parity;
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
                let largest = matrix
                    .iter()
                    .fold(0.0, |largest: f64, w| largest.max(w.abs()));
                let bound = Some((columns + 1, largest * columns as f64));
                rig.check_planes(&kernel, &x, &poisoned(rows, len), bound, |x, _| {
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
        rig.check_planes(&kernel, &x, &poisoned(1, 3), None, |x, _| x[..1].to_vec());
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
            rig.check_planes(&kernel, &x, &poisoned(count, len), None, |x, _| {
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
            rig.check_planes(&into, &x, &poisoned(1, count * len), None, |x, _| {
                together(x)
            });
            let back = Kernel::Interleave { into: false };
            rig.check_planes(&back, &together(&x), &poisoned(count, len), None, |x, _| {
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
            rig.check_planes(&into, &samples, &poisoned, None, |x, _| {
                moved(x, |i| order[i])
            });
            let tiled = moved(&samples, |i| order[i]);
            let back = Kernel::Tiles { batch, into: false };
            rig.check_planes(&back, &tiled, &poisoned, None, |x, _| {
                moved(x, |i| place[i])
            });
        }
    });
}

/// Lengths, first elements and axes of a copy.
struct Carried {
    lens: [usize; 2],
    first: [usize; 2],
    axes: Vec<CopyAxis>,
}

/// Size, stride where it is read, stride where it is written.
fn axes<const N: usize>(axes: [(usize, isize, isize); N]) -> Vec<CopyAxis> {
    let axis = |(size, from, to)| CopyAxis { size, from, to };
    axes.map(axis).to_vec()
}

/// A tensor with its axes in another order: element `i` of the new order's strides is that of axis i.
fn permuted<const N: usize>(sizes: [usize; N], order: [usize; N]) -> Carried {
    let mut strides = [[0; N]; 2];
    for (strides, order) in strides.iter_mut().zip([std::array::from_fn(|k| k), order]) {
        let mut stride = 1;
        for axis in order.into_iter().rev() {
            strides[axis] = stride as isize;
            stride *= sizes[axis];
        }
    }
    let len = sizes.iter().product();
    Carried {
        lens: [len; 2],
        first: [0; 2],
        axes: axes(std::array::from_fn::<_, N, _>(|k| {
            (sizes[k], strides[0][k], strides[1][k])
        })),
    }
}

fn carried() -> Vec<Carried> {
    let of = |lens, first, axes| Carried { lens, first, axes };
    vec![
        permuted([2, 16, 28, 28], [0, 2, 3, 1]),
        permuted([3, 11, 4, 16], [0, 2, 1, 3]),
        permuted([3, 2, 5, 7, 11], [4, 1, 3, 0, 2]),
        permuted([2, 3, 2, 5, 3, 7], [5, 4, 3, 2, 1, 0]),
        permuted([3, 0, 7], [2, 1, 0]),
        // The second half of a concatenation along the last axis, and along the first.
        of([391, 782], [0, 17], axes([(23, 17, 34), (17, 1, 1)])),
        of([391, 782], [0, 391], axes([(391, 1, 1)])),
        // Images in a border, their crop, and every other pixel from the end.
        of(
            [1470, 2838],
            [0, 13],
            axes([(6, 245, 473), (35, 7, 11), (7, 1, 1)]),
        ),
        of(
            [2838, 1470],
            [13, 0],
            axes([(6, 473, 245), (35, 11, 7), (7, 1, 1)]),
        ),
        of([300, 150], [299, 0], axes([(150, -2, 1)])),
        of([150, 301], [0, 299], axes([(150, 1, -2)])),
        // One row in every place, one element, and none.
        of([19, 380], [0, 0], axes([(20, 0, 19), (19, 1, 1)])),
        of([3, 5], [2, 3], axes([])),
        of([3, 5], [0, 0], axes([(0, 1, 1)])),
    ]
}

/// Elements are carried bit by bit; those outside the box stay or become zero.
pub(super) fn strided_copy(parity: &Parity) {
    parity.everywhere(266, |rig, noise| {
        for (count, case) in [1, 2, 4, 9].into_iter().cycle().zip(carried()) {
            let Carried {
                lens: [from_len, to_len],
                first: [from, to],
                axes,
            } = case;
            let mut pairs = vec![(from as isize, to as isize)];
            for axis in &axes {
                let along = |&(from, to): &(isize, isize)| {
                    let place = move |i: isize| (from + i * axis.from, to + i * axis.to);
                    (0..axis.size as isize).map(place)
                };
                pairs = pairs.iter().flat_map(along).collect();
            }
            let copy = StridedCopy::new(from_len, from, to_len, to, &axes);
            let copy = copy.expect("a box of both tensors");
            let (x, found) = (planes(count, from_len, noise), planes(count, to_len, noise));
            for rest in [Rest::Keep, Rest::Zero] {
                let kernel = Kernel::StridedCopy { copy, rest };
                let found = match rest {
                    Rest::Keep => found.clone(),
                    Rest::Zero => poisoned(count, to_len),
                };
                rig.check_planes(&kernel, &x, &found, None, |x, found| {
                    let mut expected = match rest {
                        Rest::Keep => found.clone(),
                        Rest::Zero => vec![vec![0.0; to_len]; count],
                    };
                    for (expected, x) in expected.iter_mut().zip(x) {
                        for &(from, to) in &pairs {
                            expected[to as usize] = x[from as usize];
                        }
                    }
                    expected
                });
            }
        }
    });
}

/// Each plane with element `from(i)` in place i.
fn moved(x: &Planes, from: impl Fn(usize) -> usize) -> Planes {
    let plane = |x: &Vec<f64>| (0..x.len()).map(|i| x[from(i)]).collect();
    x.iter().map(plane).collect()
}
