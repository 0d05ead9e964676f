//! The natural logarithm.

use super::polynomial;
use crate::element::Element;
use crate::simd::Simd;

/// `n ln 2 + ln(1 + f)` for 1 + f between sqrt(1/2) and sqrt 2.
///
/// With s = f / (2 + f), ln(1 + f) = 2 atanh(s). As 2 s = f - s f, and s f = f^2/2 - s f^2/2, the
/// leading term is f, exact, and what is rounded is small beside it (the arrangement of FreeBSD's
/// msun and its descendants).
#[inline(always)]
fn near_one<T: Element, S: Simd<T>>(f: S, n: S) -> S {
    let s = f.div(S::splat(T::of(2.0)).add(f));
    let z = s.mul(s);
    let half = f.mul(f).mul(S::splat(T::of(0.5)));
    let rest = polynomial(z, T::FUNCTIONS.ln).mul_add(z, half);
    let (high, low) = T::FUNCTIONS.ln_2;
    let small = half.sub(s.mul_add(rest, n.mul(S::splat(low))));
    n.mul_add(S::splat(high), f.sub(small))
}

/// `ln(x)`: -infinity at zero and NaN below.
#[inline(always)]
pub(crate) fn ln<T: Element, S: Simd<T>>(x: S) -> S {
    let all = |x: T| S::splat(x);
    let (zero, one) = (all(T::zero()), all(T::one()));
    let small = all(T::min_positive_value() * T::of(4.0));
    let (lift, exponent) = T::FUNCTIONS.lift;
    let lifted = small.if_above(x, x.mul(all(lift)), x);
    let offset = small.if_above(x, one.sub(all(exponent)), one);
    // Rounded so that x 2^-n lies around one, on both sides.
    let n = lifted
        .mul(all(T::of(std::f64::consts::FRAC_1_SQRT_2)))
        .exponent();
    let near = lifted.scale_by_power(n.add(one).neg());
    let y = near_one(near.sub(one), n.add(offset));
    // Infinity is its own logarithm; zero less infinity is the logarithm of zero, and NaN stays NaN.
    let y = x.if_above(all(T::max_value()), x, y);
    let outside = zero.if_above(x, all(T::nan()), x.add(all(T::neg_infinity())));
    x.if_above(zero, y, outside)
}

/// `ln(1 + x)` for x from 0 to 1.
#[inline(always)]
pub(crate) fn ln_1p<T: Element, S: Simd<T>>(x: S) -> S {
    let all = |x: f64| S::splat(T::of(x));
    let (zero, one, half) = (all(0.0), all(1.0), all(0.5));
    let edge = all(std::f64::consts::SQRT_2 - 1.0);
    let f = x.if_above(edge, x.sub(one).mul(half), x);
    near_one(f, x.if_above(edge, one, zero))
}
