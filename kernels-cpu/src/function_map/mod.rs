//! Functions of a ciphertext: `f(C) = S diag(f(m), f(r)) S^-1`, evaluated slot by slot.

mod slot_functions;
mod span;

use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::slots::SlotMaxima;
use crate::threads::Exec;

use span::Direction;
pub(crate) use span::Span;

const NAME: &str = "function_map";

/// A function applied to each slot. Derivatives are PyTorch's, at kinks and edges too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// `e^x`.
    Exp,
    /// The natural logarithm; NaN below zero, -infinity at zero.
    Ln,
    /// The square root; NaN below zero. Its derivative at zero is infinite.
    Sqrt,
    /// `1 / x`, infinite at zero.
    Inverse,
    /// `|x|`, of derivative 0 at zero.
    Abs,
    /// -1, 0 or 1; its derivative is 0 everywhere.
    Sign,
    /// `max(x, 0)`; its derivative is 1 above zero and 0 elsewhere.
    Relu,
    /// `x` above zero and `slope x` elsewhere, with derivative 1 and `slope` in the same places.
    LeakyRelu {
        /// The slope at zero and below.
        slope: f64,
    },
    /// `x` above zero and `alpha (e^x - 1)` elsewhere.
    Elu {
        /// Where the function tends to, with the sign reversed.
        alpha: f64,
    },
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `alpha x + beta` held between 0 and 1 (ONNX HardSigmoid). Its derivative is `alpha` strictly
    /// between them and 0 elsewhere.
    HardSigmoid {
        /// The slope; ONNX's default is 0.2, PyTorch's function has 1/6.
        alpha: f64,
        /// The value at zero; 0.5 in both.
        beta: f64,
    },
    /// The hyperbolic tangent.
    Tanh,
    /// `ln(1 + e^x)`.
    Softplus,
    /// `x (1 + erf(x / sqrt 2)) / 2` (Hendrycks and Gimpel, 2016).
    Gelu,
    /// Their approximation `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`.
    GeluTanh,
    /// The error function.
    Erf,
    /// `x / (1 + e^-x)`.
    Silu,
    /// `x^2`.
    Square,
}

/// What a derivative is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The function's argument.
    Input,
    /// The function's value, so that the argument need not be kept.
    Output,
}

impl Function {
    /// Every function, with the parameters that are usual in PyTorch or ONNX.
    pub const ALL: [Function; 18] = [
        Function::Exp,
        Function::Ln,
        Function::Sqrt,
        Function::Inverse,
        Function::Abs,
        Function::Sign,
        Function::Relu,
        Function::LeakyRelu { slope: 0.01 },
        Function::Elu { alpha: 1.0 },
        Function::Sigmoid,
        Function::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        },
        Function::Tanh,
        Function::Softplus,
        Function::Gelu,
        Function::GeluTanh,
        Function::Erf,
        Function::Silu,
        Function::Square,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Function::Exp => "exp",
            Function::Ln => "ln",
            Function::Sqrt => "sqrt",
            Function::Inverse => "inverse",
            Function::Abs => "abs",
            Function::Sign => "sign",
            Function::Relu => "relu",
            Function::LeakyRelu { .. } => "leaky_relu",
            Function::Elu { .. } => "elu",
            Function::Sigmoid => "sigmoid",
            Function::HardSigmoid { .. } => "hard_sigmoid",
            Function::Tanh => "tanh",
            Function::Softplus => "softplus",
            Function::Gelu => "gelu",
            Function::GeluTanh => "gelu_tanh",
            Function::Erf => "erf",
            Function::Silu => "silu",
            Function::Square => "square",
        }
    }

    /// What [`function_map_gradient`] takes as `saved`.
    pub fn saved(self) -> Saved {
        match self {
            // Their derivatives are the simplest in terms of their values.
            Function::Exp
            | Function::Sqrt
            | Function::Inverse
            | Function::Sigmoid
            | Function::Tanh => Saved::Output,
            // A function in pieces has the same value, say zero, on a whole piece in one slot and not
            // in another, and a zero does not survive the way through coordinates exactly, so the
            // piece is read off the argument.
            Function::Abs
            | Function::Sign
            | Function::Relu
            | Function::LeakyRelu { .. }
            | Function::Elu { .. }
            | Function::HardSigmoid { .. } => Saved::Input,
            Function::Ln
            | Function::Softplus
            | Function::Gelu
            | Function::GeluTanh
            | Function::Erf
            | Function::Silu
            | Function::Square => Saved::Input,
        }
    }
}

/// The body by which the epilogue of a matrix product applies an activation to elements
/// `at..at + len` it has just written.
///
/// # Safety
/// The caller has sole access to those elements of every plane while the span runs.
pub(crate) unsafe fn in_place<T: Element>(
    arithmetic: &Arithmetic,
    function: Function,
    target: RawPlanes<T>,
    at: usize,
    len: usize,
) -> Span<'_, T> {
    Span {
        arithmetic,
        function,
        direction: Direction::Value,
        source: target,
        target,
        at,
        len,
    }
}

/// A pass over all of `target`; without a source it reads the target.
fn pass<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    function: Function,
    direction: Direction,
    source: Option<RawPlanes<T>>,
    target: &mut PlanesMut<'_, T>,
) -> SlotMaxima {
    let bytes = 2 * target.count() * size_of::<T>();
    let len = target.len();
    let target = target.raw();
    let source = source.unwrap_or(target);
    exec.spans(
        len,
        exec.isa.lanes::<T>(),
        bytes,
        |range| {
            let (at, len) = (range.start, range.len());
            T::run_span(
                exec.isa,
                Span {
                    arithmetic,
                    function,
                    direction,
                    source,
                    target,
                    at,
                    len,
                },
            )
        },
        SlotMaxima::merge,
    )
}

/// Applies `function` to each element of `input` and writes `output`.
///
/// Both are plaintext (one plane) or ciphertexts of `arithmetic` (`dim` planes). Returns the
/// magnitudes of the arguments' slots, and whether they and the values are finite: where a slot is
/// outside the function's domain, its value is NaN or infinite.
///
/// # Errors
/// When planes or lengths differ.
pub fn function_map<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    function: Function,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    output.expect(NAME, "output", &[1, arithmetic.dim()], output.len())?;
    input.expect(NAME, "input", &[output.count()], output.len())?;
    Ok(pass(
        exec,
        arithmetic,
        function,
        Direction::Value,
        Some(input.raw()),
        output,
    ))
}

/// Applies `function` to each element of `values`, in place. Returns what [`function_map`] does.
///
/// # Errors
/// When the planes are neither plaintext nor ciphertexts of `arithmetic`.
pub fn function_map_in_place<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    function: Function,
    values: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    values.expect(NAME, "values", &[1, arithmetic.dim()], values.len())?;
    Ok(pass(
        exec,
        arithmetic,
        function,
        Direction::Value,
        None,
        values,
    ))
}

/// Multiplies `gradient` by the function's derivative, slot by slot, in place.
///
/// `saved` is the function's argument or value, as [`Function::saved`] says. Returns the magnitudes
/// of the incoming gradient's slots, and whether they and the result's are finite.
///
/// # Errors
/// When planes or lengths differ.
pub fn function_map_gradient<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    function: Function,
    saved: Planes<'_, T>,
    gradient: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    gradient.expect(NAME, "gradient", &[1, arithmetic.dim()], gradient.len())?;
    saved.expect(NAME, "saved", &[gradient.count()], gradient.len())?;
    Ok(pass(
        exec,
        arithmetic,
        function,
        Direction::Gradient,
        Some(saved.raw()),
        gradient,
    ))
}
