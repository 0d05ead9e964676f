//! One thread's rows of a convolution, from input to output or from output to input.

use std::ops::Range;

use super::micro::{self, Reads, Target};
use super::pack::{self, Tile};
use super::pooled::{Averages, Source};
use super::{Epilogue, Geometry, Schedule, row_pitch};
use crate::algebra::{Arithmetic, Bilinear, Term};
use crate::element::Element;
use crate::function_map;
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
    pub(super) source: Source<'a, T>,
    pub(super) target: RawPlanes<T>,
    /// Packed by [`pack::PackWeights`].
    pub(super) weights: &'a [T],
    /// For each plane a number for each channel.
    pub(super) biases: &'a [T],
    pub(super) epilogue: Epilogue,
    /// Scratch for rows of the source.
    pub(super) window: *mut T,
    /// Scratch for rows of the result, where only averages of them are kept.
    pub(super) staged: RawPlanes<T>,
    pub(super) rows: Range<usize>,
}

/// Rows of results in one tile.
struct Chunk<T> {
    tile: usize,
    rows: Range<usize>,
    /// Images of the tile.
    width: usize,
    /// Where results go: element `at` of each plane is row `first`, channels lie `channel` apart.
    target: RawPlanes<T>,
    at: usize,
    first: usize,
    channel: usize,
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
                width,
                pixel: nth * g.source_image(),
            };
            let taken = left.min(self.schedule.rows);
            let sources = rows.sources(first..first + taken);
            debug_assert!(sources.len() <= self.schedule.source_rows);
            let mut chunk = Chunk {
                tile: nth,
                rows: first..first + taken,
                width,
                target: self.target,
                at: start * g.target_image(),
                first: 0,
                channel: rows.targets() * columns.targets() * width,
                source: sources.start,
            };
            if let Epilogue::Pool { .. } = self.epilogue {
                let channel = self.schedule.staged_channel;
                (chunk.target, chunk.at, chunk.first, chunk.channel) =
                    (self.staged, 0, first, channel);
            }
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
    /// One product's share of a chunk; `written` are the planes that hold a share already.
    #[inline(always)]
    fn term<S: Simd<T>>(&self, chunk: &Chunk<T>, term: &Term, written: u64) {
        let g = self.geometry;
        let [rows, columns] = &g.axes;
        let (width, taps) = (chunk.width, g.kernel[0] * g.kernel[1]);
        let pitch = row_pitch::<T>(columns.source_len() * width);
        let channel_pitch = self.schedule.source_rows * pitch;
        let weights = &self.weights[term.right * g.weights()..][..g.weights()];
        for row in chunk.rows.clone() {
            let row_taps = rows.taps(row);
            for group in 0..g.groups {
                for block in pack::blocks(g.targets, micro::tile_channels::<T, S>()) {
                    let channel = group * g.targets + block.start;
                    let line = (row - chunk.first) * columns.targets() * width;
                    let to = chunk.at + channel * chunk.channel + line;
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
                                        to: chunk.target.plane(plane).wrapping_add(at),
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
                                    chunk.channel,
                                );
                            }
                        }
                        image += count;
                    }
                }
            }
        }
    }

    /// What follows on a chunk that is still in cache.
    #[inline(always)]
    fn finish(&self, chunk: &Chunk<T>) -> SlotMaxima {
        let mut seen = SlotMaxima::NONE;
        // Calls, not inlined: the convolution's code would hold every function once more.
        match self.epilogue {
            Epilogue::Map(None) => {}
            Epilogue::Map(Some(function)) => {
                let row = self.geometry.axes[1].targets() * chunk.width;
                for channel in 0..self.geometry.groups * self.geometry.targets {
                    let at = chunk.at + channel * chunk.channel + chunk.rows.start * row;
                    let (to, len) = (chunk.target, chunk.rows.len() * row);
                    // SAFETY: these elements lie in the task's rows.
                    let span =
                        unsafe { function_map::in_place(self.arithmetic, function, to, at, len) };
                    seen = seen.merge(T::run_span(self.isa, span));
                }
            }
            Epilogue::Pool { window, steps } => {
                let averages = Averages {
                    arithmetic: self.arithmetic,
                    window,
                    staged: self.staged,
                    pitch: chunk.channel,
                    geometry: self.geometry,
                    tile: chunk.tile,
                    rows: chunk.rows.clone(),
                    output: self.target,
                    steps,
                };
                seen = T::run_averages(self.isa, averages);
            }
        }
        seen
    }
}
