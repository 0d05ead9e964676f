//! Encryption and decryption.

use std::fmt;

use furthermore_kernels_cpu::{Exec, Isa, PlanesMut, convert};
use rand::SeedableRng;
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use super::SecretKey;
use super::mask::{MaskPolicy, coefficients, cyclic_order};
use crate::algebra::{self, Algebra};
use crate::error::{Error, Result};
use crate::linalg;
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
    /// When the ciphertext is under another key or holds several messages, or the environment forces
    /// an instruction set that is not here.
    pub fn decrypt(&self, ciphertext: &Ciphertext) -> Result<Plaintext> {
        self.expect_one("decrypt", "decrypt_packed")?;
        self.decrypt_nth(ciphertext, 0)
    }

    /// Decrypts every message: a tensor for each that the key's ciphertexts hold, in the order in
    /// which they were encrypted.
    ///
    /// # Errors
    /// When the ciphertext is under another key, or the environment forces an instruction set that is
    /// not here.
    pub fn decrypt_packed(&self, ciphertext: &Ciphertext) -> Result<Vec<Plaintext>> {
        let messages = 0..self.messages();
        messages
            .map(|nth| self.decrypt_nth(ciphertext, nth))
            .collect()
    }

    /// Refuses keys whose ciphertexts hold several messages.
    fn expect_one(&self, operation: &str, instead: &str) -> Result<()> {
        match self.messages() {
            1 => Ok(()),
            several => Err(Error::Operation {
                operation: operation.to_owned(),
                reason: format!(
                    "ciphertexts under key {} hold {several} messages: {instead} is for these",
                    self.id()
                ),
            }),
        }
    }

    /// Decrypts one of the messages.
    pub(super) fn decrypt_nth(&self, ciphertext: &Ciphertext, nth: usize) -> Result<Plaintext> {
        let found = ciphertext.key().id();
        if found != self.id() {
            let what = format!("ciphertext of shape {}", ciphertext.shape());
            return Err(Error::Key {
                what,
                expected: self.id(),
                found,
            });
        }
        let functional = self.message_functional(ciphertext.algebra(), nth)?;
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

    /// The combination of coordinates that is a message: for blocks that entry on the diagonal of
    /// S^-1 C S, for compact form the value at the message's eigenvalue, a + b v1, and of hybrid
    /// polynomials that of their value at the secret point.
    fn message_functional(&self, algebra: Algebra, nth: usize) -> Result<Zeroizing<Vec<f64>>> {
        let (n, dim) = (algebra.slots(), algebra.dim());
        self.evaluation_key().check(algebra)?;
        if let Algebra::Blocks(_) = algebra {
            let (s, s_inverse) = self.matrices();
            let weights = (0..n * n).map(|e| s_inverse[nth * n + e / n] * s[e % n * n + nth]);
            return Ok(Zeroizing::new(weights.collect()));
        }
        let arithmetic = self.evaluation_key().arithmetic(algebra)?;
        let slot = self.slots_of_messages(algebra)[nth];
        let to_slots = arithmetic.to_slots();
        Ok(Zeroizing::new(match algebra {
            Algebra::Graded(degree) => {
                let powers = Zeroizing::new(algebra::powers(&[self.secret_point()], degree + 1));
                let row = &to_slots[slot * 2..][..2];
                algebra::kronecker(&powers, row, [1, degree + 1], [1, 2])
            }
            _ => to_slots[slot * dim..][..dim].to_vec(),
        }))
    }

    /// Which slots of an algebra hold the messages; of graded polynomials, which of a coefficient's.
    fn slots_of_messages(&self, algebra: Algebra) -> Zeroizing<Vec<usize>> {
        let reduction = self.evaluation_key().reduction();
        let root = match algebra {
            Algebra::Reduced(_) => (reduction.iter()).position(|x| Some(*x) == self.point()),
            _ => None,
        };
        let before = 2 * root.unwrap_or(0);
        let slots = self.message_slots().iter();
        Zeroizing::new(slots.map(|slot| before + slot).collect())
    }

    /// Where polynomials have their messages: every key of two slots has such a point.
    fn secret_point(&self) -> f64 {
        self.point().unwrap_or(0.0)
    }

    /// The matrix from what is drawn to coordinates: from slots, and for graded polynomials of degree
    /// k, `p_0 = m - p_1 s - .. - p_k s^k` in each, from the slots of m, p_1 .. p_k.
    fn coordinates(&self, algebra: Algebra) -> Result<Zeroizing<Vec<f64>>> {
        let arithmetic = self.evaluation_key().arithmetic(algebra)?;
        let from_slots = arithmetic.from_slots();
        let Algebra::Graded(degree) = algebra else {
            return Ok(Zeroizing::new(from_slots.to_vec()));
        };
        let count = degree + 1;
        let powers = Zeroizing::new(algebra::powers(&[self.secret_point()], count));
        let mut lowest = Zeroizing::new(linalg::identity(count));
        for (to, power) in lowest[1..count].iter_mut().zip(&powers[1..]) {
            *to = -power;
        }
        let matrix = algebra::kronecker(&lowest, from_slots, [count, count], [2, 2]);
        Ok(Zeroizing::new(matrix))
    }
}

impl<'k> Encryptor<'k> {
    /// The key that it encrypts under.
    pub(super) fn key(&self) -> &'k SecretKey {
        self.key
    }

    /// What its masks are drawn from.
    pub(super) fn rng(&mut self) -> &mut ChaCha20Rng {
        &mut self.rng
    }

    /// Encrypts a tensor, with masks in the tensor's range. Samples that go through polynomials in
    /// place of activations, as graded ciphertexts have to, are better masked by each other
    /// ([`MaskPolicy::PairedRows`]): what is no sample may leave the polynomials' intervals, and its
    /// powers drown the message.
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
        self.key.expect_one("encrypt", "encrypt_packed")?;
        self.encrypt_packed(&[messages], policy)
    }

    /// Encrypts tensors of one shape together, as many as the key's ciphertexts hold messages: each
    /// element is one ciphertext of all of theirs, and of masks that they share. Masks are drawn from
    /// the tensors in turn.
    ///
    /// # Errors
    /// When there are more or fewer tensors, they are not alike, a number is not finite, the policy
    /// does not fit, or the environment forces an instruction set that is not here.
    pub fn encrypt_packed(
        &mut self,
        messages: &[&Plaintext],
        policy: MaskPolicy<'_>,
    ) -> Result<Ciphertext> {
        let refuse = |reason: String| {
            let operation = "encrypt_packed".to_owned();
            Err(Error::Operation { operation, reason })
        };
        let (&[first, ..], true) = (messages, messages.len() == self.key.messages()) else {
            let (found, holds) = (messages.len(), self.key.messages());
            return refuse(format!(
                "{found} tensors, and ciphertexts hold {holds} messages"
            ));
        };
        for (nth, other) in messages.iter().enumerate() {
            if other.shape() != first.shape() || other.dtype() != first.dtype() {
                return refuse(format!(
                    "tensor {nth} is of shape {} in {}, and the first of shape {} in {}",
                    other.shape(),
                    other.dtype(),
                    first.shape(),
                    first.dtype()
                ));
            }
            other.check_finite(None, || "plaintext".to_owned())?;
        }
        let orders = self.orders(first.shape().rows());
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
        self.key
            .expect_one("encrypt_training_set", "encrypt_packed")?;
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
        let inputs = self.with_orders(&[inputs], policy, &orders)?;
        let labels = self.with_orders(&[labels], for_labels, &orders)?;
        Ok((inputs, labels))
    }

    /// A row permutation for each mask slot.
    fn orders(&mut self, rows: usize) -> Vec<Vec<usize>> {
        (self.key.messages()..self.algebra.slots())
            .map(|_| cyclic_order(rows, &mut self.rng))
            .collect()
    }

    /// Encrypts tensors that were seen to be alike, with a row permutation for each mask.
    fn with_orders(
        &mut self,
        messages: &[&Plaintext],
        policy: MaskPolicy<'_>,
        orders: &[Vec<usize>],
    ) -> Result<Ciphertext> {
        let own = self.key.slots_of_messages(self.algebra);
        let mut orders = orders.iter();
        let mut drawn = Vec::new();
        for slot in 0..self.algebra.slots() {
            drawn.push(match own.iter().position(|own| *own == slot) {
                Some(nth) => messages[nth].clone(),
                None => {
                    let nth = slot % messages.len();
                    let order = orders.next().map_or(&[][..], Vec::as_slice);
                    policy.draw(messages[nth], order, &mut self.rng)?
                }
            });
        }
        let (shape, dtype) = (messages[0].shape(), messages[0].dtype());
        if let Algebra::Graded(degree) = self.algebra {
            for _ in 0..2 * degree {
                drawn.push(coefficients(messages[0], &mut self.rng)?);
            }
        }
        let matrix = self.key.coordinates(self.algebra)?;
        let key = self.key.evaluation_key();
        let mut ciphertext = Ciphertext::zeros(shape.clone(), dtype, self.algebra, key)?;
        let exec = Exec::new(Isa::from_env()?);
        with_dtype!(dtype, T => {
            let inputs: Vec<&[T]> = drawn.iter().map(|s| s.buffer().as_slice::<T>()).collect();
            let mut to = ciphertext.planes_mut::<T>()?;
            convert::linear_map(&exec, &matrix, &inputs, &mut to)?;
        });
        if !ciphertext.is_finite() {
            let reason = format!(
                "a message is too near the largest number of {dtype} for coordinates to hold it",
            );
            return Err(Error::Operation {
                operation: "encrypt".to_owned(),
                reason,
            });
        }
        Ok(ciphertext)
    }
}
