//! `run`: an ONNX model on ciphertexts from a file, without a key.

use std::path::PathBuf;
use std::sync::Arc;

use anstream::println;
use furthermore::Algebra;
use furthermore::io;
use furthermore::scheme::EvaluationKey;
use furthermore::tensor::DType;

use super::execute::{self, Execution};
use crate::error::{Error, Result};
use crate::report;

/// Options of `run`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    #[command(flatten)]
    #[allow(missing_docs, reason = "described where it is defined")]
    pub execution: Execution,
    /// Encrypted samples, as `encrypt` writes them; for a model of several inputs once for each, under
    /// the inputs' names.
    #[arg(long, value_name = "FILE", required = true)]
    pub input: Vec<PathBuf>,
    /// Where the encrypted results go, for `decrypt`.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Write what it took as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When an option cannot be used, a file cannot be read or written, or the network cannot run.
pub fn run(options: &Options) -> Result<()> {
    report::check_writable(Some(&options.output))?;
    report::check_writable(options.json.as_deref())?;
    execute::check_apart(&options.output, options.json.as_deref())?;
    let mut first: Option<(Algebra, DType, Arc<EvaluationKey>)> = None;
    let mut inputs = Vec::new();
    for path in &options.input {
        let file = match &first {
            None => io::read_tensors(path)?,
            Some((.., key)) => io::read_tensors_under(path, key)?,
        };
        let Some(key) = file.key() else {
            return Err(Error::File {
                path: path.clone(),
                reason: "it holds no ciphertexts".to_owned(),
            });
        };
        first.get_or_insert((file.algebra(), file.dtype(), Arc::clone(key)));
        inputs.extend(file.into_tensors().into_iter().map(|(n, t)| (Some(n), t)));
    }
    let Some((algebra, dtype, key)) = first else {
        return Err(Error::Option {
            option: "--input",
            reason: "a file is needed".to_owned(),
        });
    };
    if let [(name, _)] = &mut inputs[..] {
        // Alone it need not have the model's name.
        *name = None;
    }
    let engine = options.execution.engine.open(dtype)?;
    let job = options.execution.job(inputs, dtype)?;
    let mut row = job.row(&options.execution, algebra, "ct-pt");
    let output = job.run(
        engine.device(),
        algebra,
        Some(&key),
        &job.parameters,
        &mut row,
    )?;
    io::write_tensors(&options.output, &[(job.output(), output.view())])?;
    let environment = engine.environment();
    let computing = environment.computing();
    execute::report("run", environment, &row, options.json.as_ref())?;
    println!(
        "{} of {} samples, ct-pt {algebra} {dtype}: run {} ({computing})",
        job.output(),
        row.samples,
        report::seconds(row.run_seconds),
    );
    println!("{}", super::WARNING);
    Ok(())
}
