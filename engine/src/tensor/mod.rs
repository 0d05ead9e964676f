//! Tensors: shapes, element types, plaintexts and ciphertexts in aligned buffers.

mod buffer;
mod ciphertext;
mod plaintext;
mod shape;

pub(crate) use buffer::with_dtype;
pub use buffer::{Buffer, DType};
pub use ciphertext::Ciphertext;
pub use plaintext::Plaintext;
pub use shape::Shape;

/// A tensor of either kind.
#[derive(Debug, Clone)]
pub enum Tensor {
    /// Not encrypted.
    Plaintext(Plaintext),
    /// Encrypted.
    Ciphertext(Ciphertext),
}

/// A borrowed tensor of either kind.
#[derive(Debug, Clone, Copy)]
pub enum TensorView<'a> {
    /// Not encrypted.
    Plaintext(&'a Plaintext),
    /// Encrypted.
    Ciphertext(&'a Ciphertext),
}

impl Tensor {
    /// Borrows it.
    pub fn view(&self) -> TensorView<'_> {
        match self {
            Tensor::Plaintext(t) => TensorView::Plaintext(t),
            Tensor::Ciphertext(t) => TensorView::Ciphertext(t),
        }
    }

    pub(crate) fn buffer_mut(&mut self) -> &mut Buffer {
        match self {
            Tensor::Plaintext(t) => t.buffer_mut(),
            Tensor::Ciphertext(t) => t.buffer_mut(),
        }
    }

    /// The plaintext, if it is one.
    pub fn into_plaintext(self) -> Option<Plaintext> {
        match self {
            Tensor::Plaintext(t) => Some(t),
            Tensor::Ciphertext(_) => None,
        }
    }

    /// The ciphertext, if it is one.
    pub fn into_ciphertext(self) -> Option<Ciphertext> {
        match self {
            Tensor::Plaintext(_) => None,
            Tensor::Ciphertext(t) => Some(t),
        }
    }
}

impl<'a> TensorView<'a> {
    /// Its shape.
    pub fn shape(self) -> &'a Shape {
        match self {
            TensorView::Plaintext(t) => t.shape(),
            TensorView::Ciphertext(t) => t.shape(),
        }
    }

    /// Its element type.
    pub fn dtype(self) -> DType {
        match self {
            TensorView::Plaintext(t) => t.dtype(),
            TensorView::Ciphertext(t) => t.dtype(),
        }
    }
}

impl<'a> From<&'a Plaintext> for TensorView<'a> {
    fn from(t: &'a Plaintext) -> Self {
        TensorView::Plaintext(t)
    }
}

impl<'a> From<&'a Ciphertext> for TensorView<'a> {
    fn from(t: &'a Ciphertext) -> Self {
        TensorView::Ciphertext(t)
    }
}

impl<'a> From<&'a Tensor> for TensorView<'a> {
    fn from(t: &'a Tensor) -> Self {
        t.view()
    }
}
