//! Functions of each element.

use super::{Importer, Made, made};
use crate::network::{Function, Value};
use crate::onnx::node::{Node, Step, single};

fn mapped(importer: &mut Importer<'_>, node: &Node<'_>, function: Function) -> Made {
    let x = importer.operand(node, 0)?;
    let name = importer.name(node);
    made(importer.network.map(&name, function, x)?)
}

/// Operators that are one function of the engine without settings.
macro_rules! functions {
    ($($name:ident => $function:ident),* $(,)?) => {$(
        pub(crate) fn $name(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
            mapped(importer, node, Function::$function)
        }
    )*};
}

functions! {
    exp => Exp,
    log => Ln,
    sqrt => Sqrt,
    reciprocal => Inverse,
    abs => Abs,
    relu => Relu,
    sigmoid => Sigmoid,
    tanh => Tanh,
    softplus => Softplus,
    erf => Erf,
}

pub(crate) fn negate(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let x = importer.operand(node, 0)?;
    let name = importer.name(node);
    made(importer.network.scale(&name, x, -1.0)?)
}

pub(crate) fn leaky_relu(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let slope = node.float("alpha")?.unwrap_or(0.01);
    mapped(importer, node, Function::LeakyRelu { slope })
}

pub(crate) fn elu(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let alpha = node.float("alpha")?.unwrap_or(1.0);
    mapped(importer, node, Function::Elu { alpha })
}

pub(crate) fn hard_sigmoid(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let alpha = node.float("alpha")?.unwrap_or(0.2);
    let beta = node.float("beta")?.unwrap_or(0.5);
    mapped(importer, node, Function::HardSigmoid { alpha, beta })
}

pub(crate) fn gelu(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    match node.string("approximate")?.unwrap_or("none") {
        "none" => mapped(importer, node, Function::Gelu),
        "tanh" => mapped(importer, node, Function::GeluTanh),
        other => Err(format!("its approximation '{other}' is not known").into()),
    }
}

/// A slope below zero that is a weight, or one known number.
pub(crate) fn prelu(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    if let Some(slope) = node.input(1)?.number() {
        return mapped(importer, node, Function::LeakyRelu { slope });
    }
    let (x, slope) = (importer.operand(node, 0)?, importer.operand(node, 1)?);
    let name = importer.name(node);
    made(importer.network.prelu(&name, x, slope)?)
}

/// The bounds of a Clip: attributes at first, inputs since opset 11. What no f32 passes is no bound.
fn bounds(node: &Node<'_>) -> Step<[f64; 2]> {
    let bound = |name: &str, nth: usize, none: f64| -> Step<f64> {
        let bound = match node.float(name)? {
            Some(bound) => Some(bound),
            None => node.number(nth)?,
        };
        let most = f64::from(f32::MAX);
        Ok(bound
            .filter(|bound| bound.abs() < most || bound.is_nan())
            .unwrap_or(none))
    };
    Ok([
        bound("min", 1, f64::NEG_INFINITY)?,
        bound("max", 2, f64::INFINITY)?,
    ])
}

/// `[0, infinity)` is relu, and `[a, b]` is a plus b - a times (x - a) / (b - a) held between 0 and 1.
pub(crate) fn clip(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let [low, high] = bounds(node)?;
    if low == f64::NEG_INFINITY && high == f64::INFINITY {
        return Ok(vec![node.input(0)?.clone()]);
    }
    if (low, high) == (0.0, f64::INFINITY) {
        return mapped(importer, node, Function::Relu);
    }
    let width = high - low;
    if !(width > 0.0 && width.is_finite()) {
        let reason = "only from 0 up, or between two numbers";
        return Err(format!("from {low} to {high} is not supported, {reason}").into());
    }
    let x = importer.operand(node, 0)?;
    let function = Function::HardSigmoid {
        alpha: 1.0 / width,
        beta: -low / width,
    };
    let [held, wide, number] = ["held", "wide", "low"].map(|part| importer.part(node, part));
    let name = importer.name(node);
    let network = &mut importer.network;
    let held = network.map(&held, function, x)?;
    if low == 0.0 {
        return made(network.scale(&name, held, width)?);
    }
    let wide = network.scale(&wide, held, width)?;
    let low = network.constant(&number, [1], vec![low])?;
    made(network.add(&name, wide, low)?)
}

/// Terms that a polynomial may have.
const HIGHEST_POWER: f64 = 63.0;

/// `x^n` for a known integer n.
pub(crate) fn power(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let known = node.constant(1)?;
    let exponent = match known.integers() {
        Some(&[exponent]) => Some(exponent as f64),
        Some(_) => None,
        None => single(known),
    };
    let whole = |n: &f64| n.fract() == 0.0 && (1.0..=HIGHEST_POWER).contains(&n.abs());
    let Some(exponent) = exponent.filter(whole) else {
        let most = HIGHEST_POWER;
        return Err(format!(
            "its exponent has to be one integer from -{most} to {most} and not 0, known before"
        )
        .into());
    };
    let x = importer.operand(node, 0)?;
    let name = importer.name(node);
    let (positive, below) = (exponent.abs() as usize, format!("{name}.power"));
    let raised = if exponent > 0.0 { &name } else { &below };
    let power: Value = match positive {
        1 => x,
        2 => importer.network.map(raised, Function::Square, x)?,
        _ => {
            let mut coefficients = vec![0.0; positive + 1];
            coefficients[positive] = 1.0;
            importer.network.polynomial(raised, x, coefficients)?
        }
    };
    if exponent > 0.0 {
        return made(power);
    }
    made(importer.network.map(&name, Function::Inverse, power)?)
}
