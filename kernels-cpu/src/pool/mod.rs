//! Average and maximum over sliding windows of image tensors, and their gradients.
//!
//! Images lie batch-innermost in tiles ([`TILE_IMAGES`](crate::TILE_IMAGES)), so a window is a handful
//! of whole vectors. An average is linear and goes plane by plane. A maximum is taken slot by slot, in
//! registers: max(A, B) = B + relu(A - B), since ciphertexts of one key commute.

mod average;
mod max;
mod rectified;

pub(crate) use rectified::Rectified;
pub use rectified::{rectified_pool, rectified_pool_gradient};

use std::ops::Range;

use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::images::{self, Axis, TILE_IMAGES, Taps};
use crate::isa::Isa;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots::{SlotMaxima, with_form};
use crate::threads::Exec;

const NAME: &str = "pool";

/// Sizes of a pooling. Pairs are rows, columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Images.
    pub batch: usize,
    /// Channels, each pooled by itself.
    pub channels: usize,
    /// Rows and columns of an input image.
    pub input: [usize; 2],
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Pixels from one place of the window to the next.
    pub stride: [usize; 2],
    /// Pixels before and after the rows, and before and after the columns, that hold nothing.
    pub padding: [[usize; 2]; 2],
    /// Pixels from one tap of the window to the next.
    pub dilation: [usize; 2],
    /// A window may start in the image or before it and end past the padding.
    pub ceil: bool,
}

impl PoolShape {
    /// Rows and columns of an output image: 0 where there is no place for the window.
    pub fn output(&self) -> [usize; 2] {
        [self.axis(0).output, self.axis(1).output]
    }

    /// Elements of a plane of the input.
    pub fn input_len(&self) -> usize {
        let sizes = [self.batch, self.channels, self.input[0], self.input[1]];
        sizes.into_iter().fold(1, usize::saturating_mul)
    }

    /// Elements of a plane of the output.
    pub fn output_len(&self) -> usize {
        let [rows, columns] = self.output();
        let sizes = [self.batch, self.channels, rows, columns];
        sizes.into_iter().fold(1, usize::saturating_mul)
    }

    fn axis(&self, axis: usize) -> Axis {
        let (input, stride) = (self.input[axis], self.stride[axis].max(1));
        let [before, after] = self.padding[axis];
        // In ceil mode a last step may end past the padding.
        let past = if self.ceil { stride - 1 } else { 0 };
        let room = input.saturating_add(before).saturating_add(after);
        let room = room.saturating_add(past);
        let span = self.kernel[axis]
            .saturating_sub(1)
            .saturating_mul(self.dilation[axis])
            .saturating_add(1);
        let output = match room.checked_sub(span) {
            Some(room) if input > 0 => {
                let steps = room / stride;
                // A last window that would start past the image is left out.
                let starts = steps.saturating_mul(stride) < input.saturating_add(before);
                steps.saturating_add(usize::from(!self.ceil || starts))
            }
            _ => 0,
        };
        Axis {
            input,
            output,
            kernel: self.kernel[axis],
            stride,
            padding: before,
            dilation: self.dilation[axis],
            swapped: false,
        }
    }

    /// Whether sizes go together; every kernel here asks.
    ///
    /// # Errors
    /// When they do not, saying why.
    pub fn check(&self) -> Result<(), KernelError> {
        let some = |sizes: [usize; 2]| sizes[0] > 0 && sizes[1] > 0;
        if !some(self.kernel) || !some(self.stride) || !some(self.dilation) {
            return refuse("window, stride and dilation have to be at least 1");
        }
        for axis in 0..2 {
            let reach = (self.kernel[axis] - 1).saturating_mul(self.dilation[axis]);
            let span = reach.saturating_add(1);
            if self.padding[axis].iter().any(|&p| p > span / 2) {
                return refuse("the padding is more than half of the window");
            }
        }
        let [rows, columns] = [0, 1].map(|i| self.axis(i).reach(self.padding[i][1]));
        if !images::in_range(&[self.batch.max(1), self.channels.max(1), rows, columns]) {
            return refuse("the sizes are larger than any tensor");
        }
        // Taps are counted in elements, and f32 counts no further.
        if self.kernel[0].saturating_mul(self.kernel[1]) > 1 << 24 {
            return refuse("the window has more than 2^24 taps");
        }
        Ok(())
    }

    /// Whether every window has an element; every kernel here asks, once it knows that operands are there.
    ///
    /// # Errors
    /// When one has none.
    pub fn check_windows(&self) -> Result<(), KernelError> {
        // Padded by no more than half, a window can miss the image only between its taps.
        let misses = |axis: Axis| (0..axis.output).any(|place| axis.taps(place).count == 0);
        if self.output_len() > 0
            && (0..2).any(|i| self.dilation[i] > self.input[i] && misses(self.axis(i)))
        {
            return refuse("a window covers no element");
        }
        Ok(())
    }
}

fn refuse(reason: &'static str) -> Result<(), KernelError> {
    Err(KernelError::Shape {
        kernel: NAME,
        reason,
    })
}

/// What a window is pooled to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pool {
    /// The mean of the elements it covers.
    Average,
    /// The mean with padding counted as zeros, without what lies past the padding.
    AverageWithPadding,
    /// The largest, slot by slot.
    Max,
}

impl Pool {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Pool::Average => "average",
            Pool::AverageWithPadding => "average_with_padding",
            Pool::Max => "max",
        }
    }
}

/// Pools each window of `input`, plaintext (one plane) or ciphertext, into one element of `output`.
///
/// Returns the magnitudes of the input's slots for a maximum, nothing for an average.
///
/// # Errors
/// When the shape is no pooling, a window covers no element, or planes or lengths do not fit.
pub fn pool<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &PoolShape,
    pool: Pool,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    shape.check()?;
    let planes = output.count();
    // An average works on each plane by itself, whatever an element's degree.
    let ciphertext = match pool {
        Pool::Average | Pool::AverageWithPadding => arithmetic.ciphertext(planes),
        Pool::Max => arithmetic.dim(),
    };
    output.expect(NAME, "output", &[1, ciphertext], shape.output_len())?;
    input.expect(NAME, "input", &[planes], shape.input_len())?;
    shape.check_windows()?;
    Ok(run(
        exec,
        arithmetic,
        shape,
        pool,
        None,
        input.raw(),
        output.raw(),
        T::run_windows,
    ))
}

/// The gradient of [`pool`] by its input, from the input and the output's gradient.
///
/// An average spreads evenly and does not look at the input. A maximum's gradient goes, slot by slot,
/// to the first largest element in the order rows, columns.
///
/// # Errors
/// When the shape is no pooling, a window covers no element, or planes or lengths do not fit.
pub fn pool_gradient<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &PoolShape,
    pool: Pool,
    input: Planes<'_, T>,
    gradient: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    shape.check()?;
    let planes = output.count();
    output.expect(NAME, "output", &[1, arithmetic.dim()], shape.input_len())?;
    input.expect(NAME, "input", &[planes], shape.input_len())?;
    gradient.expect(NAME, "gradient", &[planes], shape.output_len())?;
    shape.check_windows()?;
    let (input, gradient) = (input.raw(), gradient.raw());
    Ok(run(
        exec,
        arithmetic,
        shape,
        pool,
        Some(gradient),
        input,
        output.raw(),
        T::run_windows,
    ))
}

/// Either way; `gradient` is the output's, `output` then as large as the input. `body` takes a piece's
/// windows.
fn run<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &PoolShape,
    pool: Pool,
    gradient: Option<RawPlanes<T>>,
    input: RawPlanes<T>,
    output: RawPlanes<T>,
    body: impl Fn(Isa, Windows<'_, T>) -> SlotMaxima + Sync,
) -> SlotMaxima {
    let axes = [shape.axis(0), shape.axis(1)];
    // Without anything to write no channel is gone through, however many there are.
    let nothing = shape.input_len() == 0 || (gradient.is_none() && shape.output_len() == 0);
    let channels = if nothing {
        0
    } else {
        shape.batch.div_ceil(TILE_IMAGES) * shape.channels
    };
    let bytes = 2 * output.count * shape.input[0] * shape.input[1] * TILE_IMAGES * size_of::<T>();
    exec.spans(
        channels,
        1,
        bytes,
        |range| {
            let windows = Windows {
                arithmetic,
                shape,
                axes,
                pool,
                gradient,
                input,
                output,
                channels: range,
            };
            body(exec.isa, windows)
        },
        SlotMaxima::merge,
    )
}

/// The windows of channels `channels`, counted through all tiles.
pub(crate) struct Windows<'a, T> {
    arithmetic: &'a Arithmetic,
    shape: &'a PoolShape,
    axes: [Axis; 2],
    pool: Pool,
    gradient: Option<RawPlanes<T>>,
    input: RawPlanes<T>,
    output: RawPlanes<T>,
    channels: Range<usize>,
}

/// What a window covers of a channel: elements to its first tap, and from one tap to the next.
struct Covered {
    first: usize,
    rows: usize,
    columns: usize,
    row_step: isize,
    column_step: isize,
}

impl Covered {
    #[inline(always)]
    fn new(rows: &Taps, columns: &Taps, line: usize, width: usize) -> Self {
        let line = line * width;
        Self {
            first: rows
                .source
                .wrapping_mul(line)
                .wrapping_add(columns.source.wrapping_mul(width)),
            rows: rows.count,
            columns: columns.count,
            row_step: rows.source_step * line as isize,
            column_step: columns.source_step * width as isize,
        }
    }

    /// The sum of `count` images of each pixel, the first at `from`.
    ///
    /// # Safety
    /// The window lies on elements that can be read.
    #[inline(always)]
    unsafe fn sum<T: Element, S: Simd<T>>(&self, from: *const T, count: usize) -> S {
        let mut sum = S::splat(T::zero());
        let mut row = from;
        for _ in 0..self.rows {
            let mut at = row;
            for _ in 0..self.columns {
                // SAFETY: the caller's promise.
                sum = sum.add(unsafe { S::load_some(at, count) });
                at = at.wrapping_offset(self.column_step);
            }
            row = row.wrapping_offset(self.row_step);
        }
        sum
    }

    /// The same, the pixel of each row and column weighed.
    ///
    /// # Safety
    /// As [`Covered::sum`].
    #[inline(always)]
    unsafe fn weigh<T: Element, S: Simd<T>>(
        &self,
        from: *const T,
        count: usize,
        weight: impl Fn(usize, usize) -> f64,
    ) -> S {
        let mut sum = S::splat(T::zero());
        for y in 0..self.rows {
            for x in 0..self.columns {
                let at = from
                    .wrapping_offset(y as isize * self.row_step)
                    .wrapping_offset(x as isize * self.column_step);
                // SAFETY: the caller's promise.
                let pixel = unsafe { S::load_some(at, count) };
                sum = S::splat(T::of(weight(y, x))).mul_add(pixel, sum);
            }
        }
        sum
    }
}

/// One channel of one tile: where its elements and its places start, and how many images it has.
struct Channel {
    elements: usize,
    places: usize,
    width: usize,
}

impl<T: Element> WithSimd<T> for Windows<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        match (self.pool, self.gradient) {
            (Pool::Max, _) => with_form::<T, S, _>(self.arithmetic, self.output.count, self),
            (_, None) => self.average::<S>(),
            (_, Some(gradient)) => self.average_gradient::<S>(&gradient),
        }
    }
}

impl<T: Element> Windows<'_, T> {
    #[inline(always)]
    fn channels(&self) -> impl Iterator<Item = Channel> {
        let (channels, batch) = (self.shape.channels, self.shape.batch);
        let [elements, places] = [
            self.axes[0].input * self.axes[1].input,
            self.axes[0].output * self.axes[1].output,
        ];
        self.channels.clone().map(move |at| {
            let (start, width) = images::tile(batch, at / channels);
            let before = start * channels + at % channels * width;
            Channel {
                elements: before * elements,
                places: before * places,
                width,
            }
        })
    }
}
