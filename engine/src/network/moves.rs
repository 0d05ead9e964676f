//! Operations that move elements and compute nothing.

use super::{Network, Op, Value};
use crate::error::{Error, Result};
use crate::tensor::Shape;

impl Network {
    /// The same elements, each sample of another shape.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn reshape(&mut self, name: &str, x: Value, shape: impl Into<Shape>) -> Result<Value> {
        let shape = shape.into();
        self.push(name, Op::Reshape { shape, batch: true }, &[x])
    }

    /// The same elements in another shape. With another batch, the first axis is what elements there
    /// are.
    ///
    /// # Errors
    /// When the name is taken, or the shape has no axis.
    pub fn reshape_to(&mut self, name: &str, x: Value, shape: impl Into<Shape>) -> Result<Value> {
        let shape = shape.into();
        let Some(rest) = shape.get(1..) else {
            return Err(Error::Operation {
                operation: name.to_owned(),
                reason: "a shape without axes is not reshaped to".to_owned(),
            });
        };
        let (shape, batch) = (rest.into(), false);
        self.push(name, Op::Reshape { shape, batch }, &[x])
    }

    /// Each sample as one row.
    ///
    /// # Errors
    /// When the name is taken, or operands so far do not go together.
    pub fn flatten(&mut self, name: &str, x: Value) -> Result<Value> {
        let elements = self.shape(x)?.row_elements();
        self.reshape(name, x, [elements])
    }

    /// The axes in another order: axis i of the result is axis `permutation[i]` of `x`.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn transpose(&mut self, name: &str, x: Value, permutation: &[usize]) -> Result<Value> {
        let permutation = permutation.to_vec();
        self.push(name, Op::Transpose { permutation }, &[x])
    }

    /// Values one after the other along an axis.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn concat(&mut self, name: &str, values: &[Value], axis: usize) -> Result<Value> {
        self.push(name, Op::Concat { axis }, values)
    }

    /// `len` elements along an axis from `start` on, `step` apart; a negative step runs backwards.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn slice(
        &mut self,
        name: &str,
        x: Value,
        axis: usize,
        start: usize,
        step: isize,
        len: usize,
    ) -> Result<Value> {
        let op = Op::Slice {
            axis,
            start,
            step,
            len,
        };
        self.push(name, op, &[x])
    }

    /// Zeros before and after the elements of each axis.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn pad(&mut self, name: &str, x: Value, padding: &[[usize; 2]]) -> Result<Value> {
        let padding = padding.to_vec();
        self.push(name, Op::Pad { padding }, &[x])
    }
}
