//! Kernels one by one, each plain and encrypted on the same operands: what `kernels` measures and
//! what the criterion benches run. A file here holds the rows of the kernel family it is named after.

mod block_matmul;
mod conv2d;
mod convert;
mod elementwise;
mod function_map;
mod operands;
mod pass;
mod peaks;
mod poly_map;
mod pool;
mod reduce;
mod update;

use furthermore::Algebra;
use furthermore::scheme::SecretKey;
use furthermore_kernels_cpu::{Arithmetic, Element, Exec};

use crate::error::Result;

pub use peaks::Peaks;

/// Elements of tensors that stay in a core's caches, and of tensors past the last level.
const SMALL: usize = 1 << 16;
const LARGE: usize = 1 << 24;
/// Rows and columns of as many as [`SMALL`].
const TABLE: [usize; 2] = [256, SMALL / 256];

/// A kernel call that can be repeated, with operands of its own.
pub type Call = Box<dyn FnMut()>;

/// Who is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// Nothing.
    Plain,
    /// The left operand, or the only one.
    CtPt,
    /// Both operands.
    CtCt,
}

impl Regime {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Regime::Plain => "pt-pt",
            Regime::CtPt => "ct-pt",
            Regime::CtCt => "ct-ct",
        }
    }
}

/// One way to call a kernel.
pub struct Side {
    /// Who is encrypted.
    pub regime: Regime,
    /// Under which algebra; `Real` for plaintext.
    pub algebra: Algebra,
    /// Floating-point operations of a call's real products or polynomials, a fused multiply-add
    /// counting as two; 0 where memory or a function's own steps are the measure of the work.
    pub flop: f64,
    /// Bytes of the operands that a call reads and writes, each once.
    pub bytes: f64,
    /// Sets up operands and returns the call.
    pub prepare: Box<dyn Fn() -> Result<Call>>,
}

/// One kernel at one shape, in every regime; the plain side comes first.
pub struct Case {
    /// The kernel's function in kernels-cpu, after its family where it does not name that itself, and
    /// what it is called for where it does several things: "conv2d_gradient_input", "reduce sum",
    /// "function_map relu", "convert cast f32 to f16".
    pub kernel: String,
    /// The shape, as "512x512x512" for products.
    pub shape: String,
    /// Ways to call it.
    pub sides: Vec<Side>,
}

/// What every case runs on: the plain algebra and each encrypted one with the constants of a key.
pub(crate) struct Setup {
    exec: Exec,
    algebras: Vec<(Algebra, Arithmetic)>,
}

impl Setup {
    fn new(exec: Exec, encrypted: &[Algebra]) -> Result<Self> {
        let mut algebras = vec![(Algebra::Real, Arithmetic::real())];
        for &algebra in encrypted {
            let key = SecretKey::from_known_seed(algebra.slots(), 1)?;
            algebras.push((algebra, key.evaluation_key().arithmetic(algebra)?));
        }
        Ok(Self { exec, algebras })
    }

    /// The sides of a kernel with two operands that may be plaintext or ciphertext.
    pub(crate) fn of_two(&self) -> impl Iterator<Item = (Regime, Algebra, &Arithmetic)> {
        self.algebras.iter().flat_map(|(algebra, arithmetic)| {
            let regimes: &[Regime] = match algebra {
                Algebra::Real => &[Regime::Plain],
                _ => &[Regime::CtPt, Regime::CtCt],
            };
            regimes.iter().map(move |r| (*r, *algebra, arithmetic))
        })
    }

    /// The sides of a kernel whose tensors are all plaintext or all ciphertext.
    pub(crate) fn of_one(&self) -> impl Iterator<Item = (Regime, Algebra, &Arithmetic)> {
        self.of_two().filter(|(regime, ..)| *regime != Regime::CtPt)
    }
}

/// All cases in `T` for these algebras of ciphertexts.
///
/// # Errors
/// When an algebra has no key.
pub fn cases<T: Element>(exec: Exec, encrypted: &[Algebra]) -> Result<Vec<Case>> {
    let setup = Setup::new(exec, encrypted)?;
    let families = [
        block_matmul::cases::<T>,
        conv2d::cases::<T>,
        pool::cases::<T>,
        function_map::cases::<T>,
        poly_map::cases::<T>,
        elementwise::cases::<T>,
        reduce::cases::<T>,
        update::cases::<T>,
        convert::cases::<T>,
    ];
    Ok(families.iter().flat_map(|cases| cases(&setup)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use furthermore_kernels_cpu::Isa;

    use super::*;

    /// Every row can be set up, which calls it once; but for those past the caches, which differ in
    /// length only.
    fn rows_run<T: Element>() {
        let exec = Exec {
            isa: Isa::best(),
            threads: 2,
        };
        let algebras = [Algebra::Compact(2), Algebra::Blocks(2), Algebra::Compact(3)];
        let mut names = HashSet::new();
        for case in cases::<T>(exec, &algebras).expect("algebras that have keys") {
            let name = format!("{} {}", case.kernel, case.shape);
            assert_eq!(case.sides[0].regime, Regime::Plain, "{name}");
            for side in &case.sides {
                assert!(side.bytes > 0.0 && side.flop >= 0.0, "{name}");
                if side.bytes < (LARGE * size_of::<T>()) as f64 {
                    let call = (side.prepare)();
                    assert!(call.is_ok(), "{name}: {:?}", call.err());
                }
            }
            assert!(names.insert(name), "two rows of one name");
        }
    }

    #[test]
    fn rows_run_f32() {
        rows_run::<f32>();
    }

    #[test]
    fn rows_run_f64() {
        rows_run::<f64>();
    }
}
