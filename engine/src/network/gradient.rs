//! Gradients are network to network: reverse accumulation appends the operations that compute them.
//!
//! The algebra is commutative, so these are the scalar rules with algebra products: the adjoint of
//! multiplying by C is multiplying by C.

use std::collections::BTreeMap;

use furthermore_kernels_cpu::function_map::Saved;

use super::infer::repeats;
use super::{Network, Op, Value};
use crate::error::{Error, Result};
use crate::tensor::Shape;

impl Network {
    /// A copy of this network that also computes the gradient of `loss` by each value of `of`.
    ///
    /// `loss` has to be a loss operation. A value the loss does not depend on is an error.
    ///
    /// # Errors
    /// When an operation on the way has no gradient, naming it.
    pub fn gradients(&self, loss: Value, of: &[Value]) -> Result<(Network, Vec<Value>)> {
        if of.iter().chain([&loss]).any(|v| v.0 >= self.nodes().len()) {
            let (operation, reason) = ("gradients", "a value is not one of this network");
            return Err(Error::Operation {
                operation: operation.to_owned(),
                reason: reason.to_owned(),
            });
        }
        let mut network = self.clone();
        // Ranks decide which sums repeat an operand, and they do not depend on the batch.
        let shapes = self.shapes(1)?;
        let mut needed = vec![false; self.nodes().len()];
        for value in self.values() {
            let node = self.node(value);
            needed[value.0] = of.contains(&value) || node.operands.iter().any(|v| needed[v.0]);
        }
        let mut adjoints: BTreeMap<Value, Value> = BTreeMap::new();
        for value in self.values().rev() {
            let node = self.node(value);
            let incoming = adjoints.get(&value).copied();
            if !needed[value.0] || (incoming.is_none() && value != loss) {
                continue;
            }
            let mut tape = Tape {
                network: &mut network,
                adjoints: &mut adjoints,
                needed: &needed,
            };
            match (&node.op, &node.operands[..], incoming) {
                (Op::Parameter { .. } | Op::Input { .. } | Op::State { .. }, ..) => {}
                (Op::SoftmaxCrossEntropy, &[x, y], None) => {
                    tape.contribute(x, node, Op::SoftmaxCrossEntropyGradient, &[x, y])?;
                    if needed[y.0] {
                        return Err(no_gradient(&node.name, "by its targets"));
                    }
                }
                (Op::MeanSquaredError, &[x, y], None) => {
                    tape.contribute(x, node, Op::MeanSquaredErrorGradient, &[x, y])?;
                    if needed[y.0] {
                        return Err(no_gradient(&node.name, "by its targets"));
                    }
                }
                (
                    &Op::MatMul {
                        transpose_a: ta,
                        transpose_b: tb,
                    },
                    &[a, b],
                    Some(g),
                ) => {
                    let product = |ta, tb| Op::MatMul {
                        transpose_a: ta,
                        transpose_b: tb,
                    };
                    if ta {
                        tape.contribute(a, node, product(tb, true), &[b, g])?;
                    } else {
                        tape.contribute(a, node, product(false, !tb), &[g, b])?;
                    }
                    if tb {
                        tape.contribute(b, node, product(true, ta), &[g, a])?;
                    } else {
                        tape.contribute(b, node, product(!ta, false), &[a, g])?;
                    }
                }
                (&Op::Linear { alpha, beta }, &[a, b], Some(g)) => {
                    tape.scaled(a, node, alpha, g)?;
                    if needed[b.0] {
                        let g = if repeats(self, &shapes, value) {
                            if shapes[value.0].len() != shapes[b.0].len() + 1 {
                                return Err(no_gradient(&node.name, "over several repeated axes"));
                            }
                            tape.push(b, node, Op::SumRows, &[g])?
                        } else {
                            g
                        };
                        tape.scaled(b, node, beta, g)?;
                    }
                }
                (&Op::Scale { factor }, &[x], Some(g)) => tape.scaled(x, node, factor, g)?,
                (Op::Multiply, &[a, b], Some(g)) => {
                    tape.contribute(a, node, Op::Multiply, &[g, b])?;
                    tape.contribute(b, node, Op::Multiply, &[g, a])?;
                }
                (&Op::Map { function }, &[x], Some(g)) => {
                    let saved = match function.saved() {
                        Saved::Input => x,
                        Saved::Output => value,
                    };
                    tape.contribute(x, node, Op::MapGradient { function }, &[saved, g])?;
                }
                (Op::Reshape { .. }, &[x], Some(g)) => {
                    let shape = sample(&shapes[x.0]);
                    tape.contribute(x, node, Op::Reshape { shape }, &[g])?;
                }
                (&Op::Conv2d(convolution), &[x, weights, ref bias @ ..], Some(g)) => {
                    let &[_, _, rows, columns] = &*shapes[x.0] else {
                        return Err(no_gradient(&node.name, "through it"));
                    };
                    let input = [rows, columns];
                    let by_input = Op::Conv2dGradientInput { convolution, input };
                    tape.contribute(x, node, by_input, &[g, weights])?;
                    let kernel = [shapes[weights.0][2], shapes[weights.0][3]];
                    let by_weights = Op::Conv2dGradientWeights {
                        convolution,
                        kernel,
                    };
                    tape.contribute(weights, node, by_weights, &[x, g])?;
                    for bias in bias {
                        tape.contribute(*bias, node, Op::Conv2dGradientBias, &[g])?;
                    }
                }
                (&Op::Pool { pool, window }, &[x], Some(g)) => {
                    tape.contribute(x, node, Op::PoolGradient { pool, window }, &[x, g])?;
                }
                _ if value == loss => return Err(no_gradient(&node.name, "as a loss")),
                _ => return Err(no_gradient(&node.name, "through it")),
            }
        }
        let found =
            of.iter()
                .map(|v| {
                    adjoints.get(v).copied().ok_or_else(|| {
                        no_gradient(&self.node(*v).name, "since the loss ignores it")
                    })
                })
                .collect::<Result<Vec<_>>>()?;
        Ok((network, found))
    }

    /// A copy of this network that, at each run, also steps every parameter against the gradient of
    /// `loss`, by gradient descent with momentum. The learning rate is given at each run.
    ///
    /// # Errors
    /// As [`Network::gradients`], or when `momentum` is not in [0, 1).
    pub fn with_sgd(&self, loss: Value, momentum: f64) -> Result<Network> {
        if !(0.0..1.0).contains(&momentum) {
            let reason = format!("momentum {momentum} is not in [0, 1)");
            return Err(Error::Operation {
                operation: "sgd".to_owned(),
                reason,
            });
        }
        let parameters = self.parameters();
        let (mut network, gradients) = self.gradients(loss, &parameters)?;
        for (parameter, gradient) in parameters.into_iter().zip(gradients) {
            let node = self.node(parameter);
            let (name, Op::Parameter { shape, .. }) = (&node.name, &node.op) else {
                continue;
            };
            let mut operands = vec![gradient, parameter];
            if momentum > 0.0 {
                let state = Op::State {
                    shape: shape.clone(),
                };
                operands.push(network.push(&format!("{name}.velocity"), state, &[])?);
            }
            network.push(&format!("{name}.step"), Op::Sgd { momentum }, &operands)?;
        }
        Ok(network)
    }
}

/// The shape of one sample.
fn sample(shape: &Shape) -> Shape {
    shape.get(1..).unwrap_or_default().into()
}

fn no_gradient(operation: &str, how: &str) -> Error {
    let reason = format!("no gradient can be taken {how}");
    Error::Operation {
        operation: operation.to_owned(),
        reason,
    }
}

/// The network under construction and the gradients found so far.
struct Tape<'a> {
    network: &'a mut Network,
    adjoints: &'a mut BTreeMap<Value, Value>,
    needed: &'a [bool],
}

impl Tape<'_> {
    /// Adds an operation named for the value whose gradient it serves and the node it came through.
    fn push(&mut self, of: Value, by: &super::Node, op: Op, operands: &[Value]) -> Result<Value> {
        let base = format!("{}.gradient", self.network.node(of).name);
        let taken = |network: &Network, name: &str| network.nodes().iter().any(|n| n.name == name);
        let mut name = base.clone();
        if taken(self.network, &name) {
            name = format!("{base}.by.{}", by.name);
        }
        let mut nth = 2;
        while taken(self.network, &name) {
            name = format!("{base}.by.{}.{nth}", by.name);
            nth += 1;
        }
        self.network.push(&name, op, operands)
    }

    /// Computes a contribution to the gradient of `to`, where one is needed.
    fn contribute(
        &mut self,
        to: Value,
        by: &super::Node,
        op: Op,
        operands: &[Value],
    ) -> Result<()> {
        if self.needed[to.0] {
            let value = self.push(to, by, op, operands)?;
            self.accumulate(to, by, value)?;
        }
        Ok(())
    }

    /// Contributes `factor g`.
    fn scaled(&mut self, to: Value, by: &super::Node, factor: f64, g: Value) -> Result<()> {
        if !self.needed[to.0] {
            Ok(())
        } else if factor == 1.0 {
            self.accumulate(to, by, g)
        } else {
            self.contribute(to, by, Op::Scale { factor }, &[g])
        }
    }

    fn accumulate(&mut self, to: Value, by: &super::Node, value: Value) -> Result<()> {
        let sum = match self.adjoints.get(&to) {
            None => value,
            Some(&so_far) => self.push(
                to,
                by,
                Op::Linear {
                    alpha: 1.0,
                    beta: 1.0,
                },
                &[so_far, value],
            )?,
        };
        self.adjoints.insert(to, sum);
        Ok(())
    }
}
