//! A row of `reproduce`'s report.

use serde::Serialize;

use super::Experiment;
use super::judge::{Answers, Judgement};
use crate::error::Result;
use crate::report::Status;
use crate::scheme::Scheme;
use crate::timing::Samples;
use crate::workloads::Judged;

/// Times are medians of alternating runs; a figure that does not apply is null. Classifiers have
/// accuracies; regressions have errors, one for each of `outputs`, and null accuracies.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) data: &'static str,
    pub(crate) job: &'static str,
    pub(crate) regime: &'static str,
    pub(crate) algebra: String,
    /// Messages in a ciphertext; overheads are for the same number of samples.
    pub(crate) messages: usize,
    pub(crate) dtype: String,
    pub(crate) device: String,
    pub(crate) batch: usize,
    pub(crate) epochs: usize,
    pub(crate) masks: &'static str,
    pub(crate) repetitions: usize,
    pub(crate) plain_seconds: Option<f64>,
    pub(crate) plain_seconds_p10: Option<f64>,
    pub(crate) plain_seconds_p90: Option<f64>,
    pub(crate) encrypted_seconds: Option<f64>,
    pub(crate) encrypted_seconds_p10: Option<f64>,
    pub(crate) encrypted_seconds_p90: Option<f64>,
    pub(crate) overhead: Option<f64>,
    pub(crate) encrypt_seconds: Option<f64>,
    pub(crate) decrypt_seconds: Option<f64>,
    pub(crate) compile_seconds: Option<f64>,
    pub(crate) total_plain_seconds: Option<f64>,
    pub(crate) total_encrypted_seconds: Option<f64>,
    pub(crate) plain_accuracy: Option<f64>,
    pub(crate) encrypted_accuracy: Option<f64>,
    /// Of plain training in f64 from the same weights and batches, where `dtype` is f32.
    pub(crate) plain_f64_accuracy: Option<f64>,
    /// What a regression tells, with units.
    pub(crate) outputs: Option<Vec<String>>,
    /// Mean error over the test set divided by the mean magnitude there, for each output.
    pub(crate) plain_error: Option<Vec<f64>>,
    pub(crate) encrypted_error: Option<Vec<f64>>,
    pub(crate) plain_f64_error: Option<Vec<f64>>,
    /// Mean error in the output's unit.
    pub(crate) plain_absolute_error: Option<Vec<f64>>,
    pub(crate) encrypted_absolute_error: Option<Vec<f64>>,
    pub(crate) output_max_abs_error: Option<f64>,
    pub(crate) weight_max_abs_error: Option<f64>,
    pub(crate) status: Status,
    pub(crate) note: String,
}

impl Row {
    pub(super) fn new(
        experiment: &Experiment<'_>,
        job: &'static str,
        regime: &'static str,
        batch: usize,
        scheme: Scheme,
    ) -> Self {
        let outputs = match &experiment.task.judged {
            Judged::Classes => None,
            Judged::Quantities(quantities) => {
                let named = |q: &crate::workloads::Told| format!("{} ({})", q.name, q.unit);
                Some(quantities.iter().map(named).collect())
            }
        };
        Self {
            workload: experiment.workload.name,
            data: experiment.task.data,
            job,
            regime,
            algebra: scheme.to_string(),
            messages: scheme.messages,
            dtype: experiment.dtype.to_string(),
            device: experiment.device.name(),
            batch,
            epochs: experiment.epochs,
            masks: match job {
                "train" => experiment.masks.name(),
                _ => super::infer::masks(scheme, batch).name(),
            },
            outputs,
            ..Self::default()
        }
    }

    pub(super) fn set_times(&mut self, plain: &Samples, encrypted: &Samples) {
        self.repetitions = plain.len().min(encrypted.len());
        self.plain_seconds = plain.median();
        self.plain_seconds_p10 = plain.quantile(0.1);
        self.plain_seconds_p90 = plain.quantile(0.9);
        self.encrypted_seconds = encrypted.median();
        self.encrypted_seconds_p10 = encrypted.quantile(0.1);
        self.encrypted_seconds_p90 = encrypted.quantile(0.9);
        self.overhead = encrypted.median().zip(plain.median()).map(|(e, p)| e / p);
    }

    pub(super) fn set_plain_answers(&mut self, judgement: &Judgement) {
        let Answers {
            accuracy,
            relative,
            absolute,
        } = judgement.answers();
        self.plain_accuracy = accuracy;
        self.plain_error = relative;
        self.plain_absolute_error = absolute;
    }

    pub(super) fn set_encrypted_answers(&mut self, judgement: &Judgement) {
        let Answers {
            accuracy,
            relative,
            absolute,
        } = judgement.answers();
        self.encrypted_accuracy = accuracy;
        self.encrypted_error = relative;
        self.encrypted_absolute_error = absolute;
    }

    /// What another row says of plaintext weights.
    pub(super) fn set_plain_answers_of(&mut self, row: &Row) {
        self.plain_accuracy = row.plain_accuracy;
        self.plain_error.clone_from(&row.plain_error);
        self.plain_absolute_error
            .clone_from(&row.plain_absolute_error);
    }

    /// What plain training in f64 came to, where there was one.
    pub(super) fn set_f64_answers(&mut self, trained: Option<&Result<Judgement>>) {
        match trained {
            None => {}
            Some(Ok(judgement)) => {
                let answers = judgement.answers();
                self.plain_f64_accuracy = answers.accuracy;
                self.plain_f64_error = answers.relative;
            }
            Some(Err(error)) => {
                self.note = format!("{}; plain training in f64 failed: {error}", self.note);
            }
        }
    }

    /// Without figures, for that reason.
    pub(super) fn ended(mut self, status: Status, why: impl ToString) -> Self {
        self.status = status;
        self.note = why.to_string();
        self
    }
}
