//! Polynomials and their gradients.

use furthermore::plan::Kernel;

use super::SMALL;
use super::case::{Case, Setup};
use crate::error::Result;

const DEGREES: [usize; 3] = [3, 15, 63];

/// One case a degree and kernel, with coefficients that are tensors.
pub(super) fn cases(setup: &Setup) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for degree in DEGREES {
        let shape = format!("{SMALL} degree {degree}");
        for (kernel, operands, y) in [
            (
                Kernel::PolyMap { constants: None },
                [SMALL, degree + 1],
                SMALL,
            ),
            (
                Kernel::PolyMapGradient { constants: None },
                [SMALL, degree + 1],
                SMALL,
            ),
            (
                Kernel::PolyMapCoefficientGradient,
                [SMALL, SMALL],
                degree + 1,
            ),
        ] {
            cases.push(setup.two(kernel.name(), &shape, &kernel, operands, y)?);
        }
    }
    Ok(cases)
}
