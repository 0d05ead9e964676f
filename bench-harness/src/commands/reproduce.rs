//! `reproduce`: trains and runs the digit network on ciphertexts beside plaintexts.

use std::path::PathBuf;
use std::sync::Arc;

use furthermore::Algebra;
use furthermore::network::Parameters;
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::{Encryptor, EvaluationKey, MaskPolicy, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{Plaintext, Tensor, TensorView};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use serde::Serialize;

use super::{Chosen, Compute, WARNING};
use crate::data::{self, Digits};
use crate::error::{Error, Result};
use crate::progress;
use crate::report::{self, Report, Status};
use crate::timing::Samples;
use crate::workloads::Workload;

/// Options of `reproduce`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Train for one epoch instead of five.
    #[arg(long)]
    pub quick: bool,
    /// Folder with MNIST as IDX files, gzip or not [default: digits are drawn].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "described where it is defined")]
    pub compute: Compute,
    /// Seed of digits, keys, masks, initial weights and batches.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

const TRAIN_BATCH: usize = 64;
const INFER_BATCH: usize = 256;
const LEARNING_RATE: f64 = 0.1;
const MOMENTUM: f64 = 0.9;
const EPOCHS: usize = 5;
/// Digits drawn for training and for testing where no data is given: MNIST's test set is as large.
const DRAWN: (usize, usize) = (10_000, 10_000);
/// Fewest alternating repetitions of an inference run.
const MIN_REPETITIONS: usize = 10;

/// A row of the report. Times are medians of alternating runs; a figure that does not apply is null.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the report format names them")]
pub struct Row {
    pub workload: &'static str,
    pub data: &'static str,
    pub job: &'static str,
    pub regime: &'static str,
    pub algebra: String,
    pub dtype: String,
    pub device: String,
    pub batch: usize,
    pub repetitions: usize,
    pub plain_seconds: Option<f64>,
    pub plain_seconds_p10: Option<f64>,
    pub plain_seconds_p90: Option<f64>,
    pub encrypted_seconds: Option<f64>,
    pub encrypted_seconds_p10: Option<f64>,
    pub encrypted_seconds_p90: Option<f64>,
    pub overhead: Option<f64>,
    pub encrypt_seconds: Option<f64>,
    pub decrypt_seconds: Option<f64>,
    pub compile_seconds: Option<f64>,
    pub total_plain_seconds: Option<f64>,
    pub total_encrypted_seconds: Option<f64>,
    pub plain_accuracy: Option<f64>,
    pub encrypted_accuracy: Option<f64>,
    pub output_max_abs_error: Option<f64>,
    pub weight_max_abs_error: Option<f64>,
    pub status: Status,
    pub note: String,
}

impl Row {
    fn new(bench: &Bench, job: &'static str, regime: &'static str, algebra: Algebra) -> Self {
        Self {
            workload: bench.workload.name,
            data: bench.data.name,
            job,
            regime,
            algebra: algebra.to_string(),
            dtype: bench.chosen.dtype.to_string(),
            device: bench.chosen.engine.device().name(),
            batch: if job == "train" {
                TRAIN_BATCH
            } else {
                INFER_BATCH
            },
            repetitions: 0,
            plain_seconds: None,
            plain_seconds_p10: None,
            plain_seconds_p90: None,
            encrypted_seconds: None,
            encrypted_seconds_p10: None,
            encrypted_seconds_p90: None,
            overhead: None,
            encrypt_seconds: None,
            decrypt_seconds: None,
            compile_seconds: None,
            total_plain_seconds: None,
            total_encrypted_seconds: None,
            plain_accuracy: None,
            encrypted_accuracy: None,
            output_max_abs_error: None,
            weight_max_abs_error: None,
            status: Status::Ok,
            note: String::new(),
        }
    }

    fn set_times(&mut self, plain: &Samples, encrypted: &Samples) {
        self.repetitions = plain.len().min(encrypted.len());
        self.plain_seconds = plain.median();
        self.plain_seconds_p10 = plain.quantile(0.1);
        self.plain_seconds_p90 = plain.quantile(0.9);
        self.encrypted_seconds = encrypted.median();
        self.encrypted_seconds_p10 = encrypted.quantile(0.1);
        self.encrypted_seconds_p90 = encrypted.quantile(0.9);
        self.overhead = encrypted.median().zip(plain.median()).map(|(e, p)| e / p);
    }

    fn failed(mut self, why: impl ToString) -> Self {
        self.status = Status::Failed;
        self.note = why.to_string();
        self
    }
}

/// What all rows share.
struct Bench {
    chosen: Chosen,
    seed: u64,
    epochs: usize,
    workload: Workload,
    data: Digits,
    train_images: Plaintext,
    train_labels: Plaintext,
    test_images: Plaintext,
}

/// Runs the command.
///
/// # Errors
/// When an option or the data cannot be used, the report cannot be written, or a row failed.
pub fn run(options: &Options) -> Result<()> {
    let chosen = options.compute.choose()?;
    report::check_writable(options.json.as_deref())?;
    let environment = chosen.engine.environment();
    let loading = progress::spinner(if options.data.is_some() {
        "reading"
    } else {
        "drawing"
    });
    let data = match &options.data {
        Some(folder) => data::load(folder)?,
        None => data::draw(options.seed, DRAWN.0, DRAWN.1),
    };
    loading.finish_and_clear();
    if data.train.len() < TRAIN_BATCH || data.test.is_empty() {
        let reason = format!(
            "{} training and {} test images are too few: a batch has {TRAIN_BATCH}",
            data.train.len(),
            data.test.len()
        );
        return Err(Error::Option {
            option: "--data",
            reason,
        });
    }
    let bench = Bench::new(chosen, options, data)?;
    let mut rows = Vec::new();
    for &algebra in &bench.chosen.algebras {
        bench.measure(algebra, &mut rows);
    }
    let report = Report::new("reproduce", environment, rows);
    print(&bench, &report);
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    let failed = report
        .rows()
        .iter()
        .filter(|row| row.status == Status::Failed)
        .count();
    if failed > 0 {
        return Err(Error::FailedRows {
            failed,
            rows: report.rows().len(),
        });
    }
    Ok(())
}

impl Bench {
    fn new(chosen: Chosen, options: &Options, data: Digits) -> Result<Self> {
        let dtype = chosen.dtype;
        let images = |split: &data::Split| {
            Plaintext::new([split.len(), data::PIXELS], &split.images)?.to_dtype(dtype)
        };
        let mut one_hot = vec![0.0f32; data.train.len() * data::CLASSES];
        for (row, &label) in data.train.labels.iter().enumerate() {
            one_hot[row * data::CLASSES + usize::from(label)] = 1.0;
        }
        let labels = Plaintext::new([data.train.len(), data::CLASSES], &one_hot)?;
        Ok(Self {
            chosen,
            seed: options.seed,
            epochs: if options.quick { 1 } else { EPOCHS },
            workload: Workload::MLP,
            train_images: images(&data.train)?,
            train_labels: labels.to_dtype(dtype)?,
            test_images: images(&data.test)?,
            data,
        })
    }

    /// Training and both inference regimes in one algebra. What fails becomes a row that says why.
    fn measure(&self, algebra: Algebra, rows: &mut Vec<Row>) {
        let before = rows.len();
        if let Err(error) = self.try_measure(algebra, rows) {
            let jobs = [("train", "ct-ct"), ("infer", "ct-pt"), ("infer", "ct-ct")];
            for (job, regime) in jobs.into_iter().skip(rows.len() - before) {
                rows.push(Row::new(self, job, regime, algebra).failed(&error));
            }
        }
    }

    fn try_measure(&self, algebra: Algebra, rows: &mut Vec<Row>) -> Result<()> {
        let key = SecretKey::from_known_seed(algebra.slots(), self.seed)?;
        let mut encryptor = key.encryptor_from_known_seed(algebra, self.seed)?;
        let (plain, encrypted, row) = self.train(algebra, &key, &mut encryptor)?;
        rows.push(row);

        let mut row = Row::new(self, "infer", "ct-pt", algebra);
        self.infer(&mut row, algebra, &key, &mut encryptor, &plain, &plain)?;
        rows.push(row);

        let mut row = Row::new(self, "infer", "ct-ct", algebra);
        let opened = open(&key, &encrypted)?;
        self.infer(&mut row, algebra, &key, &mut encryptor, &opened, &encrypted)?;
        // The timing and the output error are against the same weights, decrypted; the accuracy to
        // compare with is that of the plaintext training.
        row.plain_accuracy = rows.last().and_then(|r| r.plain_accuracy);
        if let Some(trained) = rows.iter_mut().rev().find(|r| r.job == "train") {
            trained.plain_accuracy = row.plain_accuracy;
            trained.encrypted_accuracy = row.encrypted_accuracy;
        }
        rows.push(row);
        Ok(())
    }

    /// Trains on plaintexts and on ciphertexts from the same weights and batches, step by step in
    /// turn. Returns both sets of weights.
    fn train(
        &self,
        algebra: Algebra,
        key: &SecretKey,
        encryptor: &mut Encryptor<'_>,
    ) -> Result<(Parameters, Parameters, Row)> {
        let mut row = Row::new(self, "train", "ct-ct", algebra);
        let network = self.workload.training(MOMENTUM)?;
        let start = network.initial_parameters(self.seed, self.chosen.dtype)?;
        let mut encrypting = Samples::default();
        let (images, labels) = encrypting.time(|| {
            let policy = MaskPolicy::PairedRows;
            encryptor.encrypt_training_set(&self.train_images, &self.train_labels, policy)
        })?;
        let mut compiling = Samples::default();
        let session = |options: &CompileOptions, key: Option<&Arc<EvaluationKey>>| {
            let plan = Arc::new(Plan::compile(&network, options)?);
            let mut session = Session::new(self.chosen.engine.device(), plan, key)?;
            session.load_parameters(&start)?;
            session.set_learning_rate(LEARNING_RATE)?;
            Ok::<Session, Error>(session)
        };
        let mut plain = session(&CompileOptions::plain(TRAIN_BATCH, self.chosen.dtype), None)?;
        let mut encrypted = compiling.time(|| {
            let options = CompileOptions::encrypted(TRAIN_BATCH, self.chosen.dtype, algebra);
            session(&options, Some(key.evaluation_key()))
        })?;

        let count = self.data.train.len();
        let steps = count / TRAIN_BATCH;
        let bar = progress::bar(&format!("{algebra}: training"), steps * self.epochs);
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed);
        let mut order: Vec<usize> = (0..count).collect();
        let (mut plain_times, mut encrypted_times) = (Samples::default(), Samples::default());
        let (mut plain_total, mut encrypted_total) = (Samples::default(), Samples::default());
        for epoch in 0..self.epochs {
            order.shuffle(&mut rng);
            for (step, batch) in order.chunks_exact(TRAIN_BATCH).enumerate() {
                let plain_step = || {
                    plain.write_rows("x", &self.train_images, batch)?;
                    plain.write_rows("target", &self.train_labels, batch)?;
                    plain_times.time(|| plain.run())
                };
                let encrypted_step = || {
                    encrypted.write_rows("x", &images, batch)?;
                    encrypted.write_rows("target", &labels, batch)?;
                    encrypted_times.time(|| encrypted.run())
                };
                // Who goes first alternates, so that neither always finds the other's cache.
                let named = |error: furthermore::Error| {
                    let operation = format!("step {} of epoch {}", step + 1, epoch + 1);
                    furthermore::Error::Operation {
                        operation,
                        reason: error.to_string(),
                    }
                };
                if step % 2 == 0 {
                    plain_total.time(plain_step).map_err(named)?;
                    encrypted_total.time(encrypted_step).map_err(named)?;
                } else {
                    encrypted_total.time(encrypted_step).map_err(named)?;
                    plain_total.time(plain_step).map_err(named)?;
                }
                bar.inc(1);
            }
        }
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
        row.weight_max_abs_error = Some(weight_error(&plain, &opened)?);
        row.note = format!(
            "{} epochs; encrypt_seconds is the whole training set, decrypt_seconds the weights",
            self.epochs
        );
        Ok((plain, encrypted, row))
    }

    /// Runs the test images through plaintext and encrypted sessions, batch by batch in turn.
    fn infer(
        &self,
        row: &mut Row,
        algebra: Algebra,
        key: &SecretKey,
        encryptor: &mut Encryptor<'_>,
        plain_weights: &Parameters,
        weights: &Parameters,
    ) -> Result<()> {
        let network = self.workload.inference()?;
        let count = self.data.test.len();
        let cipher_weights = weights
            .iter()
            .any(|(_, t)| matches!(t, Tensor::Ciphertext(_)));
        let pair = |batch: usize| {
            let session = |options: &CompileOptions, key, weights: &Parameters| {
                let plan = Arc::new(Plan::compile(&network, options)?);
                let mut session = Session::new(self.chosen.engine.device(), plan, key)?;
                session.load_parameters(weights)?;
                Ok::<Session, Error>(session)
            };
            let plain = CompileOptions::plain(batch, self.chosen.dtype);
            let options = if cipher_weights {
                CompileOptions::encrypted(batch, self.chosen.dtype, algebra)
            } else {
                CompileOptions::encrypted_inputs(batch, self.chosen.dtype, algebra)
            };
            let plain = session(&plain, None, plain_weights)?;
            let key = Some(key.evaluation_key());
            let mut compiling = Samples::default();
            let encrypted = compiling.time(|| session(&options, key, weights))?;
            Ok::<_, Error>((plain, encrypted, compiling.total()))
        };
        let batch = INFER_BATCH.min(count);
        row.batch = batch;
        let whole = count / batch;
        let (mut plain, mut encrypted, compiling) = pair(batch)?;
        let mut judge = Judge::default();
        let (mut encrypting, mut decrypting) = (Samples::default(), Samples::default());
        let (mut plain_times, mut encrypted_times) = (Samples::default(), Samples::default());
        // Small test sets are gone through again until there are enough repetitions.
        let passes = MIN_REPETITIONS.div_ceil(whole);
        let bar = progress::bar(
            &format!("{algebra}: inference {}", row.regime),
            whole * passes,
        );
        for pass in 0..passes {
            for nth in 0..whole {
                let rows: Vec<usize> = (nth * batch..(nth + 1) * batch).collect();
                let images = self.test_images.rows(&rows)?;
                let ciphertext = encrypting.time(|| encryptor.encrypt(&images))?;
                plain.write("x", &images)?;
                encrypted.write("x", &ciphertext)?;
                if nth % 2 == 0 {
                    plain_times.time(|| plain.run())?;
                    encrypted_times.time(|| encrypted.run())?;
                } else {
                    encrypted_times.time(|| encrypted.run())?;
                    plain_times.time(|| plain.run())?;
                }
                let output = decrypting.time(|| decrypt(key, encrypted.read("y")?))?;
                if pass == 0 {
                    let labels = &self.data.test.labels[rows[0]..rows[0] + batch];
                    judge.see(&decrypt(key, plain.read("y")?)?, &output, labels);
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        row.compile_seconds = Some(compiling);
        let rest: Vec<usize> = (whole * batch..count).collect();
        if !rest.is_empty() {
            let (mut plain, mut encrypted, _) = pair(rest.len())?;
            let images = self.test_images.rows(&rest)?;
            plain.write("x", &images)?;
            encrypted.write("x", &encryptor.encrypt(&images)?)?;
            plain.run()?;
            encrypted.run()?;
            let (p, e) = (
                decrypt(key, plain.read("y")?)?,
                decrypt(key, encrypted.read("y")?)?,
            );
            judge.see(&p, &e, &self.data.test.labels[rest[0]..]);
        }
        row.set_times(&plain_times, &encrypted_times);
        row.encrypt_seconds = encrypting.median();
        row.decrypt_seconds = decrypting.median();
        row.plain_accuracy = Some(judge.plain_right as f64 / judge.count as f64);
        row.encrypted_accuracy = Some(judge.encrypted_right as f64 / judge.count as f64);
        row.output_max_abs_error = Some(judge.max_difference);
        Ok(())
    }
}

/// Counts right answers and the largest difference between two runs' outputs.
#[derive(Default)]
struct Judge {
    count: usize,
    plain_right: usize,
    encrypted_right: usize,
    max_difference: f64,
}

impl Judge {
    fn see(&mut self, plain: &Plaintext, encrypted: &Plaintext, labels: &[u8]) {
        let (plain, encrypted) = (plain.to_f64(), encrypted.to_f64());
        let width = plain.len() / labels.len();
        let right = |outputs: &[f64]| {
            let best = |row: &[f64]| {
                let largest = |a: &(usize, &f64), b: &(usize, &f64)| a.1.total_cmp(b.1);
                row.iter().enumerate().max_by(largest).map(|(i, _)| i)
            };
            let answers = outputs.chunks_exact(width).map(best);
            answers
                .zip(labels)
                .filter(|(a, l)| *a == Some(usize::from(**l)))
                .count()
        };
        self.count += labels.len();
        self.plain_right += right(&plain);
        self.encrypted_right += right(&encrypted);
        for (p, e) in plain.iter().zip(&encrypted) {
            self.max_difference = worse(self.max_difference, (p - e).abs());
        }
    }
}

/// The larger difference; unlike `max`, NaN where either is.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

fn decrypt(key: &SecretKey, tensor: Tensor) -> Result<Plaintext> {
    Ok(match tensor {
        Tensor::Plaintext(plaintext) => plaintext,
        Tensor::Ciphertext(ciphertext) => key.decrypt(&ciphertext)?,
    })
}

/// Decrypts every weight.
fn open(key: &SecretKey, weights: &Parameters) -> Result<Parameters> {
    let mut opened = Parameters::default();
    for (name, weight) in weights.iter() {
        opened.insert(name, Tensor::Plaintext(decrypt(key, weight.clone())?));
    }
    Ok(opened)
}

fn weight_error(plain: &Parameters, opened: &Parameters) -> Result<f64> {
    let mut worst = 0.0;
    for (name, weight) in plain.iter() {
        let numbers = |tensor: &Tensor| match tensor.view() {
            TensorView::Plaintext(p) => p.to_f64(),
            TensorView::Ciphertext(_) => Vec::new(),
        };
        for (p, e) in numbers(weight).iter().zip(numbers(opened.get(name)?)) {
            worst = worse(worst, (p - e).abs());
        }
    }
    Ok(worst)
}

fn print(bench: &Bench, report: &Report<Row>) {
    let environment = report.environment();
    let mut table = report::table(
        &[
            "workload",
            "job",
            "regime",
            "algebra",
            "plain",
            "encrypted",
            "overhead",
            "plain acc.",
            "encr. acc.",
            "max output diff.",
            "max weight diff.",
        ],
        4,
    );
    for row in report.rows() {
        table.add_row([
            row.workload.to_owned(),
            row.job.to_owned(),
            row.regime.to_owned(),
            row.algebra.clone(),
            report::seconds(row.plain_seconds),
            report::seconds(row.encrypted_seconds),
            report::number(row.overhead, 2),
            report::number(row.plain_accuracy, 4),
            report::number(row.encrypted_accuracy, 4),
            report::difference(row.output_max_abs_error),
            report::difference(row.weight_max_abs_error),
        ]);
    }
    println!("{table}");
    let source = match bench.data.name {
        "mnist" => "MNIST".to_owned(),
        _ => format!(
            "drawn digits (seed {}; give real MNIST with --data DIR)",
            bench.seed
        ),
    };
    println!(
        "data: {source}, {} to train, {} to test; {} epoch{}; {}, {}",
        bench.data.train.len(),
        bench.data.test.len(),
        bench.epochs,
        if bench.epochs == 1 { "" } else { "s" },
        bench.chosen.dtype,
        environment.computing(),
    );
    println!(
        "Times are medians of alternating runs: a training step of {TRAIN_BATCH}, inference of a \
         batch of {INFER_BATCH}."
    );
    for row in report
        .rows()
        .iter()
        .filter(|row| row.status == Status::Failed)
    {
        println!(
            "failed: {} {} {}: {}",
            row.job, row.regime, row.algebra, row.note
        );
    }
    println!("{WARNING}");
}
