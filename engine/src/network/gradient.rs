//! Gradients are network to network: reverse accumulation appends the operations that compute them.
//!
//! The algebra is commutative, so these are the scalar rules with algebra products: the adjoint of
//! multiplying by C is multiplying by C.

mod rules;

use std::collections::BTreeMap;

use super::{Network, Node, Op, Value};
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
        let shapes = self.sample_shapes()?;
        let others = self.shapes(3).or_else(|_| self.shapes(4)).ok();
        let mut needed = vec![false; self.nodes().len()];
        for value in self.values() {
            let node = self.node(value);
            needed[value.0] = of.contains(&value) || node.operands.iter().any(|v| needed[v.0]);
        }
        let mut adjoints: BTreeMap<Value, Value> = BTreeMap::new();
        for value in self.values().rev() {
            let incoming = adjoints.get(&value).copied();
            if !needed[value.0] || (incoming.is_none() && value != loss) {
                continue;
            }
            let mut tape = Tape {
                original: self,
                shapes: &shapes,
                others: others.as_deref(),
                network: &mut network,
                adjoints: &mut adjoints,
                needed: &needed,
            };
            tape.differentiate(value, incoming)?;
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
    /// What is differentiated, and the shapes of its values.
    original: &'a Network,
    shapes: &'a [Shape],
    /// Their shapes for another batch, where the network takes one.
    others: Option<&'a [Shape]>,
    network: &'a mut Network,
    adjoints: &'a mut BTreeMap<Value, Value>,
    needed: &'a [bool],
}

impl<'a> Tape<'a> {
    /// Adds an operation named for the value whose gradient it serves and the node it came through.
    fn push(&mut self, of: Value, by: &Node, op: Op, operands: &[Value]) -> Result<Value> {
        let base = format!("{}.gradient", self.network.node(of).name);
        let mut name = base.clone();
        if self.network.names.contains(&name) {
            name = format!("{base}.by.{}", by.name);
        }
        let mut nth = 2;
        while self.network.names.contains(&name) {
            name = format!("{base}.by.{}.{nth}", by.name);
            nth += 1;
        }
        self.network.push(&name, op, operands)
    }

    /// Computes a contribution to the gradient of `to`, where one is needed.
    fn contribute(&mut self, to: Value, by: &Node, op: Op, operands: &[Value]) -> Result<()> {
        if self.needed[to.0] {
            let value = self.push(to, by, op, operands)?;
            self.accumulate(to, by, value)?;
        }
        Ok(())
    }

    /// Contributes `factor g`.
    fn scaled(&mut self, to: Value, by: &Node, factor: f64, g: Value) -> Result<()> {
        if !self.needed[to.0] {
            Ok(())
        } else if factor == 1.0 {
            self.accumulate(to, by, g)
        } else {
            self.contribute(to, by, Op::Scale { factor }, &[g])
        }
    }

    fn accumulate(&mut self, to: Value, by: &Node, value: Value) -> Result<()> {
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
