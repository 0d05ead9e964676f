//! Sums along an axis, slot magnitudes, and losses, which are sums over slots.

use crate::algebra::{Arithmetic, MAX_SLOTS};
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::portable::Vector;
use crate::simd::{Simd, WithSimd};
use crate::slots::{self, Form, SlotMaxima, Watch, WithForm, with_form};
use crate::threads::Exec;

const NAME: &str = "reduce";

/// A vector of one: losses walk rows an element at a time.
type Scalar<T> = Vector<T, 1>;

fn one<T: Element>(x: T) -> Scalar<T> {
    <Scalar<T> as Simd<T>>::splat(x)
}

fn value<T: Element>(x: Scalar<T>) -> T {
    x.lanes()[0]
}

/// Sums the rows of a rows x columns matrix into one row of `columns` elements.
///
/// # Errors
/// When planes or lengths differ.
pub fn sum_rows<T: Element>(
    exec: &Exec,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let columns = output.len();
    input.expect(NAME, "input", &[output.count()], input.len())?;
    let rows = input.len().checked_div(columns).unwrap_or(0);
    input.expect(NAME, "input", &[output.count()], rows * columns)?;
    for i in 0..output.count() {
        let (from, to) = (input.plane(i), output.plane_mut(i));
        exec.isa.run(SumRows { from, to });
    }
    Ok(())
}

struct SumRows<'a, T> {
    from: &'a [T],
    to: &'a mut [T],
}

impl<T: Element> WithSimd<T> for SumRows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        let columns = self.to.len();
        slots::sweep(columns, S::LANES, |at, count| {
            let mut sum = S::splat(T::zero());
            for row in self.from.chunks_exact(columns) {
                let row = &row[at..at + count];
                // SAFETY: `row` has `count` elements.
                sum = sum.add(unsafe {
                    if count == S::LANES {
                        S::load(row.as_ptr())
                    } else {
                        S::load_partial(row.as_ptr(), count)
                    }
                });
            }
            // SAFETY: `at + count <= columns`.
            unsafe { sum.store_partial(self.to[at..].as_mut_ptr(), count) };
        });
    }
}

/// The magnitudes of a tensor's slots, for the mask guard.
///
/// # Errors
/// When the planes are neither plaintext nor ciphertexts of `arithmetic`.
pub fn slot_maxima<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    values: Planes<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    values.expect(NAME, "values", &[1, arithmetic.dim()], values.len())?;
    let (planes, bytes) = (values.raw(), values.count() * size_of::<T>());
    Ok(exec.spans(
        values.len(),
        exec.isa.lanes::<T>(),
        bytes,
        |range| {
            exec.isa.run(Maxima {
                arithmetic,
                planes,
                at: range.start,
                len: range.len(),
            })
        },
        SlotMaxima::merge,
    ))
}

struct Maxima<'a, T> {
    arithmetic: &'a Arithmetic,
    planes: RawPlanes<T>,
    at: usize,
    len: usize,
}

impl<T: Element> WithSimd<T> for Maxima<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.arithmetic, self.planes.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Maxima<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let mut watch = Watch::<S, N>::new();
        slots::sweep(self.len, S::LANES, |i, count| {
            // SAFETY: `slot_maxima` checked that the planes have these elements.
            let c = unsafe { slots::load::<T, S, D>(&self.planes, form.dim(), self.at + i, count) };
            watch.see(&form.split(&c), form.slots());
        });
        watch.finish(form.slots())
    }
}

/// Operands of a loss: predictions and targets, both rows x columns.
struct Pair<T> {
    predicted: RawPlanes<T>,
    target: RawPlanes<T>,
    rows: usize,
    columns: usize,
}

impl<T: Element> Pair<T> {
    fn new(
        arithmetic: &Arithmetic,
        predicted: &Planes<'_, T>,
        target: &Planes<'_, T>,
        columns: usize,
    ) -> Result<Self, KernelError> {
        let planes = predicted.count();
        predicted.expect(NAME, "predictions", &[1, arithmetic.dim()], predicted.len())?;
        target.expect(NAME, "targets", &[planes, 1], predicted.len())?;
        let rows = predicted.len().checked_div(columns).unwrap_or(0);
        predicted.expect(NAME, "predictions", &[planes], rows * columns)?;
        Ok(Self {
            predicted: predicted.raw(),
            target: target.raw(),
            rows,
            columns,
        })
    }

    /// The slots of prediction `at`.
    #[inline(always)]
    fn predicted<F, const D: usize, const N: usize>(&self, form: &F, at: usize) -> [T; N]
    where
        F: Form<T, Scalar<T>, D, N>,
    {
        // SAFETY: `at < rows * columns`, which `new` checked.
        let c = unsafe { slots::load::<T, Scalar<T>, D>(&self.predicted, form.dim(), at, 1) };
        form.split(&c).map(value)
    }

    /// The slots of target `at`; a plaintext has its value in each.
    #[inline(always)]
    fn target<F, const D: usize, const N: usize>(&self, form: &F, at: usize) -> [T; N]
    where
        F: Form<T, Scalar<T>, D, N>,
    {
        // SAFETY: as above.
        unsafe {
            if self.target.count == form.dim() {
                let c = slots::load::<T, Scalar<T>, D>(&self.target, form.dim(), at, 1);
                form.split(&c).map(value)
            } else {
                [*self.target.plane(0).wrapping_add(at); N]
            }
        }
    }

    /// Per slot, a row's maximum and the sum of `exp(x - maximum)`.
    #[inline(always)]
    fn softmax<F, const D: usize, const N: usize>(
        &self,
        form: &F,
        row: usize,
        watch: &mut Watch<Scalar<T>, N>,
    ) -> ([T; N], [T; N])
    where
        F: Form<T, Scalar<T>, D, N>,
    {
        let mut top = [T::neg_infinity(); N];
        let mut sum = [T::zero(); N];
        let elements = row * self.columns..(row + 1) * self.columns;
        for at in elements.clone() {
            let x = self.predicted(form, at);
            watch.see(&x.map(one), form.slots());
            for k in 0..form.slots() {
                top[k] = top[k].max(x[k]);
            }
        }
        for at in elements {
            let x = self.predicted(form, at);
            for k in 0..form.slots() {
                sum[k] = sum[k] + (x[k] - top[k]).exp();
            }
        }
        (top, sum)
    }
}

/// Writes an element with these slots.
///
/// # Safety
/// Element `at` of `output` is the caller's to write.
unsafe fn put<T: Element, F, const D: usize, const N: usize>(
    form: &F,
    output: &RawPlanes<T>,
    at: usize,
    slots: [T; N],
) where
    F: Form<T, Scalar<T>, D, N>,
{
    let c = form.join(&slots.map(one));
    // SAFETY: the caller's promise.
    unsafe { slots::store(output, form.dim(), at, 1, &c) };
}

/// Mean over rows of `-sum(target ln softmax(predicted))`, slot by slot, the row's maximum taken
/// off before the exponential. Writes one element and returns the magnitudes of the logits' slots.
///
/// # Errors
/// When planes or lengths differ, or `loss` is not one element.
pub fn softmax_cross_entropy<T: Element>(
    arithmetic: &Arithmetic,
    logits: Planes<'_, T>,
    targets: Planes<'_, T>,
    columns: usize,
    loss: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    let pair = Pair::new(arithmetic, &logits, &targets, columns)?;
    loss.expect(NAME, "loss", &[logits.count()], 1)?;
    let body = CrossEntropy {
        pair: &pair,
        output: loss.raw(),
        rows: 0..pair.rows,
        loss: true,
    };
    Ok(with_form::<T, Scalar<T>, _>(
        arithmetic,
        logits.count(),
        body,
    ))
}

/// Gradient of [`softmax_cross_entropy`] by the logits: `(softmax(logits) - target) / rows`.
///
/// # Errors
/// When planes or lengths differ.
pub fn softmax_cross_entropy_gradient<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    logits: Planes<'_, T>,
    targets: Planes<'_, T>,
    columns: usize,
    gradient: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    let pair = Pair::new(arithmetic, &logits, &targets, columns)?;
    gradient.expect(NAME, "gradient", &[logits.count()], logits.len())?;
    let output = gradient.raw();
    // An exponential costs as much as moving some 64 bytes.
    let bytes = 64 * columns * logits.count();
    Ok(exec.spans(
        pair.rows,
        1,
        bytes,
        |rows| {
            let body = CrossEntropy {
                pair: &pair,
                output,
                rows,
                loss: false,
            };
            with_form::<T, Scalar<T>, _>(arithmetic, logits.count(), body)
        },
        SlotMaxima::merge,
    ))
}

struct CrossEntropy<'a, T> {
    pair: &'a Pair<T>,
    output: RawPlanes<T>,
    rows: std::ops::Range<usize>,
    loss: bool,
}

impl<T: Element> WithForm<T, Scalar<T>> for CrossEntropy<'_, T> {
    type Output = SlotMaxima;
    fn run<F: Form<T, Scalar<T>, D, N>, const D: usize, const N: usize>(
        self,
        form: F,
    ) -> SlotMaxima {
        let Self {
            pair,
            output,
            rows,
            loss,
        } = self;
        let mut watch = Watch::<Scalar<T>, N>::new();
        let scale = T::one() / T::of(pair.rows.max(1) as f64);
        let mut total = [T::zero(); N];
        for row in rows {
            let (top, sum) = pair.softmax(&form, row, &mut watch);
            let ln_sum = sum.map(T::ln);
            for at in row * pair.columns..(row + 1) * pair.columns {
                let x = pair.predicted(&form, at);
                let y = pair.target(&form, at);
                let mut slots = [T::zero(); N];
                for k in 0..form.slots() {
                    let x = x[k] - top[k];
                    if loss {
                        total[k] = total[k] - y[k] * (x - ln_sum[k]);
                    } else {
                        slots[k] = (x.exp() / sum[k] - y[k]) * scale;
                    }
                }
                if !loss {
                    // SAFETY: the gradient has rows x columns elements, and each thread its rows.
                    unsafe { put(&form, &output, at, slots) };
                }
            }
        }
        if loss {
            // SAFETY: the loss has one element, and one thread computes it.
            unsafe { put(&form, &output, 0, total.map(|x| x * scale)) };
        }
        watch.finish(form.slots())
    }
}

/// Mean over all elements of `(predicted - target)^2`, slot by slot. Writes one element and returns
/// the magnitudes of the predictions' slots.
///
/// # Errors
/// When planes or lengths differ, or `loss` is not one element.
pub fn mean_squared_error<T: Element>(
    arithmetic: &Arithmetic,
    predicted: Planes<'_, T>,
    targets: Planes<'_, T>,
    loss: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    let pair = Pair::new(arithmetic, &predicted, &targets, 1)?;
    loss.expect(NAME, "loss", &[predicted.count()], 1)?;
    let body = SquaredError {
        pair: &pair,
        output: loss.raw(),
    };
    Ok(with_form::<T, Scalar<T>, _>(
        arithmetic,
        predicted.count(),
        body,
    ))
}

struct SquaredError<'a, T> {
    pair: &'a Pair<T>,
    output: RawPlanes<T>,
}

impl<T: Element> WithForm<T, Scalar<T>> for SquaredError<'_, T> {
    type Output = SlotMaxima;
    fn run<F: Form<T, Scalar<T>, D, N>, const D: usize, const N: usize>(
        self,
        form: F,
    ) -> SlotMaxima {
        let mut watch = Watch::<Scalar<T>, N>::new();
        let scale = T::one() / T::of(self.pair.rows.max(1) as f64);
        let mut total = [T::zero(); MAX_SLOTS];
        for at in 0..self.pair.rows {
            let x = self.pair.predicted(&form, at);
            let y = self.pair.target(&form, at);
            watch.see(&x.map(one), form.slots());
            for k in 0..form.slots() {
                total[k] = total[k] + (x[k] - y[k]) * (x[k] - y[k]);
            }
        }
        let slots = std::array::from_fn(|k| total[k] * scale);
        // SAFETY: the loss has one element, and one thread computes it.
        unsafe { put(&form, &self.output, 0, slots) };
        watch.finish(form.slots())
    }
}
