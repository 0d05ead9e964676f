//! Kernels with one invocation an element.

use furthermore_kernels_cpu::elementwise::{Broadcast, MAX_AXES};
use furthermore_kernels_cpu::function_map::Function;
use furthermore_shaders::Constant;

use super::{Lowered, Lowering};
use crate::error::Result;
use crate::plan::Region;

/// Multiplications that a function's value takes, about.
const FUNCTION_WORK: usize = 32;

/// What shaders call the size of an axis and the steps along it.
const AXES: [[&str; 3]; MAX_AXES] = [
    ["size_0", "a_0", "b_0"],
    ["size_1", "a_1", "b_1"],
    ["size_2", "a_2", "b_2"],
    ["size_3", "a_3", "b_3"],
    ["size_4", "a_4", "b_4"],
    ["size_5", "a_5", "b_5"],
];

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

    pub(super) fn slot_maxima(&self, x: Region) -> Result<Lowered> {
        let variant = self.variant("reduce", "slot_maxima", x.planes);
        self.by_element(variant, x.elements, x.planes)
            .operand("x", x)
            .size("len", x.elements)
    }

    /// A kernel of two operands that may broadcast.
    pub(super) fn elementwise(
        &self,
        entry: &'static str,
        broadcast: &Broadcast,
        reads: &[Region],
        c: Region,
    ) -> Result<Lowered> {
        let (a, b) = (reads[0], reads[1]);
        let axes = broadcast.axes();
        let mut variant = self
            .variant("elementwise", entry, c.planes)
            .with_planes("a", a.planes as u32)
            .with_planes("b", b.planes as u32)
            .constant("AXES", Constant::U32(axes.len() as u32));
        variant.product = Some(self.product(a.planes, b.planes));
        let mut lowered = self
            .by_element(variant, c.elements, c.planes * c.planes)
            .operand("a", a)
            .operand("b", b)
            .operand("c", c)
            .size("len", c.elements)?;
        for (axis, [size, a, b]) in axes.iter().zip(AXES) {
            lowered = lowered
                .size(size, axis.size)?
                .size(a, axis.a)?
                .size(b, axis.b)?;
        }
        Ok(lowered)
    }
}
