//! One thread's rows of a convolution, from input to output or from output to input.

use std::ops::Range;

use super::micro::{self, Reads, Target};
use super::pack::{self, Tile};
use super::{Geometry, Schedule, row_pitch};
use crate::algebra::{Arithmetic, Bilinear, Term};
use crate::element::Element;
use crate::function_map::{self, Function};
use crate::images;
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
    pub(super) schedule: &'a Schedule,
    pub(super) source: RawPlanes<T>,
    pub(super) target: RawPlanes<T>,
    /// Packed by [`pack::PackWeights`].
    pub(super) weights: &'a [T],
    /// For each plane a number for each channel.
    pub(super) biases: &'a [T],
    pub(super) activation: Option<Function>,
    /// Scratch for rows of the source.
    pub(super) window: *mut T,
    pub(super) rows: Range<usize>,
}

/// Rows of results in one tile.
struct Chunk {
    rows: Range<usize>,
    /// Images of the tile.
    width: usize,
    /// Where the tile's results start.
    target: usize,
    /// The first row of the source that is packed, and where element 0 of row 0 would be.
    source: usize,
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
            let left = (rows.targets() - first).min(self.rows.end - at);
            let (start, width) = images::tile(g.batch, nth);
            let tile = Tile {
                at: start * g.source_image(),
                channels: g.groups * g.sources,
                row: columns.source_len() * width,
                rows: rows.source_len(),
            };
            let taken = left.min(self.schedule.rows);
            let sources = rows.sources(first..first + taken);
            debug_assert!(sources.len() <= self.schedule.source_rows);
            let chunk = Chunk {
                rows: first..first + taken,
                width,
                target: start * g.target_image(),
                source: sources.start,
            };
            // A plane's first term starts from the bias; one bit a plane.
            let mut written: u64 = 0;
            for (left, combination) in self.program.left.iter().enumerate() {
                // SAFETY: the source has this tile, and the window room for these rows.
                unsafe {
                    let pitch = row_pitch::<T>(tile.row);
                    let pitches = (self.schedule.source_rows * pitch, pitch);
                    pack::rows::<T, S>(
                        &self.source,
                        combination,
                        &tile,
                        &sources,
                        self.window,
                        pitches,
                    );
                }
                for term in self.program.terms.iter().filter(|term| term.left == left) {
                    self.term::<S>(&chunk, term, written);
                    for &(plane, _) in &term.outputs {
                        written |= 1 << plane;
                    }
                }
            }
            seen = seen.merge(self.finish(&chunk));
            at += taken;
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

    /// One product's share of a chunk; `written` are the planes that hold a share already.
    #[inline(always)]
    fn term<S: Simd<T>>(&self, chunk: &Chunk, term: &Term, written: u64) {
        let g = self.geometry;
        let [rows, columns] = &g.axes;
        let (width, taps) = (chunk.width, g.kernel[0] * g.kernel[1]);
        let pitch = row_pitch::<T>(columns.source_len() * width);
        let channel_pitch = self.schedule.source_rows * pitch;
        let target_channel = self.target_channel(width);
        let weights = &self.weights[term.right * g.weights()..][..g.weights()];
        for row in chunk.rows.clone() {
            let row_taps = rows.taps(row);
            for group in 0..g.groups {
                for block in pack::blocks(g.targets, micro::tile_channels::<T, S>()) {
                    let channel = group * g.targets + block.start;
                    let to =
                        chunk.target + channel * target_channel + row * columns.targets() * width;
                    let source = self
                        .window
                        .wrapping_add(group * g.sources * channel_pitch)
                        .wrapping_sub(chunk.source * pitch);
                    let packed = group * g.group_weights + block.start * g.sources * taps;
                    let reads = Reads {
                        source,
                        channel: channel_pitch,
                        row: pitch,
                        column: width,
                        channels: g.sources,
                        weights: weights[packed..].as_ptr(),
                        kernel: g.kernel,
                    };
                    let mut image = 0;
                    while image < width {
                        let left = width - image;
                        let count = if left >= 2 * S::LANES {
                            2 * S::LANES
                        } else {
                            left.min(S::LANES)
                        };
                        for column in 0..columns.targets() {
                            let at = to + column * width + image;
                            let reads = Reads {
                                source: reads.source.wrapping_add(image),
                                ..reads
                            };
                            let targets = term.outputs.iter().map(
                                #[inline(always)]
                                |&(plane, coefficient)| {
                                    let biases =
                                        &self.biases[plane * g.groups * g.targets + channel..];
                                    Target {
                                        to: self.target.plane(plane).wrapping_add(at),
                                        coefficient: T::of(coefficient),
                                        bias: (written & (1 << plane) == 0)
                                            .then_some(biases.as_ptr()),
                                    }
                                },
                            );
                            // SAFETY: the taps lie in the packed rows, the block in weights and
                            // biases, and the pixel in the task's rows of the result.
                            unsafe {
                                micro::pixel::<T, S>(
                                    block.len(),
                                    count,
                                    &row_taps,
                                    &columns.taps(column),
                                    &reads,
                                    targets,
                                    target_channel,
                                );
                            }
                        }
                        image += count;
                    }
                }
            }
        }
    }

    /// The activation on a chunk that is still in cache.
    #[inline(always)]
    fn finish(&self, chunk: &Chunk) -> SlotMaxima {
        let mut seen = SlotMaxima::NONE;
        let Some(function) = self.activation else {
            return seen;
        };
        let row = self.geometry.axes[1].targets() * chunk.width;
        for channel in 0..self.geometry.groups * self.geometry.targets {
            let at =
                chunk.target + channel * self.target_channel(chunk.width) + chunk.rows.start * row;
            let len = chunk.rows.len() * row;
            // SAFETY: these elements lie in the task's rows.
            let span =
                unsafe { function_map::in_place(self.arithmetic, function, self.target, at, len) };
            // A call, not inlined: the convolution's code would hold every function once more.
            seen = seen.merge(T::run_span(self.isa, span));
        }
        seen
    }
}
