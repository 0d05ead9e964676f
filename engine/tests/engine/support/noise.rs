//! Numbers that look random and are the same in every run.

/// The splitmix64 generator.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `low..high`.
    pub(crate) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A whole number of `0..most`.
    pub(crate) fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    /// One of these.
    pub(crate) fn pick<X: Copy>(&mut self, from: &[X]) -> X {
        from[self.below(from.len())]
    }

    /// Numbers of `low..high`.
    pub(crate) fn numbers(&mut self, count: usize, low: f64, high: f64) -> Vec<f64> {
        (0..count).map(|_| self.uniform(low, high)).collect()
    }

    /// Numbers whose magnitude lies in `low..high`, of either sign.
    pub(crate) fn either_sign(&mut self, count: usize, low: f64, high: f64) -> Vec<f64> {
        (0..count)
            .map(|_| {
                let size = self.uniform(low, high);
                if self.below(2) == 0 { size } else { -size }
            })
            .collect()
    }

    /// Rows that are one in one place and zero elsewhere.
    pub(crate) fn one_hot(&mut self, rows: usize, columns: usize) -> Vec<f64> {
        let mut values = vec![0.0; rows * columns];
        for row in values.chunks_mut(columns) {
            row[self.below(columns)] = 1.0;
        }
        values
    }
}
