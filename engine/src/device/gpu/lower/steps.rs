//! Optimiser steps, and what limits gradients before them.

use furthermore_shaders::Variant;

use super::{AtRun, Lowered, Lowering, WORKGROUP};
use crate::error::Result;
use crate::plan::Region;

impl Lowering {
    fn update(&self, entry: &'static str, planes: usize, velocity: bool) -> Variant {
        self.variant("update", entry, planes)
            .flag("HAS_VELOCITY", velocity)
    }

    /// Plane by plane, whatever their count.
    pub(super) fn sgd(
        &self,
        rate: Option<f64>,
        [momentum, weight_decay]: [f64; 2],
        gradient: Region,
        parameter: Region,
        velocity: Option<Region>,
    ) -> Result<Lowered> {
        let variant = self.update("sgd", 1, velocity.is_some());
        let groups = parameter.planes * parameter.elements.div_ceil(WORKGROUP);
        let mut lowered = Lowered::new(variant, groups, WORKGROUP)
            .operand("gradient", gradient)
            .operand("parameter", parameter)
            .factor("momentum", momentum)
            .factor("weight_decay", weight_decay);
        lowered = match rate {
            Some(rate) => lowered.factor("rate", -rate),
            None => lowered.at_run("rate", AtRun::SgdRate),
        };
        if let Some(velocity) = velocity {
            lowered = lowered.operand("velocity", velocity);
        }
        lowered
            .size("planes", parameter.planes)?
            .size("len", parameter.elements)
    }

    pub(super) fn adam(
        &self,
        [beta1, beta2]: [f64; 2],
        epsilon: f64,
        weight_decay: f64,
        gradient: Region,
        [parameter, moment, root]: [Region; 3],
    ) -> Result<Lowered> {
        let variant = self.update("adam", parameter.planes, false);
        self.by_element(variant, parameter.elements, 8 * parameter.planes)
            .operand("gradient", gradient)
            .operand("parameter", parameter)
            .operand("moment", moment)
            .operand("root", root)
            .factor("weight_decay", weight_decay)
            .factor("beta1", beta1)
            .factor("rest1", 1.0 - beta1)
            .factor("beta2", beta2)
            .factor("rest2", 1.0 - beta2)
            .factor("epsilon", epsilon)
            .at_run("rate", AtRun::AdamRate { beta1 })
            .at_run("scale", AtRun::AdamScale { beta2 })
            .size("len", parameter.elements)
    }

    pub(super) fn clip(&self, limit: f64, gradient: Region) -> Result<Lowered> {
        let variant = self.update("clip", gradient.planes, false);
        self.by_element(variant, gradient.elements, gradient.planes)
            .operand("parameter", gradient)
            .factor("limit", limit)
            .size("len", gradient.elements)
    }
}
