//! Where the samples of a run lie in each value, as long as nothing of one goes into another.

use super::{Network, Op, Value};
use crate::tensor::Shape;

/// How a value hangs on the samples of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// Not at all.
    Shared,
    /// Each element is of one sample, which its place along an axis says.
    Each(Place),
    /// In some other way.
    Mixed,
}

/// Index i along `axis` is of sample `i / per`, modulo the batch: an axis of the batch's size with `per`
/// neighbours a sample, or also one that axes before it were merged into, where the samples come over and
/// over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    axis: usize,
    per: usize,
}

/// A row for each sample in front, as inputs and outputs have them.
const FRONT: Place = Place { axis: 0, per: 1 };

impl Network {
    /// For each value, whether its rows are those of the samples, each of one alone: then several runs
    /// of this batch give for each sample what it gives in any of them. What is said where that is not
    /// certain is no, and so it is where a run changes what the next one reads.
    pub(crate) fn by_sample(&self, shapes: &[Shape], batch: usize) -> Vec<bool> {
        if self.values().any(|value| self.is_step(value)) {
            return vec![false; shapes.len()];
        }
        if batch == 1 {
            // An axis of one sample looks like any of size 1: two samples tell them apart. Where a
            // network takes no two, a run of one sample is all that it is for.
            return match self.shapes(2) {
                Ok(shapes) => self.by_sample(&shapes, 2),
                Err(_) => vec![true; shapes.len()],
            };
        }
        let mut rows: Vec<Rows> = Vec::with_capacity(shapes.len());
        for value in self.values() {
            let operand = |v: &Value| Operand {
                rows: rows[v.0],
                shape: &shapes[v.0],
                op: &self.node(*v).op,
            };
            let node = self.node(value);
            let operands: Vec<Operand<'_>> = node.operands.iter().map(operand).collect();
            rows.push(of(&node.op, &operands, &shapes[value.0], batch));
        }
        let in_front = |(rows, shape): (Rows, &Shape)| {
            rows == Rows::Each(FRONT) && shape.first() == Some(&batch)
        };
        let mut apart: Vec<bool> = rows.into_iter().zip(shapes).map(in_front).collect();
        for value in &self.meeting {
            apart[value.0] = false;
        }
        apart
    }
}

#[derive(Clone, Copy)]
struct Operand<'a> {
    rows: Rows,
    shape: &'a Shape,
    op: &'a Op,
}

impl Operand<'_> {
    /// Whether it is the same for all samples that lie there: where it repeats, or as constants made for
    /// a batch may be.
    fn alike(&self, Place { axis, per }: Place, batch: usize) -> bool {
        if self.shape[axis] == 1 {
            return true;
        }
        let Op::Constant { values, .. } = self.op else {
            return false;
        };
        let one: usize = self.shape[axis + 1..].iter().product::<usize>() * per;
        (values.chunks(one.max(1) * batch)).all(|all| {
            let mut samples = all.chunks(one.max(1));
            let first = samples.next();
            samples.all(|sample| Some(sample) == first)
        })
    }
}

fn of(op: &Op, operands: &[Operand<'_>], shape: &Shape, batch: usize) -> Rows {
    match op {
        // What is dropped hangs on the run, but not on another sample.
        Op::Input { .. } | Op::DropoutMask { .. } => return Rows::Each(FRONT),
        _ if operands.iter().all(|x| x.rows == Rows::Shared) => return Rows::Shared,
        _ if operands.iter().any(|x| x.rows == Rows::Mixed) => return Rows::Mixed,
        _ => {}
    }
    // What becomes of an axis of the first operand, the only one with samples.
    let first = |to: &dyn Fn(usize) -> Option<usize>| {
        let alone = operands[1..].iter().all(|x| x.rows == Rows::Shared);
        match operands[0].rows {
            Rows::Each(Place { axis, per }) if alone => {
                to(axis).map_or(Rows::Mixed, |axis| Rows::Each(Place { axis, per }))
            }
            _ => Rows::Mixed,
        }
    };
    let kept = |stays: bool, axis: usize| stays.then_some(axis);
    match op {
        Op::Linear { .. } | Op::Multiply | Op::Divide | Op::MapGradient { .. } => {
            let missing = |nth: usize| shape.len() - operands[nth].shape.len();
            meeting(operands, batch, |nth, axis| Some(missing(nth) + axis))
        }
        Op::Scale { .. } | Op::Map { .. } | Op::Clip { .. } | Op::Polynomial { .. } => first(&Some),
        Op::Conv2d(_) => first(&|axis| kept(axis == 0, axis)),
        Op::Pool { .. } => first(&|axis| kept(axis < 2, axis)),
        &Op::MatMul {
            transpose_a,
            transpose_b,
        } => meeting(operands, batch, |nth, axis| {
            let (rank, transposed) = (operands[nth].shape.len(), [transpose_a, transpose_b][nth]);
            // Rows of the left operand and columns of the right one are the product's.
            let outer = if transposed == (nth == 0) { 1 } else { 2 };
            match axis {
                _ if axis + 2 < rank => Some(axis),
                _ if axis + outer == rank => Some(shape.len() - 2 + nth),
                _ => None,
            }
        }),
        Op::Reduce { axes, keep, .. } => first(&|axis| match axis {
            _ if axes.contains(&axis) => None,
            _ if *keep || axis < axes.start => Some(axis),
            _ => Some(axis - axes.len()),
        }),
        Op::Softmax { .. } => first(&|axis| kept(axis + 1 < shape.len(), axis)),
        Op::Reshape { .. } => match operands[0].rows {
            Rows::Each(place) => reshaped(place, operands[0].shape, shape, batch),
            rows => rows,
        },
        Op::Transpose { permutation } => {
            first(&|axis| permutation.iter().position(|&from| from == axis))
        }
        Op::Concat { axis: along } => {
            meeting(operands, batch, |_, axis| kept(axis != *along, axis))
        }
        Op::Slice { axis: along, .. } => first(&|axis| kept(axis != *along, axis)),
        Op::Pad { padding } => first(&|axis| kept(padding[axis] == [0; 2], axis)),
        _ => Rows::Mixed,
    }
}

/// Operands of which the samples of all meet in the result, each with itself: `to` says which axis of the
/// result an operand's is. Those without samples are alike for all.
fn meeting(
    operands: &[Operand<'_>],
    batch: usize,
    to: impl Fn(usize, usize) -> Option<usize>,
) -> Rows {
    let mut met = None;
    for (nth, operand) in operands.iter().enumerate() {
        if let Rows::Each(Place { axis, per }) = operand.rows {
            let Some(axis) = to(nth, axis) else {
                return Rows::Mixed;
            };
            let place = Place { axis, per };
            if *met.get_or_insert(place) != place {
                return Rows::Mixed;
            }
        }
    }
    let Some(met) = met else {
        return Rows::Shared;
    };
    for (nth, operand) in operands.iter().enumerate() {
        let axis = (0..operand.shape.len()).find(|&axis| to(nth, axis) == Some(met.axis));
        if let (Rows::Shared, Some(axis)) = (operand.rows, axis)
            && !operand.alike(Place { axis, ..met }, batch)
        {
            return Rows::Mixed;
        }
    }
    Rows::Each(met)
}

/// Where samples lie in another shape. Elements keep their order, in which so many neighbours are of a
/// sample and then as many of the next: that is an axis wherever one has whole samples' worth of what it
/// steps over.
fn reshaped(place: Place, from: &Shape, to: &Shape, batch: usize) -> Rows {
    let after = |shape: &Shape, axis: usize| shape[axis + 1..].iter().product::<usize>();
    let neighbours = after(from, place.axis) * place.per;
    let found = (0..to.len()).find_map(|axis| {
        let step = after(to, axis);
        let per = neighbours.checked_div(step)?;
        let whole = per > 0 && neighbours == per * step && to[axis].is_multiple_of(per * batch);
        whole.then_some(Place { axis, per })
    });
    found.map_or(Rows::Mixed, Rows::Each)
}
