//! `infer`: an ONNX model on encrypted inputs, from plaintext to plaintext.

use std::path::{Path, PathBuf};

use anstream::println;
use furthermore::Algebra;
use furthermore::io;
use furthermore::network::Parameters;
use furthermore::scheme::{MaskPolicy, SecretKey};
use furthermore::tensor::{DType, Tensor};

use super::execute::{self, Execution};
use crate::error::{Error, Result};
use crate::report;
use crate::scheme::{PLAINTEXT, Scheme};
use crate::timing::Samples;

/// Options of `infer`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    #[command(flatten)]
    #[allow(missing_docs, reason = "described where it is defined")]
    pub execution: Execution,
    /// Samples as .npy, one along the first axis; FILE, or NAME=FILE for a model of several inputs,
    /// once for each.
    #[arg(long, value_name = "[NAME=]FILE", required = true)]
    pub input: Vec<String>,
    /// Where the results go, as .npy.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// How ciphertexts are made: compact2 to compact8, blocks2 to blocks8, packed3 to packed8, reduced1
    /// to reduced3, graded1 and up for models that only add and multiply, or real, which encrypts
    /// nothing. Of packed ones a batch counts ciphertexts, of several samples each.
    #[arg(long, default_value = "compact2")]
    pub algebra: Scheme,
    /// Element type: f32 or f64.
    #[arg(long, default_value = "f32")]
    pub dtype: DType,
    /// How masks are drawn: uniform, normal, features, paired-rows or positive.
    #[arg(long, default_value = "uniform")]
    pub mask: String,
    /// Encrypt the weights too.
    #[arg(long)]
    pub encrypt_weights: bool,
    /// Write what it took as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When an option cannot be used, a file cannot be read or written, or the network cannot run.
pub fn run(options: &Options) -> Result<()> {
    let policy: MaskPolicy<'_> = options.mask.parse()?;
    report::check_writable(Some(&options.output))?;
    report::check_writable(options.json.as_deref())?;
    execute::check_apart(&options.output, options.json.as_deref())?;
    let engine = options.execution.engine.open(options.dtype)?;
    let mut inputs = Vec::new();
    for input in &options.input {
        let (name, path) = match input.split_once('=') {
            // A file may have that in its name.
            Some((name, path)) if !Path::new(input).exists() => (Some(name.to_owned()), path),
            _ => (None, input.as_str()),
        };
        let tensor = io::read_npy(path.as_ref(), options.dtype)?;
        inputs.push((name, path, tensor));
    }
    let scheme = options.algebra;
    let encrypted = scheme != PLAINTEXT;
    if options.encrypt_weights && !encrypted {
        return Err(Error::Option {
            option: "--encrypt-weights",
            reason: "the algebra real encrypts nothing".to_owned(),
        });
    }
    let key = match encrypted {
        true => SecretKey::generate(scheme.shape())?,
        false => SecretKey::generate(2)?,
    };
    let samples = inputs
        .first()
        .map_or(0, |(.., tensor)| tensor.shape().rows());
    if let Some((_, path, other)) = (inputs.iter()).find(|(.., x)| x.shape().rows() != samples) {
        return Err(Error::Option {
            option: "--input",
            reason: format!(
                "{path} has {} samples, and the first {samples}",
                other.shape().rows()
            ),
        });
    }
    let mut encrypting = Samples::default();
    let inputs = encrypting.time(|| {
        let mut taken = Vec::new();
        for (name, path, tensor) in inputs {
            let tensor = match encrypted {
                true => {
                    let mut encryptor = key.encryptor(scheme.algebra)?;
                    let ciphertext = scheme.encrypt(&mut encryptor, &tensor, policy);
                    Tensor::Ciphertext(ciphertext.map_err(|error| Error::File {
                        path: path.into(),
                        reason: error.to_string(),
                    })?)
                }
                false => Tensor::Plaintext(tensor),
            };
            taken.push((name, tensor));
        }
        Ok::<_, Error>(taken)
    })?;
    let job = options.execution.job(inputs, options.dtype)?;
    let mut weights = job.parameters.clone();
    if options.encrypt_weights {
        weights = encrypt_weights(&weights, &key, scheme.algebra)?;
    }
    let regime = match (encrypted, options.encrypt_weights) {
        (false, _) => "pt-pt",
        (true, false) => "ct-pt",
        (true, true) => "ct-ct",
    };
    let mut row = job.row(&options.execution, scheme.algebra, regime);
    row.algebra = scheme.to_string();
    row.samples = samples;
    row.encrypt_seconds = encrypting.median().filter(|_| encrypted);
    let public = Some(key.evaluation_key()).filter(|_| encrypted);
    let output = job.run(engine.device(), scheme.algebra, public, &weights, &mut row)?;
    let mut decrypting = Samples::default();
    let output = match output {
        Tensor::Plaintext(output) => output,
        Tensor::Ciphertext(output) => {
            let output = decrypting.time(|| scheme.decrypt(&key, &output, samples))?;
            row.decrypt_seconds = decrypting.median();
            output
        }
    };
    io::write_npy(&options.output, &output)?;
    let environment = engine.environment();
    let computing = environment.computing();
    execute::report("infer", environment, &row, options.json.as_ref())?;
    println!(
        "{} of {} samples, {regime} {} {}: encrypt {}, run {}, decrypt {} ({computing})",
        job.output(),
        row.samples,
        row.algebra,
        row.dtype,
        report::seconds(row.encrypt_seconds),
        report::seconds(row.run_seconds),
        report::seconds(row.decrypt_seconds),
    );
    if encrypted {
        println!("{}", super::WARNING);
    }
    Ok(())
}

fn encrypt_weights(weights: &Parameters, key: &SecretKey, algebra: Algebra) -> Result<Parameters> {
    let mut encryptor = key.encryptor(algebra)?;
    let mut encrypted = Parameters::default();
    for (name, tensor) in weights.iter() {
        if let Tensor::Plaintext(weight) = tensor {
            let messages = vec![weight; key.messages()];
            let weight = encryptor.encrypt_packed(&messages, MaskPolicy::Uniform)?;
            encrypted.insert(name, Tensor::Ciphertext(weight));
        }
    }
    Ok(encrypted)
}
