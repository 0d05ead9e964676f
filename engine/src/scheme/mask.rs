//! How masks are drawn, and the guard that watches what becomes of them.

use std::str::FromStr;

use rand::{Rng, RngExt};

use super::key::normal;
use crate::error::{Error, Result};
use crate::tensor::{DType, Plaintext};

/// How the masks of a tensor are drawn. They decide whether training works: the mask slot is a
/// shadow network that trains on the masks, and what drives it to overflow ruins the message too.
#[derive(Debug, Clone, Copy)]
pub enum MaskPolicy<'a> {
    /// Each row's mask is another row of the same tensor, whole, and tensors encrypted together use
    /// the same permutation: the shadow is then an ordinary network on the same data. The default
    /// for training sets.
    PairedRows,
    /// Each feature is drawn from its own values over the rows, so that rows of masks look like
    /// noise with the data's marginals. For inputs; labels encrypted with them are permuted whole.
    Features,
    /// Uniform between the tensor's least and greatest value. The default for single tensors.
    Uniform,
    /// Normal with the tensor's mean and standard deviation, clamped to its range.
    Normal,
    /// Uniform in the upper three quarters of (0, greatest magnitude]: for tensors that go through
    /// logarithms, roots and divisions.
    Positive,
    /// The values of another tensor of the same shape.
    From(&'a Plaintext),
}

impl MaskPolicy<'_> {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            MaskPolicy::PairedRows => "paired-rows",
            MaskPolicy::Features => "features",
            MaskPolicy::Uniform => "uniform",
            MaskPolicy::Normal => "normal",
            MaskPolicy::Positive => "positive",
            MaskPolicy::From(_) => "from",
        }
    }

    /// Masks for `messages`, row-major. `order` is the row permutation shared by tensors that are
    /// encrypted together.
    pub(super) fn draw(
        self,
        messages: &Plaintext,
        order: &[usize],
        rng: &mut impl Rng,
    ) -> Result<Plaintext> {
        let refuse = |reason: String| {
            Err(Error::MaskPolicy {
                policy: self.name(),
                reason,
            })
        };
        let shape = messages.shape();
        let rows = shape.rows();
        match self {
            MaskPolicy::PairedRows | MaskPolicy::Features if rows < 2 => {
                refuse(format!("shape {shape} has fewer than two rows to exchange"))
            }
            MaskPolicy::PairedRows => messages.rows(order),
            MaskPolicy::Features => {
                let values = messages.to_f64();
                let width = shape.row_elements();
                fill(messages, |e| {
                    values[rng.random_range(0..rows) * width + e % width]
                })
            }
            MaskPolicy::Uniform => {
                let (low, high) = range(&messages.to_f64());
                fill(messages, |_| low + (high - low) * rng.random::<f64>())
            }
            MaskPolicy::Normal => {
                let values = messages.to_f64();
                let (low, high) = range(&values);
                let count = values.len().max(1) as f64;
                let mean = values.iter().sum::<f64>() / count;
                let spread = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
                let deviation = if spread > 0.0 {
                    spread.sqrt()
                } else {
                    (high - low) / 4.0
                };
                fill(messages, |_| {
                    (mean + deviation * normal(rng)).clamp(low, high)
                })
            }
            MaskPolicy::Positive => {
                let top = messages
                    .to_f64()
                    .iter()
                    .fold(0.0, |m: f64, x| m.max(x.abs()));
                let top = if top > 0.0 { top } else { 1.0 };
                fill(messages, |_| top * (0.25 + 0.75 * rng.random::<f64>()))
            }
            MaskPolicy::From(other) => {
                if other.shape() != shape {
                    return refuse(format!(
                        "masks of shape {} were given for messages of shape {shape}",
                        other.shape()
                    ));
                }
                // Looked at after rounding, which can take a large f64 to infinity in f32.
                let masks = other.to_dtype(messages.dtype())?;
                masks.check_finite(None, || "masks".to_owned())?;
                Ok(masks)
            }
        }
    }
}

impl FromStr for MaskPolicy<'static> {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        [
            MaskPolicy::PairedRows,
            MaskPolicy::Features,
            MaskPolicy::Uniform,
            MaskPolicy::Normal,
            MaskPolicy::Positive,
        ]
        .into_iter()
        .find(|policy| policy.name() == name)
        .ok_or_else(|| Error::UnknownMaskPolicy(name.to_owned()))
    }
}

/// Least and greatest value; where they agree a constant mask would be the message itself, so the
/// range is widened.
fn range(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low < high {
        return (low, high);
    }
    let (middle, width) = if low.is_finite() {
        (low, low.abs().max(1.0))
    } else {
        (0.0, 1.0)
    };
    (middle - width, middle + width)
}

fn fill(like: &Plaintext, mut value: impl FnMut(usize) -> f64) -> Result<Plaintext> {
    let count = like.shape().elements()?;
    let values: Vec<f64> = (0..count).map(&mut value).collect();
    Plaintext::new(like.shape().clone(), &values)?.to_dtype(like.dtype())
}

/// Standard deviation of a hybrid polynomial's higher coefficients: at 1, decrypted f32 errors after
/// three squarings reach 0.3, and at this they stay below 1e-4.
const COEFFICIENT_DEVIATION: f64 = 0.25;

/// Higher coefficients of hybrid polynomials, one for each message.
pub(super) fn coefficients(messages: &Plaintext, rng: &mut impl Rng) -> Result<Plaintext> {
    fill(messages, |_| COEFFICIENT_DEVIATION * normal(rng))
}

/// A random cyclic order of `0..rows` (Sattolo): no row stays where it is, so that no mask is its
/// own message.
pub(super) fn cyclic_order(rows: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    for i in (1..rows).rev() {
        order.swap(i, rng.random_range(0..i));
    }
    order
}

/// Limits on how far slots may grow apart: the larger slot's rounding is an error of the smaller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// Ratio of magnitudes past which a run warns.
    pub warn: f64,
    /// Ratio past which a run fails.
    pub fail: f64,
}

impl Guard {
    /// The limits for an element type: about four digits of the message left at the warning and two
    /// at the failure.
    pub fn for_dtype(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Guard {
                warn: 1e3,
                fail: 1e5,
            },
            DType::F64 => Guard {
                warn: 1e12,
                fail: 1e14,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    #[test]
    fn cyclic_orders_move_every_row() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for rows in [2, 3, 17, 100] {
            let order = cyclic_order(rows, &mut rng);
            assert!(order.iter().enumerate().all(|(i, &j)| i != j));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..rows));
        }
        assert_eq!(cyclic_order(1, &mut rng), [0]);
        assert!(cyclic_order(0, &mut rng).is_empty());
    }

    #[test]
    fn masks_keep_the_range() {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let values: Vec<f32> = (0..60).map(|i| (i % 7) as f32 - 2.0).collect();
        let messages = Plaintext::new([10, 6], &values).expect("a tensor");
        let order = cyclic_order(10, &mut rng);
        for name in ["paired-rows", "features", "uniform", "normal", "positive"] {
            let policy: MaskPolicy<'_> = name.parse().expect("a policy");
            let masks = policy
                .draw(&messages, &order, &mut rng)
                .expect("masks")
                .to_f64();
            let low = if name == "positive" { 1.0 } else { -2.0 };
            assert!(
                masks.iter().all(|x| (low..=4.0).contains(x)),
                "{name}: {masks:?}"
            );
            assert!(
                masks.iter().zip(messages.to_f64()).any(|(a, b)| *a != b),
                "{name}"
            );
        }
        let constant = Plaintext::new([2, 2], &[0.0f32; 4]).expect("a tensor");
        let masks = MaskPolicy::Uniform
            .draw(&constant, &[1, 0], &mut rng)
            .expect("masks");
        assert!(masks.to_f64().iter().any(|x| *x != 0.0));
        let single = Plaintext::new([1, 3], &[0.0f32; 3]).expect("a tensor");
        let error = MaskPolicy::PairedRows
            .draw(&single, &[0], &mut rng)
            .expect_err("one row");
        assert!(error.to_string().contains("fewer than two rows"), "{error}");
    }
}
