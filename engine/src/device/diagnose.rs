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
        let odd = |program: &mut dyn Replay, regions: &[Region]| {
            let finite = |region: &Region| program.finite(region).unwrap_or(true);
            regions.iter().map(finite).position(|finite| !finite)
        };
        if let Some(nth) = odd(program, &command.reads) {
            let detail = held_already(plan, &command.reads[nth]);
            return Error::RunNotFinite { operation, detail };
        }
        if let Err(error) = program.replay(at, options) {
            return error;
        }
        if odd(program, &command.writes).is_some() {
            let detail = format!(
                ", from operands that all are ({} in {}): a slot is outside the operation's domain \
                 or past the largest number",
                command.kernel.family(),
                plan.options().dtype,
            );
            return Error::RunNotFinite { operation, detail };
        }
    }
    Error::RunNotFinite {
        operation: plan.commands()[until].name.clone(),
        detail: String::new(),
    }
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
