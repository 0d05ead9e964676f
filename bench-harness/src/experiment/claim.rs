//! The papers' claim, regime by regime: results equal to plaintext, at ten times the time.

use serde::Serialize;

use super::{Row, worse};
use crate::report::Status;

/// How many times longer the papers say that ciphertexts take.
pub(crate) const PAPERS_OVERHEAD: f64 = 10.0;

/// Accuracies of two trainings in f32 that count as equal. Networks with ReLU part at its kinks, by
/// this much in plaintexts with another rounding too.
const EQUAL_ACCURACY: f64 = 0.006;
/// The same of inference with the same weights, and of training in an algebra without kinks.
const SAME_ACCURACY: f64 = 0.005;
/// Part of a regression's error by which two trainings may differ.
const EQUAL_ERROR: f64 = 0.01;
/// Weights after training in f64 that count as equal.
const EQUAL_WEIGHTS: f64 = 1e-9;
/// Outputs with the same weights that count as equal.
const EQUAL_OUTPUTS: f64 = 1e-3;

/// What the rows of one regime in one algebra say of the claim.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Claim {
    pub(crate) job: &'static str,
    pub(crate) regime: &'static str,
    pub(crate) algebra: String,
    /// The least and the largest overhead.
    pub(crate) overhead_min: Option<f64>,
    pub(crate) overhead_max: Option<f64>,
    pub(crate) papers_overhead: f64,
    /// Whether every overhead that was measured is below the papers'; null where none was.
    pub(crate) below_papers: Option<bool>,
    /// Largest differences from plaintext, those that apply.
    pub(crate) accuracy_difference: Option<f64>,
    /// Of an output's mean error in a regression, as part of it.
    pub(crate) error_difference: Option<f64>,
    pub(crate) weight_difference: Option<f64>,
    pub(crate) output_difference: Option<f64>,
    /// Whether every result that was measured is equal to plaintext, within what its kind may differ;
    /// null where none was.
    pub(crate) equal: Option<bool>,
    /// Rows, and those of them that failed or were not tried.
    pub(crate) rows: usize,
    pub(crate) missing: usize,
}

/// A claim for each regime and algebra, in the rows' order.
pub(crate) fn claims(rows: &[Row]) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    for row in rows {
        let is = |c: &Claim| (c.job, c.regime, &c.algebra) == (row.job, row.regime, &row.algebra);
        match claims.iter_mut().find(|claim| is(claim)) {
            Some(claim) => claim.take(row),
            None => {
                let mut claim = Claim {
                    job: row.job,
                    regime: row.regime,
                    algebra: row.algebra.clone(),
                    overhead_min: None,
                    overhead_max: None,
                    papers_overhead: PAPERS_OVERHEAD,
                    below_papers: None,
                    accuracy_difference: None,
                    error_difference: None,
                    weight_difference: None,
                    output_difference: None,
                    equal: None,
                    rows: 0,
                    missing: 0,
                };
                claim.take(row);
                claims.push(claim);
            }
        }
    }
    claims
}

impl Claim {
    fn take(&mut self, row: &Row) {
        self.rows += 1;
        if row.status != Status::Ok {
            self.missing += 1;
            return;
        }
        let keep = |kept: &mut Option<f64>, found: Option<f64>| {
            if let Some(found) = found {
                *kept = Some(kept.map_or(found, |kept| worse(kept, found)));
            }
        };
        let least = self.overhead_min.into_iter().chain(row.overhead);
        self.overhead_min = least.reduce(f64::min);
        keep(&mut self.overhead_max, row.overhead);
        let below = row.overhead.is_some_and(|x| x < PAPERS_OVERHEAD);
        self.below_papers = Some(self.below_papers.unwrap_or(true) && below);
        let training = row.job == "train";
        let accuracy = row.plain_accuracy.zip(row.encrypted_accuracy);
        // The plaintext side of inference with encrypted weights has been trained by itself.
        let accuracy =
            (accuracy.map(|(a, b)| (a - b).abs())).filter(|_| training || row.regime == "ct-pt");
        let most = match training && !row.algebra.starts_with("reduced") {
            true => EQUAL_ACCURACY,
            false => SAME_ACCURACY,
        };
        let errors = row.plain_error.as_ref().zip(row.encrypted_error.as_ref());
        let error = errors.filter(|_| training).and_then(|(plain, encrypted)| {
            let apart = plain.iter().zip(encrypted).map(|(p, e)| (e - p).abs() / p);
            apart.reduce(worse)
        });
        // Weights of two trainings in f32 part at a ReLU's kinks, which says nothing.
        let weights = row.weight_max_abs_error.filter(|_| row.dtype == "f64");
        keep(&mut self.accuracy_difference, accuracy);
        keep(&mut self.error_difference, error);
        keep(&mut self.weight_difference, weights);
        keep(&mut self.output_difference, row.output_max_abs_error);
        // Accuracies are fractions, whose difference may be the limit but for its last bit.
        let within = |found: Option<f64>, most: f64| found.is_none_or(|x| x <= most * (1.0 + 1e-9));
        let answered = match training {
            true => accuracy.or(error).is_some(),
            false => row.output_max_abs_error.is_some(),
        };
        let equal = answered
            && within(accuracy, most)
            && within(error, EQUAL_ERROR)
            && within(weights, EQUAL_WEIGHTS)
            && within(row.output_max_abs_error, EQUAL_OUTPUTS);
        self.equal = Some(self.equal.unwrap_or(true) && equal);
    }

    /// The differences in words.
    pub(crate) fn differences(&self) -> String {
        let said = [
            self.accuracy_difference
                .map(|x| format!("accuracy by {x:.4}")),
            self.error_difference
                .map(|x| format!("errors by {:.1e} of them", x)),
            self.weight_difference
                .map(|x| format!("weights by {x:.1e}")),
            self.output_difference
                .map(|x| format!("outputs by {x:.1e}")),
        ];
        let said: Vec<String> = said.into_iter().flatten().collect();
        if said.is_empty() {
            "-".to_owned()
        } else {
            said.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(job: &'static str, dtype: &str, overhead: f64) -> Row {
        Row {
            job,
            regime: "ct-ct",
            algebra: "compact2".to_owned(),
            dtype: dtype.to_owned(),
            overhead: Some(overhead),
            ..Row::default()
        }
    }

    #[test]
    fn overheads_and_differences_are_the_largest() {
        let trained = |plain, encrypted| Row {
            plain_accuracy: Some(plain),
            encrypted_accuracy: Some(encrypted),
            weight_max_abs_error: Some(0.1),
            ..row("train", "f32", 3.0)
        };
        let inferred = Row {
            output_max_abs_error: Some(2e-5),
            ..row("infer", "f32", 2.0)
        };
        let regressed = |plain: f64, encrypted: f64| Row {
            plain_error: Some(vec![plain, 3.0 * plain]),
            encrypted_error: Some(vec![plain, 3.0 * encrypted]),
            ..row("train", "f32", 4.0)
        };
        let found = claims(&[
            trained(0.97, 0.972),
            inferred.clone(),
            trained(0.97, 0.969),
            regressed(0.01, 0.01005),
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].overhead_min, found[0].overhead_max),
            (Some(3.0), Some(4.0))
        );
        assert!((found[0].accuracy_difference.unwrap() - 0.002).abs() < 1e-12);
        assert!((found[0].error_difference.unwrap() - 0.005).abs() < 1e-12);
        assert_eq!(found[0].weight_difference, None);
        let holds = |claim: &Claim| claim.equal == Some(true) && claim.below_papers == Some(true);
        assert!(found.iter().all(holds));
        assert_eq!((found[0].rows, found[0].missing), (3, 0));
        assert_eq!(
            found[0].differences(),
            "accuracy by 0.0020, errors by 5.0e-3 of them"
        );
        assert_eq!(found[1].differences(), "outputs by 2.0e-5");
    }

    #[test]
    fn what_is_not_equal_is_not_called_so() {
        let trained = |dtype, accuracy, weights| Row {
            plain_accuracy: Some(0.97),
            encrypted_accuracy: Some(accuracy),
            weight_max_abs_error: Some(weights),
            ..row("train", dtype, 3.0)
        };
        let inferred = |difference| Row {
            output_max_abs_error: Some(difference),
            ..row("infer", "f32", 3.0)
        };
        let equal = |row: Row| claims(&[row])[0].equal == Some(true);
        assert!(!equal(trained("f32", 0.9639, 0.0)));
        assert!(equal(trained("f32", 0.964, 0.0)), "at the limit");
        assert!(!equal(trained("f64", 0.97, 1e-8)));
        assert!(equal(trained("f64", 0.97, 1e-12)));
        assert!(!equal(trained("f64", 0.97, f64::NAN)));
        assert!(!equal(inferred(2e-3)) && !equal(inferred(f64::NAN)));
        assert!(!equal(row("infer", "f32", 3.0)), "a row without results");
        assert!(
            !equal(row("train", "f32", 3.0)),
            "a training without results"
        );
        let failed = Row {
            status: Status::Failed,
            ..inferred(0.0)
        };
        let only = &claims(std::slice::from_ref(&failed))[0];
        assert_eq!(
            (only.equal, only.below_papers, only.missing),
            (None, None, 1)
        );
        let beside = &claims(&[inferred(1e-5), failed])[0];
        assert_eq!(
            (beside.equal, beside.rows, beside.missing),
            (Some(true), 2, 1)
        );
        let slow = claims(&[Row {
            overhead: Some(11.0),
            ..inferred(0.0)
        }]);
        assert_eq!(
            (slow[0].below_papers, slow[0].equal),
            (Some(false), Some(true))
        );
    }
}
