//! Sums, products, quotients, maxima of operands that meet by numpy's rules.

use super::{Importer, Made, gelu, made};
use crate::error::Result;
use crate::network::{Function, Network, Value};
use crate::onnx::node::{Bound, Node, Step, single};

type Binary = fn(&mut Network, &str, Value, Value) -> Result<Value>;

/// A number by which every element is multiplied, where it changes no shape.
fn factor(
    importer: &mut Importer<'_>,
    x: &Bound,
    by: &Bound,
    number: Option<f64>,
) -> Step<Option<f64>> {
    let (x, by) = (importer.shape_of(x)?, importer.shape_of(by)?);
    Ok(number.filter(|_| by.len() <= x.len()))
}

fn scaled(importer: &mut Importer<'_>, node: &Node<'_>, x: &Bound, factor: f64) -> Made {
    let x = importer.live(x)?;
    let name = importer.name(node);
    let network = &mut importer.network;
    made(match gelu::of_half(network, x) {
        Some(x) if factor == 0.5 => network.map(&name, Function::Gelu, x)?,
        _ => network.scale(&name, x, factor)?,
    })
}

pub(crate) fn add(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let (mut a, mut b) = (node.input(0)?, node.input(1)?);
    // A row that repeats comes second, as a plan fuses it into the product before.
    if a.known().is_some() {
        std::mem::swap(&mut a, &mut b);
    }
    let (a, b) = (importer.live(a)?, importer.live(b)?);
    let name = importer.name(node);
    made(importer.network.add(&name, a, b)?)
}

pub(crate) fn subtract(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let (a, b) = (importer.operand(node, 0)?, importer.operand(node, 1)?);
    let name = importer.name(node);
    made(importer.network.subtract(&name, a, b)?)
}

pub(crate) fn multiply(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let (mut a, mut b) = (node.input(0)?, node.input(1)?);
    if a.known().is_some() {
        std::mem::swap(&mut a, &mut b);
    }
    if let Some(factor) = factor(importer, a, b, b.number())? {
        return scaled(importer, node, a, factor);
    }
    let (a, b) = (importer.live(a)?, importer.live(b)?);
    let name = importer.name(node);
    let network = &mut importer.network;
    made(if a == b {
        network.map(&name, Function::Square, a)?
    } else if let Some(x) = gelu::of_product(network, a, b) {
        network.map(&name, Function::Gelu, x)?
    } else {
        network.multiply(&name, a, b)?
    })
}

pub(crate) fn divide(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let (a, b) = (node.input(0)?, node.input(1)?);
    let divisor = b.known().and_then(single);
    if divisor == Some(0.0) {
        return Err("it divides by 0".into());
    }
    if let Some(divisor) = factor(importer, a, b, divisor)? {
        return scaled(importer, node, a, 1.0 / divisor);
    }
    if let Some(dividend) = factor(importer, b, a, a.number())? {
        let x = importer.live(b)?;
        let name = importer.name(node);
        if dividend == 1.0 {
            return made(importer.network.map(&name, Function::Inverse, x)?);
        }
        let inverse = format!("{name}.inverse");
        let inverse = importer.network.map(&inverse, Function::Inverse, x)?;
        return made(importer.network.scale(&name, inverse, dividend)?);
    }
    let (a, b) = (importer.live(a)?, importer.live(b)?);
    let name = importer.name(node);
    made(importer.network.divide(&name, a, b)?)
}

/// All inputs taken two by two from the first on; the last step makes the node's value.
fn through(importer: &mut Importer<'_>, node: &Node<'_>, name: &str, step: Binary) -> Step<Value> {
    let inputs = node.all_inputs()?;
    let mut all = importer.live(inputs[0])?;
    for (nth, bound) in inputs.iter().enumerate().skip(1) {
        let next = importer.live(bound)?;
        let part = format!("{name}.input{nth}");
        let step_name = match nth + 1 == inputs.len() {
            true => name,
            false => &part,
        };
        all = step(&mut importer.network, step_name, all, next)?;
    }
    Ok(all)
}

pub(crate) fn maximum(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    // Against zero it is a function of one operand.
    if let [Some(a), Some(b)] = &node.inputs[..] {
        let (x, bound) = if a.known().is_some() { (b, a) } else { (a, b) };
        if factor(importer, x, bound, bound.number())? == Some(0.0) {
            let x = importer.live(x)?;
            let name = importer.name(node);
            return made(importer.network.relu(&name, x)?);
        }
    }
    let name = importer.name(node);
    made(through(importer, node, &name, Network::maximum)?)
}

pub(crate) fn minimum(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let name = importer.name(node);
    made(through(importer, node, &name, Network::minimum)?)
}

pub(crate) fn sum(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let name = importer.name(node);
    made(through(importer, node, &name, Network::add)?)
}

pub(crate) fn mean(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let name = importer.name(node);
    let sum = through(importer, node, &format!("{name}.sum"), Network::add)?;
    let count = node.inputs.len() as f64;
    made(importer.network.scale(&name, sum, 1.0 / count)?)
}
