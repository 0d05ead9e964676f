//! Numbers that look random and are the same in every run.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A generator with a seed.
pub(super) struct Noise(ChaCha8Rng);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A whole number of `0..most`.
    pub(super) fn below(&mut self, most: usize) -> usize {
        self.0.random_range(0..most)
    }

    /// Numbers of `low..high`.
    pub(super) fn numbers(&mut self, count: usize, low: f64, high: f64) -> Vec<f64> {
        (0..count).map(|_| self.0.random_range(low..high)).collect()
    }

    /// Numbers whose magnitude lies in `low..high`, of either sign.
    pub(super) fn either_sign(&mut self, count: usize, low: f64, high: f64) -> Vec<f64> {
        let mut numbers = self.numbers(count, low, high);
        for x in &mut numbers {
            if self.0.random() {
                *x = -*x;
            }
        }
        numbers
    }

    /// Numbers of -1..1, shuffled, that keep a distance from each other and from zero: comparisons
    /// between them come out alike however they are rounded.
    pub(super) fn apart(&mut self, count: usize) -> Vec<f64> {
        // A quarter of a step aside, so that no number is zero.
        let number = |i: usize| (2.0 * i as f64 + 0.75) / count as f64 - 1.0;
        let mut numbers: Vec<f64> = (0..count).map(number).collect();
        for i in (1..count).rev() {
            numbers.swap(i, self.below(i + 1));
        }
        numbers
    }
}
