//! `encrypt`: an array to a file of ciphertexts.

use std::path::PathBuf;
use std::time::Instant;

use anstream::println;
use furthermore::Algebra;
use furthermore::device::Cpu;
use furthermore::io;
use furthermore::scheme::MaskPolicy;
use furthermore::tensor::{DType, TensorView};
use serde::Serialize;

use super::WARNING;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::report::{self, Report};
use crate::scheme::Scheme;

/// Options of `encrypt`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// The secret key, from `keygen`.
    #[arg(long, value_name = "KEY")]
    pub key: PathBuf,
    /// The array to encrypt: .npy of booleans, integers or floating-point numbers.
    #[arg(long, value_name = "X.npy")]
    pub input: PathBuf,
    /// Where the ciphertexts go: safetensors, with the evaluation key and without the secret one.
    #[arg(long, value_name = "X.safetensors")]
    pub output: PathBuf,
    /// Algebra of the ciphertexts: compact2 to compact8 or blocks2 to blocks8, of the key's number of
    /// slots, graded1 and up for a key of two, or reduced1 to reduced3 for one with a public polynomial
    /// [default: compact]. Under a key of several messages samples are dealt out to them in equal
    /// parts, the last filled up with the last sample.
    #[arg(long)]
    pub algebra: Option<Algebra>,
    /// Element type: f32 or f64.
    #[arg(long, default_value = "f32")]
    pub dtype: DType,
    /// How masks are drawn: paired-rows, features, uniform, normal or positive.
    #[arg(long, default_value = "uniform")]
    pub mask: String,
    /// The tensor's name in the file.
    #[arg(long, default_value = "x")]
    pub name: String,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A row of the report: the tensor that was encrypted.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the report format names them")]
pub struct Row {
    pub name: String,
    pub shape: Vec<usize>,
    pub algebra: String,
    pub dtype: String,
    pub mask: &'static str,
    pub key: String,
    pub encrypt_seconds: f64,
}

/// Runs the command.
///
/// # Errors
/// When an option's value is unknown or does not fit the key, a file cannot be read or written, or
/// the array holds numbers that cannot be encrypted.
pub fn run(options: &Options) -> Result<()> {
    let dtype = options.dtype;
    let mask: MaskPolicy<'static> = options.mask.parse()?;
    report::check_writable(Some(&options.output))?;
    report::check_writable(options.json.as_deref())?;
    let key = io::read_secret_key(&options.key)?;
    let compact = Algebra::Compact(key.evaluation_key().slots());
    let algebra = options.algebra.unwrap_or(compact);
    let mut encryptor = key.encryptor(algebra)?;
    let messages = io::read_npy(&options.input, dtype)?;
    let scheme = Scheme {
        algebra,
        messages: key.messages(),
    };
    let start = Instant::now();
    let ciphertext = scheme
        .encrypt(&mut encryptor, &messages, mask)
        .map_err(|error| Error::File {
            path: options.input.clone(),
            reason: error.to_string(),
        })?;
    let row = Row {
        name: options.name.clone(),
        shape: messages.shape().to_vec(),
        algebra: algebra.to_string(),
        dtype: dtype.to_string(),
        mask: mask.name(),
        key: key.id().to_string(),
        encrypt_seconds: start.elapsed().as_secs_f64(),
    };
    let tensors = [(&*options.name, TensorView::from(&ciphertext))];
    io::write_tensors(&options.output, &tensors)?;
    println!(
        "'{}' {} in {algebra}, {dtype}, masks {}, under key {}, encrypted in {}: {}",
        row.name,
        messages.shape(),
        row.mask,
        row.key,
        report::seconds(Some(row.encrypt_seconds)),
        options.output.display()
    );
    println!("{WARNING}");
    if let Some(path) = &options.json {
        let environment = Environment::here(Cpu::new()?.isa().name(), None);
        Report::new("encrypt", environment, vec![row]).write(path)?;
    }
    Ok(())
}
