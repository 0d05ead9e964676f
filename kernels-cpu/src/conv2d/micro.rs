//! The register tiles of convolutions: several channels of one pixel, and several weights.

use std::ops::Range;

use crate::element::Element;
use crate::images::{Axis, Taps};
use crate::simd::Simd;

/// Most channels of a tile: 8 x 2 accumulators leave room for two vectors of the source and the
/// broadcast of a weight on AVX-512, 6 x 2 and 4 x 2 on the others.
pub(super) const fn tile_channels<T: Element, S: Simd<T>>() -> usize {
    if S::TILE_ROWS < 8 { S::TILE_ROWS } else { 8 }
}

/// Where a pixel's taps are read: in a tile's channels, and in packed weights.
#[derive(Clone, Copy)]
pub(super) struct Reads<T> {
    /// The source's first element, and elements to its next channel, row and column.
    pub(super) source: *const T,
    pub(super) channel: usize,
    pub(super) row: usize,
    pub(super) column: usize,
    /// Channels that are summed over.
    pub(super) channels: usize,
    /// Weights packed `[channel][tap row][tap column][target channel]`.
    pub(super) weights: *const T,
    pub(super) kernel: [usize; 2],
}

/// Where an accumulator goes: `coefficient * tile + start`, `start` a number for each channel, or
/// what is there already.
#[derive(Clone, Copy)]
pub(super) struct Target<T> {
    pub(super) to: *mut T,
    pub(super) coefficient: T,
    /// The channels' bias, for the first that is added to a plane.
    pub(super) bias: Option<*const T>,
}

/// Computes one pixel of `channels` target channels for `count` images and adds it into `targets`,
/// whose channels are `stride` apart.
///
/// # Safety
/// All taps of `rows` and `columns` lie in the source and the packed weights, `count <= 2 LANES`
/// elements of each pixel are readable, each target is writable for its channels, and biases are
/// readable for as many; `channels` is at most [`tile_channels`].
#[inline(always)]
pub(super) unsafe fn pixel<T: Element, S: Simd<T>>(
    channels: usize,
    count: usize,
    rows: &Taps,
    columns: &Taps,
    reads: &Reads<T>,
    targets: impl Iterator<Item = Target<T>>,
    stride: usize,
) {
    macro_rules! heights {
        ($($channels:literal)*) => {
            match channels {
                // SAFETY: the caller's promise; heights past an instruction set's own are never
                // reached there, and the test lets the compiler drop them.
                $($channels if $channels <= tile_channels::<T, S>() => unsafe {
                    if count == 2 * S::LANES {
                        tile::<T, S, $channels, 2, true>(count, rows, columns, reads, targets, stride)
                    } else if count == S::LANES {
                        tile::<T, S, $channels, 1, true>(count, rows, columns, reads, targets, stride)
                    } else {
                        tile::<T, S, $channels, 1, false>(count, rows, columns, reads, targets, stride)
                    }
                },)*
                _ => {}
            }
        };
    }
    heights!(8 7 6 5 4 3 2 1);
}

/// # Safety
/// As [`pixel`], for exactly `MR` channels and `NV` vectors, whole ones if `WHOLE`.
#[inline(always)]
unsafe fn tile<T: Element, S: Simd<T>, const MR: usize, const NV: usize, const WHOLE: bool>(
    count: usize,
    rows: &Taps,
    columns: &Taps,
    reads: &Reads<T>,
    targets: impl Iterator<Item = Target<T>>,
    stride: usize,
) {
    let count = if WHOLE { S::LANES } else { count };
    let zero = S::splat(T::zero());
    let mut sum = [[zero; NV]; MR];
    let row_weights = reads.kernel[1] * MR;
    let channel_weights = reads.kernel[0] * row_weights;
    let first = rows.source * reads.row + columns.source * reads.column;
    let mut channel = reads.source.wrapping_add(first);
    let mut weights = reads
        .weights
        .wrapping_add(rows.tap * row_weights + columns.tap * MR);
    let row_step = rows.source_step * reads.row as isize;
    let column_step = columns.source_step * reads.column as isize;
    let (row_weights, column_weights) = (rows.tap_step * row_weights, columns.tap_step * MR);
    for _ in 0..reads.channels {
        let (mut row, mut row_weight) = (channel, weights);
        for _ in 0..rows.count {
            let (mut x, mut w) = (row, row_weight);
            for _ in 0..columns.count {
                // SAFETY: tap and source are those of the caller's promise.
                unsafe {
                    let mut pixel = [zero; NV];
                    for v in 0..NV {
                        pixel[v] = S::load_some(x.add(v * S::LANES), count);
                    }
                    for i in 0..MR {
                        let weight = S::splat(*w.add(i));
                        for v in 0..NV {
                            sum[i][v] = weight.mul_add(pixel[v], sum[i][v]);
                        }
                    }
                }
                x = x.wrapping_offset(column_step);
                w = w.wrapping_add(column_weights);
            }
            row = row.wrapping_offset(row_step);
            row_weight = row_weight.wrapping_add(row_weights);
        }
        channel = channel.wrapping_add(reads.channel);
        weights = weights.wrapping_add(channel_weights);
    }
    for target in targets {
        let coefficient = S::splat(target.coefficient);
        for i in 0..MR {
            for v in 0..NV {
                // SAFETY: the caller's promise.
                unsafe {
                    let to = target.to.add(i * stride + v * S::LANES);
                    let start = match target.bias {
                        Some(bias) => S::splat(*bias.add(i)),
                        None => S::load_some(to, count),
                    };
                    sum[i][v].mul_add(coefficient, start).store_some(to, count);
                }
            }
        }
    }
}

/// Most weights of one row of taps that a tile of the weights' gradient holds.
pub(super) const TILE_TAPS: usize = 5;

/// Most channels of the result's gradient in such a tile.
pub(super) const MAX_GRADIENT_CHANNELS: usize = 8;

/// Channels of the result's gradient in such a tile beside `taps` taps: as many as registers hold
/// with a vector of each.
pub(super) const fn gradient_channels<T: Element, S: Simd<T>>(taps: usize) -> usize {
    match (S::TILE_ROWS >= 12, taps) {
        (true, 0..=3) => MAX_GRADIENT_CHANNELS,
        (true, _) => 4,
        (false, 0..=2) => 4,
        (false, _) => 2,
    }
}

/// Rows of the result's gradient, and of one channel of the source, whose products are added up.
#[derive(Clone)]
pub(super) struct Strip<'a, T> {
    /// The gradient's first row, and elements to its next row and channel.
    pub(super) gradient: *const T,
    pub(super) gradient_row: usize,
    pub(super) gradient_channel: usize,
    /// The source row that the first tap row reads there, and elements from one to the next.
    pub(super) source: *const T,
    pub(super) source_row: usize,
    pub(super) rows: usize,
    /// Columns: of a pixel there are `width` images.
    pub(super) axis: &'a Axis,
    pub(super) width: usize,
    /// The first tap column, and the places at which all of a tile's lie on elements.
    pub(super) tap: usize,
    pub(super) inner: Range<usize>,
    /// Zeros, as many as images, for taps that lie on none.
    pub(super) zeros: *const T,
}

/// Adds, for each channel and tap, the product of gradient and source, lane by lane over all of
/// `strip`, to the vectors of sums at `sums + channel * pitch + tap * LANES`.
///
/// # Safety
/// The strip is readable for `channels` and `taps`, the sums are writable; `taps` is at most
/// [`TILE_TAPS`] and `channels` at most [`gradient_channels`] of it, and a power of two.
#[inline(always)]
pub(super) unsafe fn correlate<T: Element, S: Simd<T>>(
    (channels, taps): (usize, usize),
    sums: *mut T,
    pitch: usize,
    strip: &Strip<'_, T>,
) {
    macro_rules! tiles {
        ($(($channels:literal, $taps:literal))*) => {
            match (channels, taps) {
                // SAFETY: the caller's promise.
                $(($channels, $taps) if $channels <= gradient_channels::<T, S>($taps) => unsafe {
                    correlation::<T, S, $channels, $taps>(sums, pitch, strip)
                },)*
                _ => {}
            }
        };
    }
    tiles!(
        (8, 1)(8, 2)(8, 3)(4, 1)(4, 2)(4, 3)(4, 4)(4, 5)(2, 1)(2, 2)(2, 3)(2, 4)(2, 5)(1, 1)(1, 2)(
            1, 3
        )(1, 4)(1, 5)
    );
}

/// # Safety
/// As [`correlate`], for exactly `MO` channels and `KX` taps.
#[inline(always)]
unsafe fn correlation<T: Element, S: Simd<T>, const MO: usize, const KX: usize>(
    sums: *mut T,
    pitch: usize,
    strip: &Strip<'_, T>,
) {
    let zero = S::splat(T::zero());
    let mut tile = [[zero; KX]; MO];
    for i in 0..MO {
        for k in 0..KX {
            // SAFETY: the caller's promise.
            tile[i][k] = unsafe { S::load(sums.add(i * pitch + k * S::LANES)) };
        }
    }
    let Strip { axis, width, .. } = *strip;
    for row in 0..strip.rows {
        let gradient_row = strip.gradient.wrapping_add(row * strip.gradient_row);
        let source_row = strip.source.wrapping_add(row * strip.source_row);
        let mut column = 0;
        while column < axis.output {
            // Columns at the border one by one, those between in one run where they are dense.
            let inside = strip.inner.contains(&column);
            let columns = if inside && axis.stride == 1 {
                strip.inner.end - column
            } else {
                1
            };
            let mut sources = [strip.zeros; KX];
            for k in 0..KX {
                let at = column * axis.stride + (strip.tap + k) * axis.dilation;
                let element = at.wrapping_sub(axis.padding);
                if inside || element < axis.input {
                    sources[k] = source_row.wrapping_add(element.wrapping_mul(width));
                }
            }
            let gradient = gradient_row.wrapping_add(column * width);
            let len = columns * width;
            let mut at = 0;
            while at < len {
                let count = S::LANES.min(len - at);
                // SAFETY: the caller's promise.
                unsafe {
                    let mut source = [zero; KX];
                    for k in 0..KX {
                        source[k] = S::load_some(sources[k].add(at), count);
                    }
                    for i in 0..MO {
                        let from = gradient.add(i * strip.gradient_channel + at);
                        let g = S::load_some(from, count);
                        for k in 0..KX {
                            tile[i][k] = g.mul_add(source[k], tile[i][k]);
                        }
                    }
                }
                at += count;
            }
            column += columns;
        }
    }
    for i in 0..MO {
        for k in 0..KX {
            // SAFETY: the caller's promise.
            unsafe { tile[i][k].store(sums.add(i * pitch + k * S::LANES)) };
        }
    }
}
