//! Nodes whose inputs are all known are computed when the model is read: the integers of which shapes
//! are made, and weights that an exporter left in another form.

mod arithmetic;
mod arrange;

pub(crate) use arithmetic::{
    absolute, add, and, cast, ceil, divide, equal, exp, floor, greater, less, ln, maximum, minimum,
    modulo, multiply, negate, not, or, power, range, reciprocal, reduce_max, reduce_mean,
    reduce_min, reduce_product, reduce_sum, sqrt, subtract, where_,
};
pub(crate) use arrange::{
    concat, constant, constant_of_shape, expand, flatten, gather, reshape, slice, squeeze,
    transpose, unsqueeze,
};

use super::node::{Node, Step};
use super::tensor::{Constant, MOST_AXES, Numbers, elements};

/// Elements of a result, unless an operand has more: a few numbers may ask for any size.
const MOST_ELEMENTS: usize = 1 << 24;

/// Elements of a result, if a node may have so many.
fn allowed(node: &Node<'_>, shape: &[usize]) -> Step<usize> {
    let operands = node.inputs.iter().flatten().filter_map(|b| b.known());
    let most = (operands.map(Constant::len)).fold(MOST_ELEMENTS, usize::max);
    let axes = shape.len();
    if axes > MOST_AXES {
        return Err(format!("its result has {axes} axes, and up to {MOST_AXES} are taken").into());
    }
    match elements(shape) {
        Ok(count) if count <= most => Ok(count),
        _ => Err(format!("its result of shape {shape:?} has more than {most} elements").into()),
    }
}

/// The shape in which tensors meet, as numpy has it: axes are paired from the last on, and one of size
/// 1 repeats.
pub(crate) fn broadcast(shapes: &[&[usize]]) -> Step<Vec<usize>> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut met = vec![1; rank];
    for shape in shapes {
        for (to, &size) in met[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*to, size) {
                (_, 1) => {}
                (1, size) => *to = size,
                (there, size) if there == size => {}
                _ => return Err(format!("shapes {shapes:?} do not go together").into()),
            }
        }
    }
    Ok(met)
}

/// Steps along the axes of a row-major tensor.
fn strides(shape: &[usize]) -> Vec<isize> {
    let mut steps = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        steps[axis - 1] = steps[axis] * shape[axis] as isize;
    }
    steps
}

/// Steps in `from` along the axes of a shape that it repeats to.
fn repeating(from: &[usize], rank: usize) -> Vec<isize> {
    let mut steps = vec![0; rank];
    let own = strides(from);
    for (axis, step) in own.into_iter().enumerate() {
        if from[axis] != 1 {
            steps[rank - from.len() + axis] = step;
        }
    }
    steps
}

/// Where the elements of a row-major tensor of `shape` lie in another that is stepped through so.
struct Walk<'a> {
    shape: &'a [usize],
    steps: &'a [isize],
    index: Vec<usize>,
    at: isize,
    left: usize,
}

impl<'a> Walk<'a> {
    fn new(shape: &'a [usize], steps: &'a [isize], start: usize) -> Self {
        Self {
            shape,
            steps,
            index: vec![0; shape.len()],
            at: start as isize,
            left: shape.iter().product(),
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let here = self.at as usize;
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            self.at += self.steps[axis];
            if self.index[axis] < self.shape[axis] {
                break;
            }
            self.at -= self.steps[axis] * self.shape[axis] as isize;
            self.index[axis] = 0;
        }
        Some(here)
    }
}

/// The numbers at these places.
fn taken(numbers: &Numbers, places: impl Iterator<Item = usize>) -> Numbers {
    match numbers {
        Numbers::Floats(from, dtype) => {
            Numbers::Floats(places.map(|at| from[at]).collect(), *dtype)
        }
        Numbers::Integers(from) => Numbers::Integers(places.map(|at| from[at]).collect()),
    }
}
