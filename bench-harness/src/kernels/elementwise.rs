//! Sums, products and quotients, element by element.

use furthermore_kernels_cpu::Element;
use furthermore_kernels_cpu::elementwise::{Broadcast, divide, linear, multiply};

use super::pass::Pass;
use super::{Case, LARGE, SMALL, Setup, TABLE};

/// Operands of one shape, in the caches and past them, and a row or a column that repeats.
pub(super) fn cases<T: Element>(setup: &Setup) -> Vec<Case> {
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
        let pass = Pass {
            a: len,
            b,
            y: len,
            two: true,
            ..Pass::default()
        };
        cases.push(
            pass.case::<T, _>(setup, "elementwise linear", &shape, move |t| {
                let (a, b) = ((1.0, t.a.view()?), (1.0, t.b.view()?));
                let y = &mut t.y.view_mut()?;
                linear(&t.exec, &t.arithmetic, &broadcast, a, b, y)
            }),
        );
        cases.push(
            pass.case::<T, _>(setup, "elementwise multiply", &shape, move |t| {
                let (a, b, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
                multiply(&t.exec, &t.arithmetic, &broadcast, a, b, y)
            }),
        );
        cases.push(
            pass.case::<T, _>(setup, "elementwise divide", &shape, move |t| {
                let (a, b, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
                divide(&t.exec, &t.arithmetic, &broadcast, a, b, y)
            }),
        );
    }
    cases
}
