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
        // The largest number of f32, or nearly: it may be written with a few digits less.
        let most = 3.4028e38;
        Ok(bound
            .filter(|bound| bound.abs() < most || bound.is_nan())
            .unwrap_or(none))
    };
    Ok([
        bound("min", 1, f64::NEG_INFINITY)?,
        bound("max", 2, f64::INFINITY)?,
    ])
}

/// `[0, infinity)` is relu, and `[0, c]` is c times x / c held between 0 and 1. Between other bounds x
/// is `x - max(x - high, 0) + max(low - x, 0)`, which leaves what is inside as it was.
pub(crate) fn clip(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    /// Up to here a share of c is as exact as x.
    const MODEST: f64 = 64.0;
    let [low, high] = bounds(node)?;
    if low == f64::NEG_INFINITY && high == f64::INFINITY {
        return Ok(vec![node.input(0)?.clone()]);
    }
    if (low, high) == (0.0, f64::INFINITY) {
        return mapped(importer, node, Function::Relu);
    }
    if low >= high || low.is_nan() || high.is_nan() {
        return Err(format!("from {low} to {high} there is nothing").into());
    }
    let x = importer.operand(node, 0)?;
    let name = importer.name(node);
    if low == 0.0 && high <= MODEST {
        let function = Function::HardSigmoid {
            alpha: 1.0 / high,
            beta: 0.0,
        };
        let held = importer.part(node, "held");
        let held = importer.network.map(&held, function, x)?;
        return made(importer.network.scale(&name, held, high)?);
    }
    let mut clipped = x;
    for (side, bound, last) in [("high", high, low.is_infinite()), ("low", low, true)] {
        if bound.is_infinite() {
            continue;
        }
        let [number, past, over, held] = ["", ".past", ".over", ".held"]
            .map(|part| importer.part(node, &format!("{side}{part}")));
        let network = &mut importer.network;
        let number = network.constant(&number, [1], vec![bound])?;
        let held = if last { &name } else { &held };
        clipped = if side == "high" {
            let past = network.subtract(&past, x, number)?;
            let over = network.relu(&over, past)?;
            network.subtract(held, clipped, over)?
        } else {
            let past = network.subtract(&past, number, x)?;
            let over = network.relu(&over, past)?;
            network.add(held, clipped, over)?
        };
    }
    made(clipped)
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
