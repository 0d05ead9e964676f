//! A use case with polynomials in place of its activations, in plaintexts: what a scheme that only adds
//! and multiplies would compute.

use furthermore::network::{
    Parameters, PolynomialActivation, PolynomialOptions, Polynomials, Replacement,
};
use furthermore::session::calibrate;
use serde::Serialize;

use super::judge::{Answers, Judgement};
use super::{Experiment, WHOLE_BATCH};
use crate::error::Result;
use crate::progress;
use crate::report::Status;
use crate::workloads::Judged;

/// What gradients of polynomial networks are limited to. A polynomial grows past its interval, and its
/// gradient with it: without a limit, squares in the perceptron leave the range of f32 within an epoch,
/// and in LeNet no answer is left that differs from sample to sample.
const CLIP: f64 = 0.03;

/// An activation that was replaced, or what a network answers on the test set; a figure that does not
/// apply is null.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct PolynomialRow {
    pub(crate) workload: &'static str,
    pub(crate) data: &'static str,
    /// "activation" or "network".
    pub(crate) job: &'static str,
    /// The activation's name, or which network: "original", "replaced", "replaced, trained on" or
    /// "original, trained on".
    pub(crate) name: String,
    /// What takes activations' places: minimax, chebyshev, square or learned.
    pub(crate) method: &'static str,
    pub(crate) degree: usize,
    pub(crate) margin: f64,
    pub(crate) dtype: String,
    pub(crate) device: String,
    pub(crate) epochs: usize,
    pub(crate) function: Option<&'static str>,
    /// On which the polynomial stands for the function, its margin included.
    pub(crate) interval: Option<[f64; 2]>,
    /// The largest error there, by Horner's rule in f64 and in f32; of a learned polynomial before it
    /// is trained.
    pub(crate) max_error: Option<f64>,
    pub(crate) max_error_f32: Option<f64>,
    pub(crate) accuracy: Option<f64>,
    /// What a regression tells, with units.
    pub(crate) outputs: Option<Vec<String>>,
    /// Mean error over the test set divided by the mean magnitude there, for each output.
    pub(crate) relative_error: Option<Vec<f64>>,
    /// Mean error in the output's unit.
    pub(crate) absolute_error: Option<Vec<f64>>,
    pub(crate) status: Status,
    pub(crate) note: String,
}

impl Experiment<'_> {
    /// Trains in plaintexts, replaces the activations, and trains what came of it on for as many epochs,
    /// and so the original to compare with: a row for each activation, and one for each of these four
    /// networks. What cannot be computed becomes a row that says why.
    pub(crate) fn polynomials(&self, options: &PolynomialOptions) -> Result<Vec<PolynomialRow>> {
        let test = &self.task.test;
        let weights = self.train_plainly()?;
        let original = self.answers(self.device, &weights, test)?;
        let made = self.replaced(&weights, options)?;
        let replaced = made.parameters(&weights, self.dtype)?;
        let replaced_on = || {
            let weights = self.train_polynomials(&made, &replaced)?;
            self.answers_of(&made.network, self.device, &weights, test)
        };
        let original_on = || {
            let network = self.workload.training(self.workload.recipe.optimizer)?;
            let (set, what) = (&self.task.train, "training on as it was");
            let weights = self.train_plain(self.device, &network, &weights, set, what)?;
            self.answers(self.device, &weights, test)
        };
        let judged = [
            ("original", Ok(original)),
            (
                "replaced",
                self.answers_of(&made.network, self.device, &replaced, test),
            ),
            ("replaced, trained on", replaced_on()),
            ("original, trained on", original_on()),
        ];
        let mut rows: Vec<PolynomialRow> = made
            .activations
            .iter()
            .map(|activation| self.activation(options, activation))
            .collect();
        for (name, judged) in judged {
            rows.push(self.network(options, name, judged));
        }
        Ok(rows)
    }

    /// The network with polynomials on the intervals that its activations meet, with these weights, over
    /// the training set.
    pub(super) fn replaced(
        &self,
        weights: &Parameters,
        options: &PolynomialOptions,
    ) -> Result<Polynomials> {
        let (workload, train) = (&self.workload, &self.task.train);
        let inference = workload.inference()?;
        let message = format!("{}: arguments of activations", workload.name);
        let bar = progress::bar(&message, train.len());
        let inputs = [("x", (&train.inputs).into())];
        let intervals = calibrate(
            self.device,
            &inference,
            weights,
            &inputs,
            WHOLE_BATCH.min(train.len()),
            |samples| bar.set_position(samples as u64),
        )?;
        bar.finish_and_clear();
        Ok(inference.with_polynomials(&intervals, options)?)
    }

    /// Trains a network with polynomials on from these weights, with limited gradients.
    pub(super) fn train_polynomials(
        &self,
        made: &Polynomials,
        start: &Parameters,
    ) -> Result<Parameters> {
        let optimizer = self.workload.recipe.optimizer;
        let network = self.workload.training_of(&made.network, optimizer, CLIP)?;
        let (set, what) = (&self.task.train, "training on with polynomials");
        self.train_plain(self.device, &network, start, set, what)
    }

    fn row(&self, options: &PolynomialOptions, job: &'static str, name: &str) -> PolynomialRow {
        let (method, degree) = match options.replacement {
            Replacement::Square => ("square", 2),
            Replacement::Fitted { degree, method } => (method.name(), degree),
            Replacement::Learned { degree, .. } => ("learned", degree),
        };
        PolynomialRow {
            workload: self.workload.name,
            data: self.task.data,
            job,
            name: name.to_owned(),
            method,
            degree,
            margin: options.margin,
            dtype: self.dtype.to_string(),
            device: self.device.name(),
            epochs: self.epochs,
            ..PolynomialRow::default()
        }
    }

    fn activation(
        &self,
        options: &PolynomialOptions,
        activation: &PolynomialActivation,
    ) -> PolynomialRow {
        let fit = activation.fit.as_ref();
        PolynomialRow {
            function: Some(activation.function.name()),
            interval: fit.map(|fit| fit.interval),
            max_error: fit.map(|fit| fit.error),
            max_error_f32: fit.map(|fit| fit.error_f32),
            ..self.row(options, "activation", &activation.name)
        }
    }

    fn network(
        &self,
        options: &PolynomialOptions,
        name: &str,
        judged: Result<Judgement>,
    ) -> PolynomialRow {
        let row = self.row(options, "network", name);
        match judged {
            Ok(judgement) => {
                let Answers {
                    accuracy,
                    relative,
                    absolute,
                } = judgement.answers();
                let outputs = match &self.task.judged {
                    Judged::Classes => None,
                    Judged::Quantities(told) => {
                        let named = told.iter().map(|q| format!("{} ({})", q.name, q.unit));
                        Some(named.collect())
                    }
                };
                PolynomialRow {
                    accuracy,
                    outputs,
                    relative_error: relative,
                    absolute_error: absolute,
                    ..row
                }
            }
            Err(error) => PolynomialRow {
                status: Status::Failed,
                note: error.to_string(),
                ..row
            },
        }
    }
}
