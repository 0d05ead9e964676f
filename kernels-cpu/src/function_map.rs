//! Functions of a ciphertext: `f(C) = S diag(f(m), f(r)) S^-1`, evaluated slot by slot in registers.

use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd, functions};
use crate::slots::{self, Form, SlotMaxima, Watch, WithForm, with_form};
use crate::threads::Exec;

const NAME: &str = "function_map";

/// A function applied to each slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// `max(x, 0)`; its derivative is 1 above zero and 0 elsewhere.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `x^2`.
    Square,
}

/// What a derivative is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The function's argument.
    Input,
    /// The function's value, so that the argument need not be kept.
    Output,
}

impl Function {
    /// Every function.
    pub const ALL: [Function; 4] = [
        Function::Relu,
        Function::Sigmoid,
        Function::Tanh,
        Function::Square,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Function::Relu => "relu",
            Function::Sigmoid => "sigmoid",
            Function::Tanh => "tanh",
            Function::Square => "square",
        }
    }

    /// What [`function_map_gradient`] takes as `saved`.
    pub fn saved(self) -> Saved {
        match self {
            // ReLU's value is zero in one slot where it is not in another, and a zero does not survive
            // the way through coordinates exactly, so the sign is read off the argument.
            Function::Relu | Function::Square => Saved::Input,
            Function::Sigmoid | Function::Tanh => Saved::Output,
        }
    }
}

/// A function and its derivative on a vector of slots.
trait SlotFunction<T: Element> {
    fn value<S: Simd<T>>(x: S) -> S;
    /// `f'(x) g`, from what [`Function::saved`] names.
    fn gradient<S: Simd<T>>(saved: S, g: S) -> S;
}

struct Relu;
impl<T: Element> SlotFunction<T> for Relu {
    #[inline(always)]
    fn value<S: Simd<T>>(x: S) -> S {
        x.max(S::splat(T::zero()))
    }
    #[inline(always)]
    fn gradient<S: Simd<T>>(saved: S, g: S) -> S {
        g.where_positive(saved)
    }
}

struct Sigmoid;
impl<T: Element> SlotFunction<T> for Sigmoid {
    #[inline(always)]
    fn value<S: Simd<T>>(x: S) -> S {
        let one = S::splat(T::one());
        let fall = functions::exp(S::splat(T::zero()).sub(x));
        one.div(one.add(fall))
    }
    #[inline(always)]
    fn gradient<S: Simd<T>>(saved: S, g: S) -> S {
        saved.mul(S::splat(T::one()).sub(saved)).mul(g)
    }
}

struct Tanh;
impl<T: Element> SlotFunction<T> for Tanh {
    #[inline(always)]
    fn value<S: Simd<T>>(x: S) -> S {
        x.each(T::tanh)
    }
    #[inline(always)]
    fn gradient<S: Simd<T>>(saved: S, g: S) -> S {
        let one = S::splat(T::one());
        one.sub(saved).mul(one.add(saved)).mul(g)
    }
}

struct Square;
impl<T: Element> SlotFunction<T> for Square {
    #[inline(always)]
    fn value<S: Simd<T>>(x: S) -> S {
        x.mul(x)
    }
    #[inline(always)]
    fn gradient<S: Simd<T>>(saved: S, g: S) -> S {
        saved.add(saved).mul(g)
    }
}

/// What a pass computes.
#[derive(Clone, Copy)]
enum Direction {
    Value,
    Gradient,
}

/// `target[..len] = f(source[..len])`, or with `Gradient` `target = f'(source) target`.
pub(crate) struct Span<'a, T> {
    arithmetic: &'a Arithmetic,
    function: Function,
    direction: Direction,
    source: RawPlanes<T>,
    target: RawPlanes<T>,
    at: usize,
    len: usize,
}

impl<T: Element> WithSimd<T> for Span<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.target.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Span<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        match self.function {
            Function::Relu => self.sweep::<Relu, S, F, D, N>(form),
            Function::Sigmoid => self.sweep::<Sigmoid, S, F, D, N>(form),
            Function::Tanh => self.sweep::<Tanh, S, F, D, N>(form),
            Function::Square => self.sweep::<Square, S, F, D, N>(form),
        }
    }
}

impl<T: Element> Span<'_, T> {
    #[inline(always)]
    fn sweep<O, S, F, const D: usize, const N: usize>(self, form: F) -> SlotMaxima
    where
        O: SlotFunction<T>,
        S: Simd<T>,
        F: Form<T, S, D, N>,
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
                        x[k] = O::gradient(x[k], g[k]);
                    }
                } else {
                    watch.see(&x, count);
                    for k in 0..count {
                        x[k] = O::value(x[k]);
                    }
                }
                let c = form.join(&x);
                // SAFETY: as above.
                unsafe { slots::store(&self.target, dim, at, lanes, &c) };
            },
        );
        watch.finish(count)
    }
}

/// The body by which the epilogue of a matrix product applies an activation to elements
/// `at..at + len` it has just written.
///
/// # Safety
/// The caller has sole access to those elements of every plane while the span runs.
pub(crate) unsafe fn in_place<T: Element>(
    arithmetic: &Arithmetic,
    function: Function,
    target: RawPlanes<T>,
    at: usize,
    len: usize,
) -> Span<'_, T> {
    Span {
        arithmetic,
        function,
        direction: Direction::Value,
        source: target,
        target,
        at,
        len,
    }
}

/// A pass over all of `target`; without a source it reads the target.
fn pass<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    function: Function,
    direction: Direction,
    source: Option<RawPlanes<T>>,
    target: &mut PlanesMut<'_, T>,
) -> SlotMaxima {
    let bytes = 2 * target.count() * size_of::<T>();
    let len = target.len();
    let target = target.raw();
    let source = source.unwrap_or(target);
    exec.spans(
        len,
        exec.isa.lanes::<T>(),
        bytes,
        |range| {
            let (at, len) = (range.start, range.len());
            T::run_span(
                exec.isa,
                Span {
                    arithmetic,
                    function,
                    direction,
                    source,
                    target,
                    at,
                    len,
                },
            )
        },
        SlotMaxima::merge,
    )
}

/// Applies `function` to each element of `input` and writes `output`.
///
/// Both are plaintext (one plane) or ciphertexts of `arithmetic` (`dim` planes). Returns the
/// magnitudes of the arguments' slots.
///
/// # Errors
/// When planes or lengths differ.
pub fn function_map<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    function: Function,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    output.expect(NAME, "output", &[1, arithmetic.dim()], output.len())?;
    input.expect(NAME, "input", &[output.count()], output.len())?;
    Ok(pass(
        exec,
        arithmetic,
        function,
        Direction::Value,
        Some(input.raw()),
        output,
    ))
}

/// Applies `function` to each element of `values`, in place.
///
/// # Errors
/// When the planes are neither plaintext nor ciphertexts of `arithmetic`.
pub fn function_map_in_place<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    function: Function,
    values: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    values.expect(NAME, "values", &[1, arithmetic.dim()], values.len())?;
    Ok(pass(
        exec,
        arithmetic,
        function,
        Direction::Value,
        None,
        values,
    ))
}

/// Multiplies `gradient` by the function's derivative, slot by slot, in place.
///
/// `saved` is the function's argument or value, as [`Function::saved`] says. Returns the magnitudes
/// of the incoming gradient's slots.
///
/// # Errors
/// When planes or lengths differ.
pub fn function_map_gradient<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    function: Function,
    saved: Planes<'_, T>,
    gradient: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    gradient.expect(NAME, "gradient", &[1, arithmetic.dim()], gradient.len())?;
    saved.expect(NAME, "saved", &[gradient.count()], gradient.len())?;
    Ok(pass(
        exec,
        arithmetic,
        function,
        Direction::Gradient,
        Some(saved.raw()),
        gradient,
    ))
}
