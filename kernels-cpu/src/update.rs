//! Optimiser steps, in place on parameters. All are linear, so planes are stepped one by one.

use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots;
use crate::threads::Exec;

const NAME: &str = "update";

/// Stochastic gradient descent: `parameter -= learning_rate gradient`, or with a velocity
/// `velocity = momentum velocity + gradient`, then `parameter -= learning_rate velocity`. Returns
/// whether every stepped parameter is finite.
///
/// # Errors
/// When planes or lengths differ.
pub fn sgd<T: Element>(
    exec: &Exec,
    learning_rate: f64,
    gradient: Planes<'_, T>,
    parameter: &mut PlanesMut<'_, T>,
    velocity: Option<(f64, &mut PlanesMut<'_, T>)>,
) -> Result<bool, KernelError> {
    let (planes, len) = (parameter.count(), parameter.len());
    gradient.expect(NAME, "gradient", &[planes], len)?;
    if let Some((_, velocity)) = &velocity {
        velocity.expect(NAME, "velocity", &[planes], len)?;
    }
    let step = Sgd {
        rate: T::of(-learning_rate),
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
        let rate = S::splat(self.rate);
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
                        let mut step = S::load_some(g.add(at), count);
                        if let Some((momentum, v)) = v {
                            step = momentum.mul_add(S::load_some(v.add(at), count), step);
                            step.store_some(v.add(at), count);
                        }
                        let w = w.add(at);
                        let stepped = rate.mul_add(step, S::load_some(w, count));
                        stepped.store_some(w, count);
                        // Zero for a finite number, NaN for any other.
                        odd = odd.add(stepped.sub(stepped));
                    }
                },
            );
        }
        odd.lanes().iter().all(|x| *x == T::zero())
    }
}
