//! Polynomials of an argument that is a polynomial itself, over an algebra of two slots.
//!
//! The argument is `X = x_0 + x_1 t + ..`, each coefficient a ciphertext of two slots, so in each slot it
//! is a polynomial of real numbers, and so is its image. Slots live in registers, coefficients one
//! after the other; Horner's rule multiplies polynomials there, which costs fewer operations than
//! products in the algebra would.

use super::{Coefficients, NAME, composed_planes, work};
use crate::algebra::{Arithmetic, MAX_DIM};
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots::{self, Form, SlotMaxima, Watch, WithForm, with_form};
use crate::threads::Exec;

/// Most coefficients of an argument or an image, over an algebra of two coordinates.
const MOST: usize = MAX_DIM / 2;
/// As many as most have: what registers and the nearest cache hold need not be cleared for all.
const FEW: usize = 8;

/// `target = p(source)`, both polynomials.
pub(crate) struct Compose<'a, T> {
    arithmetic: &'a Arithmetic,
    /// Those of p, the same in each slot.
    terms: &'a [T],
    source: RawPlanes<T>,
    target: RawPlanes<T>,
    at: usize,
    len: usize,
}

impl<T: Element> WithSimd<T> for Compose<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.arithmetic.dim(), self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Compose<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        if self.source.count.max(self.target.count) <= FEW * form.dim() {
            self.sweep::<S, F, D, N, FEW>(form)
        } else {
            self.sweep::<S, F, D, N, MOST>(form)
        }
    }
}

impl<T: Element> Compose<'_, T> {
    /// Of images with at most `M` coefficients.
    #[inline(always)]
    fn sweep<S: Simd<T>, F, const D: usize, const N: usize, const M: usize>(
        self,
        form: F,
    ) -> SlotMaxima
    where
        F: Form<T, S, D, N>,
    {
        let zero = S::splat(T::zero());
        let (dim, count) = (form.dim(), form.slots());
        let (given, made) = (self.source.count / dim, self.target.count / dim);
        let mut watch = Watch::<S, N>::new();
        slots::sweep(
            self.len,
            S::LANES,
            #[inline(always)]
            |i, lanes| {
                let at = self.at + i;
                let (mut x, mut y) = ([[zero; N]; M], [[zero; N]; M]);
                for (nth, x) in x.iter_mut().enumerate().take(given) {
                    let planes = self.source.some(nth * dim, dim);
                    // SAFETY: whoever made the body owns `at..at + len` of both tensors.
                    *x = unsafe { slots::values(&form, &planes, at, lanes) };
                    watch.see(x, count);
                }
                horner(self.terms, &x[..given], &mut y[..made], count);
                for (nth, y) in y.iter().enumerate().take(made) {
                    let planes = self.target.some(nth * dim, dim);
                    // SAFETY: as above.
                    unsafe { slots::store(&planes, dim, at, lanes, &form.join(y)) };
                }
            },
        );
        watch.finish(count)
    }
}

/// Horner's rule: the image is multiplied by the argument from its highest coefficient down, so that
/// it takes no second one.
#[inline(always)]
fn horner<T: Element, S: Simd<T>, const N: usize>(
    terms: &[T],
    x: &[[S; N]],
    y: &mut [[S; N]],
    slots: usize,
) {
    let (&last, rest) = terms.split_last().expect("there is a coefficient");
    let degree = x.len() - 1;
    y[0] = [S::splat(last); N];
    let mut held = 1;
    for &term in rest.iter().rev() {
        let next = held + degree;
        for at in (0..next).rev() {
            let mut sum = [S::splat(T::zero()); N];
            for j in at.saturating_sub(held - 1)..=at.min(degree) {
                for k in 0..slots {
                    sum[k] = x[j][k].mul_add(y[at - j][k], sum[k]);
                }
            }
            y[at] = sum;
        }
        let constant = S::splat(term);
        for k in 0..slots {
            y[0][k] = y[0][k].add(constant);
        }
        held = next;
    }
}

/// [`poly_map`](super::poly_map) of polynomials.
pub(super) fn compose<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    coefficients: &Coefficients<'_, T>,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    let terms: Vec<T> = match coefficients {
        Coefficients::Constant(values) => values.iter().map(|&c| T::of(c)).collect(),
        Coefficients::Tensor(planes) => {
            planes.expect(NAME, "coefficients", &[1], planes.len())?;
            planes.plane(0).to_vec()
        }
    };
    let dim = arithmetic.dim();
    input.expect(
        NAME,
        "input",
        &[arithmetic.ciphertext(input.count())],
        input.len(),
    )?;
    let planes = composed_planes(dim, input.count(), terms.len());
    output.expect(NAME, "output", &[planes], input.len())?;
    output.expect(
        NAME,
        "output",
        &[arithmetic.ciphertext(planes)],
        input.len(),
    )?;
    let bytes = (input.count() + planes) * size_of::<T>();
    let multiplied = terms.len() * input.count() / dim * planes / dim / 2;
    let (source, target) = (input.raw(), output.raw());
    Ok(exec.spans(
        input.len(),
        exec.isa.lanes::<T>(),
        bytes + work::<T>(multiplied, arithmetic.slots()),
        |range| {
            let body = Compose {
                arithmetic,
                terms: &terms,
                source,
                target,
                at: range.start,
                len: range.len(),
            };
            T::run_compose(exec.isa, body)
        },
        SlotMaxima::merge,
    ))
}
