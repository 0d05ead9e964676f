//! Building networks in code, an operation a call.

use super::{Function, Init, Network, Node, Op, Value};
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
        if self.nodes.iter().any(|node| node.name == name) {
            return refuse("the name is taken by another operation of the network");
        }
        if operands.iter().any(|v| v.0 >= self.nodes.len()) {
            return refuse("an operand is not a value of this network");
        }
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

    /// A fully connected layer: `x W + b` with W `inputs` x `outputs` as `{name}.weight` and b as
    /// `{name}.bias`, both starting uniform in +-1/sqrt(inputs).
    ///
    /// # Errors
    /// When a name is taken.
    pub fn linear(&mut self, name: &str, x: Value, inputs: usize, outputs: usize) -> Result<Value> {
        let init = Init::Uniform {
            bound: 1.0 / (inputs.max(1) as f64).sqrt(),
        };
        let weight = self.parameter(&format!("{name}.weight"), [inputs, outputs], init)?;
        let bias = self.parameter(&format!("{name}.bias"), [outputs], init)?;
        let product = self.matmul(&format!("{name}.product"), x, weight)?;
        self.add(name, product, bias)
    }

    /// The matrix product of two matrices.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn matmul(&mut self, name: &str, a: Value, b: Value) -> Result<Value> {
        self.push(
            name,
            Op::MatMul {
                transpose_a: false,
                transpose_b: false,
            },
            &[a, b],
        )
    }

    /// `a + b`; `b` may be a row that is added to every row of `a`.
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

    /// `a - b`; `b` may be a row.
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

    /// Mean over rows of the cross entropy of softmax(logits) with rows of target probabilities.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn softmax_cross_entropy(
        &mut self,
        name: &str,
        logits: Value,
        targets: Value,
    ) -> Result<Value> {
        self.push(name, Op::SoftmaxCrossEntropy, &[logits, targets])
    }

    /// Mean over all elements of `(predicted - target)^2`.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn mean_squared_error(
        &mut self,
        name: &str,
        predicted: Value,
        targets: Value,
    ) -> Result<Value> {
        self.push(name, Op::MeanSquaredError, &[predicted, targets])
    }
}
