//! Sizes along each axis, row-major.

use std::fmt;
use std::ops::Deref;

use crate::error::{Error, Result};

/// Sizes along each axis, outermost first. A shape without axes is one number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// Elements of a tensor of this shape.
    ///
    /// # Errors
    /// When there are more than can be addressed.
    pub fn elements(&self) -> Result<usize> {
        // Also without sizes of 0, so that the product of any axes of a shape that was looked at is one.
        self.0
            .iter()
            .try_fold(1usize, |product, &size| product.checked_mul(size.max(1)))
            // A plane's bytes, in up to 64 planes, have to stay addressable too.
            .filter(|&count| count <= isize::MAX as usize / 1024)
            .map(|count| if self.0.contains(&0) { 0 } else { count })
            .ok_or_else(|| Error::TooLarge {
                what: "tensor".to_owned(),
                shape: self.clone(),
            })
    }

    /// Size along the first axis: rows. One for a single number.
    pub fn rows(&self) -> usize {
        self.0.first().copied().unwrap_or(1)
    }

    /// Elements of one row.
    pub fn row_elements(&self) -> usize {
        // A tensor without rows may have rows of any size.
        let sizes = self.0.iter().skip(1);
        sizes.fold(1, |product: usize, &size| product.saturating_mul(size))
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<Vec<usize>> for Shape {
    fn from(sizes: Vec<usize>) -> Self {
        Self(sizes)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Self {
        Self(sizes.to_vec())
    }
}

impl From<&[usize]> for Shape {
    fn from(sizes: &[usize]) -> Self {
        Self(sizes.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
