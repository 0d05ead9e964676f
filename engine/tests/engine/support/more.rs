//! MORE on n x n matrices, straight from its definition: `C = S diag(m, r_1 .. r_{n-1}) S^-1`.
//!
//! A secret key shows its S to nobody, but the evaluation key is enough to rebuild the scheme: its
//! generator Z has the columns of S as eigenvectors, in the order of its roots. What stays unknown
//! is which column belongs to the message, so this oracle speaks of slots, in the roots' order.

use furthermore::Algebra;
use furthermore::scheme::EvaluationKey;
use furthermore::tensor::{Ciphertext, DType};

use super::Law;
use super::setup::coordinates;

/// A small square matrix, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matrix {
    pub(crate) n: usize,
    pub(crate) entries: Vec<f64>,
}

impl Matrix {
    pub(crate) fn new(n: usize, entries: &[f64]) -> Self {
        assert_eq!(entries.len(), n * n);
        let entries = entries.to_vec();
        Self { n, entries }
    }

    pub(crate) fn diagonal(values: &[f64]) -> Self {
        let n = values.len();
        let mut entries = vec![0.0; n * n];
        for (i, &value) in values.iter().enumerate() {
            entries[i * n + i] = value;
        }
        Self { n, entries }
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        self.entries[row * self.n + column]
    }

    pub(crate) fn times(&self, other: &Matrix) -> Matrix {
        let n = self.n;
        let mut entries = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                for l in 0..n {
                    entries[i * n + j] += self.at(i, l) * other.at(l, j);
                }
            }
        }
        Matrix { n, entries }
    }

    pub(crate) fn plus(&self, other: &Matrix) -> Matrix {
        let sums = self.entries.iter().zip(&other.entries);
        let entries = sums.map(|(a, b)| a + b).collect();
        Matrix { n: self.n, entries }
    }

    pub(crate) fn scaled(&self, factor: f64) -> Matrix {
        let entries = self.entries.iter().map(|x| factor * x).collect();
        Matrix { n: self.n, entries }
    }

    pub(crate) fn max_abs(&self) -> f64 {
        self.entries.iter().fold(0.0, |m: f64, x| m.max(x.abs()))
    }

    /// Elimination with row pivoting on `[self | right]`: the solution X of `self X = right`, and
    /// the determinant of `self`.
    fn eliminate(&self, mut right: Vec<f64>) -> (Vec<f64>, f64) {
        let n = self.n;
        let mut left = self.entries.clone();
        let mut determinant = 1.0;
        for column in 0..n {
            let mut pivot = column;
            for row in column + 1..n {
                if left[row * n + column].abs() > left[pivot * n + column].abs() {
                    pivot = row;
                }
            }
            if pivot != column {
                determinant = -determinant;
                for e in 0..n {
                    left.swap(pivot * n + e, column * n + e);
                    right.swap(pivot * n + e, column * n + e);
                }
            }
            let head = left[column * n + column];
            determinant *= head;
            if head == 0.0 {
                return (right, 0.0);
            }
            for row in 0..n {
                if row == column {
                    continue;
                }
                let factor = left[row * n + column] / head;
                for e in 0..n {
                    left[row * n + e] -= factor * left[column * n + e];
                    right[row * n + e] -= factor * right[column * n + e];
                }
            }
        }
        for row in 0..n {
            for e in 0..n {
                right[row * n + e] /= left[row * n + row];
            }
        }
        (right, determinant)
    }

    pub(crate) fn determinant(&self) -> f64 {
        self.eliminate(vec![0.0; self.n * self.n]).1
    }

    pub(crate) fn inverse(&self) -> Matrix {
        let identity = Matrix::diagonal(&vec![1.0; self.n]);
        let (entries, determinant) = self.eliminate(identity.entries);
        assert!(determinant != 0.0, "a singular matrix has no inverse");
        Matrix { n: self.n, entries }
    }
}

/// T_0(x) .. T_{n-1}(x), Chebyshev polynomials by their definition on the circle. Arguments may
/// pass 1 by rounding.
fn chebyshev(x: f64, n: usize) -> Vec<f64> {
    let angle = x.clamp(-1.0, 1.0).acos();
    (0..n).map(|k| (k as f64 * angle).cos()).collect()
}

/// The scheme under one key, as far as the public may know it.
pub(crate) struct More {
    pub(crate) n: usize,
    pub(crate) roots: Vec<f64>,
    s: Matrix,
    s_inverse: Matrix,
    /// Chebyshev polynomials at the roots: compact coordinates to slots.
    evaluate: Matrix,
    interpolate: Matrix,
}

impl More {
    pub(crate) fn of(key: &EvaluationKey) -> Self {
        let (n, roots) = (key.slots(), key.roots().to_vec());
        let z = Matrix::new(n, key.generator());
        let mut s = vec![0.0; n * n];
        for k in 0..n {
            // Every column of prod_{j != k} (Z - v_j I) is a multiple of eigenvector k.
            let mut product = Matrix::diagonal(&vec![1.0; n]);
            for j in (0..n).filter(|&j| j != k) {
                let shift = Matrix::diagonal(&vec![-roots[j]; n]);
                product = product.times(&z.plus(&shift));
            }
            let length = |c: usize| (0..n).map(|r| product.at(r, c).powi(2)).sum::<f64>().sqrt();
            let longest = (0..n).max_by(|&a, &b| length(a).total_cmp(&length(b)));
            let column = longest.expect("a matrix has columns");
            for row in 0..n {
                s[row * n + k] = product.at(row, column) / length(column);
            }
        }
        let s = Matrix::new(n, &s);
        let rows: Vec<f64> = roots.iter().flat_map(|&v| chebyshev(v, n)).collect();
        let evaluate = Matrix::new(n, &rows);
        Self {
            n,
            roots,
            s_inverse: s.inverse(),
            s,
            interpolate: evaluate.inverse(),
            evaluate,
        }
    }

    /// `S diag(slots) S^-1`.
    pub(crate) fn encrypt(&self, slots: &[f64]) -> Matrix {
        self.s
            .times(&Matrix::diagonal(slots))
            .times(&self.s_inverse)
    }

    /// The diagonal of `S^-1 C S`.
    pub(crate) fn decrypt(&self, c: &Matrix) -> Vec<f64> {
        let d = self.s_inverse.times(c).times(&self.s);
        (0..self.n).map(|k| d.at(k, k)).collect()
    }

    /// An element's coordinates in `algebra`.
    pub(crate) fn coordinates(&self, algebra: Algebra, slots: &[f64]) -> Vec<f64> {
        match algebra {
            Algebra::Blocks(_) => self.encrypt(slots).entries,
            _ => apply(&self.interpolate, slots),
        }
    }

    /// An element's slots from its coordinates in `algebra`.
    pub(crate) fn slots(&self, algebra: Algebra, coordinates: &[f64]) -> Vec<f64> {
        match algebra {
            Algebra::Blocks(n) => self.decrypt(&Matrix::new(n, coordinates)),
            _ => apply(&self.evaluate, coordinates),
        }
    }

    /// A tensor's slots, `[slot][element]`.
    pub(crate) fn slots_of(&self, ciphertext: &Ciphertext) -> Vec<Vec<f64>> {
        let algebra = ciphertext.algebra();
        let elements: Vec<Vec<f64>> = coordinates(ciphertext)
            .iter()
            .map(|element| self.slots(algebra, element))
            .collect();
        let slot = |k: usize| elements.iter().map(|slots| slots[k]).collect();
        (0..self.n).map(slot).collect()
    }

    /// The error law of computations in `algebra` under this key.
    pub(crate) fn law(&self, algebra: Algebra, dtype: DType) -> Law {
        Law::new(dtype, self.n, self.amplification(algebra))
    }

    /// The largest row sum of |to_slots| |from_slots|: what a rounding error can grow by on the way
    /// from slots to coordinates and back.
    fn amplification(&self, algebra: Algebra) -> f64 {
        let n = self.n;
        // Slot k of the element that is 1 in slot j and 0 elsewhere, all terms made positive.
        let unit = |j: usize| {
            let slots: Vec<f64> = (0..n).map(|k| f64::from(u8::from(k == j))).collect();
            self.coordinates(algebra, &slots)
        };
        let columns: Vec<Vec<f64>> = (0..n).map(unit).collect();
        let row_sum = |k: usize| {
            let mut sum = 0.0;
            for column in &columns {
                for (i, x) in column.iter().enumerate() {
                    let weight = match algebra {
                        Algebra::Blocks(_) => self.s_inverse.at(k, i / n) * self.s.at(i % n, k),
                        _ => self.evaluate.at(k, i),
                    };
                    sum += (weight * x).abs();
                }
            }
            sum
        };
        (0..n).map(row_sum).fold(1.0, f64::max)
    }
}

fn apply(matrix: &Matrix, vector: &[f64]) -> Vec<f64> {
    let row = |i: usize| (0..matrix.n).map(|j| matrix.at(i, j) * vector[j]).sum();
    (0..matrix.n).map(row).collect()
}
