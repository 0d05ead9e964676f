//! Softmax and its logarithm over the rows of a matrix, slot by slot, and their gradients.

use std::ops::Range;

use super::{NAME, max_lanes, put, sum_lanes};
use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd, functions};
use crate::sizes::product;
use crate::slots::{self, Edge, Form, SlotMaxima, Watch, WithForm, with_form};
use crate::threads::Exec;

/// Bytes whose moving costs as much as the exponentials of one slot of one element.
pub(super) const EXP_BYTES: usize = 32;

/// Rows of a matrix of `columns` columns.
pub(super) fn rows_of<T: Element>(
    operand: &'static str,
    values: &Planes<'_, T>,
    columns: usize,
) -> Result<usize, KernelError> {
    let rows = values.len().checked_div(columns).unwrap_or(0);
    values.expect(NAME, operand, &[values.count()], rows * columns)?;
    Ok(rows)
}

/// `softmax(x) = exp(x - top) / sum(exp(x - top))` over each row of `columns` elements, slot by
/// slot, where `top` is the row's largest slot. Returns the magnitudes of the input's slots.
///
/// # Errors
/// When planes or lengths differ, or rows do not come out.
pub fn softmax<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    input: Planes<'_, T>,
    columns: usize,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    normalised(exec, arithmetic, false, input, columns, output)
}

/// `ln softmax(x) = x - top - ln(sum(exp(x - top)))`, as [`softmax`].
///
/// # Errors
/// When planes or lengths differ, or rows do not come out.
pub fn log_softmax<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    input: Planes<'_, T>,
    columns: usize,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    normalised(exec, arithmetic, true, input, columns, output)
}

fn normalised<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    logarithm: bool,
    input: Planes<'_, T>,
    columns: usize,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    output.expect(NAME, "output", &[1, arithmetic.dim()], output.len())?;
    input.expect(NAME, "input", &[output.count()], output.len())?;
    let rows = rows_of("input", &input, columns)?;
    let body = Softmax {
        arithmetic,
        input: input.raw(),
        target: None,
        output: output.raw(),
        rows: (0..rows, rows),
        columns,
        logarithm,
    };
    Ok(body.compute(exec))
}

/// What follows from the maximum and the sum of exponentials of each row.
pub(crate) struct Softmax<'a, T> {
    pub(super) arithmetic: &'a Arithmetic,
    pub(super) input: RawPlanes<T>,
    /// With targets the output is the cross entropy, one element, if `logarithm`, else its gradient.
    pub(super) target: Option<RawPlanes<T>>,
    pub(super) output: RawPlanes<T>,
    /// Which rows, of how many.
    pub(super) rows: (Range<usize>, usize),
    pub(super) columns: usize,
    pub(super) logarithm: bool,
}

impl<T: Element> Softmax<'_, T> {
    /// Computes all rows, several threads sharing them where each has results of its own.
    pub(super) fn compute(self, exec: &Exec) -> SlotMaxima {
        if self.logarithm && self.target.is_some() {
            return T::run_softmax(exec.isa, self);
        }
        let all = self.rows.1;
        exec.spans(
            all,
            1,
            product(&[EXP_BYTES, self.columns, self.input.count]),
            |range| {
                let rows = (range, all);
                T::run_softmax(exec.isa, Softmax { rows, ..self })
            },
            SlotMaxima::merge,
        )
    }
}

impl<T: Element> WithSimd<T> for Softmax<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.output.count, self)
    }
}

// SAFETY of every block below: the callers checked that input, targets and output have these rows
// (the cross entropy's output one element, and one thread), and every thread has rows of its own.
#[allow(
    clippy::undocumented_unsafe_blocks,
    reason = "said once above, for all of them"
)]
impl<T: Element, S: Simd<T>> WithForm<T, S> for Softmax<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let (dim, count, columns) = (form.dim(), form.slots(), self.columns);
        let zero = S::splat(T::zero());
        let edge = Edge::<S>::of(columns);
        let scale = T::one() / T::of(self.rows.1.max(1) as f64);
        let mut watch = Watch::<S, N>::new();
        let mut total = [zero; N];
        for row in self.rows.0.clone() {
            let base = row * columns;
            let mut top = [S::splat(T::neg_infinity()); N];
            slots::sweep(
                columns,
                S::LANES,
                #[inline(always)]
                |at, lanes| {
                    let x: [S; N] = unsafe { slots::values(&form, &self.input, base + at, lanes) };
                    watch.see(&x, count);
                    for k in 0..count {
                        top[k] = edge.fill(x[k], lanes, T::neg_infinity()).max(top[k]);
                    }
                },
            );
            for k in 0..count {
                top[k] = max_lanes(top[k]);
            }
            let mut sum = [zero; N];
            slots::sweep(
                columns,
                S::LANES,
                #[inline(always)]
                |at, lanes| {
                    let x: [S; N] = unsafe { slots::values(&form, &self.input, base + at, lanes) };
                    for k in 0..count {
                        let e = functions::exp(x[k].sub(top[k]));
                        sum[k] = sum[k].add(edge.fill(e, lanes, T::zero()));
                    }
                },
            );
            for k in 0..count {
                let all = sum_lanes(sum[k]);
                sum[k] = S::splat(if self.logarithm {
                    all.ln()
                } else {
                    T::one() / all
                });
            }
            slots::sweep(
                columns,
                S::LANES,
                #[inline(always)]
                |at, lanes| {
                    let at = base + at;
                    let mut x: [S; N] = unsafe { slots::values(&form, &self.input, at, lanes) };
                    for k in 0..count {
                        let shifted = x[k].sub(top[k]);
                        x[k] = if self.logarithm {
                            shifted.sub(sum[k])
                        } else {
                            functions::exp(shifted).mul(sum[k])
                        };
                    }
                    if let Some(target) = &self.target {
                        let y: [S; N] = unsafe { slots::values(&form, target, at, lanes) };
                        for k in 0..count {
                            if self.logarithm {
                                // Targets of lanes past the row are zero.
                                total[k] = y[k].mul_add(zero.sub(x[k]), total[k]);
                            } else {
                                x[k] = x[k].sub(y[k]).mul(S::splat(scale));
                            }
                        }
                        if self.logarithm {
                            return;
                        }
                    }
                    unsafe { slots::store(&self.output, dim, at, lanes, &form.join(&x)) };
                },
            );
        }
        if self.logarithm && self.target.is_some() {
            for k in 0..count {
                total[k] = S::splat(sum_lanes(total[k]) * scale);
            }
            unsafe { put::<T, S, F, D, N>(&form, &self.output, 0, &total) };
        }
        watch.finish(count)
    }
}

/// The gradient of [`softmax`] by its input, from its output y and the output's gradient g:
/// `y (g - sum(g y))` over each row, slot by slot. Returns the magnitudes of g's slots.
///
/// # Errors
/// When planes or lengths differ, or rows do not come out.
pub fn softmax_gradient<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    saved: Planes<'_, T>,
    gradient: Planes<'_, T>,
    columns: usize,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    backward(exec, arithmetic, false, saved, gradient, columns, output)
}

/// The gradient of [`log_softmax`] by its input, from its output y and the output's gradient g:
/// `g - exp(y) sum(g)` over each row, slot by slot. Returns the magnitudes of g's slots.
///
/// # Errors
/// When planes or lengths differ, or rows do not come out.
pub fn log_softmax_gradient<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    saved: Planes<'_, T>,
    gradient: Planes<'_, T>,
    columns: usize,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    backward(exec, arithmetic, true, saved, gradient, columns, output)
}

fn backward<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    logarithm: bool,
    saved: Planes<'_, T>,
    gradient: Planes<'_, T>,
    columns: usize,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    let (planes, len) = (output.count(), output.len());
    output.expect(NAME, "output", &[1, arithmetic.dim()], len)?;
    saved.expect(NAME, "saved", &[planes], len)?;
    gradient.expect(NAME, "gradient", &[planes], len)?;
    let rows = rows_of("saved", &saved, columns)?;
    let (saved, gradient, output) = (saved.raw(), gradient.raw(), output.raw());
    Ok(exec.spans(
        rows,
        1,
        product(&[EXP_BYTES, columns, planes]),
        |rows| {
            let body = SoftmaxGradient {
                arithmetic,
                saved,
                gradient,
                output,
                rows,
                columns,
                logarithm,
            };
            T::run_softmax_gradient(exec.isa, body)
        },
        SlotMaxima::merge,
    ))
}

pub(crate) struct SoftmaxGradient<'a, T> {
    arithmetic: &'a Arithmetic,
    saved: RawPlanes<T>,
    gradient: RawPlanes<T>,
    output: RawPlanes<T>,
    rows: Range<usize>,
    columns: usize,
    logarithm: bool,
}

impl<T: Element> WithSimd<T> for SoftmaxGradient<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.output.count, self)
    }
}

// SAFETY of every block below: `backward` checked that all three tensors have these rows, and gives
// every thread rows of its own.
#[allow(
    clippy::undocumented_unsafe_blocks,
    reason = "said once above, for all of them"
)]
impl<T: Element, S: Simd<T>> WithForm<T, S> for SoftmaxGradient<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let (dim, count, columns) = (form.dim(), form.slots(), self.columns);
        let mut watch = Watch::<S, N>::new();
        for row in self.rows.clone() {
            let base = row * columns;
            let mut sum = [S::splat(T::zero()); N];
            slots::sweep(
                columns,
                S::LANES,
                #[inline(always)]
                |at, lanes| {
                    // Lanes past the row are zero in both.
                    let (y, g): ([S; N], [S; N]) = unsafe { self.both(&form, base + at, lanes) };
                    watch.see(&g, count);
                    for k in 0..count {
                        sum[k] = if self.logarithm {
                            sum[k].add(g[k])
                        } else {
                            y[k].mul_add(g[k], sum[k])
                        };
                    }
                },
            );
            for k in 0..count {
                sum[k] = S::splat(sum_lanes(sum[k]));
            }
            slots::sweep(
                columns,
                S::LANES,
                #[inline(always)]
                |at, lanes| {
                    let (y, mut g): ([S; N], [S; N]) =
                        unsafe { self.both(&form, base + at, lanes) };
                    for k in 0..count {
                        g[k] = if self.logarithm {
                            g[k].sub(functions::exp(y[k]).mul(sum[k]))
                        } else {
                            y[k].mul(g[k].sub(sum[k]))
                        };
                    }
                    unsafe { slots::store(&self.output, dim, base + at, lanes, &form.join(&g)) };
                },
            );
        }
        watch.finish(count)
    }
}

impl<T: Element> SoftmaxGradient<'_, T> {
    /// The slots of the saved output and of the gradient.
    ///
    /// # Safety
    /// Both have these elements.
    #[inline(always)]
    unsafe fn both<S: Simd<T>, F, const D: usize, const N: usize>(
        &self,
        form: &F,
        at: usize,
        lanes: usize,
    ) -> ([S; N], [S; N])
    where
        F: Form<T, S, D, N>,
    {
        // SAFETY: the caller's promise.
        unsafe {
            (
                slots::values(form, &self.saved, at, lanes),
                slots::values(form, &self.gradient, at, lanes),
            )
        }
    }
}
