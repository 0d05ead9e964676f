//! How samples are encrypted: into which algebra, and how many of them into one ciphertext.

use std::fmt;
use std::str::FromStr;

use furthermore::Algebra;
use furthermore::scheme::{Encryptor, KeyShape, MaskPolicy, SecretKey};
use furthermore::tensor::{Ciphertext, Plaintext};

use crate::error::Result;

/// An algebra, and how many messages a ciphertext holds. Its name is the algebra's, or `packedN` for
/// N - 1 messages that share a mask in Compact(N).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// The algebra.
    pub algebra: Algebra,
    /// Messages in a ciphertext.
    pub messages: usize,
}

/// Nothing is encrypted.
pub(crate) const PLAINTEXT: Scheme = Scheme {
    algebra: Algebra::Real,
    messages: 1,
};

impl From<Algebra> for Scheme {
    fn from(algebra: Algebra) -> Self {
        let messages = 1;
        Self { algebra, messages }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.messages {
            1 => self.algebra.fmt(f),
            messages => write!(f, "packed{}", messages + 1),
        }
    }
}

impl FromStr for Scheme {
    type Err = furthermore::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let Some(slots) = name.strip_prefix("packed") else {
            return name.parse::<Algebra>().map(Self::from);
        };
        let algebra = format!("compact{slots}").parse::<Algebra>();
        let algebra = algebra.ok().filter(|algebra| algebra.slots() > 2);
        let algebra = algebra.ok_or_else(|| Self::Err::UnknownAlgebra(name.to_owned()))?;
        let messages = algebra.slots() - 1;
        Ok(Self { algebra, messages })
    }
}

impl Scheme {
    /// What its keys are drawn for.
    pub(crate) fn shape(self) -> KeyShape {
        match self.messages {
            1 => KeyShape::from(self.algebra),
            messages => KeyShape::packed(self.algebra.slots(), messages),
        }
    }

    /// A key that anyone who knows the seed can make.
    ///
    /// # Errors
    /// When there are no such keys.
    pub(crate) fn key(self, seed: u64) -> Result<SecretKey> {
        Ok(SecretKey::from_known_seed(self.shape(), seed)?)
    }

    /// Rows of ciphertexts that so many samples take.
    pub(crate) fn rows(self, samples: usize) -> usize {
        samples.div_ceil(self.messages)
    }

    /// Encrypts samples, which have a row each: the first ciphertext has the first sample of each of
    /// as many equal parts as there are messages. The last part is filled up with the last sample.
    ///
    /// # Errors
    /// When the engine refuses them.
    pub(crate) fn encrypt(
        self,
        encryptor: &mut Encryptor<'_>,
        samples: &Plaintext,
        masks: MaskPolicy<'_>,
    ) -> Result<Ciphertext> {
        let (count, rows) = (samples.shape().rows(), self.rows(samples.shape().rows()));
        let part = |nth: usize| {
            let rows = nth * rows..(nth + 1) * rows;
            let rows: Vec<usize> = rows.map(|row| row.min(count.saturating_sub(1))).collect();
            samples.rows(&rows)
        };
        let parts = (0..self.messages).map(part);
        let parts = parts.collect::<Result<Vec<Plaintext>, _>>()?;
        let parts: Vec<&Plaintext> = parts.iter().collect();
        Ok(encryptor.encrypt_packed(&parts, masks)?)
    }

    /// The messages of `samples` samples that were encrypted so, a row each.
    ///
    /// # Errors
    /// When the ciphertext is under another key.
    pub(crate) fn decrypt(
        self,
        key: &SecretKey,
        ciphertext: &Ciphertext,
        samples: usize,
    ) -> Result<Plaintext> {
        let parts = key.decrypt_packed(ciphertext)?;
        if let [only] = &parts[..] {
            return Ok(only.clone());
        }
        let mut shape = ciphertext.shape().to_vec();
        let taken = samples * ciphertext.shape().row_elements();
        if let Some(rows) = shape.first_mut() {
            *rows = samples;
        }
        let mut numbers: Vec<f64> = parts.iter().flat_map(Plaintext::to_f64).collect();
        numbers.truncate(taken);
        Ok(Plaintext::new(shape, &numbers)?.to_dtype(ciphertext.dtype())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in [
            "compact2", "blocks3", "graded1", "reduced2", "packed3", "packed8",
        ] {
            let scheme: Scheme = name.parse().unwrap();
            assert_eq!(scheme.to_string(), name);
        }
        for name in ["", "packed", "packed2", "packed9", "packed04", "more"] {
            let error = name.parse::<Scheme>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{name}'")), "{error}");
        }
    }

    #[test]
    fn samples_come_back_in_their_order() {
        let numbers: Vec<f32> = (0..22).map(|x| x as f32).collect();
        let samples = Plaintext::new([11, 2], &numbers).unwrap();
        for name in ["compact2", "packed3", "packed4", "graded1"] {
            let scheme: Scheme = name.parse().unwrap();
            let key = scheme.key(3).unwrap();
            let mut encryptor = key.encryptor_from_known_seed(scheme.algebra, 4).unwrap();
            let masks = MaskPolicy::Uniform;
            let ciphertext = scheme.encrypt(&mut encryptor, &samples, masks).unwrap();
            assert_eq!(ciphertext.shape().rows(), 11usize.div_ceil(scheme.messages));
            let found = scheme.decrypt(&key, &ciphertext, 11).unwrap();
            assert_eq!(found.shape(), samples.shape());
            for (x, y) in found.to_f64().iter().zip(&numbers) {
                assert!((x - f64::from(*y)).abs() < 1e-4, "{name}: {x} {y}");
            }
        }
    }
}
