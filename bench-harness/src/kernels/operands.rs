//! Operands of the measured kernels: random planes, allocated when a side is prepared.

use furthermore_kernels_cpu::{Element, KernelError, Planes, PlanesMut};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Call;

/// Planes of `len` elements.
pub(crate) struct Operand<T> {
    data: Vec<T>,
    planes: usize,
    stride: usize,
    len: usize,
}

impl<T: Element> Operand<T> {
    /// Random numbers whose slots stay between 1/4 and 3/4 whatever the algebra's constants: the first
    /// plane carries the number, the others a sixteenth of it.
    pub(crate) fn random(planes: usize, len: usize) -> Self {
        let mut operand = Self::zeros(planes, len);
        let mut rng = ChaCha8Rng::seed_from_u64(len as u64);
        // A block of numbers over and over: drawing them all would take longer than measuring.
        let block: Vec<T> = (0..4099)
            .map(|_| T::of(0.35 + 0.3 * rng.random::<f64>()))
            .collect();
        for plane in 0..planes {
            let scale = T::of(if plane == 0 { 1.0 } else { 1.0 / 16.0 });
            let target = &mut operand.data[plane * operand.stride..][..len];
            for (to, x) in target.iter_mut().zip(block.iter().cycle()) {
                *to = scale * *x;
            }
        }
        operand
    }

    /// Zeros, to be written.
    pub(crate) fn zeros(planes: usize, len: usize) -> Self {
        // Planes start on a cache line but not on the same cache set.
        let stride = len.next_multiple_of(64 / size_of::<T>()) + 64 / size_of::<T>();
        Self {
            data: vec![T::zero(); planes * stride],
            planes,
            stride,
            len,
        }
    }

    /// To read.
    pub(crate) fn view(&self) -> Result<Planes<'_, T>, KernelError> {
        Planes::new(&self.data, self.planes, self.stride, self.len)
    }

    /// To write.
    pub(crate) fn view_mut(&mut self) -> Result<PlanesMut<'_, T>, KernelError> {
        PlanesMut::new(&mut self.data, self.planes, self.stride, self.len)
    }
}

/// A call of a kernel, tried once: an error then is one of the harness, and later calls are the same.
pub(crate) fn call(
    mut body: impl FnMut() -> Result<(), KernelError> + 'static,
) -> crate::Result<Call> {
    body().map_err(furthermore::Error::from)?;
    Ok(Box::new(move || {
        if let Err(error) = body() {
            unreachable!("the same call succeeded before: {error}");
        }
    }))
}
