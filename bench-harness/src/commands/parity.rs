//! `parity`: every kernel on every device against an oracle in f64.

use std::path::PathBuf;

use anstream::println;
use furthermore::Algebra;
use furthermore::device::gpu::AdapterDescription;
use furthermore::device::{Cpu, Gpu};
use regex::Regex;

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::parity::{CASES, NEGATIVE_CONTROL, Parity, Row, support_table};
use crate::progress;
use crate::report::{self, Report, Status};

/// Set to 1, a missing adapter is a failure, as in the tests.
const REQUIRE_VARIABLE: &str = "FURTHERMORE_REQUIRE_GPU";

fn lacks_half(error: &Error) -> bool {
    matches!(
        error,
        Error::Engine(furthermore::Error::NoHalfPrecision { .. })
    )
}

/// Options of `parity`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Run only cases whose name matches, as in "conv2d|pool".
    #[arg(long, value_name = "REGEX", default_value = "")]
    pub filter: Regex,
    /// Algebras, comma-separated: real, compact2 to compact8, blocks2 to blocks8, reduced1 to reduced3.
    #[arg(long, value_delimiter = ',', default_value = "real,compact2,blocks2")]
    pub algebra: Vec<Algebra>,
    /// A part of the graphics adapter's name, backend or driver [default: FURTHERMORE_ADAPTER, or else the
    /// best adapter].
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// Fail where there is no graphics adapter, instead of saying that it is skipped; so does the
    /// environment variable FURTHERMORE_REQUIRE_GPU=1, and naming an adapter. One that does not store
    /// half precision is skipped for that alone.
    #[arg(long)]
    pub require_gpu: bool,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write which kernels run on which device as a Markdown table.
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When an option cannot be used, a kernel is further from the oracle than rounding explains, the
/// negative control is not noticed, or the report cannot be written.
pub fn run(options: &Options) -> Result<()> {
    report::check_writable(options.json.as_deref())?;
    report::check_writable(options.table.as_deref())?;
    let cases: Vec<_> = CASES
        .iter()
        .filter(|(name, _)| options.filter.is_match(name))
        .collect();
    if cases.is_empty() {
        let names: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
        return Err(Error::Option {
            option: "--filter",
            reason: format!("'{}' matches none of {}", options.filter, names.join(", ")),
        });
    }
    if let Some(graded) = (options.algebra.iter()).find(|a| matches!(a, Algebra::Graded(_))) {
        return Err(Error::Option {
            option: "--algebra",
            reason: format!(
                "tensors of {graded} are of several degrees, and a case has one algebra"
            ),
        });
    }
    let cpu = Cpu::new()?;
    let isa = cpu.isa();
    let mut skipped = Vec::new();
    let required =
        options.require_gpu || std::env::var(REQUIRE_VARIABLE).is_ok_and(|value| value == "1");
    let mut gpu = |half: bool| -> Result<Option<Gpu>> {
        match super::gpu(options.adapter.as_deref(), half) {
            Ok(gpu) => Ok(Some(gpu)),
            // Whoever names an adapter means it, but not every one stores half precision.
            Err(error) if (required || options.adapter.is_some()) && !lacks_half(&error) => {
                Err(error)
            }
            Err(error) => {
                let what = if half { "f16 storage" } else { "gpu" };
                eprintln!("skipped: {what}: {error}");
                skipped.push(skip(what, error.to_string()));
                Ok(None)
            }
        }
    };
    let (single, half) = (gpu(false)?, gpu(true)?);
    let adapter = single.as_ref().map(|gpu| gpu.adapter().clone());
    let named = adapter.as_ref().map(AdapterDescription::to_string);
    let environment = Environment::here(isa.name(), named);
    let parity = Parity::new(&options.algebra, cpu, single, half);
    let bar = progress::bar("parity", cases.len());
    let mut rows = Vec::new();
    for (name, cases) in cases {
        bar.set_message((*name).to_owned());
        rows.extend(parity.run(*cases));
        bar.inc(1);
    }
    rows.append(&mut skipped);
    rows.push(parity.negative_control());
    bar.finish_and_clear();
    let report = Report::new("parity", environment, rows);
    print(&report);
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    if let Some(path) = &options.table {
        report::write_file(path, support_table(report.rows(), adapter.as_ref()))?;
    }
    report.check(|row| row.status)
}

fn skip(what: &str, note: String) -> Row {
    Row {
        kernel: "all".to_owned(),
        algebra: "all".to_owned(),
        regime: String::new(),
        dtype: if what == "gpu" { "f32" } else { "f16" },
        shape: String::new(),
        device: "gpu".to_owned(),
        max_abs_error: None,
        bound: None,
        status: Status::Skipped,
        note,
    }
}

/// A line for each kernel, element type and device, what these were, what became of the negative
/// control, and a line for each row that failed.
fn print(report: &Report<Row>) {
    let rows = report.rows();
    let mut table = report::table(
        &[
            "kernel",
            "dtype",
            "device",
            "cases",
            "largest error",
            "of its bound",
            "status",
        ],
        3,
    );
    let mut seen: Vec<(&str, &str, &str)> = Vec::new();
    for row in rows {
        let key = (row.kernel.as_str(), row.dtype, row.device.as_str());
        if !seen.contains(&key) {
            seen.push(key);
        }
    }
    for key in seen {
        let of = || {
            rows.iter()
                .filter(|row| (row.kernel.as_str(), row.dtype, row.device.as_str()) == key)
        };
        let error = of().filter_map(|row| row.max_abs_error).reduce(f64::max);
        let share = of()
            .filter_map(|row| Some(row.max_abs_error? / row.bound?.max(f64::MIN_POSITIVE)))
            .reduce(f64::max);
        let count = |status: Status| of().filter(|row| row.status == status).count();
        let status = match (count(Status::Failed), count(Status::Skipped)) {
            (0, 0) => "ok".to_owned(),
            (0, _) => "skipped".to_owned(),
            (failed, _) => format!("{failed} failed"),
        };
        table.add_row([
            key.0.to_owned(),
            key.1.to_owned(),
            key.2.to_owned(),
            of().count().to_string(),
            report::difference(error),
            report::number(share, 2),
            status,
        ]);
    }
    println!("{table}");
    let environment = report.environment();
    println!("cpu: {} on {}", environment.isa, environment.cpu);
    if let Some(adapter) = &environment.adapter {
        println!("gpu: {adapter}");
    }
    for control in rows.iter().filter(|row| row.kernel == NEGATIVE_CONTROL) {
        println!("{NEGATIVE_CONTROL}: {}", control.note);
    }
    for row in rows.iter().filter(|row| row.status == Status::Failed) {
        println!(
            "failed: {} {} {} {} {} on {}: error {}, bound {}: {}",
            row.kernel,
            row.algebra,
            row.regime,
            row.dtype,
            row.shape,
            row.device,
            report::difference(row.max_abs_error),
            report::difference(row.bound),
            row.note
        );
    }
}
