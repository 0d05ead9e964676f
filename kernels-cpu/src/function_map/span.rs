//! A pass over part of a tensor: slots are formed, the function is applied, coordinates are formed.

use super::Function;
use super::slot_functions::{self as f, SlotFunction};
use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::planes::RawPlanes;
use crate::simd::{Simd, WithSimd};
use crate::slots::{self, Form, SlotMaxima, Watch, WithForm, with_form};

/// What a pass computes.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Value,
    Gradient,
}

/// `target[..len] = f(source[..len])`, or with `Gradient` `target = f'(source) target`.
pub(crate) struct Span<'a, T> {
    pub(super) arithmetic: &'a Arithmetic,
    pub(super) function: Function,
    pub(super) direction: Direction,
    pub(super) source: RawPlanes<T>,
    pub(super) target: RawPlanes<T>,
    pub(super) at: usize,
    pub(super) len: usize,
}

impl<T: Element> WithSimd<T> for Span<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.target.count, self)
    }
}

/// Forms of at most so many slots keep them in registers.
const IN_REGISTERS: usize = 2;

impl<T: Element, S: Simd<T>> WithForm<T, S> for Span<'_, T> {
    type Output = SlotMaxima;
    /// The functions that cost less than the memory they read are applied in registers, with code of
    /// their own for each form. The others share a strip, and [`apply`] is all their code.
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        match self.function {
            Function::Relu if N <= IN_REGISTERS => self.sweep(form, f::Relu {}),
            Function::LeakyRelu { slope } if N <= IN_REGISTERS => {
                self.sweep(form, f::LeakyRelu { slope })
            }
            Function::Square if N <= IN_REGISTERS => self.sweep(form, f::Square {}),
            _ => self.strips(form),
        }
    }
}

/// Vectors of slots in a strip: no more than half of AVX-512's registers (a gradient has two strips),
/// so that nothing that could be called a buffer ever holds slots, and enough that a call for each
/// costs little.
const STRIP: usize = 16;

impl<T: Element> Span<'_, T> {
    /// Element by element in registers.
    #[inline(always)]
    fn sweep<S, F, O, const D: usize, const N: usize>(self, form: F, function: O) -> SlotMaxima
    where
        S: Simd<T>,
        F: Form<T, S, D, N>,
        O: SlotFunction<T>,
    {
        let mut watch = Watch::<S, N>::new();
        let (dim, count) = (form.dim(), form.slots());
        let gradient = matches!(self.direction, Direction::Gradient);
        slots::sweep(
            self.len,
            S::LANES,
            #[inline(always)]
            |i, lanes| {
                let at = self.at + i;
                // SAFETY: whoever made the span owns `at..at + len` of both tensors.
                let x: [S; D] = unsafe { slots::load(&self.source, dim, at, lanes) };
                let mut x = form.split(&x);
                if gradient {
                    // SAFETY: as above.
                    let g: [S; D] = unsafe { slots::load(&self.target, dim, at, lanes) };
                    let g = form.split(&g);
                    watch.see(&g, count);
                    for k in 0..count {
                        x[k] = function.gradient(x[k], g[k]);
                    }
                } else {
                    watch.see(&x, count);
                    for k in 0..count {
                        x[k] = function.value(x[k]);
                    }
                }
                watch.see_finite(&x[..count]);
                // SAFETY: as above.
                unsafe { slots::store(&self.target, dim, at, lanes, &form.join(&x)) };
            },
        );
        watch.finish(count)
    }

    /// A strip at a time: slots of as many elements as fit, the function on all of them, back.
    #[inline(always)]
    fn strips<S, F, const D: usize, const N: usize>(self, form: F) -> SlotMaxima
    where
        S: Simd<T>,
        F: Form<T, S, D, N>,
    {
        let zero = S::splat(T::zero());
        let (mut strip, mut incoming) = ([zero; STRIP], [zero; STRIP]);
        let mut watch = Watch::<S, N>::new();
        let (dim, count) = (form.dim(), form.slots());
        let gradient = matches!(self.direction, Direction::Gradient);
        let most = STRIP / count * S::LANES;
        for start in (0..self.len).step_by(most) {
            let (at, len) = (self.at + start, (self.len - start).min(most));
            slots::sweep(
                len,
                S::LANES,
                #[inline(always)]
                |i, lanes| {
                    let here = i / S::LANES * count;
                    // SAFETY: whoever made the span owns `at..at + len` of both tensors.
                    let x: [S; D] = unsafe { slots::load(&self.source, dim, at + i, lanes) };
                    let x = form.split(&x);
                    strip[here..here + count].copy_from_slice(&x[..count]);
                    if gradient {
                        // SAFETY: as above.
                        let g: [S; D] = unsafe { slots::load(&self.target, dim, at + i, lanes) };
                        let g = form.split(&g);
                        watch.see(&g, count);
                        incoming[here..here + count].copy_from_slice(&g[..count]);
                    } else {
                        watch.see(&x, count);
                    }
                },
            );
            let used = len.div_ceil(S::LANES) * count;
            let incoming = gradient.then_some(&incoming[..used]);
            apply(self.function, &mut strip[..used], incoming);
            slots::sweep(
                len,
                S::LANES,
                #[inline(always)]
                |i, lanes| {
                    let here = i / S::LANES * count;
                    let mut y = [zero; N];
                    for k in 0..count {
                        // Lanes past the end hold the function of zero, which may be infinite.
                        y[k] = strip[here + k].first(lanes);
                    }
                    watch.see_finite(&y[..count]);
                    // SAFETY: as above.
                    unsafe { slots::store(&self.target, dim, at + i, lanes, &form.join(&y)) };
                },
            );
        }
        watch.finish(count)
    }
}

/// `x = f(x)`, or with incoming gradients `x = f'(x) g` from what the function saves.
///
/// Each function's two loops are compiled here, once for each kind of vector.
#[inline(always)]
fn apply<T: Element, S: Simd<T>>(function: Function, x: &mut [S], incoming: Option<&[S]>) {
    S::apart(
        #[inline(always)]
        || match function {
            Function::Exp => each(f::Exp {}, x, incoming),
            Function::Ln => each(f::Ln {}, x, incoming),
            Function::Sqrt => each(f::Sqrt {}, x, incoming),
            Function::Inverse => each(f::Inverse {}, x, incoming),
            Function::Abs => each(f::Abs {}, x, incoming),
            Function::Sign => each(f::Sign {}, x, incoming),
            Function::Relu => each(f::Relu {}, x, incoming),
            Function::LeakyRelu { slope } => each(f::LeakyRelu { slope }, x, incoming),
            Function::Elu { alpha } => each(f::Elu { alpha }, x, incoming),
            Function::Sigmoid => each(f::Sigmoid {}, x, incoming),
            Function::HardSigmoid { alpha, beta } => {
                each(f::HardSigmoid { alpha, beta }, x, incoming)
            }
            Function::Tanh => each(f::Tanh {}, x, incoming),
            Function::Softplus => each(f::Softplus {}, x, incoming),
            Function::Gelu => each(f::Gelu {}, x, incoming),
            Function::GeluTanh => each(f::GeluTanh {}, x, incoming),
            Function::Erf => each(f::Erf {}, x, incoming),
            Function::Silu => each(f::Silu {}, x, incoming),
            Function::Square => each(f::Square {}, x, incoming),
        },
    );
}

#[inline(always)]
fn each<T: Element, S: Simd<T>>(
    function: impl SlotFunction<T>,
    x: &mut [S],
    incoming: Option<&[S]>,
) {
    match incoming {
        None => {
            for x in x {
                *x = function.value(*x);
            }
        }
        Some(g) => {
            for (x, g) in x.iter_mut().zip(g) {
                *x = function.gradient(*x, *g);
            }
        }
    }
}
