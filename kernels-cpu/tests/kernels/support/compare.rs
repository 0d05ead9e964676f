//! Comparison with the oracle, and the bounds it goes by.

use std::fmt;

use furthermore_kernels_cpu::Element;

/// A relative error, by the number of roundings that can lead to it: n of them, each of relative
/// size u, make at most n u / (1 - n u) of the sizes of what was rounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tolerance(f64);

impl Tolerance {
    /// `count` roundings to the nearest `T` by a kernel, and as many to the nearest f64 by the oracle,
    /// which computes the same in f64.
    pub(crate) fn roundings<T: Element>(count: usize) -> Self {
        let after = |epsilon: f64| {
            let u = count as f64 * epsilon / 2.0;
            assert!(u < 0.5, "after so many roundings nothing is known");
            u / (1.0 - u)
        };
        Self(after(T::epsilon().wide()) + after(f64::EPSILON))
    }

    /// Another relative error on top.
    pub(crate) fn plus(self, relative: f64) -> Self {
        Self(self.0 + relative)
    }

    /// The absolute error of a result added up from terms of that size.
    pub(crate) fn of(self, size: f64) -> f64 {
        self.0 * size
    }
}

/// Where a result is further from the oracle than its bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mismatch {
    what: &'static str,
    slot: usize,
    index: usize,
    expected: f64,
    found: f64,
    bound: f64,
    /// How many of how many elements are wrong.
    count: usize,
    of: usize,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch {
            what,
            slot,
            index,
            expected,
            found,
            bound,
            count,
            of,
        } = self;
        write!(
            f,
            "{what}: {count} of {of} wrong, first slot {slot} of element {index}: {found:e} where \
             {expected:e} within {bound:e} was expected"
        )
    }
}

/// Compares slot by slot, `[slot][element]` each. What is not a finite number comes before any
/// distance: NaN compares as neither larger nor smaller than a bound.
///
/// Returns the largest share of its bound that an error takes.
pub(crate) fn compare(
    expected: &[Vec<f64>],
    found: &[Vec<f64>],
    bounds: &[Vec<f64>],
) -> Result<f64, Box<Mismatch>> {
    let mut first = None;
    let (mut count, mut of, mut worst) = (0, 0, 0.0f64);
    let mut shapes = vec![expected.len() == found.len() && expected.len() == bounds.len()];
    for (slot, ((expected, found), bounds)) in expected.iter().zip(found).zip(bounds).enumerate() {
        shapes.push(expected.len() == found.len() && expected.len() == bounds.len());
        for (index, ((&e, &f), &bound)) in expected.iter().zip(found).zip(bounds).enumerate() {
            of += 1;
            let what = if !e.is_finite() || !bound.is_finite() {
                "the oracle has no answer"
            } else if !f.is_finite() {
                "not a finite number"
            } else if (e - f).abs() > bound {
                "outside the bound"
            } else {
                worst = worst.max((e - f).abs() / bound.max(f64::MIN_POSITIVE));
                continue;
            };
            count += 1;
            first.get_or_insert((what, slot, index, e, f, bound));
        }
    }
    if shapes.contains(&false) {
        first = Some(("different sizes", 0, 0, f64::NAN, f64::NAN, f64::NAN));
    }
    match first {
        None => Ok(worst),
        Some((what, slot, index, expected, found, bound)) => Err(Box::new(Mismatch {
            what,
            slot,
            index,
            expected,
            found,
            bound,
            count,
            of,
        })),
    }
}
