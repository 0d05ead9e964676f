//! Optimiser steps and clipping.

use furthermore::plan::Kernel;

use super::SMALL;
use super::case::{Case, Setup};
use crate::error::Result;

/// Everything of the family.
pub(super) fn cases(setup: &Setup) -> Result<Vec<Case>> {
    let sgd = |momentum| Kernel::Sgd {
        rate: None,
        momentum,
        weight_decay: 0.0,
    };
    let adam = Kernel::Adam {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-6,
        weight_decay: 0.0,
    };
    let clip = Kernel::Clip { limit: 0.5 };
    let step = [SMALL; 3];
    [
        ("update sgd", sgd(0.0), 1, 1),
        ("update sgd momentum", sgd(0.9), 1, 2),
        ("update adam", adam, 1, 3),
        ("update clip", clip, 0, 1),
    ]
    .into_iter()
    .map(|(name, kernel, reads, writes)| {
        setup.one(name, SMALL, &kernel, &step[..reads], &step[..writes])
    })
    .collect()
}
