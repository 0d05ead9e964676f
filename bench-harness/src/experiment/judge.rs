//! How far a network's answers are from what they should be.

use furthermore::tensor::Plaintext;

use crate::workloads::Judged;

/// Answers counted so far.
#[derive(Debug, Clone)]
pub(crate) struct Judgement {
    judged: Judged,
    count: usize,
    right: usize,
    /// Sum of magnitudes of errors, for each output, in standard deviations.
    errors: Vec<f64>,
}

/// What came of them.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Of classes: what part is right.
    pub(super) accuracy: Option<f64>,
    /// Of quantities: the mean error of each over its mean magnitude.
    pub(super) relative: Option<Vec<f64>>,
    /// Of quantities: the mean error of each, in its unit.
    pub(super) absolute: Option<Vec<f64>>,
}

impl Judgement {
    pub(super) fn new(judged: &Judged) -> Self {
        Self {
            judged: judged.clone(),
            count: 0,
            right: 0,
            errors: Vec::new(),
        }
    }

    /// Takes in the outputs of some samples, which have a row each, as their targets have.
    pub(super) fn see(&mut self, outputs: &Plaintext, targets: &Plaintext) {
        let width = targets.shape().row_elements().max(1);
        let (outputs, targets) = (outputs.to_f64(), targets.to_f64());
        let rows = || outputs.chunks_exact(width).zip(targets.chunks_exact(width));
        self.count += rows().len();
        match self.judged {
            Judged::Classes => {
                let largest = |row: &[f64]| {
                    let entries = row.iter().enumerate();
                    entries.max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i)
                };
                // A row with NaN has no answer.
                let right = |(output, target): &(&[f64], &[f64])| {
                    output.iter().all(|x| !x.is_nan()) && largest(output) == largest(target)
                };
                self.right += rows().filter(right).count();
            }
            Judged::Quantities(_) => {
                self.errors.resize(width, 0.0);
                for (output, target) in rows() {
                    for (sum, (x, y)) in self.errors.iter_mut().zip(output.iter().zip(target)) {
                        *sum += (x - y).abs();
                    }
                }
            }
        }
    }

    pub(super) fn answers(&self) -> Answers {
        let count = self.count as f64;
        match &self.judged {
            _ if self.count == 0 => Answers::default(),
            Judged::Classes => Answers {
                accuracy: Some(self.right as f64 / count),
                ..Answers::default()
            },
            Judged::Quantities(quantities) => {
                let sums = quantities.iter().zip(&self.errors);
                let absolute = sums.map(|(q, sum)| sum / count * q.deviation);
                let absolute: Vec<f64> = absolute.collect();
                let relative = quantities.iter().zip(&absolute);
                Answers {
                    accuracy: None,
                    relative: Some(relative.map(|(q, error)| error / q.magnitude).collect()),
                    absolute: Some(absolute),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::Told;

    fn rows(numbers: &[f32]) -> Plaintext {
        Plaintext::new([numbers.len() / 2, 2], numbers).unwrap()
    }

    #[test]
    fn classes_are_right_where_the_largest_scores_meet() {
        let mut judgement = Judgement::new(&Judged::Classes);
        assert!(judgement.answers().accuracy.is_none());
        let targets = rows(&[0.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
        judgement.see(&rows(&[-2.0, -1.0, 3.0, 4.0, f32::NAN, 0.0]), &targets);
        judgement.see(&rows(&[1.0, 0.5]), &rows(&[1.0, 0.0]));
        assert_eq!(judgement.answers().accuracy, Some(0.5));
        assert!(judgement.answers().relative.is_none());
    }

    #[test]
    fn errors_of_quantities_are_in_their_units() {
        let quantity = |deviation, magnitude| Told {
            name: "volume",
            unit: "ml",
            deviation,
            magnitude,
        };
        let judged = Judged::Quantities(vec![quantity(10.0, 50.0), quantity(2.0, 1.0)]);
        let mut judgement = Judgement::new(&judged);
        judgement.see(&rows(&[1.0, 0.0, 2.0, 0.5]), &rows(&[0.5, 0.0, 3.0, 0.0]));
        let answers = judgement.answers();
        assert_eq!(answers.absolute, Some(vec![7.5, 0.5]));
        assert_eq!(answers.relative, Some(vec![0.15, 0.5]));
        assert_eq!(answers.accuracy, None);
    }
}
