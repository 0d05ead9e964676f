//! Losses, slot by slot: means over rows or elements, and the gradients that are not linear.

use std::ops::Range;

use super::softmax::{EXP_BYTES, rows_of};
use super::{NAME, Softmax, put, sum_lanes};
use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd, functions};
use crate::slots::{self, Edge, Form, SlotMaxima, Watch, WithForm, with_form};
use crate::threads::Exec;

/// Checks predictions, plaintext or ciphertexts, and targets, which may be plaintext for either.
fn expect_pair<T: Element>(
    arithmetic: &Arithmetic,
    predicted: &Planes<'_, T>,
    targets: &Planes<'_, T>,
) -> Result<(), KernelError> {
    let (planes, len) = (predicted.count(), predicted.len());
    predicted.expect(NAME, "predictions", &[1, arithmetic.dim()], len)?;
    targets.expect(NAME, "targets", &[planes, 1], len)
}

/// Checks a loss, which is one element, or a gradient, as many as there are predictions.
fn expect_result<T: Element>(
    loss: bool,
    predicted: &Planes<'_, T>,
    output: &PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let (operand, len) = if loss {
        ("loss", 1)
    } else {
        ("gradient", predicted.len())
    };
    output.expect(NAME, operand, &[predicted.count()], len)
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
    cross_entropy(exec, arithmetic, true, logits, targets, columns, loss)
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
    cross_entropy(exec, arithmetic, false, logits, targets, columns, gradient)
}

/// The loss, or its gradient.
fn cross_entropy<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    loss: bool,
    logits: Planes<'_, T>,
    targets: Planes<'_, T>,
    columns: usize,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    expect_pair(arithmetic, &logits, &targets)?;
    let rows = rows_of("predictions", &logits, columns)?;
    expect_result(loss, &logits, output)?;
    let body = Softmax {
        arithmetic,
        input: logits.raw(),
        target: Some(targets.raw()),
        output: output.raw(),
        rows: (0..rows, rows),
        columns,
        logarithm: loss,
    };
    Ok(body.compute(exec))
}

/// Mean over all elements of `(predicted - target)^2`, slot by slot. Writes one element and returns
/// the magnitudes of the predictions' slots. (Its gradient is linear: `2 (predicted - target) / n`.)
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
    let wanted = Wanted::SquaredError;
    pointwise(exec, arithmetic, wanted, predicted, targets, loss)
}

/// Mean over all elements of the binary cross entropy of `sigmoid(logit)` against the target,
/// `max(x, 0) - x t + ln(1 + exp(-|x|))`, slot by slot. Writes one element and returns the
/// magnitudes of the logits' slots.
///
/// # Errors
/// When planes or lengths differ, or `loss` is not one element.
pub fn binary_cross_entropy<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    logits: Planes<'_, T>,
    targets: Planes<'_, T>,
    loss: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    let wanted = Wanted::BinaryCrossEntropy;
    pointwise(exec, arithmetic, wanted, logits, targets, loss)
}

/// Gradient of [`binary_cross_entropy`] by the logits: `(sigmoid(x) - t) / n` of n elements.
///
/// # Errors
/// When planes or lengths differ.
pub fn binary_cross_entropy_gradient<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    logits: Planes<'_, T>,
    targets: Planes<'_, T>,
    gradient: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    let wanted = Wanted::BinaryCrossEntropyGradient;
    pointwise(exec, arithmetic, wanted, logits, targets, gradient)
}

fn pointwise<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    wanted: Wanted,
    predicted: Planes<'_, T>,
    targets: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    expect_pair(arithmetic, &predicted, &targets)?;
    expect_result(wanted.is_loss(), &predicted, output)?;
    let len = predicted.len();
    let body = Pointwise {
        arithmetic,
        wanted,
        predicted: predicted.raw(),
        target: targets.raw(),
        output: output.raw(),
        elements: (0..len, len),
    };
    if wanted.is_loss() {
        return Ok(T::run_pointwise(exec.isa, body));
    }
    Ok(exec.spans(
        len,
        exec.isa.lanes::<T>(),
        EXP_BYTES * predicted.count(),
        |range| {
            let elements = (range, len);
            T::run_pointwise(exec.isa, Pointwise { elements, ..body })
        },
        SlotMaxima::merge,
    ))
}

/// What is computed of predictions and targets, element by element.
#[derive(Clone, Copy)]
enum Wanted {
    SquaredError,
    BinaryCrossEntropy,
    BinaryCrossEntropyGradient,
}

impl Wanted {
    /// Whether one element comes of all, which one thread adds up.
    #[inline(always)]
    fn is_loss(self) -> bool {
        !matches!(self, Wanted::BinaryCrossEntropyGradient)
    }
}

pub(crate) struct Pointwise<'a, T> {
    arithmetic: &'a Arithmetic,
    wanted: Wanted,
    predicted: RawPlanes<T>,
    target: RawPlanes<T>,
    /// One element for a loss, as many as predictions for a gradient.
    output: RawPlanes<T>,
    /// Which elements, of how many.
    elements: (Range<usize>, usize),
}

impl<T: Element> WithSimd<T> for Pointwise<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.output.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Pointwise<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let (range, all) = self.elements;
        let scale = T::one() / T::of(all.max(1) as f64);
        let edge = Edge::<S>::of(range.len());
        let mut watch = Watch::<S, N>::new();
        let mut total = [S::splat(T::zero()); N];
        slots::sweep(
            range.len(),
            S::LANES,
            #[inline(always)]
            |at, lanes| {
                let at = range.start + at;
                // SAFETY: the callers checked that both tensors have these elements.
                let (mut x, y): ([S; N], [S; N]) = unsafe {
                    (
                        slots::values(&form, &self.predicted, at, lanes),
                        slots::values(&form, &self.target, at, lanes),
                    )
                };
                watch.see(&x, form.slots());
                for k in 0..form.slots() {
                    let difference = x[k].sub(y[k]);
                    match self.wanted {
                        Wanted::SquaredError => {
                            total[k] = difference.mul_add(difference, total[k]);
                        }
                        Wanted::BinaryCrossEntropy => {
                            let one = edge.fill(logistic(x[k], y[k]), lanes, T::zero());
                            total[k] = total[k].add(one);
                        }
                        Wanted::BinaryCrossEntropyGradient => {
                            x[k] = functions::sigmoid(x[k]).sub(y[k]).mul(S::splat(scale));
                        }
                    }
                }
                if !self.wanted.is_loss() {
                    let c = form.join(&x);
                    // SAFETY: the gradient has as many elements, and every thread its own.
                    unsafe { slots::store(&self.output, form.dim(), at, lanes, &c) };
                }
            },
        );
        if self.wanted.is_loss() {
            for k in 0..form.slots() {
                total[k] = S::splat(sum_lanes(total[k]) * scale);
            }
            // SAFETY: the loss has one element, and one thread computes it.
            unsafe { put::<T, S, F, D, N>(&form, &self.output, 0, &total) };
        }
        watch.finish(form.slots())
    }
}

/// `max(x, 0) - x t + ln(1 + exp(-|x|))`.
#[inline(always)]
fn logistic<T: Element, S: Simd<T>>(x: S, target: S) -> S {
    let zero = S::splat(T::zero());
    let ln = functions::ln_1p(functions::exp(x.abs().neg()));
    zero.max(x).sub(x.mul(target)).add(ln)
}
