//! Encryption and decryption.

use std::fmt;

use furthermore_kernels_cpu::{Exec, Isa, PlanesMut, convert};
use rand::SeedableRng;
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use super::SecretKey;
use super::mask::{MaskPolicy, cyclic_order};
use crate::algebra::Algebra;
use crate::error::{Error, Result};
use crate::tensor::{Ciphertext, Plaintext, with_dtype};

/// Encrypts under one key into one algebra, drawing masks as it goes.
pub struct Encryptor<'k> {
    key: &'k SecretKey,
    algebra: Algebra,
    rng: ChaCha20Rng,
}

impl fmt::Debug for Encryptor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encryptor({:?}, {})", self.key, self.algebra)
    }
}

impl SecretKey {
    /// An encryptor into `algebra`, with masks from the operating system's randomness.
    ///
    /// # Errors
    /// When `algebra` does not fit the key, or the system gives no randomness.
    pub fn encryptor(&self, algebra: Algebra) -> Result<Encryptor<'_>> {
        let rng = ChaCha20Rng::try_from_rng(&mut SysRng)
            .map_err(|error| Error::Randomness(error.to_string()))?;
        self.evaluation_key().check(algebra)?;
        Ok(Encryptor {
            key: self,
            algebra,
            rng,
        })
    }

    /// An encryptor whose masks anyone who knows the seed can draw: for tests and experiments that
    /// have to be repeated.
    ///
    /// # Errors
    /// When `algebra` does not fit the key.
    pub fn encryptor_from_known_seed(&self, algebra: Algebra, seed: u64) -> Result<Encryptor<'_>> {
        self.evaluation_key().check(algebra)?;
        Ok(Encryptor {
            key: self,
            algebra,
            rng: ChaCha20Rng::seed_from_u64(seed),
        })
    }

    /// Decrypts: the message slot of every element.
    ///
    /// # Errors
    /// When the ciphertext is under another key, or the environment forces an instruction set that is
    /// not here.
    pub fn decrypt(&self, ciphertext: &Ciphertext) -> Result<Plaintext> {
        let found = ciphertext.key().id();
        if found != self.id() {
            let what = format!("ciphertext of shape {}", ciphertext.shape());
            return Err(Error::Key {
                what,
                expected: self.id(),
                found,
            });
        }
        let functional = self.message_functional(ciphertext.algebra())?;
        let mut plaintext = Plaintext::zeros(ciphertext.shape().clone(), ciphertext.dtype())?;
        let exec = Exec::new(Isa::from_env()?);
        with_dtype!(ciphertext.dtype(), T => {
            let from = ciphertext.planes::<T>()?;
            let inputs: Vec<&[T]> = (0..from.count()).map(|i| from.plane(i)).collect();
            let mut to = PlanesMut::plain(plaintext.buffer_mut().as_mut_slice::<T>());
            convert::linear_map(&exec, &functional, &inputs, &mut to)?;
        });
        Ok(plaintext)
    }

    /// The combination of coordinates that is the message: for blocks the first entry of S^-1 C S,
    /// for compact form the value at the message's eigenvalue, a + b v1.
    fn message_functional(&self, algebra: Algebra) -> Result<Zeroizing<Vec<f64>>> {
        let n = algebra.slots();
        self.evaluation_key().check(algebra)?;
        if let Algebra::Blocks(_) = algebra {
            let (s, s_inverse) = self.matrices();
            let weights = (0..n * n).map(|e| s_inverse[e / n] * s[e % n * n]);
            return Ok(Zeroizing::new(weights.collect()));
        }
        let arithmetic = self.evaluation_key().arithmetic(algebra)?;
        let row = &arithmetic.to_slots()[self.message_slot() * algebra.dim()..][..algebra.dim()];
        Ok(Zeroizing::new(row.to_vec()))
    }
}

impl Encryptor<'_> {
    /// Encrypts a tensor, with masks in the tensor's range.
    ///
    /// # Errors
    /// When a number is not finite, or the environment forces an instruction set that is not here.
    pub fn encrypt(&mut self, messages: &Plaintext) -> Result<Ciphertext> {
        self.encrypt_with(messages, MaskPolicy::Uniform)
    }

    /// Encrypts a tensor with masks drawn by `policy`.
    ///
    /// # Errors
    /// When a number is not finite, the policy does not fit the tensor, or the environment forces an
    /// instruction set that is not here.
    pub fn encrypt_with(
        &mut self,
        messages: &Plaintext,
        policy: MaskPolicy<'_>,
    ) -> Result<Ciphertext> {
        messages.check_finite(None, || "plaintext".to_owned())?;
        let rows = messages.shape().rows();
        let orders = self.orders(rows);
        self.with_orders(messages, policy, &orders)
    }

    /// Encrypts a training set: `inputs` and `labels` have a row a sample, and mask rows keep inputs
    /// and labels together. `policy` is for the inputs; under [`MaskPolicy::PairedRows`] and
    /// [`MaskPolicy::Features`] label rows are permuted whole, so that rows of probabilities stay
    /// rows of probabilities.
    ///
    /// # Errors
    /// When a number is not finite, rows differ in number, the policy does not fit, or the environment
    /// forces an instruction set that is not here.
    pub fn encrypt_training_set(
        &mut self,
        inputs: &Plaintext,
        labels: &Plaintext,
        policy: MaskPolicy<'_>,
    ) -> Result<(Ciphertext, Ciphertext)> {
        let rows = inputs.shape().rows();
        if rows != labels.shape().rows() {
            let reason = format!(
                "{rows} rows of inputs and {} of labels",
                labels.shape().rows()
            );
            return Err(Error::Operation {
                operation: "encrypt_training_set".to_owned(),
                reason,
            });
        }
        inputs.check_finite(None, || "inputs".to_owned())?;
        labels.check_finite(None, || "labels".to_owned())?;
        let for_labels = match policy {
            MaskPolicy::Features => MaskPolicy::PairedRows,
            // Masks given for the inputs say nothing of the labels.
            MaskPolicy::From(_) => MaskPolicy::PairedRows,
            other => other,
        };
        let orders = self.orders(rows);
        let inputs = self.with_orders(inputs, policy, &orders)?;
        let labels = self.with_orders(labels, for_labels, &orders)?;
        Ok((inputs, labels))
    }

    /// A row permutation for each mask slot.
    fn orders(&mut self, rows: usize) -> Vec<Vec<usize>> {
        (1..self.algebra.slots())
            .map(|_| cyclic_order(rows, &mut self.rng))
            .collect()
    }

    fn with_orders(
        &mut self,
        messages: &Plaintext,
        policy: MaskPolicy<'_>,
        orders: &[Vec<usize>],
    ) -> Result<Ciphertext> {
        let mut slots = orders
            .iter()
            .map(|order| policy.draw(messages, order, &mut self.rng))
            .collect::<Result<Vec<Plaintext>>>()?;
        slots.insert(self.key.message_slot(), messages.clone());
        let key = self.key.evaluation_key();
        let arithmetic = key.arithmetic(self.algebra)?;
        let shape = messages.shape().clone();
        let mut ciphertext = Ciphertext::zeros(shape, messages.dtype(), self.algebra, key)?;
        let exec = Exec::new(Isa::from_env()?);
        with_dtype!(messages.dtype(), T => {
            let inputs: Vec<&[T]> = slots.iter().map(|s| s.buffer().as_slice::<T>()).collect();
            let mut to = ciphertext.planes_mut::<T>()?;
            convert::linear_map(&exec, arithmetic.from_slots(), &inputs, &mut to)?;
        });
        if !ciphertext.is_finite() {
            let reason = format!(
                "a message is too near the largest number of {} for coordinates to hold it",
                messages.dtype()
            );
            return Err(Error::Operation {
                operation: "encrypt".to_owned(),
                reason,
            });
        }
        Ok(ciphertext)
    }
}
