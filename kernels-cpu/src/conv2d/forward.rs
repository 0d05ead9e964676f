//! One thread's rows of a convolution, from input to output or from output to input.

use std::ops::Range;

use super::Geometry;
use super::micro::{self, Reads, Target};
use super::pack::{self, Tile};
use crate::algebra::{Arithmetic, Bilinear};
use crate::element::Element;
use crate::function_map::{self, Function};
use crate::images::{self, Taps};
use crate::isa::Isa;
use crate::planes::RawPlanes;
use crate::simd::{Simd, WithSimd};
use crate::slots::SlotMaxima;

/// The rows `rows` of a result, counted through all tiles.
///
/// Made only by `run`, which has checked the operands against the geometry and gives each task rows
/// and scratch of its own.
pub(crate) struct Convolve<'a, T> {
    pub(super) isa: Isa,
    pub(super) arithmetic: &'a Arithmetic,
    pub(super) program: &'a Bilinear,
    pub(super) geometry: &'a Geometry,
    pub(super) source: RawPlanes<T>,
    pub(super) target: RawPlanes<T>,
    /// Packed by [`pack::Weights`].
    pub(super) weights: &'a [T],
    /// For each plane a number for each channel.
    pub(super) biases: &'a [T],
    pub(super) activation: Option<Function>,
    /// Scratch for the combinations of a tile of the source.
    pub(super) formed: *mut T,
    pub(super) rows: Range<usize>,
}

/// One row of results in one tile.
struct Row<'a> {
    tile: &'a Tile,
    /// Images of the tile.
    width: usize,
    /// Where the tile's results start.
    target: usize,
    row: usize,
    taps: Taps,
}

impl<T: Element> WithSimd<T> for Convolve<'_, T> {
    type Output = SlotMaxima;

    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        let g = self.geometry;
        let [rows, columns] = &g.axes;
        let mut seen = SlotMaxima::NONE;
        let mut at = self.rows.start;
        while at < self.rows.end {
            let (nth, first) = (at / rows.targets(), at % rows.targets());
            let last = rows.targets().min(first + self.rows.end - at);
            let (start, width) = images::tile(g.batch, nth);
            let tile = Tile {
                at: start * g.source_image(),
                channels: g.groups * g.sources,
                row: columns.source_len() * width,
                rows: rows.source_len(),
            };
            let sources = rows.sources(first..last);
            // SAFETY: the source has this tile, and the scratch room for its combinations.
            unsafe {
                pack::form::<T, S>(
                    &self.source,
                    &self.program.left,
                    &tile,
                    &sources,
                    self.formed,
                );
            }
            for row in first..last {
                let row = Row {
                    tile: &tile,
                    width,
                    target: start * g.target_image(),
                    row,
                    taps: rows.taps(row),
                };
                for group in 0..g.groups {
                    for block in pack::blocks(g.targets, micro::tile_channels::<T, S>()) {
                        self.block::<S>(&row, group, &block);
                        seen = seen.merge(self.finish(&row, group, &block));
                    }
                }
            }
            at += last - first;
        }
        seen
    }
}

impl<T: Element> Convolve<'_, T> {
    /// Elements from one channel of a tile of results to the next.
    #[inline(always)]
    fn target_channel(&self, width: usize) -> usize {
        let [rows, columns] = &self.geometry.axes;
        rows.targets() * columns.targets() * width
    }

    /// One row of the channels `block` of a group: all columns, images and products.
    #[inline(always)]
    fn block<S: Simd<T>>(&self, row: &Row<'_>, group: usize, block: &Range<usize>) {
        let g = self.geometry;
        let (tile, width) = (row.tile, row.width);
        let columns = &g.axes[1];
        let taps = g.kernel[0] * g.kernel[1];
        let channel = group * g.targets + block.start;
        let target_channel = self.target_channel(width);
        let target = row.target + channel * target_channel + row.row * columns.targets() * width;
        let source = group * g.sources * tile.rows * tile.row;
        let packed = group * g.group_weights + block.start * g.sources * taps;
        let mut image = 0;
        while image < width {
            let left = width - image;
            let count = if left >= 2 * S::LANES {
                2 * S::LANES
            } else {
                left.min(S::LANES)
            };
            for column in 0..columns.targets() {
                let column_taps = columns.taps(column);
                let at = target + column * width + image;
                // A plane's first term starts from the bias; one bit a plane.
                let mut written: u64 = 0;
                for term in &self.program.terms {
                    let start = pack::start(
                        &self.source,
                        &self.program.left,
                        term.left,
                        tile,
                        self.formed,
                    );
                    let weights = &self.weights[term.right * g.weights() + packed..];
                    let reads = Reads {
                        source: start.wrapping_add(source + image),
                        channel: tile.rows * tile.row,
                        row: tile.row,
                        column: width,
                        channels: g.sources,
                        weights: weights.as_ptr(),
                        kernel: g.kernel,
                    };
                    let targets = term.outputs.iter().map(
                        #[inline(always)]
                        |&(plane, coefficient)| {
                            let biases = &self.biases[plane * g.groups * g.targets + channel..];
                            Target {
                                to: self.target.plane(plane).wrapping_add(at),
                                coefficient: T::of(coefficient),
                                bias: (written & (1 << plane) == 0).then_some(biases.as_ptr()),
                            }
                        },
                    );
                    // SAFETY: the taps lie in the tile, the block in weights and biases, and the
                    // pixel in the task's rows of the result.
                    unsafe {
                        micro::pixel::<T, S>(
                            block.len(),
                            count,
                            &row.taps,
                            &column_taps,
                            &reads,
                            targets,
                            target_channel,
                        );
                    }
                    for &(plane, _) in &term.outputs {
                        written |= 1 << plane;
                    }
                }
            }
            image += count;
        }
    }

    /// The activation on a row of a block that is still in cache.
    #[inline(always)]
    fn finish(&self, row: &Row<'_>, group: usize, block: &Range<usize>) -> SlotMaxima {
        let mut seen = SlotMaxima::NONE;
        let Some(function) = self.activation else {
            return seen;
        };
        let len = self.geometry.axes[1].targets() * row.width;
        for channel in block.clone() {
            let channel = group * self.geometry.targets + channel;
            let at = row.target + channel * self.target_channel(row.width) + row.row * len;
            // SAFETY: these elements lie in the task's rows.
            let span =
                unsafe { function_map::in_place(self.arithmetic, function, self.target, at, len) };
            // A call, not inlined: the convolution's code would hold every function once more.
            seen = seen.merge(T::run_span(self.isa, span));
        }
        seen
    }
}
