//! Secret keys.

use std::fmt;
use std::sync::Arc;

use rand::rngs::SysRng;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::evaluation::{EvaluationKey, KeyId};
use crate::algebra::{self, Algebra, REDUCED, SLOTS};
use crate::error::{Error, Result};
use crate::linalg;

/// Eigenvalues lie on multiples of this, so that their sum, product and half difference are exact in
/// single precision.
pub(super) const GRID: f64 = 1.0 / 256.0;
/// The largest condition number of S: in f32, sixteen products of blocks lose a digit at 10 and all
/// of them at 100.
pub(super) const MAX_CONDITION: f64 = 4.5;
/// Z's off-diagonal entries are at least this part of the eigenvalues' gap, or a block shows its
/// message in a corner.
const MIN_MIXING: f64 = 0.1;
/// For more than two slots, how far an eigenvalue strays from its Chebyshev node, as a part of the
/// nodes' smallest gap.
pub(super) const NODE_SPREAD: f64 = 0.15;

/// How near zero a secret point may be: there a polynomial's lowest coefficient is its message.
pub(super) const MIN_POINT: f64 = 0.375;

/// What a key is drawn for. A number of slots is a key of one message and so many less one masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyShape {
    pub(super) slots: usize,
    pub(super) messages: usize,
    /// Degree of the polynomials of reduced hybrid ciphertexts, of keys for them.
    pub(super) reduced: Option<usize>,
}

impl From<usize> for KeyShape {
    fn from(slots: usize) -> Self {
        Self::packed(slots, 1)
    }
}

impl From<Algebra> for KeyShape {
    /// One message; of plaintext there are no keys.
    fn from(algebra: Algebra) -> Self {
        match algebra {
            Algebra::Reduced(degree) => Self::reduced(degree),
            other => other.key_slots().into(),
        }
    }
}

impl KeyShape {
    /// Ciphertexts of `slots` slots (2 to 8), of which `messages` hold messages: at least one is a mask,
    /// which the messages share.
    pub fn packed(slots: usize, messages: usize) -> Self {
        Self {
            slots,
            messages,
            reduced: None,
        }
    }

    /// Reduced hybrid ciphertexts of polynomials of a degree (1 to 3): of two slots, with a public
    /// polynomial of which the secret point is a root.
    pub fn reduced(degree: usize) -> Self {
        Self {
            slots: 2,
            messages: 1,
            reduced: Some(degree),
        }
    }

    /// # Errors
    /// When there are no such keys.
    pub(super) fn check(self) -> Result<()> {
        if !SLOTS.contains(&self.slots) {
            return Err(Error::KeySize(self.slots));
        }
        let reason = if !(1..self.slots).contains(&self.messages) {
            format!(
                "{} messages in {} slots, of which one at least is a mask",
                self.messages, self.slots
            )
        } else {
            match self.reduced {
                Some(degree) if self.slots != 2 || !REDUCED.contains(&degree) => format!(
                    "a public polynomial for degree {degree} and {} slots, where degrees 1 to {} and \
                     2 slots go",
                    self.slots,
                    REDUCED.end()
                ),
                _ => return Ok(()),
            }
        };
        let operation = "a key".to_owned();
        Err(Error::Operation { operation, reason })
    }
}

/// The secret key: the matrix S, whose first columns belong to the messages, the eigenvalues of the
/// public generator in that order and, of keys of two slots, the secret point of hybrid ciphertexts.
///
/// It is wiped when dropped and prints nothing of itself; [`SecretKey::to_bytes`] gives it away.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretKey {
    s: Vec<f64>,
    s_inverse: Vec<f64>,
    /// Z's eigenvalues in the order of the columns of S.
    eigenvalues: Vec<f64>,
    /// Which of the evaluation key's slots hold messages.
    message_slots: Vec<usize>,
    /// Where a hybrid ciphertext's polynomial has its message; none for keys of more slots.
    point: Option<f64>,
    #[zeroize(skip)]
    evaluation: Arc<EvaluationKey>,
}

impl SecretKey {
    /// A key from the operating system's randomness: of so many slots (one message, the rest masks),
    /// for an [`Algebra`], or what a [`KeyShape`] says.
    ///
    /// # Errors
    /// When there are no such keys, or the system gives no randomness.
    pub fn generate(shape: impl Into<KeyShape>) -> Result<Self> {
        let rng = ChaCha20Rng::try_from_rng(&mut SysRng)
            .map_err(|error| Error::Randomness(error.to_string()))?;
        Self::draw(shape.into(), rng)
    }

    /// A key that anyone who knows the seed can make: for tests and experiments that have to be
    /// repeated.
    ///
    /// # Errors
    /// When there are no such keys.
    pub fn from_known_seed(shape: impl Into<KeyShape>, seed: u64) -> Result<Self> {
        Self::draw(shape.into(), ChaCha20Rng::seed_from_u64(seed))
    }

    fn draw(shape: KeyShape, mut rng: ChaCha20Rng) -> Result<Self> {
        shape.check()?;
        let slots = shape.slots;
        let id = KeyId(rng.next_u64());
        // v[0] is the message's: the order is the secret, so it is wiped like S.
        let mut v = Zeroizing::new(if slots == 2 {
            two_eigenvalues(&mut rng)
        } else {
            eigenvalues(slots, &mut rng)
        });
        loop {
            let (mut s, mut s_inverse) = mixing_matrix(slots, &mut rng);
            let scaled = Zeroizing::new(scale_columns(&s, &v));
            let generator = linalg::multiply(&scaled, &s_inverse, slots);
            if !mixes(&generator, &v) {
                continue;
            }
            let (point, reduction) = match shape.reduced {
                None => ((slots == 2).then(|| secret_point(&mut rng)), Vec::new()),
                Some(degree) => {
                    let (point, roots) = reduction(degree, &mut rng);
                    (Some(point), roots)
                }
            };
            return Ok(Self::of_parts(
                EvaluationKey::new(id, descending(&v), generator, reduction),
                shape.messages,
                std::mem::take(&mut *v),
                std::mem::take(&mut *s),
                std::mem::take(&mut *s_inverse),
                point,
            ));
        }
    }

    /// The key of these parts, which have to fit: `eigenvalues` are the evaluation key's roots, those
    /// of the messages first, and S diag(eigenvalues) S^-1 its generator.
    pub(super) fn of_parts(
        evaluation: EvaluationKey,
        messages: usize,
        eigenvalues: Vec<f64>,
        s: Vec<f64>,
        s_inverse: Vec<f64>,
        point: Option<f64>,
    ) -> Self {
        let slot = |message: &f64| {
            let slot = evaluation.roots().iter().position(|root| root == message);
            slot.unwrap_or(0)
        };
        Self {
            message_slots: eigenvalues[..messages].iter().map(slot).collect(),
            s,
            s_inverse,
            eigenvalues,
            point,
            evaluation: Arc::new(evaluation),
        }
    }

    /// The public part, which every ciphertext carries.
    pub fn evaluation_key(&self) -> &Arc<EvaluationKey> {
        &self.evaluation
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        self.evaluation.id()
    }

    /// Messages in a ciphertext.
    pub fn messages(&self) -> usize {
        self.message_slots.len()
    }

    /// Which of the evaluation key's slots hold the messages, in their order.
    pub(super) fn message_slots(&self) -> &[usize] {
        &self.message_slots
    }

    /// Where hybrid polynomials have their messages.
    pub(super) fn point(&self) -> Option<f64> {
        self.point
    }

    /// S and its inverse, n x n.
    pub(super) fn matrices(&self) -> (&[f64], &[f64]) {
        (&self.s, &self.s_inverse)
    }

    /// Z's eigenvalues in the order of the columns of S.
    pub(super) fn eigenvalues(&self) -> &[f64] {
        &self.eigenvalues
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SecretKey({}, {} slots)",
            self.id(),
            self.evaluation.slots()
        )
    }
}

/// v1 and v2 in [-1, 1] on the grid, at least 1 apart, in either order.
fn two_eigenvalues(rng: &mut impl Rng) -> Vec<f64> {
    loop {
        let v: Vec<f64> = (0..2)
            .map(|_| f64::from(rng.random_range(-256..=256)) * GRID)
            .collect();
        if (v[0] - v[1]).abs() >= 1.0 {
            return v;
        }
    }
}

/// A point between -1 and 1 on the grid, not too near 0.
fn secret_point(rng: &mut impl Rng) -> f64 {
    let least = (MIN_POINT / GRID) as i32;
    let magnitude = f64::from(rng.random_range(least..=(1.0 / GRID) as i32)) * GRID;
    if rng.random() { magnitude } else { -magnitude }
}

/// The roots of a public polynomial of which one is the secret point, largest first.
fn reduction(degree: usize, rng: &mut impl Rng) -> (f64, Vec<f64>) {
    // Which comes first is the secret.
    let roots = Zeroizing::new(eigenvalues(degree + 1, rng));
    // They come in random order.
    let point = roots.iter().copied().find(|root| root.abs() >= MIN_POINT);
    (point.unwrap_or(roots[0]), descending(&roots))
}

/// Eigenvalues as an evaluation key has them: largest first.
pub(super) fn descending(eigenvalues: &[f64]) -> Vec<f64> {
    let mut roots = eigenvalues.to_vec();
    roots.sort_by(|a, b| b.total_cmp(a));
    roots
}

/// The n Chebyshev nodes, largest first, and the smallest gap between two.
pub(super) fn chebyshev_nodes(n: usize) -> (Vec<f64>, f64) {
    let nodes = algebra::chebyshev_nodes(n);
    let gaps = nodes.windows(2).map(|pair| pair[0] - pair[1]);
    let gap = gaps.fold(f64::INFINITY, f64::min);
    (nodes, gap)
}

/// Eigenvalues near the Chebyshev nodes, on the grid, in random order.
fn eigenvalues(n: usize, rng: &mut impl Rng) -> Vec<f64> {
    let (nodes, gap) = chebyshev_nodes(n);
    let steps = (NODE_SPREAD * gap / GRID).floor() as i32;
    let mut v: Vec<f64> = nodes
        .iter()
        .map(|node| {
            // Rounding towards zero keeps the node's part of the spread within bounds.
            let nearest = (node / GRID).round() as i32;
            f64::from(nearest + rng.random_range(-(steps - 1)..steps)) * GRID
        })
        .collect();
    for i in (1..n).rev() {
        v.swap(i, rng.random_range(0..=i));
    }
    v
}

/// A standard normal number (Box and Muller).
pub(super) fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// A secret matrix, wiped when dropped.
type Secret = Zeroizing<Vec<f64>>;

/// Multiplies column k by `d[k]`.
pub(super) fn scale_columns(a: &[f64], d: &[f64]) -> Vec<f64> {
    a.iter()
        .enumerate()
        .map(|(e, x)| x * d[e % d.len()])
        .collect()
}

/// A random matrix of bounded condition number and its inverse, through singular values: U D V.
fn mixing_matrix(n: usize, rng: &mut impl Rng) -> (Secret, Secret) {
    let mut orthogonal = || {
        let gaussian: Secret = Zeroizing::new((0..n * n).map(|_| normal(rng)).collect());
        Zeroizing::new(linalg::orthogonalise(&gaussian, n))
    };
    let (u, v) = (orthogonal(), orthogonal());
    let stretch: Secret = Zeroizing::new(
        (0..n)
            .map(|_| (rng.random::<f64>() * MAX_CONDITION.ln()).exp())
            .collect(),
    );
    let shrink: Secret = Zeroizing::new(stretch.iter().map(|x| 1.0 / x).collect());
    let transposed = |a: &[f64]| Zeroizing::new(linalg::transpose(a, n));
    let product = |a: &[f64], d: &[f64], b: &[f64]| {
        let scaled = Zeroizing::new(scale_columns(a, d));
        Zeroizing::new(linalg::multiply(&scaled, b, n))
    };
    (
        product(&u, &stretch, &v),
        product(&transposed(&v), &shrink, &transposed(&u)),
    )
}

/// Whether every row and column of Z mixes slots: its part off the diagonal is not small.
pub(super) fn mixes(generator: &[f64], v: &[f64]) -> bool {
    let n = v.len();
    let gap = v
        .iter()
        .enumerate()
        .flat_map(|(i, a)| v[..i].iter().map(move |b| (a - b).abs()))
        .fold(f64::INFINITY, f64::min);
    let off = |at: &dyn Fn(usize, usize) -> usize, i: usize| {
        (0..n)
            .filter(|&j| j != i)
            .map(|j| generator[at(i, j)].powi(2))
            .sum::<f64>()
            .sqrt()
    };
    (0..n).all(|i| {
        off(&|i, j| i * n + j, i) >= MIN_MIXING * gap
            && off(&|i, j| j * n + i, i) >= MIN_MIXING * gap
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_the_rules() {
        for seed in 0..200 {
            let key = SecretKey::from_known_seed(2, seed).expect("a key");
            let (z, roots) = (key.evaluation.generator(), key.evaluation.roots());
            let gap = roots[0] - roots[1];
            assert!(
                gap >= 1.0 && roots.iter().all(|v| v.abs() <= 1.0),
                "{roots:?}"
            );
            for exact in [roots[0] + roots[1], roots[0] * roots[1], gap / 2.0] {
                assert_eq!(f64::from(exact as f32), exact);
            }
            assert!(z[1].abs() >= 0.1 * gap && z[2].abs() >= 0.1 * gap, "{z:?}");
            let frobenius = |m: &[f64]| m.iter().map(|x| x * x).sum::<f64>().sqrt();
            // For 2 x 2 the product of Frobenius norms is cond + 1/cond.
            assert!(frobenius(&key.s) * frobenius(&key.s_inverse) <= 5.0 + 0.2 + 1e-12);
            assert_eq!(roots[key.message_slots[0]], z_root_of_first_column(&key));
            let point = key.point().expect("keys of two slots have one");
            assert!((MIN_POINT..=1.0).contains(&point.abs()), "{point}");
        }
    }

    fn z_root_of_first_column(key: &SecretKey) -> f64 {
        let (z, s) = (key.evaluation.generator(), &key.s);
        let image = z[0] * s[0] + z[1] * s[2];
        let estimate = image / s[0];
        let nearest = |a: &&f64, b: &&f64| (*a - estimate).abs().total_cmp(&(*b - estimate).abs());
        *key.evaluation
            .roots()
            .iter()
            .min_by(nearest)
            .expect("two roots")
    }

    #[test]
    fn larger_keys_stay_near_the_nodes() {
        for slots in 3..=8 {
            for seed in 0..20 {
                let key = SecretKey::from_known_seed(slots, seed).expect("a key");
                let node = |i: usize| {
                    (std::f64::consts::PI * (2 * i + 1) as f64 / (2 * slots) as f64).cos()
                };
                let gap = (1..slots)
                    .map(|i| node(i - 1) - node(i))
                    .fold(f64::INFINITY, f64::min);
                for (i, root) in key.evaluation.roots().iter().enumerate() {
                    assert!(
                        (root - node(i)).abs() <= NODE_SPREAD * gap,
                        "{slots} slots: {root}"
                    );
                }
            }
        }
    }

    #[test]
    fn shapes_say_what_keys_hold() {
        for seed in 0..40 {
            for degree in 1..=3 {
                let key = SecretKey::from_known_seed(KeyShape::reduced(degree), seed);
                let key = key.expect("a key");
                let (point, roots) = (key.point().expect("a point"), key.evaluation.reduction());
                assert!(roots.contains(&point) && roots.len() == degree + 1);
                assert!(point.abs() >= MIN_POINT, "{point}");
                assert!(roots.is_sorted_by(|a, b| a > b), "{roots:?}");
            }
            let key = SecretKey::from_known_seed(KeyShape::packed(4, 3), seed).expect("a key");
            let mut slots = key.message_slots().to_vec();
            assert_eq!((key.messages(), key.point()), (3, None));
            slots.sort_unstable();
            slots.dedup();
            assert_eq!(slots.len(), 3);
        }
        for (shape, part) in [
            (KeyShape::packed(4, 4), "4 messages in 4 slots"),
            (KeyShape::packed(2, 0), "0 messages"),
            (KeyShape::packed(9, 1), "9 slots"),
            (KeyShape::reduced(4), "for degree 4"),
            (KeyShape::reduced(0), "for degree 0"),
        ] {
            let error = SecretKey::generate(shape).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = SecretKey::from_known_seed(2, 1).expect("a key");
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("SecretKey({}, 2 slots)", key.id()));
        assert!(SecretKey::generate(1).is_err() && SecretKey::generate(9).is_err());
        assert_ne!(
            SecretKey::generate(2).expect("randomness").id(),
            SecretKey::generate(2).expect("randomness").id()
        );
    }
}
