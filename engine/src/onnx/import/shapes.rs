//! What moves elements: shapes, parts, axes. The arithmetic of shapes serves known tensors too.

use super::{Importer, Made, made};
use crate::network::Value;
use crate::onnx::node::{Bound, Node, Step, axes_of, axis_of};
use crate::onnx::tensor::{self, Constant, MOST_AXES, Numbers, elements};
use crate::onnx::{fold, support};

/// Sizes that were computed as integers.
pub(crate) fn sizes(dims: &[i64]) -> Step<Vec<usize>> {
    Ok(tensor::sizes(dims)?.0)
}

/// The shape that a Reshape asks for.
pub(crate) fn reshaped(node: &Node<'_>, from: &[usize]) -> Step<Vec<usize>> {
    let asked = node.integers(1)?.ok_or("its input 1 is missing")?;
    let all_as_said = node.flag("allowzero", false)?;
    let mut shape = Vec::with_capacity(asked.len().min(MOST_AXES));
    let mut open = None;
    for (axis, &size) in asked.iter().enumerate() {
        let size = match size {
            -1 if open.replace(axis).is_none() => 1,
            0 if !all_as_said => *from
                .get(axis)
                .ok_or_else(|| format!("its shape {asked:?} copies an axis {axis} of {from:?}"))?,
            size => {
                usize::try_from(size).map_err(|_| format!("its shape {asked:?} cannot be read"))?
            }
        };
        shape.push(size);
        if shape.len() > MOST_AXES {
            return Err(format!("its shape has more than {MOST_AXES} axes").into());
        }
    }
    let (there, others) = (elements(from)?, elements(&shape)?);
    if let Some(axis) = open {
        shape[axis] = there.checked_div(others).unwrap_or(0);
    }
    if elements(&shape)? == there {
        Ok(shape)
    } else {
        Err(format!("{from:?} has not as many elements as the shape {asked:?}").into())
    }
}

/// Two axes: the product of those before an axis, and that of the others.
pub(crate) fn flattened(node: &Node<'_>, from: &[usize]) -> Step<Vec<usize>> {
    let axis = node.int("axis")?.unwrap_or(1);
    // The axis past the last one is one to cut at too.
    let at = match usize::try_from(axis) {
        Ok(at) if at == from.len() => at,
        _ => axis_of(axis, from.len())?,
    };
    Ok(vec![elements(&from[..at])?, elements(&from[at..])?])
}

/// A shape without axes of size 1: those named, or all.
pub(crate) fn squeezed(node: &Node<'_>, from: &[usize]) -> Step<Vec<usize>> {
    let axes = match node.setting("axes", 1)? {
        Some(axes) => axes_of(&axes, from.len())?,
        None => (0..from.len()).filter(|&axis| from[axis] == 1).collect(),
    };
    if let Some(axis) = axes.iter().find(|&&axis| from[axis] != 1) {
        return Err(format!("axis {axis} of {from:?} is not of size 1").into());
    }
    let kept = (0..from.len()).filter(|axis| !axes.contains(axis));
    Ok(kept.map(|axis| from[axis]).collect())
}

/// A shape with axes of size 1 where they are named.
pub(crate) fn unsqueezed(node: &Node<'_>, from: &[usize]) -> Step<Vec<usize>> {
    let axes = node.setting("axes", 1)?.ok_or("it names no axes")?;
    let rank = from.len() + axes.len();
    if rank > MOST_AXES {
        return Err(format!("its result has {rank} axes, and up to {MOST_AXES} are taken").into());
    }
    let axes = axes_of(&axes, rank)?;
    let mut sizes = from.iter();
    let size = |axis: usize| match axes.contains(&axis) {
        true => Some(1),
        false => sizes.next().copied(),
    };
    Ok((0..rank).map_while(size).collect())
}

/// The order in which a Transpose takes axes.
pub(crate) fn permutation(node: &Node<'_>, rank: usize) -> Step<Vec<usize>> {
    let Some(asked) = node.ints("perm")? else {
        return Ok((0..rank).rev().collect());
    };
    let order: Vec<usize> = (asked.iter())
        .map(|&axis| axis_of(axis, rank))
        .collect::<Step<_>>()?;
    if order.len() == rank && axes_of(asked, rank).is_ok() {
        Ok(order)
    } else {
        Err(format!("its order {asked:?} is none of {rank} axes").into())
    }
}

/// What a Slice takes of one axis.
pub(crate) struct Cut {
    pub(crate) axis: usize,
    pub(crate) start: usize,
    pub(crate) step: isize,
    pub(crate) len: usize,
}

/// What a Slice takes, an entry for each axis that it names.
pub(crate) fn cuts(node: &Node<'_>, from: &[usize]) -> Step<Vec<Cut>> {
    let missing = |what: &str| format!("it names no {what}");
    let starts = node
        .setting("starts", 1)?
        .ok_or_else(|| missing("starts"))?;
    let ends = node.setting("ends", 2)?.ok_or_else(|| missing("ends"))?;
    let axes = node.setting("axes", 3)?;
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = node.integers(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("starts, ends, axes and steps are not as many".into());
    }
    axes_of(&axes, from.len())?;
    (axes.iter().enumerate())
        .map(|(nth, &axis)| {
            let axis = axis_of(axis, from.len())?;
            let (start, len) = cut(starts[nth], ends[nth], steps[nth], from[axis] as i64)?;
            // No step is taken from one place on, however long it was said to be.
            let step = if len > 1 { steps[nth] as isize } else { 1 };
            Ok(Cut {
                axis,
                start,
                step,
                len,
            })
        })
        .collect()
}

/// Where a slice of an axis starts and how many it takes, bounds held to the axis.
fn cut(start: i64, end: i64, step: i64, size: i64) -> Step<(usize, usize)> {
    let from_end = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (start, end) = (from_end(start), from_end(end));
    // One step takes any stride past the axis to its end.
    let stride = step.unsigned_abs().min(size.unsigned_abs() + 1) as i64;
    let (start, span) = match step {
        0 => return Err("its step is 0".into()),
        1.. => {
            let start = start.clamp(0, size);
            (start, end.clamp(0, size) - start)
        }
        _ => {
            let start = start.clamp(-1, size - 1);
            (start, start - end.clamp(-1, size - 1))
        }
    };
    let len = (span.max(0) + stride - 1) / stride;
    Ok((start.max(0) as usize, len as usize))
}

/// A node whose result is its first input in a shape that `shape` works out.
fn in_shape(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    shape: impl Fn(&Node<'_>, &[usize]) -> Step<Vec<usize>>,
) -> Made {
    let x = importer.operand(node, 0)?;
    let from = importer.shape(x)?;
    let to = shape(node, &from)?;
    let name = importer.name(node);
    made(importer.reshaped(&name, x, &to)?)
}

pub(crate) fn reshape(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    in_shape(importer, node, reshaped)
}

pub(crate) fn flatten(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    in_shape(importer, node, flattened)
}

pub(crate) fn squeeze(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    in_shape(importer, node, squeezed)
}

pub(crate) fn unsqueeze(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    in_shape(importer, node, unsqueezed)
}

/// Shapes that stay as they are: what was expanded to its own size.
pub(crate) fn expand(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let from = importer.shape_of(node.input(0)?)?;
    let asked = sizes(&node.integers(1)?.ok_or("its input 1 is missing")?)?;
    if fold::broadcast(&[&from, &asked])? == from {
        Ok(vec![node.input(0)?.clone()])
    } else {
        Err(format!("what is computed is not repeated from {from:?} to {asked:?}").into())
    }
}

/// The input as it is.
pub(crate) fn identity(_: &mut Importer<'_>, node: &Node<'_>) -> Made {
    Ok(vec![node.input(0)?.clone()])
}

/// The input as it is: nothing is left out where nothing is trained.
pub(crate) fn dropout(_: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let training = match node.optional(2) {
        None => false,
        Some(_) => node.integers(2)? != Some(vec![0]),
    };
    if training {
        return Err("it is exported for training: export the model for inference".into());
    }
    Ok(vec![node.input(0)?.clone()])
}

/// Real numbers stay as they are.
pub(crate) fn cast(_: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let to = node.int("to")?.ok_or("it does not say to which type")?;
    let element = tensor::Element::of(i32::try_from(to).unwrap_or(0))?;
    if element.float().is_none() {
        return Err(format!("real numbers are not cut to {element:?}").into());
    }
    Ok(vec![node.input(0)?.clone()])
}

/// A value computed by the importer.
fn worked_out(node: &Node<'_>, constant: Constant) -> Made {
    Ok(vec![support::known(node.name(), constant)])
}

pub(crate) fn shape(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let shape = importer.shape_of(node.input(0)?)?;
    let rank = shape.len() as i64;
    let bound = |at: i64| {
        let at = if at < 0 { at.saturating_add(rank) } else { at };
        at.clamp(0, rank) as usize
    };
    let start = bound(node.int("start")?.unwrap_or(0));
    let end = bound(node.int("end")?.unwrap_or(rank));
    let part = shape.get(start..end).unwrap_or_default();
    worked_out(
        node,
        Constant::row(part.iter().map(|&size| size as i64).collect()),
    )
}

pub(crate) fn size(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let shape = importer.shape_of(node.input(0)?)?;
    let constant = Constant {
        shape: Vec::new(),
        numbers: Numbers::Integers(vec![elements(&shape)? as i64]),
    };
    worked_out(node, constant)
}

pub(crate) fn transpose(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let x = importer.operand(node, 0)?;
    let order = permutation(node, importer.shape(x)?.len())?;
    if order.iter().enumerate().all(|(nth, &axis)| nth == axis) {
        return made(x);
    }
    let name = importer.name(node);
    made(importer.network.transpose(&name, x, &order)?)
}

pub(crate) fn concat(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let mut values = Vec::new();
    for bound in node.all_inputs()? {
        values.push(importer.live(bound)?);
    }
    let rank = importer.shape(values[0])?.len();
    let axis = axis_of(node.int("axis")?.ok_or("it has no axis")?, rank)?;
    if let [only] = values[..] {
        return made(only);
    }
    let name = importer.name(node);
    made(importer.network.concat(&name, &values, axis)?)
}

pub(crate) fn slice(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let mut x = importer.operand(node, 0)?;
    let from = importer.shape(x)?;
    let whole = |cut: &Cut| cut.start == 0 && cut.step == 1 && cut.len == from[cut.axis];
    let cuts: Vec<Cut> = (cuts(node, &from)?.into_iter())
        .filter(|cut| !whole(cut))
        .collect();
    for (nth, cut) in cuts.iter().enumerate() {
        let name = match nth + 1 == cuts.len() {
            true => importer.name(node),
            false => importer.part(node, &format!("axis{}", cut.axis)),
        };
        let network = &mut importer.network;
        x = network.slice(&name, x, cut.axis, cut.start, cut.step, cut.len)?;
    }
    made(x)
}

/// One place along an axis, as `x[:, 3]` is exported.
pub(crate) fn gather(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let x = importer.operand(node, 0)?;
    let from = importer.shape(x)?;
    let axis = axis_of(node.int("axis")?.unwrap_or(0), from.len())?;
    let indices = node.constant(1)?;
    let Some(&[index]) = indices.integers() else {
        return Err("of what is computed it takes one place along an axis, known before".into());
    };
    let index = axis_of(index, from[axis])
        .map_err(|_| format!("its index {index} passes the {} places", from[axis]))?;
    let name = importer.part(node, "place");
    let place = importer.network.slice(&name, x, axis, index, 1, 1)?;
    let mut to = from[..axis].to_vec();
    to.extend(&indices.shape);
    to.extend(&from[axis + 1..]);
    let name = importer.name(node);
    made(importer.reshaped(&name, place, &to)?)
}

pub(crate) fn split(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let x = importer.operand(node, 0)?;
    let from = importer.shape(x)?;
    let axis = axis_of(node.int("axis")?.unwrap_or(0), from.len())?;
    let (size, parts) = (from[axis], node.proto.output.len());
    let lengths: Vec<usize> = match node.setting("split", 1)? {
        Some(lengths) => sizes(&lengths)?,
        // The last part may be smaller where the number of parts was told.
        None if node.int("num_outputs")?.is_some() => {
            let length = size.div_ceil(parts);
            let left = |nth: usize| size.saturating_sub(nth * length).min(length);
            (0..parts).map(left).collect()
        }
        None if size.is_multiple_of(parts) => vec![size / parts; parts],
        None => return Err(format!("{size} places are not cut into {parts} equal parts").into()),
    };
    let all = lengths
        .iter()
        .try_fold(0usize, |sum, &length| sum.checked_add(length));
    if lengths.len() != parts || all != Some(size) {
        return Err(format!("parts of {lengths:?} are not {parts} of {size} places").into());
    }
    let name = importer.name(node);
    let mut start = 0;
    let mut slices: Vec<Value> = Vec::new();
    for (nth, &length) in lengths.iter().enumerate() {
        let part = format!("{name}.part{nth}");
        slices.push(importer.network.slice(&part, x, axis, start, 1, length)?);
        start += length;
    }
    Ok(slices.into_iter().map(Bound::Live).collect())
}
