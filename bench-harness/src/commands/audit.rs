//! `audit`: what someone recovers who holds no secret key.

use std::path::PathBuf;

use anstream::println;
use furthermore::tensor::DType;

use super::WARNING;
use crate::audit::{self, ATTACKS, CHECKS, Row, SHOWN};
use crate::data::{self, SIDE};
use crate::drawing;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::progress;
use crate::report::{self, Report, Status};
use crate::workloads::{Sources, Workload};

/// Options of `audit`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Folder for pictures of what was recovered: ciphertexts and the two streams in them, coefficients
    /// of hybrid ciphertexts and what black pixels make of them.
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Folder with MNIST as IDX files, gzip or not [default: digits are drawn].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Seed of images, keys and masks.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Images whose ciphertexts are attacked.
const IMAGES: usize = 200;
/// Networks whose results are verified.
const NETWORKS: [&str; 2] = ["mnist-mlp", "mnist-lenet"];

/// Runs the command.
///
/// # Errors
/// When the data cannot be read, a file cannot be written, or an attack does not reproduce.
pub fn run(options: &Options) -> Result<()> {
    report::check_writable(options.json.as_deref())?;
    if let Some(folder) = &options.to {
        std::fs::create_dir_all(folder).map_err(|error| Error::File {
            path: folder.clone(),
            reason: error.to_string(),
        })?;
    }
    let images = match &options.data {
        Some(folder) => data::load(folder)?.test.images,
        None => data::draw(options.seed, 0, IMAGES).test.images,
    };
    let images = &images[..images.len().min(IMAGES * data::PIXELS)];
    let networks = NETWORKS.iter().filter_map(|name| Workload::named(name));
    let bar = progress::bar("attacking", ATTACKS + CHECKS * NETWORKS.len());
    let (mut rows, sheets) = audit::run(images, options.seed, || bar.inc(1))?;
    let sources = Sources::new(options.data.as_deref(), options.seed, false);
    for workload in networks {
        let task = workload.task(&sources, DType::F32)?;
        audit::verify(&workload, &task, options.seed, |row| {
            rows.push(row);
            bar.inc(1);
        })?;
    }
    bar.finish_and_clear();
    let isa = furthermore::device::Cpu::new()?.isa();
    let report = Report::new("audit", Environment::here(isa.name(), None), rows);
    print(report.rows(), images.len() / data::PIXELS);
    if let Some(folder) = &options.to {
        for (name, pixels) in sheets {
            let path = folder.join(format!("{name}.png"));
            let refuse = |error: png::EncodingError| Error::File {
                path: path.clone(),
                reason: error.to_string(),
            };
            let sheet = drawing::contact_sheet(&pixels, SIDE).map_err(refuse)?;
            report::write_file(&path, sheet)?;
        }
        println!(
            "The first {SHOWN} images, as ciphertexts and as what one ciphertext's eigenvectors make \
             of them, and as coefficients of hybrid ones and as what their black pixels make of those: {}",
            folder.display()
        );
    }
    println!("{WARNING}");
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    report.check(|row| row.status)
}

fn print(rows: &[Row], images: usize) {
    let header = [
        "scheme",
        "attack",
        "masks",
        "ciphertexts",
        "known",
        "recovered",
        "max error",
        "time",
    ];
    let mut table = report::table(&header, 3);
    for row in rows {
        table.add_row([
            row.scheme.clone(),
            row.attack.to_owned(),
            row.masks.to_owned(),
            row.ciphertexts_used.to_string(),
            row.known_plaintexts.to_string(),
            format!("{:.1} %", 100.0 * row.recovered_fraction),
            report::difference(row.max_abs_error),
            report::seconds(Some(row.seconds)),
        ]);
    }
    println!("{table}");
    println!(
        "Of {images} images of digits, with no secret key. Ciphertexts and known plaintexts are what an \
         attack needs before it reads all the others."
    );
    println!(
        "Of networks with check inputs it is what part of honest rows or of faults is seen, and what part \
         of forged rows is not."
    );
    for row in rows.iter().filter(|row| row.status == Status::Failed) {
        println!(
            "failed: {} on {}, {:.1} % ({})",
            row.attack,
            row.scheme,
            100.0 * row.recovered_fraction,
            row.note
        );
    }
}
