//! The public key: what an engine needs to compute, and nothing tells which slot is the message.

use std::fmt;

use furthermore_kernels_cpu::Arithmetic;
use serde::{Deserialize, Serialize};

use super::stored::StoredEvaluationKey;
use crate::algebra::{self, Algebra};
use crate::error::{Error, Result};

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
/// Through serde it is `{"id", "roots", "generator"}`, held to what keys are drawn by when it is read.
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
}

impl EvaluationKey {
    pub(super) fn new(id: KeyId, roots: Vec<f64>, generator: Vec<f64>) -> Self {
        Self {
            id,
            roots,
            generator,
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

    /// The arithmetic of `algebra` in this key's constants.
    ///
    /// # Errors
    /// When the algebra has another number of slots.
    pub fn arithmetic(&self, algebra: Algebra) -> Result<Arithmetic> {
        self.check(algebra)?;
        Ok(match algebra {
            Algebra::Real => Arithmetic::real(),
            Algebra::Compact(_) => algebra::compact(&self.roots),
            Algebra::Blocks(_) => algebra::blocks(&self.roots, &self.generator),
        })
    }

    /// The matrix that takes coordinates in `from` to coordinates in `to`.
    ///
    /// # Errors
    /// When either algebra has another number of slots.
    pub fn conversion(&self, from: Algebra, to: Algebra) -> Result<Vec<f64>> {
        let (from, to) = (self.arithmetic(from)?, self.arithmetic(to)?);
        let (rows, columns, n) = (to.dim(), from.dim(), self.slots());
        let entry = |e: usize| {
            (0..n)
                .map(|k| {
                    to.from_slots()[e / columns * n + k]
                        * from.to_slots()[k * columns + e % columns]
                })
                .sum()
        };
        Ok((0..rows * columns).map(entry).collect())
    }

    /// # Errors
    /// When `algebra` is no ciphertext algebra of this key.
    pub(crate) fn check(&self, algebra: Algebra) -> Result<()> {
        if algebra != Algebra::Real && algebra.slots() == self.slots() {
            return Ok(());
        }
        let needs = match algebra {
            Algebra::Real => "no key: it is the plaintext algebra".to_owned(),
            _ => format!(
                "a key of {} slots, and key {} has {}",
                algebra.slots(),
                self.id,
                self.slots()
            ),
        };
        Err(Error::NoKey { algebra, needs })
    }
}
