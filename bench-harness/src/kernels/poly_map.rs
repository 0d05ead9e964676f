//! Polynomials and their gradients.

use furthermore::plan::Kernel;

use super::SMALL;
use super::case::{Case, Setup};
use crate::error::Result;

const DEGREES: [usize; 3] = [3, 15, 63];

/// Coefficients of an activation.
const ACTIVATION: [f64; 3] = [0.1, 0.5, 0.25];

/// One case a degree and kernel, with coefficients that are tensors, and one with known ones.
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
    let activation = Kernel::PolyMap {
        constants: Some(ACTIVATION.to_vec()),
    };
    let shape = format!("{SMALL} activation");
    cases.push(setup.one("poly_map", shape, &activation, &[SMALL], &[SMALL])?);
    Ok(cases)
}
