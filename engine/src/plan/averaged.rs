//! Convolutions of which only averages of relu are wanted: neither they nor the gradients by them are
//! ever written.

use super::compile::{Compiler, Layout};
use super::memory::Storage;
use super::{Kernel, Region};
use crate::error::Result;
use crate::network::{Op, Value, Window};

/// A convolution of which one average takes relu.
#[derive(Clone, Copy)]
pub(super) struct Averaged {
    convolution: Value,
    window: [usize; 2],
    gradient: Option<Gradient>,
}

/// The gradient by an averaged convolution, which only the convolution's own gradients read.
#[derive(Clone, Copy)]
struct Gradient {
    /// The value that is never written. Its region holds the bits that relu's derivative needs.
    by_convolution: Value,
    /// What is read in its place.
    by_average: Value,
}

impl Compiler<'_> {
    /// Finds convolutions whose relu a single average over windows side by side takes, once it is known
    /// which averages take relu themselves.
    pub(super) fn average_convolutions(&mut self, users: &[Vec<Value>]) {
        let network = self.network;
        for convolution in network.values().filter(|v| self.live[v.0]) {
            if !matches!(network.node(convolution).op, Op::Conv2d(_)) {
                continue;
            }
            let Some((average, averaged)) = self.averaged(convolution, users) else {
                continue;
            };
            self.inside[convolution.0] = true;
            self.averaged[average.0] = Some(averaged);
            if let Some(gradient) = averaged.gradient {
                self.inside[gradient.by_convolution.0] = true;
                self.averaged[gradient.by_convolution.0] = Some(averaged);
            }
        }
    }

    /// The average of `convolution`, if it is one of those.
    fn averaged(&self, convolution: Value, users: &[Vec<Value>]) -> Option<(Value, Averaged)> {
        let node = |value: Value| self.network.node(value);
        let (&relu, through) = users[convolution.0].split_first()?;
        if self.is_output(convolution) || !self.rectified[relu.0] {
            return None;
        }
        let (&average, gradients) = users[relu.0].split_first()?;
        let &Op::Pool { window, .. } = &node(average).op else {
            return None;
        };
        let side_by_side = Window {
            kernel: window.kernel,
            stride: window.kernel,
            ..Window::tiling(1)
        };
        let tiles = |axis: usize| {
            let size = self.shapes[convolution.0][2 + axis];
            window.kernel[axis] > 0 && size.is_multiple_of(window.kernel[axis])
        };
        let whole = Window {
            ceil: false,
            ..window
        };
        if whole != side_by_side || !tiles(0) || !tiles(1) {
            return None;
        }
        let gradient = match (gradients, through) {
            ([], []) => None,
            (&[pooled], &[by_convolution])
                if matches!(node(pooled).op, Op::PoolGradient { .. }) =>
            {
                let by_average = node(pooled).operands[1];
                let own = |user: &Value| match (&node(*user).op, &node(*user).operands[..]) {
                    (Op::Conv2dGradientInput { .. }, &[_, other])
                    | (Op::Conv2dGradientWeights { .. }, &[other, _]) => other != by_convolution,
                    (Op::Conv2dGradientBias, _) => true,
                    _ => false,
                };
                if self.is_output(by_convolution)
                    || !users[by_convolution.0].iter().all(own)
                    || self.encrypted[by_average.0] != self.encrypted[convolution.0]
                {
                    return None;
                }
                Some(Gradient {
                    by_convolution,
                    by_average,
                })
            }
            _ => return None,
        };
        let averaged = Averaged {
            convolution,
            window: window.kernel,
            gradient,
        };
        Some((average, averaged))
    }

    /// Where `value` is the gradient by an averaged convolution: what is read in its place, and the
    /// average's window.
    pub(super) fn averaged_gradient(&self, value: Value) -> Option<(Value, [usize; 2])> {
        let averaged = self.averaged[value.0]?;
        let gradient = averaged.gradient?;
        (gradient.by_convolution == value).then_some((gradient.by_average, averaged.window))
    }

    /// The convolution and its average, which is `value`.
    pub(super) fn emit_averaged(&mut self, value: Value, averaged: &Averaged) -> Result<()> {
        let (shape, bias, reads) = self.convolution(averaged.convolution)?;
        self.layouts[value.0] = Layout::Tiles;
        let mut writes = vec![self.result(value)];
        if let Some(gradient) = averaged.gradient {
            let (dtype, algebra) = (self.options.dtype, self.options.algebra);
            let slots = if self.encrypted[value.0] {
                algebra.slots()
            } else {
                1
            };
            let words = shape.steps_len();
            let bytes = words.saturating_mul(slots * size_of::<u32>());
            self.storages.push(Storage {
                elements: bytes.div_ceil(dtype.size()),
                pinned: false,
            });
            let steps = Region {
                buffer: self.storages.len() - 1,
                planes: 0,
                elements: words,
                stride: words,
            };
            self.regions[gradient.by_convolution.0] = Some(steps);
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
}
