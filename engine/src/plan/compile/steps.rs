//! Commands that step parameters.

use super::Compiler;
use crate::error::Result;
use crate::network::{Op, Optimizer, Value};
use crate::plan::{Command, Kernel, Region, Watch};

impl Compiler<'_> {
    pub(super) fn emit_step(&mut self, value: Value, reads: &[Region]) -> Result<()> {
        let node = self.network.node(value);
        let kernel = match node.op {
            Op::Step(Optimizer::Sgd {
                momentum,
                weight_decay,
            }) => Kernel::Sgd {
                rate: None,
                momentum,
                weight_decay,
            },
            Op::Step(Optimizer::Adam {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            }) => Kernel::Adam {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            },
            Op::MovingAverage { keep } => Kernel::Sgd {
                rate: Some(keep - 1.0),
                momentum: 0.0,
                weight_decay: -1.0,
            },
            _ => return self.refuse(value, "it is no step of a parameter"),
        };
        let [gradient, parameter] = [0, 1].map(|nth| self.encrypted[node.operands[nth].0]);
        if gradient != parameter {
            let (is, is_not) = match gradient {
                true => ("gradient", "parameter"),
                false => ("parameter", "gradient"),
            };
            let reason = format!(
                "the {is} is encrypted and the {is_not} is not: compile with encrypted parameters \
                 to train on encrypted inputs"
            );
            return self.refuse(value, &reason);
        }
        self.regions[value.0] = Some(reads[1]);
        self.updates.push(Command {
            name: node.name.clone(),
            kernel,
            reads: vec![reads[0]],
            writes: reads[1..].to_vec(),
            watch: Watch::Finite,
        });
        Ok(())
    }
}
