//! Packing: weights in the order tiles read them, and combinations of a source's planes.

use std::ops::Range;

use super::Geometry;
use super::micro::tile_channels;
use super::pooled::Source;
use crate::algebra::{Bilinear, Combination, is_plane};
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

/// A tile of a tensor, or some channels of it, from element `at` of each plane on.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) at: usize,
    pub(super) channels: usize,
    /// Elements of a row: columns times images.
    pub(super) row: usize,
    pub(super) rows: usize,
    /// Images.
    pub(super) width: usize,
    /// Where it starts counted in pixels, of which a tile has each once.
    pub(super) pixel: usize,
}

/// Packs `rows` of every channel of a tile of one combination, channels and rows `pitches` apart.
///
/// # Safety
/// The source has the tile; `to` is writable for the channels and rows at those pitches.
#[inline(always)]
pub(super) unsafe fn rows<T: Element, S: Simd<T>>(
    source: &Source<'_, T>,
    combination: &Combination,
    tile: &Tile,
    rows: &Range<usize>,
    to: *mut T,
    (channel_pitch, row_pitch): (usize, usize),
) {
    let planes = match source {
        Source::Planes(planes) => planes,
        Source::Pooled(pooled) => {
            // SAFETY: the caller's promise.
            unsafe { pooled.rows(combination, tile, rows, to, (channel_pitch, row_pitch)) };
            return;
        }
    };
    for channel in 0..tile.channels {
        for (nth, row) in rows.clone().enumerate() {
            let at = tile.at + (channel * tile.rows + row) * tile.row;
            let to = to.wrapping_add(channel * channel_pitch + nth * row_pitch);
            // SAFETY: the caller's promise.
            unsafe { combine::<T, S>(planes, combination, at, tile.row, to) };
        }
    }
}

/// Writes the weighted sum of planes for `len` elements from `at` on.
///
/// # Safety
/// The planes have those elements, and `to` is writable for as many.
#[inline(always)]
unsafe fn combine<T: Element, S: Simd<T>>(
    planes: &RawPlanes<T>,
    combination: &Combination,
    at: usize,
    len: usize,
    to: *mut T,
) {
    if is_plane(combination) {
        // SAFETY: the caller's promise.
        unsafe {
            let from = planes.plane(combination[0].0).wrapping_add(at);
            std::ptr::copy_nonoverlapping(from, to, len);
        }
        return;
    }
    slots::sweep(
        len,
        S::LANES,
        #[inline(always)]
        |i, count| {
            let mut sum = S::splat(T::zero());
            for &(plane, weight) in combination {
                let from = planes.plane(plane).wrapping_add(at + i);
                // SAFETY: the caller's promise.
                let x = unsafe { S::load_some(from, count) };
                sum = S::splat(T::of(weight)).mul_add(x, sum);
            }
            // SAFETY: as above.
            unsafe { sum.store_some(to.add(i), count) };
        },
    );
}
