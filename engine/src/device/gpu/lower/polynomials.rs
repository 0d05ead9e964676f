//! Polynomials and their gradients.

use furthermore_kernels_cpu::KernelError;
use furthermore_shaders::Constant;

use super::{Lowered, Lowering, Share, WORKGROUP};
use crate::error::{Error, Result};
use crate::plan::Region;

/// Elements that an invocation evaluates.
const RUN: usize = 4;
/// Elements of an invocation from which on the sums of their products are cut into chunks.
const CHUNK_RUN: usize = 16;

impl Lowering {
    /// The polynomial or its gradient by the argument: reads the argument and, without constants, the
    /// coefficients.
    pub(super) fn poly_map(
        &self,
        entry: &'static str,
        constants: Option<&[f64]>,
        reads: &[Region],
        y: Region,
    ) -> Result<Lowered> {
        let x = reads[0];
        if self.graded && x.planes > 1 {
            return self.composed(constants, reads, y);
        }
        let mut variant = self
            .variant("poly_map", entry, y.planes)
            .flag("IN_TABLE", constants.is_some())
            .plaintext("x", x.planes < y.planes);
        if let Some(c) = reads.get(1) {
            variant = variant.plaintext("c", c.planes < y.planes);
        }
        let terms = constants.map_or_else(|| reads[1].elements, <[f64]>::len);
        let slots = variant.form.slots() as usize;
        let groups = y.elements.div_ceil(RUN * WORKGROUP);
        let lowered = Lowered::new(variant, groups, RUN * WORKGROUP * terms * slots);
        evaluated(lowered, constants, reads, y)
    }

    /// The polynomial of what is one itself.
    fn composed(&self, constants: Option<&[f64]>, reads: &[Region], y: Region) -> Result<Lowered> {
        let (x, planes) = (reads[0], reads[0].planes as u32);
        let variant = self
            .variant("poly_map_composed", "poly_map_composed", y.planes)
            .flag("IN_TABLE", constants.is_some())
            .constant("X_PLANES", Constant::U32(planes))
            .with_planes("x", planes)
            .with_planes("c", 1);
        let terms = constants.map_or_else(|| reads[1].elements, <[f64]>::len);
        let lowered = self.by_element(variant, y.elements, terms * x.planes * y.planes / 4);
        evaluated(lowered, constants, reads, y)
    }

    /// The gradient by the coefficients: one dispatch that sums all elements, or, of many elements,
    /// one that sums chunks of them and one that sums the chunks. How they are cut depends on their
    /// number alone, so the same numbers give the same bits.
    pub(super) fn poly_map_coefficient_gradient(
        &self,
        g: Region,
        x: Region,
        y: Region,
        share: &Share,
    ) -> Result<Vec<Lowered>> {
        let chunks = x
            .elements
            .div_ceil(CHUNK_RUN * WORKGROUP)
            .clamp(1, WORKGROUP);
        let variant = |entry| {
            self.variant("poly_map", entry, y.planes)
                .flag("IN_TABLE", false)
                .plaintext("x", x.planes < y.planes)
                .plaintext("g", g.planes < y.planes)
        };
        let dispatch = |entry, groups, work| {
            let mut lowered = Lowered::new(variant(entry), groups, work);
            lowered.scratch = if chunks == 1 {
                0
            } else {
                y.elements * y.planes * chunks
            };
            lowered
                .operand("y", y)
                .size("terms", y.elements)?
                .size("chunks", chunks)
        };
        let slots = variant("").form.slots() as usize;
        // Coefficients of a workgroup, as the shader has them.
        let block = (16 / slots).max(4);
        let groups = y.elements.div_ceil(block) * chunks;
        let work = x.elements.div_ceil(chunks) * y.elements * slots;
        let mut dispatches = vec![
            dispatch("poly_map_coefficient_gradient", groups, work)?
                .operand("x", x)
                .operand("g", g)
                .size("len", x.elements)?,
        ];
        if chunks > 1 {
            let work = WORKGROUP * y.planes * slots;
            let entry = "poly_map_coefficient_gradient_of_chunks";
            dispatches.push(dispatch(entry, y.elements, work)?);
        }
        share.keep(dispatches, y.planes * y.elements)
    }
}

/// A polynomial's operands: the argument, coefficients in a table or a tensor, and the result.
fn evaluated(
    lowered: Lowered,
    constants: Option<&[f64]>,
    reads: &[Region],
    y: Region,
) -> Result<Lowered> {
    let lowered = lowered.operand("x", reads[0]).operand("y", y);
    let (lowered, terms) = match constants {
        Some(constants) => (lowered.table(finite(constants)?), constants.len()),
        None => (lowered.operand("c", reads[1]), reads[1].elements),
    };
    lowered.size("len", y.elements)?.size("terms", terms)
}

/// Constants that are finite in single precision.
fn finite(constants: &[f64]) -> Result<&[f64]> {
    match constants.iter().position(|&c| !(c as f32).is_finite()) {
        None => Ok(constants),
        Some(index) => Err(Error::Kernel(KernelError::NotFinite {
            kernel: "poly_map",
            operand: "coefficients",
            index,
        })),
    }
}
