//! Batch normalisation: with the statistics of the batch, or folded into what comes before it.

use super::{Function, Init, Network, Op, Reduction, Value};
use crate::error::{Error, Result};

/// By which mean and variance batch normalisation goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistics {
    /// Those of the batch, for training; a run also moves the running ones to
    /// `keep` times what they were plus `1 - keep` times these.
    Batch {
        /// What part is kept, in [0, 1].
        keep: f64,
    },
    /// The running ones, for inference.
    Running,
}

/// The parts of a normalisation by channel, each a row of a number a channel.
struct Rows {
    weight: Value,
    bias: Value,
    mean: Value,
    variance: Value,
    epsilon: Value,
}

impl Network {
    /// Batch normalisation (Ioffe and Szegedy, 2015): each channel, axis 1, less its mean, over the root
    /// of its variance plus `epsilon`, by `{name}.weight` and plus `{name}.bias`, which start at 1 and
    /// 0. Running statistics are the parameters `{name}.running_mean` and `{name}.running_var`, which
    /// start at 0 and 1 and no gradient steps; of the batch's variance they take the mean of squares.
    ///
    /// Statistics of the batch are taken slot by slot, in two passes. With running ones a convolution
    /// or a matrix product with its bias that only this reads takes the normalisation into its own
    /// weights.
    ///
    /// # Errors
    /// When a name is taken, `epsilon` or `keep` is out of range, or operands so far have no channels.
    pub fn batch_norm(
        &mut self,
        name: &str,
        x: Value,
        epsilon: f64,
        statistics: Statistics,
    ) -> Result<Value> {
        let shape = self.shape(x)?;
        let refuse = |reason: String| Error::Operation {
            operation: name.to_owned(),
            reason,
        };
        let &[_, channels, ref rest @ ..] = &shape[..] else {
            return Err(refuse(format!("{shape} has no channels")));
        };
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return Err(refuse(format!("epsilon {epsilon} is not above zero")));
        }
        let part = |part: &str| format!("{name}.{part}");
        let rows = {
            let mut row = |of: &str, start: f64, trained: bool| {
                let op = Op::Parameter {
                    shape: [channels].into(),
                    init: Init::Constant(start),
                    trained,
                };
                self.push(&part(of), op, &[])
            };
            let (weight, bias) = (row("weight", 1.0, true)?, row("bias", 0.0, true)?);
            let mean = row("running_mean", 0.0, false)?;
            let variance = row("running_var", 1.0, false)?;
            let epsilon = self.constant(&part("epsilon"), [1], vec![epsilon])?;
            Rows {
                weight,
                bias,
                mean,
                variance,
                epsilon,
            }
        };
        match statistics {
            Statistics::Running => self.normalized_by_running(name, x, rest.len(), &rows),
            Statistics::Batch { keep } => {
                if !(0.0..=1.0).contains(&keep) {
                    return Err(refuse(format!("{keep} is no part in [0, 1] to keep")));
                }
                self.normalized_by_batch(name, x, rest.len(), &rows, keep)
            }
        }
    }

    /// A row a channel as it meets a tensor with so many axes after the channels.
    fn by_channel(&mut self, name: &str, row: Value, axes: usize) -> Result<Value> {
        if axes == 0 {
            return Ok(row);
        }
        let channels = self.shape(row)?.rows();
        let shape: Vec<usize> = std::iter::once(channels)
            .chain(std::iter::repeat_n(1, axes))
            .collect();
        self.reshape_to(name, row, shape)
    }

    fn normalized_by_batch(
        &mut self,
        name: &str,
        x: Value,
        axes_after: usize,
        rows: &Rows,
        keep: f64,
    ) -> Result<Value> {
        let part = |part: &str| format!("{name}.{part}");
        let axes: Vec<usize> = std::iter::once(0).chain(2..2 + axes_after).collect();
        let channels = self.shape(rows.weight)?;
        let mean = self.reduce(&part("mean"), Reduction::Mean, x, &axes, true)?;
        let centred = self.subtract(&part("centred"), x, mean)?;
        let squared = self.square(&part("squared"), centred)?;
        let variance = self.reduce(&part("variance"), Reduction::Mean, squared, &axes, true)?;
        for (of, value, running) in [
            ("running_mean", mean, rows.mean),
            ("running_var", variance, rows.variance),
        ] {
            let row = self.reshape_to(&part(&format!("{of}.row")), value, channels.clone())?;
            let op = Op::MovingAverage { keep };
            self.push(&part(&format!("{of}.step")), op, &[row, running])?;
        }
        let variance = self.add(&part("variance.shifted"), variance, rows.epsilon)?;
        let deviation = self.map(&part("deviation"), Function::Sqrt, variance)?;
        let weight = self.by_channel(&part("weight.channels"), rows.weight, axes_after)?;
        let factor = self.divide(&part("factor"), weight, deviation)?;
        let scaled = self.multiply(&part("scaled"), centred, factor)?;
        let bias = self.by_channel(&part("bias.channels"), rows.bias, axes_after)?;
        self.add(name, scaled, bias)
    }

    fn normalized_by_running(
        &mut self,
        name: &str,
        x: Value,
        axes_after: usize,
        rows: &Rows,
    ) -> Result<Value> {
        let part = |part: &str| format!("{name}.{part}");
        let variance = self.add(&part("variance.shifted"), rows.variance, rows.epsilon)?;
        let deviation = self.map(&part("deviation"), Function::Sqrt, variance)?;
        let factor = self.divide(&part("factor"), rows.weight, deviation)?;
        let (op, operands) = (self.node(x).op.clone(), self.node(x).operands.clone());
        match (op, &operands[..]) {
            (Op::Conv2d(convolution), &[images, weight, ref bias @ ..]) => {
                let shift = self.shifted(name, bias.first().copied(), factor, rows)?;
                let of_weights = self.by_channel(&part("factor.channels"), factor, 3)?;
                let weight = self.multiply(&part("folded.weight"), weight, of_weights)?;
                self.convolve(name, images, weight, Some(shift), convolution)
            }
            (Op::Linear { alpha, beta }, &[product, bias])
                if axes_after == 0
                    && (alpha, beta) == (1.0, 1.0)
                    && self.shape(bias)?.len() == 1 =>
            {
                let (op, operands) = (
                    self.node(product).op.clone(),
                    self.node(product).operands.clone(),
                );
                let (
                    Op::MatMul {
                        transpose_a,
                        transpose_b: false,
                    },
                    &[a, weight],
                ) = (op, &operands[..])
                else {
                    return self.scaled_and_shifted(name, x, axes_after, factor, rows);
                };
                let shift = self.shifted(name, Some(bias), factor, rows)?;
                let weight = self.multiply(&part("folded.weight"), weight, factor)?;
                let product = self.matmul_with(&part("product"), a, weight, transpose_a, false)?;
                self.add(name, product, shift)
            }
            _ => self.scaled_and_shifted(name, x, axes_after, factor, rows),
        }
    }

    /// `(bias - mean) factor + shift`, a row a channel.
    fn shifted(
        &mut self,
        name: &str,
        bias: Option<Value>,
        factor: Value,
        rows: &Rows,
    ) -> Result<Value> {
        let part = |part: &str| format!("{name}.{part}");
        let centred = match bias {
            Some(bias) => self.subtract(&part("folded.centred"), bias, rows.mean)?,
            None => self.scale(&part("folded.centred"), rows.mean, -1.0)?,
        };
        let scaled = self.multiply(&part("folded.scaled"), centred, factor)?;
        self.add(&part("folded.bias"), scaled, rows.bias)
    }

    /// `x factor + shift` where nothing before it takes them.
    fn scaled_and_shifted(
        &mut self,
        name: &str,
        x: Value,
        axes_after: usize,
        factor: Value,
        rows: &Rows,
    ) -> Result<Value> {
        let part = |part: &str| format!("{name}.{part}");
        let shift = self.shifted(name, None, factor, rows)?;
        let factor = self.by_channel(&part("factor.channels"), factor, axes_after)?;
        let shift = self.by_channel(&part("shift.channels"), shift, axes_after)?;
        let scaled = self.multiply(&part("scaled"), x, factor)?;
        self.add(name, scaled, shift)
    }
}
