//! Optimiser steps, in place on parameters, and what is done to gradients before them. What is linear
//! is done plane by plane, the rest slot by slot.

use std::ops::Range;

use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots::{self, Form, WithForm, with_form};
use crate::threads::Exec;

const NAME: &str = "update";

/// The least [`Adam::epsilon`]: below it, rounding of the other slot decides the step where a
/// slot's gradients are zero.
pub const MIN_EPSILON: f64 = 1e-6;

fn parameter_error<T>(
    parameter: &'static str,
    needs: &'static str,
    has: impl ToString,
) -> Result<T, KernelError> {
    Err(KernelError::Parameter {
        kernel: NAME,
        parameter,
        needs,
        has: has.to_string(),
    })
}

/// Stochastic gradient descent: `step = gradient + weight_decay parameter`, or with a velocity
/// `velocity = momentum velocity + step` and the velocity as step; then
/// `parameter -= learning_rate step`. Returns whether every stepped parameter is finite.
///
/// # Errors
/// When planes or lengths differ.
pub fn sgd<T: Element>(
    exec: &Exec,
    learning_rate: f64,
    weight_decay: f64,
    gradient: Planes<'_, T>,
    parameter: &mut PlanesMut<'_, T>,
    velocity: Option<(f64, &mut PlanesMut<'_, T>)>,
) -> Result<bool, KernelError> {
    let (planes, len) = (parameter.count(), parameter.len());
    gradient.expect(NAME, "gradient", &[planes], len)?;
    if let Some((_, velocity)) = &velocity {
        velocity.expect(NAME, "velocity", &[planes], len)?;
    }
    if parameter.is_empty() {
        return Ok(true);
    }
    let step = Sgd {
        rate: T::of(-learning_rate),
        decay: T::of(weight_decay),
        gradient: gradient.raw(),
        parameter: parameter.raw(),
        velocity: velocity.map(|(momentum, planes)| (T::of(momentum), planes.raw())),
        at: 0,
        len,
    };
    Ok(exec.spans(
        len,
        exec.isa.lanes::<T>(),
        5 * planes * size_of::<T>(),
        |range| {
            T::run_sgd(
                exec.isa,
                Sgd {
                    at: range.start,
                    len: range.len(),
                    ..step
                },
            )
        },
        |a, b| a && b,
    ))
}

#[derive(Clone, Copy)]
pub(crate) struct Sgd<T> {
    rate: T,
    decay: T,
    gradient: RawPlanes<T>,
    parameter: RawPlanes<T>,
    velocity: Option<(T, RawPlanes<T>)>,
    at: usize,
    len: usize,
}

impl<T: Element> WithSimd<T> for Sgd<T> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> bool {
        let mut odd = S::splat(T::zero());
        let (rate, decay) = (S::splat(self.rate), S::splat(self.decay));
        for i in 0..self.parameter.count {
            let start = |planes: &RawPlanes<T>| planes.plane(i).wrapping_add(self.at);
            let (g, w) = (start(&self.gradient), start(&self.parameter));
            let v = self
                .velocity
                .map(|(momentum, planes)| (S::splat(momentum), start(&planes)));
            slots::sweep(
                self.len,
                S::LANES,
                #[inline(always)]
                |at, count| {
                    // SAFETY: `sgd` checked the lengths and gives every thread elements of its own.
                    unsafe {
                        let p = w.add(at);
                        let w = S::load_some(p, count);
                        let mut step = decay.mul_add(w, S::load_some(g.add(at), count));
                        if let Some((momentum, v)) = v {
                            step = momentum.mul_add(S::load_some(v.add(at), count), step);
                            step.store_some(v.add(at), count);
                        }
                        let stepped = rate.mul_add(step, w);
                        stepped.store_some(p, count);
                        odd = odd.add(oddness(stepped));
                    }
                },
            );
        }
        all_finite(odd)
    }
}

/// Zero where a number is finite, NaN where it is not.
#[inline(always)]
fn oddness<T: Element, S: Simd<T>>(x: S) -> S {
    x.sub(x)
}

/// Whether every oddness that was added up is zero.
#[inline(always)]
fn all_finite<T: Element, S: Simd<T>>(odd: S) -> bool {
    odd.lanes().iter().all(|x| *x == T::zero())
}

/// What an [`adam`] step is made with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Length of a step where gradients agree.
    pub learning_rate: f64,
    /// Decay of the first moment, in 0..1.
    pub beta1: f64,
    /// Decay of the second moment, in 0..1.
    pub beta2: f64,
    /// Added to the second moment's root; at least [`MIN_EPSILON`].
    pub epsilon: f64,
    /// Multiple of the parameter that is added to its gradient.
    pub weight_decay: f64,
}

impl Adam {
    /// Whether these numbers make a step; [`adam`] asks.
    ///
    /// # Errors
    /// When a decay is outside 0..1 or epsilon too small.
    pub fn check(&self) -> Result<(), KernelError> {
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return parameter_error(name, "a number of 0..1", beta);
            }
        }
        if !(MIN_EPSILON..f64::INFINITY).contains(&self.epsilon) {
            return parameter_error("epsilon", "at least 1e-6", self.epsilon);
        }
        Ok(())
    }
}

/// Step `step` (the first is 1) of Adam (Kingma and Ba, arXiv:1412.6980), as PyTorch computes it:
///
/// ```text
/// g = gradient + weight_decay parameter
/// m = beta1 m + (1 - beta1) g
/// u = sqrt(beta2 u^2 + (1 - beta2) g^2)
/// parameter -= learning_rate (m / (1 - beta1^step)) / (u / sqrt(1 - beta2^step) + epsilon)
/// ```
///
/// `first_moment` is m. `second_root` is u, the root of the second moment, and formed slot by slot:
/// a second moment kept as a ciphertext would go below zero by rounding. Both start as zeros.
/// Returns whether the stepped parameters and both moments are finite.
///
/// # Errors
/// When planes or lengths differ, `step` is 0, a decay is outside 0..1 or epsilon too small.
pub fn adam<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    options: &Adam,
    step: u64,
    gradient: Planes<'_, T>,
    parameter: &mut PlanesMut<'_, T>,
    first_moment: &mut PlanesMut<'_, T>,
    second_root: &mut PlanesMut<'_, T>,
) -> Result<bool, KernelError> {
    if step == 0 {
        return parameter_error("step", "at least 1", step);
    }
    options.check()?;
    let (planes, len) = (parameter.count(), parameter.len());
    parameter.expect(NAME, "parameter", &[1, arithmetic.dim()], len)?;
    gradient.expect(NAME, "gradient", &[planes], len)?;
    first_moment.expect(NAME, "first moment", &[planes], len)?;
    second_root.expect(NAME, "second root", &[planes], len)?;
    let correction = |beta: f64| 1.0 - beta.powf(step as f64);
    let constants = Constants {
        rate: T::of(-options.learning_rate / correction(options.beta1)),
        beta1: T::of(options.beta1),
        rest1: T::of(1.0 - options.beta1),
        beta2: T::of(options.beta2),
        rest2: T::of(1.0 - options.beta2),
        root: T::of(1.0 / correction(options.beta2).sqrt()),
        epsilon: T::of(options.epsilon),
        decay: T::of(options.weight_decay),
    };
    let (gradient, parameter) = (gradient.raw(), parameter.raw());
    let (moment, root) = (first_moment.raw(), second_root.raw());
    Ok(exec.spans(
        len,
        exec.isa.lanes::<T>(),
        7 * planes * size_of::<T>(),
        |range| {
            let body = AdamStep {
                arithmetic,
                constants,
                gradient,
                parameter,
                moment,
                root,
                range,
            };
            T::run_adam(exec.isa, body)
        },
        |a, b| a && b,
    ))
}

#[derive(Clone, Copy)]
struct Constants<T> {
    /// Minus the learning rate over the first moment's correction.
    rate: T,
    beta1: T,
    rest1: T,
    beta2: T,
    rest2: T,
    /// One over the root's correction.
    root: T,
    epsilon: T,
    decay: T,
}

pub(crate) struct AdamStep<'a, T> {
    arithmetic: &'a Arithmetic,
    constants: Constants<T>,
    gradient: RawPlanes<T>,
    parameter: RawPlanes<T>,
    moment: RawPlanes<T>,
    root: RawPlanes<T>,
    range: Range<usize>,
}

impl<T: Element> WithSimd<T> for AdamStep<'_, T> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> bool {
        with_form::<T, S, _>(self.arithmetic, self.parameter.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for AdamStep<'_, T> {
    type Output = bool;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> bool {
        let dim = form.dim();
        let c = self.constants;
        let mut odd = S::splat(T::zero());
        slots::sweep(
            self.range.len(),
            S::LANES,
            #[inline(always)]
            |i, lanes| {
                let at = self.range.start + i;
                // SAFETY: `adam` checked the lengths and gives every thread elements of its own.
                let (mut w, mut g, mut m, u): ([S; D], [S; D], [S; D], [S; D]) = unsafe {
                    (
                        slots::load(&self.parameter, dim, at, lanes),
                        slots::load(&self.gradient, dim, at, lanes),
                        slots::load(&self.moment, dim, at, lanes),
                        slots::load(&self.root, dim, at, lanes),
                    )
                };
                for p in 0..dim {
                    g[p] = S::splat(c.decay).mul_add(w[p], g[p]);
                    m[p] = S::splat(c.beta1).mul_add(m[p], S::splat(c.rest1).mul(g[p]));
                }
                let (g, mut step, mut u) = (form.split(&g), form.split(&m), form.split(&u));
                for k in 0..form.slots() {
                    let square = S::splat(c.rest2).mul(g[k].mul(g[k]));
                    let square = S::splat(c.beta2).mul_add(u[k].mul(u[k]), square);
                    u[k] = square.sqrt();
                    let least = S::splat(c.epsilon);
                    step[k] = step[k].div(S::splat(c.root).mul_add(u[k], least));
                    odd = odd.add(oddness(u[k]));
                }
                let (step, u) = (form.join(&step), form.join(&u));
                for p in 0..dim {
                    w[p] = S::splat(c.rate).mul_add(step[p], w[p]);
                    odd = odd.add(oddness(w[p])).add(oddness(m[p]));
                }
                // SAFETY: as above.
                unsafe {
                    slots::store(&self.parameter, dim, at, lanes, &w);
                    slots::store(&self.moment, dim, at, lanes, &m);
                    slots::store(&self.root, dim, at, lanes, &u);
                }
            },
        );
        all_finite(odd)
    }
}

/// Limits each slot of a gradient to `-limit..=limit`, in place. Returns whether the result is
/// finite.
///
/// # Errors
/// When the planes are neither plaintext nor ciphertexts of `arithmetic`, or the limit is not above
/// zero.
pub fn clip<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    limit: f64,
    gradient: &mut PlanesMut<'_, T>,
) -> Result<bool, KernelError> {
    if limit.is_nan() || limit <= 0.0 {
        return parameter_error("limit", "a number above 0", limit);
    }
    let (planes, len) = (gradient.count(), gradient.len());
    gradient.expect(NAME, "gradient", &[1, arithmetic.dim()], len)?;
    let (limit, gradient) = (T::of(limit), gradient.raw());
    Ok(exec.spans(
        len,
        exec.isa.lanes::<T>(),
        2 * planes * size_of::<T>(),
        |range| {
            let body = Clip {
                arithmetic,
                limit,
                gradient,
                range,
            };
            T::run_clip(exec.isa, body)
        },
        |a, b| a && b,
    ))
}

pub(crate) struct Clip<'a, T> {
    arithmetic: &'a Arithmetic,
    limit: T,
    gradient: RawPlanes<T>,
    range: Range<usize>,
}

impl<T: Element> WithSimd<T> for Clip<'_, T> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> bool {
        with_form::<T, S, _>(self.arithmetic, self.gradient.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Clip<'_, T> {
    type Output = bool;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> bool {
        let (low, zero) = (S::splat(-self.limit), S::splat(T::zero()));
        let mut odd = zero;
        slots::sweep(
            self.range.len(),
            S::LANES,
            #[inline(always)]
            |i, lanes| {
                let at = self.range.start + i;
                // SAFETY: `clip` checked the length and gives every thread elements of its own.
                let c: [S; D] = unsafe { slots::load(&self.gradient, form.dim(), at, lanes) };
                let mut g = form.split(&c);
                for k in 0..form.slots() {
                    // In this order `max` lets NaN through.
                    let raised = low.max(g[k]);
                    g[k] = zero.sub(low.max(zero.sub(raised)));
                    odd = odd.add(oddness(g[k]));
                }
                let c = form.join(&g);
                // SAFETY: as above.
                unsafe { slots::store(&self.gradient, form.dim(), at, lanes, &c) };
            },
        );
        all_finite(odd)
    }
}
