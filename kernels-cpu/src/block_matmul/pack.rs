//! Packing: an operand's combination of planes, rearranged into the order a tile reads it.

use crate::algebra::Combination;
use crate::element::Element;
use crate::planes::Planes;
use crate::simd::Simd;

/// A stored matrix: element (row, column) of plane i at `plane(i)[row * row_stride + column * column_stride]`,
/// one of the strides 1.
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
}

/// Packs a strip of `width` lines by `depth` steps: `to[p * pitch + j]` is the combination at line
/// `line + j`, step `step + p`. `matrix` has lines along its rows (A) when `lines_are_rows`, along
/// its columns (B) otherwise. Entries `width..pitch` of each step become zero.
///
/// # Safety
/// The strip lies in the matrix, and `to` is writable for `pitch * depth` elements.
#[inline(always)]
pub(super) unsafe fn strip<T: Element, S: Simd<T>>(
    matrix: &Stored<'_, T>,
    lines_are_rows: bool,
    combination: &Combination,
    line: usize,
    width: usize,
    step: usize,
    depth: usize,
    to: *mut T,
    pitch: usize,
) {
    let (line_stride, step_stride) = if lines_are_rows {
        (matrix.row_stride, matrix.column_stride)
    } else {
        (matrix.column_stride, matrix.row_stride)
    };
    let source = |plane: usize| {
        let (row, column) = if lines_are_rows {
            (line, step)
        } else {
            (step, line)
        };
        matrix.at(plane, row, column)
    };
    // SAFETY: every address below lies in the strip or in `to`, which the caller promised.
    unsafe {
        if line_stride == 1 {
            for p in 0..depth {
                let to = to.add(p * pitch);
                let mut j = 0;
                while j < width {
                    let count = (width - j).min(S::LANES);
                    let mut sum = S::splat(T::zero());
                    for &(plane, weight) in combination {
                        let from = source(plane).add(p * step_stride + j);
                        let x = if count == S::LANES {
                            S::load(from)
                        } else {
                            S::load_partial(from, count)
                        };
                        sum = if weight == 1.0 {
                            sum.add(x)
                        } else {
                            S::splat(T::of(weight)).mul_add(x, sum)
                        };
                    }
                    if count == S::LANES {
                        sum.store(to.add(j));
                    } else {
                        sum.store_partial(to.add(j), count);
                    }
                    j += count;
                }
                for j in width..pitch {
                    to.add(j).write(T::zero());
                }
            }
        } else {
            debug_assert_eq!(step_stride, 1);
            for j in 0..width {
                for (nth, &(plane, weight)) in combination.iter().enumerate() {
                    let from = source(plane).add(j * line_stride);
                    let weight = T::of(weight);
                    for p in 0..depth {
                        let to = to.add(p * pitch + j);
                        let x = *from.add(p) * weight;
                        to.write(if nth == 0 { x } else { *to + x });
                    }
                }
            }
            for j in width..pitch {
                for p in 0..depth {
                    to.add(p * pitch + j).write(T::zero());
                }
            }
        }
    }
}
