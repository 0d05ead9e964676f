//! `tune`: which tiles matrix products and convolutions take on a graphics adapter.

use std::path::PathBuf;

use anstream::println;
use furthermore::Algebra;
use furthermore::tensor::DType;
use regex::Regex;
use serde::Serialize;

use super::kernels::matching;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::kernels::cases;
use crate::progress;
use crate::report::{self, Report, Status};

/// Options of `tune`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Tune only for rows of `kernels` whose "KERNEL SHAPE REGIME ALGEBRA" matches.
    #[arg(long, value_name = "REGEX", default_value = "")]
    pub filter: Regex,
    /// Algebras of the ciphertexts, comma-separated: compact2 to compact8, blocks2 to blocks8.
    #[arg(long, value_delimiter = ',', default_value = "compact2,blocks2")]
    pub algebra: Vec<Algebra>,
    /// A part of the graphics adapter's name, backend or driver [default: FURTHERMORE_ADAPTER, or else the
    /// best adapter].
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// Tune for tensors stored in half precision.
    #[arg(long)]
    pub half: bool,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A row of the report: the tiles of one kernel at one shape in one regime.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the report format names them")]
pub struct Row {
    pub kernel: String,
    pub regime: &'static str,
    pub algebra: String,
    /// How tensors are stored.
    pub dtype: &'static str,
    pub shape: String,
    pub device: &'static str,
    /// Rows and columns of an invocation, rows and columns of a workgroup in invocations, depth.
    pub tile: Option<[u32; 5]>,
    pub tried: usize,
    pub seconds: Option<f64>,
    pub untuned_seconds: Option<f64>,
    pub status: Status,
    pub note: String,
}

/// Runs the command.
///
/// # Errors
/// When an option cannot be used, the device fails at a kernel, whose row says why after the others were
/// tuned, or a file cannot be written.
pub fn run(options: &Options) -> Result<()> {
    if options.algebra.contains(&Algebra::Real) {
        let reason = "plaintext is tuned beside every other algebra".to_owned();
        return Err(Error::Option {
            option: "--algebra",
            reason,
        });
    }
    report::check_writable(options.json.as_deref())?;
    let gpu = super::gpu(options.adapter.as_deref(), options.half)?;
    let adapter = gpu.adapter().clone();
    let mut cases = cases(DType::F32, &options.algebra, !adapter.software)?;
    // One choice serves a product however its operands lie.
    cases.retain(|case| {
        let tiled = case.kernel == "block_matmul" || case.kernel.starts_with("conv2d");
        tiled && !case.shape.contains("^T") && !case.kernel.ends_with("bias")
    });
    let cases = matching(cases, &options.filter, |_| false)?;
    let count = cases.iter().map(|case| case.sides.len()).sum();
    let bar = progress::bar("tuning", count);
    let mut rows = Vec::new();
    let mut kept = Ok(());
    for case in &cases {
        for side in &case.sides {
            bar.set_message(format!("{} {}", case.kernel, case.shape));
            let tuned = match side.plan() {
                Some((plan, arithmetic)) => gpu.tune(plan, arithmetic),
                None => Ok(None),
            };
            bar.inc(1);
            let (tuned, failure) = match tuned {
                Ok(None) => continue,
                Ok(tuned) => (tuned, None),
                Err(error) => (None, Some(error.to_string())),
            };
            if tuned.is_some() {
                // What comes next may outlast whoever waits for it.
                kept = kept.and(gpu.keep_tuned());
            }
            rows.push(Row {
                kernel: case.kernel.clone(),
                regime: side.regime.name(),
                algebra: side.algebra.to_string(),
                dtype: if options.half { "f16" } else { "f32" },
                shape: case.shape.clone(),
                device: "gpu",
                tile: tuned.map(|tuned| tuned.tile),
                tried: tuned.map_or(0, |tuned| tuned.tried),
                seconds: tuned.map(|tuned| tuned.seconds),
                untuned_seconds: tuned.map(|tuned| tuned.untuned_seconds),
                status: match failure {
                    None => Status::Ok,
                    Some(_) => Status::Failed,
                },
                note: failure.unwrap_or_default(),
            });
        }
    }
    bar.finish_and_clear();
    print(&rows);
    let isa = furthermore::device::Cpu::new()?.isa();
    let environment = Environment::here(isa.name(), Some(adapter.to_string()));
    let report = Report::new("tune", environment, rows);
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    kept?;
    println!("kept for {adapter}");
    report.check(|row| row.status)
}

fn print(rows: &[Row]) {
    let header = [
        "kernel",
        "shape",
        "regime",
        "algebra",
        "tile",
        "time",
        "untuned",
        "untuned / tuned",
    ];
    let mut table = report::table(&header, 5);
    for row in rows {
        let Some([rows, columns, group_rows, group_columns, depth]) = row.tile else {
            continue;
        };
        table.add_row([
            row.kernel.clone(),
            row.shape.clone(),
            row.regime.to_owned(),
            row.algebra.clone(),
            format!("{group_rows}x{group_columns} of {rows}x{columns}, depth {depth}"),
            report::seconds(row.seconds),
            report::seconds(row.untuned_seconds),
            report::number(
                (row.untuned_seconds.zip(row.seconds)).map(|(untuned, tuned)| untuned / tuned),
                2,
            ),
        ]);
    }
    println!("{table}");
    for row in rows.iter().filter(|row| row.status == Status::Failed) {
        println!(
            "failed: {} {} {} {}: {}",
            row.kernel, row.shape, row.regime, row.algebra, row.note
        );
    }
}
