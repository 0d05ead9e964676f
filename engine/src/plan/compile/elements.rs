//! Commands that compute element by element.

use super::Compiler;
use crate::error::Result;
use crate::network::{Op, Value};
use crate::plan::{Kernel, Region};

impl Compiler<'_> {
    pub(super) fn emit_elements(&mut self, value: Value, reads: &[Region]) -> Result<()> {
        let network = self.network;
        let (op, operands) = (&network.node(value).op, &network.node(value).operands[..]);
        match op {
            &Op::Linear { alpha, beta } => {
                let kernel = Kernel::Linear {
                    broadcast: self.broadcast(operands)?,
                    alpha,
                    beta,
                };
                self.plain_call(value, kernel, reads);
            }
            Op::MeanSquaredErrorGradient => {
                let scale = 2.0 / reads[0].elements.max(1) as f64;
                let kernel = Kernel::Linear {
                    broadcast: self.broadcast(operands)?,
                    alpha: scale,
                    beta: -scale,
                };
                self.plain_call(value, kernel, reads);
            }
            &Op::Scale { factor } => self.scale(value, factor, reads[0]),
            Op::Multiply => {
                let broadcast = self.broadcast(operands)?;
                self.plain_call(value, Kernel::Multiply { broadcast }, reads);
            }
            Op::Divide => {
                let broadcast = self.broadcast(operands)?;
                self.plain_call(value, Kernel::Divide { broadcast }, reads);
            }
            &Op::Map { function } => {
                let kernel = Kernel::FunctionMap { function };
                if self.dies(operands[0], value) && !network.is_output(value) {
                    self.regions[value.0] = Some(reads[0]);
                    self.command(value, kernel, &[], reads);
                } else {
                    self.plain_call(value, kernel, reads);
                }
            }
            &Op::MapGradient { function } => {
                self.alike(value, operands)?;
                let target = self.in_place(value, operands[1], reads[1], &reads[..1]);
                let kernel = Kernel::FunctionMapGradient { function };
                self.command(value, kernel, &reads[..1], &[target]);
            }
            Op::Polynomial { constants } => {
                let constants = constants.as_deref().map(<[f64]>::to_vec);
                self.plain_call(value, Kernel::PolyMap { constants }, reads);
            }
            Op::PolynomialGradient { constants } => {
                let constants = constants.as_deref().map(<[f64]>::to_vec);
                let (&gradient, others) = reads.split_last().expect("x and a gradient at least");
                let operand = operands[others.len()];
                let target = self.in_place(value, operand, gradient, others);
                self.command(
                    value,
                    Kernel::PolyMapGradient { constants },
                    others,
                    &[target],
                );
            }
            Op::PolynomialCoefficientGradient { .. } => {
                self.plain_call(value, Kernel::PolyMapCoefficientGradient, reads);
            }
            &Op::Clip { limit } => {
                let target = self.in_place(value, operands[0], reads[0], &[]);
                self.command(value, Kernel::Clip { limit }, &[], &[target]);
            }
            _ => return self.refuse(value, "it is nothing element by element"),
        }
        Ok(())
    }
}
