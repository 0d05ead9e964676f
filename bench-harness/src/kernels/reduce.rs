//! Sums and maxima along an axis, softmax and losses.

use furthermore_kernels_cpu::Element;
use furthermore_kernels_cpu::reduce::{self, Axis};

use super::pass::Pass;
use super::{Case, SMALL, Setup, TABLE};

/// Rows and classes of a batch's logits.
const LOGITS: [usize; 2] = [256, 10];

/// Everything of the family.
pub(super) fn cases<T: Element>(setup: &Setup) -> Vec<Case> {
    let read = Pass {
        a: SMALL,
        ..Pass::default()
    };
    let mut cases = vec![read.case::<T, _>(setup, "reduce slot_maxima", SMALL, |t| {
        reduce::slot_maxima(&t.exec, &t.arithmetic, t.a.view()?)
    })];
    cases.extend(axes::<T>(setup));
    cases.extend(softmax::<T>(setup));
    cases.extend(losses::<T>(setup));
    cases
}

/// Tables reduced to one row, all rows together, and to one column.
fn axes<T: Element>(setup: &Setup) -> Vec<Case> {
    let [rows, columns] = TABLE;
    let along = |outer, length, inner| Axis {
        outer,
        length,
        inner,
    };
    let mut cases = Vec::new();
    for (name, axis) in [
        ("rows", along(1, rows, columns)),
        ("columns", along(rows, columns, 1)),
    ] {
        let shape = format!("{rows}x{columns} {name}");
        let (full, reduced) = (rows * columns, axis.outer * axis.inner);
        let value = Pass {
            a: full,
            y: reduced,
            ..Pass::default()
        };
        cases.push(value.case::<T, _>(setup, "reduce sum", &shape, move |t| {
            reduce::sum(&t.exec, &axis, t.a.view()?, &mut t.y.view_mut()?)
        }));
        cases.push(value.case::<T, _>(setup, "reduce mean", &shape, move |t| {
            reduce::mean(&t.exec, &axis, t.a.view()?, &mut t.y.view_mut()?)
        }));
        cases.push(value.case::<T, _>(setup, "reduce max", &shape, move |t| {
            let (x, y) = (t.a.view()?, &mut t.y.view_mut()?);
            reduce::max(&t.exec, &t.arithmetic, &axis, x, y)
        }));
        let gradient = Pass {
            a: full,
            b: reduced,
            y: full,
            ..Pass::default()
        };
        cases.push(
            gradient.case::<T, _>(setup, "reduce max_gradient", &shape, move |t| {
                let (x, g, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
                reduce::max_gradient(&t.exec, &t.arithmetic, &axis, x, g, y)
            }),
        );
    }
    cases
}

fn softmax<T: Element>(setup: &Setup) -> [Case; 4] {
    let [rows, classes] = LOGITS;
    let len = rows * classes;
    let shape = format!("{rows}x{classes}");
    let value = Pass {
        a: len,
        y: len,
        ..Pass::default()
    };
    let gradient = Pass { b: len, ..value };
    [
        value.case::<T, _>(setup, "reduce softmax", &shape, move |t| {
            let (x, y) = (t.a.view()?, &mut t.y.view_mut()?);
            reduce::softmax(&t.exec, &t.arithmetic, x, classes, y)
        }),
        value.case::<T, _>(setup, "reduce log_softmax", &shape, move |t| {
            let (x, y) = (t.a.view()?, &mut t.y.view_mut()?);
            reduce::log_softmax(&t.exec, &t.arithmetic, x, classes, y)
        }),
        gradient.case::<T, _>(setup, "reduce softmax_gradient", &shape, move |t| {
            let (saved, g, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
            reduce::softmax_gradient(&t.exec, &t.arithmetic, saved, g, classes, y)
        }),
        gradient.case::<T, _>(setup, "reduce log_softmax_gradient", &shape, move |t| {
            let (saved, g, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
            reduce::log_softmax_gradient(&t.exec, &t.arithmetic, saved, g, classes, y)
        }),
    ]
}

/// Losses of predictions, with targets that may be plaintext.
fn losses<T: Element>(setup: &Setup) -> [Case; 5] {
    let [rows, classes] = LOGITS;
    let logits = format!("{rows}x{classes}");
    let of = |len, y| Pass {
        a: len,
        b: len,
        y,
        two: true,
        ..Pass::default()
    };
    let (loss, gradient) = (of(rows * classes, 1), of(rows * classes, rows * classes));
    let (mean, mean_gradient) = (of(SMALL, 1), of(SMALL, SMALL));
    [
        loss.case::<T, _>(setup, "reduce softmax_cross_entropy", &logits, move |t| {
            let (x, target, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
            reduce::softmax_cross_entropy(&t.exec, &t.arithmetic, x, target, classes, y)
        }),
        gradient.case::<T, _>(
            setup,
            "reduce softmax_cross_entropy_gradient",
            &logits,
            move |t| {
                let (x, target, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
                reduce::softmax_cross_entropy_gradient(
                    &t.exec,
                    &t.arithmetic,
                    x,
                    target,
                    classes,
                    y,
                )
            },
        ),
        mean.case::<T, _>(setup, "reduce mean_squared_error", SMALL, |t| {
            let (x, target, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
            reduce::mean_squared_error(&t.exec, &t.arithmetic, x, target, y)
        }),
        mean.case::<T, _>(setup, "reduce binary_cross_entropy", SMALL, |t| {
            let (x, target, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
            reduce::binary_cross_entropy(&t.exec, &t.arithmetic, x, target, y)
        }),
        mean_gradient.case::<T, _>(setup, "reduce binary_cross_entropy_gradient", SMALL, |t| {
            let (x, target, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
            reduce::binary_cross_entropy_gradient(&t.exec, &t.arithmetic, x, target, y)
        }),
    ]
}
