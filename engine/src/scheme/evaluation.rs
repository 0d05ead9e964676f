//! The public key: what an engine needs to compute, and nothing tells which slot is the message.

use std::fmt;

use furthermore_kernels_cpu::Arithmetic;
use serde::{Deserialize, Serialize};

use super::stored::StoredEvaluationKey;
use crate::algebra::{self, Algebra};
use crate::error::{Error, Result};
use crate::linalg;

/// Names a key, so that ciphertexts under different keys are not mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(crate) u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The public generator Z = S diag(v) S^-1 of a key's algebra, with its eigenvalues.
///
/// Trace and determinant (for n = 2) give the eigenvalues as the roots of x^2 - tx + d, so keeping
/// them here gives nothing away that the scheme does not: they say which two values every
/// ciphertext holds, but not which of the two is the message.
///
/// Through serde it is `{"id", "roots", "generator"}`, with `"reduction"` where there is one, held to
/// what keys are drawn by when it is read.
/// The numbers keep every bit where the format keeps those of an f64 (in serde_json: its feature
/// `float_roundtrip`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredEvaluationKey", into = "StoredEvaluationKey")]
pub struct EvaluationKey {
    id: KeyId,
    /// Eigenvalues of Z, largest first.
    roots: Vec<f64>,
    /// Z, row-major.
    generator: Vec<f64>,
    /// Roots of the polynomial that reduced hybrid ciphertexts are taken by, largest first.
    reduction: Vec<f64>,
}

impl EvaluationKey {
    pub(super) fn new(
        id: KeyId,
        roots: Vec<f64>,
        generator: Vec<f64>,
        reduction: Vec<f64>,
    ) -> Self {
        Self {
            id,
            roots,
            generator,
            reduction,
        }
    }

    /// Its key's name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Slots of a ciphertext.
    pub fn slots(&self) -> usize {
        self.roots.len()
    }

    /// The eigenvalues of Z, largest first.
    pub fn roots(&self) -> &[f64] {
        &self.roots
    }

    /// The generator Z, n x n, row-major.
    pub fn generator(&self) -> &[f64] {
        &self.generator
    }

    /// The roots of the public polynomial g that reduced hybrid ciphertexts are taken by, largest
    /// first: one of them is the key's secret point. None where the key has no such polynomial.
    pub fn reduction(&self) -> &[f64] {
        &self.reduction
    }

    /// The arithmetic of `algebra` in this key's constants. That of [`Algebra::Graded`] is for
    /// polynomials of all degrees.
    ///
    /// # Errors
    /// When the algebra is for other keys.
    pub fn arithmetic(&self, algebra: Algebra) -> Result<Arithmetic> {
        self.check(algebra)?;
        Ok(match algebra {
            Algebra::Real => Arithmetic::real(),
            Algebra::Compact(_) => algebra::compact(&self.roots),
            Algebra::Blocks(_) => algebra::blocks(&self.roots, &self.generator),
            Algebra::Graded(_) => algebra::graded(&self.roots),
            Algebra::Reduced(_) => algebra::reduced(&self.roots, &self.reduction),
        })
    }

    /// The matrix that takes coordinates in `from` to coordinates in `to`: between Blocks and Compact,
    /// from graded hybrid polynomials to those of a higher degree, and to what is left of them modulo
    /// the key's public one.
    ///
    /// # Errors
    /// When either algebra is for other keys, or there is no such map.
    pub fn conversion(&self, from: Algebra, to: Algebra) -> Result<Vec<f64>> {
        self.check(from)?;
        self.check(to)?;
        match (from, to) {
            (Algebra::Graded(degree), Algebra::Reduced(_)) => Ok(self.reducing(degree)),
            (Algebra::Graded(from), Algebra::Graded(to)) if from <= to => {
                let (rows, columns) = (2 * (to + 1), 2 * (from + 1));
                let diagonal = |e| f64::from(u8::from(e / columns == e % columns));
                Ok((0..rows * columns).map(diagonal).collect())
            }
            (Algebra::Reduced(from), Algebra::Reduced(to)) if from == to => {
                Ok(linalg::identity(2 * (from + 1)))
            }
            (Algebra::Graded(_) | Algebra::Reduced(_), _)
            | (_, Algebra::Graded(_) | Algebra::Reduced(_)) => Err(Error::Operation {
                operation: "convert".to_owned(),
                reason: format!("no public map takes {from} to {to}"),
            }),
            _ => Ok(self.through_slots(&self.arithmetic(from)?, &self.arithmetic(to)?)),
        }
    }

    /// The matrix from polynomials of a degree to those that agree with them at the public roots.
    fn reducing(&self, degree: usize) -> Vec<f64> {
        let (count, given) = (self.reduction.len(), degree + 1);
        let back = linalg::invert(&algebra::powers(&self.reduction, count), count);
        let values = algebra::powers(&self.reduction, given);
        let entry = |e: usize| -> f64 {
            let (row, column) = (e / given, e % given);
            (0..count)
                .map(|root| back[row * count + root] * values[root * given + column])
                .sum()
        };
        let reduced: Vec<f64> = (0..count * given).map(entry).collect();
        algebra::kronecker(&reduced, &linalg::identity(2), [count, given], [2, 2])
    }

    /// From the coordinates of an algebra to slots, and from there to those of another.
    fn through_slots(&self, from: &Arithmetic, to: &Arithmetic) -> Vec<f64> {
        let (rows, columns, n) = (to.dim(), from.dim(), self.slots());
        let entry = |e: usize| {
            (0..n)
                .map(|k| {
                    to.from_slots()[e / columns * n + k]
                        * from.to_slots()[k * columns + e % columns]
                })
                .sum()
        };
        (0..rows * columns).map(entry).collect()
    }

    /// # Errors
    /// When `algebra` is no ciphertext algebra of this key.
    pub(crate) fn check(&self, algebra: Algebra) -> Result<()> {
        if !algebra.exists() {
            return Err(Error::UnknownAlgebra(algebra.to_string()));
        }
        let reduction = match algebra {
            Algebra::Reduced(degree) => degree + 1,
            _ => self.reduction.len(),
        };
        let needs = match algebra {
            Algebra::Real => "no key: it is the plaintext algebra".to_owned(),
            _ if algebra.key_slots() != self.slots() => format!(
                "a key of {} slots, and key {} has {}",
                algebra.key_slots(),
                self.id,
                self.slots()
            ),
            _ if reduction != self.reduction.len() => format!(
                "a key with a public polynomial of degree {reduction}, and key {} has {}",
                self.id,
                match self.reduction.len() {
                    0 => "none".to_owned(),
                    degree => format!("one of degree {degree}"),
                }
            ),
            _ => return Ok(()),
        };
        Err(Error::NoKey { algebra, needs })
    }
}
