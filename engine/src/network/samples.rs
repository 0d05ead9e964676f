//! Which values have a row, or some rows, of each sample that nothing of another sample goes into.

use super::{Network, Op};
use crate::tensor::Shape;

/// How a value hangs on the samples of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// Not at all.
    Shared,
    /// Along the first axis so many rows are of each sample, one sample after the other.
    Each(usize),
    /// In some other way.
    Mixed,
}

impl Network {
    /// For each value, whether its rows are those of the samples, each of one alone: then a run of
    /// more samples gives the same as several of fewer. What is said where that is not certain is no.
    pub(crate) fn by_sample(&self, shapes: &[Shape], batch: usize) -> Vec<bool> {
        let mut rows: Vec<Rows> = Vec::with_capacity(shapes.len());
        for value in self.values() {
            let node = self.node(value);
            let operands: Vec<Operand<'_>> = (node.operands.iter())
                .map(|v| Operand {
                    rows: rows[v.0],
                    shape: &shapes[v.0],
                    alike: alike(&self.node(*v).op),
                })
                .collect();
            rows.push(of(&node.op, &operands, &shapes[value.0], batch));
        }
        rows.into_iter().map(|rows| rows == Rows::Each(1)).collect()
    }
}

#[derive(Clone, Copy)]
struct Operand<'a> {
    rows: Rows,
    shape: &'a Shape,
    /// It is the same along the first axis, as constants made for a batch may be.
    alike: bool,
}

fn of(op: &Op, operands: &[Operand<'_>], shape: &Shape, batch: usize) -> Rows {
    match op {
        Op::Input { .. } | Op::DropoutMask { .. } => return Rows::Each(1),
        _ if operands.iter().all(|x| x.rows == Rows::Shared) => return Rows::Shared,
        _ if operands.iter().any(|x| x.rows == Rows::Mixed) => return Rows::Mixed,
        _ => {}
    }
    // The first operand's rows stay as they are, if `kept`.
    let first = |kept: bool| if kept { operands[0].rows } else { Rows::Mixed };
    let shared = |x: &Operand<'_>| x.rows == Rows::Shared;
    match op {
        Op::Linear { .. }
        | Op::Multiply
        | Op::Divide
        | Op::MapGradient { .. }
        | Op::Polynomial { constants: Some(_) } => together(operands, shape),
        Op::Scale { .. } | Op::Map { .. } | Op::Clip { .. } => first(true),
        Op::Polynomial { constants: None } | Op::Conv2d(_) => {
            first(operands[1..].iter().all(shared))
        }
        Op::Pool { .. } => first(true),
        Op::MatMul { transpose_a, .. } => {
            let [a, b] = [operands[0], operands[1]];
            if a.shape.len() > 2 && b.shape.len() > 2 {
                together(operands, shape)
            } else {
                // Rows of a stay rows.
                first(shared(&b) && (a.shape.len() > 2 || !transpose_a))
            }
        }
        Op::Reduce { axes, .. } => first(axes.start > 0),
        Op::Softmax { .. } => first(shape.len() > 1),
        Op::Reshape { batch: true, .. } => first(true),
        Op::Reshape { .. } => match shape.first() {
            Some(rows) if batch > 0 && rows.is_multiple_of(batch) => Rows::Each(rows / batch),
            _ => Rows::Mixed,
        },
        Op::Transpose { permutation } => first(permutation.first() == Some(&0)),
        Op::Concat { axis: 1.. } => together(operands, shape),
        Op::Slice { axis, .. } => first(*axis > 0),
        Op::Pad { padding } => first(padding.first() == Some(&[0, 0])),
        _ => Rows::Mixed,
    }
}

/// Whether a constant's rows are all the same.
fn alike(op: &Op) -> bool {
    let Op::Constant { shape, values } = op else {
        return false;
    };
    let mut rows = values.chunks(shape.row_elements().max(1));
    match rows.next() {
        Some(first) => rows.all(|row| row == first),
        None => true,
    }
}

/// Operands that meet place by place: those with rows of samples have the same, and those without are
/// alike for all rows.
fn together(operands: &[Operand<'_>], shape: &Shape) -> Rows {
    let mut rows = Rows::Shared;
    for operand in operands {
        let reaches = operand.shape.len() == shape.len();
        let alike = !reaches || operand.alike || operand.shape.first() == Some(&1);
        rows = match (operand.rows, rows) {
            (Rows::Shared, rows) if alike => rows,
            (own @ Rows::Each(_), Rows::Shared) if reaches => own,
            (own @ Rows::Each(_), rows) if reaches && own == rows => rows,
            _ => return Rows::Mixed,
        };
    }
    rows
}
