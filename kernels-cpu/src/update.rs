//! Optimiser steps, in place on parameters. All are linear, so planes are stepped one by one.

use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots;
use crate::threads::Exec;

const NAME: &str = "update";

/// Stochastic gradient descent with momentum: `velocity = momentum velocity + gradient`, then
/// `parameter -= learning_rate velocity`.
///
/// # Errors
/// When planes or lengths differ.
pub fn sgd<T: Element>(
    exec: &Exec,
    learning_rate: f64,
    momentum: f64,
    gradient: Planes<'_, T>,
    velocity: &mut PlanesMut<'_, T>,
    parameter: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let (planes, len) = (parameter.count(), parameter.len());
    gradient.expect(NAME, "gradient", &[planes], len)?;
    velocity.expect(NAME, "velocity", &[planes], len)?;
    let step = Sgd {
        learning_rate: T::of(-learning_rate),
        momentum: T::of(momentum),
        gradient: gradient.raw(),
        velocity: velocity.raw(),
        parameter: parameter.raw(),
        at: 0,
        len,
    };
    exec.spans(
        len,
        exec.isa.lanes::<T>(),
        5 * planes * size_of::<T>(),
        |range| {
            exec.isa.run(Sgd {
                at: range.start,
                len: range.len(),
                ..step
            })
        },
        |(), ()| (),
    );
    Ok(())
}

#[derive(Clone, Copy)]
struct Sgd<T> {
    learning_rate: T,
    momentum: T,
    gradient: RawPlanes<T>,
    velocity: RawPlanes<T>,
    parameter: RawPlanes<T>,
    at: usize,
    len: usize,
}

impl<T: Element> WithSimd<T> for Sgd<T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        let (rate, momentum) = (S::splat(self.learning_rate), S::splat(self.momentum));
        for i in 0..self.parameter.count {
            let start = |planes: &RawPlanes<T>| planes.plane(i).wrapping_add(self.at);
            let (g, v, w) = (
                start(&self.gradient),
                start(&self.velocity),
                start(&self.parameter),
            );
            slots::sweep(self.len, S::LANES, |at, count| {
                // SAFETY: `sgd` checked the lengths and gives every thread elements of its own.
                unsafe {
                    let (g, v, w) = (g.add(at), v.add(at), w.add(at));
                    if count == S::LANES {
                        let speed = momentum.mul_add(S::load(v), S::load(g));
                        speed.store(v);
                        rate.mul_add(speed, S::load(w)).store(w);
                    } else {
                        let g = S::load_partial(g, count);
                        let speed = momentum.mul_add(S::load_partial(v, count), g);
                        speed.store_partial(v, count);
                        let w_new = rate.mul_add(speed, S::load_partial(w, count));
                        w_new.store_partial(w, count);
                    }
                }
            });
        }
    }
}
