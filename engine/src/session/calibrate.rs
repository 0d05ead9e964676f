//! What numbers a network's activations meet, for polynomials in their place.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Session, samples};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::network::{Network, Op, Parameters};
use crate::plan::{CompileOptions, Plan, Role};
use crate::tensor::{Tensor, TensorView};

/// The least and the greatest argument of each activation of a network over plaintext samples, which
/// have a row each, by the activation's name: the intervals that
/// [`Network::with_polynomials`](crate::network::Network::with_polynomials) takes.
///
/// All are measured at once, on the network as it is: what the polynomials before an activation will
/// add to its arguments is left to the margin. Samples go through in batches, the last filled up with
/// its last sample; `done` is told the samples so far after each.
///
/// # Errors
/// When there are no samples or batches of none, an input is missing or does not fit, a number is not
/// finite, a parameter is missing, encrypted or of another element type than the samples, or the run
/// fails.
pub fn calibrate(
    device: &dyn Device,
    network: &Network,
    parameters: &Parameters,
    inputs: &[(&str, TensorView<'_>)],
    batch: usize,
    mut done: impl FnMut(usize),
) -> Result<BTreeMap<String, [f64; 2]>> {
    let refuse = |reason: &str| Error::Operation {
        operation: "calibrate".to_owned(),
        reason: reason.to_owned(),
    };
    let (network, activations) = network.with_arguments()?;
    if activations.is_empty() {
        return Ok(BTreeMap::new());
    }
    let count = samples("calibrate", inputs)?;
    let Some((_, first)) = inputs.first().filter(|_| count > 0) else {
        return Err(refuse("there are no samples"));
    };
    if batch == 0 {
        return Err(refuse("a batch of no samples"));
    }
    let options = CompileOptions::plain(batch, first.dtype());
    let plan = Arc::new(Plan::compile(&network, &options)?);
    // Inputs on which no activation depends are not in the plan.
    let is_read = |name: &str| {
        let node = network.nodes().iter().find(|node| node.name == name);
        !node.is_some_and(|node| matches!(node.op, Op::Input { .. }))
            || plan.binding("input", name, &[Role::Input]).is_ok()
    };
    let read: Vec<_> = inputs.iter().filter(|(name, _)| is_read(name)).collect();
    let mut session = Session::new(device, Arc::clone(&plan), None)?;
    session.check_inputs("calibrate", inputs)?;
    session.load_parameters(parameters)?;
    let mut ranges: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
    for start in (0..count).step_by(batch) {
        let last = count.min(start.saturating_add(batch)) - 1;
        let rows: Vec<usize> = (start..start + batch).map(|row| row.min(last)).collect();
        for (name, tensor) in &read {
            session.write_rows(name, *tensor, &rows)?;
        }
        session.run()?;
        for (_, output) in &activations {
            if let Tensor::Plaintext(arguments) = session.read(output)? {
                let nothing = [f64::INFINITY, f64::NEG_INFINITY];
                let range = ranges.entry(output).or_insert(nothing);
                for x in arguments.to_f64() {
                    *range = [range[0].min(x), range[1].max(x)];
                }
            }
        }
        done(last + 1);
    }
    let ranged = activations.iter().map(|(activation, output)| {
        let range = ranges.get(output.as_str()).copied();
        (activation.clone(), range.unwrap_or([0.0; 2]))
    });
    Ok(ranged.collect())
}
