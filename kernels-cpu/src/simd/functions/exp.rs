//! The exponential.

use super::polynomial;
use crate::element::Element;
use crate::simd::Simd;

/// `exp(r) - 1` and n of x = n ln 2 + r, |r| <= ln 2 / 2, for x between `low` and where the
/// exponential overflows. NaN stays NaN.
#[inline(always)]
fn reduced<T: Element, S: Simd<T>>(x: S, low: T) -> (S, S) {
    // `max` and `min` give their argument where either is NaN.
    let inside = S::splat(low).max(x);
    let inside = S::splat(T::FUNCTIONS.exp_range.1).min(inside);
    let n = inside
        .mul(S::splat(T::of(std::f64::consts::LOG2_E)))
        .round();
    let (high, low) = T::FUNCTIONS.ln_2;
    let r = n.mul_add(S::splat(-high), inside);
    let r = n.mul_add(S::splat(-low), r);
    let tail = polynomial(r, T::FUNCTIONS.exp).mul(r);
    (tail.mul_add(r, r), n)
}

/// `exp(x)`.
#[inline(always)]
pub(crate) fn exp<T: Element, S: Simd<T>>(x: S) -> S {
    let (rise, n) = reduced(x, T::FUNCTIONS.exp_range.0);
    S::splat(T::one()).add(rise).scale_by_power(n)
}

/// `exp(x) - 1` without cancellation near zero.
#[inline(always)]
pub(crate) fn exp_m1<T: Element, S: Simd<T>>(x: S) -> S {
    let (rise, n) = reduced(x, T::FUNCTIONS.exp_m1_low);
    // 2^n rise + (2^n - 1), with the scaling last, or it would overflow before the result does.
    let one = S::splat(T::one());
    let rest = one.sub(one.scale_by_power(n.neg()));
    let y = rise.add(rest).scale_by_power(n);
    // So small a number is its own result, and keeps its sign where it is zero.
    x.abs().if_above(S::splat(T::min_positive_value()), y, x)
}
