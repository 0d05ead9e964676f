//! Kernels with one invocation an element.

use furthermore_kernels_cpu::function_map::Function;

use super::{Lowered, Lowering};
use crate::error::Result;
use crate::plan::Region;

/// Multiplications that a function's value takes, about.
const FUNCTION_WORK: usize = 32;

impl Lowering {
    pub(super) fn function_map(
        &self,
        function: Function,
        x: Option<Region>,
        y: Region,
    ) -> Result<Lowered> {
        let variant = self
            .variant("function_map", "function_map", y.planes)
            .flag("IN_PLACE", x.is_none());
        let mut lowered = self
            .by_element(variant, y.elements, FUNCTION_WORK * y.planes)
            .function(Some(function))
            .operand("y", y);
        if let Some(x) = x {
            lowered = lowered.operand("x", x);
        }
        lowered.size("len", y.elements)
    }

    pub(super) fn function_map_gradient(
        &self,
        function: Function,
        saved: Region,
        gradient: Region,
    ) -> Result<Lowered> {
        let variant = self
            .variant("function_map", "function_map_gradient", gradient.planes)
            .flag("IN_PLACE", true);
        self.by_element(variant, gradient.elements, FUNCTION_WORK * gradient.planes)
            .function(Some(function))
            .operand("x", saved)
            .operand("y", gradient)
            .size("len", gradient.elements)
    }

    pub(in super::super) fn slot_maxima(&self, x: Region) -> Result<Lowered> {
        let variant = self.variant("reduce", "slot_maxima", x.planes);
        self.by_element(variant, x.elements, x.planes)
            .operand("x", x)
            .size("len", x.elements)
    }
}
