//! Commands of convolutions and of what is averaged.

use furthermore_kernels_cpu::conv2d::{Conv2dShape, steps_len};

use super::Compiler;
use crate::error::Result;
use crate::network::{Op, Value, conv2d_shape, pool_shape};
use crate::plan::fuse::{Averaged, Chain};
use crate::plan::layout::{Layout, operand_layout, result_layout};
use crate::plan::memory::Storage;
use crate::plan::{Kernel, Region};

impl Compiler<'_> {
    /// A convolution with the function applied to it.
    pub(super) fn emit_convolution(&mut self, chain: &Chain) -> Result<()> {
        let (shape, bias, reads) = self.convolution(chain.product)?;
        self.layouts[chain.end.0] = Layout::Tiles;
        let kernel = Kernel::Conv2d {
            shape,
            bias,
            activation: chain.activation,
        };
        self.plain_call(chain.end, kernel, &reads);
        Ok(())
    }

    /// A convolution and the average of its relu, which is `value`.
    pub(super) fn emit_averaged(&mut self, value: Value, averaged: &Averaged) -> Result<()> {
        let (shape, bias, reads) = self.convolution(averaged.convolution)?;
        self.layouts[value.0] = Layout::Tiles;
        let mut writes = vec![self.result(value)];
        if let Some(gradient) = averaged.gradient {
            let slots = if self.encrypted[value.0] {
                self.options.algebra.slots()
            } else {
                1
            };
            let words = steps_len(shape.output_sizes()).saturating_mul(slots);
            let steps = Region::new(self.storages.len(), 0, words, self.options.dtype)?;
            self.storages.push(Storage {
                elements: steps.storage(),
                pinned: false,
            });
            // What stands for the gradient, which does not exist.
            self.regions[gradient.0] = Some(steps);
            writes.push(steps);
        }
        let kernel = Kernel::Conv2dPooled {
            shape,
            bias,
            window: averaged.window,
        };
        self.command(value, kernel, &reads, &writes);
        Ok(())
    }

    /// A convolution's sizes, whether it has a bias, and what it reads.
    fn convolution(&mut self, value: Value) -> Result<(Conv2dShape, bool, Vec<Region>)> {
        let node = self.network.node(value);
        let (&Op::Conv2d(convolution), &[x, weights, ref bias @ ..]) =
            (&node.op, &node.operands[..])
        else {
            return self.refuse(value, "it is no convolution");
        };
        if let [bias] = bias
            && self.encrypted[bias.0]
            && !self.encrypted[x.0]
            && !self.encrypted[weights.0]
        {
            let reason = "its bias is encrypted and neither images nor weights are";
            return self.refuse(value, reason);
        }
        let shape = self.sizes(
            value,
            conv2d_shape(&self.shapes[x.0], &self.shapes[weights.0], &convolution),
        )?;
        let layout = |nth| operand_layout(&node.op, nth, Layout::Tiles);
        let operands = node.operands.iter().enumerate();
        let mut reads: Vec<Region> = operands
            .map(|(nth, v)| self.operand(*v, layout(nth)))
            .collect();
        let of_bias = reads.split_off(2);
        reads.extend(self.level(value, of_bias));
        Ok((shape, !bias.is_empty(), reads))
    }

    /// The gradients of a convolution; `false` where `value` is none of them.
    pub(super) fn emit_convolution_gradient(&mut self, value: Value) -> Result<bool> {
        let node = self.network.node(value);
        let operands = &node.operands[..];
        let averaged = operands
            .iter()
            .find_map(|v| Some((*v, self.fusion.averaged_gradient(*v)?)));
        let pooled = averaged.map(|(_, gradient)| gradient.window);
        let shape = |x: Value, weights: Value, convolution| {
            let [x, weights] = [x, weights].map(|v| &self.shapes[v.0]);
            self.sizes(value, conv2d_shape(x, weights, convolution))
        };
        let kernel = match &node.op {
            Op::Conv2dGradientInput { convolution, .. } => {
                let shape = shape(value, operands[1], convolution)?;
                Kernel::Conv2dGradientInput { shape, pooled }
            }
            Op::Conv2dGradientWeights { convolution, .. } => {
                let shape = shape(operands[0], value, convolution)?;
                Kernel::Conv2dGradientWeights { shape, pooled }
            }
            Op::Conv2dGradientBias => {
                let &[batch, channels, rows, columns] = &*self.shapes[operands[0].0] else {
                    return self.refuse(value, "its operand is no image");
                };
                let sizes = [batch, channels, rows, columns];
                Kernel::Conv2dGradientBias { sizes, pooled }
            }
            _ => return Ok(false),
        };
        let layout = result_layout(&node.op, false);
        self.layouts[value.0] = layout;
        let mut reads = Vec::new();
        for (nth, &operand) in operands.iter().enumerate() {
            let read = match averaged {
                Some((gradient, averaged)) if gradient == operand => averaged.by_average,
                _ => operand,
            };
            reads.push(self.operand(read, operand_layout(&node.op, nth, layout)));
        }
        // The steps, which stand for the gradient.
        reads.extend(averaged.map(|(gradient, _)| self.region(gradient)));
        self.plain_call(value, kernel, &reads);
        Ok(true)
    }

    /// The gradient of an average by the images before relu, where `value` is the last of what is
    /// one operation then.
    pub(super) fn emit_rectified_gradient(&mut self, value: Value) -> Result<bool> {
        let network = self.network;
        let (Op::MapGradient { .. }, &[x, average]) =
            (&network.node(value).op, &network.node(value).operands[..])
        else {
            return Ok(false);
        };
        let (&Op::PoolGradient { pool, window }, true) =
            (&network.node(average).op, self.fusion.is_inside(average))
        else {
            return Ok(false);
        };
        let gradient = network.node(average).operands[1];
        self.alike(value, &[x, gradient])?;
        self.layouts[value.0] = Layout::Tiles;
        let reads = [x, gradient].map(|v| self.operand(v, Layout::Tiles));
        let shape = self.sizes(value, pool_shape(&self.shapes[x.0], &window))?;
        let kernel = Kernel::PoolGradient {
            pool,
            shape,
            rectified: true,
        };
        self.plain_call(value, kernel, &reads);
        Ok(true)
    }
}
