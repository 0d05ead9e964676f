//! Sums and means along an axis. Both are linear, so planes are summed one by one.

use std::ops::Range;

use super::{Axis, NAME, sum_lanes};
use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots;
use crate::threads::Exec;

/// Rows added up before their sum is added to the total, at least: n rows in chunks of c are off by
/// at most c + n / c roundings, where one running sum is off by n. Longer axes have chunks of sqrt(n).
const CHUNK: usize = 128;
/// Vectors summed side by side: enough to hide an addition's latency, and to read whole cache lines.
const TILE: usize = 4;

/// Sums along an axis; an axis of no elements sums to zero.
///
/// # Errors
/// When planes or lengths differ.
pub fn sum<T: Element>(
    exec: &Exec,
    axis: &Axis,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    scaled(exec, axis, T::one(), input, output)
}

/// The mean along an axis.
///
/// # Errors
/// When planes or lengths differ, or the axis has no elements.
pub fn mean<T: Element>(
    exec: &Exec,
    axis: &Axis,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    axis.expect_elements()?;
    scaled(exec, axis, T::of(1.0 / axis.length as f64), input, output)
}

fn scaled<T: Element>(
    exec: &Exec,
    axis: &Axis,
    scale: T,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    output.expect(NAME, "output", &[output.count()], axis.reduced())?;
    input.expect(NAME, "input", &[output.count()], axis.full())?;
    if output.is_empty() {
        return Ok(());
    }
    let width = TILE * exec.isa.lanes::<T>();
    let tiles = axis.inner.div_ceil(width);
    let (axis, input, output) = (*axis, input.raw(), output.raw());
    exec.spans(
        axis.outer * tiles,
        1,
        axis.length * axis.inner.min(width) * input.count * size_of::<T>(),
        |tasks| {
            let body = Sum {
                axis,
                scale,
                input,
                output,
                tasks,
            };
            T::run_sum(exec.isa, body);
        },
        |(), ()| (),
    );
    Ok(())
}

pub(crate) struct Sum<T> {
    axis: Axis,
    scale: T,
    input: RawPlanes<T>,
    output: RawPlanes<T>,
    /// Tiles of `TILE` vectors of the result, counted through all of `outer`.
    tasks: Range<usize>,
}

impl<T: Element> WithSimd<T> for Sum<T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        let Axis { length, inner, .. } = self.axis;
        let width = TILE * S::LANES;
        let tiles = inner.div_ceil(width);
        let scale = S::splat(self.scale);
        for task in self.tasks.clone() {
            let (outer, column) = (task / tiles, task % tiles * width);
            for i in 0..self.output.count {
                let from = self.input.plane(i);
                let from = from.wrapping_add(outer * length * inner + column);
                let to = self.output.plane(i).wrapping_add(outer * inner + column);
                let columns = (inner - column).min(width);
                // SAFETY: `scaled` checked that the input has `length` rows of `inner` elements for
                // each of `outer`, the output one, and every task has columns of its own.
                unsafe {
                    if inner == 1 {
                        *to = contiguous::<T, S>(from, length) * self.scale;
                    } else if columns == width {
                        let sums = rows::<T, S, TILE>(from, inner, length, S::LANES);
                        for v in 0..TILE {
                            sums[v].mul(scale).store(to.add(v * S::LANES));
                        }
                    } else {
                        slots::sweep(
                            columns,
                            S::LANES,
                            #[inline(always)]
                            |at, count| {
                                // SAFETY: see above.
                                let [sum] = rows::<T, S, 1>(from.add(at), inner, length, count);
                                sum.mul(scale).store_some(to.add(at), count);
                            },
                        );
                    }
                }
            }
        }
    }
}

/// Sums `count` rows of `V` vectors of `lanes` elements, one row `stride` after the other.
///
/// # Safety
/// The rows are valid for reading; `lanes` is the vector's width where `V` is not 1.
#[inline(always)]
unsafe fn rows<T: Element, S: Simd<T>, const V: usize>(
    from: *const T,
    stride: usize,
    count: usize,
    lanes: usize,
) -> [S; V] {
    let mut total = [S::splat(T::zero()); V];
    let chunk = CHUNK.max(count.isqrt());
    let mut row = 0;
    while row < count {
        let end = (row + chunk).min(count);
        let mut sum = [S::splat(T::zero()); V];
        while row < end {
            for v in 0..V {
                let p = from.wrapping_add(row * stride + v * S::LANES);
                // SAFETY: the caller's promise.
                sum[v] = sum[v].add(unsafe { S::load_some(p, lanes) });
            }
            row += 1;
        }
        for v in 0..V {
            total[v] = total[v].add(sum[v]);
        }
    }
    total
}

/// Sums `len` elements that follow each other.
///
/// # Safety
/// They are valid for reading.
#[inline(always)]
unsafe fn contiguous<T: Element, S: Simd<T>>(from: *const T, len: usize) -> T {
    let width = TILE * S::LANES;
    let whole = len - len % width;
    // SAFETY: the caller's promise.
    let sums = unsafe { rows::<T, S, TILE>(from, width, len / width, S::LANES) };
    let mut sum = sums[0].add(sums[1]).add(sums[2].add(sums[3]));
    slots::sweep(
        len - whole,
        S::LANES,
        #[inline(always)]
        |at, count| {
            // SAFETY: the caller's promise.
            sum = sum.add(unsafe { S::load_some(from.add(whole + at), count) });
        },
    );
    sum_lanes(sum)
}
