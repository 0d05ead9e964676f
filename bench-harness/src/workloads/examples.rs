//! Samples with what a network should say of each, and how far its answers are from it.

use furthermore::tensor::{DType, Plaintext};

use crate::error::Result;

/// Samples and what a network should say of each.
#[derive(Debug, Clone)]
pub struct Examples {
    /// Samples along the first axis.
    pub inputs: Plaintext,
    /// A row for each: one-hot classes, or standardised quantities.
    pub targets: Plaintext,
}

impl Examples {
    /// Samples of a shape, and rows of `outputs` numbers.
    ///
    /// # Errors
    /// When the numbers are not those of whole samples.
    pub(super) fn new(
        shape: &[usize],
        inputs: &[f32],
        outputs: usize,
        targets: &[f32],
        dtype: DType,
    ) -> Result<Self> {
        let count = targets.len() / outputs;
        let shape = [&[count], shape].concat();
        Ok(Self {
            inputs: Plaintext::new(shape, inputs)?.to_dtype(dtype)?,
            targets: Plaintext::new([count, outputs], targets)?.to_dtype(dtype)?,
        })
    }

    /// How many samples.
    pub fn len(&self) -> usize {
        self.inputs.shape().rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In another element type.
    ///
    /// # Errors
    /// When a number does not fit it.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            inputs: self.inputs.to_dtype(dtype)?,
            targets: self.targets.to_dtype(dtype)?,
        })
    }
}

/// What a use case learns from and is tested on.
#[derive(Debug, Clone)]
pub struct Task {
    /// Name of the data in reports.
    pub data: &'static str,
    /// What a network is trained on.
    pub train: Examples,
    /// What a trained network is measured on.
    pub test: Examples,
    /// What its answers are.
    pub judged: Judged,
}

/// What a network's outputs are.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    /// Scores of classes: the largest is the answer.
    Classes,
    /// These quantities, standardised.
    Quantities(Vec<Told>),
}

/// A quantity that a network tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// One standard deviation over the training set, in that unit: what an output of 1 is.
    pub deviation: f64,
    /// Mean magnitude over the test set, in that unit.
    pub magnitude: f64,
}

/// One-hot rows of labels.
pub(super) fn one_hot(labels: &[u8], classes: usize) -> Vec<f32> {
    let mut rows = vec![0.0; labels.len() * classes];
    for (row, &label) in labels.iter().enumerate() {
        rows[row * classes + usize::from(label)] = 1.0;
    }
    rows
}

/// Means and standard deviations of columns.
pub(super) struct Standard {
    columns: Vec<(f64, f64)>,
}

impl Standard {
    /// Of rows of `width` numbers. A column that is the same throughout keeps its unit.
    pub(super) fn of(rows: &[f32], width: usize) -> Self {
        let count = (rows.len() / width).max(1) as f64;
        let columns = (0..width).map(|nth| {
            let column = || rows.iter().skip(nth).step_by(width).map(|x| f64::from(*x));
            let mean = column().sum::<f64>() / count;
            let variance = column().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let deviation = variance.sqrt();
            (mean, if deviation > 0.0 { deviation } else { 1.0 })
        });
        Self {
            columns: columns.collect(),
        }
    }

    /// The rows with each column's mean 0 and deviation 1, as far as they are those of [`Standard::of`].
    pub(super) fn apply(&self, rows: &[f32]) -> Vec<f32> {
        let columns = self.columns.iter().cycle();
        let standard = |(x, (mean, deviation)): (&f32, &(f64, f64))| {
            ((f64::from(*x) - mean) / deviation) as f32
        };
        rows.iter().zip(columns).map(standard).collect()
    }

    /// The columns as quantities of these names and units, with their magnitudes in `test`.
    pub(super) fn quantities(
        &self,
        named: impl Iterator<Item = (&'static str, &'static str)>,
        test: &[f32],
    ) -> Vec<Told> {
        let width = self.columns.len();
        let count = (test.len() / width).max(1) as f64;
        let quantity = |(nth, (name, unit))| {
            let column = test.iter().skip(nth).step_by(width);
            Told {
                name,
                unit,
                deviation: self.columns[nth].1,
                magnitude: column.map(|x| f64::from(x.abs())).sum::<f64>() / count,
            }
        };
        named.enumerate().map(quantity).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_standardised_by_their_own_scale() {
        let rows = [1.0, 10.0, 3.0, 10.0, 5.0, 10.0];
        let scale = Standard::of(&rows, 2);
        let deviation = (8.0f64 / 3.0).sqrt();
        assert_eq!(scale.columns, [(3.0, deviation), (10.0, 1.0)]);
        let applied = scale.apply(&rows);
        let low = (-2.0 / deviation) as f32;
        assert_eq!(applied, [low, 0.0, 0.0, 0.0, -low, 0.0]);
        // Another set is put on the same scale.
        assert_eq!(scale.apply(&[3.0, 12.0]), [0.0, 2.0]);
        let named = [("a", "ml"), ("b", "1")].into_iter();
        let quantities = scale.quantities(named, &[-2.0, 3.0, 4.0, 5.0]);
        assert_eq!(quantities[0].deviation, deviation);
        assert_eq!(
            (quantities[0].magnitude, quantities[1].magnitude),
            (3.0, 4.0)
        );
    }

    #[test]
    fn labels_become_rows_with_a_one() {
        assert_eq!(one_hot(&[2, 0], 3), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        let examples = Examples::new(
            &[1, 2],
            &[1.0, 2.0, 3.0, 4.0],
            3,
            &one_hot(&[2, 0], 3),
            DType::F64,
        );
        let examples = examples.unwrap();
        assert_eq!(examples.len(), 2);
        assert_eq!(examples.inputs.shape().to_string(), "[2, 1, 2]");
    }
}
