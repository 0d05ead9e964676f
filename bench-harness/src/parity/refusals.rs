//! Operands that a kernel does not take make no plan.

use furthermore::plan::{Kernel, Operand};

use super::rig::{Rig, Tensor};

impl Rig<'_> {
    /// Operands one more, one less, longer or of other planes than these make no plan, unless they are
    /// those of another use of the same kernel.
    pub(super) fn refuses_others(&self, kernel: &Kernel, reads: &[Tensor], writes: &[Tensor]) {
        let both: Vec<Operand> = reads
            .iter()
            .chain(writes)
            .map(|tensor| self.stored(tensor).operand())
            .collect();
        let refused = |how: &str, operands: &[Operand], reads: usize| {
            let (reads, writes) = operands.split_at(reads);
            if self.plan(kernel, reads, writes).is_ok() {
                self.judge(kernel, "operands that do not fit", |_| {
                    Err(format!("an operand {how} is taken: {reads:?}, {writes:?}"))
                });
            }
        };
        // Kernels whose last operand need not be there.
        let optional = matches!(
            kernel,
            Kernel::FunctionMap { .. } | Kernel::Sgd { .. } | Kernel::Conv2dPooled { .. }
        );
        // Kernels of one operand, and coefficients, of which there may be any number.
        let any_length = |nth: usize| match kernel {
            Kernel::PolyMap { constants: None } | Kernel::PolyMapGradient { constants: None } => {
                nth == 1
            }
            Kernel::PolyMapCoefficientGradient => nth == 2,
            _ => both.len() == 1,
        };
        for nth in 0..both.len() {
            let mut operands = both.clone();
            operands[nth].planes = 3;
            refused("of 3 planes", &operands, reads.len());
            operands[nth].planes = 0;
            if both[nth].planes > 0 {
                refused("without planes", &operands, reads.len());
            }
            operands[nth] = both[nth];
            operands[nth].elements += 1;
            if !any_length(nth) {
                refused("too long", &operands, reads.len());
            }
            operands[nth].elements = usize::MAX;
            refused("past memory", &operands, reads.len());
            if !optional {
                let read = nth < reads.len();
                operands.remove(nth);
                refused("too few", &operands, reads.len() - usize::from(read));
            }
        }
        if !optional {
            let mut operands = both.clone();
            operands.insert(reads.len(), both[0]);
            refused("read too many", &operands, reads.len() + 1);
            refused("written too many", &operands, reads.len());
        }
    }
}
