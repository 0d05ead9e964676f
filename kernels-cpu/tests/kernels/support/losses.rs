//! Losses in f64, slot by slot, and what rounding makes of them.

use furthermore_kernels_cpu::Element;

use super::compare::Tolerance;

/// One slot of a loss over rows x columns: predictions and targets with how far each is off.
pub(crate) struct Slot<'a> {
    pub(crate) columns: usize,
    pub(crate) x: &'a [(f64, f64)],
    pub(crate) y: &'a [(f64, f64)],
}

impl Slot<'_> {
    fn rows(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let columns = self.columns;
        (0..self.x.len() / columns).map(move |row| row * columns..(row + 1) * columns)
    }

    /// The row's maximum and the logarithm of its sum of exponentials, with the relative error of
    /// an exponential over that sum.
    fn softmax<T: Element>(&self, row: std::ops::Range<usize>) -> (f64, f64, f64) {
        let row = &self.x[row];
        let top = row.iter().fold(f64::NEG_INFINITY, |top, x| top.max(x.0));
        let sum: f64 = row.iter().map(|x| (x.0 - top).exp()).sum();
        // An argument is off by both errors and by the rounding of the difference. Where the
        // difference is so large that this matters, the exponential is below every normal number.
        let least = -T::min_positive_value().wide().ln();
        let off = row.iter().fold(0.0f64, |off, x| {
            off.max(x.1 + Tolerance::roundings::<T>(1).of((top - x.0).min(least)))
        });
        let top_off = row.iter().fold(0.0f64, |off, x| off.max(x.1));
        // Numerator and sum both; the exponentials' own two units in the last place, the sum over
        // the columns, the division.
        let relative =
            2.0 * (off + top_off).exp_m1() + Tolerance::roundings::<T>(row.len() + 10).of(1.0);
        (top, sum.ln(), relative)
    }

    /// The mean over rows of `-sum(y ln softmax(x))`, and its error.
    pub(crate) fn cross_entropy<T: Element>(&self) -> (f64, f64) {
        let (mut loss, mut size, mut error) = (0.0, 0.0, 0.0);
        let one = Tolerance::roundings::<T>(1);
        for row in self.rows() {
            let (top, ln_sum, relative) = self.softmax::<T>(row.clone());
            let top_off = self.x[row.clone()]
                .iter()
                .fold(0.0f64, |off, x| off.max(x.1));
            for at in row {
                let ((x, x_off), (y, y_off)) = (self.x[at], self.y[at]);
                let ln = x - top - ln_sum;
                loss -= y * ln;
                size += ((y.abs() + y_off) * ln).abs();
                // The logarithm turns a relative error into an absolute one, and has two units in
                // the last place of its own.
                let ln_off = x_off
                    + top_off
                    + one.of((x - top).abs())
                    + relative / (1.0 - relative)
                    + Tolerance::roundings::<T>(4).of(ln_sum)
                    + one.of(ln.abs());
                error += (y.abs() + y_off) * ln_off + y_off * ln.abs();
            }
        }
        let count = (self.x.len() / self.columns).max(1) as f64;
        // A product and a sum for each element; the mean's factor and product.
        let summed = Tolerance::roundings::<T>(self.x.len() + 4).of(size + error);
        (loss / count, (error + summed) / count)
    }

    /// `(softmax(x) - y) / rows`, with errors.
    pub(crate) fn gradient<T: Element>(&self) -> Vec<(f64, f64)> {
        let count = self.x.len() as f64 / self.columns as f64;
        let rounded = Tolerance::roundings::<T>(4);
        let mut gradient = Vec::new();
        for row in self.rows() {
            let (top, ln_sum, relative) = self.softmax::<T>(row.clone());
            for at in row {
                let (y, y_off) = self.y[at];
                let p = (self.x[at].0 - top - ln_sum).exp();
                let error = p * relative + y_off + T::min_positive_value().wide();
                let error = error + rounded.of(p + y.abs() + error);
                gradient.push(((p - y) / count, error / count));
            }
        }
        gradient
    }

    /// The mean of `(x - y)^2`, and its error.
    pub(crate) fn squared_error<T: Element>(&self) -> (f64, f64) {
        let (mut loss, mut error) = (0.0, 0.0);
        for (&(x, x_off), &(y, y_off)) in self.x.iter().zip(self.y) {
            let distance = (x - y).abs();
            let off = x_off + y_off + Tolerance::roundings::<T>(1).of(distance);
            loss += distance * distance;
            error += 2.0 * distance * off + off * off;
        }
        let count = self.x.len().max(1) as f64;
        let summed = Tolerance::roundings::<T>(self.x.len() + 4).of(loss + error);
        (loss / count, (error + summed) / count)
    }
}

/// `ln(sigmoid(x))`.
fn ln_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

impl Slot<'_> {
    /// The mean of `-(y ln sigmoid(x) + (1 - y) ln(1 - sigmoid(x)))`, and its error.
    pub(crate) fn binary_cross_entropy<T: Element>(&self) -> (f64, f64) {
        let (mut loss, mut size, mut error) = (0.0, 0.0, 0.0);
        // Exponential, quotient, square and series of the logarithm; a product and two sums.
        let rounded = Tolerance::roundings::<T>(16);
        for (&(x, x_off), &(y, y_off)) in self.x.iter().zip(self.y) {
            loss -= y * ln_sigmoid(x) + (1.0 - y) * ln_sigmoid(-x);
            let parts = x.abs() * (1.0 + y.abs()) + std::f64::consts::LN_2;
            size += parts;
            error += x_off * (1.0 + y.abs() + y_off) + x.abs() * y_off + rounded.of(parts);
        }
        let count = self.x.len().max(1) as f64;
        let summed = Tolerance::roundings::<T>(self.x.len() + 4).of(size + error);
        (loss / count, (error + summed) / count)
    }

    /// `(sigmoid(x) - y) / n`, with errors.
    pub(crate) fn binary_gradient<T: Element>(&self) -> Vec<(f64, f64)> {
        let count = self.x.len() as f64;
        let rounded = Tolerance::roundings::<T>(10);
        let pairs = self.x.iter().zip(self.y);
        pairs
            .map(|(&(x, x_off), &(y, y_off))| {
                let sigmoid = ln_sigmoid(x).exp();
                // No slope of a sigmoid is above a quarter.
                let error = x_off / 4.0 + y_off + rounded.of(sigmoid + y.abs() + y_off);
                let least = T::min_positive_value().wide();
                ((sigmoid - y) / count, error / count + least)
            })
            .collect()
    }

    /// `softmax(x)`, or its logarithm, with errors.
    pub(crate) fn normalised<T: Element>(&self, logarithm: bool) -> Vec<(f64, f64)> {
        let mut all = Vec::new();
        for row in self.rows() {
            let (top, ln_sum, relative) = self.softmax::<T>(row.clone());
            let top_off = self.x[row.clone()].iter().map(|x| x.1).fold(0.0, f64::max);
            for &(x, x_off) in &self.x[row] {
                let ln = x - top - ln_sum;
                all.push(if logarithm {
                    let rounded = Tolerance::roundings::<T>(4);
                    let sizes = (x - top).abs() + ln_sum + ln.abs();
                    let sum = relative / (1.0 - relative);
                    (ln, x_off + top_off + sum + rounded.of(sizes))
                } else {
                    let p = ln.exp();
                    (p, p * relative + T::min_positive_value().wide())
                });
            }
        }
        all
    }

    /// The gradient by the input of softmax or its logarithm, by its matrix of derivatives, where x
    /// is the output and y the output's gradient.
    pub(crate) fn normalised_gradient<T: Element>(&self, logarithm: bool) -> Vec<(f64, f64)> {
        let mut all = Vec::new();
        let one = |same: bool| f64::from(u8::from(same));
        for row in self.rows() {
            // The sum over the row, and what follows it.
            let rounded = Tolerance::roundings::<T>(row.len() + 12);
            for i in row.clone() {
                let (mut sum, mut error) = (0.0, 0.0);
                let (own, own_off) = self.x[i];
                for j in row.clone() {
                    let ((x, x_off), (g, g_off)) = (self.x[j], self.y[j]);
                    let (slope, size, off) = if logarithm {
                        let p = own.exp();
                        (one(i == j) - p, one(i == j) + p, p * own_off.exp_m1())
                    } else {
                        let off = own_off * (1.0 + x.abs() + x_off) + own.abs() * x_off;
                        let size = own.abs() * (one(i == j) + x.abs());
                        (own * (one(i == j) - x), size, off)
                    };
                    sum += slope * g;
                    let most = (size + off) * (g.abs() + g_off);
                    error += off * (g.abs() + g_off) + size * g_off + rounded.of(most);
                }
                all.push((sum, error + T::min_positive_value().wide()));
            }
        }
        all
    }
}
