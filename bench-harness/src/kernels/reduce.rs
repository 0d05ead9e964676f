//! Sums and maxima along an axis, softmax and losses.

use furthermore::plan::{Kernel, Reduction};
use furthermore_kernels_cpu::reduce::Axis;

use super::case::{Case, Setup};
use super::{SMALL, TABLE};
use crate::error::Result;

/// Rows and classes of a batch's logits.
const LOGITS: [usize; 2] = [256, 10];

fn name(kernel: &Kernel) -> String {
    format!("reduce {}", kernel.name())
}

/// Everything of the family.
pub(super) fn cases(setup: &Setup) -> Result<Vec<Case>> {
    let maxima = Kernel::SlotMaxima;
    let mut cases = vec![setup.one(name(&maxima), SMALL, &maxima, &[SMALL], &[])?];
    axes(setup, &mut cases)?;
    softmax(setup, &mut cases)?;
    losses(setup, &mut cases)?;
    Ok(cases)
}

/// Tables reduced to one row, all rows together, and to one column.
fn axes(setup: &Setup, cases: &mut Vec<Case>) -> Result<()> {
    let [rows, columns] = TABLE;
    let along = |outer, length, inner| Axis {
        outer,
        length,
        inner,
    };
    for (along, axis) in [
        ("rows", along(1, rows, columns)),
        ("columns", along(rows, columns, 1)),
    ] {
        let shape = format!("{rows}x{columns} {along}");
        let (full, reduced) = (rows * columns, axis.outer * axis.inner);
        for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
            let kernel = Kernel::Reduce { reduction, axis };
            cases.push(setup.one(name(&kernel), &shape, &kernel, &[full], &[reduced])?);
        }
        let kernel = Kernel::MaxGradient { axis };
        cases.push(setup.one(name(&kernel), &shape, &kernel, &[full, reduced], &[full])?);
    }
    Ok(())
}

fn softmax(setup: &Setup, cases: &mut Vec<Case>) -> Result<()> {
    let [rows, columns] = LOGITS;
    let len = rows * columns;
    let shape = format!("{rows}x{columns}");
    for logarithm in [false, true] {
        let kernel = Kernel::Softmax { columns, logarithm };
        cases.push(setup.one(name(&kernel), &shape, &kernel, &[len], &[len])?);
        let kernel = Kernel::SoftmaxGradient { columns, logarithm };
        cases.push(setup.one(name(&kernel), &shape, &kernel, &[len, len], &[len])?);
    }
    Ok(())
}

/// Losses of predictions, with targets that may be plaintext.
fn losses(setup: &Setup, cases: &mut Vec<Case>) -> Result<()> {
    let [rows, columns] = LOGITS;
    let (len, shape) = (rows * columns, format!("{rows}x{columns}"));
    for (kernel, y) in [
        (Kernel::SoftmaxCrossEntropy { columns }, 1),
        (Kernel::SoftmaxCrossEntropyGradient { columns }, len),
    ] {
        cases.push(setup.two(name(&kernel), &shape, &kernel, [len, len], y)?);
    }
    for (kernel, y) in [
        (Kernel::MeanSquaredError, 1),
        (Kernel::BinaryCrossEntropy, 1),
        (Kernel::BinaryCrossEntropyGradient, SMALL),
    ] {
        cases.push(setup.two(name(&kernel), SMALL, &kernel, [SMALL, SMALL], y)?);
    }
    Ok(())
}
