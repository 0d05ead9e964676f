//! Small dense matrices in f64, row-major, for key constants.

use zeroize::Zeroizing;

/// The n x n identity.
pub(crate) fn identity(n: usize) -> Vec<f64> {
    (0..n * n)
        .map(|i| if i / n == i % n { 1.0 } else { 0.0 })
        .collect()
}

/// The product of two n x n matrices.
pub(crate) fn multiply(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    (0..n * n)
        .map(|e| (0..n).map(|l| a[e / n * n + l] * b[l * n + e % n]).sum())
        .collect()
}

/// The transpose of an n x n matrix.
pub(crate) fn transpose(a: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|e| a[e % n * n + e / n]).collect()
}

/// The inverse of a well-conditioned n x n matrix, by Gauss-Jordan elimination with row pivoting.
pub(crate) fn invert(a: &[f64], n: usize) -> Vec<f64> {
    let mut left = Zeroizing::new(a.to_vec());
    let mut right = identity(n);
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|&i, &j| {
                left[i * n + column]
                    .abs()
                    .total_cmp(&left[j * n + column].abs())
            })
            .unwrap_or(column);
        for e in 0..n {
            left.swap(column * n + e, pivot * n + e);
            right.swap(column * n + e, pivot * n + e);
        }
        let scale = 1.0 / left[column * n + column];
        for e in 0..n {
            left[column * n + e] *= scale;
            right[column * n + e] *= scale;
        }
        for row in (0..n).filter(|&r| r != column) {
            let factor = left[row * n + column];
            for e in 0..n {
                left[row * n + e] -= factor * left[column * n + e];
                right[row * n + e] -= factor * right[column * n + e];
            }
        }
    }
    right
}

/// An orthogonal matrix from the columns of `a`, by Gram-Schmidt done twice.
pub(crate) fn orthogonalise(a: &[f64], n: usize) -> Vec<f64> {
    let mut rows = transpose(a, n);
    // A second pass takes off what rounding left of the first.
    for _ in 0..2 {
        for i in 0..n {
            for j in 0..i {
                let dot: f64 = (0..n).map(|e| rows[i * n + e] * rows[j * n + e]).sum();
                for e in 0..n {
                    rows[i * n + e] -= dot * rows[j * n + e];
                }
            }
            let norm = (0..n).map(|e| rows[i * n + e].powi(2)).sum::<f64>().sqrt();
            rows[i * n..(i + 1) * n].iter_mut().for_each(|x| *x /= norm);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_and_orthogonal() {
        let a = [2.0, 1.0, 0.0, 0.0, 0.5, 3.0, 1.0, -1.0, 0.25];
        for (x, y) in multiply(&a, &invert(&a, 3), 3).iter().zip(identity(3)) {
            assert!((x - y).abs() < 1e-14);
        }
        let q = orthogonalise(&a, 3);
        for (x, y) in multiply(&q, &transpose(&q, 3), 3).iter().zip(identity(3)) {
            assert!((x - y).abs() < 1e-14);
        }
    }
}
