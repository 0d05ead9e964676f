//! Averages of relu of a convolution over windows that tile its images, and the gradients by it,
//! without the convolution in memory: what the first convolutions of a network give is the largest it
//! has, and each pass over it that falls away counts.
//!
//! All that the derivative of relu needs of its argument is which slots are above zero. These *steps*
//! are saved as bits, a word for each slot of a pixel of a tile: its images are 32, and so are the bits
//! of a word.

use std::ops::Range;

use super::pack::Tile;
use super::{Geometry, NAME};
use crate::algebra::{Arithmetic, Combination};
use crate::element::Element;
use crate::error::KernelError;
use crate::images::{self, TILE_IMAGES};
use crate::isa::Isa;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{MAX_LANES, Simd, WithSimd};
use crate::sizes::product;
use crate::slots::{self, Form, SlotMaxima, Watch, WithForm, with_form};
use crate::threads::Exec;

const _: () = assert!(TILE_IMAGES == u32::BITS as usize);

/// The gradient by a convolution's result, from which those by its operands are computed.
#[derive(Debug, Clone, Copy)]
pub enum Gradient<'a, T> {
    /// As it is.
    Dense(Planes<'a, T>),
    /// By the averages that [`conv2d_pooled`](super::conv2d_pooled) made of it.
    Pooled {
        /// The gradient by the averages.
        averages: Planes<'a, T>,
        /// What was saved, a plane for each slot.
        steps: Planes<'a, u32>,
        /// Rows and columns of the window.
        window: [usize; 2],
    },
}

impl<'a, T> From<Planes<'a, T>> for Gradient<'a, T> {
    fn from(gradient: Planes<'a, T>) -> Self {
        Gradient::Dense(gradient)
    }
}

impl<'a, T: Element> Gradient<'a, T> {
    /// Planes of the gradient.
    pub(super) fn count(&self) -> usize {
        match self {
            Gradient::Dense(planes) => planes.count(),
            Gradient::Pooled { averages, .. } => averages.count(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Gradient::Dense(planes) => planes.is_empty(),
            Gradient::Pooled { averages, .. } => averages.is_empty(),
        }
    }

    /// Whether it is one of `sizes`: images, channels, rows and columns.
    pub(super) fn expect(
        &self,
        arithmetic: &Arithmetic,
        planes: &[usize],
        sizes: [usize; 4],
    ) -> Result<(), KernelError> {
        match self {
            Gradient::Dense(dense) => dense.expect(NAME, "gradient", planes, product(&sizes)),
            Gradient::Pooled {
                averages,
                steps,
                window,
            } => {
                let pooled = pooled_sizes(sizes, *window)?;
                averages.expect(NAME, "gradient", planes, product(&pooled))?;
                let slots = slots_of(arithmetic, averages.count());
                steps.expect(NAME, "steps", &[slots], steps_len(sizes))
            }
        }
    }

    pub(super) fn source(&self, isa: Isa, arithmetic: &'a Arithmetic) -> Source<'a, T> {
        match *self {
            Gradient::Dense(planes) => Source::Planes(planes.raw()),
            Gradient::Pooled {
                averages,
                steps,
                window,
            } => Source::Pooled(Unpool {
                isa,
                arithmetic,
                averages: averages.raw(),
                steps,
                window,
            }),
        }
    }
}

/// Slots of an operand of that many planes.
pub(super) fn slots_of(arithmetic: &Arithmetic, planes: usize) -> usize {
    if planes == 1 { 1 } else { arithmetic.slots() }
}

/// Words of a slot's steps for results of these images, channels, rows and columns: one bit an image.
pub fn steps_len([batch, channels, rows, columns]: [usize; 4]) -> usize {
    product(&[batch.div_ceil(TILE_IMAGES), channels, rows, columns])
}

/// Sizes of averages over windows that tile results of these images, channels, rows and columns.
///
/// # Errors
/// When the windows do not tile them.
pub fn pooled_sizes(
    [batch, channels, rows, columns]: [usize; 4],
    window: [usize; 2],
) -> Result<[usize; 4], KernelError> {
    let tiles = |len: usize, window: usize| window > 0 && len.is_multiple_of(window);
    if !tiles(rows, window[0]) || !tiles(columns, window[1]) {
        return Err(KernelError::Shape {
            kernel: NAME,
            reason: "the windows do not tile the result",
        });
    }
    let [rows, columns] = [rows / window[0], columns / window[1]];
    Ok([batch, channels, rows, columns])
}

fn share(window: [usize; 2]) -> f64 {
    1.0 / (window[0] * window[1]) as f64
}

/// Where rows of images are packed from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a, T> {
    Planes(RawPlanes<T>),
    Pooled(Unpool<'a, T>),
}

impl<T> Source<'_, T> {
    /// Planes of the tensor.
    pub(super) fn count(&self) -> usize {
        match self {
            Source::Planes(planes) => planes.count,
            Source::Pooled(pooled) => pooled.averages.count,
        }
    }
}

/// A gradient that lies pooled.
#[derive(Clone, Copy)]
pub(super) struct Unpool<'a, T> {
    isa: Isa,
    arithmetic: &'a Arithmetic,
    averages: RawPlanes<T>,
    steps: Planes<'a, u32>,
    window: [usize; 2],
}

impl<T: Element> Unpool<'_, T> {
    /// Packs rows of a combination, as [`pack::rows`](super::pack::rows) does.
    ///
    /// # Safety
    /// The tile is one of the tensor that was pooled; `to` is writable as there.
    pub(super) unsafe fn rows(
        &self,
        combination: &Combination,
        tile: &Tile,
        rows: &Range<usize>,
        to: *mut T,
        pitches: (usize, usize),
    ) {
        let unpooled = Unpooled {
            from: self,
            combination,
            tile,
            rows: rows.clone(),
            to,
            pitches,
        };
        // A call, not inlined: what packs would hold the code of every form once more.
        T::run_unpooled(self.isa, unpooled);
    }
}

/// Rows of one combination of a pooled gradient's planes. Made only by [`Unpool::rows`].
pub(crate) struct Unpooled<'a, T> {
    from: &'a Unpool<'a, T>,
    combination: &'a Combination,
    tile: &'a Tile,
    rows: Range<usize>,
    to: *mut T,
    pitches: (usize, usize),
}

impl<T: Element> WithSimd<T> for Unpooled<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        with_form::<T, S, _>(self.from.arithmetic, self.from.averages.count, self);
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Unpooled<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) {
        let Unpool {
            averages,
            ref steps,
            window,
            ..
        } = *self.from;
        let (dim, count, tile) = (form.dim(), form.slots(), self.tile);
        let (channel_pitch, row_pitch) = self.pitches;
        let zero = S::splat(T::zero());
        // What a slot's gradient comes to in the combination, the window's share included.
        let mut weights = [zero; N];
        for k in 0..count {
            let mut slot = [zero; N];
            slot[k] = S::splat(T::of(share(window)));
            let c = form.join(&slot);
            for &(plane, weight) in self.combination {
                weights[k] = S::splat(T::of(weight)).mul_add(c[plane], weights[k]);
            }
        }
        let mut words = [&[][..]; N];
        for k in 0..count {
            words[k] = steps.plane(k);
        }
        let (columns, places) = (tile.row / tile.width, tile.row / window[1]);
        for channel in 0..tile.channels {
            for (nth, row) in self.rows.clone().enumerate() {
                let to = (self.to).wrapping_add(channel * channel_pitch + nth * row_pitch);
                let pooled = channel * (tile.rows / window[0]) + row / window[0];
                let average = tile.at / (window[0] * window[1]) + pooled * places;
                let pixel = tile.pixel + (channel * tile.rows + row) * columns;
                for place in 0..columns / window[1] {
                    let first = place * window[1];
                    slots::sweep(
                        tile.width,
                        S::LANES,
                        #[inline(always)]
                        |image, lanes| {
                            // SAFETY: the averages have a place for each window of the tile.
                            let c: [S; D] = unsafe {
                                slots::load(
                                    &averages,
                                    dim,
                                    average + place * tile.width + image,
                                    lanes,
                                )
                            };
                            let mut g = form.split(&c);
                            for k in 0..count {
                                g[k] = g[k].mul(weights[k]);
                            }
                            for column in first..first + window[1] {
                                let mut sum = zero;
                                for k in 0..count {
                                    let bits = words[k][pixel + column] >> image;
                                    sum = sum.add(g[k].where_bits(bits));
                                }
                                // SAFETY: the row is writable, by the promise of `Unpool::rows`.
                                unsafe {
                                    let to = to.add(column * tile.width + image);
                                    sum.store_some(to, lanes);
                                }
                            }
                        },
                    );
                }
            }
        }
    }
}

/// Rows of a convolution's result, staged while they are in cache, whose relu is averaged.
///
/// Made only by a convolution's task, which owns these rows and what is written for them.
pub(crate) struct Averages<'a, T> {
    pub(super) arithmetic: &'a Arithmetic,
    pub(super) window: [usize; 2],
    /// The staged rows, and elements from one channel to the next.
    pub(super) staged: RawPlanes<T>,
    pub(super) pitch: usize,
    pub(super) geometry: &'a Geometry,
    /// The tile, and the rows of it that are staged: whole windows.
    pub(super) tile: usize,
    pub(super) rows: Range<usize>,
    pub(super) output: RawPlanes<T>,
    pub(super) steps: Option<RawPlanes<u32>>,
}

impl<T: Element> WithSimd<T> for Averages<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.output.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Averages<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let mut watch = Watch::<S, N>::new();
        let (dim, count, g) = (form.dim(), form.slots(), self.geometry);
        let [height, length] = self.window;
        let (zero, share) = (S::splat(T::zero()), S::splat(T::of(share(self.window))));
        let (start, width) = images::tile(g.batch, self.tile);
        let [rows, columns] = [g.axes[0].targets(), g.axes[1].targets()];
        let channels = g.groups * g.targets;
        // Windows of a channel, down and across, and those of them that are staged.
        let (down, across) = (rows / height, columns / length);
        let (above, windows) = (self.rows.start / height, self.rows.len() / height);
        for channel in 0..channels {
            let first =
                start * channels * down * across + (channel * down + above) * across * width;
            let corner = (self.tile * channels + channel) * rows + self.rows.start;
            for y in 0..windows {
                for x in 0..across {
                    let (top, left) = (y * height, x * length);
                    let staged = channel * self.pitch + (top * columns + left) * width;
                    let pixel = (corner + top) * columns + left;
                    let average = first + (y * across + x) * width;
                    slots::sweep(
                        width,
                        S::LANES,
                        #[inline(always)]
                        |image, lanes| {
                            let mut sum = [zero; N];
                            for row in 0..height {
                                for column in 0..length {
                                    let at = staged + (row * columns + column) * width;
                                    // SAFETY: the rows are staged.
                                    let c: [S; D] = unsafe {
                                        slots::load(&self.staged, dim, at + image, lanes)
                                    };
                                    let s = form.split(&c);
                                    watch.see(&s, count);
                                    for k in 0..count {
                                        sum[k] = sum[k].add(zero.max(s[k]));
                                        if let Some(steps) = &self.steps {
                                            let at = pixel + row * columns + column;
                                            let bits = s[k].positive_bits() << image;
                                            // SAFETY: the pixel's word is this task's; its first
                                            // images are written first.
                                            unsafe {
                                                let word = steps.plane(k).add(at);
                                                let before = if image == 0 { 0 } else { *word };
                                                *word = before | bits;
                                            }
                                        }
                                    }
                                }
                            }
                            for k in 0..count {
                                sum[k] = sum[k].mul(share);
                            }
                            let c = form.join(&sum);
                            // SAFETY: the place is this task's.
                            unsafe { slots::store(&self.output, dim, average + image, lanes, &c) };
                        },
                    );
                }
            }
        }
        watch.finish(count)
    }
}

/// The gradient by the bias from that by the averages, of operands that were checked.
pub(super) fn bias<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    sizes: [usize; 4],
    averages: Planes<'_, T>,
    steps: Planes<'_, u32>,
    window: [usize; 2],
    output: &mut PlanesMut<'_, T>,
) {
    let [batch, channels, rows, columns] = sizes;
    let bytes =
        batch * rows * columns * averages.count() / (window[0] * window[1]) * size_of::<T>();
    let (averages, to) = (averages.raw(), output.raw());
    exec.spans(
        channels,
        1,
        bytes,
        |range| {
            let sums = PooledSums {
                arithmetic,
                sizes,
                averages,
                steps,
                window,
                to,
                range,
            };
            T::run_pooled_sums(exec.isa, sums);
        },
        |(), ()| (),
    );
}

/// Sums of channels of a pooled gradient over images and pixels.
pub(crate) struct PooledSums<'a, T> {
    arithmetic: &'a Arithmetic,
    sizes: [usize; 4],
    averages: RawPlanes<T>,
    steps: Planes<'a, u32>,
    window: [usize; 2],
    to: RawPlanes<T>,
    range: Range<usize>,
}

impl<T: Element> WithSimd<T> for PooledSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        with_form::<T, S, _>(self.arithmetic, self.averages.count, self);
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for PooledSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) {
        let (dim, count) = (form.dim(), form.slots());
        let [batch, channels, rows, columns] = self.sizes;
        let [height, length] = self.window;
        let (down, across) = (rows / height, columns / length);
        for channel in self.range.clone() {
            let mut sums = [S::splat(T::zero()); N];
            for tile in 0..batch.div_ceil(TILE_IMAGES) {
                let (start, width) = images::tile(batch, tile);
                let first = (start * channels + channel * width) * down * across;
                let corner = (tile * channels + channel) * rows;
                for y in 0..down {
                    for x in 0..across {
                        let pixel = (corner + y * height) * columns + x * length;
                        let at = first + (y * across + x) * width;
                        slots::sweep(
                            width,
                            S::LANES,
                            #[inline(always)]
                            |image, lanes| {
                                // SAFETY: `conv2d_gradient_bias` checked that the place is there.
                                let c: [S; D] =
                                    unsafe { slots::load(&self.averages, dim, at + image, lanes) };
                                let g = form.split(&c);
                                for k in 0..count {
                                    let words = self.steps.plane(k);
                                    for row in 0..height {
                                        for column in 0..length {
                                            let bits =
                                                words[pixel + row * columns + column] >> image;
                                            sums[k] = sums[k].add(g[k].where_bits(bits));
                                        }
                                    }
                                }
                            },
                        );
                    }
                }
            }
            let share = S::splat(T::of(share(self.window)));
            for sum in &mut sums {
                *sum = sum.mul(share);
            }
            for (plane, c) in form.join(&sums).iter().enumerate().take(dim) {
                let lanes: [T; MAX_LANES] = c.lanes();
                let sum = lanes.iter().fold(T::zero(), |sum, x| sum + *x);
                // SAFETY: each channel of each plane is one task's.
                unsafe { self.to.plane(plane).add(channel).write(sum) };
            }
        }
    }
}
