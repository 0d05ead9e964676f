//! Packing: an operand's combination of planes, rearranged into the order a tile reads it.

use std::ops::Range;

use crate::algebra::Combination;
use crate::element::Element;
use crate::planes::Planes;
use crate::simd::Simd;
use crate::slots;

/// A stored matrix: element (row, column) of plane i at
/// `plane(i)[row * row_stride + column * column_stride]`, one of the strides 1.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a, T> {
    pub(super) planes: Planes<'a, T>,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<T: Element> Stored<'_, T> {
    /// Where element (row, column) of plane `i` is.
    #[inline(always)]
    pub(super) fn at(&self, i: usize, row: usize, column: usize) -> *const T {
        let offset = row * self.row_stride + column * self.column_stride;
        self.planes.plane(i).as_ptr().wrapping_add(offset)
    }

    /// Where element `at` of line `line` is, lines running along the contiguous axis.
    #[inline(always)]
    fn line(&self, i: usize, line: usize, at: usize) -> *const T {
        self.planes
            .plane(i)
            .as_ptr()
            .wrapping_add(line * self.pitch() + at)
    }

    /// Where that element is in a combination's plane, with the plane's weight.
    #[inline(always)]
    fn weighted<S: Simd<T>>(
        &self,
        (plane, weight): (usize, f64),
        line: usize,
        at: usize,
    ) -> (*const T, S) {
        (self.line(plane, line, at), S::splat(T::of(weight)))
    }

    /// Elements from one line to the next.
    #[inline(always)]
    fn pitch(&self) -> usize {
        self.row_stride.max(self.column_stride)
    }
}

/// Packs a combination of `lines` along the stored matrix's contiguous axis: line `i` of the result
/// is at `to + i * pitch` and holds `len` elements from `start` on, then zeros up to `padded`.
///
/// # Safety
/// `lines` and `start..start + len` lie in the matrix, whose other stride is 1, and `to` is writable
/// for `padded <= pitch` elements of each line.
#[inline(always)]
pub(super) unsafe fn along<T: Element, S: Simd<T>>(
    matrix: &Stored<'_, T>,
    combination: &Combination,
    lines: Range<usize>,
    (start, len): (usize, usize),
    to: *mut T,
    pitch: usize,
    padded: usize,
) {
    let line = lines.start;
    let shape = Lines {
        count: lines.len(),
        len,
        from: matrix.pitch(),
        to: pitch,
        padded,
    };
    // SAFETY: the caller's promise.
    unsafe {
        match combination.len() {
            1 => shape.sum::<T, S, 1>([matrix.weighted(combination[0], line, start)], to, false),
            2 => shape.sum::<T, S, 2>(
                [
                    matrix.weighted(combination[0], line, start),
                    matrix.weighted(combination[1], line, start),
                ],
                to,
                false,
            ),
            more => {
                for nth in 0..more {
                    shape.sum::<T, S, 1>(
                        [matrix.weighted(combination[nth], line, start)],
                        to,
                        nth > 0,
                    );
                }
            }
        }
    }
}

/// How lines lie in their source and their target.
struct Lines {
    count: usize,
    len: usize,
    from: usize,
    to: usize,
    padded: usize,
}

impl Lines {
    /// Writes the weighted sum of `N` sources, on top of what is there where `more`.
    ///
    /// # Safety
    /// As [`along`].
    #[inline(always)]
    unsafe fn sum<T: Element, S: Simd<T>, const N: usize>(
        &self,
        sources: [(*const T, S); N],
        to: *mut T,
        more: bool,
    ) {
        for line in 0..self.count {
            let to = to.wrapping_add(line * self.to);
            slots::sweep(
                self.len,
                S::LANES,
                #[inline(always)]
                |at, count| {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let to = to.add(at);
                        let mut sum = if more {
                            S::load_some(to, count)
                        } else {
                            S::splat(T::zero())
                        };
                        for (from, weight) in sources {
                            let x = S::load_some(from.add(line * self.from + at), count);
                            sum = weight.mul_add(x, sum);
                        }
                        sum.store_some(to, count);
                    }
                },
            );
            for at in self.len..self.padded {
                // SAFETY: the caller's promise.
                unsafe { to.add(at).write(T::zero()) };
            }
        }
    }
}

/// Packs a combination across the contiguous axis: element `j` of line `i` goes to
/// `to + j * pitch + i`, lines `lines.len()..pitch` become zero.
///
/// # Safety
/// As [`along`], with `to` writable for `pitch * len` elements.
#[inline(always)]
pub(super) unsafe fn across<T: Element>(
    matrix: &Stored<'_, T>,
    combination: &Combination,
    lines: Range<usize>,
    (start, len): (usize, usize),
    to: *mut T,
    pitch: usize,
) {
    let count = lines.len();
    for (nth, &(plane, weight)) in combination.iter().enumerate() {
        let weight = T::of(weight);
        for (i, line) in lines.clone().enumerate() {
            let from = matrix.line(plane, line, start);
            for j in 0..len {
                // SAFETY: the caller's promise.
                unsafe {
                    let to = to.add(j * pitch + i);
                    let x = *from.add(j) * weight;
                    to.write(if nth == 0 { x } else { *to + x });
                }
            }
        }
    }
    for j in 0..len {
        for i in count..pitch {
            // SAFETY: the caller's promise.
            unsafe { to.add(j * pitch + i).write(T::zero()) };
        }
    }
}
