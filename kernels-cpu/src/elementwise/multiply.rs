//! Products in the algebra, element by element.

use std::ops::Range;

use super::NAME;
use super::broadcast::{Broadcast, Side};
use crate::algebra::{Arithmetic, Bilinear, Combination, MAX_DIM};
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots;
use crate::threads::Exec;

/// Computes `output = a b` in the algebra.
///
/// # Errors
/// When planes differ from the product's, or lengths from the broadcast's.
pub fn multiply<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    broadcast: &Broadcast,
    a: Planes<'_, T>,
    b: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    broadcast.expect(|has| arithmetic.ciphertext(has), &a, &b)?;
    let planes = arithmetic.result_planes(a.count(), b.count());
    output.expect(NAME, "output", &[planes], broadcast.len())?;
    output.expect(
        NAME,
        "output",
        &[1, arithmetic.ciphertext(planes)],
        output.len(),
    )?;
    let rule = if a.count() == 1 || b.count() == 1 {
        Rule::Plain
    } else {
        Rule::of(arithmetic, [a.count(), b.count(), planes])
    };
    let ((a, b), output) = (broadcast.sides(&a, &b), output.raw());
    exec.spans(
        broadcast.len(),
        exec.isa.lanes::<T>(),
        3 * planes * size_of::<T>(),
        |range| {
            let body = Multiply {
                broadcast,
                rule,
                a,
                b,
                output,
                range,
            };
            T::run_multiply(exec.isa, body);
        },
        |(), ()| (),
    );
    Ok(())
}

/// How a product is computed. In registers a product costs no more than an addition, so there the
/// common algebras multiply coordinate by coordinate and save the program's sums.
#[derive(Clone, Copy)]
enum Rule<'a> {
    /// One operand is plaintext: it multiplies each coordinate.
    Plain,
    /// `(a0 + a1 Z)(b0 + b1 Z)` with `Z^2 = trace Z - determinant`.
    Quadratic { trace: f64, determinant: f64 },
    /// Polynomials with such numbers for coefficients.
    Polynomials { trace: f64, determinant: f64 },
    /// 2 x 2 matrices.
    Matrices,
    /// Any other.
    Program(&'a Bilinear),
}

impl<'a> Rule<'a> {
    /// The rule for operands and a result of so many planes.
    fn of(arithmetic: &'a Arithmetic, [left, right, result]: [usize; 3]) -> Self {
        let dim = arithmetic.dim();
        let rule = Self::of_program(arithmetic.product(dim, dim), dim);
        match rule {
            _ if !arithmetic.is_graded() => rule,
            Rule::Quadratic { trace, determinant } if result > dim => {
                Rule::Polynomials { trace, determinant }
            }
            Rule::Quadratic { .. } => rule,
            _ => Rule::Program(arithmetic.product(left, right)),
        }
    }

    /// The rule by which a program of `dim` coordinates comes to the same.
    fn of_program(program: &'a Bilinear, dim: usize) -> Self {
        if dim == 2 {
            let [[first, [zero, minus_d]], second] = structure(program);
            if (first, zero, second[0], second[1][0]) == ([1.0, 0.0], 0.0, [0.0, 1.0], 1.0) {
                return Rule::Quadratic {
                    trace: second[1][1],
                    determinant: -minus_d,
                };
            }
        }
        if dim == 4 {
            let mut matrices = [[[0.0; 4]; 4]; 4];
            for ijp in 0..8 {
                let (i, j, p) = (ijp / 4, ijp / 2 % 2, ijp % 2);
                matrices[2 * i + j][2 * i + p][2 * p + j] = 1.0;
            }
            if structure(program) == matrices {
                return Rule::Matrices;
            }
        }
        Rule::Program(program)
    }
}

/// The structure constants `s` of a product: coordinate k of a b is the sum of `s[k][i][j] a_i b_j`.
fn structure<const D: usize>(program: &Bilinear) -> [[[f64; D]; D]; D] {
    let mut constants = [[[0.0; D]; D]; D];
    for term in &program.terms {
        for &(i, x) in &program.left[term.left] {
            for &(j, y) in &program.right[term.right] {
                for &(k, w) in &term.outputs {
                    constants[k][i][j] += w * x * y;
                }
            }
        }
    }
    constants
}

pub(crate) struct Multiply<'a, T> {
    broadcast: &'a Broadcast,
    rule: Rule<'a>,
    a: Side<T>,
    b: Side<T>,
    output: RawPlanes<T>,
    range: Range<usize>,
}

impl<T: Element> WithSimd<T> for Multiply<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        match self.rule {
            Rule::Plain => self.each(
                #[inline(always)]
                |a: Place<'_, T>, b: Place<'_, T>, at, count| {
                    for k in 0..self.output.count {
                        // SAFETY: see `each`; an operand has one plane or as many as the output.
                        unsafe {
                            let x: S = a.plane(k.min(a.side.planes.count - 1), count);
                            let y: S = b.plane(k.min(b.side.planes.count - 1), count);
                            let to = self.output.plane(k).wrapping_add(at);
                            x.mul(y).store_some(to, count);
                        }
                    }
                },
                S::LANES,
            ),
            Rule::Quadratic { trace, determinant } => {
                let trace = S::splat(T::of(trace));
                let minus_d = S::splat(T::of(-determinant));
                self.each(
                    #[inline(always)]
                    |a: Place<'_, T>, b: Place<'_, T>, at, count| {
                        // SAFETY: see `each`; all have two planes.
                        unsafe {
                            let (a, b): ([S; 2], [S; 2]) = (a.planes(2, count), b.planes(2, count));
                            let q = a[1].mul(b[1]);
                            let cross = a[1].mul_add(b[0], a[0].mul(b[1]));
                            let c = [minus_d.mul_add(q, a[0].mul(b[0])), trace.mul_add(q, cross)];
                            slots::store(&self.output, 2, at, count, &c);
                        }
                    },
                    S::LANES,
                );
            }
            Rule::Polynomials { trace, determinant } => {
                let trace = S::splat(T::of(trace));
                let minus_d = S::splat(T::of(-determinant));
                self.each(
                    #[inline(always)]
                    |a: Place<'_, T>, b: Place<'_, T>, at, count| {
                        let (left, right) = (a.side.planes.count, b.side.planes.count);
                        // SAFETY: see `each`; these are the planes they have.
                        let (a, b): ([S; MAX_DIM], [S; MAX_DIM]) =
                            unsafe { (a.planes(left, count), b.planes(right, count)) };
                        let mut c = [S::splat(T::zero()); MAX_DIM];
                        for k in 0..self.output.count / 2 {
                            // Sums of a0 b0, of a0 b1 + a1 b0, and of a1 b1.
                            let [mut p, mut cross, mut q] = [S::splat(T::zero()); 3];
                            for i in (k + 1).saturating_sub(right / 2)..=k.min(left / 2 - 1) {
                                let j = k - i;
                                p = a[2 * i].mul_add(b[2 * j], p);
                                cross = a[2 * i].mul_add(b[2 * j + 1], cross);
                                cross = a[2 * i + 1].mul_add(b[2 * j], cross);
                                q = a[2 * i + 1].mul_add(b[2 * j + 1], q);
                            }
                            c[2 * k] = minus_d.mul_add(q, p);
                            c[2 * k + 1] = trace.mul_add(q, cross);
                        }
                        // SAFETY: as above.
                        unsafe { slots::store(&self.output, self.output.count, at, count, &c) };
                    },
                    S::LANES,
                );
            }
            Rule::Matrices => self.each(
                #[inline(always)]
                |a: Place<'_, T>, b: Place<'_, T>, at, count| {
                    // SAFETY: see `each`; all have four planes.
                    unsafe {
                        let (a, b): ([S; 4], [S; 4]) = (a.planes(4, count), b.planes(4, count));
                        let mut c = a;
                        for i in 0..2 {
                            for j in 0..2 {
                                let first = a[2 * i].mul(b[j]);
                                c[2 * i + j] = a[2 * i + 1].mul_add(b[2 + j], first);
                            }
                        }
                        slots::store(&self.output, 4, at, count, &c);
                    }
                },
                S::LANES,
            ),
            Rule::Program(program) => self.each(
                #[inline(always)]
                |a: Place<'_, T>, b: Place<'_, T>, at, count| {
                    let (left, right) = (a.side.planes.count, b.side.planes.count);
                    // SAFETY: see `each`; these are the planes they have.
                    let (a, b): ([S; MAX_DIM], [S; MAX_DIM]) =
                        unsafe { (a.planes(left, count), b.planes(right, count)) };
                    let mut c = [S::splat(T::zero()); MAX_DIM];
                    for term in &program.terms {
                        let product =
                            combine::<T, S>(&program.left[term.left], &a)
                                .mul(combine::<T, S>(&program.right[term.right], &b));
                        for &(plane, weight) in &term.outputs {
                            c[plane] = S::splat(T::of(weight)).mul_add(product, c[plane]);
                        }
                    }
                    // SAFETY: as above.
                    unsafe { slots::store(&self.output, self.output.count, at, count, &c) };
                },
                S::LANES,
            ),
        }
    }
}

/// Where in an operand a vector is.
#[derive(Clone, Copy)]
struct Place<'a, T> {
    side: &'a Side<T>,
    start: usize,
    i: usize,
}

impl<T: Element> Place<'_, T> {
    /// # Safety
    /// The plane has these elements.
    #[inline(always)]
    unsafe fn plane<S: Simd<T>>(&self, plane: usize, count: usize) -> S {
        // SAFETY: the caller's promise.
        unsafe { self.side.vector(plane, self.start, self.i, count) }
    }

    /// # Safety
    /// `dim` planes have these elements.
    #[inline(always)]
    unsafe fn planes<S: Simd<T>, const D: usize>(&self, dim: usize, count: usize) -> [S; D] {
        // SAFETY: the caller's promise.
        unsafe { self.side.vectors(dim, self.start, self.i, count) }
    }
}

impl<T: Element> Multiply<'_, T> {
    /// Calls `body(a, b, at, count)` for each vector of the output: `count` elements from `at` on
    /// and their operands', all of which `multiply` checked to be there, each thread's its own.
    #[inline(always)]
    fn each(&self, mut body: impl FnMut(Place<'_, T>, Place<'_, T>, usize, usize), lanes: usize) {
        self.broadcast.runs(
            self.range.clone(),
            #[inline(always)]
            |at, a, b, len| {
                slots::sweep(
                    len,
                    lanes,
                    #[inline(always)]
                    |i, count| {
                        let place = |side, start| Place { side, start, i };
                        body(place(&self.a, a), place(&self.b, b), at + i, count);
                    },
                );
            },
        );
    }
}

#[inline(always)]
fn combine<T: Element, S: Simd<T>>(combination: &Combination, c: &[S; MAX_DIM]) -> S {
    let mut sum = S::splat(T::zero());
    for &(plane, weight) in combination {
        sum = S::splat(T::of(weight)).mul_add(c[plane], sum);
    }
    sum
}
