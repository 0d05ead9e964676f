//! The functions and their derivatives on a vector of slots.
//!
//! They are evaluated at each slot as it is, also where slots meet: the coordinates of f(C) are sums
//! and differences of its slots, and no divisor there shrinks with the distance of the slots, so a
//! decrypted error stays about one rounding of the larger slot without any special case.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::element::Element;
use crate::simd::{Simd, functions};

/// A function with its parameters, and its derivative.
pub(super) trait SlotFunction<T: Element>: Copy {
    fn value<S: Simd<T>>(self, x: S) -> S;
    /// `f'(x) g`, from what [`Function::saved`](super::Function::saved) names.
    fn gradient<S: Simd<T>>(self, saved: S, g: S) -> S;
}

/// A vector of one number.
#[inline(always)]
fn all<T: Element, S: Simd<T>>(x: f64) -> S {
    S::splat(T::of(x))
}

/// Declares a function: its parameters, its value at `x`, and its gradient from its argument `x` or
/// its value `y` and an incoming gradient `g`.
macro_rules! slot_function {
    ($name:ident($($parameter:ident),*); |$x:ident| $value:expr; |$saved:ident, $g:ident| $gradient:expr) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name {
            $(pub(super) $parameter: f64,)*
        }
        impl<T: Element> SlotFunction<T> for $name {
            #[inline(always)]
            fn value<S: Simd<T>>(self, $x: S) -> S {
                $(#[allow(unused_variables, reason = "not every part needs every parameter")]
                let $parameter: S = all(self.$parameter);)*
                $value
            }
            #[inline(always)]
            fn gradient<S: Simd<T>>(self, $saved: S, $g: S) -> S {
                $(#[allow(unused_variables, reason = "as above")]
                let $parameter: S = all(self.$parameter);)*
                $gradient
            }
        }
    };
}

slot_function!(Exp(); |x| functions::exp(x); |y, g| y.mul(g));

slot_function!(Ln(); |x| functions::ln(x); |x, g| g.div(x));

slot_function!(Sqrt(); |x| x.sqrt(); |y, g| g.div(y.add(y)));

slot_function!(Inverse(); |x| all::<T, S>(1.0).div(x); |y, g| y.neg().mul(y).mul(g));

slot_function!(Abs(); |x| x.abs(); |x, g| with_sign(x, g));

slot_function!(Sign(); |x| with_sign(x, all(1.0)); |_x, _g| all(0.0));

// NaN is no less than zero, and passes.
slot_function!(Relu(); |x| all::<T, S>(0.0).max(x); |x, g| g.where_positive(x));

slot_function!(LeakyRelu(slope);
    |x| x.if_above(all(0.0), x, x.mul(slope));
    |x, g| x.if_above(all(0.0), g, g.mul(slope)));

slot_function!(Elu(alpha);
    |x| x.if_above(all(0.0), x, functions::exp_m1(x).mul(alpha));
    |x, g| x.if_above(all(0.0), g, functions::exp(x).mul(alpha).mul(g)));

slot_function!(Sigmoid();
    |x| functions::sigmoid(x);
    |y, g| y.mul(all::<T, S>(1.0).sub(y)).mul(g));

slot_function!(HardSigmoid(alpha, beta);
|x| all::<T, S>(0.0).max(all::<T, S>(1.0).min(x.mul_add(alpha, beta)));
|x, g| {
    let y = x.mul_add(alpha, beta);
    let inside = all::<T, S>(1.0).if_above(y, alpha.mul(g), all(0.0));
    inside.where_positive(y)
});

slot_function!(Tanh();
|x| functions::tanh(x);
|y, g| {
    let one: S = all(1.0);
    one.sub(y).mul(one.add(y)).mul(g)
});

// Of exp(x) and exp(-x) the one that cannot overflow.
slot_function!(Softplus();
    |x| all::<T, S>(0.0).max(x).add(functions::ln_1p(functions::exp(x.abs().neg())));
    |x, g| functions::sigmoid(x).mul(g));

slot_function!(Gelu();
|x| {
    let half: S = x.mul(all(0.5));
    half.mul_add(functions::erf(x.mul(all(FRAC_1_SQRT_2))), half)
};
|x, g| {
    let (erf, gaussian) = functions::erf_and_gaussian(x.mul(all(FRAC_1_SQRT_2)));
    let half: S = all(0.5);
    let density = gaussian.mul(all(0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2));
    x.mul_add(density, half.mul_add(erf, half)).mul(g)
});

// With (1 + tanh u) / 2 = sigmoid(2 u), which does not cancel where the function is small.
slot_function!(GeluTanh();
|x| {
    let inner = x.mul(x).mul_add(all(GELU_TANH_CUBIC), all(1.0));
    x.mul(functions::sigmoid(inner.mul(x).mul(all(GELU_TANH_SCALE))))
};
|x, g| {
    // Past 64 it is at its limit, and powers of x would overflow.
    let x = all::<T, S>(-64.0).max(all::<T, S>(64.0).min(x));
    let square = x.mul(x);
    let inner = square.mul_add(all(GELU_TANH_CUBIC), all(1.0));
    let slope = square.mul_add(all(3.0 * GELU_TANH_CUBIC), all(1.0)).mul(all(GELU_TANH_SCALE));
    let (y, rest) = sigmoid_and_rest(inner.mul(x).mul(all(GELU_TANH_SCALE)));
    y.mul(x.mul(slope).mul_add(rest, all(1.0))).mul(g)
});

slot_function!(Erf();
    |x| functions::erf(x);
    |x, g| functions::exp(x.mul(x).neg()).mul(all(FRAC_2_SQRT_PI)).mul(g));

slot_function!(Silu();
|x| x.mul(functions::sigmoid(x));
|x, g| {
    let (y, rest) = sigmoid_and_rest(x);
    y.mul(x.mul_add(rest, all(1.0))).mul(g)
});

slot_function!(Square(); |x| x.mul(x); |x, g| x.add(x).mul(g));

/// Twice `sqrt(2 / pi)`: the tangent's argument is that of a sigmoid halved.
const GELU_TANH_SCALE: f64 = 2.0 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// The cubic term of the argument beside its linear one.
const GELU_TANH_CUBIC: f64 = 0.044715;

/// The logistic function, and 1 less it.
#[inline(always)]
fn sigmoid_and_rest<T: Element, S: Simd<T>>(x: S) -> (S, S) {
    let y = functions::sigmoid(x);
    (y, all::<T, S>(1.0).sub(y))
}

/// `size` with the sign of `x`, and zero where that is zero.
#[inline(always)]
fn with_sign<T: Element, S: Simd<T>>(x: S, size: S) -> S {
    let zero = all(0.0);
    x.if_above(zero, size, zero.if_above(x, size.neg(), zero))
}
