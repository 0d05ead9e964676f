//! The gradients of a convolution by its weights and its bias.

use std::ops::Range;

use super::micro::{self, MAX_GRADIENT_CHANNELS, Strip, TILE_TAPS};
use super::pack::{self, Tile};
use super::pooled::{Gradient, Source};
use super::{Conv2dShape, Geometry, aligned, enough, piece, pieces, row_pitch};
use crate::algebra::{Arithmetic, Bilinear, Term, is_plane};
use crate::element::Element;
use crate::error::KernelError;
use crate::images::{self, Axis, TILE_IMAGES};
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{MAX_LANES, Simd, WithSimd};
use crate::sizes::product;
use crate::slots;
use crate::threads::Exec;

/// Bytes of the gradient of a block of channels that are packed and gone through at a time: they stay
/// in a level-1 cache while the source's channels pass by.
const GRADIENT_BYTES: usize = 24 << 10;

/// Each piece's scratch: vectors of sums for every product's weights, the piece's gradient, combinations
/// of a tile of the input and rows of the result's gradient.
pub(super) struct Scratch {
    sums: usize,
    partial: usize,
    input: usize,
    gradient: usize,
    pieces: usize,
}

impl Scratch {
    pub(super) fn new<T: Element>(
        exec: &Exec,
        shape: &Conv2dShape,
        program: &Bilinear,
        planes: usize,
    ) -> Self {
        let geometry = Geometry::new(shape, false);
        let products = shape
            .products::<T>(exec)
            .saturating_mul(program.terms.len());
        let width = shape.batch.min(TILE_IMAGES);
        let formed = program.left.iter().filter(|c| !is_plane(c)).count();
        Self {
            sums: aligned::<T>(product(&[
                program.terms.len(),
                geometry.weights(),
                exec.isa.lanes::<T>(),
            ])),
            partial: aligned::<T>(product(&[planes, geometry.weights()])),
            input: aligned::<T>(product(&[formed, geometry.source_image(), width])),
            gradient: gradient_len::<T>(geometry.axes[1].output * width),
            pieces: pieces(exec, geometry.rows(), products),
        }
    }

    fn piece(&self) -> usize {
        let parts = [self.sums, self.partial, self.input, self.gradient];
        parts.into_iter().fold(0, usize::saturating_add)
    }

    pub(super) fn len(&self) -> usize {
        product(&[self.pieces, self.piece()])
    }
}

/// Elements of the packed gradient: a chunk, or one row of the tallest tile where that is more.
fn gradient_len<T>(row: usize) -> usize {
    let tallest = product(&[MAX_GRADIENT_CHANNELS, row_pitch::<T>(row)]);
    tallest.max(GRADIENT_BYTES / size_of::<T>())
}

/// The gradient by the weights, of operands that were checked.
pub(super) fn run<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &Conv2dShape,
    input: Planes<'_, T>,
    gradient: Gradient<'_, T>,
    output: &mut PlanesMut<'_, T>,
    scratch: &mut [T],
) -> Result<(), KernelError> {
    let program = arithmetic.product(input.count(), gradient.count());
    let layout = Scratch::new::<T>(exec, shape, program, output.count());
    enough(scratch, layout.len())?;
    let geometry = Geometry::new(shape, false);
    let own = PlanesMut::new(scratch, layout.pieces, layout.piece(), layout.piece())?.raw();
    // Without columns there are no rows to go through either.
    let rows = if gradient.is_empty() {
        0
    } else {
        geometry.rows()
    };
    let (input, planes) = (input.raw(), output.count());
    let gradient = gradient.source(exec.isa, arithmetic);
    let body = |i: usize| {
        let sums = own.plane(i);
        let partial = sums.wrapping_add(layout.sums);
        let formed_input = partial.wrapping_add(layout.partial);
        let task = Correlate {
            program,
            geometry: &geometry,
            input,
            gradient,
            planes,
            sums,
            partial,
            formed_input,
            packed_gradient: formed_input.wrapping_add(layout.input),
            rows: piece(rows, layout.pieces, i),
        };
        T::run_correlate(exec.isa, task);
    };
    exec.pieces(layout.pieces, body, |(), ()| ());
    let len = output.len();
    for plane in 0..planes {
        for (i, to) in output.plane_mut(plane).iter_mut().enumerate() {
            let mut sum = T::zero();
            for piece in 0..layout.pieces {
                let at = piece * layout.piece() + layout.sums + plane * len + i;
                sum = sum + scratch[at];
            }
            *to = sum;
        }
    }
    Ok(())
}

/// One piece's part of the gradient: the rows `rows` of the output, counted through all tiles.
///
/// Made only by [`run`], which has checked the operands and gives each task scratch of its own.
pub(crate) struct Correlate<'a, T> {
    program: &'a Bilinear,
    geometry: &'a Geometry,
    input: RawPlanes<T>,
    gradient: Source<'a, T>,
    planes: usize,
    sums: *mut T,
    partial: *mut T,
    formed_input: *mut T,
    packed_gradient: *mut T,
    rows: Range<usize>,
}

/// A tile of both operands, and the rows of it that count.
struct Pair {
    input: Tile,
    gradient: Tile,
    width: usize,
    rows: Range<usize>,
}

/// A chunk of the gradient: rows of some channels of a group, packed at these pitches.
struct Chunk {
    channels: Range<usize>,
    rows: Range<usize>,
    channel_pitch: usize,
    row_pitch: usize,
}

impl<T: Element> WithSimd<T> for Correlate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        let weights = self.geometry.weights();
        let terms = &self.program.terms;
        // SAFETY: the scratch holds a vector for each term's weight and a number for each plane's.
        let (sums, partial) = unsafe {
            (
                std::slice::from_raw_parts_mut(self.sums, terms.len() * weights * S::LANES),
                std::slice::from_raw_parts_mut(self.partial, weights * self.planes),
            )
        };
        sums.fill(T::zero());
        self.tiles::<S>();
        partial.fill(T::zero());
        for (term, sums) in terms.iter().zip(sums.chunks_exact(weights * S::LANES)) {
            for (i, lanes) in sums.chunks_exact(S::LANES).enumerate() {
                let sum = lanes.iter().fold(T::zero(), |sum, x| sum + *x);
                for &(plane, coefficient) in &term.outputs {
                    let to = &mut partial[plane * weights + i];
                    *to = T::of(coefficient) * sum + *to;
                }
            }
        }
    }
}

impl<T: Element> Correlate<'_, T> {
    /// Adds all products to the sums.
    #[inline(always)]
    fn tiles<S: Simd<T>>(&self) {
        let g = self.geometry;
        let [rows, columns] = &g.axes;
        let mut at = self.rows.start;
        while at < self.rows.end {
            let (nth, first) = (at / rows.output, at % rows.output);
            let last = rows.output.min(first + self.rows.end - at);
            let (start, width) = images::tile(g.batch, nth);
            let tile = |image: usize, channels: usize, rows: usize, columns: usize| Tile {
                at: start * image,
                channels: g.groups * channels,
                row: columns * width,
                rows,
                width,
                pixel: nth * image,
            };
            let pair = Pair {
                input: tile(g.source_image(), g.sources, rows.input, columns.input),
                gradient: tile(g.target_image(), g.targets, rows.output, columns.output),
                width,
                rows: first..last,
            };
            let sources = rows.sources(first..last);
            for left in 0..self.program.left.len() {
                // SAFETY: the input has this tile, and the scratch room for its combinations.
                unsafe { self.form::<S>(&pair, left, &sources) };
            }
            for group in 0..g.groups {
                for taps in pack::blocks(g.kernel[1], TILE_TAPS) {
                    self.taps::<S>(&pair, group, &taps);
                }
            }
            at += last - first;
        }
    }

    /// Where a combination of the input's tile starts.
    #[inline(always)]
    fn input(&self, pair: &Pair, left: usize) -> *const T {
        let left = &self.program.left[..=left];
        let combination = &left[left.len() - 1];
        if is_plane(combination) {
            return self
                .input
                .plane(combination[0].0)
                .wrapping_add(pair.input.at);
        }
        let before = left.iter().filter(|c| !is_plane(c)).count() - 1;
        let Tile {
            channels,
            row,
            rows,
            ..
        } = pair.input;
        self.formed_input
            .wrapping_add(before * channels * rows * row)
    }

    /// Forms a combination of the input's tile, unless it is a plane as it is.
    ///
    /// # Safety
    /// The input has the tile, and the scratch room for its combinations.
    #[inline(always)]
    unsafe fn form<S: Simd<T>>(&self, pair: &Pair, left: usize, rows: &Range<usize>) {
        let combination = &self.program.left[left];
        if !is_plane(combination) {
            let to = self.input(pair, left).cast_mut();
            let pitches = (pair.input.rows * pair.input.row, pair.input.row);
            let to = to.wrapping_add(rows.start * pair.input.row);
            // SAFETY: the caller's promise.
            unsafe {
                let input = Source::Planes(self.input);
                pack::rows::<T, S>(&input, combination, &pair.input, rows, to, pitches);
            }
        }
    }

    /// The weights of a group at tap columns `taps`.
    #[inline(always)]
    fn taps<S: Simd<T>>(&self, pair: &Pair, group: usize, taps: &Range<usize>) {
        let g = self.geometry;
        let most = micro::gradient_channels::<T, S>(taps.len());
        let mut channel = 0;
        while channel < g.targets {
            // Tiles exist for powers of two.
            let left = (g.targets - channel).min(most);
            let count = 1 << left.ilog2();
            let pitch = row_pitch::<T>(pair.gradient.row);
            let step = (GRADIENT_BYTES / (count * pitch * size_of::<T>())).max(1);
            for start in pair.rows.clone().step_by(step) {
                let chunk = Chunk {
                    channels: channel..channel + count,
                    rows: start..(start + step).min(pair.rows.end),
                    channel_pitch: step * pitch,
                    row_pitch: pitch,
                };
                // All products of a chunk follow each other: its planes are fetched once.
                for term in 0..self.program.terms.len() {
                    self.chunk::<S>(pair, &chunk, group, term, taps);
                }
            }
            channel += count;
        }
    }

    /// A chunk's share of one product.
    #[inline(always)]
    fn chunk<S: Simd<T>>(
        &self,
        pair: &Pair,
        chunk: &Chunk,
        group: usize,
        term: usize,
        taps: &Range<usize>,
    ) {
        let g = self.geometry;
        let first = (group * g.targets + chunk.channels.start) * pair.gradient.rows;
        let block = Tile {
            at: pair.gradient.at + first * pair.gradient.row,
            pixel: pair.gradient.pixel + first * g.axes[1].output,
            channels: chunk.channels.len(),
            ..pair.gradient
        };
        let Term { left, right, .. } = self.program.terms[term];
        // SAFETY: the gradient has these channels and rows, and the scratch room for a chunk.
        unsafe {
            let (from, to) = (&self.gradient, self.packed_gradient);
            let pitches = (chunk.channel_pitch, chunk.row_pitch);
            let combination = &self.program.right[right];
            pack::rows::<T, S>(from, combination, &block, &chunk.rows, to, pitches);
        }
        let input = self.input(pair, left);
        let sums = self.sums.wrapping_add(term * g.weights() * S::LANES);
        for source in 0..g.sources {
            for tap_row in 0..g.kernel[0] {
                self.tile::<S>(input, pair.width, chunk, group, source, tap_row, taps, sums);
            }
        }
    }

    /// One tile of weights: a chunk's channels by `taps` of one source channel and one row of taps.
    #[inline(always)]
    fn tile<S: Simd<T>>(
        &self,
        input: *const T,
        width: usize,
        chunk: &Chunk,
        group: usize,
        source: usize,
        tap_row: usize,
        taps: &Range<usize>,
        sums: *mut T,
    ) {
        let g = self.geometry;
        let [row_axis, axis] = &g.axes;
        // The rows of the gradient at which this row of taps lies on the image.
        let on = interior(row_axis, &(tap_row..tap_row + 1));
        let rows = chunk.rows.start.max(on.start)..chunk.rows.end.min(on.end);
        if rows.is_empty() {
            return;
        }
        let input_row =
            rows.start * row_axis.stride + tap_row * row_axis.dilation - row_axis.padding;
        let input_line = axis.input * width;
        let input_channel = (group * g.sources + source) * row_axis.input;
        let zeros = [T::zero(); TILE_IMAGES];
        let strip = Strip {
            gradient: self
                .packed_gradient
                .wrapping_add((rows.start - chunk.rows.start) * chunk.row_pitch),
            gradient_row: chunk.row_pitch,
            gradient_channel: chunk.channel_pitch,
            source: input.wrapping_add((input_channel + input_row) * input_line),
            source_row: row_axis.stride * input_line,
            rows: rows.len(),
            axis,
            width,
            tap: taps.start,
            inner: interior(axis, taps),
            zeros: zeros.as_ptr(),
        };
        let weight = group * g.group_weights
            + chunk.channels.start * g.target_weights
            + source * g.source_weights
            + tap_row * g.kernel[1]
            + taps.start;
        // SAFETY: inside the image the strip lies in the input's tile and in the chunk; at the border
        // a tap off the image reads zeros, as many as a tile has images. The sums have a vector for
        // each weight.
        unsafe {
            let sums = sums.add(weight * S::LANES);
            let pitch = g.target_weights * S::LANES;
            micro::correlate::<T, S>((chunk.channels.len(), taps.len()), sums, pitch, &strip);
        }
    }
}

/// The places at which all of `taps` lie on elements.
fn interior(axis: &Axis, taps: &Range<usize>) -> Range<usize> {
    let first = axis
        .padding
        .saturating_sub(taps.start * axis.dilation)
        .div_ceil(axis.stride);
    let last = (taps.end - 1) * axis.dilation;
    let room = (axis.input + axis.padding).saturating_sub(last);
    let end = room.div_ceil(axis.stride).min(axis.output);
    if first < end {
        first..end
    } else {
        axis.output..axis.output
    }
}

/// The gradient by the bias, of operands that were checked.
pub(super) fn bias<T: Element>(
    exec: &Exec,
    batch: usize,
    pixels: usize,
    gradient: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) {
    let (channels, planes) = (output.len(), output.count());
    let (from, to) = (gradient.raw(), output.raw());
    exec.spans(
        planes * channels,
        1,
        batch * pixels * size_of::<T>(),
        |range| {
            let sums = ChannelSums {
                from,
                to,
                batch,
                pixels,
                channels,
                range,
            };
            T::run_channel_sums(exec.isa, sums);
        },
        |(), ()| (),
    );
}

/// Sums of channels, counted through all planes, over images and pixels.
pub(crate) struct ChannelSums<T> {
    from: RawPlanes<T>,
    to: RawPlanes<T>,
    batch: usize,
    pixels: usize,
    channels: usize,
    range: Range<usize>,
}

/// Vectors of sums side by side, so that additions overlap.
const STRANDS: usize = 4;

impl<T: Element> WithSimd<T> for ChannelSums<T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        for at in self.range.clone() {
            let (plane, channel) = (at / self.channels, at % self.channels);
            let mut sums = [S::splat(T::zero()); STRANDS];
            for nth in 0..self.batch.div_ceil(TILE_IMAGES) {
                let (start, width) = images::tile(self.batch, nth);
                let len = self.pixels * width;
                let at = start * self.channels * self.pixels + channel * len;
                let from = self.from.plane(plane).wrapping_add(at);
                slots::sweep(
                    len,
                    STRANDS * S::LANES,
                    #[inline(always)]
                    |i, count| {
                        for k in 0..STRANDS {
                            let here = count.saturating_sub(k * S::LANES).min(S::LANES);
                            // SAFETY: `conv2d_gradient_bias` checked that the channel is there.
                            let x =
                                unsafe { S::load_some(from.wrapping_add(i + k * S::LANES), here) };
                            sums[k] = sums[k].add(x);
                        }
                    },
                );
            }
            let sum = sums[0].add(sums[1]).add(sums[2].add(sums[3]));
            let lanes: [T; MAX_LANES] = sum.lanes();
            let sum = lanes.iter().fold(T::zero(), |sum, x| sum + *x);
            // SAFETY: each channel of each plane is one task's.
            unsafe { self.to.plane(plane).add(channel).write(sum) };
        }
    }
}
