//! Where a run's numbers stopped being finite.

use super::RunOptions;
use crate::error::{Error, Result};
use crate::plan::{Command, Plan, Region, Role};

/// A program whose commands can be run one by one.
pub(super) trait Replay {
    /// Runs one command.
    fn replay(&mut self, at: usize, options: &RunOptions<'_>) -> Result<()>;

    /// Whether every slot of a region is finite.
    fn finite(&mut self, region: &Region) -> Result<bool>;
}

/// Runs the commands up to `until` again, looking at every tensor, and names the first operation that
/// gave a number that is not finite. No update has run yet: they come after every guard.
#[cold]
pub(super) fn diagnose(
    plan: &Plan,
    until: usize,
    program: &mut dyn Replay,
    options: &RunOptions<'_>,
) -> Error {
    for (at, command) in plan.commands()[..=until].iter().enumerate() {
        let operation = command.name.clone();
        match odd(program, &command.reads) {
            Ok(None) => {}
            Ok(Some(nth)) => {
                let detail = held_already(plan, &command.reads[nth]);
                return Error::RunNotFinite { operation, detail };
            }
            Err(error) => return error,
        }
        let written = program
            .replay(at, options)
            .and_then(|()| odd(program, &command.writes));
        match written {
            Ok(None) => {}
            Err(error) => return error,
            Ok(Some(_)) => {
                let detail = format!(
                    ", from operands that all are ({} in {}): a slot is outside the operation's domain \
                 or past the largest number",
                    command.kernel.family(),
                    plan.options().dtype,
                );
                return Error::RunNotFinite { operation, detail };
            }
        }
    }
    Error::RunNotFinite {
        operation: plan.commands()[until].name.clone(),
        detail: String::new(),
    }
}

/// The first region with a slot that is not finite.
fn odd(program: &mut dyn Replay, regions: &[Region]) -> Result<Option<usize>> {
    for (nth, region) in regions.iter().enumerate() {
        if !program.finite(region)? {
            return Ok(Some(nth));
        }
    }
    Ok(None)
}

/// Says which input or parameter it is that held such a number before the run.
fn held_already(plan: &Plan, region: &Region) -> String {
    let source = plan
        .bindings()
        .iter()
        .find(|b| b.region.buffer == region.buffer);
    match source {
        Some(b) if b.role != Role::Output => {
            let kind = if b.role == Role::Input {
                "input"
            } else {
                "parameter"
            };
            format!(": {kind} '{}', which it reads, holds one already", b.name)
        }
        _ => String::new(),
    }
}

/// An update's own result left the range of numbers.
pub(super) fn update_not_finite(command: &Command) -> Error {
    let detail =
        ": the step leaves the range of the element type, and what it has stepped stays so";
    Error::RunNotFinite {
        operation: command.name.clone(),
        detail: detail.to_owned(),
    }
}

/// Slots have grown apart, but not yet too far.
pub(super) fn warn_apart(command: &Command, ratio: f64) {
    tracing::warn!(
        operation = command.name,
        ratio,
        "slots grow apart: the smaller loses digits"
    );
}
