//! The hyperbolic tangent and the logistic function: an exponential and a division each.

use super::{exp, polynomial};
use crate::element::Element;
use crate::simd::Simd;

/// Up to here the hyperbolic tangent is a polynomial, since `1 - 2 / (exp(2 x) + 1)` cancels.
const SMALL: f64 = 0.625;

/// `tanh(x)`.
#[inline(always)]
pub(crate) fn tanh<T: Element, S: Simd<T>>(x: S) -> S {
    let all = |x: f64| S::splat(T::of(x));
    let (zero, one, two, size) = (all(0.0), all(1.0), all(2.0), x.abs());
    let square = x.mul(x);
    // A product, and no sum, keeps the sign of zero.
    let near = polynomial(square, T::FUNCTIONS.tanh).mul_add(square, one);
    let near = x.mul(near);
    let far = one.sub(two.div(exp(size.add(size)).add(one)));
    let far = x.if_above(zero, far, far.neg());
    all(SMALL).if_above(size, near, far)
}

/// `1 / (1 + exp(-x))`, subnormal results too.
#[inline(always)]
pub(crate) fn sigmoid<T: Element, S: Simd<T>>(x: S) -> S {
    let (zero, one) = (S::splat(T::zero()), S::splat(T::one()));
    // Of exp(x) and exp(-x) the one that cannot overflow.
    let fall = exp(x.abs().neg());
    x.if_above(zero, one, fall).div(one.add(fall))
}
