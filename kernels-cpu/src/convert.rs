//! Linear maps between slots, planes and blocks: encryption, decryption, layouts.

use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::threads::Exec;

const NAME: &str = "convert";

/// Computes plane `i` of `output` as `sum_j matrix[i][j] inputs[j]`, in f64, rounded once.
///
/// `matrix` is row-major, `output.count()` x `inputs.len()`. From slots to coordinates it encrypts,
/// from coordinates to one slot it decrypts, from one algebra's coordinates to another's it converts.
///
/// # Errors
/// When lengths or the matrix's size do not fit.
pub fn linear_map<T: Element>(
    exec: &Exec,
    matrix: &[f64],
    inputs: &[&[T]],
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let (len, columns) = (output.len(), inputs.len());
    let needs = output.count() * columns;
    if matrix.len() != needs {
        let has = matrix.len();
        return Err(KernelError::Length {
            kernel: NAME,
            operand: "matrix",
            needs,
            has,
        });
    }
    for input in inputs {
        Planes::plain(input).expect(NAME, "input", &[1], len)?;
    }
    let (count, target) = (output.count(), output.raw());
    exec.spans(
        len,
        exec.isa.lanes::<T>(),
        (count + columns) * size_of::<T>(),
        |range| {
            T::run_map(
                exec.isa,
                Map {
                    matrix,
                    inputs,
                    target,
                    at: range.start,
                    len: range.len(),
                },
            )
        },
        |(), ()| (),
    );
    Ok(())
}

pub(crate) struct Map<'a, T> {
    matrix: &'a [f64],
    inputs: &'a [&'a [T]],
    target: RawPlanes<T>,
    at: usize,
    len: usize,
}

/// Elements mapped at a time, so that the sums of one plane stay in cache.
const MAP_BLOCK: usize = 256;

impl<T: Element> WithSimd<T> for Map<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        let mut sums = [0.0; MAP_BLOCK];
        for start in (self.at..self.at + self.len).step_by(MAP_BLOCK) {
            let count = MAP_BLOCK.min(self.at + self.len - start);
            for i in 0..self.target.count {
                let row = &self.matrix[i * self.inputs.len()..][..self.inputs.len()];
                let sums = &mut sums[..count];
                sums.fill(0.0);
                for (&weight, input) in row.iter().zip(self.inputs) {
                    if weight != 0.0 {
                        for (sum, x) in sums.iter_mut().zip(&input[start..start + count]) {
                            *sum += weight * x.wide();
                        }
                    }
                }
                let to = self.target.plane(i).wrapping_add(start);
                // SAFETY: `linear_map` gives every thread elements of its own.
                let to = unsafe { std::slice::from_raw_parts_mut(to, count) };
                for (to, sum) in to.iter_mut().zip(sums) {
                    *to = T::of(*sum);
                }
            }
        }
    }
}

/// Writes planes as interleaved elements: `output[e * count + i]` is coordinate `i` of element `e`.
///
/// # Errors
/// When `output` does not hold every coordinate.
pub fn interleave<T: Element>(input: Planes<'_, T>, output: &mut [T]) -> Result<(), KernelError> {
    let count = input.count();
    Planes::plain(output).expect(NAME, "output", &[1], count * input.len())?;
    for i in 0..count {
        for (e, x) in input.plane(i).iter().enumerate() {
            output[e * count + i] = *x;
        }
    }
    Ok(())
}

/// The inverse of [`interleave`].
///
/// # Errors
/// When `input` does not hold every coordinate.
pub fn deinterleave<T: Element>(
    input: &[T],
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let count = output.count();
    Planes::plain(input).expect(NAME, "input", &[1], count * output.len())?;
    for i in 0..count {
        for (e, x) in output.plane_mut(i).iter_mut().enumerate() {
            *x = input[e * count + i];
        }
    }
    Ok(())
}

/// Writes samples `[batch, elements]`, row-major, as tiles `[tile][element][sample]` of
/// [`TILE_IMAGES`](crate::TILE_IMAGES) samples, the last as narrow as what is left.
///
/// # Errors
/// When planes or lengths differ, or the batch does not divide them.
pub fn into_tiles<T: Element>(
    exec: &Exec,
    batch: usize,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    tiles(exec, batch, true, input, output)
}

/// The inverse of [`into_tiles`].
///
/// # Errors
/// As [`into_tiles`].
pub fn from_tiles<T: Element>(
    exec: &Exec,
    batch: usize,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    tiles(exec, batch, false, input, output)
}

fn tiles<T: Element>(
    exec: &Exec,
    batch: usize,
    into: bool,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let len = output.len();
    let elements = len.checked_div(batch).unwrap_or(0);
    input.expect(NAME, "input", &[output.count()], elements * batch)?;
    output.expect(NAME, "output", &[input.count()], elements * batch)?;
    let count = batch.div_ceil(crate::TILE_IMAGES);
    let (from, to) = (input.raw(), output.raw());
    exec.spans(
        count * input.count(),
        1,
        2 * elements * crate::TILE_IMAGES * size_of::<T>(),
        |range| {
            for at in range {
                let (plane, nth) = (at / count, at % count);
                let (start, width) = crate::images::tile(batch, nth);
                let from = from.plane(plane).wrapping_add(start * elements);
                let to = to.plane(plane).wrapping_add(start * elements);
                for e0 in (0..elements).step_by(16) {
                    for i in 0..width {
                        for e in e0..(e0 + 16).min(elements) {
                            let (rows, tile) = (i * elements + e, e * width + i);
                            let (x, y) = if into { (rows, tile) } else { (tile, rows) };
                            // SAFETY: both tensors hold the tile, which is this task's.
                            unsafe { to.add(y).write(*from.add(x)) };
                        }
                    }
                }
            }
        },
        |(), ()| (),
    );
    Ok(())
}
