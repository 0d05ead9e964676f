//! Sums, means and maxima along axes, and softmax.

use super::{Importer, Made, made};
use crate::network::{Op, Reduction, Value};
use crate::onnx::node::{Node, Step, axes_of, axis_of};
use crate::onnx::tensor::elements;

/// The axes that a reduction takes and whether they stay with size 1; none where it takes none.
pub(crate) fn axes(node: &Node<'_>, rank: usize) -> Step<Option<(Vec<usize>, bool)>> {
    let asked = node.setting("axes", 1)?.filter(|axes| !axes.is_empty());
    let axes = match asked {
        Some(axes) => axes_of(&axes, rank)?,
        None if node.flag("noop_with_empty_axes", false)? => return Ok(None),
        None => (0..rank).collect(),
    };
    Ok(Some((axes, node.flag("keepdims", true)?)))
}

/// A shape after `axes` have been reduced.
pub(crate) fn reduced(from: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    (0..from.len())
        .filter(|axis| keep || !axes.contains(axis))
        .map(|axis| if axes.contains(&axis) { 1 } else { from[axis] })
        .collect()
}

fn reduce(importer: &mut Importer<'_>, node: &Node<'_>, reduction: Reduction) -> Made {
    let x = importer.operand(node, 0)?;
    let rank = importer.shape(x)?.len();
    let Some((axes, keep)) = axes(node, rank)? else {
        return made(x);
    };
    let name = importer.name(node);
    made(importer.network.reduce(&name, reduction, x, &axes, keep)?)
}

pub(crate) fn sum(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    reduce(importer, node, Reduction::Sum)
}

pub(crate) fn mean(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    reduce(importer, node, Reduction::Mean)
}

pub(crate) fn max(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    reduce(importer, node, Reduction::Max)
}

pub(crate) fn softmax(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    normalised(importer, node, false)
}

pub(crate) fn log_softmax(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    normalised(importer, node, true)
}

/// Softmax along one axis, or before opset 13 along that axis and all after it.
fn normalised(importer: &mut Importer<'_>, node: &Node<'_>, logarithm: bool) -> Made {
    let x = importer.operand(node, 0)?;
    let shape = importer.shape(x)?;
    let together = node.opset < 13;
    let default = if together { 1 } else { -1 };
    let axis = axis_of(node.int("axis")?.unwrap_or(default), shape.len())?;
    let name = importer.name(node);
    let op = Op::Softmax { logarithm };
    if axis + 1 == shape.len() {
        return made(importer.network.push(&name, op, &[x])?);
    }
    if together {
        let rows = [elements(&shape[..axis])?, elements(&shape[axis..])?];
        let flat = importer.reshaped(&format!("{name}.rows"), x, &rows)?;
        let y = importer
            .network
            .push(&format!("{name}.softmax"), op, &[flat])?;
        return made(importer.reshaped(&name, y, &shape)?);
    }
    let mut order: Vec<usize> = (0..shape.len()).collect();
    order.swap(axis, shape.len() - 1);
    let network = &mut importer.network;
    let last: Value = network.transpose(&format!("{name}.last"), x, &order)?;
    let last = network.push(&format!("{name}.softmax"), op, &[last])?;
    made(network.transpose(&name, last, &order)?)
}
