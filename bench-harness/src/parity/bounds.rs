//! What rounding may do to a result, and the comparison.

use furthermore::tensor::DType;
use furthermore_kernels_cpu::Arithmetic;

/// How numbers are stored and computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// Double throughout.
    F64,
    /// Single throughout.
    F32,
    /// Half in buffers, single in arithmetic.
    F16,
}

impl Precision {
    pub(super) fn name(self) -> &'static str {
        match self {
            Precision::F64 => "f64",
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        }
    }

    /// The element type of plans that run in it: how a device stores is the device's matter.
    pub(super) fn dtype(self) -> DType {
        match self {
            Precision::F64 => DType::F64,
            _ => DType::F32,
        }
    }

    /// Bytes of a number as it is stored.
    pub(super) fn bytes(self) -> usize {
        match self {
            Precision::F64 => 8,
            Precision::F32 => 4,
            Precision::F16 => 2,
        }
    }

    /// A number as it is stored.
    pub(super) fn round(self, x: f64) -> f64 {
        match self {
            Precision::F64 => x,
            Precision::F32 => f64::from(x as f32),
            Precision::F16 => half::f16::from_f64(x).to_f64(),
        }
    }

    /// What is written is rounded once more where it is stored in another precision than it was
    /// computed in, to either neighbour as a driver likes; what is read is as it was stored.
    fn stored(self) -> f64 {
        match self {
            Precision::F16 => f64::from(half::f16::EPSILON),
            _ => 0.0,
        }
    }

    /// The least number that is rounded relative to its size.
    fn least(self) -> f64 {
        match self {
            Precision::F16 => f64::from(half::f16::MIN_POSITIVE),
            _ => f64::from(f32::MIN_POSITIVE),
        }
    }
}

/// The scheme's error law: what a computation on ciphertexts may be off by.
///
/// A slot is a sum of coordinates, and coordinates are sums of slots. A rounding of a coordinate is at
/// most u of its size, and going from slots to coordinates and back multiplies sizes by at most the
/// amplification A (the largest row sum of |to_slots| |from_slots|), so after c roundings the error of
/// a slot is about `(c u + n^2 2^-53) A size`, where `size` is what the magnitudes of the added
/// numbers come to in the largest slot. The second term is the rounding of the key's own constants.
/// Storing a result in half precision rounds coordinates of the result once more, however large the
/// numbers were that were added: by A times the largest slot of the result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Law {
    precision: Precision,
    constants: f64,
    amplification: f64,
}

impl Law {
    pub(super) fn of(arithmetic: &Arithmetic, precision: Precision) -> Self {
        let (dim, slots) = (arithmetic.dim(), arithmetic.slots());
        let (to, from) = (arithmetic.to_slots(), arithmetic.from_slots());
        let row_sum = |k: usize| -> f64 {
            let terms = (0..dim * slots).map(|e| to[k * dim + e / slots] * from[e]);
            terms.map(f64::abs).sum()
        };
        Self {
            precision,
            constants: (slots * slots) as f64 * DType::F64.unit_roundoff(),
            amplification: (0..slots).map(row_sum).fold(1.0, f64::max),
        }
    }

    /// For coordinates by themselves: no slots to go to, and no key.
    pub(super) fn plain(precision: Precision) -> Self {
        Self::of(&Arithmetic::real(), precision)
    }

    /// The bound on a result of up to `largest`, after so many roundings of terms that add up to `size`
    /// in the largest slot.
    pub(super) fn bound(self, (roundings, size): (usize, f64), largest: f64) -> f64 {
        let unit = self.precision.dtype().unit_roundoff();
        let computed = (roundings as f64 * unit + self.constants) * size;
        let stored = self.precision.stored() * largest;
        // Below the smallest normal number rounding is no longer relative.
        (computed + stored) * self.amplification + self.precision.least()
    }
}

/// The largest distance between two results, or why they cannot be the same: what is not finite is
/// refused before any distance is taken, since NaN compares as neither larger nor smaller.
pub(super) fn distance(found: &[f64], expected: &[f64]) -> Result<f64, String> {
    if found.len() != expected.len() {
        let (found, expected) = (found.len(), expected.len());
        return Err(format!("{found} numbers where {expected} belong"));
    }
    if let Some(at) = expected.iter().position(|x| !x.is_finite()) {
        return Err(format!("the oracle has no answer at {at}"));
    }
    if let Some(at) = found.iter().position(|x| !x.is_finite()) {
        return Err(format!(
            "{} at {at}, where {} was expected",
            found[at], expected[at]
        ));
    }
    let distances = found.iter().zip(expected).map(|(f, e)| (f - e).abs());
    Ok(distances.fold(0.0, f64::max))
}
