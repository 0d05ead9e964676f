//! Shapes of a network's values for one batch size.

use furthermore_kernels_cpu::block_matmul::MatmulShape;

use super::{Network, Op, Value, conv2d_shape, pool_shape};
use crate::error::{Error, Result};
use crate::tensor::Shape;

impl Network {
    /// The shape of every value when inputs have `batch` samples.
    ///
    /// # Errors
    /// When operands do not go together, naming the operation.
    pub fn shapes(&self, batch: usize) -> Result<Vec<Shape>> {
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.nodes().len());
        for node in self.nodes() {
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
        Ok(shapes)
    }
}

/// Sizes of the matrix product of two shapes.
pub(crate) fn matmul_shape(
    a: &Shape,
    b: &Shape,
    transpose_a: bool,
    transpose_b: bool,
) -> Result<MatmulShape, String> {
    let (&[ar, ac], &[br, bc]) = (&**a, &**b) else {
        return Err(format!(
            "a matrix product needs two matrices, not {a} and {b}"
        ));
    };
    let (m, k) = if transpose_a { (ac, ar) } else { (ar, ac) };
    let (kb, n) = if transpose_b { (bc, br) } else { (br, bc) };
    if k != kb {
        let t = |transposed: bool| if transposed { " transposed" } else { "" };
        return Err(format!(
            "{a}{} and {b}{} cannot be multiplied: depths {k} and {kb} differ",
            t(transpose_a),
            t(transpose_b)
        ));
    }
    Ok(MatmulShape {
        batch: 1,
        m,
        k,
        n,
        transpose_a,
        transpose_b,
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
        (Op::Parameter { shape, .. } | Op::State { shape }, []) => Ok(shape.clone()),
        (
            Op::MatMul {
                transpose_a,
                transpose_b,
            },
            [a, b],
        ) => {
            let shape = matmul_shape(a, b, *transpose_a, *transpose_b)?;
            Ok([shape.m, shape.n].into())
        }
        (Op::Linear { .. }, [a, b]) => {
            if a.ends_with(b) {
                Ok((*a).clone())
            } else {
                Err(format!("shape {b} does not repeat along {a}"))
            }
        }
        (Op::Scale { .. } | Op::Map { .. }, [x]) => Ok((*x).clone()),
        (Op::Multiply | Op::MapGradient { .. }, [a, b]) => same(a, b),
        (Op::SumRows, [x]) => match &***x {
            [_, rest @ ..] => Ok(rest.into()),
            [] => Err("a single number has no rows to sum".to_owned()),
        },
        (Op::Reshape { shape }, [x]) => match &***x {
            [batch, rest @ ..] if elements(rest) == elements(shape) => {
                Ok(with_batch(*batch, shape))
            }
            _ => Err(format!("{x} does not hold samples of shape {shape}")),
        },
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
        (Op::MeanSquaredError, [a, b]) => same(a, b).map(|_| Shape::default()),
        (Op::MeanSquaredErrorGradient, [a, b]) => same(a, b),
        (Op::Sgd { .. }, [gradient, rest @ ..]) if matches!(rest.len(), 1 | 2) => rest
            .iter()
            .try_fold((*gradient).clone(), |shape, other| same(&shape, other)),
        _ => Err(format!("it does not take {} operands", operands.len())),
    }
}

/// Whether the second operand of a sum repeats along the first.
pub(crate) fn repeats(network: &Network, shapes: &[Shape], sum: Value) -> bool {
    let operands = &network.node(sum).operands;
    shapes[operands[0].0].len() > shapes[operands[1].0].len()
}
