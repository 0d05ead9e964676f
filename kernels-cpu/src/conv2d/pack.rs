//! Packing: weights in the order tiles read them, and combinations of a source's planes.

use std::ops::Range;

use super::micro::tile_channels;
use super::{Geometry, is_plane};
use crate::algebra::{Bilinear, Combination};
use crate::element::Element;
use crate::planes::{Planes, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots;

/// Cuts `0..len` into the fewest parts of at most `most`, as even as they come.
pub(super) fn blocks(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let count = len.div_ceil(most);
    (0..count).map(move |i| len * i / count..len * (i + 1) / count)
}

/// Packs every right combination as `[combination][group][block of target channels][source channel]
/// [tap][target channel]`.
pub(crate) struct PackWeights<'a, T> {
    pub(super) geometry: &'a Geometry,
    pub(super) program: &'a Bilinear,
    pub(super) weights: Planes<'a, T>,
    pub(super) to: &'a mut [T],
}

impl<T: Element> WithSimd<T> for PackWeights<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        let g = self.geometry;
        let taps = g.kernel[0] * g.kernel[1];
        let mut to = self.to.iter_mut();
        for combination in &self.program.right {
            for group in 0..g.groups {
                for block in blocks(g.targets, tile_channels::<T, S>()) {
                    for source in 0..g.sources {
                        for tap in 0..taps {
                            for (target, to) in block.clone().zip(&mut to) {
                                let at = group * g.group_weights
                                    + target * g.target_weights
                                    + source * g.source_weights
                                    + tap;
                                let mut sum = T::zero();
                                for &(plane, weight) in combination {
                                    sum = sum + T::of(weight) * self.weights.plane(plane)[at];
                                }
                                *to = sum;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A tile of a tensor: `width` images from element `at` of each plane on.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) at: usize,
    pub(super) channels: usize,
    /// Elements of a row: columns times images.
    pub(super) row: usize,
    pub(super) rows: usize,
}

/// Forms the combinations that are no plane as it is, for `rows` of every channel of a tile; each is
/// laid out as the tile is, one after another from `to` on.
///
/// # Safety
/// The planes have the tile; `to` is writable for as many tiles as there are such combinations.
#[inline(always)]
pub(super) unsafe fn form<T: Element, S: Simd<T>>(
    planes: &RawPlanes<T>,
    combinations: &[Combination],
    tile: &Tile,
    rows: &Range<usize>,
    to: *mut T,
) {
    let len = rows.len() * tile.row;
    let size = tile.channels * tile.rows * tile.row;
    for (nth, combination) in combinations.iter().filter(|c| !is_plane(c)).enumerate() {
        for channel in 0..tile.channels {
            let at = (channel * tile.rows + rows.start) * tile.row;
            let to = to.wrapping_add(nth * size + at);
            slots::sweep(
                len,
                S::LANES,
                #[inline(always)]
                |i, count| {
                    let mut sum = S::splat(T::zero());
                    for &(plane, weight) in combination {
                        let from = planes.plane(plane).wrapping_add(tile.at + at + i);
                        // SAFETY: the caller's promise.
                        let x = unsafe { S::load_some(from, count) };
                        sum = S::splat(T::of(weight)).mul_add(x, sum);
                    }
                    // SAFETY: as above.
                    unsafe { sum.store_some(to.add(i), count) };
                },
            );
        }
    }
}

/// Where combination `nth` of a tile starts: in its plane, or where [`form`] put it.
#[inline(always)]
pub(super) fn start<T>(
    planes: &RawPlanes<T>,
    combinations: &[Combination],
    nth: usize,
    tile: &Tile,
    formed: *mut T,
) -> *const T {
    let combination = &combinations[nth];
    if is_plane(combination) {
        return planes.plane(combination[0].0).wrapping_add(tile.at);
    }
    let before = combinations[..nth].iter().filter(|c| !is_plane(c)).count();
    formed.wrapping_add(before * tile.channels * tile.rows * tile.row)
}
