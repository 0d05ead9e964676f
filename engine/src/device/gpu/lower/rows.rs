//! Reductions along an axis, softmax and losses.

use furthermore_kernels_cpu::reduce::Axis;
use furthermore_shaders::{Form, Variant};

use super::{Lowered, Lowering, Share, WORKGROUP};
use crate::error::Result;
use crate::plan::{Reduction, Region};

/// Workgroups that keep a device busy: axes are cut into pieces where there are fewer.
const BUSY: usize = 256;
/// Numbers that an invocation adds up before it is worth another workgroup.
const PIECE: usize = 32;
/// Invocations that read one cache line together.
const LINE: usize = 32;
/// Multiplications that an exponential and a logarithm take, about.
const EXP_WORK: usize = 32;

/// Invocations that share an element of which `items` are left of an axis.
fn lines(axis: &Axis, items: usize) -> usize {
    // Each takes four numbers along the axis, so that folding does not outweigh them.
    let most = axis
        .length
        .div_ceil(4)
        .clamp(1, WORKGROUP)
        .next_power_of_two();
    if axis.inner == 1 {
        return most;
    }
    // Neighbours read along the inner axes; elements enough for all are not shared.
    let across = axis.inner.clamp(1, LINE).next_power_of_two();
    let idle = (BUSY * WORKGROUP / items.max(1)).max(1).next_power_of_two();
    most.min(WORKGROUP / across).min(idle)
}

/// The axis along the rows of a matrix.
fn along_rows(elements: usize, columns: usize) -> Axis {
    Axis {
        outer: elements.checked_div(columns).unwrap_or(0),
        length: columns,
        inner: 1,
    }
}

/// `1 / count`, and 1 where there is nothing to divide.
fn reciprocal(count: usize) -> f64 {
    1.0 / count.max(1) as f64
}

impl Lowering {
    pub(super) fn reduce(
        &self,
        reduction: Reduction,
        axis: &Axis,
        x: Region,
        y: Region,
        share: &Share,
    ) -> Result<Vec<Lowered>> {
        match reduction {
            Reduction::Sum => self.sum(axis, 1.0, x, y, share),
            Reduction::Mean => {
                let scale = reciprocal(share.terms.unwrap_or(axis.length));
                self.sum(axis, scale, x, y, share)
            }
            Reduction::Max => {
                let variant = self.variant("reduce", "maximum", y.planes);
                let slots = variant.form.slots() as usize;
                let lowered = self.along(variant, axis, axis.reduced(), y.planes)?;
                let lowered = lowered.operand("x", x).operand("y", y);
                share.keep(vec![lowered], slots * y.elements)
            }
        }
    }

    pub(super) fn max_gradient(
        &self,
        axis: &Axis,
        x: Region,
        gradient: Region,
        y: Region,
    ) -> Result<Lowered> {
        let variant = self.variant("reduce", "max_gradient", y.planes);
        let lowered = self.along(variant, axis, axis.reduced(), 2 * y.planes)?;
        Ok(lowered
            .operand("x", x)
            .operand("gradient", gradient)
            .operand("y", y))
    }

    /// A reduction whose invocations share each of `items` elements, with so many multiplications
    /// for each number they read.
    fn along(&self, variant: Variant, axis: &Axis, items: usize, work: usize) -> Result<Lowered> {
        let lines = lines(axis, items);
        let elements = WORKGROUP / lines;
        let work = elements.saturating_mul(axis.length).saturating_mul(work);
        Lowered::new(variant, items.div_ceil(elements), work)
            .size("outer", axis.outer)?
            .size("length", axis.length)?
            .size("inner", axis.inner)?
            .size("len", axis.reduced())?
            .size("lines", lines)
    }

    /// Planes one by one, each element of what is left `scale` times its sum. Where few are left of
    /// a long axis, workgroups sum pieces of it.
    fn sum(
        &self,
        axis: &Axis,
        scale: f64,
        x: Region,
        y: Region,
        share: &Share,
    ) -> Result<Vec<Lowered>> {
        let items = axis.reduced() * y.planes;
        let mut sum = self.along(self.variant("reduce", "sum", 1), axis, items, 1)?;
        let lines = lines(axis, items);
        let most = (BUSY / sum.groups.max(1)).max(1);
        let wanted = (axis.length / (lines * PIECE)).clamp(1, most);
        let piece = axis.length.div_ceil(wanted).max(1);
        let pieces = axis.length.div_ceil(piece).max(1);
        sum.groups *= pieces;
        sum.work /= pieces;
        let sum = sum
            .operand("x", x)
            .operand("y", y)
            .factor("scale", scale)
            .size("planes", y.planes)?
            .size("pieces", pieces)?
            .size("piece", piece)?;
        self.combined(sum, pieces, scale, y, share)
    }

    /// A command whose workgroups each leave a sum of a piece, with the one that adds these up.
    fn combined(
        &self,
        mut partial: Lowered,
        pieces: usize,
        scale: f64,
        y: Region,
        share: &Share,
    ) -> Result<Vec<Lowered>> {
        let items = y.planes * y.elements;
        if pieces == 1 {
            return share.keep(vec![partial], items);
        }
        partial.scratch = items * pieces;
        let axis = Axis {
            outer: items,
            length: pieces,
            inner: 1,
        };
        let lines = lines(&axis, items);
        let elements = WORKGROUP / lines;
        let variant = self.variant("reduce", "combine", 1);
        let combine = Lowered::new(variant, items.div_ceil(elements), elements * pieces)
            .operand("y", y)
            .factor("scale", scale)
            .size("planes", y.planes)?
            .size("len", y.elements)?
            .size("inner", 1)?
            .size("lines", lines)?
            .size("pieces", pieces)?;
        share.keep(vec![partial, combine], items)
    }

    pub(super) fn softmax(
        &self,
        columns: usize,
        logarithm: bool,
        x: Region,
        y: Region,
    ) -> Result<Lowered> {
        let entry = if logarithm { "log_softmax" } else { "softmax" };
        let axis = along_rows(y.elements, columns);
        let variant = self.variant("reduce", entry, y.planes);
        let lowered = self.along(variant, &axis, axis.outer, 2 * EXP_WORK * y.planes)?;
        Ok(lowered.operand("x", x).operand("y", y))
    }

    pub(super) fn softmax_gradient(
        &self,
        columns: usize,
        logarithm: bool,
        saved: Region,
        gradient: Region,
        y: Region,
    ) -> Result<Lowered> {
        let entry = if logarithm {
            "log_softmax_gradient"
        } else {
            "softmax_gradient"
        };
        let axis = along_rows(y.elements, columns);
        let variant = self.variant("reduce", entry, y.planes);
        let lowered = self.along(variant, &axis, axis.outer, EXP_WORK * y.planes)?;
        Ok(lowered
            .operand("x", saved)
            .operand("gradient", gradient)
            .operand("y", y))
    }

    /// The variant of a kernel on predictions and targets, which may be plaintext for either.
    fn targeted(&self, entry: &'static str, x: Region, targets: Region) -> Variant {
        let variant = self.variant("reduce", entry, x.planes);
        let plain = targets.planes < x.planes && variant.form != Form::Real;
        variant.plaintext("targets", plain)
    }

    pub(super) fn softmax_cross_entropy(
        &self,
        columns: usize,
        [x, targets, y]: [Region; 3],
        share: &Share,
    ) -> Result<Vec<Lowered>> {
        let axis = along_rows(x.elements, columns);
        let variant = self.targeted("softmax_cross_entropy", x, targets);
        let mut loss = self.along(variant, &axis, axis.outer, EXP_WORK * x.planes)?;
        let tiles = loss.groups;
        loss.groups = tiles.clamp(1, BUSY);
        loss.work = loss.work.saturating_mul(tiles.div_ceil(loss.groups));
        let terms = share.terms.unwrap_or(axis.outer);
        self.loss(loss, terms, [x, targets, y], share)
    }

    pub(super) fn softmax_cross_entropy_gradient(
        &self,
        columns: usize,
        [x, targets, y]: [Region; 3],
        share: &Share,
    ) -> Result<Lowered> {
        let axis = along_rows(x.elements, columns);
        let variant = self.targeted("softmax_cross_entropy_gradient", x, targets);
        let lowered = self.along(variant, &axis, axis.outer, 2 * EXP_WORK * x.planes)?;
        Ok(lowered
            .operand("x", x)
            .operand("targets", targets)
            .operand("y", y)
            .factor("scale", reciprocal(share.terms.unwrap_or(axis.outer))))
    }

    /// A loss that is a mean over elements.
    pub(super) fn mean_loss(
        &self,
        entry: &'static str,
        [x, targets, y]: [Region; 3],
        share: &Share,
    ) -> Result<Vec<Lowered>> {
        let groups = x.elements.div_ceil(WORKGROUP * PIECE).clamp(1, BUSY);
        let work = x.elements.div_ceil(groups).saturating_mul(EXP_WORK);
        let variant = self.targeted(entry, x, targets);
        let loss = Lowered::new(variant, groups, work.saturating_mul(x.planes));
        let loss = loss.size("len", x.elements)?;
        let terms = share.terms.unwrap_or(x.elements);
        self.loss(loss, terms, [x, targets, y], share)
    }

    /// A loss of which each workgroup has a piece: a mean of so many terms.
    fn loss(
        &self,
        loss: Lowered,
        terms: usize,
        [x, targets, y]: [Region; 3],
        share: &Share,
    ) -> Result<Vec<Lowered>> {
        let (pieces, scale) = (loss.groups, reciprocal(terms));
        let loss = loss
            .operand("x", x)
            .operand("targets", targets)
            .operand("y", y)
            .factor("scale", scale)
            .size("pieces", pieces)?;
        self.combined(loss, pieces, scale, y, share)
    }

    pub(super) fn binary_cross_entropy_gradient(
        &self,
        [x, targets, y]: [Region; 3],
        share: &Share,
    ) -> Result<Lowered> {
        let variant = self.targeted("binary_cross_entropy_gradient", x, targets);
        self.by_element(variant, y.elements, EXP_WORK * y.planes)
            .operand("x", x)
            .operand("targets", targets)
            .operand("y", y)
            .factor("scale", reciprocal(share.terms.unwrap_or(x.elements)))
            .size("len", y.elements)
    }
}
