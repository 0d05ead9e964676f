//! Verification of results by check inputs.
//!
//! **This detects faults, not adversaries.** A wrong weight, a layer left out, rows exchanged or
//! results of another batch show; whoever reads the evaluation key can split the slots of a result,
//! change the message and leave the check as it is, and nothing shows.
//!
//! A ciphertext holds two messages: one of the user's, and in another slot a number of a check input.
//! Whatever is computed is computed in both slots, and what comes of a check input is known: check
//! inputs come from a small secret pool that went through the network in plaintext once.

use std::fmt;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use super::encrypt::Encryptor;
use super::mask::MaskPolicy;
use crate::error::{Error, Result};
use crate::tensor::{Ciphertext, DType, Plaintext, Shape};

/// Encrypts samples together with check inputs, and holds results to what those should give.
///
/// A row has the check input that a pseudo-random function of the encryption and the row's number
/// chooses, ChaCha20 under a secret seed, so that two encryptions of one batch differ. Rows exchanged
/// between two that have the same check input are not seen, so of P check inputs a pool lets one in P
/// such exchanges pass.
///
/// ```
/// # use furthermore::Algebra;
/// # use furthermore::device::Cpu;
/// # use furthermore::scheme::{KeyShape, SecretKey, Verifier};
/// # use furthermore::tensor::Plaintext;
/// # let cpu = Cpu::new()?;
/// # let inputs = Plaintext::new([3, 2], &[1.0f32, -2.0, 0.5, 4.0, 3.0, -1.0])?;
/// # let weights = Plaintext::new([2, 1], &[0.5f32, -1.5])?;
/// let key = SecretKey::generate(KeyShape::packed(3, 2))?;
/// let encryptor = key.encryptor(Algebra::Compact(3))?;
/// let mut verifier = Verifier::generate(encryptor, &inputs, Verifier::POOL)?;
/// // Once, in plaintext:
/// let expected = cpu.matmul(verifier.pool(), &weights)?.into_plaintext().expect("plaintext");
/// verifier.set_outputs(&expected)?;
/// // For every batch:
/// let (ciphertext, receipt) = verifier.encrypt(&inputs)?;
/// let outputs = cpu.matmul(&ciphertext, &weights)?.into_ciphertext().expect("encrypted");
/// let verified = verifier.check(&outputs, &receipt)?;
/// assert!(verified.failed_rows.is_empty());
/// # Ok::<(), furthermore::Error>(())
/// ```
pub struct Verifier<'k> {
    encryptor: Encryptor<'k>,
    seed: Zeroizing<[u8; 32]>,
    pool: Plaintext,
    /// What the pool's vectors should give, and the shape of one.
    outputs: Option<(Shape, Vec<f64>)>,
    /// Encryptions so far.
    encryptions: u64,
    tolerance: f64,
}

/// Which check inputs went with a batch, as far as its verifier can tell from this: it gives nothing
/// away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    encryption: u64,
    rows: usize,
}

/// What came of a batch.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The user's messages, those of failed rows too.
    pub messages: Plaintext,
    /// Rows whose check is not what it should be, in ascending order.
    pub failed_rows: Vec<usize>,
    /// The largest distance of a check from what it should be, in the multiples of
    /// [`Verifier::tolerance`].
    pub largest_deviation: f64,
}

impl fmt::Debug for Verifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Verifier({:?}, {} check inputs)",
            self.encryptor,
            self.pool.shape().rows()
        )
    }
}

impl<'k> Verifier<'k> {
    /// Check inputs that are enough for most uses: one exchange of two rows in 64 is not seen, and their
    /// outputs are a quarter of a batch to compute, once.
    pub const POOL: usize = 64;

    /// The tolerance unless another is set.
    pub const TOLERANCE: f64 = 32.0;

    /// A verifier with `count` check inputs for samples like the rows of `like`: uniform up to the
    /// largest magnitude there, with a mean of zero in each feature over the pool. They and the choice
    /// among them are as secret as the randomness of the encryptor.
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn generate(mut encryptor: Encryptor<'k>, like: &Plaintext, count: usize) -> Result<Self> {
        like.check_finite(None, || "samples".to_owned())?;
        let Some((_, features)) = like.shape().split_first() else {
            return refuse("check inputs", "a single number has no rows".to_owned());
        };
        let shape = Shape::from([&[count], features].concat());
        let (elements, width) = (shape.elements()?, shape.row_elements());
        let largest = like.to_f64().iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let range = if largest > 0.0 { largest } else { 1.0 };
        let mut pool = Plaintext::zeros(shape, DType::F64)?;
        let numbers = pool.buffer_mut().as_mut_slice::<f64>();
        numbers.fill_with(|| range * (2.0 * encryptor.rng().random::<f64>() - 1.0));
        for feature in 0..width {
            let column = || (feature..elements).step_by(width);
            let mean = column().map(|e| numbers[e]).sum::<f64>() / count.max(1) as f64;
            let widest = column().fold(range, |m, e| m.max((numbers[e] - mean).abs()));
            for e in column() {
                numbers[e] = (numbers[e] - mean) * (range / widest);
            }
        }
        let pool = pool.to_dtype(like.dtype())?;
        Self::new(encryptor, pool)
    }

    /// A verifier with these check inputs, a row each, of which each feature has a mean of zero but for
    /// rounding. They have to be secret, and in the range of the samples: a slot far larger than another
    /// drowns it.
    ///
    /// # Errors
    /// When the encryptor's ciphertexts do not hold two messages, there are fewer than two check inputs,
    /// or a number is not finite or a mean not zero.
    pub fn new(mut encryptor: Encryptor<'k>, pool: Plaintext) -> Result<Self> {
        let messages = encryptor.key().messages();
        if messages != 2 {
            return refuse(
                "verification",
                format!(
                    "ciphertexts under key {} hold {messages} messages, and one and its check are two: \
                     KeyShape::packed(3, 2) is for that",
                    encryptor.key().id()
                ),
            );
        }
        let shape = pool.shape();
        if shape.is_empty() || shape.rows() < 2 {
            return refuse(
                "check inputs",
                format!("shape {shape} has fewer than two rows to choose from"),
            );
        }
        pool.check_finite(None, || "check inputs".to_owned())?;
        check_means(&pool)?;
        let mut seed = Zeroizing::new([0; 32]);
        encryptor.rng().fill_bytes(&mut *seed);
        Ok(Self {
            encryptor,
            seed,
            pool,
            outputs: None,
            encryptions: 0,
            tolerance: Self::TOLERANCE,
        })
    }

    /// The check inputs, a row each, for the network to be run on in plaintext.
    pub fn pool(&self) -> &Plaintext {
        &self.pool
    }

    /// What the network gives for the check inputs in plaintext: a row for each, of any element type. In
    /// f64 none of a check's deviation is theirs.
    ///
    /// # Errors
    /// When rows are not as many, or a number is not finite.
    pub fn set_outputs(&mut self, outputs: &Plaintext) -> Result<()> {
        let (shape, rows) = (outputs.shape(), self.pool.shape().rows());
        let Some((_, row)) = shape.split_first().filter(|(first, _)| **first == rows) else {
            return refuse(
                "outputs of check inputs",
                format!("shape {shape} has no row for each of {rows} check inputs"),
            );
        };
        outputs.check_finite(None, || "outputs of check inputs".to_owned())?;
        self.outputs = Some((Shape::from(row), outputs.to_f64()));
        Ok(())
    }

    /// How far a check may be from what it should be, in multiples of u max|slot|: u is the unit roundoff
    /// of the results' element type, and max|slot| the largest message or check in the row, or the largest
    /// output of the pool where that is larger. What is rounded is of the size of what goes through a
    /// network, and a row whose results happen to be small has no less of it.
    pub fn tolerance(&self) -> f64 {
        self.tolerance
    }

    /// Sets [`Verifier::tolerance`]: what a network needs is some times the
    /// [largest deviation](Verified::largest_deviation) of batches that are known to be right.
    ///
    /// # Errors
    /// When it is not a positive number.
    pub fn set_tolerance(&mut self, tolerance: f64) -> Result<()> {
        if !(tolerance > 0.0 && tolerance.is_finite()) {
            return refuse(
                "tolerance",
                format!("{tolerance} is no multiple that is positive and finite"),
            );
        }
        self.tolerance = tolerance;
        Ok(())
    }

    /// Encrypts samples, a row each, with check inputs and with masks in the samples' range.
    ///
    /// # Errors
    /// When samples are not like the check inputs, or as [`Encryptor::encrypt_packed`].
    pub fn encrypt(&mut self, samples: &Plaintext) -> Result<(Ciphertext, Receipt)> {
        self.encrypt_with(samples, MaskPolicy::Uniform)
    }

    /// Encrypts samples, a row each, with check inputs and with masks drawn by `policy`.
    ///
    /// # Errors
    /// When samples are not like the check inputs, or as [`Encryptor::encrypt_packed`].
    pub fn encrypt_with(
        &mut self,
        samples: &Plaintext,
        policy: MaskPolicy<'_>,
    ) -> Result<(Ciphertext, Receipt)> {
        let (found, like) = (samples.shape(), self.pool.shape());
        if found.is_empty() || found[1..] != like[1..] {
            let rows = [&[found.rows()], &like[1..]].concat();
            return Err(Error::Shape {
                what: "samples with check inputs".to_owned(),
                expected: rows.into(),
                found: found.clone(),
            });
        }
        let receipt = Receipt {
            encryption: self.encryptions,
            rows: found.rows(),
        };
        let checks = self.pool.rows(&self.chosen(&receipt))?;
        let ciphertext = (self.encryptor).encrypt_packed(&[samples, &checks], policy)?;
        self.encryptions += 1;
        Ok((ciphertext, receipt))
    }

    /// Decrypts what the network gave for a batch, and looks at the check of each row.
    ///
    /// # Errors
    /// When no outputs of the check inputs are set, the ciphertext is under another key, or it is not of
    /// the shape that the outputs and the receipt say.
    pub fn check(&self, outputs: &Ciphertext, receipt: &Receipt) -> Result<Verified> {
        let Some((row, expected)) = &self.outputs else {
            return refuse(
                "verification",
                "what the check inputs should give was not set (Verifier::set_outputs)".to_owned(),
            );
        };
        let shape = Shape::from([&[receipt.rows], &row[..]].concat());
        if *outputs.shape() != shape {
            return Err(Error::Shape {
                what: "results with checks".to_owned(),
                expected: shape,
                found: outputs.shape().clone(),
            });
        }
        let key = self.encryptor.key();
        let (messages, checks) = (key.decrypt_nth(outputs, 0)?, key.decrypt_nth(outputs, 1)?);
        let (wide, found) = (messages.to_f64(), checks.to_f64());
        let (width, unit) = (row.elements()?, unit_roundoff(outputs.dtype()));
        let usual = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let mut failed_rows = Vec::new();
        let mut largest_deviation = 0.0f64;
        for (row, chosen) in self.chosen(receipt).into_iter().enumerate() {
            let at = |row| row * width..(row + 1) * width;
            let (message, check) = (&wide[at(row)], &found[at(row)]);
            let deviation = deviation(message, check, &expected[at(chosen)], usual) / unit;
            largest_deviation = largest_deviation.max(deviation);
            if deviation > self.tolerance {
                failed_rows.push(row);
            }
        }
        Ok(Verified {
            messages,
            failed_rows,
            largest_deviation,
        })
    }

    /// The check input of each row: number by number what ChaCha20 gives under the seed for the
    /// encryption as nonce and the row as counter.
    fn chosen(&self, receipt: &Receipt) -> Vec<usize> {
        let mut stream = ChaCha20Rng::from_seed(*self.seed);
        stream.set_stream(receipt.encryption);
        let count = self.pool.shape().rows() as u128;
        (0..receipt.rows)
            .map(|_| ((u128::from(stream.next_u64()) * count) >> 64) as usize)
            .collect()
    }
}

fn refuse<T>(operation: &str, reason: String) -> Result<T> {
    let operation = operation.to_owned();
    Err(Error::Operation { operation, reason })
}

/// # Errors
/// When a feature's mean is not zero but for the rounding of its numbers and of their sum.
fn check_means(pool: &Plaintext) -> Result<()> {
    let (numbers, shape) = (pool.to_f64(), pool.shape());
    let (rows, width) = (shape.rows(), shape.row_elements());
    let unit = unit_roundoff(pool.dtype());
    for feature in 0..width {
        let column = || numbers.iter().skip(feature).step_by(width);
        let sum: f64 = column().sum();
        let size: f64 = column().map(|x| x.abs()).sum();
        if sum.abs() > rows as f64 * unit * size {
            return refuse(
                "check inputs",
                format!(
                    "feature {feature} has a mean of {:e}, and zero is needed",
                    sum / rows as f64
                ),
            );
        }
    }
    Ok(())
}

/// How far the numbers of a check are from what they should be, as a part of the largest message or
/// check, or of `usual` where that is larger; infinite where one is not finite.
fn deviation(messages: &[f64], checks: &[f64], expected: &[f64], usual: f64) -> f64 {
    let both = || messages.iter().chain(checks);
    if both().any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    let pairs = checks.iter().zip(expected);
    let furthest = pairs.fold(0.0f64, |m, (x, y)| m.max((x - y).abs()));
    if furthest == 0.0 {
        return 0.0;
    }
    furthest / both().fold(usual, |m, x| m.max(x.abs()))
}

/// Half the distance from 1 to the next number.
fn unit_roundoff(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => f64::from(f32::EPSILON) / 2.0,
        DType::F64 => f64::EPSILON / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KeyShape, SecretKey};
    use super::*;
    use crate::Algebra;

    fn verifier(key: &SecretKey, count: usize, seed: u64) -> Verifier<'_> {
        let like = Plaintext::new([1, 5], &[0.5f32, -3.0, 1.0, 0.0, 2.0]).expect("a tensor");
        let encryptor = key.encryptor_from_known_seed(Algebra::Compact(3), seed);
        Verifier::generate(encryptor.expect("its key"), &like, count).expect("a pool")
    }

    fn key() -> SecretKey {
        SecretKey::from_known_seed(KeyShape::packed(3, 2), 4).expect("a key")
    }

    /// Each is chosen about as often as any other, and which hangs on seed, encryption and row.
    #[test]
    fn choices_are_even_and_differ() {
        let key = key();
        for count in [2, 7, 64] {
            let rows = 1000 * count;
            let of = |seed, encryption| {
                verifier(&key, count, seed).chosen(&Receipt { encryption, rows })
            };
            let first = of(1, 0);
            let mut times = vec![0; count];
            first.iter().for_each(|chosen| times[*chosen] += 1);
            // Six standard deviations of a binomial count around 1000.
            assert!(
                times.iter().all(|n| (810..1190).contains(n)),
                "{count}: {times:?}"
            );
            for other in [of(1, 1), of(2, 0)] {
                let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
                let even = rows as f64 / count as f64;
                assert!((same as f64 - even).abs() < 6.0 * even.sqrt(), "{same}");
            }
            // A row's is the same whatever rows follow.
            let fewer = Receipt {
                encryption: 0,
                rows: 9,
            };
            assert_eq!(verifier(&key, count, 1).chosen(&fewer), first[..9]);
        }
    }

    #[test]
    fn pools_have_the_range_and_no_mean() {
        let key = key();
        for count in [2, 3, 64, 101] {
            let verifier = verifier(&key, count, 7);
            let pool = verifier.pool().to_f64();
            assert_eq!(&**verifier.pool().shape(), [count, 5]);
            assert!(pool.iter().all(|x| x.abs() <= 3.0));
            for feature in 0..5 {
                let sum: f64 = pool.iter().skip(feature).step_by(5).sum();
                assert!(sum.abs() <= 1e-6 * count as f64, "{sum:e}");
            }
            assert!(count < 64 || pool.iter().any(|x| x.abs() > 2.5));
        }
    }

    #[test]
    fn deviations_are_parts_of_the_largest() {
        assert_eq!(deviation(&[8.0], &[1.0, 2.0], &[1.0, 4.0], 1.0), 0.25);
        assert_eq!(deviation(&[8.0], &[1.0, 2.0], &[1.0, 4.0], 16.0), 0.125);
        assert_eq!(deviation(&[0.0], &[0.0], &[0.0], 0.0), 0.0);
        assert_eq!(deviation(&[0.0], &[0.0], &[1.0], 1.0), 1.0);
        for odd in [f64::NAN, f64::INFINITY] {
            assert_eq!(deviation(&[odd], &[1.0], &[1.0], 1.0), f64::INFINITY);
            assert_eq!(deviation(&[1.0], &[odd], &[1.0], 1.0), f64::INFINITY);
        }
    }
}
