//! Which algebra a ciphertext lives in, and its arithmetic in the constants of a key.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use furthermore_kernels_cpu::{Arithmetic, Bilinear, Combination, MAX_DIM, MAX_SLOTS, Term};

use crate::error::Error;
use crate::linalg;

/// How a ciphertext is stored and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algebra {
    /// Plaintext: one real number.
    Real,
    /// MORE as published: an n x n matrix, row-major (2 <= n <= 8).
    Blocks(usize),
    /// PORE: n coordinates in the Chebyshev basis of the key's generator Z; a + bZ for n = 2.
    Compact(usize),
    /// Hybrid MORE, graded: a polynomial of this degree with coefficients in Compact(2), whose value
    /// at the key's secret point is the message. Degrees add in a product (1 to 31).
    Graded(usize),
    /// Hybrid MORE, reduced: polynomials as those of [`Algebra::Graded`], modulo the key's public one,
    /// so that degrees stay (1 to 3).
    Reduced(usize),
}

/// Slots a key can have.
pub(crate) const SLOTS: RangeInclusive<usize> = 2..=8;

/// The largest degree of a graded polynomial: an element has at most [`MAX_DIM`] planes.
pub(crate) const MAX_DEGREE: usize = MAX_DIM / 2 - 1;

/// Degrees that polynomials modulo a public one can have.
pub(crate) const REDUCED: RangeInclusive<usize> = 1..=MAX_SLOTS / 2 - 1;

impl Algebra {
    /// Slots of an element: messages and masks together.
    ///
    /// A graded polynomial has those of each of its coefficients: only at its key's secret point is
    /// there a message.
    pub fn slots(self) -> usize {
        match self {
            Algebra::Real => 1,
            Algebra::Blocks(n) | Algebra::Compact(n) => n,
            Algebra::Graded(_) => 2,
            Algebra::Reduced(degree) => 2 * (degree + 1),
        }
    }

    /// Slots of the keys it is for.
    pub(crate) fn key_slots(self) -> usize {
        match self {
            Algebra::Graded(_) | Algebra::Reduced(_) => 2,
            other => other.slots(),
        }
    }

    /// Whether keys for it exist.
    pub(crate) fn exists(self) -> bool {
        match self {
            Algebra::Real => true,
            Algebra::Blocks(n) | Algebra::Compact(n) => SLOTS.contains(&n),
            Algebra::Graded(degree) => (1..=MAX_DEGREE).contains(&degree),
            Algebra::Reduced(degree) => REDUCED.contains(&degree),
        }
    }

    /// The algebra of a ciphertext that has so many planes where fresh ones have those of this one.
    pub(crate) fn with_planes(self, planes: usize) -> Self {
        match self {
            Algebra::Graded(_) => Algebra::Graded((planes / 2).saturating_sub(1)),
            other => other,
        }
    }

    /// Coordinates of an element: planes of a tensor.
    pub fn dim(self) -> usize {
        match self {
            Algebra::Real => 1,
            Algebra::Blocks(n) => n * n,
            Algebra::Compact(n) => n,
            Algebra::Graded(degree) | Algebra::Reduced(degree) => 2 * (degree + 1),
        }
    }

    /// Coordinates of one, under every key: the identity matrix, or the first polynomial.
    pub(crate) fn one(self) -> Vec<f64> {
        let diagonal = match self {
            Algebra::Blocks(n) => n + 1,
            _ => self.dim(),
        };
        let place = |at: usize| {
            if at.is_multiple_of(diagonal) {
                1.0
            } else {
                0.0
            }
        };
        (0..self.dim()).map(place).collect()
    }
}

impl fmt::Display for Algebra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Algebra::Real => f.write_str("real"),
            Algebra::Blocks(n) => write!(f, "blocks{n}"),
            Algebra::Compact(n) => write!(f, "compact{n}"),
            Algebra::Graded(degree) => write!(f, "graded{degree}"),
            Algebra::Reduced(degree) => write!(f, "reduced{degree}"),
        }
    }
}

impl FromStr for Algebra {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        type Sized = (&'static str, fn(usize) -> Algebra);
        const SIZED: [Sized; 4] = [
            ("compact", Algebra::Compact),
            ("blocks", Algebra::Blocks),
            ("graded", Algebra::Graded),
            ("reduced", Algebra::Reduced),
        ];
        let sized =
            |(prefix, algebra): Sized| Some(algebra(name.strip_prefix(prefix)?.parse().ok()?));
        let named = match name {
            "real" => Some(Algebra::Real),
            _ => SIZED.into_iter().find_map(sized),
        };
        // Digits may be written in several ways, of which one is the name.
        named
            .filter(|algebra| algebra.exists() && algebra.to_string() == name)
            .ok_or_else(|| Error::UnknownAlgebra(name.to_owned()))
    }
}

/// T_k(x), the Chebyshev polynomials of the first kind, for k in 0..count.
fn chebyshev(x: f64, count: usize) -> Vec<f64> {
    let mut t = vec![1.0, x];
    while t.len() < count {
        let k = t.len();
        t.push(2.0 * x * t[k - 1] - t[k - 2]);
    }
    t.truncate(count);
    t
}

/// The Chebyshev nodes, largest first.
pub(crate) fn chebyshev_nodes(count: usize) -> Vec<f64> {
    let node = |j: usize| match 2 * j + 1 == count {
        // What the cosine comes to but for rounding.
        true => 0.0,
        false => (std::f64::consts::PI * (2 * j + 1) as f64 / (2 * count) as f64).cos(),
    };
    (0..count).map(node).collect()
}

/// The arithmetic of Compact(n) over a generator with these eigenvalues.
pub(crate) fn compact(roots: &[f64]) -> Arithmetic {
    let n = roots.len();
    let to_slots: Vec<f64> = roots.iter().flat_map(|&v| chebyshev(v, n)).collect();
    let from_slots = if n == 2 {
        let gap = roots[0] - roots[1];
        vec![-roots[1] / gap, roots[0] / gap, 1.0 / gap, -1.0 / gap]
    } else {
        linalg::invert(&to_slots, n)
    };
    let product = if n == 2 {
        karatsuba(roots)
    } else {
        by_interpolation(roots, &from_slots)
    };
    Arithmetic::new(n, n, to_slots, from_slots, product)
}

/// (a1 + b1 Z)(a2 + b2 Z) in three products: p = a1 a2, q = b1 b2, s = (a1 + b1)(a2 + b2);
/// a = p - d q and b = s - p - q + t q, since Z^2 = t Z - d.
fn karatsuba(roots: &[f64]) -> Bilinear {
    let (t, d) = (roots[0] + roots[1], roots[0] * roots[1]);
    let sides: Vec<Combination> = vec![vec![(0, 1.0)], vec![(1, 1.0)], vec![(0, 1.0), (1, 1.0)]];
    let term = |i, outputs| Term {
        left: i,
        right: i,
        outputs,
    };
    Bilinear {
        left: sides.clone(),
        right: sides,
        terms: vec![
            term(0, vec![(0, 1.0), (1, -1.0)]),
            term(1, vec![(0, -d), (1, t - 1.0)]),
            term(2, vec![(1, 1.0)]),
        ],
    }
}

/// Products of the values at the 2n - 1 Chebyshev nodes, interpolated by discrete orthogonality and
/// reduced by Z's characteristic polynomial.
fn by_interpolation(roots: &[f64], from_slots: &[f64]) -> Bilinear {
    let n = roots.len();
    let count = 2 * n - 1;
    let nodes = chebyshev_nodes(count);
    // T_l(Z) for l < 2n - 1 in the basis T_0 .. T_{n-1}.
    let reduced = |l: usize| -> Vec<f64> {
        if l < n {
            return (0..n).map(|i| f64::from(u8::from(i == l))).collect();
        }
        let values: Vec<f64> = roots.iter().map(|&v| chebyshev(v, l + 1)[l]).collect();
        from_slots
            .chunks(n)
            .map(|row| row.iter().zip(&values).map(|(w, x)| w * x).sum())
            .collect()
    };
    let reductions: Vec<Vec<f64>> = (0..count).map(reduced).collect();
    let evaluations: Vec<Combination> = (0..count)
        .map(|j| chebyshev(nodes[j], n).into_iter().enumerate().collect())
        .collect();
    let terms = (0..count)
        .map(|j| {
            let basis = chebyshev(nodes[j], count);
            let outputs = (0..n)
                .map(|i| {
                    let weight = (0..count).map(|l| {
                        let norm = if l == 0 { 1.0 } else { 2.0 } / count as f64;
                        reductions[l][i] * norm * basis[l]
                    });
                    (i, weight.sum())
                })
                .collect();
            Term {
                left: j,
                right: j,
                outputs,
            }
        })
        .collect();
    Bilinear {
        left: evaluations.clone(),
        right: evaluations,
        terms,
    }
}

/// The arithmetic of polynomials over Compact(2), whose degrees add.
pub(crate) fn graded(roots: &[f64]) -> Arithmetic {
    compact(roots).graded(MAX_DEGREE + 1)
}

/// The arithmetic of polynomials over Compact(2) modulo the monic polynomial with the roots
/// `reduction`. Coordinates are those of the coefficients, the lowest first; a slot for each root and
/// eigenvalue, those of a root side by side.
pub(crate) fn reduced(roots: &[f64], reduction: &[f64]) -> Arithmetic {
    let (inner, count) = (compact(roots), reduction.len());
    let powers = powers(reduction, count);
    let to_slots = kronecker(&powers, inner.to_slots(), [count, count], [2, 2]);
    let from_roots = linalg::invert(&powers, count);
    let from_slots = kronecker(&from_roots, inner.from_slots(), [count, count], [2, 2]);
    let product = at_nodes(reduction, &from_roots, inner.product(2, 2));
    Arithmetic::new(2 * count, 2 * count, to_slots, from_slots, product)
}

/// The product of polynomials with as many coefficients as there are roots, modulo the monic polynomial
/// with these: values at 2 n - 1 Chebyshev nodes are multiplied by `inner` and interpolated. In f32 that
/// keeps digits which sums of coefficients, by Karatsuba's rule, lose.
fn at_nodes(reduction: &[f64], from_roots: &[f64], inner: &Bilinear) -> Bilinear {
    let (n, count) = (reduction.len(), 2 * reduction.len() - 1);
    let nodes = chebyshev_nodes(count);
    let values = powers(&nodes, count);
    let interpolated = linalg::invert(&values, count);
    // x^l modulo the polynomial is what agrees with it at the roots.
    let at_roots = powers(reduction, count);
    let weight = |i: usize, j: usize| -> f64 {
        let lowered = |l: usize| -> f64 {
            let roots = 0..n;
            roots
                .map(|r| from_roots[i * n + r] * at_roots[r * count + l])
                .sum()
        };
        (0..count)
            .map(|l| lowered(l) * interpolated[l * count + j])
            .sum()
    };
    let combined = |j: usize, combination: &Combination| -> Combination {
        let powers = values[j * count..][..n].iter().enumerate();
        let planes = powers.flat_map(|(i, power)| {
            let coordinates = combination.iter();
            coordinates.map(move |(c, w)| (2 * i + c, power * w))
        });
        planes.filter(|(_, w)| *w != 0.0).collect()
    };
    let mut program = Bilinear {
        left: Vec::new(),
        right: Vec::new(),
        terms: Vec::new(),
    };
    for j in 0..count {
        let (before, after) = (program.left.len(), program.right.len());
        program
            .left
            .extend(inner.left.iter().map(|c| combined(j, c)));
        program
            .right
            .extend(inner.right.iter().map(|c| combined(j, c)));
        for term in &inner.terms {
            let outputs = (0..n).flat_map(|i| {
                let coordinates = term.outputs.iter();
                coordinates.map(move |(c, w)| (2 * i + c, weight(i, j) * w))
            });
            program.terms.push(Term {
                left: before + term.left,
                right: after + term.right,
                outputs: outputs.collect(),
            });
        }
    }
    program
}

/// The powers 0 to `count - 1` of each of some numbers, a row for each.
pub(crate) fn powers(numbers: &[f64], count: usize) -> Vec<f64> {
    let rows = numbers.iter();
    rows.flat_map(|x| (0..count as i32).map(move |power| x.powi(power)))
        .collect()
}

/// The Kronecker product of two matrices, row-major: each entry of the first, times the second.
pub(crate) fn kronecker(
    outer: &[f64],
    inner: &[f64],
    [rows, columns]: [usize; 2],
    [inner_rows, inner_columns]: [usize; 2],
) -> Vec<f64> {
    let width = columns * inner_columns;
    (0..rows * inner_rows * width)
        .map(|e| {
            let (row, column) = (e / width, e % width);
            outer[row / inner_rows * columns + column / inner_columns]
                * inner[row % inner_rows * inner_columns + column % inner_columns]
        })
        .collect()
}

/// The arithmetic of Blocks(n) whose elements are polynomials of `generator` (n x n) with these
/// eigenvalues.
pub(crate) fn blocks(roots: &[f64], generator: &[f64]) -> Arithmetic {
    let n = roots.len();
    // The projector on an eigenvector: prod_{j != k} (Z - v_j I) / (v_k - v_j).
    let projector = |k: usize| {
        let mut p = linalg::identity(n);
        for j in (0..n).filter(|&j| j != k) {
            let mut factor = generator.to_vec();
            for i in 0..n {
                factor[i * n + i] -= roots[j];
            }
            factor.iter_mut().for_each(|x| *x /= roots[k] - roots[j]);
            p = linalg::multiply(&p, &factor, n);
        }
        p
    };
    let projectors: Vec<Vec<f64>> = (0..n).map(projector).collect();
    let from_slots = (0..n * n)
        .flat_map(|e| projectors.iter().map(move |p| p[e]))
        .collect();
    let to_slots = if n == 2 {
        // Half the trace, plus and minus half the gap times b, which is read off the entry of
        // C = aI + bZ whose divisor is largest.
        let (z, gap) = (generator, roots[0] - roots[1]);
        let readings = [
            ([0.0, 1.0, 0.0, 0.0], z[1]),
            ([0.0, 0.0, 1.0, 0.0], z[2]),
            ([1.0, 0.0, 0.0, -1.0], z[0] - z[3]),
        ];
        let (entries, divisor) = readings
            .into_iter()
            .max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))
            .expect("there are three");
        let mean = [0.5, 0.0, 0.0, 0.5];
        [1.0, -1.0]
            .iter()
            .flat_map(|s| (0..4).map(move |i| mean[i] + s * entries[i] * gap / 2.0 / divisor))
            .collect()
    } else {
        // tr(P_k C) is slot k, since P_k has rank one.
        projectors
            .iter()
            .flat_map(|p| linalg::transpose(p, n))
            .collect()
    };
    let planes: Vec<Combination> = (0..n * n).map(|i| vec![(i, 1.0)]).collect();
    let terms = (0..n * n * n)
        .map(|e| {
            let (i, j, l) = (e / (n * n), e / n % n, e % n);
            Term {
                left: i * n + l,
                right: l * n + j,
                outputs: vec![(i * n + j, 1.0)],
            }
        })
        .collect();
    let product = Bilinear {
        left: planes.clone(),
        right: planes,
        terms,
    };
    Arithmetic::new(n * n, n, to_slots, from_slots, product)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for algebra in [
            Algebra::Real,
            Algebra::Compact(2),
            Algebra::Blocks(8),
            Algebra::Graded(31),
            Algebra::Reduced(3),
        ] {
            assert_eq!(
                algebra
                    .to_string()
                    .parse::<Algebra>()
                    .expect("its own name"),
                algebra
            );
        }
        for wrong in [
            "",
            "compact",
            "compact1",
            "blocks9",
            "compact-2",
            "compact02",
            "graded0",
            "graded32",
            "reduced4",
            "more",
        ] {
            let error = wrong
                .parse::<Algebra>()
                .expect_err("no algebra of that name");
            assert!(error.to_string().contains(&format!("'{wrong}'")), "{error}");
        }
    }

    #[test]
    fn two_slot_constants_are_exact() {
        let arithmetic = compact(&[0.75, -0.5]);
        let two = arithmetic.two().expect("two slots");
        assert_eq!(two.mean, [1.0, 0.125]);
        assert_eq!(two.half, [0.0, 0.625]);
        assert_eq!(two.one, [1.0, 0.0]);
    }
}
