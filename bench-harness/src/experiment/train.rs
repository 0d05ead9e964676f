//! Training on plaintexts and on ciphertexts, step by step in turn.

use furthermore::device::Device;
use furthermore::network::{Network, Parameters};
use furthermore::plan::CompileOptions;
use furthermore::scheme::{Encryptor, SecretKey};
use furthermore::session::{Decay, Schedule, Session};
use furthermore::tensor::{DType, TensorView};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;

use super::judge::Judgement;
use super::{Experiment, Row, TRAIN_BATCH, open, worse};
use crate::error::{Error, Result};
use crate::progress;
use crate::scheme::Scheme;
use crate::timing::Samples;
use crate::workloads::Examples;

/// What training came to.
pub(super) struct Trained {
    pub(super) plain: Parameters,
    pub(super) encrypted: Parameters,
    /// The encrypted weights' messages.
    pub(super) opened: Parameters,
    /// Times, and what either set of weights answers.
    pub(super) row: Row,
}

impl Experiment<'_> {
    /// Trains on plaintexts and on ciphertexts from the same weights and batches.
    pub(super) fn train(
        &self,
        scheme: Scheme,
        key: &SecretKey,
        encryptor: &mut Encryptor<'_>,
    ) -> Result<Trained> {
        let mut row = Row::new(self, "train", "ct-ct", TRAIN_BATCH, scheme);
        let network = self.workload.training(self.workload.recipe.optimizer)?;
        let start = network.initial_parameters(self.seed, self.dtype)?;
        let set = &self.task.train;
        let mut encrypting = Samples::default();
        let (inputs, targets) = encrypting
            .time(|| encryptor.encrypt_training_set(&set.inputs, &set.targets, self.masks))?;
        let mut compiling = Samples::default();
        let options = CompileOptions::plain(TRAIN_BATCH, self.dtype);
        let mut plain = self.session(self.device, &network, &options, None, &start)?;
        let mut encrypted = compiling.time(|| {
            let options = CompileOptions::encrypted(TRAIN_BATCH, self.dtype, scheme.algebra);
            let public = Some(key.evaluation_key());
            self.session(self.device, &network, &options, public, &start)
        })?;

        let message = format!("{}, {scheme}: training", self.workload.name);
        let bar = progress::bar(&message, self.steps() * self.epochs);
        let (mut plain_times, mut encrypted_times) = (Samples::default(), Samples::default());
        let (mut plain_total, mut encrypted_total) = (Samples::default(), Samples::default());
        self.each_step(|step, rate, rows| {
            let mut plain_step = || {
                let set = [(&set.inputs).into(), (&set.targets).into()];
                plain_total.time(|| one(&mut plain, rate, set, rows, &mut plain_times))
            };
            let mut encrypted_step = || {
                let set = [(&inputs).into(), (&targets).into()];
                encrypted_total.time(|| one(&mut encrypted, rate, set, rows, &mut encrypted_times))
            };
            // Who goes first alternates, so that neither always finds the other's cache.
            if step % 2 == 0 {
                plain_step()?;
                encrypted_step()?;
            } else {
                encrypted_step()?;
                plain_step()?;
            }
            bar.inc(1);
            Ok(())
        })?;
        bar.finish_and_clear();

        let (plain, encrypted) = (plain.parameters()?, encrypted.parameters()?);
        let mut decrypting = Samples::default();
        let opened = decrypting.time(|| open(key, &encrypted))?;
        row.set_times(&plain_times, &encrypted_times);
        row.total_plain_seconds = Some(plain_total.total());
        row.total_encrypted_seconds = Some(encrypted_total.total());
        row.encrypt_seconds = encrypting.median();
        row.decrypt_seconds = decrypting.median();
        row.compile_seconds = compiling.median();
        row.weight_max_abs_error = Some(largest_difference(&plain, &opened)?);
        row.note =
            "encrypt_seconds is the whole training set, decrypt_seconds the weights".to_owned();
        row.set_plain_answers(&self.answers(self.device, &plain, &self.task.test)?);
        row.set_encrypted_answers(&self.answers(self.device, &opened, &self.task.test)?);
        Ok(Trained {
            plain,
            encrypted,
            opened,
            row,
        })
    }

    /// Trains on plaintexts in f64 from the same weights and batches, and judges what it has learnt.
    pub(super) fn train_in_f64(&self) -> Result<Judgement> {
        let network = self.workload.training(self.workload.recipe.optimizer)?;
        let start = network.initial_parameters(self.seed, self.dtype)?;
        let start = start.to_dtype(DType::F64)?;
        let set = self.task.train.to_dtype(DType::F64)?;
        let trained = self.train_plain(
            self.processor,
            &network,
            &start,
            &set,
            "plain training in f64",
        )?;
        let test = self.task.test.to_dtype(DType::F64)?;
        self.answers(self.processor, &trained, &test)
    }

    /// Trains a network that steps its parameters on plaintexts of their element type.
    pub(super) fn train_plain(
        &self,
        device: &dyn Device,
        network: &Network,
        start: &Parameters,
        set: &Examples,
        what: &str,
    ) -> Result<Parameters> {
        let options = CompileOptions::plain(TRAIN_BATCH, set.inputs.dtype());
        let mut session = self.session(device, network, &options, None, start)?;
        let message = format!("{}: {what}", self.workload.name);
        let bar = progress::bar(&message, self.steps() * self.epochs);
        let mut times = Samples::default();
        self.each_step(|_, rate, rows| {
            bar.inc(1);
            let set = [(&set.inputs).into(), (&set.targets).into()];
            one(&mut session, rate, set, rows, &mut times)
        })?;
        bar.finish_and_clear();
        Ok(session.parameters()?)
    }

    /// Steps of an epoch; what is left of the set after the last whole batch waits for another order.
    fn steps(&self) -> usize {
        self.task.train.len() / TRAIN_BATCH
    }

    /// Goes through the training set, epoch by epoch, in an order that hangs on the seed alone: the
    /// step's number, its learning rate and its samples. An error names the step.
    fn each_step(
        &self,
        mut body: impl FnMut(usize, f64, &[usize]) -> furthermore::Result<()>,
    ) -> Result<()> {
        let recipe = self.workload.recipe;
        let schedule = Schedule {
            decay: match recipe.decays {
                true => Decay::Cosine {
                    steps: (self.steps() * self.epochs) as u64,
                    floor: 0.0,
                },
                false => Decay::None,
            },
            ..Schedule::constant(recipe.rate)
        };
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed);
        let mut order: Vec<usize> = (0..self.task.train.len()).collect();
        let mut step = 0;
        for epoch in 1..=self.epochs {
            order.shuffle(&mut rng);
            for (nth, rows) in order.chunks_exact(TRAIN_BATCH).enumerate() {
                let rate = schedule.at(step as u64 + 1);
                body(step, rate, rows).map_err(|error| {
                    Error::from(furthermore::Error::Operation {
                        operation: format!("step {} of epoch {epoch}", nth + 1),
                        reason: error.to_string(),
                    })
                })?;
                step += 1;
            }
        }
        Ok(())
    }
}

/// One step of a session on these rows of a training set.
fn one(
    session: &mut Session,
    rate: f64,
    [inputs, targets]: [TensorView<'_>; 2],
    rows: &[usize],
    times: &mut Samples,
) -> furthermore::Result<()> {
    session.set_learning_rate(rate)?;
    session.write_rows("x", inputs, rows)?;
    session.write_rows("target", targets, rows)?;
    times.time(|| session.run())
}

fn largest_difference(plain: &Parameters, opened: &Parameters) -> Result<f64> {
    let mut worst = 0.0;
    for (name, weight) in plain.iter() {
        let numbers = |tensor: &furthermore::tensor::Tensor| match tensor.view() {
            TensorView::Plaintext(p) => p.to_f64(),
            TensorView::Ciphertext(_) => Vec::new(),
        };
        for (p, e) in numbers(weight).iter().zip(numbers(opened.get(name)?)) {
            worst = worse(worst, (p - e).abs());
        }
    }
    Ok(worst)
}
