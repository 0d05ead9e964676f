//! What polynomials refuse.

use super::{EXEC, compact, ones, out, refused, untouched};
use furthermore_kernels_cpu::KernelError;
use furthermore_kernels_cpu::poly_map::{
    Coefficients, poly_map, poly_map_coefficient_gradient, poly_map_gradient,
};

#[test]
fn polynomials() {
    let name = |operand| ("poly_map", operand);
    let algebra = compact();
    let arithmetic = &algebra.arithmetic;
    let value = |c: (usize, usize), x: (usize, usize), y: (usize, usize)| {
        let mut output = out(y.0, y.1);
        let c = ones(c.0, c.1);
        let c = Coefficients::Tensor(c.view());
        let x = ones(x.0, x.1);
        let outcome = poly_map(&EXEC, arithmetic, c, x.view(), &mut output.view_mut());
        untouched(&output);
        outcome
    };
    refused(
        value((2, 0), (2, 6), (2, 6)),
        name("coefficients"),
        false,
        (1, 0),
    );
    refused(
        value((2, 65), (2, 6), (2, 6)),
        name("coefficients"),
        false,
        (64, 65),
    );
    refused(
        value((3, 4), (2, 6), (2, 6)),
        name("coefficients"),
        true,
        (1, 3),
    );
    refused(value((1, 4), (3, 6), (2, 6)), name("input"), true, (1, 3));
    refused(value((1, 4), (2, 6), (1, 6)), name("output"), true, (2, 1));
    refused(value((2, 4), (1, 6), (1, 6)), name("output"), true, (2, 1));
    refused(value((1, 4), (1, 6), (2, 6)), name("output"), true, (1, 2));
    refused(value((2, 4), (2, 6), (2, 5)), name("output"), false, (6, 5));

    let slope = |c: (usize, usize), x: (usize, usize), g: (usize, usize)| {
        let mut gradient = out(g.0, g.1);
        let c = ones(c.0, c.1);
        let c = Coefficients::Tensor(c.view());
        let x = ones(x.0, x.1);
        let outcome = poly_map_gradient(&EXEC, arithmetic, c, x.view(), &mut gradient.view_mut());
        untouched(&gradient);
        outcome
    };
    refused(
        slope((2, 0), (2, 6), (2, 6)),
        name("coefficients"),
        false,
        (1, 0),
    );
    refused(slope((1, 4), (3, 6), (2, 6)), name("saved"), true, (1, 3));
    refused(
        slope((2, 4), (1, 6), (1, 6)),
        name("gradient"),
        true,
        (2, 1),
    );
    refused(
        slope((1, 4), (1, 6), (3, 6)),
        name("gradient"),
        true,
        (1, 3),
    );
    refused(
        slope((1, 4), (2, 6), (2, 7)),
        name("gradient"),
        false,
        (6, 7),
    );

    let sums = |g: (usize, usize), x: (usize, usize), c: (usize, usize)| {
        let mut output = out(c.0, c.1);
        let (g, x) = (ones(g.0, g.1), ones(x.0, x.1));
        let outcome = poly_map_coefficient_gradient(
            &EXEC,
            arithmetic,
            g.view(),
            x.view(),
            &mut output.view_mut(),
        );
        untouched(&output);
        outcome
    };
    refused(sums((3, 6), (2, 6), (2, 4)), name("gradient"), true, (1, 3));
    refused(sums((2, 6), (3, 6), (2, 4)), name("input"), true, (1, 3));
    refused(sums((2, 6), (1, 5), (2, 4)), name("input"), false, (6, 5));
    refused(sums((1, 6), (2, 6), (1, 4)), name("output"), true, (2, 1));
    refused(sums((1, 6), (2, 6), (2, 0)), name("output"), false, (1, 0));
    refused(
        sums((1, 6), (2, 6), (2, 65)),
        name("output"),
        false,
        (64, 65),
    );

    // Finite in f64 is not enough where numbers are f32.
    for odd in [f64::NAN, f64::INFINITY, 1e300] {
        let mut output = out(1, 6);
        let x = ones(1, 6);
        let outcome = poly_map(
            &EXEC,
            arithmetic,
            Coefficients::Constant(&[1.0, odd, 0.5]),
            x.view(),
            &mut output.view_mut(),
        );
        untouched(&output);
        let error = outcome.expect_err("a coefficient is not finite");
        assert_eq!(
            error,
            KernelError::NotFinite {
                kernel: "poly_map",
                operand: "coefficients",
                index: 1
            }
        );
        let message = error.to_string();
        assert!(
            message.contains("poly_map") && message.contains("coefficients"),
            "{message}"
        );
    }
}
