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
use furthermore::network::{FitMethod, Network, Parameters, PolynomialOptions, Replacement};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::{EvaluationKey, MaskPolicy, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext, Tensor};

use crate::error::Result;
use crate::report::Status;
use crate::scheme::Scheme;
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
/// By what part of its length an activation's interval grows at either end before a polynomial is fitted.
const POLYNOMIAL_MARGIN: f64 = 0.1;

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
    /// Training and inference with each scheme, as far as it goes. What fails becomes a row that says
    /// why, and what would have followed is skipped.
    pub(crate) fn measure(&self, schemes: &[Scheme], rows: &mut Vec<Row>) {
        // Plain training rounded otherwise: how far two trainings part that compute the same.
        let trains = schemes.iter().any(|s| {
            matches!(s.algebra, Algebra::Compact(_) | Algebra::Blocks(_)) && s.messages == 1
        });
        let other = match self.dtype {
            DType::F32 if trains => Some(self.train_in_f64()),
            _ => None,
        };
        let mut plain = None;
        for &scheme in schemes {
            let before = rows.len();
            let tried = match (scheme.algebra, scheme.messages) {
                (Algebra::Graded(_), _) => self.try_polynomials(scheme, &mut plain, rows),
                (Algebra::Reduced(_), _) => self.try_squared_error(scheme, rows),
                (_, 1) => self.try_all(scheme, other.as_ref(), &mut plain, rows),
                _ => self.try_packed(scheme, &mut plain, rows),
            };
            if let Err(error) = tried {
                let left = jobs(scheme).into_iter().skip(rows.len() - before);
                for (nth, (job, regime, batch)) in left.enumerate() {
                    let row = Row::new(self, job, regime, batch, scheme);
                    rows.push(match nth {
                        0 => row.ended(Status::Failed, &error),
                        _ => row.ended(Status::Skipped, "not tried: a row before it failed"),
                    });
                }
            }
        }
    }

    /// The same as other schemes, but trained by a loss that is a sum of products.
    fn try_squared_error(&self, scheme: Scheme, rows: &mut Vec<Row>) -> Result<()> {
        let experiment = Experiment {
            workload: self.workload.clone().with_squared_error(),
            task: self.task.clone(),
            ..*self
        };
        let before = rows.len();
        let other = (self.dtype == DType::F32).then(|| experiment.train_in_f64());
        experiment.try_all(scheme, other.as_ref(), &mut None, rows)?;
        if self.workload.loss != experiment.workload.loss {
            rows[before].note += "; trained by the mean squared error";
        }
        Ok(())
    }

    /// Training, and inference with plaintext and with encrypted weights.
    fn try_all(
        &self,
        scheme: Scheme,
        other: Option<&Result<Judgement>>,
        plain: &mut Option<Parameters>,
        rows: &mut Vec<Row>,
    ) -> Result<()> {
        let key = scheme.key(self.seed)?;
        let mut encryptor = key.encryptor_from_known_seed(scheme.algebra, self.seed)?;
        let trained = self.train(scheme, &key, &mut encryptor)?;
        plain.get_or_insert_with(|| trained.plain.clone());
        let mut row = trained.row.clone();
        row.set_f64_answers(other);
        rows.push(row);
        let network = self.workload.inference()?;
        for batch in INFER_BATCHES {
            let regime = Regime::plain_weights(scheme, &network, &trained.plain);
            rows.push(self.infer(regime, batch, &key, &mut encryptor)?);
        }
        for batch in INFER_BATCHES {
            let (opened, weights) = (&trained.opened, &trained.encrypted);
            let regime = Regime::encrypted_weights(scheme, &network, opened, weights);
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

    /// Inference on several samples a ciphertext with plaintext weights, those of a plaintext training.
    fn try_packed(
        &self,
        scheme: Scheme,
        plain: &mut Option<Parameters>,
        rows: &mut Vec<Row>,
    ) -> Result<()> {
        let weights = self.trained_plainly(plain)?;
        let network = self.workload.inference()?;
        self.infer_all(scheme, &network, weights, rows)
    }

    /// Inference with polynomials in place of activations, which are trained on with the network in
    /// plaintexts.
    fn try_polynomials(
        &self,
        scheme: Scheme,
        plain: &mut Option<Parameters>,
        rows: &mut Vec<Row>,
    ) -> Result<()> {
        let original = self.trained_plainly(plain)?;
        let degree = self.workload.degree;
        let options = PolynomialOptions {
            replacement: Replacement::Learned {
                degree,
                method: FitMethod::Minimax,
            },
            margin: POLYNOMIAL_MARGIN,
            average_pooling: false,
        };
        let made = self.replaced(original, &options)?;
        let start = made.parameters(original, self.dtype)?;
        let weights = self.train_polynomials(&made, &start)?;
        let before = rows.len();
        self.infer_all(scheme, &made.network, &weights, rows)?;
        let activations = made.activations.len();
        for row in &mut rows[before..] {
            let polynomials =
                format!("{activations} learned polynomials of degree {degree} for activations");
            row.note = match row.note.is_empty() {
                true => polynomials,
                false => format!("{polynomials}; {}", row.note),
            };
        }
        Ok(())
    }

    /// Inference in batches of every size, with plaintext weights.
    fn infer_all(
        &self,
        scheme: Scheme,
        network: &Network,
        weights: &Parameters,
        rows: &mut Vec<Row>,
    ) -> Result<()> {
        let key = scheme.key(self.seed)?;
        let mut encryptor = key.encryptor_from_known_seed(scheme.algebra, self.seed)?;
        for batch in batches(scheme) {
            let regime = Regime::plain_weights(scheme, network, weights);
            rows.push(self.infer(regime, batch, &key, &mut encryptor)?);
        }
        Ok(())
    }

    /// The weights that plaintext training ends with, unless they are there already.
    fn trained_plainly<'p>(&self, plain: &'p mut Option<Parameters>) -> Result<&'p Parameters> {
        Ok(match plain {
            Some(weights) => weights,
            None => plain.insert(self.train_plainly()?),
        })
    }

    /// The weights that plaintext training ends with.
    fn train_plainly(&self) -> Result<Parameters> {
        let network = self.workload.training(self.workload.recipe.optimizer)?;
        let start = network.initial_parameters(self.seed, self.dtype)?;
        let set = &self.task.train;
        self.train_plain(self.device, &network, &start, set, "plain training")
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

/// Batches of inference: several samples go into a ciphertext where there are several.
fn batches(scheme: Scheme) -> impl Iterator<Item = usize> {
    INFER_BATCHES
        .into_iter()
        .filter(move |batch| *batch >= scheme.messages)
}

/// What is done with a scheme, in order: job, regime and batch. Graded polynomials and packed messages
/// only infer.
fn jobs(scheme: Scheme) -> Vec<(&'static str, &'static str, usize)> {
    let infer = |regime| batches(scheme).map(move |batch| ("infer", regime, batch));
    match (scheme.algebra, scheme.messages) {
        (Algebra::Graded(_), _) | (_, 2..) => infer("ct-pt").collect(),
        _ => std::iter::once(("train", "ct-ct", TRAIN_BATCH))
            .chain(infer("ct-pt"))
            .chain(infer("ct-ct"))
            .collect(),
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
