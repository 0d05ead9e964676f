//! Averages over windows and their gradient, plane by plane.

use super::{Covered, Pool, Windows};
use crate::element::Element;
use crate::images::Axis;
use crate::planes::RawPlanes;
use crate::simd::Simd;
use crate::slots::{self, SlotMaxima};

impl<T: Element> Windows<'_, T> {
    /// Whether every window along `axis` covers as many elements as it has taps.
    fn whole(&self, axis: usize) -> bool {
        let along = &self.axes[axis];
        let last = along.output.saturating_sub(1);
        along.padding == 0 && along.taps(last).count == along.kernel
    }

    /// Whether all windows are whole, and the factor that then serves for all, at the end.
    #[inline(always)]
    pub(super) fn whole_share<S: Simd<T>>(&self) -> (bool, S) {
        let whole = self.whole(0) && self.whole(1);
        let taps = self.shape.kernel[0] * self.shape.kernel[1];
        let share = if whole { 1.0 / taps as f64 } else { 1.0 };
        (whole, S::splat(T::of(share)))
    }

    /// One over the elements that an average at `place` along `axis` is taken over.
    #[inline(always)]
    pub(super) fn share(&self, axis: usize, place: usize) -> f64 {
        let (along, [_, after]) = (&self.axes[axis], self.shape.padding[axis]);
        let count = match self.pool {
            Pool::AverageWithPadding => {
                let end = along.input + along.padding + after;
                let room = end - place * along.stride;
                along.kernel.min(room.div_ceil(along.dilation))
            }
            _ => along.taps(place).count,
        };
        1.0 / count as f64
    }

    #[inline(always)]
    pub(super) fn average<S: Simd<T>>(&self) -> SlotMaxima {
        let [rows, columns] = &self.axes;
        for channel in self.channels() {
            let width = channel.width;
            for plane in 0..self.output.count {
                let input = self.input.plane(plane).wrapping_add(channel.elements);
                let output = self.output.plane(plane).wrapping_add(channel.places);
                for row in 0..rows.output {
                    let (row_taps, row_share) = (rows.taps(row), self.share(0, row));
                    for column in 0..columns.output {
                        let column_taps = columns.taps(column);
                        let share = S::splat(T::of(row_share * self.share(1, column)));
                        let to = output.wrapping_add((row * columns.output + column) * width);
                        let window = Covered::new(&row_taps, &column_taps, columns.input, width);
                        let from = input.wrapping_add(window.first);
                        slots::sweep(
                            width,
                            S::LANES,
                            #[inline(always)]
                            |image, count| {
                                // SAFETY: the taps lie on the channel's elements, which `pool`
                                // checked to be there, and the place is this task's.
                                unsafe {
                                    let sum = window.sum::<T, S>(from.wrapping_add(image), count);
                                    sum.mul(share).store_some(to.add(image), count);
                                }
                            },
                        );
                    }
                }
            }
        }
        SlotMaxima::NONE
    }

    /// Each element gathers its shares from the places whose windows cover it.
    #[inline(always)]
    pub(super) fn average_gradient<S: Simd<T>>(&self, gradient: &RawPlanes<T>) -> SlotMaxima {
        let [rows, columns] = self.axes.map(Axis::swap);
        let (whole, all) = self.whole_share::<S>();
        for channel in self.channels() {
            let width = channel.width;
            for plane in 0..self.output.count {
                let gradient = gradient.plane(plane).wrapping_add(channel.places);
                let output = self.output.plane(plane).wrapping_add(channel.elements);
                for row in 0..rows.input {
                    let row_taps = rows.taps(row);
                    for column in 0..columns.input {
                        let column_taps = columns.taps(column);
                        let to = output.wrapping_add((row * columns.input + column) * width);
                        let window = Covered::new(&row_taps, &column_taps, columns.output, width);
                        let from = gradient.wrapping_add(window.first);
                        slots::sweep(
                            width,
                            S::LANES,
                            #[inline(always)]
                            |image, count| {
                                // SAFETY: the places lie in the channel, which `pool_gradient` checked
                                // to be there, and the element is this task's.
                                unsafe {
                                    let from = from.wrapping_add(image);
                                    let sum = if whole {
                                        window.sum::<T, S>(from, count)
                                    } else {
                                        window.weigh::<T, S>(from, count, |y, x| {
                                            let y = self.share(0, row_taps.source_at(y));
                                            y * self.share(1, column_taps.source_at(x))
                                        })
                                    };
                                    sum.mul(all).store_some(to.add(image), count);
                                }
                            },
                        );
                    }
                }
            }
        }
        SlotMaxima::NONE
    }
}
