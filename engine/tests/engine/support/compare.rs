//! Comparison with an oracle, and the law its bounds come from.

use std::fmt;

use furthermore::tensor::DType;

/// The scheme's error law: what a ciphertext computation may be off by.
///
/// A slot is a sum of coordinates, and coordinates are sums of slots. A rounding of a coordinate is
/// at most u of its size, and going from slots to coordinates and back multiplies sizes by at most
/// the amplification A (the largest row sum of |to_slots| |from_slots|), so after c roundings the
/// error of a slot is about
///
/// ```text
/// (c u + n^2 2^-53) A size
/// ```
///
/// where `size` is what the magnitudes of the added numbers come to in the largest slot: the
/// rounding of a large mask lands in a small message too. The second term is the rounding of the
/// key's own constants, n x n matrices computed in f64; it shows only where the tensors are f64 too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Law {
    unit: f64,
    constants: f64,
    amplification: f64,
}

impl Law {
    pub(crate) fn new(dtype: DType, slots: usize, amplification: f64) -> Self {
        Self {
            unit: dtype.unit_roundoff(),
            constants: (slots * slots) as f64 * DType::F64.unit_roundoff(),
            amplification,
        }
    }

    /// The law for plaintext: no slots to go to, and no key.
    pub(crate) fn plain(dtype: DType) -> Self {
        Self::new(dtype, 1, 1.0)
    }

    /// The bound after so many roundings of terms that add up to `size` in the largest slot.
    pub(crate) fn bound(self, roundings: usize, size: f64) -> f64 {
        let relative = roundings as f64 * self.unit + self.constants;
        // Below the smallest normal number rounding is no longer relative.
        relative * self.amplification * size + f64::from(f32::MIN_POSITIVE)
    }
}

/// Where a result is further from the oracle than its bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mismatch {
    what: String,
    index: usize,
    expected: f64,
    found: f64,
    bound: f64,
    wrong: usize,
    of: usize,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch {
            what,
            index,
            expected,
            found,
            bound,
            wrong,
            of,
        } = self;
        write!(
            f,
            "{what}: {wrong} of {of} wrong, the first at {index}: {found:e} where {expected:e} \
             within {bound:e} was expected"
        )
    }
}

/// Compares number by number; returns the largest share of the bound that an error takes.
///
/// What is not finite is refused before any distance is taken, since NaN compares as neither larger
/// nor smaller than a bound. A bound that is not finite is refused too: it would accept anything.
pub(crate) fn compare(found: &[f64], expected: &[f64], bound: f64) -> Result<f64, Mismatch> {
    let mismatch = |what: &str, index: usize, wrong: usize| Mismatch {
        what: what.to_owned(),
        index,
        expected: expected.get(index).copied().unwrap_or(f64::NAN),
        found: found.get(index).copied().unwrap_or(f64::NAN),
        bound,
        wrong,
        of: expected.len(),
    };
    if found.len() != expected.len() {
        let what = format!("{} numbers where {} belong", found.len(), expected.len());
        return Err(mismatch(&what, found.len().min(expected.len()), 0));
    }
    if !bound.is_finite() || expected.iter().any(|x| !x.is_finite()) {
        return Err(mismatch("the oracle has no answer", 0, 0));
    }
    let wrong = |(f, e): (&f64, &f64)| !f.is_finite() || (f - e).abs() > bound;
    let pairs = || found.iter().zip(expected);
    if let Some(index) = pairs().position(wrong) {
        let count = pairs().filter(|pair| wrong(*pair)).count();
        let what = if found[index].is_finite() {
            "outside the bound"
        } else {
            "not a finite number"
        };
        return Err(mismatch(what, index, count));
    }
    let shares = pairs().map(|(f, e)| (f - e).abs() / bound.max(f64::MIN_POSITIVE));
    Ok(shares.fold(0.0, f64::max))
}
