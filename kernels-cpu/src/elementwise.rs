//! Sums, multiples and products, element by element.

use crate::algebra::{Arithmetic, Bilinear, Combination, MAX_DIM};
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots;
use crate::threads::Exec;

const NAME: &str = "elementwise";

/// Computes `output = alpha a + beta b`.
///
/// Operands are plaintext or ciphertexts; a plaintext stands for its multiple of the algebra's one.
/// `b` may be shorter: it then repeats, as a row added to every row of a matrix does.
///
/// # Errors
/// When planes differ from the larger operand's, or the length of `b` does not divide that of `a`.
pub fn linear<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    (alpha, a): (f64, Planes<'_, T>),
    (beta, b): (f64, Planes<'_, T>),
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let either = [1, arithmetic.dim()];
    let len = output.len();
    a.expect(NAME, "a", &either, len)?;
    let repeats = b.len() == len || (!b.is_empty() && len.is_multiple_of(b.len()));
    b.expect(NAME, "b", &either, if repeats { b.len() } else { len })?;
    let planes = arithmetic.result_planes(a.count(), b.count());
    output.expect(NAME, "output", &[planes], len)?;
    if len == 0 {
        return Ok(());
    }
    let weigh = |operand: &Planes<'_, T>, weight: f64, i: usize| {
        let (plane, one) = if operand.count() == planes {
            (i, 1.0)
        } else {
            (0, arithmetic.one()[i])
        };
        (operand.raw().only(plane), T::of(weight * one))
    };
    for i in 0..planes {
        let span = Linear {
            a: weigh(&a, alpha, i),
            b: weigh(&b, beta, i),
            output: output.raw().only(i),
            at: 0,
            len,
            period: b.len(),
        };
        exec.spans(
            len,
            exec.isa.lanes::<T>(),
            3 * size_of::<T>(),
            |range| {
                T::run_linear(
                    exec.isa,
                    Linear {
                        at: range.start,
                        len: range.len(),
                        ..span
                    },
                )
            },
            |(), ()| (),
        );
    }
    Ok(())
}

#[derive(Clone, Copy)]
pub(crate) struct Linear<T> {
    a: (RawPlanes<T>, T),
    b: (RawPlanes<T>, T),
    output: RawPlanes<T>,
    at: usize,
    len: usize,
    period: usize,
}

impl<T: Element> WithSimd<T> for Linear<T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        let (alpha, beta) = (S::splat(self.a.1), S::splat(self.b.1));
        let (a, b, output) = (self.a.0.plane(0), self.b.0.plane(0), self.output.plane(0));
        let mut done = 0;
        while done < self.len {
            let at = self.at + done;
            let phase = at % self.period;
            let run = (self.period - phase).min(self.len - done);
            slots::sweep(
                run,
                S::LANES,
                #[inline(always)]
                |i, count| {
                    // SAFETY: `linear` checked the lengths: `at + i + count` elements of a and the
                    // output, `phase + i + count` of b.
                    unsafe {
                        let (a, b, to) = (a.add(at + i), b.add(phase + i), output.add(at + i));
                        let b = beta.mul(S::load_some(b, count));
                        alpha
                            .mul_add(S::load_some(a, count), b)
                            .store_some(to, count);
                    }
                },
            );
            done += run;
        }
    }
}

/// Computes `output = a b` in the algebra, element by element.
///
/// # Errors
/// When planes or lengths differ.
pub fn multiply<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    a: Planes<'_, T>,
    b: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let either = [1, arithmetic.dim()];
    let len = output.len();
    a.expect(NAME, "a", &either, len)?;
    b.expect(NAME, "b", &either, len)?;
    let planes = arithmetic.result_planes(a.count(), b.count());
    output.expect(NAME, "output", &[planes], len)?;
    let program = arithmetic.product(a.count(), b.count());
    let (a, b, output) = (a.raw(), b.raw(), output.raw());
    exec.spans(
        len,
        exec.isa.lanes::<T>(),
        3 * planes * size_of::<T>(),
        |range| {
            T::run_multiply(
                exec.isa,
                Multiply {
                    program,
                    a,
                    b,
                    output,
                    at: range.start,
                    len: range.len(),
                },
            );
        },
        |(), ()| (),
    );
    Ok(())
}

pub(crate) struct Multiply<'a, T> {
    program: &'a Bilinear,
    a: RawPlanes<T>,
    b: RawPlanes<T>,
    output: RawPlanes<T>,
    at: usize,
    len: usize,
}

#[inline(always)]
fn combine<T: Element, S: Simd<T>>(combination: &Combination, c: &[S; MAX_DIM]) -> S {
    let mut sum = S::splat(T::zero());
    for &(plane, weight) in combination {
        sum = S::splat(T::of(weight)).mul_add(c[plane], sum);
    }
    sum
}

impl<T: Element> WithSimd<T> for Multiply<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        slots::sweep(
            self.len,
            S::LANES,
            #[inline(always)]
            |i, count| {
                let at = self.at + i;
                // SAFETY: `multiply` checked the lengths, and gives every thread elements of its own.
                let (a, b) = unsafe {
                    (
                        slots::load::<T, S, MAX_DIM>(&self.a, self.a.count, at, count),
                        slots::load::<T, S, MAX_DIM>(&self.b, self.b.count, at, count),
                    )
                };
                let mut c = [S::splat(T::zero()); MAX_DIM];
                for term in &self.program.terms {
                    let product = combine::<T, S>(&self.program.left[term.left], &a)
                        .mul(combine::<T, S>(&self.program.right[term.right], &b));
                    for &(plane, weight) in &term.outputs {
                        c[plane] = S::splat(T::of(weight)).mul_add(product, c[plane]);
                    }
                }
                // SAFETY: as above.
                unsafe { slots::store(&self.output, self.output.count, at, count, &c) };
            },
        );
    }
}
