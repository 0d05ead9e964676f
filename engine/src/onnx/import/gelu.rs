//! Exporters without an operator for it write GELU (Hendrycks and Gimpel, 2016) as
//! `x (1 + erf(x / sqrt 2)) / 2`, with factors in any order. It is one function of the engine.

use std::f64::consts::FRAC_1_SQRT_2;

use crate::network::{Function, Network, Op, Value};

/// Of which x a product is the GELU, if it is one.
pub(crate) fn of_product(network: &Network, a: Value, b: Value) -> Option<Value> {
    let halved_first = |a, b| one_plus_erf(network, b).filter(|x| halved(network, a) == Some(*x));
    let halved_last = |a, b| one_plus_erf(network, halved(network, b)?).filter(|x| *x == a);
    (halved_first(a, b).or_else(|| halved_first(b, a)))
        .or_else(|| halved_last(a, b))
        .or_else(|| halved_last(b, a))
}

/// Of which x half of a value is the GELU, if it is one.
pub(crate) fn of_half(network: &Network, product: Value) -> Option<Value> {
    let node = network.node(product);
    let (Op::Multiply, &[a, b]) = (&node.op, &node.operands[..]) else {
        return None;
    };
    let whole = |a, b| one_plus_erf(network, b).filter(|x| *x == a);
    whole(a, b).or_else(|| whole(b, a))
}

/// What it is half of.
fn halved(network: &Network, value: Value) -> Option<Value> {
    let node = network.node(value);
    match (&node.op, &node.operands[..]) {
        (Op::Scale { factor: 0.5 }, &[x]) => Some(x),
        _ => None,
    }
}

/// x, if it is `1 + erf(x / sqrt 2)`. Exporters round the root to f32.
fn one_plus_erf(network: &Network, value: Value) -> Option<Value> {
    let sum = network.node(value);
    let (
        Op::Linear {
            alpha: 1.0,
            beta: 1.0,
        },
        &[erf, one],
    ) = (&sum.op, &sum.operands[..])
    else {
        return None;
    };
    let (Op::Constant { shape, values }, erf) = (&network.node(one).op, network.node(erf)) else {
        return None;
    };
    let (
        Op::Map {
            function: Function::Erf,
        },
        &[scaled],
    ) = (&erf.op, &erf.operands[..])
    else {
        return None;
    };
    let scaled = network.node(scaled);
    match (&scaled.op, &scaled.operands[..]) {
        (Op::Scale { factor }, &[x]) => {
            let root = (factor - FRAC_1_SQRT_2).abs() < f64::from(f32::EPSILON);
            (root && shape.is_empty() && values[..] == [1.0]).then_some(x)
        }
        _ => None,
    }
}
