//! Encrypted tensors.

use std::sync::Arc;

use furthermore_kernels_cpu::{Element, Exec, Isa, Planes, PlanesMut, convert};

use super::buffer::with_dtype;
use super::{Buffer, DType, Shape};
use crate::algebra::Algebra;
use crate::error::{Error, Result};
use crate::scheme::EvaluationKey;

/// A tensor of ciphertexts: `dim` planes, each a dense row-major tensor of one coordinate, starting
/// on a cache line. It carries the evaluation key, so whoever computes on it needs nothing else.
#[derive(Debug, Clone)]
pub struct Ciphertext {
    shape: Shape,
    dtype: DType,
    algebra: Algebra,
    key: Arc<EvaluationKey>,
    elements: usize,
    buffer: Buffer,
}

impl Ciphertext {
    /// Ciphertexts with zero coordinates.
    ///
    /// # Errors
    /// When `algebra` does not fit the key, or the shape is too large.
    pub fn zeros(
        shape: impl Into<Shape>,
        dtype: DType,
        algebra: Algebra,
        key: &Arc<EvaluationKey>,
    ) -> Result<Self> {
        key.check(algebra)?;
        let shape = shape.into();
        let elements = shape.elements()?;
        let buffer = Buffer::zeroed(dtype, algebra.dim() * dtype.plane_stride(elements))?;
        Ok(Self {
            shape,
            dtype,
            algebra,
            key: Arc::clone(key),
            elements,
            buffer,
        })
    }

    /// Ciphertexts from interleaved elements: for Blocks(n) the contiguous [..., n, n] matrices in
    /// which the scheme was published.
    ///
    /// # Errors
    /// When `algebra` does not fit the key, the count of numbers not the shape, or the environment
    /// forces an instruction set that is not here.
    pub fn from_interleaved<T: Element>(
        shape: impl Into<Shape>,
        algebra: Algebra,
        key: &Arc<EvaluationKey>,
        numbers: &[T],
    ) -> Result<Self> {
        let mut ciphertext = Self::zeros(shape, DType::of::<T>(), algebra, key)?;
        let expected = ciphertext.elements * algebra.dim();
        if numbers.len() != expected {
            let (what, shape) = (format!("{algebra} ciphertext"), ciphertext.shape);
            return Err(Error::Length {
                what,
                shape,
                expected,
                found: numbers.len(),
            });
        }
        let exec = Exec::new(Isa::from_env()?);
        convert::deinterleave(&exec, numbers, &mut ciphertext.planes_mut()?)?;
        Ok(ciphertext)
    }

    /// The elements one after another, coordinates innermost: for Blocks(n) [..., n, n].
    ///
    /// # Errors
    /// When the element type is not `T`, or the environment forces an instruction set that is not
    /// here.
    pub fn to_interleaved<T: Element>(&self) -> Result<Vec<T>> {
        let planes = self.planes::<T>()?;
        let mut numbers = vec![T::zero(); planes.count() * planes.len()];
        convert::interleave(&Exec::new(Isa::from_env()?), planes, &mut numbers)?;
        Ok(numbers)
    }

    /// The same ciphertexts in another algebra of the same key: Blocks and Compact carry exactly the
    /// same, and the map between them needs no secret.
    ///
    /// # Errors
    /// When `algebra` does not fit the key, or the environment forces an instruction set that is not
    /// here.
    pub fn convert(&self, algebra: Algebra) -> Result<Self> {
        let mut to = Self::zeros(self.shape.clone(), self.dtype, algebra, &self.key)?;
        let matrix = self.key.conversion(self.algebra, algebra)?;
        with_dtype!(self.dtype, T => {
            let from = self.planes::<T>()?;
            let inputs: Vec<&[T]> = (0..from.count()).map(|i| from.plane(i)).collect();
            let exec = Exec::new(Isa::from_env()?);
            convert::linear_map(&exec, &matrix, &inputs, &mut to.planes_mut::<T>()?)?;
        });
        Ok(to)
    }

    /// Its shape, in ciphertexts.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its algebra.
    pub fn algebra(&self) -> Algebra {
        self.algebra
    }

    /// The evaluation key of the key it is encrypted under.
    pub fn key(&self) -> &Arc<EvaluationKey> {
        &self.key
    }

    /// Its bytes in memory.
    pub fn bytes(&self) -> usize {
        self.buffer.bytes()
    }

    /// Its coordinates.
    ///
    /// # Errors
    /// When the element type is not `T`.
    pub fn planes<T: Element>(&self) -> Result<Planes<'_, T>> {
        self.check_dtype::<T>()?;
        let stride = self.dtype.plane_stride(self.elements);
        Ok(Planes::new(
            self.buffer.as_slice(),
            self.algebra.dim(),
            stride,
            self.elements,
        )?)
    }

    /// Its coordinates, to write.
    ///
    /// # Errors
    /// When the element type is not `T`.
    pub fn planes_mut<T: Element>(&mut self) -> Result<PlanesMut<'_, T>> {
        self.check_dtype::<T>()?;
        let stride = self.dtype.plane_stride(self.elements);
        let dim = self.algebra.dim();
        Ok(PlanesMut::new(
            self.buffer.as_mut_slice(),
            dim,
            stride,
            self.elements,
        )?)
    }

    fn check_dtype<T: Element>(&self) -> Result<()> {
        if DType::of::<T>() == self.dtype {
            return Ok(());
        }
        let (expected, found) = (DType::of::<T>(), self.dtype);
        Err(Error::DType {
            what: "ciphertext".to_owned(),
            expected,
            found,
        })
    }

    /// Whether every coordinate is finite.
    pub(crate) fn is_finite(&self) -> bool {
        with_dtype!(self.dtype, T => {
            self.buffer.as_slice::<T>().iter().all(|x| x.is_finite())
        })
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    pub(crate) fn buffer_mut(&mut self) -> &mut Buffer {
        &mut self.buffer
    }
}
