//! How many planes each value has: one for plaintext, the algebra's for ciphertexts and, of graded
//! polynomials, as many as their degree takes.

use furthermore_kernels_cpu::pool::Pool;

use crate::algebra::{Algebra, MAX_DEGREE};
use crate::error::{Error, Result};
use crate::network::{Network, Op, Value};
use crate::plan::{CompileOptions, Reduction};
use crate::tensor::{DType, Shape};

/// The largest degree that leaves digits of a message: in single precision 1e-2 of one is an error
/// after four squarings, in double precision planes run out first.
fn degree_limit(dtype: DType) -> usize {
    match dtype {
        DType::F32 => 16,
        DType::F64 => MAX_DEGREE,
    }
}

/// The planes of each value that is `live`.
///
/// # Errors
/// When graded ciphertexts meet an operation that no sum and no product computes, or a degree passes
/// what they bear.
pub(super) fn planes(
    network: &Network,
    options: &CompileOptions,
    shapes: &[Shape],
    encrypted: &[bool],
    live: &[bool],
) -> Result<Vec<usize>> {
    let Algebra::Graded(fresh) = options.algebra else {
        let planes = |encrypted: &bool| match encrypted {
            true => options.algebra.dim(),
            false => 1,
        };
        return Ok(encrypted.iter().map(planes).collect());
    };
    // Of plaintext it is 0.
    let mut degrees = vec![0; encrypted.len()];
    for value in network.values().filter(|v| live[v.0] && encrypted[v.0]) {
        let degree = degree(network, value, fresh, shapes, &degrees)?;
        let limit = degree_limit(options.dtype);
        if degree > limit {
            return Err(Error::Degree {
                operation: network.node(value).name.clone(),
                degree,
                limit,
                dtype: options.dtype,
            });
        }
        degrees[value.0] = degree;
    }
    let planes = |degree: &usize| match degree {
        0 => 1,
        &degree => Algebra::Graded(degree).dim(),
    };
    Ok(degrees.iter().map(planes).collect())
}

/// The degree of an encrypted value.
fn degree(
    network: &Network,
    value: Value,
    fresh: usize,
    shapes: &[Shape],
    degrees: &[usize],
) -> Result<usize> {
    let node = network.node(value);
    let refuse = |reason: &str| {
        Err(Error::Operation {
            operation: node.name.clone(),
            reason: reason.to_owned(),
        })
    };
    let of = |nth: usize| node.operands.get(nth).map_or(0, |v| degrees[v.0]);
    let highest = node.operands.iter().map(|v| degrees[v.0]).max();
    Ok(match &node.op {
        Op::Input { .. } | Op::Parameter { .. } => fresh,
        Op::MatMul { .. } | Op::Multiply => of(0).saturating_add(of(1)),
        Op::Conv2d(_) => {
            let product = of(0).saturating_add(of(1));
            if of(2) > product {
                return refuse("its bias is of a higher degree than the convolution");
            }
            product
        }
        Op::Polynomial { constants } => {
            if constants.is_none() && of(1) > 0 {
                return refuse(
                    "its coefficients are encrypted, and graded ciphertexts take plaintext ones",
                );
            }
            let terms = match constants {
                Some(constants) => constants.len(),
                None => (node.operands.get(1)).map_or(0, |v| shapes[v.0].iter().product()),
            };
            if terms < 2 {
                return refuse("it is a constant, which is no ciphertext of any degree");
            }
            of(0).saturating_mul(terms - 1)
        }
        Op::Linear { .. }
        | Op::Scale { .. }
        | Op::Reshape { .. }
        | Op::Expand { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::SliceGradient { .. }
        | Op::Pad { .. } => highest.unwrap_or(fresh),
        Op::Reduce { reduction, .. } if *reduction != Reduction::Max => of(0),
        Op::Pool { pool, .. } if *pool != Pool::Max => of(0),
        _ => {
            return refuse(
                "graded ciphertexts can only be added and multiplied: a polynomial has to stand for it",
            );
        }
    })
}
