//! `profile`: where the time of a network goes, command by command.

use std::path::PathBuf;

use anstream::println;
use furthermore::network::Optimizer;
use furthermore::plan::{CompileOptions, Work};
use serde::Serialize;
use serde_json::json;

use super::{Chosen, Compute};
use crate::error::{Error, Result};
use crate::kernels::Peaks;
use crate::progress;
use crate::report::{self, Report};
use crate::scheme::{PLAINTEXT, Scheme};
use crate::timing::Samples;
use crate::workloads::{Loss, Workload, resident};

/// What a network is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Job {
    /// Inference.
    Infer,
    /// A training step.
    Train,
}

/// Who is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Regime {
    /// Nothing.
    #[value(name = "pt-pt")]
    Plain,
    /// Inputs.
    CtPt,
    /// Inputs and weights.
    CtCt,
}

/// Options of `profile`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Network: mlp, lenet, angio, wbc or wbc-inverse.
    #[arg(long)]
    pub workload: String,
    /// What it is run for.
    #[arg(long, value_enum, default_value = "infer")]
    pub job: Job,
    /// Who is encrypted [default: ct-pt for inference, ct-ct for training].
    #[arg(long, value_enum)]
    pub regime: Option<Regime>,
    /// Samples in a run [default: 256 for inference, 64 for training].
    #[arg(long)]
    pub batch: Option<usize>,
    /// Runs of which a command's time is the median.
    #[arg(long, default_value_t = 21)]
    pub repetitions: usize,
    #[command(flatten)]
    #[allow(missing_docs, reason = "described where it is defined")]
    pub compute: Compute,
    /// Seed of keys, masks, weights and inputs.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write a Chrome trace, for chrome://tracing or ui.perfetto.dev: the run of median length in
    /// each algebra.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A row of the report: one command of the plan.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the report format names them")]
pub struct Row {
    pub workload: &'static str,
    pub job: &'static str,
    pub batch: usize,
    pub regime: &'static str,
    pub algebra: String,
    pub dtype: String,
    pub device: String,
    /// The operation of the network that the command computes.
    pub operation: String,
    pub kernel: &'static str,
    pub repetitions: usize,
    pub seconds: Option<f64>,
    pub seconds_p10: Option<f64>,
    pub seconds_p90: Option<f64>,
    /// Of the time of all commands.
    pub share: Option<f64>,
    pub gflop_per_s: Option<f64>,
    pub gbyte_per_s: Option<f64>,
    /// The least time that the peaks allow over the time it took: above 1 where operands stay in
    /// cache, whose bandwidth is no part of the peaks.
    pub peak_fraction: Option<f64>,
    pub peaks: Peaks,
}

/// The times of a plan's commands in one algebra.
struct Profile {
    scheme: Scheme,
    rows: Vec<Row>,
    /// Seconds of each command in the run of median length.
    median_run: Vec<f64>,
}

/// Runs the command.
///
/// # Errors
/// When an option cannot be used, the network cannot run, or a file cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let refuse = |option, reason: String| Err(Error::Option { option, reason });
    let workload = Workload::of_option(&options.workload)?;
    if options.repetitions == 0 {
        let reason = "at least one repetition is needed".to_owned();
        return refuse("--repetitions", reason);
    }
    let regime = match (options.job, options.regime) {
        (Job::Train, Some(Regime::CtPt)) => {
            let reason = "training on ciphertexts leaves encrypted weights: ct-ct".to_owned();
            return refuse("--regime", reason);
        }
        (_, Some(regime)) => regime,
        (Job::Infer, None) => Regime::CtPt,
        (Job::Train, None) => Regime::CtCt,
    };
    report::check_writable(options.json.as_deref())?;
    report::check_writable(options.trace.as_deref())?;
    let chosen = options.compute.choose()?;
    let mut peaks = chosen.peaks()?;
    let schemes = match regime {
        Regime::Plain => vec![PLAINTEXT],
        _ => chosen.schemes.clone(),
    };
    let mut profiles = Vec::new();
    for scheme in schemes {
        profiles.push(profile(options, &chosen, &workload, regime, scheme, peaks)?);
    }
    // Once more: what else runs on the machine may have stopped meanwhile.
    peaks = peaks.max(chosen.peaks()?);
    for profile in &mut profiles {
        for row in &mut profile.rows {
            row.peaks = peaks;
            row.peak_fraction = peaks.fraction(row.gflop_per_s, row.gbyte_per_s);
        }
        print(profile);
    }
    println!("{}", peaks.describe(&chosen.engine.environment()));
    if let Some(path) = &options.trace {
        let computing = chosen.engine.environment().computing();
        report::write_file(path, trace(&profiles, &computing))?;
    }
    let rows = profiles.into_iter().flat_map(|p| p.rows).collect();
    let report = Report::new("profile", chosen.engine.environment(), rows);
    match &options.json {
        Some(path) => report.write(path),
        None => Ok(()),
    }
}

fn profile(
    options: &Options,
    chosen: &Chosen,
    workload: &Workload,
    regime: Regime,
    scheme: Scheme,
    peaks: Peaks,
) -> Result<Profile> {
    let (network, job, batch) = match options.job {
        Job::Infer => (workload.inference()?, "infer", 256),
        Job::Train => (workload.training(Optimizer::sgd(0.0))?, "train", 64),
    };
    let batch = options.batch.unwrap_or(batch);
    let (rows, algebra) = (scheme.rows(batch), scheme.algebra);
    let (compile, regime) = match regime {
        Regime::Plain => (CompileOptions::plain(batch, chosen.dtype), "pt-pt"),
        Regime::CtPt => (
            CompileOptions::encrypted_inputs(rows, chosen.dtype, algebra),
            "ct-pt",
        ),
        Regime::CtCt => (
            CompileOptions::encrypted(rows, chosen.dtype, algebra),
            "ct-ct",
        ),
    };
    let one_hot = workload.loss == Loss::CrossEntropy;
    let weights = network.initial_parameters(options.seed, chosen.dtype)?;
    let mut session = resident(
        &network,
        &weights,
        scheme,
        &compile,
        options.seed,
        one_hot,
        chosen.engine.device(),
    )?;
    let work = session.work()?;
    let commands = session.plan().commands().to_vec();
    let bar = progress::bar(&format!("{scheme}: profiling"), options.repetitions);
    // The first run compiles, faults pages in and wakes threads.
    session.profile()?;
    let mut runs = Vec::new();
    for _ in 0..options.repetitions {
        runs.push(session.profile()?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut rows = Vec::new();
    for (at, (command, &Work { flop, bytes })) in commands.iter().zip(&work).enumerate() {
        let mut times = Samples::default();
        runs.iter().for_each(|run| times.push(run[at]));
        let seconds = times.median();
        let rate = |amount: f64| {
            seconds
                .filter(|s| amount > 0.0 && *s > 0.0)
                .map(|s| amount / s / 1e9)
        };
        rows.push(Row {
            workload: workload.name,
            job,
            batch,
            regime,
            algebra: scheme.to_string(),
            dtype: chosen.dtype.to_string(),
            device: chosen.engine.device().name(),
            operation: command.name.clone(),
            kernel: command.kernel.name(),
            repetitions: options.repetitions,
            seconds,
            seconds_p10: times.quantile(0.1),
            seconds_p90: times.quantile(0.9),
            share: None,
            gflop_per_s: rate(flop),
            gbyte_per_s: rate(bytes),
            peak_fraction: None,
            peaks,
        });
    }
    let total: f64 = rows.iter().filter_map(|row| row.seconds).sum();
    for row in &mut rows {
        row.share = row.seconds.filter(|_| total > 0.0).map(|s| s / total);
    }
    runs.sort_by(|a, b| a.iter().sum::<f64>().total_cmp(&b.iter().sum()));
    let median_run = runs.swap_remove(runs.len() / 2);
    Ok(Profile {
        scheme,
        rows,
        median_run,
    })
}

/// The trace event format: a process that is called what computed, in it a track for each algebra, its
/// commands one after the other.
fn trace(profiles: &[Profile], computing: &str) -> String {
    let mut events = vec![json!({
        "ph": "M", "name": "process_name", "pid": 0, "args": { "name": computing },
    })];
    for (track, profile) in profiles.iter().enumerate() {
        let name = profile.scheme.to_string();
        events.push(json!({
            "ph": "M", "name": "thread_name", "pid": 0, "tid": track, "args": { "name": name },
        }));
        let mut start = 0.0;
        for (row, seconds) in profile.rows.iter().zip(&profile.median_run) {
            events.push(json!({
                "ph": "X",
                "name": row.operation,
                "cat": row.kernel,
                "pid": 0,
                "tid": track,
                "ts": start * 1e6,
                "dur": seconds * 1e6,
                "args": { "gflop_per_s": row.gflop_per_s, "gbyte_per_s": row.gbyte_per_s },
            }));
            start += seconds;
        }
    }
    json!({ "displayTimeUnit": "ns", "traceEvents": events }).to_string()
}

fn print(profile: &Profile) {
    let header = [
        "operation",
        "kernel",
        "time",
        "share",
        "GFLOP/s",
        "GB/s",
        "of peak",
    ];
    let mut table = report::table(&header, 2);
    for row in &profile.rows {
        table.add_row([
            row.operation.clone(),
            row.kernel.to_owned(),
            report::seconds(row.seconds),
            report::number(row.share.map(|share| 100.0 * share), 1) + " %",
            report::number(row.gflop_per_s, 1),
            report::number(row.gbyte_per_s, 1),
            report::number(row.peak_fraction, 2),
        ]);
    }
    let total: f64 = profile.rows.iter().filter_map(|row| row.seconds).sum();
    if let Some(row) = profile.rows.first() {
        println!(
            "{} {} of {}, {} {}: {}",
            row.workload,
            row.job,
            row.batch,
            row.regime,
            row.algebra,
            report::seconds(Some(total))
        );
    }
    println!("{table}\n");
}
