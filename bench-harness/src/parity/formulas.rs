//! The functions and their derivatives in f64, straight from their definitions.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use furthermore::network::Function;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The density of the standard normal distribution.
fn density(x: f64) -> f64 {
    0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (-0.5 * x * x).exp()
}

/// The tangent's argument in the approximation of gelu, and its derivative.
fn gelu_inner(x: f64) -> (f64, f64) {
    let scale = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
    let cubic = 0.044715;
    (
        scale * (x + cubic * x.powi(3)),
        scale * (1.0 + 3.0 * cubic * x * x),
    )
}

/// `f(x)`.
pub(super) fn value(function: Function, x: f64) -> f64 {
    match function {
        Function::Exp => x.exp(),
        Function::Ln => x.ln(),
        Function::Sqrt => x.sqrt(),
        Function::Inverse => 1.0 / x,
        Function::Abs => x.abs(),
        Function::Sign if x == 0.0 => 0.0,
        Function::Sign => x.signum(),
        Function::Relu => x.max(0.0),
        Function::LeakyRelu { slope } => {
            if x > 0.0 {
                x
            } else {
                slope * x
            }
        }
        Function::Elu { alpha } => {
            if x > 0.0 {
                x
            } else {
                alpha * x.exp_m1()
            }
        }
        Function::Sigmoid => sigmoid(x),
        Function::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
        Function::Tanh => x.tanh(),
        Function::Softplus => x.exp().ln_1p(),
        Function::Gelu => 0.5 * x * (1.0 + libm::erf(x * FRAC_1_SQRT_2)),
        Function::GeluTanh => 0.5 * x * (1.0 + gelu_inner(x).0.tanh()),
        Function::Erf => libm::erf(x),
        Function::Silu => x * sigmoid(x),
        Function::Square => x * x,
    }
}

/// `f'(x)`, at kinks as the kernels have it.
pub(super) fn derivative(function: Function, x: f64) -> f64 {
    let step = f64::from(u8::from(x > 0.0));
    match function {
        Function::Exp => x.exp(),
        Function::Ln => 1.0 / x,
        Function::Sqrt => 0.5 / x.sqrt(),
        Function::Inverse => -1.0 / (x * x),
        Function::Abs => value(Function::Sign, x),
        Function::Sign => 0.0,
        Function::Relu => step,
        Function::LeakyRelu { slope } => {
            if x > 0.0 {
                1.0
            } else {
                slope
            }
        }
        Function::Elu { alpha } => {
            if x > 0.0 {
                1.0
            } else {
                alpha * x.exp()
            }
        }
        Function::Sigmoid => sigmoid(x) * (1.0 - sigmoid(x)),
        Function::HardSigmoid { alpha, beta } => {
            let y = alpha * x + beta;
            if y > 0.0 && y < 1.0 { alpha } else { 0.0 }
        }
        Function::Tanh => 1.0 - x.tanh() * x.tanh(),
        Function::Softplus => sigmoid(x),
        Function::Gelu => 0.5 * (1.0 + libm::erf(x * FRAC_1_SQRT_2)) + x * density(x),
        Function::GeluTanh => {
            let (inner, slope) = gelu_inner(x);
            let tanh = inner.tanh();
            0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * slope
        }
        Function::Erf => FRAC_2_SQRT_PI * (-x * x).exp(),
        Function::Silu => sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))),
        Function::Square => 2.0 * x,
    }
}

/// Where a function is tried: everywhere it is defined and varies.
pub(super) fn domain(function: Function) -> (f64, bool) {
    match function {
        // Positive only.
        Function::Ln | Function::Sqrt => (0.1, false),
        _ => (0.1, true),
    }
}
