//! Linear maps between slots and planes (encryption, decryption, other algebras), layouts, boxes of
//! elements carried elsewhere, and element types.

mod cast;
mod layout;
mod strided;
mod tiles;

pub use cast::{Cast, cast};
pub use layout::{deinterleave, interleave, transpose};
pub use strided::{CopyAxis, Rest, StridedCopy, strided_copy};
pub use tiles::{from_tiles, into_tiles};

pub(crate) use layout::Transpose;
pub(crate) use strided::Cells;

use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::sizes::product;
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
    let needs = product(&[output.count(), columns]);
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
    if output.is_empty() {
        return Ok(());
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

/// `to = sum_j weight_j input_j` from the left, the `C` terms in registers.
#[inline(always)]
fn map_terms<'a, T: Element, const C: usize>(
    to: &mut [T],
    start: usize,
    mut terms: impl Iterator<Item = (f64, &'a [T])>,
) {
    let mut weights = [0.0; C];
    let mut inputs: [&[T]; C] = [&[]; C];
    for (weight, input) in weights.iter_mut().zip(&mut inputs) {
        let term = terms.next().expect("the caller counted");
        (*weight, *input) = (term.0, &term.1[start..][..to.len()]);
    }
    for (e, to) in to.iter_mut().enumerate() {
        let mut sum = 0.0;
        for j in 0..C {
            sum += weights[j] * inputs[j][e].wide();
        }
        *to = T::of(sum);
    }
}

impl<T: Element> WithSimd<T> for Map<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        let mut sums = [0.0; MAP_BLOCK];
        for start in (self.at..self.at + self.len).step_by(MAP_BLOCK) {
            let sums = &mut sums[..MAP_BLOCK.min(self.at + self.len - start)];
            for i in 0..self.target.count {
                let to = self.target.plane(i).wrapping_add(start);
                // SAFETY: `linear_map` gives every thread elements of its own.
                let to = unsafe { std::slice::from_raw_parts_mut(to, sums.len()) };
                let row = &self.matrix[i * self.inputs.len()..][..self.inputs.len()];
                // An input of weight zero is not read, so that nothing of it gets through.
                let terms = row.iter().copied().zip(self.inputs.iter().copied());
                let terms = terms.filter(|(weight, _)| *weight != 0.0);
                match terms.clone().count() {
                    1 => map_terms::<T, 1>(to, start, terms),
                    2 => map_terms::<T, 2>(to, start, terms),
                    3 => map_terms::<T, 3>(to, start, terms),
                    4 => map_terms::<T, 4>(to, start, terms),
                    _ => {
                        sums.fill(0.0);
                        for (weight, input) in terms {
                            for (sum, x) in sums.iter_mut().zip(&input[start..]) {
                                *sum += weight * x.wide();
                            }
                        }
                        for (to, sum) in to.iter_mut().zip(sums.iter()) {
                            *to = T::of(*sum);
                        }
                    }
                }
            }
        }
    }
}
