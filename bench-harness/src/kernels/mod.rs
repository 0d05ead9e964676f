//! Kernels one by one, each plain and encrypted on the same operands, on any device: what `kernels`
//! measures and what the criterion benches run. A file here holds the rows of the kernel family it is
//! named after.

mod block_matmul;
mod case;
mod conv2d;
mod convert;
mod elementwise;
mod function_map;
mod peaks;
mod poly_map;
mod pool;
mod reduce;
mod update;

use furthermore::Algebra;
use furthermore::tensor::DType;

use crate::error::Result;

use self::case::Setup;
pub use self::case::{Case, Ready, Regime, Side};
pub use self::peaks::Peaks;

/// Elements of tensors that stay in a core's caches, and of tensors past the last level.
const SMALL: usize = 1 << 16;
const LARGE: usize = 1 << 24;
/// Rows and columns of as many as [`SMALL`].
const TABLE: [usize; 2] = [256, SMALL / 256];

/// All cases in this element type for these algebras of ciphertexts; `large` ones among them, which
/// take a processor seconds and a graphics processor to its peak.
///
/// # Errors
/// When an algebra has no key.
pub fn cases(dtype: DType, encrypted: &[Algebra], large: bool) -> Result<Vec<Case>> {
    let setup = Setup::new(dtype, encrypted, large)?;
    let families = [
        block_matmul::cases,
        conv2d::cases,
        pool::cases,
        function_map::cases,
        poly_map::cases,
        elementwise::cases,
        reduce::cases,
        update::cases,
        convert::cases,
    ];
    let mut cases = Vec::new();
    for family in families {
        cases.extend(family(&setup)?);
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use furthermore::device::Cpu;

    use super::*;

    /// Every row can be set up and runs; but for those past the caches, which differ in length only.
    fn rows_run(dtype: DType) {
        let cpu = Cpu::new().expect("an instruction set of this machine");
        let algebras = [
            Algebra::Compact(2),
            Algebra::Blocks(2),
            Algebra::Compact(3),
            Algebra::Graded(1),
            Algebra::Reduced(1),
        ];
        let mut names = HashSet::new();
        for case in cases(dtype, &algebras, false).expect("algebras that have keys") {
            let name = format!("{} {}", case.kernel, case.shape);
            assert_eq!(case.sides[0].regime, Regime::Plain, "{name}");
            for side in &case.sides {
                assert!(side.work.bytes > 0.0 && side.work.flop >= 0.0, "{name}");
                if side.work.bytes < (LARGE * dtype.size()) as f64 {
                    let ran = side.prepare(&cpu).and_then(|mut ready| ready.seconds());
                    assert!(ran.is_ok_and(|seconds| seconds > 0.0), "{name}");
                }
            }
            assert!(names.insert(name), "two rows of one name");
        }
    }

    #[test]
    fn rows_run_f32() {
        rows_run(DType::F32);
    }

    #[test]
    fn rows_run_f64() {
        rows_run(DType::F64);
    }
}
