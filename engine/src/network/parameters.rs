//! Weights by name.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::{Network, Op};
use crate::error::{Error, Result};
use crate::tensor::{DType, Plaintext, Tensor};

/// How a new parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// Uniform between minus and plus `bound`.
    Uniform {
        /// The bound.
        bound: f64,
    },
    /// Every element this number.
    Constant(f64),
}

/// Weights, plaintext or encrypted, by the name of their parameter.
#[derive(Debug, Clone, Default)]
pub struct Parameters(BTreeMap<String, Tensor>);

impl Parameters {
    /// The weight of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.0.get(name).ok_or_else(|| Error::Unknown {
            what: "parameter",
            name: name.to_owned(),
            known: self.0.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Sets the weight of that name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.0.insert(name.into(), tensor);
    }

    /// The same weights in an element type, plaintext ones rounded.
    ///
    /// # Errors
    /// When a ciphertext is of another, or there is not enough memory.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let mut rounded = Self::default();
        for (name, tensor) in self.iter() {
            let tensor = match tensor {
                Tensor::Plaintext(weight) => Tensor::Plaintext(weight.to_dtype(dtype)?),
                Tensor::Ciphertext(weight) if weight.dtype() == dtype => tensor.clone(),
                Tensor::Ciphertext(weight) => {
                    return Err(Error::DType {
                        what: format!("parameter '{name}', which is encrypted"),
                        expected: dtype,
                        found: weight.dtype(),
                    });
                }
            };
            rounded.insert(name, tensor);
        }
        Ok(rounded)
    }

    /// Names and weights, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}

impl Network {
    /// Plaintext weights as each parameter's [`Init`] says, the same for the same seed whatever the
    /// element type (f32 weights are the f64 ones rounded).
    ///
    /// # Errors
    /// When a parameter is too large.
    pub fn initial_parameters(&self, seed: u64, dtype: DType) -> Result<Parameters> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut parameters = Parameters::default();
        for node in self.nodes() {
            if let Op::Parameter { shape, init, .. } = &node.op {
                let elements = 0..shape.elements()?;
                // Drawn in f32 so that both element types start at exactly the same weights.
                let values: Vec<f32> = match init {
                    Init::Uniform { bound } => elements
                        .map(|_| ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32)
                        .collect(),
                    Init::Constant(value) => elements.map(|_| *value as f32).collect(),
                };
                let weight = Plaintext::new(shape.clone(), &values)?.to_dtype(dtype)?;
                parameters.insert(&node.name, Tensor::Plaintext(weight));
            }
        }
        Ok(parameters)
    }
}
