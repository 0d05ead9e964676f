//! Algebras from their keys: roots v for the compact form, an invertible S for blocks.

use furthermore_kernels_cpu::{Arithmetic, Bilinear, Combination, Element, Term};

/// Whether a tensor is plaintext (one plane) or ciphertext (a plane for each coordinate).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Cipher,
}

impl Kind {
    pub(crate) const ALL: [Kind; 2] = [Kind::Plain, Kind::Cipher];

    /// The kind of a result: plaintext only where both operands are.
    pub(crate) fn and(self, other: Kind) -> Kind {
        if self == Kind::Plain { other } else { self }
    }
}

/// An algebra as the tests know it: how to encrypt and decrypt, and what its product is made of.
#[derive(Debug, Clone)]
pub(crate) struct Algebra {
    pub(crate) name: String,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) dim: usize,
    pub(crate) slots: usize,
    /// Decryption, slots x dim.
    pub(crate) to: Vec<f64>,
    /// Encryption, dim x slots.
    pub(crate) from: Vec<f64>,
    /// The product of two ciphertexts.
    pub(crate) program: Bilinear,
    /// How far the constants themselves, being rounded to f64, miss the algebra's laws, and what the
    /// tests' own encryption and decryption in f64 add, relative to the sizes of what is added up.
    /// It is part of every error bound.
    pub(crate) defect: f64,
}

fn planes(dim: usize) -> Vec<Combination> {
    (0..dim).map(|i| vec![(i, 1.0)]).collect()
}

fn term(left: usize, right: usize, outputs: Combination) -> Term {
    Term {
        left,
        right,
        outputs,
    }
}

/// Gauss-Jordan elimination with row pivots.
pub(crate) fn inverse(matrix: &[f64], n: usize) -> Vec<f64> {
    let mut work = matrix.to_vec();
    let mut result: Vec<f64> = (0..n * n)
        .map(|i| f64::from(u8::from(i / n == i % n)))
        .collect();
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|&x, &y| {
                work[x * n + column]
                    .abs()
                    .total_cmp(&work[y * n + column].abs())
            })
            .expect("a column has rows");
        for j in 0..n {
            work.swap(pivot * n + j, column * n + j);
            result.swap(pivot * n + j, column * n + j);
        }
        let scale = work[column * n + column];
        assert!(scale.abs() > 1e-3, "a key's matrix is well conditioned");
        for j in 0..n {
            work[column * n + j] /= scale;
            result[column * n + j] /= scale;
        }
        for row in (0..n).filter(|&row| row != column) {
            let factor = work[row * n + column];
            for j in 0..n {
                work[row * n + j] -= factor * work[column * n + j];
                result[row * n + j] -= factor * result[column * n + j];
            }
        }
    }
    result
}

/// The values of `T_0 .. T_{count-1}` at x.
fn chebyshev(x: f64, count: usize) -> Vec<f64> {
    let mut values = vec![1.0, x];
    while values.len() < count {
        let last = values.len() - 1;
        values.push(2.0 * x * values[last] - values[last - 1]);
    }
    values.truncate(count);
    values
}

/// The roots of `T_count`.
fn chebyshev_nodes(count: usize) -> Vec<f64> {
    (0..count)
        .map(|i| (std::f64::consts::PI * (2 * i + 1) as f64 / (2 * count) as f64).cos())
        .collect()
}

/// Public roots near the Chebyshev nodes, on the grid of keys, not symmetric about zero.
fn roots(n: usize) -> Vec<f64> {
    let nodes = chebyshev_nodes(n);
    (0..n)
        .map(|i| ((nodes[i] + 0.04 * (i as f64 + 0.5) / n as f64) * 256.0).round() / 256.0)
        .collect()
}

impl Algebra {
    fn build(name: String, slots: usize, to: Vec<f64>, from: Vec<f64>, program: Bilinear) -> Self {
        let dim = from.len() / slots;
        let arithmetic = Arithmetic::new(dim, slots, to.clone(), from.clone(), program.clone());
        let mut algebra = Self {
            name,
            arithmetic,
            dim,
            slots,
            to,
            from,
            program,
            defect: 0.0,
        };
        algebra.defect = algebra.measure();
        // Some tens of f64 roundings: a wrong program would show up as a defect of order one, and
        // would widen the bounds by which it is judged.
        assert!(
            algebra.defect < 64.0 * f64::EPSILON,
            "{} is no algebra: {}",
            algebra.name,
            algebra.defect
        );
        // A product and a sum for each slot to encrypt, and for each coordinate to decrypt.
        algebra.defect += (slots + dim + 2) as f64 * f64::EPSILON / 2.0;
        algebra
    }

    /// Plaintext.
    pub(crate) fn real() -> Self {
        let mut algebra = Self::build(
            "Real".into(),
            1,
            vec![1.0],
            vec![1.0],
            Bilinear {
                left: planes(1),
                right: planes(1),
                terms: vec![term(0, 0, vec![(0, 1.0)])],
            },
        );
        algebra.arithmetic = Arithmetic::real();
        algebra
    }

    /// Compact(2) with the roots of a generator Z: C = a + bZ, three real products.
    pub(crate) fn compact2(v: [f64; 2]) -> Self {
        let (t, d) = (v[0] + v[1], v[0] * v[1]);
        let sides = vec![vec![(0, 1.0)], vec![(1, 1.0)], vec![(0, 1.0), (1, 1.0)]];
        let program = Bilinear {
            left: sides.clone(),
            right: sides,
            terms: vec![
                term(0, 0, vec![(0, 1.0), (1, -1.0)]),
                term(1, 1, vec![(0, -d), (1, t - 1.0)]),
                term(2, 2, vec![(1, 1.0)]),
            ],
        };
        let (to, from) = Self::compact2_key(v);
        Self::build("Compact(2)".into(), 2, to, from, program)
    }

    /// Compact(2) by four products of single coordinates, each carried with a weight of its own,
    /// as a program is free to do.
    pub(crate) fn compact2_weighted(v: [f64; 2]) -> Self {
        let (t, d) = (v[0] + v[1], v[0] * v[1]);
        let program = Bilinear {
            left: vec![vec![(0, 2.0)], vec![(1, -0.5)]],
            right: vec![vec![(0, -4.0)], vec![(1, 0.25)]],
            terms: vec![
                term(0, 0, vec![(0, -0.125)]),
                term(0, 1, vec![(1, 2.0)]),
                term(1, 0, vec![(1, 0.5)]),
                term(1, 1, vec![(0, 8.0 * d), (1, -8.0 * t)]),
            ],
        };
        let (to, from) = Self::compact2_key(v);
        Self::build("Compact(2) with weights".into(), 2, to, from, program)
    }

    /// `b = (m - r) / (v1 - v2)`, `a = m - b v1`; back `a + b v`.
    fn compact2_key([v1, v2]: [f64; 2]) -> (Vec<f64>, Vec<f64>) {
        let b = 1.0 / (v1 - v2);
        (
            vec![1.0, v1, 1.0, v2],
            vec![-v2 / (v1 - v2), v1 / (v1 - v2), b, -b],
        )
    }

    /// Compact(n) in the Chebyshev basis of Z: products formed at the 2n - 1 Chebyshev nodes.
    pub(crate) fn compact(n: usize) -> Self {
        let v = roots(n);
        let to: Vec<f64> = v.iter().flat_map(|&v| chebyshev(v, n)).collect();
        let from = inverse(&to, n);
        let nodes = chebyshev_nodes(2 * n - 1);
        let sides: Vec<Combination> = nodes
            .iter()
            .map(|&x| chebyshev(x, n).into_iter().enumerate().collect())
            .collect();
        let terms = (0..nodes.len())
            .map(|q| {
                // The product is a polynomial of degree 2n - 2, known at the nodes. Its values at
                // the roots are the slots of the result.
                let lagrange = |x: f64| {
                    let others = nodes.iter().enumerate().filter(|&(i, _)| i != q);
                    others.fold(1.0, |l, (_, y)| l * (x - y) / (nodes[q] - y))
                };
                let outputs = (0..n)
                    .map(|i| {
                        let weight = (0..n).map(|k| from[i * n + k] * lagrange(v[k])).sum();
                        (i, weight)
                    })
                    .collect();
                term(q, q, outputs)
            })
            .collect();
        let program = Bilinear {
            left: sides.clone(),
            right: sides,
            terms,
        };
        Self::build(format!("Compact({n})"), n, to, from, program)
    }

    /// Compact(n) in the powers of Z: every coordinate times every other.
    pub(crate) fn compact_schoolbook(n: usize) -> Self {
        let v = roots(n);
        let power = |k: usize, j: usize| v[k].powi(j as i32);
        let to: Vec<f64> = (0..n * n).map(|i| power(i / n, i % n)).collect();
        let from = inverse(&to, n);
        let terms = (0..n * n)
            .map(|ij| {
                let degree = ij / n + ij % n;
                let outputs = if degree < n {
                    vec![(degree, 1.0)]
                } else {
                    // Z^degree by its values at the roots.
                    (0..n)
                        .map(|i| {
                            let weight = (0..n).map(|k| from[i * n + k] * power(k, degree)).sum();
                            (i, weight)
                        })
                        .collect()
                };
                term(ij / n, ij % n, outputs)
            })
            .collect();
        let program = Bilinear {
            left: planes(n),
            right: planes(n),
            terms,
        };
        Self::build(format!("Compact({n}) schoolbook"), n, to, from, program)
    }

    /// Blocks(n): C = S diag(m, r ..) S^-1 as an n x n matrix, products of matrices.
    pub(crate) fn blocks(n: usize) -> Self {
        // S = L U with unit diagonals and quarters beside them: its inverse is exact, and it mixes
        // every slot into every corner.
        let quarter = |i: usize, j: usize| f64::from((2 * i + 3 * j + 1) as u32 % 5) / 4.0 - 0.5;
        let part = |lower: bool| -> Vec<f64> {
            (0..n * n)
                .map(|at| match (at / n, at % n) {
                    (i, j) if i == j => 1.0,
                    (i, j) if (i > j) == lower => quarter(i, j) * 0.5 + 0.125,
                    _ => 0.0,
                })
                .collect()
        };
        let (l, u) = (part(true), part(false));
        let s: Vec<f64> = (0..n * n)
            .map(|at| (0..n).map(|p| l[at / n * n + p] * u[p * n + at % n]).sum())
            .collect();
        let s_inverse = inverse(&s, n);
        let to = (0..n * n * n)
            .map(|at| {
                let (k, i, j) = (at / (n * n), at / n % n, at % n);
                s_inverse[k * n + i] * s[j * n + k]
            })
            .collect();
        let from = (0..n * n * n)
            .map(|at| {
                let (i, j, k) = (at / (n * n), at / n % n, at % n);
                s[i * n + k] * s_inverse[k * n + j]
            })
            .collect();
        let mut terms = Vec::new();
        for i in 0..n {
            for j in 0..n {
                for p in 0..n {
                    terms.push(term(i * n + p, p * n + j, vec![(i * n + j, 1.0)]));
                }
            }
        }
        let program = Bilinear {
            left: planes(n * n),
            right: planes(n * n),
            terms,
        };
        Self::build(format!("Blocks({n})"), n, to, from, program)
    }

    /// The algebras that most tests run: the common ones, every form of more slots, odd and even.
    pub(crate) fn all() -> Vec<Algebra> {
        vec![
            Self::real(),
            Self::compact2([0.75, -0.5]),
            Self::compact2_weighted([-0.625, 0.875]),
            Self::blocks(2),
            Self::compact(3),
            Self::compact_schoolbook(3),
            Self::blocks(3),
            Self::compact(4),
            Self::blocks(4),
        ]
    }

    /// This algebra with another program for the product of two ciphertexts: for the negative control.
    pub(crate) fn with_program(&self, program: Bilinear) -> Arithmetic {
        Arithmetic::new(
            self.dim,
            self.slots,
            self.to.clone(),
            self.from.clone(),
            program,
        )
    }

    /// The algebra in which a tensor of that kind is analysed: plaintext is Real.
    pub(crate) fn of_kind(&self, kind: Kind) -> Algebra {
        match kind {
            Kind::Plain => Self::real(),
            Kind::Cipher => self.clone(),
        }
    }

    /// Planes of a tensor of that kind.
    pub(crate) fn planes(&self, kind: Kind) -> usize {
        match kind {
            Kind::Plain => 1,
            Kind::Cipher => self.dim,
        }
    }

    /// The kinds of tensor there are: Real has one.
    pub(crate) fn kinds(&self) -> &'static [Kind] {
        if self.dim == 1 {
            &[Kind::Plain]
        } else {
            &Kind::ALL
        }
    }

    /// The product of two kinds, written out: a plaintext multiplies each coordinate.
    pub(crate) fn program_of(&self, a: Kind, b: Kind) -> Bilinear {
        let both = |kind: Kind| planes(self.planes(kind));
        match (a, b) {
            (Kind::Cipher, Kind::Cipher) => self.program.clone(),
            _ => Bilinear {
                left: both(a),
                right: both(b),
                terms: (0..self.planes(a.and(b)))
                    .map(|i| {
                        let of = |kind| if kind == Kind::Cipher { i } else { 0 };
                        term(of(a), of(b), vec![(i, 1.0)])
                    })
                    .collect(),
            },
        }
    }

    /// Coordinates of one element.
    pub(crate) fn encrypt(&self, slots: &[f64]) -> Vec<f64> {
        let rows = self.from.chunks(self.slots);
        rows.map(|row| row.iter().zip(slots).map(|(w, s)| w * s).sum())
            .collect()
    }

    /// Slots of one element.
    pub(crate) fn decrypt(&self, coordinates: &[f64]) -> Vec<f64> {
        let rows = self.to.chunks(self.dim);
        rows.map(|row| row.iter().zip(coordinates).map(|(w, c)| w * c).sum())
            .collect()
    }

    /// Slots of a whole tensor: `[slot][element]` from planes.
    pub(crate) fn decrypt_planes<T: Element>(&self, planes: &[&[T]]) -> Vec<Vec<f64>> {
        let len = planes.first().map_or(0, |plane| plane.len());
        self.to
            .chunks(self.dim)
            .map(|row| {
                (0..len)
                    .map(|e| row.iter().zip(planes).map(|(w, c)| w * c[e].wide()).sum())
                    .collect()
            })
            .collect()
    }

    /// Bounds the size of each coordinate by the terms it is added up from: roundings are relative
    /// to those, however much of them cancels.
    pub(crate) fn coordinate_sizes(&self, slots: &[f64]) -> Vec<f64> {
        let rows = self.from.chunks(self.slots);
        rows.map(|row| row.iter().zip(slots).map(|(w, s)| (w * s).abs()).sum())
            .collect()
    }

    /// The most that errors of the coordinates do to each slot.
    pub(crate) fn slot_errors(&self, coordinates: &[f64]) -> Vec<f64> {
        let rows = self.to.chunks(self.dim);
        rows.map(|row| row.iter().zip(coordinates).map(|(w, e)| w.abs() * e).sum())
            .collect()
    }

    /// The size of what is added up to form any slot from coordinates of these sizes. A half sum
    /// and a half difference of two slots' weights together have the size of the larger.
    pub(crate) fn split_size(&self, coordinates: &[f64]) -> f64 {
        (0..self.dim)
            .map(|p| {
                let largest = (0..self.slots).map(|k| self.to[k * self.dim + p].abs());
                largest.fold(0.0, f64::max) * coordinates[p]
            })
            .sum()
    }

    /// The size of what is added up to form each coordinate from these slots, through half sums and
    /// half differences or one by one.
    pub(crate) fn join_sizes(&self, slots: &[f64]) -> Vec<f64> {
        let total: f64 = slots.iter().map(|s| s.abs()).sum();
        let rows = self.from.chunks(self.slots);
        rows.map(|row| row.iter().map(|w| w.abs()).sum::<f64>() * total)
            .collect()
    }

    /// See [`Algebra::defect`].
    fn measure(&self) -> f64 {
        let (dim, n) = (self.dim, self.slots);
        let mut worst = 0.0f64;
        // NaN, from a size of zero with nothing wrong, counts as none.
        let mut see = |error: f64, size: f64| worst = worst.max(error.abs() / size);
        for k in 0..n {
            for other in 0..n {
                let pairs = (0..dim).map(|p| self.to[k * dim + p] * self.from[p * n + other]);
                let unit = f64::from(u8::from(k == other));
                see(pairs.clone().sum::<f64>() - unit, pairs.map(f64::abs).sum());
            }
        }
        // A product of two elements has products of slots. It suffices to see this on the elements
        // that are one in a single slot.
        let unit = |slot: usize| {
            let mut slots = vec![0.0; n];
            slots[slot] = 1.0;
            self.encrypt(&slots)
        };
        for i in 0..n {
            for j in 0..n {
                let (a, b) = (unit(i), unit(j));
                let (mut c, mut size) = (vec![0.0; dim], vec![0.0; dim]);
                for term in &self.program.terms {
                    let form = |side: &Combination, c: &[f64]| -> (f64, f64) {
                        let parts = side.iter().map(|&(p, w)| w * c[p]);
                        (parts.clone().sum(), parts.map(f64::abs).sum())
                    };
                    let (x, x_size) = form(&self.program.left[term.left], &a);
                    let (y, y_size) = form(&self.program.right[term.right], &b);
                    for &(p, w) in &term.outputs {
                        c[p] += w * x * y;
                        size[p] += w.abs() * x_size * y_size;
                    }
                }
                let slots = self.decrypt(&c);
                let sizes = self.slot_errors(&size);
                for k in 0..n {
                    let is = f64::from(u8::from(i == k && j == k));
                    see(slots[k] - is, sizes[k]);
                }
            }
        }
        worst
    }
}
