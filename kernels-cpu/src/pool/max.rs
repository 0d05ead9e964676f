//! Maxima over windows and their gradient, slot by slot in registers.

use super::Windows;
use crate::element::Element;
use crate::simd::Simd;
use crate::slots::{self, Form, SlotMaxima, Watch, WithForm};

impl<T: Element, S: Simd<T>> WithForm<T, S> for Windows<'_, T> {
    type Output = SlotMaxima;
    /// The maximum, or its gradient.
    #[inline(always)]
    fn run<F: Form<T, S, D, N>, const D: usize, const N: usize>(self, form: F) -> SlotMaxima {
        let mut watch = Watch::<S, N>::new();
        let (dim, count) = (form.dim(), form.slots());
        let [rows, columns] = &self.axes;
        for channel in self.channels() {
            let width = channel.width;
            if self.gradient.is_some() {
                for plane in 0..dim {
                    let len = rows.input * columns.input * width;
                    let to = self.output.plane(plane).wrapping_add(channel.elements);
                    // SAFETY: the channel is this task's; zero is all bits zero.
                    unsafe { to.write_bytes(0, len) };
                }
            }
            for row in 0..rows.output {
                let row_taps = rows.taps(row);
                for column in 0..columns.output {
                    let column_taps = columns.taps(column);
                    let place = channel.places + (row * columns.output + column) * width;
                    slots::sweep(
                        width,
                        S::LANES,
                        #[inline(always)]
                        |image, lanes| {
                            let at = |y: usize, x: usize| {
                                channel.elements + (y * columns.input + x) * width + image
                            };
                            let zero = S::splat(T::zero());
                            let (mut top, mut winner) = ([zero; N], [zero; N]);
                            let mut nth = T::zero();
                            for (_, y) in row_taps.iter() {
                                for (_, x) in column_taps.iter() {
                                    // SAFETY: the tap lies on the channel's elements.
                                    let c: [S; D] =
                                        unsafe { slots::load(&self.input, dim, at(y, x), lanes) };
                                    let s = form.split(&c);
                                    watch.see(&s, count);
                                    for k in 0..count {
                                        if nth == T::zero() {
                                            top[k] = s[k];
                                            continue;
                                        }
                                        // The number of the tap, in the lanes where it wins.
                                        let ahead = S::splat(nth).sub(winner[k]);
                                        let ahead = ahead.where_positive(s[k].sub(top[k]));
                                        winner[k] = winner[k].add(ahead);
                                        top[k] = s[k].max(top[k]);
                                    }
                                    nth = nth + T::one();
                                }
                            }
                            let Some(gradient) = &self.gradient else {
                                // SAFETY: the place lies in the channel, which is this task's.
                                unsafe {
                                    let c = form.join(&top);
                                    slots::store(&self.output, dim, place + image, lanes, &c);
                                }
                                return;
                            };
                            // SAFETY: the place is there, by the checks of `pool_gradient`.
                            let g: [S; D] =
                                unsafe { slots::load(gradient, dim, place + image, lanes) };
                            let g = form.split(&g);
                            let half = S::splat(T::of(0.5));
                            let mut nth = T::zero();
                            for (_, y) in row_taps.iter() {
                                for (_, x) in column_taps.iter() {
                                    let mut part = [zero; N];
                                    for k in 0..count {
                                        let distance = winner[k].sub(S::splat(nth)).abs();
                                        part[k] = g[k].where_positive(half.sub(distance));
                                    }
                                    let part = form.join(&part);
                                    // SAFETY: the element lies in the channel, which is this task's.
                                    unsafe {
                                        let at = at(y, x);
                                        let mut sum: [S; D] =
                                            slots::load(&self.output, dim, at, lanes);
                                        for i in 0..dim {
                                            sum[i] = sum[i].add(part[i]);
                                        }
                                        slots::store(&self.output, dim, at, lanes, &sum);
                                    }
                                    nth = nth + T::one();
                                }
                            }
                        },
                    );
                }
            }
        }
        watch.finish(count)
    }
}
