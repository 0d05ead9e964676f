//! Quotients in the algebra, element by element.

use std::ops::Range;

use super::NAME;
use super::broadcast::{Broadcast, Side};
use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots::{self, Edge, Form, SlotMaxima, Watch, WithForm, with_form};
use crate::threads::Exec;

/// Computes `output = a / b` in the algebra: slot by slot, a plaintext being each slot of its
/// element. Returns the magnitudes of the quotient's slots; a slot of b that is zero, or an operand
/// that is not finite, makes them not finite.
///
/// # Errors
/// When planes differ from the larger operand's, or lengths from the broadcast's.
pub fn divide<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    broadcast: &Broadcast,
    a: Planes<'_, T>,
    b: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    broadcast.expect(|_| arithmetic.dim(), &a, &b)?;
    let planes = arithmetic.result_planes(a.count(), b.count());
    output.expect(NAME, "output", &[planes], broadcast.len())?;
    let ((a, b), output) = (broadcast.sides(&a, &b), output.raw());
    Ok(exec.spans(
        broadcast.len(),
        exec.isa.lanes::<T>(),
        3 * planes * size_of::<T>(),
        |range| {
            let body = Divide {
                arithmetic,
                broadcast,
                a,
                b,
                output,
                range,
            };
            T::run_divide(exec.isa, body)
        },
        SlotMaxima::merge,
    ))
}

pub(crate) struct Divide<'a, T> {
    arithmetic: &'a Arithmetic,
    broadcast: &'a Broadcast,
    a: Side<T>,
    b: Side<T>,
    output: RawPlanes<T>,
    range: Range<usize>,
}

impl<T: Element> WithSimd<T> for Divide<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.output.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Divide<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let count = form.slots();
        let mut quotients = Watch::<S, N>::new();
        // An infinite divisor would hide in a quotient of zero.
        let mut divisors = Watch::<S, N>::new();
        self.broadcast.runs(
            self.range.clone(),
            #[inline(always)]
            |at, a, b, len| {
                let edge = Edge::<S>::of(len);
                slots::sweep(
                    len,
                    S::LANES,
                    #[inline(always)]
                    |i, lanes| {
                        // SAFETY: `divide` checked the lengths.
                        let (mut x, y) = unsafe {
                            (
                                slots_of::<T, S, F, D, N>(&form, &self.a, a, i, lanes),
                                slots_of::<T, S, F, D, N>(&form, &self.b, b, i, lanes),
                            )
                        };
                        divisors.see(&y, count);
                        for k in 0..count {
                            x[k] = edge.fill(x[k].div(y[k]), lanes, T::zero());
                        }
                        quotients.see(&x, count);
                        let c = form.join(&x);
                        // SAFETY: as above, and every thread has elements of its own.
                        unsafe { slots::store(&self.output, form.dim(), at + i, lanes, &c) };
                    },
                );
            },
        );
        let divisors = divisors.finish(count);
        let finite = SlotMaxima::of_finite(divisors.finite());
        quotients.finish(count).merge(finite)
    }
}

/// The slots of a vector of an operand; a plaintext has its value in each.
///
/// # Safety
/// The operand has these elements, in one plane or in as many as the form has.
#[inline(always)]
unsafe fn slots_of<T: Element, S: Simd<T>, F, const D: usize, const N: usize>(
    form: &F,
    side: &Side<T>,
    start: usize,
    i: usize,
    lanes: usize,
) -> [S; N]
where
    F: Form<T, S, D, N>,
{
    // SAFETY: the caller's promise.
    unsafe {
        if side.planes.count == form.dim() {
            form.split(&side.vectors(form.dim(), start, i, lanes))
        } else {
            [side.vector(0, start, i, lanes); N]
        }
    }
}
