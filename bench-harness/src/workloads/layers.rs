//! What the use cases' networks are built of.

use furthermore::Result;
use furthermore::network::{Convolution, Function, Network, Pool, Value, Window};

/// A network that is being built, in which one layer may be left out.
pub(super) struct Layers<'n> {
    network: &'n mut Network,
    left_out: Option<&'n str>,
}

impl<'n> Layers<'n> {
    /// What follows goes into `network`.
    pub(super) fn new(network: &'n mut Network, left_out: Option<&'n str>) -> Self {
        Self { network, left_out }
    }

    /// A linear layer from so many numbers to so many.
    pub(super) fn linear(
        &mut self,
        name: &str,
        x: Value,
        ins: usize,
        outs: usize,
    ) -> Result<Value> {
        self.network.linear(name, x, ins, outs)
    }

    /// A convolution from channels to channels.
    pub(super) fn conv2d(
        &mut self,
        name: &str,
        x: Value,
        channels: [usize; 2],
        kernel: [usize; 2],
        convolution: Convolution,
    ) -> Result<Value> {
        (self.network).conv2d(name, x, channels, kernel, convolution)
    }

    /// max(x, 0).
    pub(super) fn relu(&mut self, name: &str, x: Value) -> Result<Value> {
        self.map(name, Function::Relu, x)
    }

    /// tanh(x).
    pub(super) fn tanh(&mut self, name: &str, x: Value) -> Result<Value> {
        self.map(name, Function::Tanh, x)
    }

    fn map(&mut self, name: &str, function: Function, x: Value) -> Result<Value> {
        match self.left_out {
            Some(layer) if layer == name => Ok(x),
            _ => self.network.map(name, function, x),
        }
    }

    /// A pooling of windows side by side.
    pub(super) fn pool(&mut self, name: &str, pool: Pool, x: Value, size: usize) -> Result<Value> {
        let mut window = Window::tiling(size);
        if self.left_out == Some(name) {
            window.kernel = [1; 2];
        }
        self.network.pool(name, pool, x, window)
    }

    /// A sample's numbers in one row.
    pub(super) fn flatten(&mut self, name: &str, x: Value) -> Result<Value> {
        self.network.flatten(name, x)
    }
}
