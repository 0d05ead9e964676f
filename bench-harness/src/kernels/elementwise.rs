//! Sums, products and quotients, element by element.

use furthermore::plan::Kernel;
use furthermore_kernels_cpu::elementwise::Broadcast;

use super::case::{Case, Setup};
use super::{LARGE, SMALL, TABLE};
use crate::error::Result;

/// Operands of one shape, in the caches and past them, and a row or a column that repeats.
pub(super) fn cases(setup: &Setup) -> Result<Vec<Case>> {
    let [rows, columns] = TABLE;
    let table = |b: [usize; 2]| {
        Broadcast::new(&TABLE, &b).expect("one row or one column goes with a table")
    };
    let shapes = [
        (SMALL.to_string(), Broadcast::same(SMALL), SMALL),
        (LARGE.to_string(), Broadcast::same(LARGE), LARGE),
        (
            format!("{rows}x{columns} and 1x{columns}"),
            table([1, columns]),
            columns,
        ),
        (
            format!("{rows}x{columns} and {rows}x1"),
            table([rows, 1]),
            rows,
        ),
    ];
    let mut cases = Vec::new();
    for (shape, broadcast, b) in shapes {
        let len = broadcast.len();
        let linear = Kernel::Linear {
            broadcast,
            alpha: 1.0,
            beta: 1.0,
        };
        let multiply = Kernel::Multiply { broadcast };
        let divide = Kernel::Divide { broadcast };
        for kernel in [linear, multiply, divide] {
            let name = format!("elementwise {}", kernel.name());
            cases.push(setup.two(name, &shape, &kernel, [len, b], len)?);
        }
    }
    Ok(cases)
}
