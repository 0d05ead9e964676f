//! What rows call a command.

use furthermore::plan::Kernel;

use super::rig::Stored;

/// The kernel's name, with the function it applies.
pub(super) fn name(kernel: &Kernel) -> String {
    match kernel {
        Kernel::FunctionMap { function } | Kernel::FunctionMapGradient { function } => {
            format!("{} {}", kernel.name(), function.name())
        }
        _ => kernel.name().to_owned(),
    }
}

/// The sizes that say most of a command.
pub(super) fn shape(kernel: &Kernel, reads: &[Stored], writes: &[Stored]) -> String {
    match kernel {
        Kernel::BlockMatmul { shape, .. } => {
            let t = |transposed| if transposed { "t" } else { "" };
            format!(
                "{}*{}x{}{}x{}{}",
                shape.batch,
                shape.m,
                shape.k,
                t(shape.transpose_a),
                shape.n,
                t(shape.transpose_b)
            )
        }
        Kernel::Reduce { axis, .. } | Kernel::MaxGradient { axis } => {
            format!("{}x{}x{}", axis.outer, axis.length, axis.inner)
        }
        _ => {
            let lens = |tensors: &[Stored]| -> String {
                let lens: Vec<String> = tensors
                    .iter()
                    .map(|stored| stored.operand().elements.to_string())
                    .collect();
                lens.join(",")
            };
            format!("{}->{}", lens(reads), lens(writes))
        }
    }
}
