//! Optimiser steps and clipping.

use furthermore_kernels_cpu::Element;
use furthermore_kernels_cpu::update::{self, Adam};

use super::pass::Pass;
use super::{Case, SMALL, Setup};

const ADAM: Adam = Adam {
    learning_rate: 1e-6,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-6,
    weight_decay: 0.0,
};

/// Everything of the family.
pub(super) fn cases<T: Element>(setup: &Setup) -> Vec<Case> {
    let step = |remembered| Pass {
        a: SMALL,
        y: SMALL,
        in_place: true,
        remembered,
        ..Pass::default()
    };
    let clip = Pass { a: 0, ..step(0) };
    vec![
        step(0).case::<T, _>(setup, "update sgd", SMALL, |t| {
            let (g, p) = (t.a.view()?, &mut t.y.view_mut()?);
            update::sgd(&t.exec, 1e-6, 0.0, g, p, None)
        }),
        step(1).case::<T, _>(setup, "update sgd momentum", SMALL, |t| {
            let (g, p) = (t.a.view()?, &mut t.y.view_mut()?);
            let velocity = &mut t.memory[0].view_mut()?;
            update::sgd(&t.exec, 1e-6, 0.0, g, p, Some((0.9, velocity)))
        }),
        step(2).case::<T, _>(setup, "update adam", SMALL, |t| {
            let (g, p) = (t.a.view()?, &mut t.y.view_mut()?);
            let [moment, root] = &mut t.memory;
            let (moment, root) = (&mut moment.view_mut()?, &mut root.view_mut()?);
            update::adam(&t.exec, &t.arithmetic, &ADAM, 1, g, p, moment, root)
        }),
        clip.case::<T, _>(setup, "update clip", SMALL, |t| {
            update::clip(&t.exec, &t.arithmetic, 0.5, &mut t.y.view_mut()?)
        }),
    ]
}
