//! Polynomials and their gradients.

use furthermore_kernels_cpu::Element;
use furthermore_kernels_cpu::poly_map::{
    Coefficients, poly_map, poly_map_coefficient_gradient, poly_map_gradient,
};

use super::pass::Pass;
use super::{Case, SMALL, Setup};

const DEGREES: [usize; 3] = [3, 15, 63];

/// One case a degree and kernel.
pub(super) fn cases<T: Element>(setup: &Setup) -> Vec<Case> {
    let mut cases = Vec::new();
    for degree in DEGREES {
        let shape = format!("{SMALL} degree {degree}");
        // Horner's rule in each slot.
        let value = Pass {
            a: SMALL,
            b: degree + 1,
            y: SMALL,
            two: true,
            flop: 2 * degree * SMALL,
            ..Pass::default()
        };
        cases.push(value.case::<T, _>(setup, "poly_map", &shape, |t| {
            let (x, c) = (t.a.view()?, Coefficients::Tensor(t.b.view()?));
            poly_map(&t.exec, &t.arithmetic, c, x, &mut t.y.view_mut()?)
        }));
        // The derivative by that rule, times the gradient.
        let gradient = Pass {
            in_place: true,
            flop: (2 * (degree - 1) + 1) * SMALL,
            ..value
        };
        cases.push(
            gradient.case::<T, _>(setup, "poly_map_gradient", &shape, |t| {
                let (x, c) = (t.a.view()?, Coefficients::Tensor(t.b.view()?));
                poly_map_gradient(&t.exec, &t.arithmetic, c, x, &mut t.y.view_mut()?)
            }),
        );
        // A product from each power to the next, and a sum for each.
        let coefficients = Pass {
            a: SMALL,
            b: SMALL,
            y: degree + 1,
            two: true,
            flop: (2 * degree + 1) * SMALL,
            ..Pass::default()
        };
        let kernel = "poly_map_coefficient_gradient";
        cases.push(coefficients.case::<T, _>(setup, kernel, &shape, |t| {
            let (g, x, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
            poly_map_coefficient_gradient(&t.exec, &t.arithmetic, g, x, y)
        }));
    }
    cases
}
