//! Losses, and networks that also step their parameters.

use super::{Network, Op, Value};
use crate::error::{Error, Result};

/// How parameters are stepped. The learning rate is given at each run.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Optimizer {
    /// Gradient descent: `v <- momentum v + g`, `w <- w - rate v`.
    Sgd {
        /// What part of the velocity is kept, in [0, 1).
        momentum: f64,
        /// Multiple of the parameter that is added to its gradient.
        weight_decay: f64,
    },
    /// Adam (Kingma and Ba, 2015), slot by slot.
    Adam {
        /// Decay of the first moment, in [0, 1).
        beta1: f64,
        /// Decay of the second moment, in [0, 1).
        beta2: f64,
        /// Added to the second moment's root; at least 1e-6.
        epsilon: f64,
        /// Multiple of the parameter that is added to its gradient.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// Gradient descent with momentum, without weight decay.
    pub const fn sgd(momentum: f64) -> Self {
        Self::Sgd {
            momentum,
            weight_decay: 0.0,
        }
    }

    /// Adam as its authors recommend it, but for an epsilon that the slots of ciphertexts bear: 1e-6.
    pub const fn adam() -> Self {
        Self::Adam {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.0,
        }
    }

    /// What each parameter's memory is called.
    pub fn states(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { momentum, .. } if *momentum == 0.0 => &[],
            Self::Sgd { .. } => &["velocity"],
            Self::Adam { .. } => &["moment", "deviation"],
        }
    }

    /// # Errors
    /// When a number is out of range.
    fn check(&self) -> Result<()> {
        let (operation, [first, second], epsilon, weight_decay) = match *self {
            Self::Sgd {
                momentum,
                weight_decay,
            } => ("sgd", [momentum; 2], 1.0, weight_decay),
            Self::Adam {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => ("adam", [beta1, beta2], epsilon, weight_decay),
        };
        let decays = |value: f64| (0.0..1.0).contains(&value);
        let reason = if !decays(first) || !decays(second) {
            let what = match self {
                Self::Sgd { .. } => format!("momentum {first}"),
                Self::Adam { .. } => format!("one of the decays {first} and {second}"),
            };
            format!("{what} is not in [0, 1)")
        } else if !(epsilon >= 1e-6 && epsilon.is_finite()) {
            format!("epsilon {epsilon} is not a number from 1e-6 on")
        } else if !(weight_decay >= 0.0 && weight_decay.is_finite()) {
            format!("weight decay {weight_decay} is negative or not finite")
        } else {
            return Ok(());
        };
        Err(Error::Operation {
            operation: operation.to_owned(),
            reason,
        })
    }
}

impl Network {
    /// Mean over rows of the cross entropy of softmax(logits) with rows of target probabilities.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn softmax_cross_entropy(
        &mut self,
        name: &str,
        logits: Value,
        targets: Value,
    ) -> Result<Value> {
        self.push(name, Op::SoftmaxCrossEntropy, &[logits, targets])
    }

    /// Mean over all elements of `(predicted - target)^2`.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn mean_squared_error(
        &mut self,
        name: &str,
        predicted: Value,
        targets: Value,
    ) -> Result<Value> {
        self.push(name, Op::MeanSquaredError, &[predicted, targets])
    }

    /// Mean over all elements of the cross entropy of sigmoid(logits) with target probabilities.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn binary_cross_entropy(
        &mut self,
        name: &str,
        logits: Value,
        targets: Value,
    ) -> Result<Value> {
        self.push(name, Op::BinaryCrossEntropy, &[logits, targets])
    }

    /// A copy of this network that, at each run, also steps every trainable parameter against the gradient of
    /// `loss`, whose slots are first limited to `-clip..=clip` where a limit is given. The learning
    /// rate is given at each run.
    ///
    /// # Errors
    /// As [`Network::gradients`], or when a number of the optimiser or the limit is out of range.
    pub fn with_optimizer(
        &self,
        loss: Value,
        optimizer: Optimizer,
        clip: Option<f64>,
    ) -> Result<Network> {
        optimizer.check()?;
        if let Some(limit) = clip
            && !(limit > 0.0 && limit.is_finite())
        {
            return Err(Error::Operation {
                operation: "clip".to_owned(),
                reason: format!("limit {limit} is not above zero"),
            });
        }
        let parameters = self.trainable();
        let (mut network, gradients) = self.gradients(loss, &parameters)?;
        for (parameter, mut gradient) in parameters.into_iter().zip(gradients) {
            let node = self.node(parameter);
            let (name, Op::Parameter { shape, .. }) = (&node.name, &node.op) else {
                continue;
            };
            if let Some(limit) = clip {
                let clipped = format!("{name}.gradient.clipped");
                gradient = network.push(&clipped, Op::Clip { limit }, &[gradient])?;
            }
            let mut operands = vec![gradient, parameter];
            for state in optimizer.states() {
                let shape = shape.clone();
                let state = format!("{name}.{state}");
                operands.push(network.push(&state, Op::State { shape }, &[])?);
            }
            let step = Op::Step(optimizer);
            network.push(&format!("{name}.step"), step, &operands)?;
        }
        Ok(network)
    }
}
