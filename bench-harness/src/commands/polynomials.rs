//! `polynomials`: what polynomials in place of a network's activations cost, in plaintext.

use std::path::PathBuf;

use anstream::println;
use furthermore::network::{FitMethod, PolynomialOptions, Replacement};
use furthermore::scheme::MaskPolicy;
use furthermore::tensor::DType;

use super::{Engine, reproduce};
use crate::error::{Error, Result};
use crate::experiment::PolynomialRow;
use crate::report::{self, Report, Status};
use crate::workloads::{Sources, Workload};

/// What takes the place of an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// The polynomial of the smallest largest error.
    Minimax,
    /// Interpolation at the Chebyshev nodes.
    Chebyshev,
    /// x^2, whatever the function was.
    Square,
    /// Coefficients that are trained with the network, from the minimax ones on.
    Learned,
}

/// Options of `polynomials`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Network: mlp, lenet, angio, wbc or wbc-inverse.
    #[arg(long)]
    pub workload: String,
    /// What takes the place of activations.
    #[arg(long, value_enum, default_value = "minimax")]
    pub method: Method,
    /// Degree of the polynomials [default: 3; a square has 2].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=63))]
    pub degree: Option<u32>,
    /// By what part of its length an interval, measured over the training set, grows at either end.
    #[arg(long, value_name = "PART", default_value_t = 0.1)]
    pub margin: f64,
    /// Train for fewer epochs and draw fewer angiograms.
    #[arg(long)]
    pub quick: bool,
    /// Epochs of each training [default: as many as the use case needs].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub epochs: Option<u32>,
    /// Folder with MNIST as IDX files, gzip or not [default: digits are drawn].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Element type: f32 or f64.
    #[arg(long, default_value = "f32")]
    pub dtype: DType,
    #[command(flatten)]
    #[allow(missing_docs, reason = "described where it is defined")]
    pub engine: Engine,
    /// Seed of data, initial weights and batches.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When an option or the data cannot be used, the original network cannot be trained or its activations
/// replaced, the report cannot be written, or a row failed.
pub fn run(options: &Options) -> Result<()> {
    let refuse = |option, reason: String| Err(Error::Option { option, reason });
    let workload = Workload::of_option(&options.workload)?;
    if options.data.is_some() && !workload.name.starts_with("mnist") {
        let reason = format!("it is for digits, and {} has none", workload.name);
        return refuse("--data", reason);
    }
    if !(options.margin >= 0.0 && options.margin.is_finite()) {
        let reason = format!("{} is not a number from 0 on", options.margin);
        return refuse("--margin", reason);
    }
    let degree = options.degree.unwrap_or(3) as usize;
    let replacement = match options.method {
        Method::Square if options.degree.is_some_and(|degree| degree != 2) => {
            return refuse("--degree", "a square has degree 2".to_owned());
        }
        Method::Square => Replacement::Square,
        Method::Minimax => Replacement::Fitted {
            degree,
            method: FitMethod::Minimax,
        },
        Method::Chebyshev => Replacement::Fitted {
            degree,
            method: FitMethod::Chebyshev,
        },
        Method::Learned => Replacement::Learned {
            degree,
            method: FitMethod::Minimax,
        },
    };
    let engine = options.engine.open(options.dtype)?;
    report::check_writable(options.json.as_deref())?;
    let sources = Sources::new(options.data.as_deref(), options.seed, options.quick);
    let (experiment, said) = reproduce::experiment(
        workload,
        &sources,
        options.epochs,
        MaskPolicy::PairedRows,
        &engine,
        options.dtype,
    )?;
    let rows = experiment.polynomials(&PolynomialOptions {
        replacement,
        margin: options.margin,
        average_pooling: false,
    })?;
    let report = Report::new("polynomials", engine.environment(), rows);
    print(report.rows());
    println!("{said}");
    println!("{}, {}.", options.dtype, report.environment().computing());
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    report.check(|row| row.status)
}

fn print(rows: &[PolynomialRow]) {
    let header = [
        "activation",
        "function",
        "method",
        "degree",
        "interval",
        "max error",
        "in f32",
    ];
    let mut activations = report::table(&header, 3);
    let mut networks = report::table(&["network", "accuracy or error"], 1);
    for row in rows {
        if row.job == "activation" {
            activations.add_row([
                row.name.clone(),
                row.function.unwrap_or("-").to_owned(),
                row.method.to_owned(),
                row.degree.to_string(),
                row.interval
                    .map_or("-".to_owned(), |[a, b]| format!("{a:.2} to {b:.2}")),
                report::difference(row.max_error),
                report::difference(row.max_error_f32),
            ]);
        } else {
            networks.add_row([row.name.clone(), answer(row)]);
        }
    }
    println!("{activations}\n\n{networks}\n");
    println!(
        "Plaintext, on the test set: the network as it is, the same weights with polynomials in place of \
         its activations, and each trained on from there for as many epochs again."
    );
    for row in rows.iter().filter(|row| row.status == Status::Failed) {
        println!("failed: {}: {}", row.name, row.note);
    }
}

/// A classifier's accuracy, or a regression's mean error over its outputs.
fn answer(row: &PolynomialRow) -> String {
    match &row.relative_error {
        Some(errors) => {
            let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
            format!("{:.3} %", 100.0 * mean)
        }
        None => report::number(row.accuracy, 4),
    }
}
