//! The error function.

use super::{exp, polynomial};
use crate::element::Element;
use crate::simd::Simd;

/// `erf(x)`.
#[inline(always)]
pub(crate) fn erf<T: Element, S: Simd<T>>(x: S) -> S {
    erf_and_gaussian(x).0
}

/// `erf(x)` and `exp(-x^2)`, which the former is computed from.
///
/// Up to 1 a polynomial, past it `1 - exp(-x^2) p(x)` with p close to the scaled complementary error
/// function `exp(x^2) erfc(x)`, which a polynomial approximates much better than erfc itself. The
/// exponential's error is about x^2 units in the last place, but beside the 1 it is nothing.
#[inline(always)]
pub(crate) fn erf_and_gaussian<T: Element, S: Simd<T>>(x: S) -> (S, S) {
    let (zero, one, size) = (S::splat(T::zero()), S::splat(T::one()), x.abs());
    let square = x.mul(x);
    let gaussian = exp(square.neg());
    let near = polynomial(square, T::FUNCTIONS.erf).mul_add(x, x);
    let far = S::splat(T::FUNCTIONS.erfcx_end).min(size);
    let far = far.sub(S::splat(T::FUNCTIONS.erfcx_middle));
    let far = one.sub(polynomial(far, T::FUNCTIONS.erfcx).mul(gaussian));
    let far = x.if_above(zero, far, far.neg());
    (one.if_above(size, near, far), gaussian)
}
