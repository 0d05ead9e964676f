//! Linear equations in a handful of unknowns.

/// Solves `a x = b` for the row-major square matrix `a`, by elimination with the largest pivots; a
/// pivot of nothing is taken for the smallest that there is, so that a singular matrix gives its null
/// vector, long.
pub(super) fn solve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let n = b.len();
    let mut rows: Vec<Vec<f64>> = (0..n)
        .map(|i| [&a[i * n..(i + 1) * n], &b[i..=i]].concat())
        .collect();
    for at in 0..n {
        let largest = (at..n)
            .max_by(|i, j| rows[*i][at].abs().total_cmp(&rows[*j][at].abs()))
            .unwrap_or(at);
        rows.swap(at, largest);
        if rows[at][at] == 0.0 {
            rows[at][at] = f64::EPSILON;
        }
        let pivot = rows[at].clone();
        for (i, row) in rows.iter_mut().enumerate() {
            let factor = row[at] / pivot[at];
            if i != at {
                for (x, p) in row.iter_mut().zip(&pivot) {
                    *x -= factor * p;
                }
            }
        }
    }
    (0..n).map(|i| rows[i][n] / rows[i][i]).collect()
}

/// A vector that the nearly singular row-major matrix `a` takes to next to nothing: two steps of
/// inverse iteration.
pub(super) fn null_vector(a: &[f64], n: usize) -> Vec<f64> {
    let mut x = vec![1.0; n];
    for _ in 0..2 {
        x = solve(a, &x);
        let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        x.iter_mut().for_each(|x| *x /= length);
    }
    x
}

/// The row-major matrix `a` with rows and columns exchanged.
pub(super) fn transposed(a: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|e| a[e % n * n + e / n]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_solved() {
        let a = [0.0, 2.0, 1.0, 1.0, -1.0, 0.5, 3.0, 0.0, 2.0];
        let x = [1.0, -2.0, 0.25];
        let b: Vec<f64> = a
            .chunks(3)
            .map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum())
            .collect();
        for (found, x) in solve(&a, &b).iter().zip(x) {
            assert!((found - x).abs() < 1e-14);
        }
    }

    #[test]
    fn a_singular_matrix_gives_its_null_vector() {
        // Rows (1, 2) and (2, 4): (2, -1) over the root of 5.
        let x = null_vector(&[1.0, 2.0, 2.0, 4.0], 2);
        assert!(
            (x[0] + 2.0 * x[1]).abs() < 1e-12 && (x[0].abs() - 2.0 / 5f64.sqrt()).abs() < 1e-12
        );
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0], 2), [1.0, 3.0, 2.0, 4.0]);
    }
}
