//! Where a run's numbers stopped being finite.

use super::RunOptions;
use crate::algebra::Algebra;
use crate::error::{Error, Result};
use crate::plan::{Command, Kernel, Plan, Region, Role};

/// A program whose commands can be run one by one.
pub(super) trait Replay {
    /// Runs one command.
    fn replay(
        &mut self,
        at: usize,
        options: &RunOptions<'_>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Whether every slot of a region is finite.
    fn finite(&mut self, region: &Region) -> impl Future<Output = Result<bool>> + Send;
}

/// Runs the commands up to `until` again, looking at every tensor, and names the first operation that
/// gave a number that is not finite. No update has run yet: they come after every guard.
#[cold]
pub(super) async fn diagnose(
    plan: &Plan,
    until: usize,
    program: &mut impl Replay,
    options: &RunOptions<'_>,
) -> Error {
    for (at, command) in plan.commands()[..=until].iter().enumerate() {
        let operation = command.name.clone();
        match odd(program, &command.reads).await {
            Ok(None) => {}
            Ok(Some(nth)) => {
                let detail = held_already(plan, &command.reads[nth]);
                return Error::RunNotFinite { operation, detail };
            }
            Err(error) => return error,
        }
        // A part of a tensor is as finite as what was read, and the rest may be anything yet.
        let whole = match command.kernel {
            Kernel::StridedCopy { .. } => &[],
            _ => &command.writes[..],
        };
        let written = match program.replay(at, options).await {
            Ok(()) => odd(program, whole).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(None) => {}
            Err(error) => return error,
            Ok(Some(_)) => {
                let detail = format!(
                    ", from operands that all are ({} in {}): a slot is outside the operation's domain \
                 or past the largest number{}",
                    command.kernel.family(),
                    plan.options().dtype,
                    hint(plan),
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
async fn odd(program: &mut impl Replay, regions: &[Region]) -> Result<Option<usize>> {
    for (nth, region) in regions.iter().enumerate() {
        if !program.finite(region).await? {
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
pub(super) fn update_not_finite(plan: &Plan, command: &Command) -> Error {
    let detail = format!(
        ": the step leaves the range of the element type, and what it has stepped stays so{}",
        hint(plan)
    );
    Error::RunNotFinite {
        operation: command.name.clone(),
        detail,
    }
}

/// What else to look at where ciphertexts are computed on: a network runs on the masks too.
fn hint(plan: &Plan) -> &'static str {
    match plan.options().algebra {
        Algebra::Real => "",
        _ => {
            "; masks go through it as messages do, and have to stay near them: see the mask policies"
        }
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

#[cfg(test)]
mod tests {
    use furthermore_kernels_cpu::convert::{CopyAxis, Rest, StridedCopy};
    use furthermore_kernels_cpu::function_map::Function;

    use super::*;
    use crate::plan::{CompileOptions, Operand};
    use crate::scheme::Guard;
    use crate::tensor::DType;

    /// All it holds is finite but for what it writes.
    struct Stale {
        written: usize,
    }

    impl Replay for Stale {
        async fn replay(&mut self, _: usize, _: &RunOptions<'_>) -> Result<()> {
            Ok(())
        }

        async fn finite(&mut self, region: &Region) -> Result<bool> {
            Ok(region.buffer != self.written)
        }
    }

    fn found(kernel: Kernel) -> String {
        let operand = Operand {
            planes: 1,
            elements: 4,
        };
        let options = CompileOptions::plain(1, DType::F32);
        let plan = Plan::of_command(&options, kernel, &[operand], &[operand]);
        let plan = plan.expect("operands that fit");
        let mut program = Stale {
            written: plan.commands()[0].writes[0].buffer,
        };
        let options = RunOptions {
            learning_rate: 0.0,
            step: 1,
            guard: Guard::for_dtype(DType::F32),
            cancel: None,
        };
        pollster::block_on(diagnose(&plan, 0, &mut program, &options)).to_string()
    }

    /// What a tensor held where no part of it has been carried yet is nobody's result.
    #[test]
    fn half_a_concatenation_is_not_blamed() {
        let axis = CopyAxis {
            size: 2,
            from: 1,
            to: 1,
        };
        let copy = StridedCopy::new(4, 0, 4, 2, &[axis]).expect("it lies in both");
        let part = Kernel::StridedCopy {
            copy,
            rest: Rest::Keep,
        };
        assert!(!found(part).contains("operands that all are"));
        let function = Function::Exp;
        let blamed = found(Kernel::FunctionMap { function });
        assert!(blamed.contains("operands that all are"), "{blamed}");
    }
}
