//! Maxima along an axis, slot by slot, which `max(A, B) = B + relu(A - B)` makes an operation of the
//! scheme; and their gradient.

use std::ops::Range;

use super::{Axis, NAME, max_lanes, put};
use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::sizes::product;
use crate::slots::{self, Edge, Form, SlotMaxima, Watch, WithForm, with_form};
use crate::threads::Exec;

/// The maximum along an axis, slot by slot. Returns the magnitudes of the input's slots.
///
/// # Errors
/// When planes or lengths differ, or the axis has no elements.
pub fn max<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    axis: &Axis,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    axis.expect_elements()?;
    let planes = output.count();
    output.expect(NAME, "output", &[1, arithmetic.dim()], axis.reduced())?;
    input.expect(NAME, "input", &[planes], axis.full())?;
    Ok(pass(
        exec,
        arithmetic,
        axis,
        input.raw(),
        None,
        output.raw(),
    ))
}

/// The gradient of [`max`] by its input: slot by slot, the incoming gradient at the first maximum
/// along the axis and zero elsewhere. Returns the magnitudes of the incoming gradient's slots.
///
/// # Errors
/// When planes or lengths differ, or the axis has no elements.
pub fn max_gradient<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    axis: &Axis,
    input: Planes<'_, T>,
    gradient: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    axis.expect_elements()?;
    let planes = output.count();
    output.expect(NAME, "output", &[1, arithmetic.dim()], axis.full())?;
    input.expect(NAME, "input", &[planes], axis.full())?;
    gradient.expect(NAME, "gradient", &[planes], axis.reduced())?;
    let gradient = Some(gradient.raw());
    Ok(pass(
        exec,
        arithmetic,
        axis,
        input.raw(),
        gradient,
        output.raw(),
    ))
}

fn pass<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    axis: &Axis,
    input: RawPlanes<T>,
    gradient: Option<RawPlanes<T>>,
    output: RawPlanes<T>,
) -> SlotMaxima {
    let axis = *axis;
    let lanes = exec.isa.lanes::<T>();
    let passes = if gradient.is_some() { 3 } else { 1 };
    let elements = product(&[passes, axis.length, axis.inner.min(lanes)]);
    exec.spans(
        axis.outer * axis.inner.div_ceil(lanes),
        1,
        product(&[elements, input.count, size_of::<T>()]),
        |tasks| {
            let body = Max {
                arithmetic,
                axis,
                input,
                gradient,
                output,
                tasks,
            };
            T::run_max(exec.isa, body)
        },
        SlotMaxima::merge,
    )
}

pub(crate) struct Max<'a, T> {
    arithmetic: &'a Arithmetic,
    axis: Axis,
    input: RawPlanes<T>,
    /// The maximum's gradient, where that of the input is wanted.
    gradient: Option<RawPlanes<T>>,
    output: RawPlanes<T>,
    /// Vectors of the maximum, counted through all of `outer`.
    tasks: Range<usize>,
}

impl<T: Element> WithSimd<T> for Max<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.output.count, self)
    }
}

// SAFETY of every block below: `max` and `max_gradient` checked that each tensor has the elements
// its shape says, and give every task columns of its own.
#[allow(
    clippy::undocumented_unsafe_blocks,
    reason = "said once above, for all of them"
)]
impl<T: Element, S: Simd<T>> WithForm<T, S> for Max<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let Axis { length, inner, .. } = self.axis;
        let (dim, count) = (form.dim(), form.slots());
        let mut watch = Watch::<S, N>::new();
        let tiles = inner.div_ceil(S::LANES);
        // Along a vector, where the axis is contiguous; across them lanes past the row harm nothing.
        let edge = Edge::<S>::of(if inner == 1 { length } else { inner });
        for task in self.tasks.clone() {
            let (outer, column) = (task / tiles, task % tiles * S::LANES);
            let lanes = (inner - column).min(S::LANES);
            let (from, to) = (outer * length * inner + column, outer * inner + column);
            let mut top = [S::splat(T::neg_infinity()); N];
            let (steps, stride) = if inner == 1 {
                (length.div_ceil(S::LANES), S::LANES)
            } else {
                (length, inner)
            };
            for step in 0..steps {
                let lanes = if inner == 1 {
                    (length - step * stride).min(stride)
                } else {
                    lanes
                };
                let x: [S; N] =
                    unsafe { slots::values(&form, &self.input, from + step * stride, lanes) };
                if self.gradient.is_none() {
                    watch.see(&x, count);
                }
                for k in 0..count {
                    top[k] = edge.fill(x[k], lanes, T::neg_infinity()).max(top[k]);
                }
            }
            if inner == 1 {
                for k in 0..count {
                    top[k] = max_lanes(top[k]);
                }
            }
            let Some(gradient) = &self.gradient else {
                unsafe { slots::store(&self.output, dim, to, lanes, &form.join(&top)) };
                continue;
            };
            let mut left: [S; N] = unsafe { slots::values(&form, gradient, to, lanes) };
            watch.see(&left, count);
            if inner == 1 {
                unsafe { self.scatter(&form, from, &top, &left) };
                continue;
            }
            for step in 0..length {
                let at = from + step * inner;
                let mut x: [S; N] = unsafe { slots::values(&form, &self.input, at, lanes) };
                for k in 0..count {
                    // What is left of the gradient goes on past anything below the maximum.
                    let passed = left[k].where_positive(top[k].sub(x[k]));
                    x[k] = left[k].sub(passed);
                    left[k] = passed;
                }
                unsafe { slots::store(&self.output, dim, at, lanes, &form.join(&x)) };
            }
        }
        watch.finish(count)
    }
}

impl<T: Element> Max<'_, T> {
    /// Writes the row from `from` on: slot k of `gradient` at the first element whose slot k is
    /// `top`, zero elsewhere.
    ///
    /// # Safety
    /// The row is there in input and output, and the caller's to write.
    #[inline(always)]
    unsafe fn scatter<S: Simd<T>, F, const D: usize, const N: usize>(
        &self,
        form: &F,
        from: usize,
        top: &[S; N],
        gradient: &[S; N],
    ) where
        F: Form<T, S, D, N>,
    {
        let (dim, count) = (form.dim(), form.slots());
        let zero = S::splat(T::zero());
        let mut first = [None; N];
        slots::sweep(
            self.axis.length,
            S::LANES,
            #[inline(always)]
            |at, lanes| {
                // SAFETY: the caller's promise.
                unsafe { slots::store(&self.output, dim, from + at, lanes, &[zero; D]) };
                if first[..count].iter().all(Option::is_some) {
                    return;
                }
                // SAFETY: as above.
                let x: [S; N] = unsafe { slots::values(form, &self.input, from + at, lanes) };
                for k in 0..count {
                    let below = S::splat(T::one()).where_positive(top[k].sub(x[k])).lanes();
                    let hit = below[..lanes].iter().position(|below| *below == T::zero());
                    first[k] = first[k].or(hit.map(|lane| at + lane));
                }
            },
        );
        for here in first[..count].iter().copied().flatten() {
            let mut slots = [zero; N];
            for k in 0..count {
                if first[k] == Some(here) {
                    slots[k] = gradient[k];
                }
            }
            // SAFETY: as above.
            unsafe { put::<T, S, F, D, N>(form, &self.output, from + here, &slots) };
        }
    }
}
