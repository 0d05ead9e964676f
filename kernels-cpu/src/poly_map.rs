//! Polynomials of a tensor: `y = sum_k c_k x^k` and its gradients, slot by slot in registers.
//!
//! All ciphertexts under one key share their eigenvectors, so for coefficients `c_k` and an argument
//! `x` that are both encrypted
//!
//! ```text
//! sum_k C_k X^k = S diag(sum_k c_k m^k, sum_k d_k r^k) S^-1,
//! ```
//!
//! where `m, r` are the slots of X and `c_k, d_k` those of `C_k`. Evaluating each slot's own polynomial
//! equals Horner's rule in the algebra and costs less: in compact(2) a degree takes one fused
//! multiply-add for each of the two slots, where the rule in the algebra takes three products and
//! some six additions, and in blocks(2) eight products and eight additions. Splitting and joining are
//! paid once an element, whatever the degree.
//!
//! Within a slot the rule is a serial chain, so [`GROUP`] vectors run side by side. That keeps both
//! multiply-add units busy with the fewest operations there are.

mod graded;

pub(crate) use graded::Compose;

use crate::algebra::{Arithmetic, MAX_SLOTS};
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots::{self, Form, SlotMaxima, Watch, WithForm, with_form};
use crate::threads::Exec;

const NAME: &str = "poly_map";

/// Planes of a polynomial with `terms` plaintext coefficients, of an argument that is itself a
/// polynomial over an algebra of `dim` coordinates: degrees multiply.
pub fn composed_planes(dim: usize, planes: usize, terms: usize) -> usize {
    let degree = (planes / dim).saturating_sub(1);
    let composed = degree.saturating_mul(terms.saturating_sub(1));
    composed.saturating_add(1).saturating_mul(dim)
}

/// Most coefficients of a polynomial: degree 63.
pub const MAX_TERMS: usize = 64;

/// Vectors evaluated side by side: two units of four cycles' latency hold eight in flight. At degree
/// 63 in f32 one AVX-512 core does 109 multiply-adds a nanosecond with eight and 69 with four. Four
/// vectors split into even and odd powers do 112, but are no faster at degrees 3 and 7, and in
/// compact(2) on AVX2 over a third slower at degree 63.
const GROUP: usize = 8;

/// Groups whose products are summed in `T` before they are added to sums in f64.
const SUM_GROUPS: usize = 64;

/// The coefficients of a polynomial, that of `x^k` at index `k`; the same for every element.
#[derive(Debug, Clone, Copy)]
pub enum Coefficients<'a, T> {
    /// Known numbers.
    Constant(&'a [f64]),
    /// Elements of a tensor: plaintext (one plane) or ciphertexts (`dim` planes).
    Tensor(Planes<'a, T>),
}

impl<T: Element> Coefficients<'_, T> {
    fn len(&self) -> usize {
        match self {
            Coefficients::Constant(values) => values.len(),
            Coefficients::Tensor(planes) => planes.len(),
        }
    }

    fn planes(&self) -> usize {
        match self {
            Coefficients::Constant(_) => 1,
            Coefficients::Tensor(planes) => planes.count(),
        }
    }

    fn check(&self, arithmetic: &Arithmetic) -> Result<(), KernelError> {
        check_terms("coefficients", self.len())?;
        match self {
            Coefficients::Tensor(planes) => {
                planes.expect(NAME, "coefficients", &[1, arithmetic.dim()], planes.len())
            }
            Coefficients::Constant(values) => {
                match values.iter().position(|&c| !T::of(c).is_finite()) {
                    None => Ok(()),
                    Some(index) => Err(KernelError::NotFinite {
                        kernel: NAME,
                        operand: "coefficients",
                        index,
                    }),
                }
            }
        }
    }

    /// Slot `slot` of coefficient `k`; a plaintext has its value in each.
    fn slot(&self, arithmetic: &Arithmetic, slot: usize, k: usize) -> f64 {
        match self {
            Coefficients::Constant(values) => values[k],
            Coefficients::Tensor(planes) if planes.count() == arithmetic.dim() => {
                let row = &arithmetic.to_slots()[slot * arithmetic.dim()..][..arithmetic.dim()];
                let terms = row.iter().enumerate();
                terms.map(|(i, w)| w * planes.plane(i)[k].wide()).sum()
            }
            Coefficients::Tensor(planes) => planes.plane(0)[k].wide(),
        }
    }
}

/// Refuses a polynomial without coefficients or past the largest degree.
fn check_terms(operand: &'static str, has: usize) -> Result<(), KernelError> {
    let needs = has.clamp(1, MAX_TERMS);
    if has == needs {
        return Ok(());
    }
    Err(KernelError::Length {
        kernel: NAME,
        operand,
        needs,
        has,
    })
}

/// The polynomial of each slot, or its derivative: `[slot][power]`.
struct Polynomial<T> {
    slots: [[T; MAX_TERMS]; MAX_SLOTS],
    terms: usize,
}

impl<T: Element> Polynomial<T> {
    /// Coefficients that [`Coefficients::check`] has seen, each rounded once.
    fn new(arithmetic: &Arithmetic, coefficients: &Coefficients<'_, T>, derive: bool) -> Self {
        let shift = usize::from(derive);
        let count = coefficients.len() - shift;
        let mut slots = [[T::zero(); MAX_TERMS]; MAX_SLOTS];
        for (slot, row) in slots.iter_mut().enumerate().take(arithmetic.slots()) {
            for (k, to) in row.iter_mut().enumerate().take(count) {
                let c = coefficients.slot(arithmetic, slot, k + shift);
                *to = T::of(if derive { (k + 1) as f64 * c } else { c });
            }
        }
        Self {
            slots,
            // A constant's derivative is the constant zero.
            terms: count.max(1),
        }
    }
}

/// The memory traffic, in bytes an element, that takes as long as `terms` multiply-adds a slot: a
/// core does some 32 of them in the time in which it moves one number.
fn work<T: Element>(terms: usize, slots: usize) -> usize {
    terms * slots * size_of::<T>() / 32
}

/// Calls `body(v, at, count)` for each vector `v` of a group of `held` elements at `at`; vectors past
/// them have no element.
#[inline(always)]
fn vectors(at: usize, held: usize, lanes: usize, mut body: impl FnMut(usize, usize, usize)) {
    for v in 0..GROUP {
        let before = (v * lanes).min(held);
        body(v, at + before, (held - before).min(lanes));
    }
}

#[inline(always)]
fn horner<T: Element, S: Simd<T>>(coefficients: &[T], x: &[S; GROUP]) -> [S; GROUP] {
    let (&last, rest) = coefficients.split_last().expect("there is a coefficient");
    let mut y = [S::splat(last); GROUP];
    for &c in rest.iter().rev() {
        let c = S::splat(c);
        for v in 0..GROUP {
            y[v] = y[v].mul_add(x[v], c);
        }
    }
    y
}

/// `target = p(source)`, or with `gradient` `target = p(source) target`.
pub(crate) struct Evaluate<'a, T> {
    arithmetic: &'a Arithmetic,
    polynomial: &'a Polynomial<T>,
    source: RawPlanes<T>,
    target: RawPlanes<T>,
    gradient: bool,
    at: usize,
    len: usize,
}

impl<T: Element> WithSimd<T> for Evaluate<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.target.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Evaluate<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let zero = S::splat(T::zero());
        let mut watch = Watch::<S, N>::new();
        let (dim, count) = (form.dim(), form.slots());
        let terms = self.polynomial.terms;
        slots::sweep(
            self.len,
            GROUP * S::LANES,
            #[inline(always)]
            |i, held| {
                let at = self.at + i;
                let mut x = [[zero; GROUP]; N];
                vectors(
                    at,
                    held,
                    S::LANES,
                    #[inline(always)]
                    |v, at, lanes| {
                        // SAFETY: whoever made the body owns `at..at + len` of both tensors.
                        let slots = unsafe { slots::values(&form, &self.source, at, lanes) };
                        if !self.gradient {
                            watch.see(&slots, count);
                        }
                        for k in 0..count {
                            x[k][v] = slots[k];
                        }
                    },
                );
                for k in 0..count {
                    x[k] = horner(&self.polynomial.slots[k][..terms], &x[k]);
                }
                vectors(
                    at,
                    held,
                    S::LANES,
                    #[inline(always)]
                    |v, at, lanes| {
                        let mut y = [zero; N];
                        for k in 0..count {
                            y[k] = x[k][v];
                        }
                        if self.gradient {
                            // SAFETY: as above.
                            let g: [S; N] =
                                unsafe { slots::values(&form, &self.target, at, lanes) };
                            watch.see(&g, count);
                            for k in 0..count {
                                y[k] = y[k].mul(g[k]);
                            }
                        }
                        let c = form.join(&y);
                        // SAFETY: as above.
                        unsafe { slots::store(&self.target, dim, at, lanes, &c) };
                    },
                );
            },
        );
        // A plaintext argument is one slot, however many the result has.
        let plain = !self.gradient && self.source.count != dim;
        watch.finish(if plain { 1 } else { count })
    }
}

fn evaluate<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    polynomial: &Polynomial<T>,
    source: Planes<'_, T>,
    target: &mut PlanesMut<'_, T>,
    gradient: bool,
) -> SlotMaxima {
    let passes = target.count() * if gradient { 2 } else { 1 };
    let bytes = (source.count() + passes) * size_of::<T>();
    let (len, source, target) = (target.len(), source.raw(), target.raw());
    exec.spans(
        len,
        exec.isa.lanes::<T>() * GROUP,
        bytes + work::<T>(polynomial.terms, arithmetic.slots()),
        |range| {
            T::run_evaluate(
                exec.isa,
                Evaluate {
                    arithmetic,
                    polynomial,
                    source,
                    target,
                    gradient,
                    at: range.start,
                    len: range.len(),
                },
            )
        },
        SlotMaxima::merge,
    )
}

/// Computes `output = sum_k c_k input^k`, element by element.
///
/// Coefficients and `input` are plaintext or ciphertexts of `arithmetic`, and `output` has the planes
/// of the larger; of polynomials over an algebra, see [`composed_planes`], coefficients are plaintext.
/// It is evaluated in `T` by Horner's rule in each slot, so an error is at most
/// `2 (degree + 1) u sum_k |c_k x^k|` of that slot, on top of the slots' own. Returns the magnitudes of
/// the arguments' slots.
///
/// # Errors
/// When there is no coefficient or more than [`MAX_TERMS`], planes or lengths do not fit, or a constant
/// coefficient is not finite in `T`.
pub fn poly_map<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    coefficients: Coefficients<'_, T>,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    coefficients.check(arithmetic)?;
    if arithmetic.is_graded() && input.count() > 1 {
        return graded::compose(exec, arithmetic, &coefficients, input, output);
    }
    input.expect(NAME, "input", &[1, arithmetic.dim()], input.len())?;
    let planes = arithmetic.result_planes(coefficients.planes(), input.count());
    output.expect(NAME, "output", &[planes], input.len())?;
    let polynomial = Polynomial::new(arithmetic, &coefficients, false);
    Ok(evaluate(
        exec,
        arithmetic,
        &polynomial,
        input,
        output,
        false,
    ))
}

/// Multiplies `gradient` by `sum_k k c_k saved^(k-1)`, in place: the gradient by the argument.
///
/// `saved` is the argument of [`poly_map`]. `gradient` has the planes of the polynomial's value, or
/// those of a ciphertext. Returns the magnitudes of the incoming gradient's slots.
///
/// # Errors
/// As [`poly_map`].
pub fn poly_map_gradient<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    coefficients: Coefficients<'_, T>,
    saved: Planes<'_, T>,
    gradient: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    coefficients.check(arithmetic)?;
    saved.expect(NAME, "saved", &[1, arithmetic.dim()], saved.len())?;
    let planes = arithmetic.result_planes(coefficients.planes(), saved.count());
    gradient.expect(NAME, "gradient", &[planes, arithmetic.dim()], saved.len())?;
    let polynomial = Polynomial::new(arithmetic, &coefficients, true);
    Ok(evaluate(
        exec,
        arithmetic,
        &polynomial,
        saved,
        gradient,
        true,
    ))
}

/// `[slot][power]`: sums over elements of `g x^k`.
pub(crate) struct Sums([[f64; MAX_TERMS]; MAX_SLOTS]);

impl Sums {
    fn merge(mut self, other: Sums) -> Sums {
        for (sum, other) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *sum += other;
        }
        self
    }
}

/// Sums of `g x^k` for `k < terms`.
pub(crate) struct Moments<'a, T> {
    arithmetic: &'a Arithmetic,
    gradient: RawPlanes<T>,
    input: RawPlanes<T>,
    terms: usize,
    at: usize,
    len: usize,
}

impl<T: Element> WithSimd<T> for Moments<'_, T> {
    type Output = Sums;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> Sums {
        let planes = self.gradient.count.max(self.input.count);
        with_form::<T, S, _>(self.arithmetic, planes, self)
    }
}

#[inline(always)]
fn total<T: Element, S: Simd<T>>(x: &[S; GROUP]) -> S {
    let mut sums = *x;
    let mut half = GROUP / 2;
    while half > 0 {
        for v in 0..half {
            sums[v] = sums[v].add(sums[v + half]);
        }
        half /= 2;
    }
    sums[0]
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Moments<'_, T> {
    type Output = Sums;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> Sums {
        let zero = S::splat(T::zero());
        let (count, terms) = (form.slots(), self.terms);
        let mut sums = [[0.0; MAX_TERMS]; MAX_SLOTS];
        let mut block = [[zero; MAX_TERMS]; N];
        let group = GROUP * S::LANES;
        slots::sweep(
            self.len,
            SUM_GROUPS * group,
            #[inline(always)]
            |start, len| {
                for k in 0..count {
                    block[k][..terms].fill(zero);
                }
                slots::sweep(
                    len,
                    group,
                    #[inline(always)]
                    |i, held| {
                        let (mut x, mut product) = ([[zero; GROUP]; N], [[zero; GROUP]; N]);
                        vectors(
                            self.at + start + i,
                            held,
                            S::LANES,
                            #[inline(always)]
                            |v, at, lanes| {
                                // SAFETY: `poly_map_coefficient_gradient` checked that both tensors
                                // have these elements. Lanes past them are zero and add nothing.
                                let (a, g): ([S; N], [S; N]) = unsafe {
                                    (
                                        slots::values(&form, &self.input, at, lanes),
                                        slots::values(&form, &self.gradient, at, lanes),
                                    )
                                };
                                for k in 0..count {
                                    (x[k][v], product[k][v]) = (a[k], g[k]);
                                }
                            },
                        );
                        for k in 0..count {
                            let (x, mut product) = (x[k], product[k]);
                            for sum in &mut block[k][..terms] {
                                *sum = sum.add(total(&product));
                                for v in 0..GROUP {
                                    product[v] = product[v].mul(x[v]);
                                }
                            }
                        }
                    },
                );
                for k in 0..count {
                    for (sum, block) in sums[k].iter_mut().zip(&block[k][..terms]) {
                        *sum += block.lanes().iter().map(|x| x.wide()).sum::<f64>();
                    }
                }
            },
        );
        Sums(sums)
    }
}

/// The gradient by the coefficients: element `k` of `output` is the sum over elements of
/// `gradient input^k`.
///
/// Both operands are plaintext or ciphertexts of `arithmetic`, and `output` has the planes of the
/// larger and as many elements as there are coefficients. Sums are carried in f64 between blocks of a
/// few thousand elements. The same number of threads and instruction set give the same bits.
///
/// # Errors
/// When `output` has no element or more than [`MAX_TERMS`], or planes or lengths do not fit.
pub fn poly_map_coefficient_gradient<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    gradient: Planes<'_, T>,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let either = [1, arithmetic.dim()];
    gradient.expect(NAME, "gradient", &either, gradient.len())?;
    input.expect(NAME, "input", &either, gradient.len())?;
    let count = output.len();
    check_terms("output", count)?;
    let planes = arithmetic.result_planes(gradient.count(), input.count());
    output.expect(NAME, "output", &[planes], count)?;
    let bytes = (gradient.count() + input.count()) * size_of::<T>();
    let (len, gradient, input) = (gradient.len(), gradient.raw(), input.raw());
    let Sums(sums) = exec.spans(
        len,
        exec.isa.lanes::<T>() * GROUP,
        bytes + 2 * work::<T>(count, arithmetic.slots()),
        |range| {
            T::run_moments(
                exec.isa,
                Moments {
                    arithmetic,
                    gradient,
                    input,
                    terms: count,
                    at: range.start,
                    len: range.len(),
                },
            )
        },
        Sums::merge,
    );
    for i in 0..planes {
        for (k, to) in output.plane_mut(i).iter_mut().enumerate() {
            *to = T::of(if planes == 1 {
                sums[0][k]
            } else {
                let row = arithmetic.from_slots().chunks(arithmetic.slots()).nth(i);
                let row = row.expect("there is a row for each plane").iter();
                row.zip(&sums).map(|(w, sums)| w * sums[k]).sum()
            });
        }
    }
    Ok(())
}
