//! Keys in stored form: what is written of them, and what is checked of one that is read.
//!
//! An evaluation key is a serde value, `{"id": "16 hex digits", "roots": [..], "generator": [..]}`, and
//! `"reduction": [..]` where it has roots of a public polynomial. A secret key is bytes, wiped after
//! use: a line that says what they are, version, slots, messages and the degree of its reduced
//! polynomials (u32; 0 without), id (u64), then in f64 the n eigenvalues of Z in the order of the
//! columns of S, those of the messages first, the n x n matrices Z, S and S^-1, of keys of two slots
//! the secret point, and the public polynomial's roots, all little-endian. Z follows from the others up
//! to rounding; it is kept so that ciphertexts under a key that was stored carry the very same
//! evaluation key.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::evaluation::{EvaluationKey, KeyId};
use super::key::{self, KeyShape, SecretKey};
use crate::algebra::SLOTS;
use crate::error::{Error, Result};
use crate::linalg;

/// What the bytes of every key begin with.
pub(crate) const MAGIC: &[u8; 16] = b"furthermore key\n";
const VERSION: u32 = 2;
/// Magic, version, slots, messages, degree, id.
const HEAD: usize = 16 + 4 * 4 + 8;
/// Products of a key's matrices agree this well: rounding leaves less than 1e-13.
const TOLERANCE: f64 = 1e-11;

/// An evaluation key as serde sees it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredEvaluationKey {
    id: String,
    roots: Vec<f64>,
    generator: Vec<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reduction: Vec<f64>,
}

impl From<EvaluationKey> for StoredEvaluationKey {
    fn from(key: EvaluationKey) -> Self {
        Self {
            id: key.id().to_string(),
            roots: key.roots().to_vec(),
            generator: key.generator().to_vec(),
            reduction: key.reduction().to_vec(),
        }
    }
}

impl TryFrom<StoredEvaluationKey> for EvaluationKey {
    type Error = Error;

    fn try_from(stored: StoredEvaluationKey) -> Result<Self> {
        let StoredEvaluationKey {
            id,
            roots,
            generator,
            reduction,
        } = stored;
        let is_id = id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u64::from_str_radix(&id, 16).ok().filter(|_| is_id);
        let Some(number) = number else {
            return refuse("evaluation key", "its id is not 16 hexadecimal digits");
        };
        check(&roots, &generator)
            .and_then(|()| check_reduction(roots.len(), &reduction))
            .or_else(|reason| refuse("evaluation key", reason))?;
        Ok(EvaluationKey::new(
            KeyId(number),
            roots,
            generator,
            reduction,
        ))
    }
}

fn refuse<T>(what: &'static str, reason: impl Into<String>) -> Result<T> {
    let reason = reason.into();
    Err(Error::StoredKey { what, reason })
}

/// Holds an evaluation key to the rules that keys are drawn by.
fn check(roots: &[f64], generator: &[f64]) -> Result<(), String> {
    let n = roots.len();
    if !SLOTS.contains(&n) || generator.len() != n * n {
        let entries = generator.len();
        return Err(format!(
            "{n} eigenvalues and a generator of {entries} entries are no key of 2 to 8 slots"
        ));
    }
    if !roots.windows(2).all(|pair| pair[0] > pair[1]) {
        return Err("eigenvalues are not in descending order".to_owned());
    }
    let placed = if n == 2 {
        roots[0] - roots[1] >= 1.0
    } else {
        near_nodes(roots)
    };
    if !placed || !roots.iter().all(on_grid) {
        return Err("eigenvalues are not where those of a key lie".to_owned());
    }
    // No entry of S diag(v) S^-1 passes cond(S) max|v|.
    let limit = key::MAX_CONDITION * (1.0 + TOLERANCE);
    if !generator.iter().all(|x| x.abs() <= limit) || !key::mixes(generator, roots) {
        return Err("the generator is not one that a key has".to_owned());
    }
    // Newton's identities: n power sums settle the characteristic polynomial, and so that the
    // generator has these eigenvalues, each once.
    let mut power = linalg::identity(n);
    for exponent in 1..=n as i32 {
        power = linalg::multiply(&power, generator, n);
        let trace: f64 = (0..n).map(|i| power[i * n + i]).sum();
        let expected: f64 = roots.iter().map(|v| v.powi(exponent)).sum();
        if (trace - expected).abs() > TOLERANCE {
            return Err("the generator has other eigenvalues".to_owned());
        }
    }
    Ok(())
}

/// Holds the public polynomial of a key of so many slots, if it has one, to the same rules.
fn check_reduction(slots: usize, reduction: &[f64]) -> Result<(), String> {
    if reduction.is_empty() {
        return Ok(());
    }
    let shape = KeyShape {
        slots,
        messages: 1,
        reduced: Some(reduction.len() - 1),
    };
    if shape.check().is_err() || !near_nodes(reduction) || !reduction.iter().all(on_grid) {
        return Err("the public polynomial's roots are not where those of a key lie".to_owned());
    }
    Ok(())
}

fn on_grid(v: &f64) -> bool {
    v.abs() <= 1.0 && (v / key::GRID).fract() == 0.0
}

/// Whether numbers, largest first, are near the Chebyshev nodes.
fn near_nodes(roots: &[f64]) -> bool {
    let (nodes, gap) = key::chebyshev_nodes(roots.len());
    let mut pairs = roots.iter().zip(&nodes);
    pairs.all(|(root, node)| (root - node).abs() <= key::NODE_SPREAD * gap)
}

impl SecretKey {
    /// The key as bytes, for whoever keeps it: [`crate::io::write_secret_key`] puts them into a file.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let (s, s_inverse) = self.matrices();
        let (point, reduction) = (self.point(), self.evaluation_key().reduction());
        let parts = [
            self.eigenvalues(),
            self.evaluation_key().generator(),
            s,
            s_inverse,
            point.as_slice(),
            reduction,
        ];
        let shape = KeyShape {
            slots: self.eigenvalues().len(),
            messages: self.messages(),
            reduced: reduction.len().checked_sub(1),
        };
        // Of the whole length from the start, so that no part is left behind by growing.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length(shape)));
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        for count in [shape.slots, shape.messages, shape.reduced.unwrap_or(0)] {
            bytes.extend((count as u32).to_le_bytes());
        }
        bytes.extend(self.id().0.to_le_bytes());
        for number in parts.into_iter().flatten() {
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }

    /// The key that [`SecretKey::to_bytes`] gave these bytes of: the same in every bit.
    ///
    /// # Errors
    /// When they are no key, one of another version or one that is cut short, or the numbers are not
    /// a key's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "secret key";
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return refuse(WHAT, "not the bytes of a secret key");
        };
        let Some((head, numbers)) = rest.split_at_checked(HEAD - MAGIC.len()) else {
            return refuse(WHAT, "cut short");
        };
        let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| head[at + i]));
        let version = u32_at(0);
        if version != VERSION {
            return refuse(WHAT, format!("version {version}, where {VERSION} is known"));
        }
        let n = u32_at(4) as usize;
        let shape = KeyShape {
            slots: n,
            messages: u32_at(8) as usize,
            reduced: Some(u32_at(12) as usize).filter(|degree| *degree > 0),
        };
        shape.check()?;
        let expected = length(shape);
        if bytes.len() != expected {
            let found = bytes.len();
            return refuse(
                WHAT,
                format!("{found} bytes, where a key of {n} slots has {expected}"),
            );
        }
        let id = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| head[16 + i]));
        let mut rest = numbers
            .chunks_exact(8)
            .map(|chunk| f64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| chunk[i])));
        let mut take = |count: usize| Zeroizing::new(rest.by_ref().take(count).collect::<Vec<_>>());
        let (mut v, z) = (take(n), take(n * n));
        let (mut s, mut s_inverse) = (take(n * n), take(n * n));
        let (point, reduction) = (take(points(shape)), take(reduction_len(shape)));
        let roots = key::descending(&v);
        check(&roots, &z)
            .and_then(|()| check_reduction(n, &reduction))
            .or_else(|reason| refuse(WHAT, reason))?;
        let placed = |point: &f64| {
            let among = reduction.is_empty() || reduction.contains(point);
            among && on_grid(point) && point.abs() >= key::MIN_POINT
        };
        if !point.iter().all(placed) {
            return refuse(WHAT, "its secret point is not where one lies");
        }
        if !belong_together(&v, &z, &s, &s_inverse) {
            return refuse(WHAT, "its matrices do not belong together");
        }
        Ok(Self::of_parts(
            EvaluationKey::new(KeyId(id), roots, z.to_vec(), reduction.to_vec()),
            shape.messages,
            std::mem::take(&mut *v),
            std::mem::take(&mut *s),
            std::mem::take(&mut *s_inverse),
            point.first().copied(),
        ))
    }
}

/// Secret points of a key.
fn points(shape: KeyShape) -> usize {
    usize::from(shape.slots == 2)
}

/// Roots of its public polynomial.
fn reduction_len(shape: KeyShape) -> usize {
    shape.reduced.map_or(0, |degree| degree + 1)
}

/// Bytes of a key.
fn length(shape: KeyShape) -> usize {
    let n = shape.slots;
    HEAD + 8 * (n + 3 * n * n + points(shape) + reduction_len(shape))
}

/// Whether S S^-1 = I and S diag(v) S^-1 = Z, with entries as large as a drawn key has them.
fn belong_together(v: &[f64], z: &[f64], s: &[f64], s_inverse: &[f64]) -> bool {
    let n = v.len();
    let within = |a: &[f64], limit: f64| a.iter().all(|x| x.abs() <= limit * (1.0 + TOLERANCE));
    let agree = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(x, y)| (x - y).abs() <= TOLERANCE);
    let scaled = Zeroizing::new(key::scale_columns(s, v));
    within(s, key::MAX_CONDITION)
        && within(s_inverse, 1.0)
        && agree(&linalg::multiply(s, s_inverse, n), &linalg::identity(n))
        && agree(&linalg::multiply(&scaled, s_inverse, n), z)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> impl Iterator<Item = SecretKey> {
        let seeds = |shape| (0..40).map(move |seed| (shape, seed));
        let reduced = (1..=3).map(KeyShape::reduced);
        let packed = (3..=8).map(|slots| KeyShape::packed(slots, slots - 1));
        (2..=8)
            .map(KeyShape::from)
            .chain(reduced)
            .chain(packed)
            .flat_map(seeds)
            .map(|(shape, seed)| SecretKey::from_known_seed(shape, seed).expect("a key"))
    }

    #[test]
    fn keys_come_back_in_every_bit() {
        for key in keys() {
            let bytes = key.to_bytes();
            let again = SecretKey::from_bytes(&bytes).expect("its own bytes");
            assert_eq!(*again.to_bytes(), *bytes);
            assert_eq!(again.evaluation_key(), key.evaluation_key());
            assert_eq!(again.message_slots(), key.message_slots());
            assert_eq!(again.point(), key.point());
            assert_eq!(again.matrices(), key.matrices());
            let text = serde_json::to_string(&**key.evaluation_key()).expect("JSON");
            let public: EvaluationKey = serde_json::from_str(&text).expect("its own form");
            assert_eq!(public, **key.evaluation_key());
        }
    }

    /// The largest disagreement that rounding leaves is far below what is allowed.
    #[test]
    fn the_tolerance_is_not_what_rounding_needs() {
        for key in keys() {
            let n = key.eigenvalues().len();
            let (s, s_inverse) = key.matrices();
            let product = linalg::multiply(s, s_inverse, n);
            let mut worst = 0.0f64;
            for (x, y) in product.iter().zip(linalg::identity(n)) {
                worst = worst.max((x - y).abs());
            }
            let evaluation = key.evaluation_key();
            let mut power = linalg::identity(n);
            for exponent in 1..=n as i32 {
                power = linalg::multiply(&power, evaluation.generator(), n);
                let trace: f64 = (0..n).map(|i| power[i * n + i]).sum();
                let sum: f64 = evaluation.roots().iter().map(|v| v.powi(exponent)).sum();
                worst = worst.max((trace - sum).abs());
            }
            assert!(worst <= TOLERANCE / 100.0, "{key:?}: {worst:e}");
        }
    }

    fn refused(bytes: &[u8], part: &str) {
        let error = SecretKey::from_bytes(bytes).expect_err(part).to_string();
        assert!(error.contains(part), "'{part}' is not in '{error}'");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for shape in [2.into(), 3.into(), 8.into(), KeyShape::reduced(2)] {
            let key = SecretKey::from_known_seed(shape, 5).expect("a key");
            let bytes = key.to_bytes();
            for length in 0..bytes.len() {
                assert!(SecretKey::from_bytes(&bytes[..length]).is_err(), "{length}");
            }
            refused(&[&bytes[..], &[0]].concat(), "bytes, where a key of");
            refused(b"", "not the bytes of a secret key");
            let changed = |at: usize, value: &[u8]| {
                let mut changed = bytes.to_vec();
                changed[at..at + value.len()].copy_from_slice(value);
                changed
            };
            refused(&changed(0, b"F"), "not the bytes");
            refused(&changed(16, &[1]), "version 1");
            refused(&changed(20, &[9]), "9 slots");
            refused(&changed(24, &[8]), "8 messages");
            refused(&changed(28, &[4]), "degree 4");
            for wrong in [f64::NAN, f64::INFINITY, 1e300, 0.3, -2.0] {
                for at in (HEAD..bytes.len()).step_by(8) {
                    let changed = changed(at, &wrong.to_le_bytes());
                    assert!(SecretKey::from_bytes(&changed).is_err(), "{at}: {wrong}");
                }
            }
            // A step on the grid is still an eigenvalue a key could have.
            let moved = key.eigenvalues()[0] - key::GRID;
            assert!(SecretKey::from_bytes(&changed(HEAD, &moved.to_le_bytes())).is_err());
        }
    }

    #[test]
    fn what_is_no_evaluation_key_is_refused() {
        let key = SecretKey::from_known_seed(3, 6).expect("a key");
        let value = serde_json::to_value(&**key.evaluation_key()).expect("JSON");
        let refused = |pointer: &str, wrong: serde_json::Value, part: &str| {
            let mut value = value.clone();
            *value.pointer_mut(pointer).expect("a field") = wrong;
            let error = serde_json::from_value::<EvaluationKey>(value).expect_err(part);
            let error = error.to_string();
            assert!(error.contains(part), "'{part}' is not in '{error}'");
        };
        let number = |x: f64| serde_json::Value::from(x);
        refused("/id", "+123456789abcdef".into(), "hexadecimal");
        refused("/id", "12".into(), "hexadecimal");
        refused("/roots", vec![0.5, 0.5, 0.5].into(), "descending order");
        refused("/roots", Vec::<f64>::new().into(), "0 eigenvalues");
        refused("/roots/0", number(0.99), "not where those of a key lie");
        refused("/roots/0", number(1e308), "not where those of a key lie");
        refused("/generator", vec![1.0; 4].into(), "4 entries");
        refused("/generator/4", number(1e308), "not one that a key has");
        refused("/generator", vec![0.0; 9].into(), "not one that a key has");
        let entry = key.evaluation_key().generator()[4];
        refused("/generator/4", number(entry + 1e-6), "other eigenvalues");
        refused("/generator/0", "NaN".into(), "invalid type");
        let key = SecretKey::from_known_seed(KeyShape::reduced(1), 6).expect("a key");
        let mut value = serde_json::to_value(&**key.evaluation_key()).expect("JSON");
        value["reduction"] = vec![0.5, 0.25].into();
        let error = serde_json::from_value::<EvaluationKey>(value).expect_err("no such roots");
        assert!(error.to_string().contains("public polynomial"), "{error}");
    }
}
