//! Inference on plaintexts and on ciphertexts with the same weights, batch by batch in turn.

use furthermore::Algebra;
use furthermore::device::Device;
use furthermore::network::{Network, Parameters};
use furthermore::plan::CompileOptions;
use furthermore::scheme::{Encryptor, MaskPolicy, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{Plaintext, Tensor};

use super::judge::Judgement;
use super::{Experiment, Row, WHOLE_BATCH, worse};
use crate::error::Result;
use crate::progress;
use crate::scheme::Scheme;
use crate::timing::Samples;
use crate::workloads::Examples;

/// How the masks of samples to infer are drawn, a batch at a time. What is no sample may leave the
/// intervals of a network's polynomials, and powers of that drown the message: where they can, masks
/// of polynomials are other samples.
pub(super) fn masks(scheme: Scheme, batch: usize) -> MaskPolicy<'static> {
    match scheme.algebra {
        Algebra::Graded(_) if batch > 1 => MaskPolicy::PairedRows,
        _ => MaskPolicy::Uniform,
    }
}

/// Fewest alternating repetitions, and most where the whole test set takes no more.
const MIN_REPETITIONS: usize = 10;
const MOST_REPETITIONS: usize = 1000;
/// Seconds of each side that are enough.
const MIN_SECONDS: f64 = 0.05;
/// Batches that are looked at where the whole test set is not.
const FEW_BATCHES: usize = 30;

/// Which network ciphertexts go through, and with which weights.
pub(super) struct Regime<'a> {
    name: &'static str,
    scheme: Scheme,
    network: &'a Network,
    /// The weights of the plaintext side, which are the same messages.
    plain: &'a Parameters,
    weights: &'a Parameters,
}

impl<'a> Regime<'a> {
    pub(super) fn plain_weights(
        scheme: Scheme,
        network: &'a Network,
        weights: &'a Parameters,
    ) -> Self {
        Self {
            name: "ct-pt",
            scheme,
            network,
            plain: weights,
            weights,
        }
    }

    pub(super) fn encrypted_weights(
        scheme: Scheme,
        network: &'a Network,
        opened: &'a Parameters,
        weights: &'a Parameters,
    ) -> Self {
        Self {
            name: "ct-ct",
            scheme,
            network,
            plain: opened,
            weights,
        }
    }

    /// For so many samples.
    fn options(&self, experiment: &Experiment<'_>, batch: usize) -> CompileOptions {
        let (rows, algebra) = (self.scheme.rows(batch), self.scheme.algebra);
        match self.name {
            "ct-pt" => CompileOptions::encrypted_inputs(rows, experiment.dtype, algebra),
            _ => CompileOptions::encrypted(rows, experiment.dtype, algebra),
        }
    }
}

impl Experiment<'_> {
    /// Runs test samples through a plaintext and an encrypted session: all of them in the largest
    /// batches, some in smaller ones.
    pub(super) fn infer(
        &self,
        regime: Regime<'_>,
        batch: usize,
        key: &SecretKey,
        encryptor: &mut Encryptor<'_>,
    ) -> Result<Row> {
        let test = &self.task.test;
        let scheme = regime.scheme;
        let mut row = Row::new(self, "infer", regime.name, batch, scheme);
        let open = |tensor: Tensor, samples: usize| -> Result<Plaintext> {
            match tensor {
                Tensor::Plaintext(plaintext) => Ok(plaintext),
                Tensor::Ciphertext(ciphertext) => scheme.decrypt(key, &ciphertext, samples),
            }
        };
        let run = batch.min(test.len());
        let all = batch == WHOLE_BATCH;
        row.masks = masks(scheme, run).name();
        let whole = test.len() / run;
        let batches = if all { whole } else { whole.min(FEW_BATCHES) };
        let (mut encrypting, mut decrypting) = (Samples::default(), Samples::default());
        let (mut plain_times, mut encrypted_times) = (Samples::default(), Samples::default());
        let mut seen = Seen::new(self);

        let mut compiling = Samples::default();
        let mut sides = Sides::new(self, &regime, run, key, &mut compiling)?;
        let workload = self.workload.name;
        let message = format!("{workload}, {scheme}: inference {} of {batch}", row.regime);
        let bar = progress::bar(&message, batches);
        for turn in 0.. {
            // What is drawn is the same for the same seed, however long runs take: times that do not say
            // enough yet are those of the last batch again.
            let fresh = turn < batches;
            if !fresh && (turn >= MOST_REPETITIONS || enough(&plain_times, &encrypted_times)) {
                break;
            }
            if fresh {
                let samples = self.test(turn * run..(turn + 1) * run)?;
                let ciphertext = encrypting
                    .time(|| scheme.encrypt(encryptor, &samples.inputs, masks(scheme, run)))?;
                sides.plain.write("x", &samples.inputs)?;
                sides.encrypted.write("x", &ciphertext)?;
                // Once untimed: what is written to a graphics processor gets there with the next run,
                // whosever it is, and threads are awake.
                sides.plain.run()?;
                sides.encrypted.run()?;
                let output = decrypting.time(|| open(sides.encrypted.read("y")?, run))?;
                seen.see(&open(sides.plain.read("y")?, run)?, &output, &samples);
                bar.inc(1);
            }
            if turn % 2 == 0 {
                plain_times.time(|| sides.plain.run())?;
                encrypted_times.time(|| sides.encrypted.run())?;
            } else {
                encrypted_times.time(|| sides.encrypted.run())?;
                plain_times.time(|| sides.plain.run())?;
            }
        }
        bar.finish_and_clear();
        let rest = whole * run..test.len();
        if all && !rest.is_empty() {
            let mut sides = Sides::new(self, &regime, rest.len(), key, &mut Samples::default())?;
            let (count, samples) = (rest.len(), self.test(rest)?);
            sides.plain.write("x", &samples.inputs)?;
            let ciphertext = scheme.encrypt(encryptor, &samples.inputs, masks(scheme, count))?;
            sides.encrypted.write("x", &ciphertext)?;
            sides.plain.run()?;
            sides.encrypted.run()?;
            let plain = open(sides.plain.read("y")?, count)?;
            let encrypted = open(sides.encrypted.read("y")?, count)?;
            seen.see(&plain, &encrypted, &samples);
        }
        row.set_times(&plain_times, &encrypted_times);
        row.batch = run;
        row.compile_seconds = compiling.median();
        row.encrypt_seconds = encrypting.median();
        row.decrypt_seconds = decrypting.median();
        row.output_max_abs_error = Some(seen.max_difference);
        if all {
            row.set_plain_answers(&seen.plain);
            row.set_encrypted_answers(&seen.encrypted);
        } else {
            row.note = format!("{batches} batches of the test set: no accuracy is taken");
        }
        Ok(row)
    }

    /// What plaintext weights, of the samples' element type, answer.
    pub(super) fn answers(
        &self,
        device: &dyn Device,
        weights: &Parameters,
        test: &Examples,
    ) -> Result<Judgement> {
        self.answers_of(&self.workload.inference()?, device, weights, test)
    }

    /// What another network with its inputs and outputs answers.
    pub(super) fn answers_of(
        &self,
        network: &Network,
        device: &dyn Device,
        weights: &Parameters,
        test: &Examples,
    ) -> Result<Judgement> {
        let options = CompileOptions::plain(WHOLE_BATCH, test.inputs.dtype());
        let mut session = self.session(device, network, &options, None, weights)?;
        let outputs = session.predict(&[("x", (&test.inputs).into())], "y", |_| ())?;
        let mut judgement = Judgement::new(&self.task.judged);
        if let Tensor::Plaintext(outputs) = outputs {
            judgement.see(&outputs, &test.targets);
        }
        Ok(judgement)
    }

    fn test(&self, rows: std::ops::Range<usize>) -> Result<Examples> {
        let rows: Vec<usize> = rows.collect();
        Ok(Examples {
            inputs: self.task.test.inputs.rows(&rows)?,
            targets: self.task.test.targets.rows(&rows)?,
        })
    }
}

/// Whether both sides have run often and long enough.
fn enough(plain: &Samples, encrypted: &Samples) -> bool {
    let is = |times: &Samples| times.len() >= MIN_REPETITIONS && times.total() >= MIN_SECONDS;
    is(plain) && is(encrypted)
}

/// A plaintext and an encrypted session of one batch size.
struct Sides {
    plain: Session,
    encrypted: Session,
}

impl Sides {
    fn new(
        experiment: &Experiment<'_>,
        regime: &Regime<'_>,
        batch: usize,
        key: &SecretKey,
        compiling: &mut Samples,
    ) -> Result<Self> {
        let (device, network) = (experiment.device, regime.network);
        let options = CompileOptions::plain(batch, experiment.dtype);
        let plain = experiment.session(device, network, &options, None, regime.plain)?;
        let encrypted = compiling.time(|| {
            let options = regime.options(experiment, batch);
            let public = Some(key.evaluation_key());
            experiment.session(device, network, &options, public, regime.weights)
        })?;
        Ok(Self { plain, encrypted })
    }
}

/// Answers of both sides, and how far they are apart.
struct Seen {
    plain: Judgement,
    encrypted: Judgement,
    max_difference: f64,
}

impl Seen {
    fn new(experiment: &Experiment<'_>) -> Self {
        let judgement = Judgement::new(&experiment.task.judged);
        Self {
            plain: judgement.clone(),
            encrypted: judgement,
            max_difference: 0.0,
        }
    }

    fn see(&mut self, plain: &Plaintext, encrypted: &Plaintext, samples: &Examples) {
        self.plain.see(plain, &samples.targets);
        self.encrypted.see(encrypted, &samples.targets);
        for (p, e) in plain.to_f64().iter().zip(encrypted.to_f64()) {
            self.max_difference = worse(self.max_difference, (p - e).abs());
        }
    }
}
