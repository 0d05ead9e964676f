//! `reproduce`: the papers' use cases on ciphertexts beside plaintexts.

use std::path::PathBuf;

use anstream::println;
use furthermore::device::Device;
use furthermore::scheme::MaskPolicy;
use furthermore::tensor::DType;
use regex::Regex;

use super::{Chosen, Compute, Opened, WARNING};
use crate::error::{Error, Result};
use crate::experiment::{Claim, Experiment, INFER_BATCHES, Row, TRAIN_BATCH, claims};
use crate::progress;
use crate::report::{self, Report, Status};
use crate::workloads::{Sources, Workload};

/// Options of `reproduce`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Run only use cases whose name matches: mnist-mlp, mnist-lenet, wbc-forward, wbc-inverse, angio.
    #[arg(long, value_name = "REGEX", default_value = "")]
    pub only: Regex,
    /// Train for fewer epochs and draw fewer angiograms: under a minute.
    #[arg(long)]
    pub quick: bool,
    /// Epochs to train for [default: as many as each use case needs].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub epochs: Option<u32>,
    /// How the masks of training sets are drawn: paired-rows, features, uniform, normal, positive.
    #[arg(long, value_name = "POLICY", default_value = "paired-rows")]
    pub mask: MaskPolicy<'static>,
    /// Folder with MNIST as IDX files, gzip or not [default: digits are drawn].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "described where it is defined")]
    pub compute: Compute,
    /// Seed of data, keys, masks, initial weights and batches.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When an option or the data cannot be used, the report cannot be written, or a row failed.
pub fn run(options: &Options) -> Result<()> {
    let workloads: Vec<Workload> = Workload::ALL
        .into_iter()
        .filter(|workload| options.only.is_match(workload.name))
        .collect();
    if workloads.is_empty() {
        let names = Workload::ALL.map(|workload| workload.name).join(", ");
        return Err(Error::Option {
            option: "--only",
            reason: format!("'{}' matches nothing of: {names}", options.only),
        });
    }
    if options.data.is_some() && !workloads.iter().any(|w| w.name.starts_with("mnist")) {
        return Err(Error::Option {
            option: "--data",
            reason: "it is for digits, and --only leaves them out".to_owned(),
        });
    }
    let chosen = options.compute.choose()?;
    report::check_writable(options.json.as_deref())?;
    let environment = chosen.engine.environment();
    let sources = Sources::new(options.data.as_deref(), options.seed, options.quick);
    let mut rows = Vec::new();
    let mut said = Vec::new();
    for workload in workloads {
        let (experiment, data) = experiment(
            workload,
            &sources,
            options.epochs,
            options.mask,
            &chosen.engine,
            chosen.dtype,
        )?;
        let schemes = match &options.compute.algebra[..] {
            [] => experiment.workload.schemes(),
            _ => chosen.schemes.clone(),
        };
        experiment.measure(&schemes, &mut rows);
        said.push(data);
    }
    let claims = claims(&rows);
    let report = Report::new("reproduce", environment, rows).concluding(&claims);
    print(&report, &said, &claims, &chosen);
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    report.check(|row| row.status)
}

/// A use case with its data, and what is said of that.
pub(super) fn experiment<'a>(
    workload: Workload,
    sources: &Sources<'_>,
    epochs: Option<u32>,
    masks: MaskPolicy<'static>,
    engine: &'a Opened,
    dtype: DType,
) -> Result<(Experiment<'a>, String)> {
    let loading = progress::spinner(&format!("{}: data", workload.name));
    let task = workload.task(sources, dtype)?;
    loading.finish_and_clear();
    let (train, test) = (task.train.len(), task.test.len());
    if train < TRAIN_BATCH || test == 0 {
        let reason = format!(
            "{train} training and {test} test samples are too few: a batch has {TRAIN_BATCH}"
        );
        return Err(Error::Option {
            option: "--data",
            reason,
        });
    }
    let recipe = workload.recipe;
    let epochs = match epochs {
        Some(epochs) => epochs as usize,
        None if sources.quick => recipe.quick_epochs,
        None => recipe.epochs,
    };
    let source = match task.data {
        "mnist" => "MNIST".to_owned(),
        "drawn-digits" => format!(
            "drawn digits (seed {}; give real MNIST with --data DIR)",
            sources.seed
        ),
        other => format!("{} (seed {})", other.replace('-', " "), sources.seed),
    };
    let s = if epochs == 1 { "" } else { "s" };
    let said = format!(
        "{}: {source}, {train} to train, {test} to test; {epochs} epoch{s}",
        workload.name
    );
    let processor: &dyn Device = &engine.cpu;
    let experiment = Experiment {
        device: engine.device(),
        processor,
        dtype,
        seed: sources.seed,
        epochs,
        masks,
        workload,
        task,
    };
    Ok((experiment, said))
}

fn print(report: &Report<Row>, said: &[String], claims: &[Claim], chosen: &Chosen) {
    let rows = report.rows();
    println!("{}", results(rows));
    if let Some(table) = errors(rows) {
        println!("\nMean errors of regressions over their test sets:\n{table}");
    }
    println!();
    for data in said {
        println!("{data}");
    }
    println!(
        "{}, {}. Times are medians of alternating runs: a training step of {TRAIN_BATCH}, inference \
         of batches of {}.",
        chosen.dtype,
        report.environment().computing(),
        INFER_BATCHES.map(|batch| batch.to_string()).join(", "),
    );
    for row in rows.iter().filter(|row| row.status == Status::Failed) {
        println!(
            "failed: {} {} {} {} batch {}: {}",
            row.workload, row.job, row.regime, row.algebra, row.batch, row.note
        );
    }
    println!("\nThe papers claim results equal to plaintext at about ten times the time. Here:");
    println!("{}", conclusions(claims));
    let missing: usize = claims.iter().map(|claim| claim.missing).sum();
    if missing > 0 {
        println!("{missing} of {} rows are missing from it.", rows.len());
    }
    println!("{WARNING}");
}

fn results(rows: &[Row]) -> comfy_table::Table {
    let mut table = report::table(
        &[
            "workload",
            "job",
            "regime",
            "algebra",
            "batch",
            "plain",
            "encrypted",
            "overhead",
            "plain acc.",
            "encr. acc.",
            "plain f64",
            "max output diff.",
            "max weight diff.",
        ],
        4,
    );
    for row in rows {
        // A regression's mean over its outputs stands where a classifier's accuracy does.
        let answer = |accuracy: Option<f64>, errors: &Option<Vec<f64>>| match errors {
            Some(errors) => {
                let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
                format!("{:.3} %", 100.0 * mean)
            }
            None => report::number(accuracy, 4),
        };
        table.add_row([
            row.workload.to_owned(),
            row.job.to_owned(),
            row.regime.to_owned(),
            row.algebra.clone(),
            row.batch.to_string(),
            report::seconds(row.plain_seconds),
            report::seconds(row.encrypted_seconds),
            report::number(row.overhead, 2),
            answer(row.plain_accuracy, &row.plain_error),
            answer(row.encrypted_accuracy, &row.encrypted_error),
            answer(row.plain_f64_accuracy, &row.plain_f64_error),
            report::difference(row.output_max_abs_error),
            report::difference(row.weight_max_abs_error),
        ]);
    }
    table
}

/// Errors of regressions, output by output.
fn errors(rows: &[Row]) -> Option<comfy_table::Table> {
    let header = [
        "workload",
        "algebra",
        "output",
        "plain (unit)",
        "encrypted (unit)",
        "plain (%)",
        "encrypted (%)",
    ];
    let mut table = report::table(&header, 3);
    for row in rows.iter().filter(|row| row.job == "train") {
        let (Some(outputs), Some(plain), Some(encrypted), Some(units), Some(encrypted_units)) = (
            &row.outputs,
            &row.plain_error,
            &row.encrypted_error,
            &row.plain_absolute_error,
            &row.encrypted_absolute_error,
        ) else {
            continue;
        };
        for (nth, output) in outputs.iter().enumerate() {
            let percent = |errors: &[f64]| format!("{:.3}", 100.0 * errors[nth]);
            table.add_row([
                row.workload.to_owned(),
                row.algebra.clone(),
                output.clone(),
                format!("{:.3e}", units[nth]),
                format!("{:.3e}", encrypted_units[nth]),
                percent(plain),
                percent(encrypted),
            ]);
        }
    }
    (table.row_count() > 0).then_some(table)
}

fn conclusions(claims: &[Claim]) -> comfy_table::Table {
    let header = [
        "job",
        "regime",
        "algebra",
        "overhead",
        "below ten",
        "largest differences",
        "equal",
    ];
    let mut table = report::table(&header, 7);
    let yes = |holds: Option<bool>| match holds {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => "-".to_owned(),
    };
    for claim in claims {
        let [least, most] = [claim.overhead_min, claim.overhead_max];
        table.add_row([
            claim.job.to_owned(),
            claim.regime.to_owned(),
            claim.algebra.clone(),
            format!(
                "{} to {}",
                report::number(least, 2),
                report::number(most, 2)
            ),
            yes(claim.below_papers),
            claim.differences(),
            yes(claim.equal),
        ]);
    }
    table
}
