//! Sums, means and maxima along an axis, softmax, slot magnitudes, and losses, which are sums over
//! slots.

mod loss;
mod max;
mod softmax;
mod sum;

pub use loss::{
    binary_cross_entropy, binary_cross_entropy_gradient, mean_squared_error, softmax_cross_entropy,
    softmax_cross_entropy_gradient,
};
pub use max::{max, max_gradient};
pub use softmax::{log_softmax, log_softmax_gradient, softmax, softmax_gradient};
pub use sum::{mean, sum};

pub(crate) use loss::Pointwise;
pub(crate) use max::Max;
pub(crate) use softmax::{Softmax, SoftmaxGradient};
pub(crate) use sum::Sum;

use std::ops::Range;

use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::sizes::product;
use crate::slots::{self, Form, SlotMaxima, Watch, WithForm, with_form};
use crate::threads::Exec;

const NAME: &str = "reduce";

/// How a kernel sees the axis it reduces: the input is `[outer, length, inner]`, row-major in each
/// plane, and what is reduced to `[outer, inner]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Elements of the axes before it.
    pub outer: usize,
    /// Elements along it.
    pub length: usize,
    /// Elements of the axes after it.
    pub inner: usize,
}

impl Axis {
    /// Elements of a plane before reducing; sizes past the largest number are the largest.
    pub fn full(&self) -> usize {
        product(&[self.outer, self.length, self.inner])
    }

    /// Elements of a plane that are left.
    pub fn reduced(&self) -> usize {
        product(&[self.outer, self.inner])
    }

    /// Whether there is something along the axis to take a mean or a maximum of.
    ///
    /// # Errors
    /// When there is not, and something is left to write.
    pub fn expect_elements(&self) -> Result<(), KernelError> {
        if self.length == 0 && self.reduced() > 0 {
            return Err(KernelError::Length {
                kernel: NAME,
                operand: "axis",
                needs: 1,
                has: 0,
            });
        }
        Ok(())
    }
}

/// Folds all lanes into one number, by halves.
#[inline(always)]
fn fold_lanes<T: Element, S: Simd<T>>(x: S, fold: impl Fn(T, T) -> T) -> T {
    let mut lanes = x.lanes();
    let mut half = S::LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = fold(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The sum of all lanes.
#[inline(always)]
fn sum_lanes<T: Element, S: Simd<T>>(x: S) -> T {
    fold_lanes(
        x,
        #[inline(always)]
        |a, b| a + b,
    )
}

/// The largest lane, in every lane. None may be NaN.
#[inline(always)]
fn max_lanes<T: Element, S: Simd<T>>(x: S) -> S {
    S::splat(fold_lanes(
        x,
        #[inline(always)]
        |a, b| if a > b { a } else { b },
    ))
}

/// Writes element `at`, whose slots are in the first lanes.
///
/// # Safety
/// The element is the caller's to write.
#[inline(always)]
unsafe fn put<T: Element, S: Simd<T>, F, const D: usize, const N: usize>(
    form: &F,
    output: &RawPlanes<T>,
    at: usize,
    slots: &[S; N],
) where
    F: Form<T, S, D, N>,
{
    // SAFETY: the caller's promise.
    unsafe { slots::store(output, form.dim(), at, 1, &form.join(slots)) };
}

/// The magnitudes of a tensor's slots, for the mask guard.
///
/// # Errors
/// When the planes are neither plaintext nor ciphertexts of `arithmetic`.
pub fn slot_maxima<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    values: Planes<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    let planes = [1, arithmetic.ciphertext(values.count())];
    values.expect(NAME, "values", &planes, values.len())?;
    // Each coefficient of a polynomial is an element of its own.
    let each = values.count().min(arithmetic.dim());
    let of_coefficient = |nth: usize| {
        let planes = values.raw().some(nth * each, each);
        exec.spans(
            values.len(),
            exec.isa.lanes::<T>(),
            each * size_of::<T>(),
            |range| {
                let body = Maxima {
                    arithmetic,
                    planes,
                    range,
                };
                T::run_maxima(exec.isa, body)
            },
            SlotMaxima::merge,
        )
    };
    let coefficients = 0..values.count() / each;
    Ok(coefficients
        .map(of_coefficient)
        .fold(SlotMaxima::NONE, SlotMaxima::merge))
}

pub(crate) struct Maxima<'a, T> {
    arithmetic: &'a Arithmetic,
    planes: RawPlanes<T>,
    range: Range<usize>,
}

impl<T: Element> WithSimd<T> for Maxima<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.planes.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Maxima<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let mut watch = Watch::<S, N>::new();
        let start = self.range.start;
        slots::sweep(
            self.range.len(),
            S::LANES,
            #[inline(always)]
            |i, count| {
                // SAFETY: `slot_maxima` checked that the planes have these elements.
                let c =
                    unsafe { slots::load::<T, S, D>(&self.planes, form.dim(), start + i, count) };
                watch.see(&form.split(&c), form.slots());
            },
        );
        watch.finish(form.slots())
    }
}
