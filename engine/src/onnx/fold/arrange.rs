//! What moves numbers and computes none.

use super::{Walk, allowed, broadcast, repeating, strides, taken};
use crate::onnx::import::shapes;
use crate::onnx::node::{Node, Step, axis_of};
use crate::onnx::tensor::{Constant, Numbers};
use crate::tensor::DType;

/// A tensor in another shape of as many elements.
fn shaped(constant: &Constant, shape: Vec<usize>) -> Constant {
    Constant {
        shape,
        numbers: constant.numbers.clone(),
    }
}

pub(crate) fn constant(node: &Node<'_>) -> Step<Constant> {
    let real = |shape: Vec<usize>, values: &[f32]| Constant {
        shape,
        numbers: Numbers::Floats(values.iter().map(|x| f64::from(*x)).collect(), DType::F32),
    };
    if let Some(tensor) = node.tensor("value")? {
        return Ok(tensor);
    }
    if let Some(float) = node.float("value_float")? {
        return Ok(real(Vec::new(), &[float as f32]));
    }
    if let Some(floats) = node.floats("value_floats")? {
        return Ok(real(vec![floats.len()], floats));
    }
    if let Some(int) = node.int("value_int")? {
        return Ok(Constant {
            shape: Vec::new(),
            numbers: Numbers::Integers(vec![int]),
        });
    }
    match node.ints("value_ints")? {
        Some(ints) => Ok(Constant::row(ints.to_vec())),
        None => Err("it has no value of numbers".into()),
    }
}

pub(crate) fn constant_of_shape(node: &Node<'_>) -> Step<Constant> {
    let shape = shapes::sizes(&node.integers(0)?.ok_or("its input 0 is missing")?)?;
    let count = allowed(node, &shape)?;
    let numbers = match node.tensor("value")? {
        None => Numbers::Floats(vec![0.0; count], DType::F32),
        Some(value) => match value.numbers {
            Numbers::Floats(values, dtype) if values.len() == 1 => {
                Numbers::Floats(vec![values[0]; count], dtype)
            }
            Numbers::Integers(values) if values.len() == 1 => {
                Numbers::Integers(vec![values[0]; count])
            }
            _ => return Err("its value is not one number".into()),
        },
    };
    Ok(Constant { shape, numbers })
}

pub(crate) fn reshape(node: &Node<'_>) -> Step<Constant> {
    let from = node.constant(0)?;
    Ok(shaped(from, shapes::reshaped(node, &from.shape)?))
}

pub(crate) fn flatten(node: &Node<'_>) -> Step<Constant> {
    let from = node.constant(0)?;
    Ok(shaped(from, shapes::flattened(node, &from.shape)?))
}

pub(crate) fn squeeze(node: &Node<'_>) -> Step<Constant> {
    let from = node.constant(0)?;
    Ok(shaped(from, shapes::squeezed(node, &from.shape)?))
}

pub(crate) fn unsqueeze(node: &Node<'_>) -> Step<Constant> {
    let from = node.constant(0)?;
    Ok(shaped(from, shapes::unsqueezed(node, &from.shape)?))
}

pub(crate) fn transpose(node: &Node<'_>) -> Step<Constant> {
    let from = node.constant(0)?;
    let order = shapes::permutation(node, from.shape.len())?;
    let own = strides(&from.shape);
    let shape: Vec<usize> = order.iter().map(|&axis| from.shape[axis]).collect();
    let steps: Vec<isize> = order.iter().map(|&axis| own[axis]).collect();
    let numbers = taken(&from.numbers, Walk::new(&shape, &steps, 0));
    Ok(Constant { shape, numbers })
}

pub(crate) fn slice(node: &Node<'_>) -> Step<Constant> {
    let from = node.constant(0)?;
    let mut shape = from.shape.clone();
    let mut steps = strides(&from.shape);
    let mut start = 0;
    for cut in shapes::cuts(node, &from.shape)? {
        start += cut.start * steps[cut.axis] as usize;
        steps[cut.axis] *= cut.step;
        shape[cut.axis] = cut.len;
    }
    let numbers = taken(&from.numbers, Walk::new(&shape, &steps, start));
    Ok(Constant { shape, numbers })
}

pub(crate) fn expand(node: &Node<'_>) -> Step<Constant> {
    let from = node.constant(0)?;
    let asked = shapes::sizes(&node.integers(1)?.ok_or("its input 1 is missing")?)?;
    let shape = broadcast(&[&from.shape, &asked])?;
    allowed(node, &shape)?;
    let steps = repeating(&from.shape, shape.len());
    let numbers = taken(&from.numbers, Walk::new(&shape, &steps, 0));
    Ok(Constant { shape, numbers })
}

pub(crate) fn gather(node: &Node<'_>) -> Step<Constant> {
    let (from, asked) = (node.constant(0)?, node.constant(1)?);
    let axis = axis_of(node.int("axis")?.unwrap_or(0), from.shape.len())?;
    let size = from.shape[axis];
    let indices: Vec<usize> = (asked
        .integers()
        .ok_or("its indices are not integers")?
        .iter())
    .map(|&index| axis_of(index, size))
    .collect::<Step<_>>()
    .map_err(|_| format!("its indices pass the {size} places of axis {axis}"))?;
    let mut shape = from.shape[..axis].to_vec();
    shape.extend(&asked.shape);
    shape.extend(&from.shape[axis + 1..]);
    allowed(node, &shape)?;
    let outer: usize = from.shape[..axis].iter().product();
    let inner: usize = from.shape[axis + 1..].iter().product();
    let places = (0..outer).flat_map(|row| {
        (indices.iter()).flat_map(move |index| {
            let first = (row * size + index) * inner;
            first..first + inner
        })
    });
    let numbers = taken(&from.numbers, places);
    Ok(Constant { shape, numbers })
}

pub(crate) fn concat(node: &Node<'_>) -> Step<Constant> {
    let parts: Vec<&Constant> = (0..node.inputs.len())
        .map(|nth| node.constant(nth))
        .collect::<Step<_>>()?;
    let first = *parts.first().ok_or("it has no inputs")?;
    let axis = axis_of(
        node.int("axis")?.ok_or("it has no axis")?,
        first.shape.len(),
    )?;
    let mut shape = first.shape.clone();
    for part in &parts[1..] {
        let alike = part.shape.len() == shape.len()
            && (0..shape.len()).all(|other| other == axis || part.shape[other] == shape[other]);
        if !alike {
            let (there, shape) = (&part.shape, &first.shape);
            return Err(format!("shapes {shape:?} and {there:?} do not go together").into());
        }
        shape[axis] = shape[axis].saturating_add(part.shape[axis]);
    }
    allowed(node, &shape)?;
    let outer: usize = shape[..axis].iter().product();
    let pieces = (0..outer).flat_map(|row| {
        parts.iter().map(move |part| {
            let width: usize = part.shape[axis..].iter().product();
            (*part, row * width..(row + 1) * width)
        })
    });
    let numbers = match &first.numbers {
        Numbers::Floats(_, dtype) => {
            let mut values = Vec::new();
            for (part, piece) in pieces {
                values.extend(&part.floats().ok_or("its inputs are of two types")?[piece]);
            }
            Numbers::Floats(values, *dtype)
        }
        Numbers::Integers(_) => {
            let mut values = Vec::new();
            for (part, piece) in pieces {
                values.extend(&part.integers().ok_or("its inputs are of two types")?[piece]);
            }
            Numbers::Integers(values)
        }
    };
    Ok(Constant { shape, numbers })
}
