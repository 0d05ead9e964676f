//! Layers: operations with the parameters they need.

use super::{Convolution, Init, Network, Op, Pool, Value, Window};
use crate::error::{Error, Result};
use crate::tensor::Shape;

impl Network {
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

    /// A convolution of images `[in_channels, rows, columns]` with a bias: weights `[out_channels,
    /// in_channels / groups, kernel rows, kernel columns]` as `{name}.weight` and `{name}.bias`, both
    /// starting uniform in +-1/sqrt(the number of inputs that a pixel sums).
    ///
    /// # Errors
    /// When a name is taken.
    pub fn conv2d(
        &mut self,
        name: &str,
        x: Value,
        [in_channels, out_channels]: [usize; 2],
        kernel: [usize; 2],
        convolution: Convolution,
    ) -> Result<Value> {
        let depth = in_channels / convolution.groups.max(1);
        let sums = depth.saturating_mul(kernel[0]).saturating_mul(kernel[1]);
        let init = Init::Uniform {
            bound: 1.0 / (sums.max(1) as f64).sqrt(),
        };
        let shape = [out_channels, depth, kernel[0], kernel[1]];
        let weight = self.parameter(&format!("{name}.weight"), shape, init)?;
        let bias = self.parameter(&format!("{name}.bias"), [out_channels], init)?;
        self.convolve(name, x, weight, Some(bias), convolution)
    }

    /// A convolution of images `[batch, channels, rows, columns]` with weights `[out channels, channels
    /// / groups, rows, columns]` and a bias for each channel.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn convolve(
        &mut self,
        name: &str,
        x: Value,
        weight: Value,
        bias: Option<Value>,
        convolution: Convolution,
    ) -> Result<Value> {
        let operands: Vec<Value> = [x, weight].into_iter().chain(bias).collect();
        self.push(name, Op::Conv2d(convolution), &operands)
    }

    /// A convolution of series `[in_channels, length]` with a bias: weights `[out_channels, in_channels
    /// / groups, kernel]` as `{name}.weight` and `{name}.bias`, which start as those of
    /// [`Network::conv2d`] do. It is that of images of one row: of `convolution` the columns count.
    ///
    /// # Errors
    /// When a name is taken, or operands so far do not go together.
    pub fn conv1d(
        &mut self,
        name: &str,
        x: Value,
        [in_channels, out_channels]: [usize; 2],
        kernel: usize,
        convolution: Convolution,
    ) -> Result<Value> {
        let depth = in_channels / convolution.groups.max(1);
        let init = Init::Uniform {
            bound: 1.0 / (depth.saturating_mul(kernel).max(1) as f64).sqrt(),
        };
        let shape = [out_channels, depth, kernel];
        let weight = self.parameter(&format!("{name}.weight"), shape, init)?;
        let bias = self.parameter(&format!("{name}.bias"), [out_channels], init)?;
        let part = |part: &str| format!("{name}.{part}");
        let weight = self.reshape_to(&part("kernel"), weight, [out_channels, depth, 1, kernel])?;
        let length = self.shape(x)?.last().copied().unwrap_or(0);
        let image = self.reshape(&part("image"), x, [in_channels, 1, length])?;
        let y = self.convolve(&part("convolution"), image, weight, Some(bias), convolution)?;
        let length = self.shape(y)?.last().copied().unwrap_or(0);
        self.reshape(name, y, [out_channels, length])
    }

    /// The mean or the maximum of each place of a window, slot by slot.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn pool(&mut self, name: &str, pool: Pool, x: Value, window: Window) -> Result<Value> {
        self.push(name, Op::Pool { pool, window }, &[x])
    }

    /// The mean or maximum of each whole image of a channel: `[channels, 1, 1]`.
    ///
    /// # Errors
    /// When the name is taken, or operands so far are no images.
    pub fn global_pool(&mut self, name: &str, pool: Pool, x: Value) -> Result<Value> {
        let shape = self.shape(x)?;
        let &[_, _, rows, columns] = &*shape else {
            return Err(Error::Operation {
                operation: name.to_owned(),
                reason: format!("{shape} has no images"),
            });
        };
        let window = Window {
            kernel: [rows, columns],
            stride: [rows, columns],
            ..Window::tiling(1)
        };
        self.pool(name, pool, x, window)
    }

    /// Sets elements to zero with probability `rate` and multiplies the others by 1 / (1 - `rate`)
    /// (Srivastava and others, 2014), anew at each run: for training.
    ///
    /// # Errors
    /// When the name is taken, `rate` is not in [0, 1), or operands so far do not go together.
    pub fn dropout(&mut self, name: &str, x: Value, rate: f64) -> Result<Value> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::Operation {
                operation: name.to_owned(),
                reason: format!("rate {rate} is not in [0, 1)"),
            });
        }
        let whole = self.shape(x)?;
        let other = self.shapes(3).ok().map(|shapes| shapes[x.0].clone());
        let rows = |shape: &Shape| shape.first().copied();
        // A network may take one sample only.
        let batch = if self.shapes(2).is_ok() { 2 } else { 1 };
        if rows(&whole) != Some(batch) || other.is_some_and(|other| rows(&other) != Some(3)) {
            return Err(Error::Operation {
                operation: name.to_owned(),
                reason: format!("the first axis of {whole} is not that of the samples"),
            });
        }
        let shape = whole[1..].into();
        let op = Op::DropoutMask { shape, rate };
        let mask = self.push(&format!("{name}.mask"), op, &[])?;
        self.multiply(name, x, mask)
    }

    /// `max(x, 0) + slope min(x, 0)` with a slope that is a value of the network and may repeat along
    /// x (He and others, 2015).
    ///
    /// # Errors
    /// When the name is taken.
    pub fn prelu(&mut self, name: &str, x: Value, slope: Value) -> Result<Value> {
        let part = |part: &str| format!("{name}.{part}");
        let above = self.relu(&part("above"), x)?;
        let below = self.subtract(&part("below"), x, above)?;
        let below = self.multiply(&part("sloped"), below, slope)?;
        self.add(name, above, below)
    }
}
