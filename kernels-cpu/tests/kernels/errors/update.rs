//! What optimiser steps and clipping refuse.

use super::{EXEC, compact, ones, out, refused, untouched};
use furthermore_kernels_cpu::update::{Adam, adam, clip, sgd};
use furthermore_kernels_cpu::{Planes, PlanesMut};

#[test]
fn updates() {
    let name = |operand| ("update", operand);
    let step = |gradient: (usize, usize), velocity: (usize, usize)| {
        let gradient = ones(gradient.0, gradient.1);
        let (mut velocity, mut parameter) = (out(velocity.0, velocity.1), out(2, 6));
        let outcome = sgd(
            &EXEC,
            0.1,
            0.0,
            gradient.view(),
            &mut parameter.view_mut(),
            Some((0.9, &mut velocity.view_mut())),
        );
        untouched(&velocity);
        untouched(&parameter);
        outcome
    };
    refused(step((1, 6), (2, 6)), name("gradient"), true, (2, 1));
    refused(step((2, 5), (2, 6)), name("gradient"), false, (6, 5));
    refused(step((2, 6), (3, 6)), name("velocity"), true, (2, 3));
    refused(step((2, 6), (2, 7)), name("velocity"), false, (6, 7));
    let compact = compact();
    let arithmetic = &compact.arithmetic;
    let options = Adam {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.9,
        epsilon: 1e-6,
        weight_decay: 0.0,
    };
    let step = |sizes: [(usize, usize); 4]| {
        let gradient = ones(sizes[0].0, sizes[0].1);
        let [mut w, mut m, mut u] = [1, 2, 3].map(|i| out(sizes[i].0, sizes[i].1));
        let outcome = adam(
            &EXEC,
            arithmetic,
            &options,
            1,
            gradient.view(),
            &mut w.view_mut(),
            &mut m.view_mut(),
            &mut u.view_mut(),
        );
        [w, m, u].iter().for_each(untouched);
        outcome
    };
    let fits = (2, 6);
    refused(step([(3, 6); 4]), name("parameter"), true, (1, 3));
    refused(
        step([(1, 6), fits, fits, fits]),
        name("gradient"),
        true,
        (2, 1),
    );
    refused(
        step([(2, 5), fits, fits, fits]),
        name("gradient"),
        false,
        (6, 5),
    );
    refused(
        step([fits, fits, (2, 7), fits]),
        name("first moment"),
        false,
        (6, 7),
    );
    refused(
        step([fits, fits, fits, (1, 6)]),
        name("second root"),
        true,
        (2, 1),
    );
    let mut gradient = out(3, 6);
    let outcome = clip(&EXEC, arithmetic, 1.0, &mut gradient.view_mut());
    refused(outcome, name("gradient"), true, (1, 3));
    untouched(&gradient);
}

/// Any number of planes without an element, and any length without a plane, is nothing to step.
#[test]
fn absurd_sizes() {
    for (planes, len) in [(usize::MAX, 0), (0, usize::MAX)] {
        let gradient = Planes::<f32>::new(&[], planes, usize::MAX, len).expect("it is empty");
        let mut parameter = PlanesMut::new(&mut [], planes, usize::MAX, len).expect("as above");
        let outcome = sgd(&EXEC, 0.1, 0.0, gradient, &mut parameter, None);
        assert_eq!(outcome, Ok(true));
    }
}
