//! `decrypt`: a tensor of a file of ciphertexts to an array.

use std::path::PathBuf;
use std::time::Instant;

use anstream::println;
use furthermore::device::Cpu;
use furthermore::io::{self, TensorFile};
use furthermore::tensor::{Ciphertext, Tensor};
use serde::Serialize;

use super::WARNING;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::report::{self, Report};
use crate::scheme::Scheme;

/// Options of `decrypt`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// The secret key that the ciphertexts are under.
    #[arg(long, value_name = "KEY")]
    pub key: PathBuf,
    /// The ciphertexts: safetensors as `encrypt` writes it.
    #[arg(long, value_name = "Y.safetensors")]
    pub input: PathBuf,
    /// Where the messages go: .npy of the ciphertexts' element type.
    #[arg(long, value_name = "Y.npy")]
    pub output: PathBuf,
    /// Which tensor of the file [default: the only one].
    #[arg(long)]
    pub name: Option<String>,
    /// How many samples there are: under a key of several messages the last of them fills up what is
    /// left of the last ciphertexts [default: as many as the ciphertexts hold].
    #[arg(long, value_name = "N")]
    pub samples: Option<usize>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A row of the report: the tensor that was decrypted.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the report format names them")]
pub struct Row {
    pub name: String,
    pub shape: Vec<usize>,
    pub algebra: String,
    pub dtype: String,
    pub key: String,
    pub decrypt_seconds: f64,
}

/// Runs the command.
///
/// # Errors
/// When the ciphertexts are under another key, the tensor is not in the file or not encrypted, or a
/// file cannot be read or written.
pub fn run(options: &Options) -> Result<()> {
    report::check_writable(Some(&options.output))?;
    report::check_writable(options.json.as_deref())?;
    let key = io::read_secret_key(&options.key)?;
    let file = io::read_tensors_under(&options.input, key.evaluation_key())?;
    let (name, ciphertext) = chosen(options, &file)?;
    let scheme = Scheme {
        algebra: ciphertext.algebra(),
        messages: key.messages(),
    };
    let held = ciphertext.shape().rows() * key.messages();
    let samples = options.samples.unwrap_or(held);
    if scheme.rows(samples) != ciphertext.shape().rows() {
        let reason = format!("{samples}, where the ciphertexts hold {held}");
        return Err(Error::Option {
            option: "--samples",
            reason,
        });
    }
    let start = Instant::now();
    let messages = scheme.decrypt(&key, ciphertext, samples)?;
    let row = Row {
        name: name.to_owned(),
        shape: messages.shape().to_vec(),
        algebra: ciphertext.algebra().to_string(),
        dtype: messages.dtype().to_string(),
        key: key.id().to_string(),
        decrypt_seconds: start.elapsed().as_secs_f64(),
    };
    io::write_npy(&options.output, &messages)?;
    println!(
        "'{name}' {} from {}, {}, under key {}, decrypted in {}: {}",
        messages.shape(),
        row.algebra,
        row.dtype,
        row.key,
        report::seconds(Some(row.decrypt_seconds)),
        options.output.display()
    );
    println!("{WARNING}");
    if let Some(path) = &options.json {
        let environment = Environment::here(Cpu::new()?.isa().name(), None);
        Report::new("decrypt", environment, vec![row]).write(path)?;
    }
    Ok(())
}

/// The tensor that `--name` names, or the only one.
fn chosen<'a>(options: &Options, file: &'a TensorFile) -> Result<(&'a str, &'a Ciphertext)> {
    let refuse = |reason: String| Error::File {
        path: options.input.clone(),
        reason,
    };
    let names: Vec<&str> = file.tensors().iter().map(|(name, _)| &**name).collect();
    let index = match (&options.name, &*names) {
        (None, [_]) => Some(0),
        (None, _) => None,
        (Some(wanted), _) => names.iter().position(|name| name == wanted),
    };
    let Some((name, tensor)) = index.map(|i| &file.tensors()[i]) else {
        let wanted = match &options.name {
            Some(name) => format!("'{name}' is not one of its tensors"),
            None => "--name has to say which of its tensors".to_owned(),
        };
        return Err(refuse(format!("{wanted}: {}", names.join(", "))));
    };
    match tensor {
        Tensor::Ciphertext(ciphertext) => Ok((name, ciphertext)),
        Tensor::Plaintext(_) => Err(refuse(format!("tensor '{name}' is not encrypted"))),
    }
}
