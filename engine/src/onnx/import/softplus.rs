//! PyTorch's exporter writes softplus as a choice: x above a threshold, softplus(x) below. There the
//! two are equal to rounding, so the function alone is taken.

use super::{Importer, Made};
use crate::network::{Function, Network, Op, Value};
use crate::onnx::node::{Bound, Node};

/// Above it softplus(x) is x to f32's rounding.
const LEAST_THRESHOLD: f64 = 17.0;

const ONLY: &str = "of what is computed it is taken only as PyTorch writes softplus; otherwise all its inputs have \
                    to be known before a run";

/// What a comparison of a computed value is of, where a choice alone reads it: a mask never exists.
pub(crate) fn greater(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let name = node.name();
    let nodes = &importer.model.graph.node;
    let chooses = importer.first_reader.get(name).is_some_and(|&at| {
        let reader = &nodes[at];
        reader.op_type == "Where" && reader.input.first().is_some_and(|input| input == name)
    });
    match (node.input(0)?, node.input(1)?.number()) {
        (Bound::Live(x), Some(threshold))
            if threshold >= LEAST_THRESHOLD && chooses && importer.reads(name) == 1 =>
        {
            Ok(vec![Bound::Live(*x)])
        }
        _ => Err(ONLY.into()),
    }
}

/// The choice: x where it is above the threshold, softplus of it elsewhere.
pub(crate) fn choose(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let compared = node.proto.input.first().and_then(|name| {
        let made = |node: &&crate::onnx::generated::NodeProto| node.output.first() == Some(name);
        importer.model.graph.node.iter().find(made)
    });
    let compared = compared.is_some_and(|node| node.op_type == "Greater");
    match (node.input(0)?, node.input(1)?, node.input(2)?) {
        (&Bound::Live(of), &Bound::Live(x), &Bound::Live(below))
            if compared && is_softplus(&importer.network, of, x, below) =>
        {
            Ok(vec![Bound::Live(below)])
        }
        _ => Err(ONLY.into()),
    }
}

/// Whether `below` is softplus(b x) / b of `of`, which is b x.
fn is_softplus(network: &Network, of: Value, x: Value, below: Value) -> bool {
    let scaled = |value: Value| match (&network.node(value).op, &network.node(value).operands[..]) {
        (&Op::Scale { factor }, &[of]) => Some((of, factor)),
        _ => None,
    };
    let softplus = |value: Value| match (&network.node(value).op, &network.node(value).operands[..])
    {
        (
            Op::Map {
                function: Function::Softplus,
            },
            &[of],
        ) => Some(of),
        _ => None,
    };
    if softplus(below) == Some(of) {
        return of == x;
    }
    match (scaled(below), scaled(of)) {
        (Some((inner, share)), Some((unscaled, factor))) => {
            let inverse = (share * factor - 1.0).abs() < 1e-6;
            inverse && unscaled == x && softplus(inner) == Some(of)
        }
        _ => false,
    }
}
