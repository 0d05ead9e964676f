//! Polynomials that stand for functions: known best approximations, errors that level out, and what
//! cannot be fitted.

use furthermore::network::{Fit, FitMethod, Function};

/// A function's value, from its textbook formula.
fn value(function: Function, x: f64) -> f64 {
    match function {
        Function::Abs => x.abs(),
        Function::Relu => x.max(0.0),
        Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Function::Tanh => x.tanh(),
        Function::Softplus => x.exp().ln_1p(),
        Function::Exp => x.exp(),
        Function::Square => x * x,
        Function::Gelu => {
            // The normal distribution's integral by Simpson's rule.
            let (steps, density) = (2000, |t: f64| {
                (-t * t / 2.0).exp() / std::f64::consts::TAU.sqrt()
            });
            let weight = |nth: usize| match nth {
                0 => 1.0,
                nth if nth == steps => 1.0,
                nth => [2.0, 4.0][nth % 2],
            };
            let at = |nth: usize| x * nth as f64 / steps as f64;
            let sum: f64 = (0..=steps).map(|nth| weight(nth) * density(at(nth))).sum();
            x * (0.5 + sum * x / steps as f64 / 3.0)
        }
        other => panic!("no formula for {}", other.name()),
    }
}

fn horner(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

fn fit(function: Function, interval: [f64; 2], degree: usize, method: FitMethod) -> Fit {
    Fit::new(function, interval, degree, method).expect("a fit")
}

/// What the function has over its fit at so many even steps of the interval.
fn errors(fit: &Fit, steps: usize) -> Vec<f64> {
    let [a, b] = fit.interval;
    let at = |nth: usize| a + (b - a) * nth as f64 / steps as f64;
    let error = |x: f64| value(fit.function, x) - horner(&fit.coefficients, x);
    (0..=steps).map(|nth| error(at(nth))).collect()
}

fn largest(errors: &[f64]) -> f64 {
    errors.iter().fold(0.0, |most: f64, e| most.max(e.abs()))
}

/// How often an error comes within `bound` of the largest, each time with the other sign.
fn alternations(errors: &[f64], bound: f64) -> usize {
    let most = largest(errors) - bound;
    let (mut count, mut last) = (0, 0.0);
    for error in errors.iter().filter(|e| e.abs() >= most) {
        if error.signum() != last {
            (count, last) = (count + 1, error.signum());
        }
    }
    count
}

#[test]
fn best_approximations_are_the_known_ones() {
    let close = |fit: &Fit, coefficients: &[f64], error: f64| {
        assert_eq!(fit.coefficients.len(), coefficients.len());
        for (c, known) in fit.coefficients.iter().zip(coefficients) {
            assert!((c - known).abs() < 1e-6, "{fit:?}");
        }
        assert!((fit.error - error).abs() < 1e-6, "{fit:?}");
        assert!((fit.error_f32 - error).abs() < 1e-6, "{fit:?}");
    };
    let unit = [-1.0, 1.0];
    let best = |function, interval, degree| fit(function, interval, degree, FitMethod::Minimax);
    // |x| on [-1, 1]: x^2 + 1/8, of degree 3 the same; of degree 1 the constant 1/2.
    close(&best(Function::Abs, unit, 1), &[0.5, 0.0], 0.5);
    close(&best(Function::Abs, unit, 2), &[0.125, 0.0, 1.0], 0.125);
    close(
        &best(Function::Abs, unit, 3),
        &[0.125, 0.0, 1.0, 0.0],
        0.125,
    );
    // relu is (x + |x|) / 2, on any interval around zero the same stretched.
    close(&best(Function::Relu, unit, 2), &[0.0625, 0.5, 0.5], 0.0625);
    close(
        &best(Function::Relu, unit, 3),
        &[0.0625, 0.5, 0.5, 0.0],
        0.0625,
    );
    let wide = best(Function::Relu, [-8.0, 8.0], 2);
    close(&wide, &[0.5, 0.5, 0.0625], 0.5);
    // Bernstein: n times the error of |x| tends to 0.28017 (Varga and Carpenter, 1985).
    let high = best(Function::Abs, unit, 20);
    assert!((20.0 * high.error - 0.28).abs() < 5e-3, "{high:?}");
    // x^2 by a line on [0, 1]: x - 1/8. By a parabola exactly, on any interval.
    close(
        &best(Function::Square, [0.0, 1.0], 1),
        &[-0.125, 1.0],
        0.125,
    );
    for method in [FitMethod::Minimax, FitMethod::Chebyshev] {
        let exact = fit(Function::Square, [-3.0, 5.0], 4, method);
        assert!(exact.error < 1e-13, "{exact:?}");
    }
    // Where relu is a line, it is that line.
    let line = best(Function::Relu, [0.5, 2.0], 3);
    assert!(line.error < 1e-14, "{line:?}");
}

#[test]
fn errors_of_best_approximations_level_out() {
    let functions = [
        Function::Sigmoid,
        Function::Tanh,
        Function::Relu,
        Function::Gelu,
        Function::Softplus,
        Function::Exp,
    ];
    for function in functions {
        for interval in [[-3.0, 3.0], [-1.0, 2.5]] {
            for degree in [1, 2, 3, 4, 5, 7, 10] {
                let best = fit(function, interval, degree, FitMethod::Minimax);
                let plain = fit(function, interval, degree, FitMethod::Chebyshev);
                // Steps among which the kink at zero is one.
                let found = errors(&best, 7000);
                let context = format!("{best:?}");
                assert!(
                    (largest(&found) - best.error).abs() < 1e-5 * best.error + 1e-12,
                    "{context}"
                );
                let bound = 1e-6 + 5e-6 * best.error;
                assert!(alternations(&found, bound) >= degree + 2, "{context}");
                // Lebesgue's constant at the Chebyshev nodes stays below 2 / pi ln(n + 1) + 1.
                let lebesgue = 2.0 / std::f64::consts::PI * (degree as f64 + 1.0).ln() + 2.0;
                assert!(best.error <= plain.error * (1.0 + 1e-9), "{context}");
                assert!(plain.error <= lebesgue * best.error + 1e-12, "{context}");
            }
        }
    }
    // The comparison is one that fails: interpolation does not level out.
    let plain = fit(Function::Sigmoid, [-1.0, 2.5], 5, FitMethod::Chebyshev);
    assert!(alternations(&errors(&plain, 4000), 1e-9) < 7);
}

#[test]
fn odd_functions_have_odd_fits() {
    for method in [FitMethod::Minimax, FitMethod::Chebyshev] {
        for degree in [3, 4, 7, 8] {
            let tanh = fit(Function::Tanh, [-4.0, 4.0], degree, method);
            let sigmoid = fit(Function::Sigmoid, [-8.0, 8.0], degree, method);
            assert!((sigmoid.coefficients[0] - 0.5).abs() < 1e-7, "{sigmoid:?}");
            assert!(tanh.coefficients[0].abs() < 1e-7, "{tanh:?}");
            for k in (2..=degree).step_by(2) {
                assert!(tanh.coefficients[k].abs() < 1e-7, "{tanh:?}");
                assert!(sigmoid.coefficients[k].abs() < 1e-7, "{sigmoid:?}");
            }
            // tanh x = 2 sigmoid(2 x) - 1.
            for k in (1..=degree).step_by(2) {
                let scaled = 2.0 * 2f64.powi(k as i32) * sigmoid.coefficients[k];
                let apart = (tanh.coefficients[k] - scaled).abs();
                assert!(apart < 1e-6, "{apart:e} {tanh:?} {sigmoid:?}");
            }
        }
    }
}

#[test]
fn any_degree_comes_to_an_end_with_its_error() {
    for function in Function::ALL {
        for degree in [1, 2, 13, 31, 63] {
            for interval in [[0.5, 2.5], [0.25, 0.25 + 1e-6]] {
                for method in [FitMethod::Minimax, FitMethod::Chebyshev] {
                    match Fit::new(function, interval, degree, method) {
                        Ok(fit) => {
                            assert_eq!(fit.degree(), degree);
                            assert!(!fit.error.is_nan() && !fit.error_f32.is_nan(), "{fit:?}");
                        }
                        Err(error) => assert!(error.to_string().contains("in powers"), "{error}"),
                    }
                }
            }
        }
    }
    // Powers of x lose digits at high degrees, which the errors say.
    let middle = fit(Function::Sigmoid, [-8.0, 8.0], 13, FitMethod::Minimax);
    assert!(middle.error < 2e-3 && middle.error_f32 < 2e-3, "{middle:?}");
    let high = fit(Function::Sigmoid, [-8.0, 8.0], 63, FitMethod::Chebyshev);
    assert!(high.error_f32 > 10.0 * middle.error_f32, "{high:?}");
    // A jump is missed by half of it at least, and met about as well as that.
    for degree in [1, 4, 7] {
        let sign = fit(Function::Sign, [-1.0, 1.0], degree, FitMethod::Minimax);
        assert!((0.99..1.3).contains(&sign.error), "{sign:?}");
    }
}

#[test]
fn what_cannot_be_fitted_is_named() {
    let refused = |function, interval, degree: usize, part: &str| {
        for method in [FitMethod::Minimax, FitMethod::Chebyshev] {
            let error = Fit::new(function, interval, degree, method).expect_err(part);
            let said = error.to_string();
            assert!(
                said.contains(part) && said.contains(method.name()),
                "{said}"
            );
        }
    };
    let unit = [-1.0, 1.0];
    refused(Function::Tanh, unit, 0, "degree 0 is not between 1 and 63");
    refused(Function::Tanh, unit, 64, "degree 64");
    refused(Function::Tanh, unit, usize::MAX, "is not between");
    for ends in [
        [1.0, -1.0],
        [0.5, 0.5],
        [f64::NAN, 1.0],
        [0.0, f64::INFINITY],
        [f64::NEG_INFINITY, f64::INFINITY],
        [0.0, f64::from_bits(1)],
    ] {
        refused(Function::Relu, ends, 3, "is no interval");
    }
    refused(Function::Ln, [0.0, 1.0], 3, "ln");
    refused(Function::Ln, [0.0, 1.0], 3, "the function is -inf at 0");
    refused(
        Function::Sqrt,
        [-0.5, 1.0],
        3,
        "the function is NaN at -0.5",
    );
    refused(
        Function::Inverse,
        [-1.0, 3.0],
        3,
        "the function is inf at 0",
    );
    refused(Function::Exp, [0.0, 1000.0], 3, "the function is inf at");
    refused(Function::Tanh, [1.0, 1.0 + 1e-15], 63, "in powers of x");
    refused(Function::Elu { alpha: f64::NAN }, unit, 3, "NaN");
    let whole = Fit::new(Function::Relu, [-f64::MAX, f64::MAX], 1, FitMethod::Minimax);
    assert!(whole.is_ok_and(|fit| fit.error.is_finite()));
}
