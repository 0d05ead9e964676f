//! Training: a session whose runs step parameters, batch after batch of a training set.

use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};

use super::{Schedule, Session, samples};
use crate::device::{Cancel, Device};
use crate::error::{Error, Result};
use crate::network::{Network, Optimizer, Parameters, Value};
use crate::plan::{CompileOptions, Plan};
use crate::scheme::{EvaluationKey, Guard};
use crate::tensor::{Tensor, TensorView};

/// The name under which the loss can be read.
const LOSS: &str = "training loss";

/// How to train.
#[derive(Debug, Clone)]
pub struct TrainingOptions {
    /// Batch, algebra, element type, and what is encrypted: parameters have to be where inputs are.
    pub compile: CompileOptions,
    /// What steps parameters.
    pub optimizer: Optimizer,
    /// How long its steps are.
    pub schedule: Schedule,
    /// The slots of gradients are limited to `-clip..=clip`.
    pub clip: Option<f64>,
    /// Of the order of samples and of dropout.
    pub seed: u64,
}

/// Trains a network. Everything that is drawn depends on the seed, the epoch and the step alone, so a
/// trainer that goes on from saved parameters, states and counts goes on as if it had never stopped,
/// bit for bit on the same instruction set and number of threads.
#[derive(Debug)]
pub struct Trainer {
    session: Session,
    schedule: Schedule,
    seed: u64,
    epoch: u64,
    /// Batches of this epoch that have been trained on.
    batches: u64,
    /// Samples of the epoch's training set, once it has begun.
    samples: Option<u64>,
}

/// How far training has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps taken.
    pub steps: u64,
    /// Epochs done.
    pub epoch: u64,
    /// Batches of the next epoch that are done already.
    pub batches: u64,
    /// Samples of the training set, where one has been trained on.
    pub samples: Option<u64>,
    /// Samples of a batch.
    pub batch: usize,
    /// What orders and dropout are drawn from.
    pub seed: u64,
}

/// A step that was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Which, from 1.
    pub step: u64,
    /// In which epoch, from 0.
    pub epoch: u64,
    /// Which of the epoch's batches it was, from 0.
    pub batch: u64,
    /// How many the epoch has.
    pub batches: u64,
    /// Its learning rate.
    pub rate: f64,
}

impl Trainer {
    /// Compiles `network` to step its parameters against the gradient of `loss`, and loads the
    /// parameters to start from: plaintext ones become public multiples of one where they are to be
    /// encrypted, see [`Session::write`].
    ///
    /// # Errors
    /// When the network has no such gradient, an option is out of range, a parameter or the key is
    /// missing or does not fit, or the device cannot hold the plan.
    pub fn new(
        device: &dyn Device,
        network: &Network,
        loss: Value,
        options: &TrainingOptions,
        key: Option<&Arc<EvaluationKey>>,
        parameters: &Parameters,
    ) -> Result<Self> {
        options.schedule.check()?;
        let mut network = network.with_optimizer(loss, options.optimizer, options.clip)?;
        network.output(LOSS, loss)?;
        let plan = Arc::new(Plan::compile(&network, &options.compile)?);
        let mut session = Session::new(device, plan, key)?;
        session.load_parameters(parameters)?;
        session.set_dropout_seed(options.seed);
        Ok(Self {
            session,
            schedule: options.schedule,
            seed: options.seed,
            epoch: 0,
            batches: 0,
            samples: None,
        })
    }

    /// The session it trains with.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.session.steps()
    }

    /// Epochs done.
    pub fn epochs(&self) -> u64 {
        self.epoch
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        Progress {
            steps: self.session.steps(),
            epoch: self.epoch,
            batches: self.batches,
            samples: self.samples,
            batch: self.session.plan().options().batch,
            seed: self.seed,
        }
    }

    /// Parameters and what the optimiser keeps, by name.
    pub(crate) fn resident(&self) -> Result<Vec<(String, Tensor)>> {
        self.session.resident()
    }

    /// Puts it where a trainer with these tensors was.
    ///
    /// # Errors
    /// When something does not fit; nothing has changed then.
    pub(crate) fn restore(
        &mut self,
        tensors: &[(String, Tensor)],
        progress: Progress,
    ) -> Result<()> {
        let batch = self.session.plan().options().batch;
        if progress.batch != batch {
            return Err(Error::Operation {
                operation: "checkpoint".to_owned(),
                reason: format!("it trained by batches of {}, not {batch}", progress.batch),
            });
        }
        /// No training comes this far; from here on counts could run over.
        const MOST: u64 = 1 << 53;
        let counts = [progress.steps, progress.epoch, progress.batches];
        if let Some(odd) = counts.into_iter().find(|count| *count >= MOST) {
            return Err(Error::Operation {
                operation: "checkpoint".to_owned(),
                reason: format!("it says that training has come to {odd}"),
            });
        }
        self.session.restore(tensors, progress.steps)?;
        self.session.set_dropout_seed(progress.seed);
        self.seed = progress.seed;
        (self.epoch, self.batches) = (progress.epoch, progress.batches);
        self.samples = progress.samples;
        Ok(())
    }

    /// Sets the limits of the mask guard.
    pub fn set_guard(&mut self, guard: Guard) {
        self.session.set_guard(guard);
    }

    /// Sets a flag that steps look at.
    pub fn set_cancel(&mut self, cancel: Option<Cancel>) {
        self.session.set_cancel(cancel);
    }

    /// Takes a step on these rows of a training set, as many as a batch has.
    ///
    /// # Errors
    /// As [`Session::write_rows`] and [`Session::run`].
    pub fn step(&mut self, set: &[(&str, TensorView<'_>)], rows: &[usize]) -> Result<()> {
        self.session.check_inputs("step", set)?;
        for (name, tensor) in set {
            self.session.write_rows(name, *tensor, rows)?;
        }
        let rate = self.schedule.at(self.session.steps().saturating_add(1));
        self.session.set_learning_rate(rate)?;
        self.session.run()
    }

    /// Goes through what is left of an epoch over a training set, whose tensors have a row a sample:
    /// once through all whole batches, in an order drawn for the epoch. Samples that fill no batch
    /// are left out this time. `after` is called after each step, and may end the epoch there with
    /// an error, which is returned; the next call goes on with the next batch.
    ///
    /// # Errors
    /// When tensors differ in samples or have less than a batch; otherwise as [`Trainer::step`].
    pub fn epoch(
        &mut self,
        set: &[(&str, TensorView<'_>)],
        mut after: impl FnMut(&Self, Step) -> Result<()>,
    ) -> Result<()> {
        let batch = self.session.plan().options().batch;
        let samples = samples("epoch", set)?;
        let batches = (samples / batch) as u64;
        if batches == 0 {
            return Err(Error::Operation {
                operation: "epoch".to_owned(),
                reason: format!("{samples} samples do not make a batch of {batch}"),
            });
        }
        if self.batches > 0 && self.samples != Some(samples as u64) || self.batches > batches {
            let before = self
                .samples
                .map_or("another number of".to_owned(), |n| n.to_string());
            return Err(Error::Operation {
                operation: "epoch".to_owned(),
                reason: format!(
                    "the epoch began over {before} samples, and there are {samples} now"
                ),
            });
        }
        self.samples = Some(samples as u64);
        let order = self.order(samples);
        while self.batches < batches {
            let rows = &order[self.batches as usize * batch..][..batch];
            self.step(set, rows)?;
            let taken = Step {
                step: self.session.steps(),
                epoch: self.epoch,
                batch: self.batches,
                batches,
                rate: self.schedule.at(self.session.steps()),
            };
            self.batches += 1;
            after(self, taken)?;
        }
        self.batches = 0;
        self.epoch = self.epoch.saturating_add(1);
        Ok(())
    }

    /// The order of samples in this epoch.
    fn order(&self, samples: usize) -> Vec<usize> {
        let mut random = ChaCha20Rng::seed_from_u64(self.seed);
        random.set_stream(2 * self.epoch);
        let mut order: Vec<usize> = (0..samples).collect();
        order.shuffle(&mut random);
        order
    }

    /// The loss of the last step's batch, before that step.
    ///
    /// # Errors
    /// When the device fails.
    pub fn loss(&self) -> Result<Tensor> {
        self.session.read(LOSS)
    }

    /// The parameters as they are now.
    ///
    /// # Errors
    /// When the device fails.
    pub fn parameters(&self) -> Result<Parameters> {
        self.session.parameters()
    }

    /// What a network that predicts with these parameters gives for samples, as
    /// [`Session::predict`] does, encrypted as they are: whoever holds the key decrypts it and judges.
    ///
    /// # Errors
    /// When a parameter of that network is none of those trained, otherwise as [`Session::new`] and
    /// [`Session::predict`].
    pub fn evaluate(
        &self,
        device: &dyn Device,
        network: &Network,
        inputs: &[(&str, TensorView<'_>)],
        output: &str,
    ) -> Result<Tensor> {
        let mut options = self.session.plan().options().clone();
        // What only training reads is not there.
        options
            .plaintext
            .retain(|name| network.nodes().iter().any(|node| node.name == *name));
        let plan = Arc::new(Plan::compile(network, &options)?);
        let mut session = Session::new(device, plan, self.session.key())?;
        session.load_parameters(&self.parameters()?)?;
        session.predict(inputs, output, |_| ())
    }
}
