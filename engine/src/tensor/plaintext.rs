//! Tensors that are not encrypted.

use furthermore_kernels_cpu::Element;

use super::buffer::with_dtype;
use super::{Buffer, DType, Shape};
use crate::error::{Error, Result};

/// A dense row-major tensor of real numbers.
#[derive(Debug, Clone)]
pub struct Plaintext {
    shape: Shape,
    dtype: DType,
    buffer: Buffer,
}

impl Plaintext {
    /// A tensor of `shape` with these numbers, row-major.
    ///
    /// # Errors
    /// When their count is not the shape's.
    pub fn new<T: Element>(shape: impl Into<Shape>, numbers: &[T]) -> Result<Self> {
        let shape = shape.into();
        let expected = shape.elements()?;
        if expected != numbers.len() {
            let (what, found) = ("plaintext".to_owned(), numbers.len());
            return Err(Error::Length {
                what,
                shape,
                expected,
                found,
            });
        }
        let mut plaintext = Self::zeros(shape, DType::of::<T>())?;
        plaintext.buffer.as_mut_slice().copy_from_slice(numbers);
        Ok(plaintext)
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// When the shape is too large.
    pub fn zeros(shape: impl Into<Shape>, dtype: DType) -> Result<Self> {
        let shape = shape.into();
        let buffer = Buffer::zeroed(dtype, shape.elements()?)?;
        Ok(Self {
            shape,
            dtype,
            buffer,
        })
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its numbers, if they are of type `T`.
    ///
    /// # Errors
    /// When they are of the other type.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        if DType::of::<T>() != self.dtype {
            let (expected, found) = (DType::of::<T>(), self.dtype);
            return Err(Error::DType {
                what: "plaintext".to_owned(),
                expected,
                found,
            });
        }
        Ok(self.buffer.as_slice())
    }

    /// Its numbers in double precision.
    pub fn to_f64(&self) -> Vec<f64> {
        with_dtype!(self.dtype, T => self.buffer.as_slice::<T>().iter().map(|x| x.wide()).collect())
    }

    /// The same numbers rounded to another type.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let mut rounded = Self::zeros(self.shape.clone(), dtype)?;
        with_dtype!(dtype, T => {
            for (to, from) in rounded.buffer.as_mut_slice::<T>().iter_mut().zip(self.to_f64()) {
                *to = T::of(from);
            }
        });
        Ok(rounded)
    }

    /// Rows `rows` along the first axis, in that order.
    ///
    /// # Errors
    /// When a row is past the end, or there are no rows but a single number.
    pub fn rows(&self, rows: &[usize]) -> Result<Self> {
        let mut sizes = self.shape.to_vec();
        let Some(first) = sizes.first_mut() else {
            return Err(Error::Operation {
                operation: "rows".to_owned(),
                reason: "a single number has no rows to take".to_owned(),
            });
        };
        *first = rows.len();
        let (there, width) = (self.shape.rows(), self.shape.row_elements());
        if let Some(&row) = rows.iter().find(|&&row| row >= there) {
            return Err(Error::Row {
                what: "plaintext".to_owned(),
                row,
                rows: there,
            });
        }
        let mut taken = Self::zeros(sizes, self.dtype)?;
        with_dtype!(self.dtype, T => {
            let from = self.buffer.as_slice::<T>();
            let to = taken.buffer.as_mut_slice::<T>();
            for (nth, &row) in rows.iter().enumerate() {
                to[nth * width..][..width].copy_from_slice(&from[row * width..][..width]);
            }
        });
        Ok(taken)
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    pub(crate) fn buffer_mut(&mut self) -> &mut Buffer {
        &mut self.buffer
    }

    /// Looks at all numbers, or at those of `rows`.
    ///
    /// # Errors
    /// When a number is NaN or infinite, naming the first.
    pub(crate) fn check_finite(
        &self,
        rows: Option<&[usize]>,
        what: impl FnOnce() -> String,
    ) -> Result<()> {
        let width = self.shape.row_elements();
        with_dtype!(self.dtype, T => {
            let numbers = self.buffer.as_slice::<T>();
            let odd = |from: usize, part: &[T]| {
                part.iter().position(|x| !x.is_finite()).map(|at| from + at)
            };
            let found = match rows {
                None => odd(0, numbers),
                Some(rows) => {
                    rows.iter().find_map(|row| odd(row * width, &numbers[row * width..][..width]))
                }
            };
            match found {
                None => Ok(()),
                Some(index) => {
                    let value = numbers[index].wide();
                    Err(Error::NotFinite { what: what(), index, value })
                }
            }
        })
    }
}
