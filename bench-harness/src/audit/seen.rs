//! What an engine sees of ciphertexts, and so does whoever looks at it.

use furthermore::tensor::Ciphertext;

use crate::error::Result;

/// Coordinates of ciphertexts, and the public part of the key.
pub(super) struct Seen {
    planes: Vec<Vec<f64>>,
    /// Eigenvalues of the public generator.
    pub(super) roots: Vec<f64>,
    /// Roots of the public polynomial, where there is one.
    pub(super) reduction: Vec<f64>,
}

impl Seen {
    /// # Errors
    /// When the ciphertexts are not in f32.
    pub(super) fn of(ciphertext: &Ciphertext) -> Result<Self> {
        Self::of_first(ciphertext, usize::MAX)
    }

    /// So many of them at most.
    ///
    /// # Errors
    /// When the ciphertexts are not in f32.
    pub(super) fn of_first(ciphertext: &Ciphertext, count: usize) -> Result<Self> {
        let planes = ciphertext.planes::<f32>()?;
        let plane = |i: usize| {
            let numbers = planes.plane(i).iter().take(count);
            numbers.map(|x| f64::from(*x)).collect()
        };
        Ok(Self {
            planes: (0..planes.count()).map(plane).collect(),
            roots: ciphertext.key().roots().to_vec(),
            reduction: ciphertext.key().reduction().to_vec(),
        })
    }

    /// How many ciphertexts.
    pub(super) fn len(&self) -> usize {
        self.planes[0].len()
    }

    /// Numbers of a ciphertext.
    pub(super) fn dim(&self) -> usize {
        self.planes.len()
    }

    /// One coordinate of every ciphertext.
    pub(super) fn plane(&self, i: usize) -> &[f64] {
        &self.planes[i]
    }

    /// All coordinates of one ciphertext.
    pub(super) fn one(&self, nth: usize) -> Vec<f64> {
        self.planes.iter().map(|plane| plane[nth]).collect()
    }
}
