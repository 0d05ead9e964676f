//! Averages of relu(x) over windows, and their gradient by x, without relu(x) in memory: tensors of
//! images are large, and each pass over one that falls away counts.

use super::{Covered, NAME, Pool, PoolShape, Windows, refuse, run};
use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::images::Axis;
use crate::isa::Isa;
use crate::planes::{Planes, PlanesMut};
use crate::simd::{Simd, WithSimd};
use crate::slots::{self, Form, SlotMaxima, Watch, WithForm, with_form};
use crate::threads::Exec;

fn averages(pool: Pool) -> Result<(), KernelError> {
    match pool {
        Pool::Average | Pool::AverageWithPadding => Ok(()),
        Pool::Max => refuse("a maximum of relu(x) is relu of a maximum"),
    }
}

/// The average of `max(x, 0)`, slot by slot, over each window of `input`.
///
/// Returns the magnitudes of the input's slots.
///
/// # Errors
/// As [`pool`](super::pool), or when `pool` is no average.
pub fn rectified_pool<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &PoolShape,
    pool: Pool,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    averages(pool)?;
    shape.check()?;
    let planes = output.count();
    output.expect(NAME, "output", &[1, arithmetic.dim()], shape.output_len())?;
    input.expect(NAME, "input", &[planes], shape.input_len())?;
    shape.check_windows()?;
    let (input, output) = (input.raw(), output.raw());
    Ok(run(
        exec, arithmetic, shape, pool, None, input, output, rectified,
    ))
}

/// The gradient of [`rectified_pool`] by its input, from the input and the output's gradient.
///
/// Returns the magnitudes of the slots of the gradient by relu(x).
///
/// # Errors
/// As [`pool_gradient`](super::pool_gradient), or when `pool` is no average.
pub fn rectified_pool_gradient<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &PoolShape,
    pool: Pool,
    input: Planes<'_, T>,
    gradient: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<SlotMaxima, KernelError> {
    averages(pool)?;
    shape.check()?;
    let planes = output.count();
    output.expect(NAME, "output", &[1, arithmetic.dim()], shape.input_len())?;
    input.expect(NAME, "input", &[planes], shape.input_len())?;
    gradient.expect(NAME, "gradient", &[planes], shape.output_len())?;
    shape.check_windows()?;
    let (input, gradient, output) = (input.raw(), Some(gradient.raw()), output.raw());
    Ok(run(
        exec, arithmetic, shape, pool, gradient, input, output, rectified,
    ))
}

fn rectified<T: Element>(isa: Isa, windows: Windows<'_, T>) -> SlotMaxima {
    T::run_rectified(isa, Rectified(windows))
}

/// Windows over relu of their input.
pub(crate) struct Rectified<'a, T>(Windows<'a, T>);

impl<T: Element> WithSimd<T> for Rectified<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        with_form::<T, S, _>(self.0.arithmetic, self.0.output.count, self)
    }
}

impl<T: Element, S: Simd<T>> WithForm<T, S> for Rectified<'_, T> {
    type Output = SlotMaxima;
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        if self.0.gradient.is_some() {
            self.backward(form)
        } else {
            self.forward(form)
        }
    }
}

impl<T: Element> Rectified<'_, T> {
    #[inline(always)]
    fn forward<S, F, const D: usize, const N: usize>(self, form: F) -> SlotMaxima
    where
        S: Simd<T>,
        F: Form<T, S, D, N>,
    {
        let windows = &self.0;
        let mut watch = Watch::<S, N>::new();
        let (dim, count) = (form.dim(), form.slots());
        let zero = S::splat(T::zero());
        let [rows, columns] = &windows.axes;
        for channel in windows.channels() {
            let width = channel.width;
            for row in 0..rows.output {
                let (row_taps, row_share) = (rows.taps(row), windows.share(0, row));
                for column in 0..columns.output {
                    let column_taps = columns.taps(column);
                    let share = S::splat(T::of(row_share * windows.share(1, column)));
                    let place = channel.places + (row * columns.output + column) * width;
                    let covered = Covered::new(&row_taps, &column_taps, columns.input, width);
                    slots::sweep(
                        width,
                        S::LANES,
                        #[inline(always)]
                        |image, lanes| {
                            let mut sum = [zero; N];
                            let first = channel.elements.wrapping_add(covered.first) + image;
                            for y in 0..covered.rows {
                                for x in 0..covered.columns {
                                    let at = first
                                        .wrapping_add_signed(y as isize * covered.row_step)
                                        .wrapping_add_signed(x as isize * covered.column_step);
                                    // SAFETY: the tap lies on the channel's elements.
                                    let c: [S; D] =
                                        unsafe { slots::load(&windows.input, dim, at, lanes) };
                                    let s = form.split(&c);
                                    watch.see(&s, count);
                                    for k in 0..count {
                                        sum[k] = sum[k].add(zero.max(s[k]));
                                    }
                                }
                            }
                            for k in 0..count {
                                sum[k] = sum[k].mul(share);
                            }
                            let c = form.join(&sum);
                            // SAFETY: the place lies in the channel, which is this task's.
                            unsafe { slots::store(&windows.output, dim, place + image, lanes, &c) };
                        },
                    );
                }
            }
        }
        watch.finish(count)
    }

    /// Each element gathers its shares from the places whose windows cover it, plane by plane, and
    /// keeps the slots in which it is above zero.
    #[inline(always)]
    fn backward<S, F, const D: usize, const N: usize>(self, form: F) -> SlotMaxima
    where
        S: Simd<T>,
        F: Form<T, S, D, N>,
    {
        let windows = &self.0;
        let Some(gradient) = &windows.gradient else {
            return SlotMaxima::NONE;
        };
        let mut watch = Watch::<S, N>::new();
        let (dim, count) = (form.dim(), form.slots());
        let [rows, columns] = windows.axes.map(Axis::swap);
        let (whole, all) = windows.whole_share::<S>();
        for channel in windows.channels() {
            let width = channel.width;
            for row in 0..rows.input {
                let row_taps = rows.taps(row);
                for column in 0..columns.input {
                    let column_taps = columns.taps(column);
                    let element = channel.elements + (row * columns.input + column) * width;
                    let covered = Covered::new(&row_taps, &column_taps, columns.output, width);
                    slots::sweep(
                        width,
                        S::LANES,
                        #[inline(always)]
                        |image, lanes| {
                            let mut c = [S::splat(T::zero()); D];
                            for i in 0..dim {
                                let from = gradient.plane(i).wrapping_add(channel.places + image);
                                let from = from.wrapping_add(covered.first);
                                // SAFETY: the places lie in the channel.
                                let sum: S = unsafe {
                                    if whole {
                                        covered.sum::<T, S>(from, lanes)
                                    } else {
                                        covered.weigh::<T, S>(from, lanes, |y, x| {
                                            let y = windows.share(0, row_taps.source_at(y));
                                            y * windows.share(1, column_taps.source_at(x))
                                        })
                                    }
                                };
                                c[i] = sum.mul(all);
                            }
                            let mut g = form.split(&c);
                            watch.see(&g, count);
                            // SAFETY: the element lies in the channel, which is this task's.
                            unsafe {
                                let x: [S; D] =
                                    slots::load(&windows.input, dim, element + image, lanes);
                                let x = form.split(&x);
                                for k in 0..count {
                                    g[k] = g[k].where_positive(x[k]);
                                }
                                let c = form.join(&g);
                                slots::store(&windows.output, dim, element + image, lanes, &c);
                            }
                        },
                    );
                }
            }
        }
        watch.finish(count)
    }
}
