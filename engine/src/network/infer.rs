//! Shapes of a network's values for one batch size.

use std::ops::Range;

use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::poly_map::MAX_TERMS;
use furthermore_kernels_cpu::reduce::Axis;

use super::{Network, Op, Value, conv2d_shape, pool_shape};
use crate::error::{Error, Result};
use crate::tensor::Shape;

impl Network {
    /// The shape of every value when inputs have `batch` samples.
    ///
    /// # Errors
    /// When operands do not go together, naming the operation.
    pub fn shapes(&self, batch: usize) -> Result<Vec<Shape>> {
        let mut shapes = Vec::with_capacity(self.nodes().len());
        self.infer(batch, &mut shapes)?;
        Ok(shapes)
    }

    /// Adds the shapes of values that are not in `shapes` yet.
    ///
    /// # Errors
    /// As [`Network::shapes`].
    pub(crate) fn infer(&self, batch: usize, shapes: &mut Vec<Shape>) -> Result<()> {
        for node in &self.nodes()[shapes.len().min(self.nodes().len())..] {
            let operands: Vec<&Shape> = node.operands.iter().map(|v| &shapes[v.0]).collect();
            let shape =
                result_shape(&node.op, &operands, batch).map_err(|reason| Error::Operation {
                    operation: node.name.clone(),
                    reason,
                })?;
            shape.elements().map_err(|_| Error::TooLarge {
                what: node.name.clone(),
                shape: shape.clone(),
            })?;
            shapes.push(shape);
        }
        Ok(())
    }

    /// The shapes of values when the batch is not known: two samples, so that no axis that grows with
    /// the batch passes for one of size 1, or one where the network takes no more.
    pub(crate) fn sample_shapes(&self) -> Result<Vec<Shape>> {
        self.shapes(2).or_else(|_| self.shapes(1))
    }

    /// The shape of a value when the batch is not known, as [`Network::sample_shapes`] has it.
    pub(crate) fn shape(&mut self, value: Value) -> Result<Shape> {
        // Kept from call to call, or building a network would take time by its square.
        let mut sampled = std::mem::take(&mut self.sampled);
        let inferred = self.infer(2, &mut sampled);
        self.sampled = sampled;
        if let (Ok(()), Some(shape)) = (inferred, self.sampled.get(value.0)) {
            return Ok(shape.clone());
        }
        let mut shapes = self.sample_shapes()?;
        if value.0 >= shapes.len() {
            return Err(Error::Operation {
                operation: "shape".to_owned(),
                reason: "a value is not one of this network".to_owned(),
            });
        }
        Ok(shapes.swap_remove(value.0))
    }
}

/// Sizes of the matrix product of two shapes, and the product's shape.
pub(crate) fn matmul_shape(
    a: &Shape,
    b: &Shape,
    transpose_a: bool,
    transpose_b: bool,
) -> Result<(MatmulShape, Shape), String> {
    let (Some((leading, &[ar, ac])), Some((of_b, &[br, bc]))) =
        (a.split_last_chunk::<2>(), b.split_last_chunk::<2>())
    else {
        return Err(format!(
            "a matrix product needs two matrices, not {a} and {b}"
        ));
    };
    let (rows, k) = if transpose_a { (ac, ar) } else { (ar, ac) };
    let (kb, n) = if transpose_b { (bc, br) } else { (br, bc) };
    if k != kb {
        let t = |transposed: bool| if transposed { " transposed" } else { "" };
        return Err(format!(
            "{a}{} and {b}{} cannot be multiplied: depths {k} and {kb} differ",
            t(transpose_a),
            t(transpose_b)
        ));
    }
    let (batch, m) = if leading == of_b {
        (elements(leading), rows)
    } else if of_b.is_empty() && !transpose_a {
        // One matrix for all: their rows are rows of one product.
        (1, elements(leading).saturating_mul(rows))
    } else {
        return Err(format!(
            "{a} and {b} cannot be multiplied: their axes before the last two differ"
        ));
    };
    let shape = MatmulShape {
        batch,
        m,
        k,
        n,
        transpose_a,
        transpose_b,
    };
    let product: Vec<usize> = leading.iter().copied().chain([rows, n]).collect();
    Ok((shape, product.into()))
}

/// The shape to which two operands repeat.
pub(crate) fn broadcast_shape(a: &Shape, b: &Shape) -> Result<Shape, String> {
    let rank = a.len().max(b.len());
    let size = |shape: &Shape, axis: usize| {
        let missing = rank - shape.len();
        axis.checked_sub(missing).map_or(1, |axis| shape[axis])
    };
    let sizes = (0..rank).map(|axis| match (size(a, axis), size(b, axis)) {
        (x, y) if x == y => Ok(x),
        (1, other) | (other, 1) => Ok(other),
        _ => Err(format!(
            "shapes {a} and {b} differ along an axis where neither has size 1"
        )),
    });
    Ok(sizes.collect::<Result<Vec<usize>, String>>()?.into())
}

/// The axes from `axes` on reduced: elements before, along and after them.
pub(crate) fn reduced_axis(x: &Shape, axes: &Range<usize>) -> Result<Axis, String> {
    let (Some(outer), Some(length), Some(inner)) =
        (x.get(..axes.start), x.get(axes.clone()), x.get(axes.end..))
    else {
        let (first, past) = (axes.start, axes.end);
        return Err(format!("{x} has no axes {first} up to {past}"));
    };
    Ok(Axis {
        outer: elements(outer),
        length: elements(length),
        inner: elements(inner),
    })
}

/// Elements of these sizes; no tensor has as many as this saturates at.
fn elements(sizes: &[usize]) -> usize {
    sizes.iter().copied().fold(1, usize::saturating_mul)
}

fn with_batch(batch: usize, sample: &Shape) -> Shape {
    let sizes: Vec<usize> = std::iter::once(batch)
        .chain(sample.iter().copied())
        .collect();
    sizes.into()
}

fn same(a: &Shape, b: &Shape) -> Result<Shape, String> {
    if a == b {
        Ok(a.clone())
    } else {
        Err(format!("shapes {a} and {b} differ"))
    }
}

fn result_shape(op: &Op, operands: &[&Shape], batch: usize) -> Result<Shape, String> {
    match (op, operands) {
        (Op::Input { shape }, []) => Ok(with_batch(batch, shape)),
        (Op::DropoutMask { shape, .. }, []) => Ok(with_batch(batch, shape)),
        (Op::Parameter { shape, .. } | Op::State { shape } | Op::Constant { shape, .. }, []) => {
            Ok(shape.clone())
        }
        (
            Op::MatMul {
                transpose_a,
                transpose_b,
            },
            [a, b],
        ) => matmul_shape(a, b, *transpose_a, *transpose_b).map(|(_, product)| product),
        (Op::Linear { .. } | Op::Multiply | Op::Divide, [a, b]) => broadcast_shape(a, b),
        (Op::Scale { .. } | Op::Map { .. } | Op::Clip { .. }, [x]) => Ok((*x).clone()),
        (Op::MapGradient { .. } | Op::SoftmaxGradient { .. }, [a, b]) => same(a, b),
        (
            Op::Polynomial { .. }
            | Op::PolynomialGradient { .. }
            | Op::PolynomialCoefficientGradient { .. },
            _,
        ) => polynomial(op, operands),
        (
            Op::Reduce { .. } | Op::MaxGradient { .. } | Op::Softmax { .. } | Op::Expand { .. },
            [x, rest @ ..],
        ) => along_axes(op, x, rest),
        (
            Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::SliceGradient { .. }
            | Op::Pad { .. },
            [x, rest @ ..],
        ) => moved(op, x, rest),
        (Op::Conv2d(convolution), [x, weights, bias @ ..]) if bias.len() <= 1 => {
            let shape = conv2d_shape(x, weights, convolution)?;
            if let [bias] = bias
                && ***bias != [shape.out_channels]
            {
                let channels = shape.out_channels;
                return Err(format!(
                    "a bias of shape {bias} does not fit {channels} channels"
                ));
            }
            let [rows, columns] = shape.output();
            Ok([shape.batch, shape.out_channels, rows, columns].into())
        }
        (Op::Conv2dGradientInput { convolution, input }, [gradient, weights]) => {
            match (&***gradient, &***weights) {
                (&[batch, ..], &[_, depth, ..]) => {
                    let shape: Shape =
                        [batch, depth * convolution.groups, input[0], input[1]].into();
                    conv2d_shape(&shape, weights, convolution).map(|_| shape)
                }
                _ => Err(format!("{gradient} is no gradient of images")),
            }
        }
        (
            Op::Conv2dGradientWeights {
                convolution,
                kernel,
            },
            [x, gradient],
        ) => match (&***x, &***gradient) {
            (&[_, ins, ..], &[_, outs, ..]) => {
                let depth = ins / convolution.groups.max(1);
                let shape: Shape = [outs, depth, kernel[0], kernel[1]].into();
                conv2d_shape(x, &shape, convolution).map(|_| shape)
            }
            _ => Err(format!("{gradient} is no gradient of images")),
        },
        (Op::Conv2dGradientBias, [x]) => match ***x {
            [_, channels, _, _] => Ok([channels].into()),
            _ => Err(format!("{x} has no channels")),
        },
        (Op::Pool { window, .. }, [x]) => {
            let shape = pool_shape(x, window)?;
            let [rows, columns] = shape.output();
            Ok([shape.batch, shape.channels, rows, columns].into())
        }
        (Op::PoolGradient { window, .. }, [x, _]) => pool_shape(x, window).map(|_| (*x).clone()),
        (Op::SoftmaxCrossEntropy, [logits, targets]) if logits.len() == 2 => {
            same(logits, targets).map(|_| Shape::default())
        }
        (Op::SoftmaxCrossEntropyGradient, [logits, targets]) if logits.len() == 2 => {
            same(logits, targets)
        }
        (Op::SoftmaxCrossEntropy | Op::SoftmaxCrossEntropyGradient, [logits, _]) => {
            Err(format!("logits of shape {logits} are not a matrix"))
        }
        (Op::MeanSquaredError | Op::BinaryCrossEntropy, [a, b]) => {
            same(a, b).map(|_| Shape::default())
        }
        (Op::MeanSquaredErrorGradient | Op::BinaryCrossEntropyGradient, [a, b]) => same(a, b),
        (Op::MovingAverage { .. }, [average, of]) => same(average, of),
        (Op::Step(optimizer), [gradient, stepped @ ..])
            if stepped.len() == 1 + optimizer.states().len() =>
        {
            let mut stepped = stepped.iter();
            stepped.try_fold((*gradient).clone(), |shape, other| same(&shape, other))
        }
        _ => not_taken(operands.len()),
    }
}

fn not_taken(operands: usize) -> Result<Shape, String> {
    Err(format!("it does not take {operands} operands"))
}

/// Polynomials and their gradients.
fn polynomial(op: &Op, operands: &[&Shape]) -> Result<Shape, String> {
    let terms = |terms: usize| match terms {
        1..=MAX_TERMS => Ok(()),
        _ => Err(format!(
            "{terms} coefficients are not between 1 and {MAX_TERMS}"
        )),
    };
    let shape = |x: &Shape, coefficients: &Shape| match coefficients[..] {
        [count] => terms(count).map(|()| x.clone()),
        _ => Err(format!("coefficients of shape {coefficients} are no row")),
    };
    match (op, operands) {
        (Op::Polynomial { constants: Some(c) }, [x]) => terms(c.len()).map(|()| (*x).clone()),
        (Op::Polynomial { constants: None }, [x, c]) => shape(x, c),
        (Op::PolynomialGradient { constants: Some(_) }, [x, g]) => same(x, g),
        (Op::PolynomialGradient { constants: None }, [x, c, g]) => {
            shape(x, c).and_then(|x| same(&x, g))
        }
        (Op::PolynomialCoefficientGradient { terms: count }, [g, x]) => {
            terms(*count)?;
            same(g, x).map(|_| [*count].into())
        }
        _ => not_taken(operands.len()),
    }
}

/// What goes along axes, from the first operand and the others.
fn along_axes(op: &Op, x: &Shape, rest: &[&Shape]) -> Result<Shape, String> {
    match (op, rest) {
        (Op::Reduce { axes, keep, .. }, []) => {
            reduced_axis(x, axes)?;
            let kept = axes.clone().filter(|_| *keep).map(|_| 1);
            let (before, after) = (x[..axes.start].iter(), x[axes.end..].iter());
            let sizes = before.copied().chain(kept).chain(after.copied());
            Ok(sizes.collect::<Vec<usize>>().into())
        }
        (Op::MaxGradient { axes }, [gradient]) => {
            let reduced = reduced_axis(x, axes)?.reduced();
            match elements(gradient) == reduced {
                true => Ok(x.clone()),
                false => Err(format!("{gradient} is no gradient of a maximum of {x}")),
            }
        }
        (Op::Softmax { .. }, []) if x.is_empty() => Err("a single number has no axis".to_owned()),
        (Op::Softmax { .. }, []) => Ok(x.clone()),
        (Op::Expand { .. }, [like]) => match broadcast_shape(x, like) {
            Ok(shape) if shape == **like => Ok(shape),
            _ => Err(format!("{x} does not repeat to {like}")),
        },
        _ => not_taken(1 + rest.len()),
    }
}

/// What moves elements, from the first operand and the others.
fn moved(op: &Op, x: &Shape, rest: &[&Shape]) -> Result<Shape, String> {
    let has = |axis: usize| match axis < x.len() {
        true => Ok(()),
        false => Err(format!("{x} has no axis {axis}")),
    };
    let with = |axis: usize, size: usize| {
        let mut sizes = x.to_vec();
        sizes[axis] = size;
        Shape::from(sizes)
    };
    match (op, rest) {
        (Op::Reshape { shape, batch: true }, []) => match &x[..] {
            [batch, rest @ ..] if elements(rest) == elements(shape) => {
                Ok(with_batch(*batch, shape))
            }
            _ => Err(format!("{x} does not hold samples of shape {shape}")),
        },
        (Op::Reshape { shape, .. }, []) => match (elements(x), elements(shape)) {
            (all, sample @ 1..) if all.is_multiple_of(sample) => {
                Ok(with_batch(all / sample, shape))
            }
            _ => Err(format!("{x} is no number of samples of shape {shape}")),
        },
        (Op::Transpose { permutation }, []) => {
            let mut sorted = permutation.clone();
            sorted.sort_unstable();
            if !sorted.into_iter().eq(0..x.len()) {
                return Err(format!("{permutation:?} is no order of the axes of {x}"));
            }
            let sizes: Vec<usize> = permutation.iter().map(|&axis| x[axis]).collect();
            Ok(sizes.into())
        }
        (Op::Concat { axis }, _) => {
            has(*axis)?;
            let mut size = x[*axis];
            for other in rest {
                let alike = other.len() == x.len()
                    && (0..x.len()).all(|at| at == *axis || x[at] == other[at]);
                if !alike {
                    return Err(format!(
                        "{x} and {other} do not go together along axis {axis}"
                    ));
                }
                size = size.saturating_add(other[*axis]);
            }
            Ok(with(*axis, size))
        }
        (
            &Op::Slice {
                axis,
                start,
                step,
                len,
            },
            [],
        ) => {
            has(axis)?;
            within(start, step, len, x[axis])?;
            Ok(with(axis, len))
        }
        (
            &Op::SliceGradient {
                axis,
                start,
                step,
                size,
            },
            [],
        ) => {
            has(axis)?;
            within(start, step, x[axis], size)?;
            Ok(with(axis, size))
        }
        (Op::Pad { padding }, []) if padding.len() == x.len() => {
            let sizes = x
                .iter()
                .zip(padding)
                .map(|(&size, &[before, after])| size.saturating_add(before).saturating_add(after));
            Ok(sizes.collect::<Vec<usize>>().into())
        }
        (Op::Pad { padding }, []) => Err(format!(
            "padding of {} axes does not fit {x}",
            padding.len()
        )),
        _ => not_taken(1 + rest.len()),
    }
}

/// Whether `len` elements from `start` on, `step` apart, are among `size`.
fn within(start: usize, step: isize, len: usize, size: usize) -> Result<(), String> {
    let last = isize::try_from(len)
        .ok()
        .and_then(|len| step.checked_mul(len - 1))
        .and_then(|reach| start.checked_add_signed(reach));
    match last {
        Some(last) if len > 0 && step != 0 && start < size && last < size => Ok(()),
        _ => Err(format!(
            "there are no {len} elements from {start} on, {step} apart, among {size}"
        )),
    }
}
