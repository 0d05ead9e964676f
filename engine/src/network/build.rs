//! Building networks in code, an operation a call.

use std::ops::Range;

use super::{Function, Init, Network, Node, Op, Reduction, Value};
use crate::error::{Error, Result};
use crate::tensor::Shape;

impl Network {
    /// A network that computes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node.
    ///
    /// # Errors
    /// When the name is taken, or an operand is not of this network.
    pub(crate) fn push(&mut self, name: &str, op: Op, operands: &[Value]) -> Result<Value> {
        let refuse = |reason: &str| {
            Err(Error::Operation {
                operation: name.to_owned(),
                reason: reason.to_owned(),
            })
        };
        if self.names.contains(name) {
            return refuse("the name is taken by another operation of the network");
        }
        if operands.iter().any(|v| v.0 >= self.nodes.len()) {
            return refuse("an operand is not a value of this network");
        }
        self.names.insert(name.to_owned());
        self.nodes.push(Node {
            name: name.to_owned(),
            op,
            operands: operands.to_vec(),
        });
        Ok(Value(self.nodes.len() - 1))
    }

    /// A tensor given at each run; `shape` is that of one sample.
    ///
    /// # Errors
    /// When the name is taken, as for every operation below.
    pub fn input(&mut self, name: &str, shape: impl Into<Shape>) -> Result<Value> {
        self.push(
            name,
            Op::Input {
                shape: shape.into(),
            },
            &[],
        )
    }

    /// A weight.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn parameter(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Value> {
        self.push(
            name,
            Op::Parameter {
                shape: shape.into(),
                init,
                trained: true,
            },
            &[],
        )
    }

    /// A named result of a run.
    ///
    /// # Errors
    /// When another output or a parameter has the name.
    pub fn output(&mut self, name: &str, value: Value) -> Result<()> {
        let kept = |op: &Op| matches!(op, Op::Parameter { .. } | Op::State { .. });
        let reason = if value.0 >= self.nodes.len() {
            "the output's value is not of this network"
        } else if self.outputs.iter().any(|(n, _)| n == name) {
            "the name is taken by another output"
        } else if self
            .nodes
            .iter()
            .any(|node| node.name == name && kept(&node.op))
        {
            "the name is taken by a parameter, which can be read without being an output"
        } else {
            self.outputs.push((name.to_owned(), value));
            return Ok(());
        };
        Err(Error::Operation {
            operation: name.to_owned(),
            reason: reason.to_owned(),
        })
    }

    /// A plaintext that stays as it is, whatever is encrypted.
    ///
    /// # Errors
    /// When the name is taken, or there are not as many values as the shape has elements, all finite.
    pub fn constant(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        values: Vec<f64>,
    ) -> Result<Value> {
        let shape = shape.into();
        let elements = shape.elements()?;
        let refuse = |reason: String| {
            Err(Error::Operation {
                operation: name.to_owned(),
                reason,
            })
        };
        if elements != values.len() {
            let has = values.len();
            return refuse(format!("shape {shape} has {elements} elements, not {has}"));
        }
        if let Some(odd) = values.iter().find(|value| !value.is_finite()) {
            return refuse(format!("the constant {odd} is not finite"));
        }
        let values = values.into();
        self.push(name, Op::Constant { shape, values }, &[])
    }

    /// The matrix product of two matrices.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn matmul(&mut self, name: &str, a: Value, b: Value) -> Result<Value> {
        self.matmul_with(name, a, b, false, false)
    }

    /// The matrix product of two operands, each transposed or not. Of operands with more than two axes
    /// these are the last two; the others are alike, or `b` is one matrix and `a` is not transposed.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn matmul_with(
        &mut self,
        name: &str,
        a: Value,
        b: Value,
        transpose_a: bool,
        transpose_b: bool,
    ) -> Result<Value> {
        let op = Op::MatMul {
            transpose_a,
            transpose_b,
        };
        self.push(name, op, &[a, b])
    }

    /// `a + b`. Here and below the operands of sums, products and quotients are aligned at their last
    /// axes, and one of size 1 repeats along the other.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add(&mut self, name: &str, a: Value, b: Value) -> Result<Value> {
        self.push(
            name,
            Op::Linear {
                alpha: 1.0,
                beta: 1.0,
            },
            &[a, b],
        )
    }

    /// `a - b`.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn subtract(&mut self, name: &str, a: Value, b: Value) -> Result<Value> {
        self.push(
            name,
            Op::Linear {
                alpha: 1.0,
                beta: -1.0,
            },
            &[a, b],
        )
    }

    /// `factor a`.
    ///
    /// # Errors
    /// When the name is taken, or the factor is not finite.
    pub fn scale(&mut self, name: &str, a: Value, factor: f64) -> Result<Value> {
        if !factor.is_finite() {
            let reason = format!("the factor {factor} is not finite");
            return Err(Error::Operation {
                operation: name.to_owned(),
                reason,
            });
        }
        self.push(name, Op::Scale { factor }, &[a])
    }

    /// `a b`, element by element.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn multiply(&mut self, name: &str, a: Value, b: Value) -> Result<Value> {
        self.push(name, Op::Multiply, &[a, b])
    }

    /// `a / b`, element by element. Every slot of `b` has to be away from zero.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn divide(&mut self, name: &str, a: Value, b: Value) -> Result<Value> {
        self.push(name, Op::Divide, &[a, b])
    }

    /// The larger of two numbers, slot by slot: `b + max(a - b, 0)`.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn maximum(&mut self, name: &str, a: Value, b: Value) -> Result<Value> {
        let over = self.subtract(&format!("{name}.difference"), a, b)?;
        let over = self.relu(&format!("{name}.over"), over)?;
        self.add(name, over, b)
    }

    /// The smaller of two numbers, slot by slot: `a - max(a - b, 0)`.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn minimum(&mut self, name: &str, a: Value, b: Value) -> Result<Value> {
        let over = self.subtract(&format!("{name}.difference"), a, b)?;
        let over = self.relu(&format!("{name}.over"), over)?;
        self.subtract(name, a, over)
    }

    /// `sum_k c_k x^k`, element by element, with the coefficient of `x^k` at index k.
    ///
    /// # Errors
    /// When the name is taken, or a coefficient is not finite.
    pub fn polynomial(&mut self, name: &str, x: Value, coefficients: Vec<f64>) -> Result<Value> {
        if let Some(odd) = coefficients.iter().find(|c| !c.is_finite()) {
            let reason = format!("the coefficient {odd} is not finite");
            return Err(Error::Operation {
                operation: name.to_owned(),
                reason,
            });
        }
        let constants = Some(coefficients.into());
        self.push(name, Op::Polynomial { constants }, &[x])
    }

    /// A polynomial whose coefficients are a value of the network, plaintext or encrypted: one axis,
    /// the coefficient of `x^k` at index k.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn polynomial_of(&mut self, name: &str, x: Value, coefficients: Value) -> Result<Value> {
        let op = Op::Polynomial { constants: None };
        self.push(name, op, &[x, coefficients])
    }

    /// The sum, mean or maximum along axes, which are dropped or kept with size 1.
    ///
    /// # Errors
    /// When the name is taken, or an axis is named twice.
    pub fn reduce(
        &mut self,
        name: &str,
        reduction: Reduction,
        x: Value,
        axes: &[usize],
        keep: bool,
    ) -> Result<Value> {
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        if let Some(twice) = axes.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Operation {
                operation: name.to_owned(),
                reason: format!("axis {} is named twice", twice[0]),
            });
        }
        // Neighbours are reduced together, the last ones first, so that the others stay in place.
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for &axis in &axes {
            match ranges.last_mut() {
                Some(last) if last.end == axis => last.end = axis.saturating_add(1),
                _ => ranges.push(axis..axis.saturating_add(1)),
            }
        }
        if ranges.is_empty() {
            return self.scale(name, x, 1.0);
        }
        let mut reduced = x;
        for (nth, axes) in ranges.into_iter().enumerate().rev() {
            let step = format!("{name}.{nth}");
            let name = if nth == 0 { name } else { &step };
            let op = Op::Reduce {
                reduction,
                axes,
                keep,
            };
            reduced = self.push(name, op, &[reduced])?;
        }
        Ok(reduced)
    }

    /// The softmax along an axis, or its logarithm.
    ///
    /// # Errors
    /// When the name is taken, or operands so far do not go together.
    pub fn softmax(&mut self, name: &str, x: Value, axis: usize, logarithm: bool) -> Result<Value> {
        let rank = self.shape(x)?.len();
        let op = Op::Softmax { logarithm };
        if axis.checked_add(1) == Some(rank) {
            return self.push(name, op, &[x]);
        }
        if axis >= rank {
            let reason = format!("there is no axis {axis} among {rank}");
            return Err(Error::Operation {
                operation: name.to_owned(),
                reason,
            });
        }
        let mut permutation: Vec<usize> = (0..rank).collect();
        permutation.swap(axis, rank - 1);
        let last = self.transpose(&format!("{name}.last"), x, &permutation)?;
        let last = self.push(&format!("{name}.softmax"), op, &[last])?;
        self.transpose(name, last, &permutation)
    }

    /// A function of each element.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn map(&mut self, name: &str, function: Function, x: Value) -> Result<Value> {
        self.push(name, Op::Map { function }, &[x])
    }

    /// `max(x, 0)`.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn relu(&mut self, name: &str, x: Value) -> Result<Value> {
        self.map(name, Function::Relu, x)
    }

    /// `1 / (1 + exp(-x))`.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn sigmoid(&mut self, name: &str, x: Value) -> Result<Value> {
        self.map(name, Function::Sigmoid, x)
    }

    /// The hyperbolic tangent.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn tanh(&mut self, name: &str, x: Value) -> Result<Value> {
        self.map(name, Function::Tanh, x)
    }

    /// `x^2`.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn square(&mut self, name: &str, x: Value) -> Result<Value> {
        self.map(name, Function::Square, x)
    }
}
