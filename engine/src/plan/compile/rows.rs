//! Commands that go along axes: reductions, softmax, losses.

use super::Compiler;
use crate::error::Result;
use crate::network::{Op, Value, reduced_axis};
use crate::plan::{Kernel, Region};

impl Compiler<'_> {
    pub(super) fn emit_rows(&mut self, value: Value, reads: &[Region]) -> Result<()> {
        let network = self.network;
        let (op, operands) = (&network.node(value).op, &network.node(value).operands[..]);
        let shape = &self.shapes[operands[0].0];
        let columns = shape.last().copied().unwrap_or(1);
        let kernel = match op {
            Op::Reduce {
                reduction, axes, ..
            } => Kernel::Reduce {
                reduction: *reduction,
                axis: self.sizes(value, reduced_axis(shape, axes))?,
            },
            Op::MaxGradient { axes } => {
                let axis = self.sizes(value, reduced_axis(shape, axes))?;
                self.alike(value, operands)?;
                Kernel::MaxGradient { axis }
            }
            &Op::Softmax { logarithm } => Kernel::Softmax { columns, logarithm },
            &Op::SoftmaxGradient { logarithm } => {
                self.alike(value, operands)?;
                Kernel::SoftmaxGradient { columns, logarithm }
            }
            Op::SoftmaxCrossEntropy => Kernel::SoftmaxCrossEntropy { columns },
            Op::SoftmaxCrossEntropyGradient => Kernel::SoftmaxCrossEntropyGradient { columns },
            Op::BinaryCrossEntropy => Kernel::BinaryCrossEntropy,
            Op::BinaryCrossEntropyGradient => Kernel::BinaryCrossEntropyGradient,
            Op::MeanSquaredError => Kernel::MeanSquaredError,
            _ => return self.refuse(value, "it goes along no axis"),
        };
        if kernel.is_loss() && reads[0].planes < reads[1].planes {
            return self.refuse(value, "targets are encrypted and predictions are not");
        }
        self.plain_call(value, kernel, reads);
        Ok(())
    }
}
