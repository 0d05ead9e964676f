//! The matrix product's oracle: one naive real product for each slot.

use furthermore_kernels_cpu::block_matmul::{Epilogue, MatmulShape, block_matmul, scratch_len};
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::{Arithmetic, Element, Exec};

use super::algebras::{Algebra, Kind};
use super::buffers::{Guarded, Operand};
use super::compare::{Tolerance, compare};
use super::functions::{mapped, split_error};
use super::noise::Noise;

/// What a product is of, and what is done to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) shape: MatmulShape,
    pub(crate) a: Kind,
    pub(crate) b: Kind,
    pub(crate) bias: Option<Kind>,
    pub(crate) activation: Option<Function>,
}

impl Case {
    /// A product alone, of matrices stored as they are.
    pub(crate) fn plain(m: usize, k: usize, n: usize, a: Kind, b: Kind) -> Self {
        let shape = MatmulShape {
            batch: 1,
            m,
            k,
            n,
            transpose_a: false,
            transpose_b: false,
        };
        Self {
            shape,
            a,
            b,
            bias: None,
            activation: None,
        }
    }

    pub(crate) fn transposed(mut self, a: bool, b: bool) -> Self {
        self.shape.transpose_a = a;
        self.shape.transpose_b = b;
        self
    }

    pub(crate) fn then(mut self, bias: Option<Kind>, activation: Option<Function>) -> Self {
        // A plaintext result takes a plaintext bias alone.
        self.bias = bias.map(|bias| {
            if self.a.and(self.b) == Kind::Plain {
                Kind::Plain
            } else {
                bias
            }
        });
        self.activation = activation;
        self
    }
}

/// Operands and what the oracle makes of them, computed once for every way of running the kernel.
pub(crate) struct Prepared<'a, T> {
    pub(crate) algebra: &'a Algebra,
    pub(crate) case: Case,
    pub(crate) a: Operand<T>,
    pub(crate) b: Operand<T>,
    bias: Option<Operand<T>>,
    /// `[slot][element]` of the result.
    pub(crate) expected: Vec<Vec<f64>>,
    pub(crate) bounds: Vec<Vec<f64>>,
    /// Largest magnitudes of the activation's arguments, and their bounds.
    maxima: Vec<(f64, f64)>,
}

/// Index in storage of element (i, j) of a matrix of that many rows and columns.
fn stored(i: usize, j: usize, rows: usize, columns: usize, transposed: bool) -> usize {
    if transposed {
        j * rows + i
    } else {
        i * columns + j
    }
}

/// A matrix row by row, whichever way it is stored.
fn by_rows(storage: &[f64], rows: usize, columns: usize, transposed: bool) -> Vec<f64> {
    (0..rows * columns)
        .map(|at| storage[stored(at / columns, at % columns, rows, columns, transposed)])
        .collect()
}

/// `C = A B`, as it is written.
fn naive(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for p in 0..k {
            let x = a[i * k + p];
            for j in 0..n {
                c[i * n + j] += x * b[p * n + j];
            }
        }
    }
    c
}

impl<'a, T: Element> Prepared<'a, T> {
    /// Random slots in -1..1.
    pub(crate) fn new(algebra: &'a Algebra, case: Case, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let MatmulShape { m, k, n, .. } = case.shape;
        let mut draw =
            |kind, len: usize| Operand::drawn(algebra, kind, || noise.slots(len, -1.0, 1.0));
        let a = draw(case.a, m * k);
        let b = draw(case.b, k * n);
        let bias = case.bias.map(|kind| draw(kind, n));
        let mut made = Self {
            algebra,
            case,
            a,
            b,
            bias,
            expected: Vec::new(),
            bounds: Vec::new(),
            maxima: Vec::new(),
        };
        made.answer();
        made
    }

    /// Fills in what the oracle says.
    fn answer(&mut self) {
        let MatmulShape {
            m,
            k,
            n,
            transpose_a,
            transpose_b,
            ..
        } = self.case.shape;
        let result = self.algebra.of_kind(self.case.a.and(self.case.b));
        let mut sums: Vec<Vec<f64>> = (0..result.slots)
            .map(|slot| {
                let a = by_rows(self.a.slot(slot), m, k, transpose_a);
                let b = by_rows(self.b.slot(slot), k, n, transpose_b);
                naive(&a, &b, m, k, n)
            })
            .collect();
        let mut errors = self.coordinate_errors(&result);
        if let Some(bias) = &self.bias {
            for (slot, sums) in sums.iter_mut().enumerate() {
                for at in 0..m * n {
                    sums[at] += bias.slot(slot)[at % n];
                }
            }
            // The bias was rounded, and its weight; the sum is rounded among the product's.
            let tolerance = Tolerance::roundings::<T>(4).plus(self.algebra.defect);
            let columns: Vec<Vec<f64>> = (0..n)
                .map(|j| result.coordinate_sizes(&bias.element(j, result.slots)))
                .collect();
            for (p, errors) in errors.iter_mut().enumerate() {
                for at in 0..m * n {
                    errors[at] += tolerance.of(columns[at % n][p]);
                }
            }
        }
        self.expected = vec![vec![0.0; m * n]; result.slots];
        self.bounds = self.expected.clone();
        if self.case.activation.is_some() {
            self.maxima = vec![(0.0, 0.0); result.slots];
        }
        let (mut slots, mut error) = (vec![0.0; result.slots], vec![0.0; result.dim]);
        for at in 0..m * n {
            for (to, from) in slots.iter_mut().zip(&sums) {
                *to = from[at];
            }
            for (to, from) in error.iter_mut().zip(&errors) {
                *to = from[at];
            }
            let (values, bounds) = match self.case.activation {
                None => (slots.clone(), result.slot_errors(&error)),
                Some(function) => {
                    let reach = result.slot_errors(&error);
                    for (k, (most, bound)) in self.maxima.iter_mut().enumerate() {
                        *most = most.max(slots[k].abs());
                        let split = split_error::<T>(&result, &slots, &error);
                        *bound = bound.max(reach[k] + split);
                    }
                    mapped::<T>(&result, function, &slots, &error)
                }
            };
            for k in 0..result.slots {
                self.expected[k][at] = values[k];
                self.bounds[k][at] = bounds[k];
            }
        }
    }

    /// Error bounds of the product's coordinates, `[plane][element]`.
    ///
    /// A sum over the depth of |a| |b| is at most the product of the norms of its row and column
    /// (Cauchy-Schwarz), which is cheaper than the sum and nearly as tight.
    fn coordinate_errors(&self, result: &Algebra) -> Vec<Vec<f64>> {
        let MatmulShape { m, k, n, .. } = self.case.shape;
        let program = self.algebra.program_of(self.case.a, self.case.b);
        let norms = |operand: &Operand<T>, side: &[(usize, f64)], left: bool| -> Vec<f64> {
            let (lines, shape) = (if left { m } else { n }, self.case.shape);
            (0..lines)
                .map(|line| {
                    let squares = (0..k).map(|p| {
                        let at = if left {
                            stored(line, p, m, k, shape.transpose_a)
                        } else {
                            stored(p, line, k, n, shape.transpose_b)
                        };
                        let parts = side
                            .iter()
                            .map(|&(plane, w)| w.abs() * operand.sizes[plane][at]);
                        parts.sum::<f64>().powi(2)
                    });
                    squares.sum::<f64>().sqrt()
                })
                .collect()
        };
        let left: Vec<_> = program
            .left
            .iter()
            .map(|c| norms(&self.a, c, true))
            .collect();
        let right: Vec<_> = program
            .right
            .iter()
            .map(|c| norms(&self.b, c, false))
            .collect();
        let longest = |side: &[Vec<(usize, f64)>]| side.iter().map(Vec::len).max().unwrap_or(0);
        // The dot product; every time a tile is added into the result, which no blocking does more
        // often than each 64 steps; a product and a sum for each part of a combination; both
        // operands as stored, the three weights as rounded, the coefficient's product, the bias.
        let count = k
            + 1
            + program.terms.len() * (1 + k / 64)
            + 2 * (longest(&program.left) + longest(&program.right))
            + 2
            + 3
            + 1
            + 1;
        let tolerance = Tolerance::roundings::<T>(count).plus(3.0 * self.algebra.defect);
        let mut errors = vec![vec![0.0; m * n]; result.dim];
        for term in &program.terms {
            let (left, right) = (&left[term.left], &right[term.right]);
            for &(plane, weight) in &term.outputs {
                for at in 0..m * n {
                    let size = weight.abs() * left[at / n] * right[at % n];
                    errors[plane][at] += tolerance.of(size);
                }
            }
        }
        errors
    }

    /// Runs the kernel with everything it may write poisoned and guarded, and looks at the guards
    /// and at the magnitudes it returns.
    pub(crate) fn run_with(
        &self,
        exec: &Exec,
        arithmetic: &Arithmetic,
    ) -> Result<Guarded<T>, String> {
        let MatmulShape { m, n, .. } = self.case.shape;
        let (a, b) = (self.a.view(), self.b.view());
        let mut c = Guarded::poisoned(self.algebra.planes(self.case.a.and(self.case.b)), m * n, 3);
        let needs = scratch_len::<T>(exec, arithmetic, &self.case.shape, a.count(), b.count());
        let mut scratch = Guarded::poisoned(1, needs, 0);
        let epilogue = Epilogue {
            bias: self.bias.as_ref().map(Operand::view),
            activation: self.case.activation,
        };
        let seen = block_matmul(
            exec,
            arithmetic,
            &self.case.shape,
            a,
            b,
            &mut c.view_mut(),
            &epilogue,
            scratch.slice_mut(),
        )
        .map_err(|error| error.to_string())?;
        c.intact().map_err(|error| format!("C: {error}"))?;
        scratch
            .intact()
            .map_err(|error| format!("scratch: {error}"))?;
        if m * n > 0 {
            let found: Vec<f64> = seen.max_abs().to_vec();
            let close =
                |(&(most, bound), found): (&(f64, f64), &f64)| (most - found).abs() <= bound;
            if found.len() != self.maxima.len()
                || !self.maxima.iter().zip(&found).all(close)
                || !seen.finite()
            {
                let expected = &self.maxima;
                return Err(format!(
                    "magnitudes {found:?} where {expected:?} were expected"
                ));
            }
        }
        Ok(c)
    }

    /// Compares a result with the oracle.
    pub(crate) fn compare(&self, c: &Guarded<T>) -> Result<f64, String> {
        let result = self.algebra.of_kind(self.case.a.and(self.case.b));
        let found = result.decrypt_planes(&c.planes());
        compare(&self.expected, &found, &self.bounds).map_err(|mismatch| mismatch.to_string())
    }

    /// Runs and compares; panics with the whole case where they differ.
    pub(crate) fn check(&self, exec: &Exec) -> Guarded<T> {
        let outcome = self.run_with(exec, &self.algebra.arithmetic).and_then(|c| {
            self.compare(&c)?;
            Ok(c)
        });
        outcome.unwrap_or_else(|error| {
            let (name, case) = (&self.algebra.name, &self.case);
            panic!("{name} {} {exec:?} {case:?}: {error}", T::NAME)
        })
    }
}
