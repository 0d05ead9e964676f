//! How much a command does, to hold its time against what a machine can do at most.

use furthermore_kernels_cpu::Arithmetic;
use furthermore_kernels_cpu::conv2d::Conv2dShape;
use furthermore_kernels_cpu::convert::Rest;
use furthermore_kernels_cpu::pool::Pool;

use super::{Command, Kernel, Plan, Region};

/// What a command cannot do without.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Floating-point operations of real products or polynomials, a fused multiply-add counting as
    /// two; 0 where memory or a function's own steps are the measure of the work.
    pub flop: f64,
    /// Bytes of the operands it reads and writes, each once; of a part that is carried, that part's.
    pub bytes: f64,
}

impl Plan {
    /// The work of each command, in the arithmetic of the plan's algebra.
    pub fn work(&self, arithmetic: &Arithmetic) -> Vec<Work> {
        let size = self.options.dtype.size();
        let of = |command: &Command| Work {
            flop: command.flop(arithmetic),
            bytes: command.bytes_moved(size) as f64,
        };
        self.commands.iter().map(of).collect()
    }
}

impl Command {
    fn flop(&self, arithmetic: &Arithmetic) -> f64 {
        let (reads, writes) = (&self.reads[..], &self.writes[..]);
        // Real products between the first two operands.
        let products = || {
            let program = arithmetic.product(reads[0].planes, reads[1].planes);
            program.terms.len() as f64
        };
        let slots = |planes: usize| {
            let slots = if planes > 1 { arithmetic.slots() } else { 1 };
            slots as f64
        };
        // Horner's rule in each slot.
        let polynomial = |constants: &Option<Vec<f64>>| {
            let terms = match constants {
                Some(constants) => constants.len(),
                None => reads[1].elements,
            };
            let numbers = writes[0].elements as f64 * slots(writes[0].planes);
            (terms.saturating_sub(1) as f64, numbers)
        };
        match &self.kernel {
            Kernel::BlockMatmul { shape, .. } => {
                let sizes = [shape.batch, shape.m, shape.k, shape.n];
                2.0 * sizes.map(|size| size as f64).iter().product::<f64>() * products()
            }
            Kernel::Conv2d { shape, .. }
            | Kernel::Conv2dPooled { shape, .. }
            | Kernel::Conv2dGradientInput { shape, .. }
            | Kernel::Conv2dGradientWeights { shape, .. } => {
                2.0 * multiplications(shape) as f64 * products()
            }
            // Each step multiplies a polynomial that has grown so far by the argument.
            Kernel::PolyMap { constants } if arithmetic.is_graded() && reads[0].planes > 1 => {
                let (steps, numbers) = polynomial(constants);
                let given = (reads[0].planes / arithmetic.dim()) as f64;
                let grown = steps + (given - 1.0) * steps * (steps - 1.0) / 2.0;
                2.0 * given * grown * numbers
            }
            Kernel::PolyMap { constants } => {
                let (degree, numbers) = polynomial(constants);
                2.0 * degree * numbers
            }
            // The derivative by that rule, times the gradient.
            Kernel::PolyMapGradient { constants } => {
                let (degree, numbers) = polynomial(constants);
                (2.0 * (degree - 1.0).max(0.0) + 1.0) * numbers
            }
            // A product from each power to the next, and a sum for each.
            Kernel::PolyMapCoefficientGradient => {
                let degree = writes[0].elements.saturating_sub(1) as f64;
                (2.0 * degree + 1.0) * reads[1].elements as f64 * slots(writes[0].planes)
            }
            _ => 0.0,
        }
    }

    /// Where an element has `size` bytes.
    fn bytes_moved(&self, size: usize) -> usize {
        let bytes = |regions: &[Region]| -> usize {
            let of = |region: &Region| match region.is_bits() {
                true => region.elements * size_of::<u32>(),
                false => region.planes * region.elements * size,
            };
            regions.iter().map(of).sum()
        };
        if let Kernel::StridedCopy { copy, rest } = &self.kernel {
            let read = copy.len().min(copy.from_len());
            let written = match rest {
                Rest::Keep => copy.len(),
                Rest::Zero => copy.to_len(),
            };
            return self.reads[0].planes * (read + written) * size;
        }
        // The gradient of a mean knows its windows without looking at what was averaged.
        let skipped = match self.kernel {
            Kernel::PoolGradient {
                pool,
                rectified: false,
                ..
            } if pool != Pool::Max => 1,
            _ => 0,
        };
        let passes = if self.in_place() { 2 } else { 1 };
        bytes(&self.reads[skipped..]) + passes * bytes(&self.writes)
    }

    /// Whether what it writes is read before.
    fn in_place(&self) -> bool {
        match self.kernel {
            Kernel::FunctionMap { .. } => self.reads.is_empty(),
            Kernel::FunctionMapGradient { .. }
            | Kernel::PolyMapGradient { .. }
            | Kernel::Sgd { .. }
            | Kernel::Adam { .. }
            | Kernel::Clip { .. } => true,
            _ => false,
        }
    }
}

/// Multiplications of one real product: those by padding are not carried out.
fn multiplications(shape: &Conv2dShape) -> usize {
    let taps = |axis: usize| -> usize {
        let before = shape.padding[axis][0];
        let padded = before..before + shape.input[axis];
        let place = |place: usize| {
            let tap = |tap: usize| place * shape.stride[axis] + tap * shape.dilation[axis];
            (0..shape.kernel[axis])
                .filter(|&i| padded.contains(&tap(i)))
                .count()
        };
        (0..shape.output()[axis]).map(place).sum()
    };
    let pairs = shape.out_channels * shape.in_channels / shape.groups;
    shape.batch * pairs * taps(0) * taps(1)
}

#[cfg(test)]
mod tests {
    use furthermore_kernels_cpu::block_matmul::MatmulShape;
    use furthermore_kernels_cpu::convert::{CopyAxis, StridedCopy};

    use super::*;
    use crate::algebra::Algebra;
    use crate::plan::{CompileOptions, Operand};
    use crate::scheme::SecretKey;
    use crate::tensor::DType;

    const LAYER: Conv2dShape = Conv2dShape {
        batch: 64,
        in_channels: 6,
        out_channels: 16,
        input: [14; 2],
        kernel: [5; 2],
        stride: [1; 2],
        padding: [[0; 2]; 2],
        dilation: [1; 2],
        groups: 1,
    };

    #[test]
    fn padding_is_not_multiplied() {
        // Without padding every tap of every place counts.
        assert_eq!(multiplications(&LAYER), 64 * 6 * 16 * (10 * 5) * (10 * 5));
        // The outermost places lose two taps on each side, the next ones one.
        let padded = Conv2dShape {
            padding: [[2; 2]; 2],
            ..LAYER
        };
        let axis = 14 * 5 - 2 * (2 + 1);
        assert_eq!(multiplications(&padded), 64 * 6 * 16 * axis * axis);
        // Every other place: only the first of 7 reaches past the image, in groups of one channel.
        let stepped = Conv2dShape {
            in_channels: 16,
            kernel: [3; 2],
            padding: [[1; 2]; 2],
            stride: [2; 2],
            groups: 16,
            ..LAYER
        };
        let axis = 7 * 3 - 1;
        assert_eq!(multiplications(&stepped), 64 * 16 * axis * axis);
    }

    #[test]
    fn a_product_does_three_real_ones_and_moves_two_planes() {
        let key = SecretKey::from_known_seed(2, 7).expect("two slots");
        let algebra = Algebra::Compact(2);
        let arithmetic = key.evaluation_key().arithmetic(algebra).expect("its own");
        let shape = MatmulShape {
            batch: 1,
            m: 3,
            k: 5,
            n: 7,
            transpose_a: false,
            transpose_b: false,
        };
        let kernel = Kernel::BlockMatmul {
            shape,
            bias: false,
            activation: None,
        };
        let of = |b_planes| {
            let operand = |planes, elements| Operand { planes, elements };
            let plan = Plan::of_command(
                &CompileOptions::encrypted(1, DType::F32, algebra),
                kernel.clone(),
                &[operand(2, 15), operand(b_planes, 35)],
                &[operand(2, 21)],
            );
            plan.expect("operands that fit").work(&arithmetic)[0]
        };
        let (ct_pt, ct_ct) = (of(1), of(2));
        assert_eq!(
            [ct_pt.flop, ct_ct.flop],
            [2.0 * 2.0 * 105.0, 3.0 * 2.0 * 105.0]
        );
        assert_eq!(ct_pt.bytes, 4.0 * (30 + 35 + 42) as f64);
        assert_eq!(ct_ct.bytes, 4.0 * (30 + 70 + 42) as f64);
    }

    #[test]
    fn a_copy_moves_its_box_and_what_it_fills() {
        let options = CompileOptions::plain(1, DType::F64);
        let axis = |size, from| CopyAxis { size, from, to: 1 };
        let of = |axis, rest| {
            let copy = StridedCopy::new(12, 0, 30, 3, &[axis]).expect("it lies in both");
            let operand = |elements| {
                [Operand {
                    planes: 1,
                    elements,
                }]
            };
            let kernel = Kernel::StridedCopy { copy, rest };
            let plan = Plan::of_command(&options, kernel, &operand(12), &operand(30));
            let work = plan.expect("operands that fit").work(&Arithmetic::real())[0];
            assert_eq!(work.flop, 0.0);
            work.bytes
        };
        assert_eq!(of(axis(6, 2), Rest::Keep), 8.0 * (6 + 6) as f64);
        assert_eq!(of(axis(6, 2), Rest::Zero), 8.0 * (6 + 30) as f64);
        // One element again and again is read once, or as often as there are others.
        assert_eq!(of(axis(20, 0), Rest::Keep), 8.0 * (12 + 20) as f64);
    }
}
