//! Commands of matrix products with what is fused to them.

use super::Compiler;
use crate::error::Result;
use crate::network::{Op, matmul_shape};
use crate::plan::Kernel;
use crate::plan::fuse::Chain;
use crate::plan::layout::Layout;

impl Compiler<'_> {
    pub(super) fn emit_product(&mut self, chain: &Chain) -> Result<()> {
        let node = self.network.node(chain.product);
        if let Op::Conv2d(_) = node.op {
            return self.emit_convolution(chain);
        }
        let (
            &Op::MatMul {
                transpose_a,
                transpose_b,
            },
            &[a, b],
        ) = (&node.op, &node.operands[..])
        else {
            return self.refuse(chain.product, "it is no product of two operands");
        };
        let [of_a, of_b] = [a, b].map(|v| &self.shapes[v.0]);
        let (shape, _) = self.sizes(
            chain.product,
            matmul_shape(of_a, of_b, transpose_a, transpose_b),
        )?;
        let operands = [a, b].into_iter().chain(chain.bias);
        let mut reads: Vec<_> = operands.map(|v| self.operand(v, Layout::Rows)).collect();
        let bias = reads.split_off(2);
        reads.extend(self.level(chain.end, bias));
        let kernel = Kernel::BlockMatmul {
            shape,
            bias: chain.bias.is_some(),
            activation: chain.activation,
        };
        self.plain_call(chain.end, kernel, &reads);
        Ok(())
    }
}
