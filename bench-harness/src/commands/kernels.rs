//! `kernels`: every kernel by itself, plain and encrypted, against what the machine can do.

use std::path::PathBuf;

use anstream::println;
use furthermore::Algebra;
use furthermore::device::Device;
use regex::Regex;
use serde::Serialize;

use super::Compute;
use crate::error::{Error, Result};
use crate::kernels::{Case, Peaks, Ready, Regime, Side, cases};
use crate::progress;
use crate::report::{self, Report, Status};
use crate::timing::Samples;

/// Options of `kernels`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Run only rows whose "KERNEL SHAPE REGIME ALGEBRA" matches, as in "matmul 512.*compact2"; the
    /// plain side of a shape is always run beside the others.
    #[arg(long, value_name = "REGEX", default_value = "")]
    pub filter: Regex,
    /// Alternating repetitions; a time is that of as many calls as take a millisecond.
    #[arg(long, default_value_t = 21)]
    pub repetitions: usize,
    /// List the rows and run nothing.
    #[arg(long)]
    pub list: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "described where it is defined")]
    pub compute: Compute,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A row of the report: one kernel at one shape in one regime.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the report format names them")]
pub struct Row {
    pub kernel: String,
    pub regime: &'static str,
    pub algebra: String,
    pub dtype: String,
    pub shape: String,
    pub device: String,
    /// Instruction set, or the interface of a graphics processor.
    pub isa: String,
    pub threads: usize,
    pub repetitions: usize,
    pub plain_seconds: Option<f64>,
    pub plain_seconds_p10: Option<f64>,
    pub plain_seconds_p90: Option<f64>,
    /// Null in the rows of plaintext, whose times are the plain ones.
    pub encrypted_seconds: Option<f64>,
    pub encrypted_seconds_p10: Option<f64>,
    pub encrypted_seconds_p90: Option<f64>,
    pub overhead: Option<f64>,
    /// Messages in a ciphertext, and the overhead for each of them.
    pub messages: usize,
    pub overhead_per_message: Option<f64>,
    /// Of this row's own call; null where operations are no measure of the work.
    pub gflop_per_s: Option<f64>,
    /// Operands read and written once, of this row's own call.
    pub gbyte_per_s: Option<f64>,
    /// The least time that the peaks allow over the time it took: above 1 where operands stay in
    /// cache, whose bandwidth is no part of the peaks.
    pub peak_fraction: Option<f64>,
    pub peaks: Peaks,
    pub status: Status,
    pub note: String,
}

/// Runs the command.
///
/// # Errors
/// When an option cannot be used, a kernel refuses its operands, or the report cannot be written.
pub fn run(options: &Options) -> Result<()> {
    if options.repetitions == 0 {
        let reason = "at least one repetition is needed".to_owned();
        return Err(Error::Option {
            option: "--repetitions",
            reason,
        });
    }
    report::check_writable(options.json.as_deref())?;
    let chosen = options.compute.choose()?;
    let hardware = chosen
        .engine
        .gpu
        .as_ref()
        .is_some_and(|g| !g.adapter().software);
    let algebras: Vec<Algebra> = chosen.schemes.iter().map(|s| s.algebra).collect();
    if let Some(twice) = (algebras.iter().enumerate()).find(|(i, a)| algebras[..*i].contains(a)) {
        return Err(Error::Option {
            option: "--algebra",
            reason: format!("kernels of {} would be measured twice", twice.1),
        });
    }
    let mut cases = cases(chosen.dtype, &algebras, hardware)?;
    // What no plan has, the processor alone can run.
    if chosen.engine.gpu.is_some() {
        for case in &mut cases {
            case.sides.retain(|side| side.plan().is_some());
        }
        cases.retain(|case| !case.sides.is_empty());
    }
    let cases = matching(cases, &options.filter, |side| side.regime == Regime::Plain)?;
    if options.list {
        for case in &cases {
            for side in &case.sides {
                let (regime, algebra) = (side.regime.name(), side.algebra);
                println!("{} {} {regime} {algebra}", case.kernel, case.shape);
            }
        }
        return Ok(());
    }
    let bar = progress::bar("kernels", cases.len() + 1);
    let mut peaks = chosen.peaks()?;
    bar.inc(1);
    let mut rows = Vec::new();
    for case in &cases {
        bar.set_message(format!("{} {}", case.kernel, case.shape));
        let scheme = |side: usize| {
            let algebra = case.sides[side].algebra;
            let named = chosen.schemes.iter().find(|s| s.algebra == algebra);
            named.copied().unwrap_or(algebra.into())
        };
        let blank = |side: usize| Row {
            kernel: case.kernel.clone(),
            regime: case.sides[side].regime.name(),
            algebra: scheme(side).to_string(),
            messages: scheme(side).messages,
            overhead_per_message: None,
            dtype: chosen.dtype.to_string(),
            shape: case.shape.clone(),
            device: chosen.engine.device().name(),
            isa: chosen.engine.instructions(),
            threads: chosen.engine.cpu.threads(),
            repetitions: options.repetitions,
            plain_seconds: None,
            plain_seconds_p10: None,
            plain_seconds_p90: None,
            encrypted_seconds: None,
            encrypted_seconds_p10: None,
            encrypted_seconds_p90: None,
            overhead: None,
            gflop_per_s: None,
            gbyte_per_s: None,
            peak_fraction: None,
            peaks,
            status: Status::Ok,
            note: String::new(),
        };
        let times = alternate(case, options.repetitions, chosen.engine.device())?;
        let plain = &times[0];
        for (nth, (side, times)) in case.sides.iter().zip(&times).enumerate() {
            let encrypted = (side.algebra != Algebra::Real).then_some(times);
            let seconds = times.median();
            let overhead = (encrypted.and_then(Samples::median))
                .zip(plain.median())
                .map(|(encrypted, plain)| encrypted / plain);
            let rate = |amount: f64| seconds.filter(|_| amount > 0.0).map(|s| amount / s / 1e9);
            rows.push(Row {
                plain_seconds: plain.median(),
                plain_seconds_p10: plain.quantile(0.1),
                plain_seconds_p90: plain.quantile(0.9),
                encrypted_seconds: encrypted.and_then(Samples::median),
                encrypted_seconds_p10: encrypted.and_then(|t| t.quantile(0.1)),
                encrypted_seconds_p90: encrypted.and_then(|t| t.quantile(0.9)),
                overhead,
                overhead_per_message: overhead.map(|x| x / scheme(nth).messages as f64),
                gflop_per_s: rate(side.work.flop),
                gbyte_per_s: rate(side.work.bytes),
                ..blank(nth)
            });
        }
        bar.inc(1);
    }
    // Once more: what else runs on the machine may have stopped meanwhile.
    peaks = peaks.max(chosen.peaks()?);
    for row in &mut rows {
        row.peaks = peaks;
        row.peak_fraction = peaks.fraction(row.gflop_per_s, row.gbyte_per_s);
    }
    bar.finish_and_clear();
    let report = Report::new("kernels", chosen.engine.environment(), rows);
    print(&report, &peaks);
    match &options.json {
        Some(path) => report.write(path),
        None => Ok(()),
    }
}

/// The cases with the sides whose "KERNEL SHAPE REGIME ALGEBRA" matches, and beside them those that
/// `always` go with any.
///
/// # Errors
/// When none matches.
pub(super) fn matching(
    mut cases: Vec<Case>,
    filter: &Regex,
    always: impl Fn(&Side) -> bool,
) -> Result<Vec<Case>> {
    for case in &mut cases {
        let (kernel, shape) = (&case.kernel, &case.shape);
        let matches = |side: &Side| {
            let (regime, algebra) = (side.regime.name(), side.algebra);
            filter.is_match(&format!("{kernel} {shape} {regime} {algebra}"))
        };
        let any = case.sides.iter().any(&matches);
        case.sides
            .retain(|side| matches(side) || (any && always(side)));
    }
    cases.retain(|case| !case.sides.is_empty());
    if cases.is_empty() {
        return Err(Error::Option {
            option: "--filter",
            reason: format!("'{filter}' matches no row; kernels --list shows them"),
        });
    }
    Ok(cases)
}

/// Seconds a call of each side takes, the sides taking turns.
fn alternate(case: &Case, repetitions: usize, device: &dyn Device) -> Result<Vec<Samples>> {
    let ready = case.sides.iter().map(|side| side.prepare(device));
    let mut ready = ready.collect::<Result<Vec<Ready>>>()?;
    let mut times = vec![Samples::default(); ready.len()];
    // A short call is repeated until a clock's tick no longer counts.
    let mut counts = Vec::new();
    for side in &mut ready {
        let mut once = Samples::default();
        for _ in 0..3 {
            once.time(|| side.seconds())?;
        }
        let seconds = once.quantile(0.0).unwrap_or(1.0).max(1e-9);
        counts.push((1e-3 / seconds).clamp(1.0, 1e4) as usize);
    }
    for _ in 0..repetitions {
        for ((side, times), &count) in ready.iter_mut().zip(&mut times).zip(&counts) {
            // One call goes before: the other sides have emptied the caches.
            side.seconds()?;
            let mut total = 0.0;
            for _ in 0..count {
                total += side.seconds()?;
            }
            times.push(total / count as f64);
        }
    }
    Ok(times)
}

fn print(report: &Report<Row>, peaks: &Peaks) {
    let mut table = report::table(
        &[
            "kernel",
            "shape",
            "regime",
            "algebra",
            "time",
            "overhead",
            "a message",
            "GFLOP/s",
            "GB/s",
            "of peak",
        ],
        4,
    );
    for row in report.rows() {
        table.add_row([
            row.kernel.clone(),
            row.shape.clone(),
            row.regime.to_owned(),
            row.algebra.clone(),
            report::seconds(row.encrypted_seconds.or(row.plain_seconds)),
            report::number(row.overhead, 2),
            report::number(row.overhead_per_message, 2),
            report::number(row.gflop_per_s, 1),
            report::number(row.gbyte_per_s, 1),
            report::number(row.peak_fraction, 2),
        ]);
    }
    println!("{table}");
    println!("{}", peaks.describe(report.environment()));
}
