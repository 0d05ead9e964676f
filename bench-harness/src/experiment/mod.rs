//! A use case on plaintexts and on ciphertexts, side by side: training from the same weights and
//! batches, inference with the same weights.

mod claim;
mod infer;
mod judge;
mod polynomials;
mod row;
mod train;

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::Device;
use furthermore::network::{Network, Parameters};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::{EvaluationKey, MaskPolicy, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext, Tensor};

use crate::error::Result;
use crate::report::Status;
use crate::workloads::{Task, Workload};

pub(crate) use claim::{Claim, claims};
pub(crate) use polynomials::PolynomialRow;
pub(crate) use row::Row;

use infer::Regime;
use judge::Judgement;

/// Samples of a training step.
pub(crate) const TRAIN_BATCH: usize = 64;
/// Samples of an inference run; the last goes through the whole test set.
pub(crate) const INFER_BATCHES: [usize; 3] = [1, 32, 256];
const WHOLE_BATCH: usize = INFER_BATCHES[2];

/// A use case, and what it is run with.
pub(crate) struct Experiment<'a> {
    pub(crate) device: &'a dyn Device,
    /// Where f64 is computed, which graphics processors do not.
    pub(crate) processor: &'a dyn Device,
    pub(crate) dtype: DType,
    pub(crate) seed: u64,
    pub(crate) epochs: usize,
    /// How the masks of training sets are drawn.
    pub(crate) masks: MaskPolicy<'static>,
    pub(crate) workload: Workload,
    pub(crate) task: Task,
}

impl Experiment<'_> {
    /// Training and inference in each algebra. What fails becomes a row that says why, and what would
    /// have followed is skipped.
    pub(crate) fn measure(&self, algebras: &[Algebra], rows: &mut Vec<Row>) {
        // Plain training rounded otherwise: how far two trainings part that compute the same.
        let other = match self.dtype {
            DType::F32 => Some(self.train_in_f64()),
            _ => None,
        };
        for &algebra in algebras {
            let before = rows.len();
            if let Err(error) = self.try_measure(algebra, other.as_ref(), rows) {
                let batches = |regime| INFER_BATCHES.map(|batch| ("infer", regime, batch));
                let jobs = [
                    &[("train", "ct-ct", TRAIN_BATCH)][..],
                    &batches("ct-pt"),
                    &batches("ct-ct"),
                ];
                let left = jobs.concat().into_iter().skip(rows.len() - before);
                for (nth, (job, regime, batch)) in left.enumerate() {
                    let row = Row::new(self, job, regime, batch, algebra);
                    rows.push(match nth {
                        0 => row.ended(Status::Failed, &error),
                        _ => row.ended(Status::Skipped, "not tried: a row before it failed"),
                    });
                }
            }
        }
    }

    fn try_measure(
        &self,
        algebra: Algebra,
        other: Option<&Result<Judgement>>,
        rows: &mut Vec<Row>,
    ) -> Result<()> {
        let key = SecretKey::from_known_seed(algebra.slots(), self.seed)?;
        let mut encryptor = key.encryptor_from_known_seed(algebra, self.seed)?;
        let trained = self.train(algebra, &key, &mut encryptor)?;
        let mut row = trained.row.clone();
        row.set_f64_answers(other);
        rows.push(row);
        for batch in INFER_BATCHES {
            let regime = Regime::plain_weights(algebra, &trained.plain);
            rows.push(self.infer(regime, batch, &key, &mut encryptor)?);
        }
        for batch in INFER_BATCHES {
            let regime = Regime::encrypted_weights(algebra, &trained.opened, &trained.encrypted);
            let mut row = self.infer(regime, batch, &key, &mut encryptor)?;
            if batch == WHOLE_BATCH {
                // Times and output errors are against the same weights, decrypted; the answers to compare
                // with are those of the plaintext training.
                row.set_plain_answers_of(&trained.row);
            }
            rows.push(row);
        }
        Ok(())
    }

    /// A session on a device with these weights.
    fn session(
        &self,
        device: &dyn Device,
        network: &Network,
        options: &CompileOptions,
        key: Option<&Arc<EvaluationKey>>,
        weights: &Parameters,
    ) -> Result<Session> {
        let plan = Arc::new(Plan::compile(network, options)?);
        let mut session = Session::new(device, plan, key)?;
        session.load_parameters(weights)?;
        Ok(session)
    }
}

/// A tensor's messages.
fn decrypt(key: &SecretKey, tensor: Tensor) -> Result<Plaintext> {
    Ok(match tensor {
        Tensor::Plaintext(plaintext) => plaintext,
        Tensor::Ciphertext(ciphertext) => key.decrypt(&ciphertext)?,
    })
}

/// Every weight's messages.
fn open(key: &SecretKey, weights: &Parameters) -> Result<Parameters> {
    let mut opened = Parameters::default();
    for (name, weight) in weights.iter() {
        opened.insert(name, Tensor::Plaintext(decrypt(key, weight.clone())?));
    }
    Ok(opened)
}

/// The larger difference; unlike `max`, NaN where either is.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}
