//! What `infer` and `run` share: an ONNX model on any number of samples.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::Device;
use furthermore::network::{Network, Op, Parameters};
use furthermore::onnx::OnnxOptions;
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::EvaluationKey;
use furthermore::session::Session;
use furthermore::tensor::{DType, Tensor, TensorView};
use serde::Serialize;

use super::Engine;
use crate::environment::{Environment, available_memory};
use crate::error::{Error, Result};
use crate::progress;
use crate::report::Report;
use crate::timing::Samples;

/// Options that say what runs, and on what.
#[derive(clap::Args, Debug, Clone)]
pub struct Execution {
    /// The network, as ONNX. Weights kept in other files are read from its folder.
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// The value to give: an output of the model or anything else in it, so that a tail such as
    /// ArgMax can be left off [default: the model's first output].
    #[arg(long, value_name = "NAME")]
    pub output_name: Option<String>,
    /// Samples run at a time [default: all of them, up to 256].
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "described where it is defined")]
    pub engine: Engine,
}

/// A row of the report.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the report format names them")]
pub struct Row {
    pub model: String,
    pub output: String,
    pub algebra: String,
    pub dtype: String,
    pub device: String,
    pub regime: &'static str,
    pub samples: usize,
    pub batch: usize,
    pub bytes: usize,
    pub compile_seconds: Option<f64>,
    pub encrypt_seconds: Option<f64>,
    pub run_seconds: Option<f64>,
    pub decrypt_seconds: Option<f64>,
}

/// A model imported for its samples, with the tensors of each of its inputs.
pub(super) struct Job {
    network: Network,
    /// Its weights, in the element type that is computed in.
    pub(super) parameters: Parameters,
    inputs: Vec<(String, Tensor)>,
    output: String,
    dtype: DType,
    batch: usize,
    samples: usize,
}

impl Execution {
    /// Imports the model for these inputs. One without a name goes to the only input that is not
    /// named.
    ///
    /// # Errors
    /// When the model cannot be imported, or inputs are missing, too many or of different lengths.
    pub(super) fn job(&self, inputs: Vec<(Option<String>, Tensor)>, dtype: DType) -> Result<Job> {
        let refuse = |option, reason: String| Err(Error::Option { option, reason });
        let rows = |tensor: &Tensor| tensor.view().shape().rows();
        let samples = inputs.first().map_or(0, |(_, tensor)| rows(tensor));
        if samples == 0 {
            return refuse("--input", "there are no samples".to_owned());
        }
        let batch = self.batch.unwrap_or(samples.min(256));
        if batch == 0 {
            return refuse("--batch", "at least one sample is needed".to_owned());
        }
        let options = OnnxOptions {
            batch,
            outputs: self.output_name.iter().cloned().collect(),
        };
        let imported = Network::from_onnx(&self.model, &options)?;
        let nodes = imported.network.nodes().iter();
        let wanted: Vec<&str> = nodes
            .filter(|node| matches!(node.op, Op::Input { .. }))
            .map(|node| node.name.as_str())
            .collect();
        let mut named = Vec::new();
        for (name, tensor) in inputs {
            let free = || {
                let taken = |input: &&str| named.iter().any(|(name, _)| name == input);
                wanted
                    .iter()
                    .find(|input| !taken(input))
                    .map(|s| (*s).to_owned())
            };
            match name.or_else(free) {
                Some(name) if wanted.contains(&name.as_str()) => named.push((name, tensor)),
                name => {
                    let name = name.map_or("one more".to_owned(), |name| format!("'{name}'"));
                    let output = imported.network.outputs().first();
                    let output = output.map_or("", |(name, _)| name.as_str());
                    let reads = match wanted.is_empty() {
                        true => "no input".to_owned(),
                        false => wanted.join(", "),
                    };
                    let reason =
                        format!("{name} is given, and '{output}' is computed from {reads}");
                    return refuse("--input", reason);
                }
            }
        }
        for input in &wanted {
            let given = named.iter().filter(|(name, _)| name == input).count();
            if given != 1 {
                let times = if given == 0 {
                    "not given"
                } else {
                    "given twice"
                };
                return refuse("--input", format!("the model's input '{input}' is {times}"));
            }
        }
        let output = imported.network.outputs().first();
        let output = output.map(|(name, _)| name.clone()).unwrap_or_default();
        Ok(Job {
            parameters: imported.parameters.to_dtype(dtype)?,
            network: imported.network,
            inputs: named,
            output,
            dtype,
            batch,
            samples,
        })
    }
}

impl Job {
    /// The name of what it computes.
    pub(super) fn output(&self) -> &str {
        &self.output
    }

    /// Runs all samples with these weights and adds to `row` what that took.
    ///
    /// # Errors
    /// When the network cannot be compiled for the inputs or a run fails.
    pub(super) fn run(
        &self,
        device: &dyn Device,
        algebra: Algebra,
        key: Option<&Arc<EvaluationKey>>,
        weights: &Parameters,
        row: &mut Row,
    ) -> Result<Tensor> {
        let encrypted_weights = weights
            .iter()
            .any(|(_, tensor)| matches!(tensor, Tensor::Ciphertext(_)));
        let mut options = match encrypted_weights {
            true => CompileOptions::encrypted(self.batch, self.dtype, algebra),
            false => CompileOptions::encrypted_inputs(self.batch, self.dtype, algebra),
        };
        if device.name() == "cpu" {
            // A system may hand out memory without having it.
            options.memory_limit = available_memory();
        }
        let mut compiling = Samples::default();
        let mut session = compiling.time(|| {
            let plan = Arc::new(Plan::compile(&self.network, &options)?);
            let mut session = Session::new(device, plan, key)?;
            session.load_parameters(weights)?;
            Ok::<_, Error>(session)
        })?;
        let inputs: Vec<(&str, TensorView<'_>)> = self
            .inputs
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.view()))
            .collect();
        let bar = progress::bar("running", self.samples);
        let mut running = Samples::default();
        let output = running.time(|| {
            session.predict(&inputs, &self.output, |done| bar.set_position(done as u64))
        })?;
        bar.finish_and_clear();
        row.bytes = session.bytes();
        row.compile_seconds = compiling.median();
        row.run_seconds = running.median();
        Ok(output)
    }

    /// The report's row, without times.
    pub(super) fn row(&self, execution: &Execution, algebra: Algebra, regime: &'static str) -> Row {
        Row {
            model: execution.model.display().to_string(),
            output: self.output.clone(),
            algebra: algebra.to_string(),
            dtype: self.dtype.to_string(),
            device: execution.engine.device.clone(),
            regime,
            samples: self.samples,
            batch: self.batch,
            bytes: 0,
            compile_seconds: None,
            encrypt_seconds: None,
            run_seconds: None,
            decrypt_seconds: None,
        }
    }
}

/// Writes the report where one was asked for.
///
/// # Errors
/// When it cannot be written.
pub(super) fn report(
    command: &'static str,
    environment: Environment,
    row: &Row,
    path: Option<&PathBuf>,
) -> Result<()> {
    match path {
        Some(path) => Report::new(command, environment, vec![row.clone()]).write(path),
        None => Ok(()),
    }
}

/// Whether result and report go to files of their own.
///
/// # Errors
/// When they do not.
pub(super) fn check_apart(output: &Path, json: Option<&Path>) -> Result<()> {
    if json == Some(output) {
        return Err(Error::Option {
            option: "--json",
            reason: "it would replace the result".to_owned(),
        });
    }
    Ok(())
}
