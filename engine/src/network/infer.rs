//! Shapes of a network's values for one batch size.

use furthermore_kernels_cpu::block_matmul::MatmulShape;

use super::{Network, Op, Value};
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
        m,
        k,
        n,
        transpose_a,
        transpose_b,
    })
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
        (Op::Input { shape }, []) => Ok(std::iter::once(batch)
            .chain(shape.iter().copied())
            .collect::<Vec<_>>()
            .into()),
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
