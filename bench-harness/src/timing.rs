//! Times of repeated runs.

use std::time::Instant;

/// Seconds of repeated runs of one thing.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Runs `body` once and keeps its time.
    pub fn time<T>(&mut self, body: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = body();
        self.push(start.elapsed().as_secs_f64());
        result
    }

    /// Keeps a time that was taken elsewhere.
    pub fn push(&mut self, seconds: f64) {
        self.0.push(seconds);
    }

    /// How many runs were timed.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no run was timed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All times together.
    pub fn total(&self) -> f64 {
        self.0.iter().sum()
    }

    /// The time that part `q` of the runs stayed below, interpolated; `None` without runs.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = q.clamp(0.0, 1.0) * last as f64;
        let (low, high) = (at.floor() as usize, at.ceil() as usize);
        Some(sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64))
    }

    /// The median time; `None` without runs.
    pub fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut samples = Samples::default();
        assert_eq!(samples.median(), None);
        for x in [5.0, 1.0, 4.0, 2.0, 3.0] {
            samples.push(x);
        }
        assert_eq!(samples.median(), Some(3.0));
        assert_eq!(samples.quantile(0.1), Some(1.4));
        assert_eq!(samples.quantile(1.0), Some(5.0));
        assert_eq!(samples.total(), 15.0);
    }
}
