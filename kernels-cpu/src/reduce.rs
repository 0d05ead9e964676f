//! Sums along an axis, slot magnitudes, and losses, which are sums over slots.

use std::ops::Range;

use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd, functions};
use crate::slots::{self, Form, SlotMaxima, Watch, WithForm, with_form};
use crate::threads::Exec;

const NAME: &str = "reduce";

/// Sums the rows of a rows x columns matrix into one row of `columns` elements.
///
/// # Errors
/// When planes or lengths differ.
pub fn sum_rows<T: Element>(
    exec: &Exec,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let columns = output.len();
    input.expect(NAME, "input", &[output.count()], input.len())?;
    let rows = input.len().checked_div(columns).unwrap_or(0);
    input.expect(NAME, "input", &[output.count()], rows * columns)?;
    for i in 0..output.count() {
        let (from, to) = (input.plane(i), output.plane_mut(i));
        T::run_sum_rows(exec.isa, SumRows { from, to });
    }
    Ok(())
}

pub(crate) struct SumRows<'a, T> {
    from: &'a [T],
    to: &'a mut [T],
}

impl<T: Element> WithSimd<T> for SumRows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        let columns = self.to.len();
        slots::sweep(
            columns,
            S::LANES,
            #[inline(always)]
            |at, count| {
                let mut sum = S::splat(T::zero());
                for row in self.from.chunks_exact(columns) {
                    let row = &row[at..at + count];
                    // SAFETY: `row` has `count` elements.
                    sum = sum.add(unsafe { S::load_some(row.as_ptr(), count) });
                }
                // SAFETY: `at + count <= columns`.
                unsafe { sum.store_some(self.to[at..].as_mut_ptr(), count) };
            },
        );
    }
}

/// The magnitudes of a tensor's slots, for the mask guard.
///
/// # Errors
/// When the planes are neither plaintext nor ciphertexts of `arithmetic`.
pub fn slot_maxima<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    values: Planes<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    values.expect(NAME, "values", &[1, arithmetic.dim()], values.len())?;
    let (planes, bytes) = (values.raw(), values.count() * size_of::<T>());
    Ok(exec.spans(
        values.len(),
        exec.isa.lanes::<T>(),
        bytes,
        |range| {
            T::run_maxima(
                exec.isa,
                Maxima {
                    arithmetic,
                    planes,
                    at: range.start,
                    len: range.len(),
                },
            )
        },
        SlotMaxima::merge,
    ))
}

pub(crate) struct Maxima<'a, T> {
    arithmetic: &'a Arithmetic,
    planes: RawPlanes<T>,
    at: usize,
    len: usize,
}

impl<T: Element> WithSimd<T> for Maxima<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.planes.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Maxima<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let mut watch = Watch::<S, N>::new();
        slots::sweep(
            self.len,
            S::LANES,
            #[inline(always)]
            |i, count| {
                // SAFETY: `slot_maxima` checked that the planes have these elements.
                let c =
                    unsafe { slots::load::<T, S, D>(&self.planes, form.dim(), self.at + i, count) };
                watch.see(&form.split(&c), form.slots());
            },
        );
        watch.finish(form.slots())
    }
}

/// Operands of a loss: predictions and targets, both rows x columns.
#[derive(Clone, Copy)]
struct Pair<T> {
    predicted: RawPlanes<T>,
    target: RawPlanes<T>,
    rows: usize,
    columns: usize,
}

impl<T: Element> Pair<T> {
    fn new(
        arithmetic: &Arithmetic,
        predicted: &Planes<'_, T>,
        target: &Planes<'_, T>,
        columns: usize,
    ) -> Result<Self, KernelError> {
        let planes = predicted.count();
        predicted.expect(NAME, "predictions", &[1, arithmetic.dim()], predicted.len())?;
        target.expect(NAME, "targets", &[planes, 1], predicted.len())?;
        let rows = predicted.len().checked_div(columns).unwrap_or(0);
        predicted.expect(NAME, "predictions", &[planes], rows * columns)?;
        Ok(Self {
            predicted: predicted.raw(),
            target: target.raw(),
            rows,
            columns,
        })
    }

    /// The slots of `count` predictions from `at` on; those of the lanes past them are zero.
    ///
    /// # Safety
    /// `at + count <= rows * columns`, which [`Pair::new`] checked to be there.
    #[inline(always)]
    unsafe fn predicted<S: Simd<T>, F, const D: usize, const N: usize>(
        &self,
        form: &F,
        at: usize,
        count: usize,
    ) -> [S; N]
    where
        F: Form<T, S, D, N>,
    {
        // SAFETY: the caller's promise.
        form.split(&unsafe { slots::load(&self.predicted, form.dim(), at, count) })
    }

    /// The slots of `count` targets; a plaintext has its value in each.
    ///
    /// # Safety
    /// As [`Pair::predicted`].
    #[inline(always)]
    unsafe fn target<S: Simd<T>, F, const D: usize, const N: usize>(
        &self,
        form: &F,
        at: usize,
        count: usize,
    ) -> [S; N]
    where
        F: Form<T, S, D, N>,
    {
        // SAFETY: the caller's promise.
        unsafe {
            if self.target.count == form.dim() {
                form.split(&slots::load(&self.target, form.dim(), at, count))
            } else {
                [S::load_some(self.target.plane(0).wrapping_add(at), count); N]
            }
        }
    }
}

/// Sums the first `count` lanes, in order.
#[inline(always)]
fn sum_lanes<T: Element, S: Simd<T>>(x: S, count: usize) -> T {
    x.lanes()[..count].iter().fold(T::zero(), |sum, x| sum + *x)
}

/// The sum of all lanes times `scale`, for each slot.
#[inline(always)]
fn mean_lanes<T: Element, S: Simd<T>, const N: usize>(total: &[S; N], scale: T) -> [S; N] {
    let mut mean = *total;
    for k in 0..N {
        mean[k] = S::splat(sum_lanes(total[k], S::LANES) * scale);
    }
    mean
}

/// Writes one element with these slots.
///
/// # Safety
/// The element is the caller's to write.
#[inline(always)]
unsafe fn put<T: Element, S: Simd<T>, F, const D: usize, const N: usize>(
    form: &F,
    output: &RawPlanes<T>,
    slots: [S; N],
) where
    F: Form<T, S, D, N>,
{
    let c = form.join(&slots);
    // SAFETY: the caller's promise.
    unsafe { slots::store(output, form.dim(), 0, 1, &c) };
}

/// Mean over rows of `-sum(target ln softmax(predicted))`, slot by slot, the row's maximum taken
/// off before the exponential. Writes one element and returns the magnitudes of the logits' slots.
///
/// # Errors
/// When planes or lengths differ, or `loss` is not one element.
pub fn softmax_cross_entropy<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    logits: Planes<'_, T>,
    targets: Planes<'_, T>,
    columns: usize,
    loss: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    let pair = Pair::new(arithmetic, &logits, &targets, columns)?;
    loss.expect(NAME, "loss", &[logits.count()], 1)?;
    let (output, rows) = (loss.raw(), 0..pair.rows);
    Ok(T::run_cross_entropy(
        exec.isa,
        CrossEntropy {
            arithmetic,
            pair,
            output,
            rows,
            loss: true,
        },
    ))
}

/// Gradient of [`softmax_cross_entropy`] by the logits: `(softmax(logits) - target) / rows`.
///
/// # Errors
/// When planes or lengths differ.
pub fn softmax_cross_entropy_gradient<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    logits: Planes<'_, T>,
    targets: Planes<'_, T>,
    columns: usize,
    gradient: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    let pair = Pair::new(arithmetic, &logits, &targets, columns)?;
    gradient.expect(NAME, "gradient", &[logits.count()], logits.len())?;
    let output = gradient.raw();
    // Two exponentials an element cost as much as moving some 32 bytes.
    let bytes = 32 * columns * logits.count();
    Ok(exec.spans(
        pair.rows,
        1,
        bytes,
        |rows| {
            T::run_cross_entropy(
                exec.isa,
                CrossEntropy {
                    arithmetic,
                    pair,
                    output,
                    rows,
                    loss: false,
                },
            )
        },
        SlotMaxima::merge,
    ))
}

pub(crate) struct CrossEntropy<'a, T> {
    arithmetic: &'a Arithmetic,
    pair: Pair<T>,
    output: RawPlanes<T>,
    rows: Range<usize>,
    /// The loss is computed, otherwise its gradient.
    loss: bool,
}

impl<T: Element> WithSimd<T> for CrossEntropy<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.output.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for CrossEntropy<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let Self {
            pair,
            output,
            rows,
            loss,
            ..
        } = self;
        let (count, columns) = (form.slots(), pair.columns);
        let mut watch = Watch::<S, N>::new();
        let scale = T::one() / T::of(pair.rows.max(1) as f64);
        let mut total = [S::splat(T::zero()); N];
        // SAFETY of every block below: elements of rows that `Pair::new` checked; the gradient has
        // as many, and each thread its own rows; the loss has one element, and one thread.
        for row in rows.clone() {
            let base = row * columns;
            let mut top = [T::neg_infinity(); N];
            slots::sweep(
                columns,
                S::LANES,
                #[inline(always)]
                |at, lanes| {
                    // SAFETY: see above.
                    let x: [S; N] = unsafe { pair.predicted(&form, base + at, lanes) };
                    watch.see(&x, count);
                    for k in 0..count {
                        top[k] = x[k].lanes()[..lanes]
                            .iter()
                            .fold(top[k], |top, x| top.max(*x));
                    }
                },
            );
            let mut tops = [S::splat(T::zero()); N];
            for k in 0..count {
                tops[k] = S::splat(top[k]);
            }
            let top = tops;
            let mut sum = [T::zero(); N];
            slots::sweep(
                columns,
                S::LANES,
                #[inline(always)]
                |at, lanes| {
                    // SAFETY: see above.
                    let x: [S; N] = unsafe { pair.predicted(&form, base + at, lanes) };
                    for k in 0..count {
                        sum[k] = sum[k] + sum_lanes(functions::exp(x[k].sub(top[k])), lanes);
                    }
                },
            );
            if loss {
                let mut ln_sum = [S::splat(T::zero()); N];
                for k in 0..count {
                    ln_sum[k] = S::splat(sum[k].ln());
                }
                slots::sweep(
                    columns,
                    S::LANES,
                    #[inline(always)]
                    |at, lanes| {
                        // SAFETY: see above.
                        let (x, y): ([S; N], [S; N]) = unsafe {
                            (
                                pair.predicted(&form, base + at, lanes),
                                pair.target(&form, base + at, lanes),
                            )
                        };
                        // Targets of lanes past the row are zero.
                        for k in 0..count {
                            total[k] = y[k].mul_add(ln_sum[k].sub(x[k].sub(top[k])), total[k]);
                        }
                    },
                );
            } else {
                let mut share = [S::splat(T::zero()); N];
                for k in 0..count {
                    share[k] = S::splat(T::one() / sum[k]);
                }
                slots::sweep(
                    columns,
                    S::LANES,
                    #[inline(always)]
                    |at, lanes| {
                        // SAFETY: see above.
                        let (mut x, y): ([S; N], [S; N]) = unsafe {
                            (
                                pair.predicted(&form, base + at, lanes),
                                pair.target(&form, base + at, lanes),
                            )
                        };
                        for k in 0..count {
                            let softmax = functions::exp(x[k].sub(top[k])).mul(share[k]);
                            x[k] = softmax.sub(y[k]).mul(S::splat(scale));
                        }
                        let c = form.join(&x);
                        // SAFETY: see above.
                        unsafe { slots::store(&output, form.dim(), base + at, lanes, &c) };
                    },
                );
            }
        }
        if loss {
            let mean = mean_lanes::<T, S, N>(&total, scale);
            // SAFETY: see above.
            unsafe { put::<T, S, F, D, N>(&form, &output, mean) };
        }
        watch.finish(count)
    }
}

/// Mean over all elements of `(predicted - target)^2`, slot by slot. Writes one element and returns
/// the magnitudes of the predictions' slots.
///
/// # Errors
/// When planes or lengths differ, or `loss` is not one element.
pub fn mean_squared_error<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    predicted: Planes<'_, T>,
    targets: Planes<'_, T>,
    loss: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    let pair = Pair::new(arithmetic, &predicted, &targets, 1)?;
    loss.expect(NAME, "loss", &[predicted.count()], 1)?;
    Ok(T::run_squared_error(
        exec.isa,
        SquaredError {
            arithmetic,
            pair,
            output: loss.raw(),
        },
    ))
}

pub(crate) struct SquaredError<'a, T> {
    arithmetic: &'a Arithmetic,
    pair: Pair<T>,
    output: RawPlanes<T>,
}

impl<T: Element> WithSimd<T> for SquaredError<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.output.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for SquaredError<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let Self { pair, output, .. } = self;
        let mut watch = Watch::<S, N>::new();
        let scale = T::one() / T::of(pair.rows.max(1) as f64);
        let mut total = [S::splat(T::zero()); N];
        slots::sweep(
            pair.rows,
            S::LANES,
            #[inline(always)]
            |at, lanes| {
                // SAFETY: `Pair::new` checked that both tensors have these elements.
                let (x, y): ([S; N], [S; N]) = unsafe {
                    (
                        pair.predicted(&form, at, lanes),
                        pair.target(&form, at, lanes),
                    )
                };
                watch.see(&x, form.slots());
                for k in 0..form.slots() {
                    let difference = x[k].sub(y[k]);
                    total[k] = difference.mul_add(difference, total[k]);
                }
            },
        );
        let mean = mean_lanes::<T, S, N>(&total, scale);
        // SAFETY: the loss has one element, and one thread computes it.
        unsafe { put::<T, S, F, D, N>(&form, &output, mean) };
        watch.finish(form.slots())
    }
}
