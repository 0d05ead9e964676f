//! The rules, an operation each.

use furthermore_kernels_cpu::function_map::Saved;

use super::{Tape, no_gradient};
use crate::error::Result;
use crate::network::{Network, Node, Op, Reduction, Value};
use crate::tensor::Shape;

impl<'a> Tape<'a> {
    /// Contributes to the gradients of what `value` is computed from, by the gradient of `value`; a
    /// loss has none coming in.
    pub(super) fn differentiate(&mut self, value: Value, incoming: Option<Value>) -> Result<()> {
        let original: &'a Network = self.original;
        let node = original.node(value);
        match (&node.op, &node.operands[..], incoming) {
            (
                Op::Parameter { .. }
                | Op::Input { .. }
                | Op::State { .. }
                | Op::Constant { .. }
                | Op::DropoutMask { .. }
                | Op::MovingAverage { .. },
                ..,
            ) => Ok(()),
            (Op::SoftmaxCrossEntropy, &[x, y], None) => {
                self.loss(node, Op::SoftmaxCrossEntropyGradient, [x, y])
            }
            (Op::BinaryCrossEntropy, &[x, y], None) => {
                self.loss(node, Op::BinaryCrossEntropyGradient, [x, y])
            }
            (Op::MeanSquaredError, &[x, y], None) => {
                self.loss(node, Op::MeanSquaredErrorGradient, [x, y])
            }
            (Op::MatMul { .. }, &[a, b], Some(g)) => self.product(node, [a, b], g),
            (&Op::Linear { alpha, beta }, &[a, b], Some(g)) => {
                for (to, factor) in [(a, alpha), (b, beta)] {
                    if self.needed[to.0] {
                        let g = self.sum_to(to, value, node, g)?;
                        self.scaled(to, node, factor, g)?;
                    }
                }
                Ok(())
            }
            (&Op::Scale { factor }, &[x], Some(g)) => self.scaled(x, node, factor, g),
            (Op::Multiply, &[a, b], Some(g)) => {
                for (to, other) in [(a, b), (b, a)] {
                    if self.needed[to.0] {
                        let product = self.push(to, node, Op::Multiply, &[g, other])?;
                        let sum = self.sum_to(to, value, node, product)?;
                        self.accumulate(to, node, sum)?;
                    }
                }
                Ok(())
            }
            (Op::Divide, &[a, b], Some(g)) => self.quotient(value, [a, b], g),
            (&Op::Map { function }, &[x], Some(g)) => {
                let saved = match function.saved() {
                    Saved::Input => x,
                    Saved::Output => value,
                };
                self.contribute(x, node, Op::MapGradient { function }, &[saved, g])
            }
            (Op::Polynomial { constants }, &[x, ref coefficients @ ..], Some(g)) => {
                let constants = constants.clone();
                let operands: Vec<Value> = [x]
                    .iter()
                    .chain(coefficients)
                    .chain([&g])
                    .copied()
                    .collect();
                self.contribute(x, node, Op::PolynomialGradient { constants }, &operands)?;
                for &coefficients in coefficients {
                    let terms = self.size(node, coefficients, 0)?;
                    let op = Op::PolynomialCoefficientGradient { terms };
                    self.contribute(coefficients, node, op, &[g, x])?;
                }
                Ok(())
            }
            (Op::Reduce { .. }, &[x], Some(g)) => self.reduction(node, x, g),
            (&Op::Softmax { logarithm }, &[x], Some(g)) => {
                self.contribute(x, node, Op::SoftmaxGradient { logarithm }, &[value, g])
            }
            (
                Op::Reshape { .. }
                | Op::Transpose { .. }
                | Op::Concat { .. }
                | Op::Slice { .. }
                | Op::Pad { .. },
                operands,
                Some(g),
            ) => self.moved(node, operands, g),
            (&Op::Conv2d(convolution), &[x, weights, ref bias @ ..], Some(g)) => {
                let input = [self.size(node, x, 2)?, self.size(node, x, 3)?];
                let by_input = Op::Conv2dGradientInput { convolution, input };
                self.contribute(x, node, by_input, &[g, weights])?;
                let kernel = [self.size(node, weights, 2)?, self.size(node, weights, 3)?];
                let by_weights = Op::Conv2dGradientWeights {
                    convolution,
                    kernel,
                };
                self.contribute(weights, node, by_weights, &[x, g])?;
                for bias in bias {
                    self.contribute(*bias, node, Op::Conv2dGradientBias, &[g])?;
                }
                Ok(())
            }
            (&Op::Pool { pool, window }, &[x], Some(g)) => {
                self.contribute(x, node, Op::PoolGradient { pool, window }, &[x, g])
            }
            (_, _, None) => Err(no_gradient(&node.name, "as a loss")),
            _ => Err(no_gradient(&node.name, "through it")),
        }
    }

    /// The size of a value along an axis, which goes into an operation of the gradient and so has to be
    /// the same for every batch.
    fn size(&self, node: &Node, value: Value, axis: usize) -> Result<usize> {
        let size = |shapes: &[Shape]| shapes[value.0].get(axis).copied();
        match (size(self.shapes), self.others.map(size)) {
            (Some(found), other) if other.is_none_or(|other| other == Some(found)) => Ok(found),
            _ => Err(no_gradient(
                &node.name,
                &format!("through it: axis {axis} of an operand grows with the batch"),
            )),
        }
    }

    /// The sizes of a value along all axes but the first.
    fn sample(&self, node: &Node, value: Value) -> Result<Vec<usize>> {
        let axes = 1..self.shapes[value.0].len();
        axes.map(|axis| self.size(node, value, axis)).collect()
    }

    /// A loss of predictions and targets.
    fn loss(&mut self, node: &Node, op: Op, [x, targets]: [Value; 2]) -> Result<()> {
        if self.needed[targets.0] {
            return Err(no_gradient(&node.name, "by its targets"));
        }
        self.contribute(x, node, op, &[x, targets])
    }

    /// What came through a broadcast, summed to the shape of the operand `to`.
    fn sum_to(&mut self, to: Value, through: Value, node: &Node, g: Value) -> Result<Value> {
        let (small, large) = (&self.shapes[to.0], &self.shapes[through.0]);
        let missing = large.len() - small.len();
        let mut g = g;
        let sum = |axes, keep| Op::Reduce {
            reduction: Reduction::Sum,
            axes,
            keep,
        };
        if missing > 0 {
            g = self.push(to, node, sum(0..missing, false), &[g])?;
        }
        // Neighbours that repeat are summed together.
        let repeats = |axis: usize| small[axis] == 1 && large[missing + axis] != 1;
        let mut axis = 0;
        while axis < small.len() {
            let run = (axis..small.len())
                .take_while(|&axis| repeats(axis))
                .count();
            if run > 0 {
                g = self.push(to, node, sum(axis..axis + run, true), &[g])?;
            }
            axis += run + 1;
        }
        Ok(g)
    }

    /// `a b`, each transposed or not.
    fn product(&mut self, node: &Node, [a, b]: [Value; 2], g: Value) -> Result<()> {
        let &Op::MatMul {
            transpose_a: ta,
            transpose_b: tb,
        } = &node.op
        else {
            return Err(no_gradient(&node.name, "through it"));
        };
        let product = |ta, tb| Op::MatMul {
            transpose_a: ta,
            transpose_b: tb,
        };
        if ta {
            self.contribute(a, node, product(tb, true), &[b, g])?;
        } else {
            self.contribute(a, node, product(false, !tb), &[g, b])?;
        }
        if !self.needed[b.0] {
            return Ok(());
        }
        // One matrix for all rows of a: those of a and of the gradient are rows of two matrices.
        let (mut a, mut g) = (a, g);
        if self.shapes[a.0].len() > self.shapes[b.0].len() {
            let [columns_a, columns_b] = if tb { [1, 0] } else { [0, 1] };
            let columns_a = self.size(node, b, columns_a)?;
            let columns_b = self.size(node, b, columns_b)?;
            let rows = |columns: usize| Op::Reshape {
                shape: [columns].into(),
                batch: false,
            };
            a = self.push(b, node, rows(columns_a), &[a])?;
            g = self.push(b, node, rows(columns_b), &[g])?;
        }
        if tb {
            self.contribute(b, node, product(true, ta), &[g, a])
        } else {
            self.contribute(b, node, product(!ta, false), &[a, g])
        }
    }

    /// `a / b`, whose gradient by b is `-g (a / b) / b`.
    fn quotient(&mut self, value: Value, [a, b]: [Value; 2], g: Value) -> Result<()> {
        let node = self.original.node(value);
        if self.needed[a.0] {
            let by_a = self.push(a, node, Op::Divide, &[g, b])?;
            let by_a = self.sum_to(a, value, node, by_a)?;
            self.accumulate(a, node, by_a)?;
        }
        if self.needed[b.0] {
            let product = self.push(b, node, Op::Multiply, &[g, value])?;
            let by_b = self.push(b, node, Op::Divide, &[product, b])?;
            let by_b = self.sum_to(b, value, node, by_b)?;
            self.scaled(b, node, -1.0, by_b)?;
        }
        Ok(())
    }

    /// A sum, mean or maximum along axes.
    fn reduction(&mut self, node: &Node, x: Value, g: Value) -> Result<()> {
        let Op::Reduce {
            reduction,
            axes,
            keep,
        } = &node.op
        else {
            return Err(no_gradient(&node.name, "through it"));
        };
        if !self.needed[x.0] {
            return Ok(());
        }
        if *reduction == Reduction::Max {
            let axes = axes.clone();
            return self.contribute(x, node, Op::MaxGradient { axes }, &[x, g]);
        }
        let mut g = g;
        if !keep {
            let mut sizes = Vec::new();
            for axis in 1..self.shapes[x.0].len() {
                sizes.push(match axes.contains(&axis) {
                    true => 1,
                    false => self.size(node, x, axis)?,
                });
            }
            let shape = sizes.into();
            g = self.push(
                x,
                node,
                Op::Reshape {
                    shape,
                    batch: false,
                },
                &[g],
            )?;
        }
        let mean = *reduction == Reduction::Mean;
        self.contribute(x, node, Op::Expand { mean }, &[g, x])
    }

    /// What moves elements: their gradients move back.
    fn moved(&mut self, node: &Node, operands: &[Value], g: Value) -> Result<()> {
        let Some(&x) = operands.first() else {
            return Ok(());
        };
        match &node.op {
            &Op::Reshape { batch, .. } => {
                let shape = self.sample(node, x)?.into();
                self.contribute(x, node, Op::Reshape { shape, batch }, &[g])
            }
            Op::Transpose { permutation } => {
                let mut inverse = vec![0; permutation.len()];
                for (to, &from) in permutation.iter().enumerate() {
                    inverse[from] = to;
                }
                let permutation = inverse;
                self.contribute(x, node, Op::Transpose { permutation }, &[g])
            }
            &Op::Concat { axis } => {
                let mut start = 0;
                for &operand in operands {
                    let len = self.size(node, operand, axis)?;
                    let slice = Op::Slice {
                        axis,
                        start,
                        step: 1,
                        len,
                    };
                    self.contribute(operand, node, slice, &[g])?;
                    start += len;
                }
                Ok(())
            }
            &Op::Slice {
                axis, start, step, ..
            } => {
                let size = self.size(node, x, axis)?;
                let back = Op::SliceGradient {
                    axis,
                    start,
                    step,
                    size,
                };
                self.contribute(x, node, back, &[g])
            }
            Op::Pad { padding } => {
                if !self.needed[x.0] {
                    return Ok(());
                }
                let mut g = g;
                for (axis, &[start, after]) in padding.iter().enumerate() {
                    if start > 0 || after > 0 {
                        let slice = Op::Slice {
                            axis,
                            start,
                            step: 1,
                            len: self.size(node, x, axis)?,
                        };
                        g = self.push(x, node, slice, &[g])?;
                    }
                }
                self.accumulate(x, node, g)
            }
            _ => Err(no_gradient(&node.name, "through it")),
        }
    }
}
