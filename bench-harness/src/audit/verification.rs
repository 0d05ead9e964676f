//! Results with check inputs beside them: what verification sees of faults, and that someone who holds
//! the evaluation key forges past it.

use std::sync::Arc;
use std::time::Instant;

use furthermore::Algebra;
use furthermore::device::Cpu;
use furthermore::network::{Network, Op, Parameters};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::{KeyShape, Receipt, SecretKey, Verified, Verifier};
use furthermore::session::Session;
use furthermore::tensor::{Ciphertext, DType, Plaintext, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::Row;
use super::attacks;
use super::seen::Seen;
use crate::data::{PIXELS, SIDE};
use crate::error::Result;
use crate::report::Status;
use crate::workloads::{Examples, Task, Workload};

const ALGEBRA: Algebra = Algebra::Compact(3);
/// Samples of a run, and how many of them faulty networks are run on.
const BATCH: usize = 250;
/// Samples of a training step.
const TRAIN_BATCH: usize = 64;
/// Weights of each tensor that are made wrong, one at a time.
const WRONG: usize = 5;
/// What part of the exchanged rows has to be seen: one in 64 has the check input of the other.
const EXCHANGED: f64 = 0.9;
/// Results nearer than this to the right ones, as a part of the largest, are right but for rounding.
const SAME: f64 = 1e-5;
/// What part of the wrong weights has to be seen: no check input may reach some that samples do.
const REACHED: f64 = 0.5;
/// Images by which a forger tells streams apart.
const LOOKED_AT: usize = 20;

/// Rows that [`run`] gives.
pub(super) const ROWS: usize = 5;

/// A network that has gone wrong somewhere.
struct Fault {
    place: String,
    network: Network,
    weights: Parameters,
}

/// A client, the network that it has computed, and results for its samples.
struct Client<'k> {
    workload: &'k Workload,
    network: Network,
    weights: Parameters,
    verifier: Verifier<'k>,
    /// Inputs as an engine sees them.
    x: Ciphertext,
    y: Ciphertext,
    receipt: Receipt,
}

/// Trains a use case's network on digits, and tries verification on its encrypted results.
///
/// # Errors
/// When the engine refuses something.
pub(super) fn run(
    workload: &Workload,
    task: &Task,
    seed: u64,
    mut done: impl FnMut(Row),
) -> Result<()> {
    let key = SecretKey::from_known_seed(KeyShape::packed(3, 2), seed)?;
    let mut client = Client::new(&key, workload, task, seed)?;
    done(client.honest()?);
    let some: Vec<usize> = (0..BATCH.min(task.test.len())).collect();
    let some = task.test.inputs.rows(&some)?;
    let left_out = client.left_out()?;
    done(client.faults("layers-left-out", &left_out, 1.0, &some)?);
    let wrong = client.wrong_weights(seed)?;
    done(client.faults("wrong-weights", &wrong, REACHED, &some)?);
    done(client.exchanged()?);
    done(client.forged()?);
    Ok(())
}

impl<'k> Client<'k> {
    fn new(key: &'k SecretKey, workload: &'k Workload, task: &Task, seed: u64) -> Result<Self> {
        let network = workload.inference()?;
        let weights = train(workload, &task.train, seed)?;
        let encryptor = key.encryptor_from_known_seed(ALGEBRA, seed)?;
        let samples = &task.test.inputs;
        let mut verifier = Verifier::generate(encryptor, samples, Verifier::POOL)?;
        let exact = CompileOptions::plain(Verifier::POOL, DType::F64);
        let pool = verifier.pool().to_dtype(DType::F64)?;
        let outputs = compute(&network, &weights.to_dtype(DType::F64)?, &exact, &pool)?;
        verifier.set_outputs(&outputs)?;
        let (x, receipt) = verifier.encrypt(samples)?;
        let y = encrypted(&network, &weights, &x)?;
        Ok(Self {
            workload,
            network,
            weights,
            verifier,
            x,
            y,
            receipt,
        })
    }

    fn row(&self, attack: &'static str) -> Row {
        Row {
            scheme: format!("{ALGEBRA}, {}", self.workload.name),
            masks: "uniform",
            ..Row::of(ALGEBRA, attack)
        }
    }

    /// What part of the honest rows is taken for faulty: none should be.
    fn honest(&self) -> Result<Row> {
        let start = Instant::now();
        let verified = self.verifier.check(&self.y, &self.receipt)?;
        let failed = verified.failed_rows.len();
        Ok(Row {
            recovered_fraction: failed as f64 / rows(&self.y) as f64,
            seconds: start.elapsed().as_secs_f64(),
            status: ended(failed == 0),
            note: format!(
                "what part of {} honest rows fails; the furthest deviates by {:.1} u max|slot|, and {} \
                 is allowed",
                rows(&self.y),
                verified.largest_deviation,
                self.verifier.tolerance()
            ),
            ..self.row("honest-rows")
        })
    }

    /// What part shows of these faults, of those that change any message.
    fn faults(
        &mut self,
        name: &'static str,
        faults: &[Fault],
        least: f64,
        samples: &Plaintext,
    ) -> Result<Row> {
        let start = Instant::now();
        let (x, receipt) = self.verifier.encrypt(samples)?;
        let right = encrypted(&self.network, &self.weights, &x)?;
        let right = self.verifier.check(&right, &receipt)?.messages.to_f64();
        let (mut seen, mut fewest, mut missed) = (0, 1.0f64, Vec::new());
        for fault in faults {
            let y = encrypted(&fault.network, &fault.weights, &x)?;
            let verified = self.verifier.check(&y, &receipt)?;
            if !verified.failed_rows.is_empty() {
                seen += 1;
                let part = verified.failed_rows.len() as f64 / rows(&y) as f64;
                fewest = fewest.min(part);
            } else if differ(&verified.messages.to_f64(), &right) {
                missed.push(fault.place.as_str());
            }
        }
        let matter = seen + missed.len();
        let part = seen as f64 / matter.max(1) as f64;
        let missed = match &missed[..] {
            [] => String::new(),
            missed => format!("; not {}", missed.join(", ")),
        };
        Ok(Row {
            recovered_fraction: part,
            seconds: start.elapsed().as_secs_f64(),
            status: ended(matter > 0 && part >= least),
            note: format!(
                "what part is seen of {matter} that change results, of {}; each of those in {:.1} % of {} \
                 rows or more{missed}",
                faults.len(),
                100.0 * fewest,
                rows(&x)
            ),
            ..self.row(name)
        })
    }

    /// The network with every layer left out in turn: a function is not applied, a pooling takes the
    /// first number of each window, and a product or a convolution passes on what it is given, as far as
    /// there is room.
    fn left_out(&self) -> Result<Vec<Fault>> {
        let mut faults = Vec::new();
        for node in self.network.nodes() {
            let (place, weights) = (node.name.clone(), self.weights.clone());
            match &node.op {
                Op::Map { .. } | Op::Pool { .. } => faults.push(Fault {
                    network: self.workload.inference_without(Some(&place))?,
                    weights,
                    place,
                }),
                Op::Parameter { shape, .. } if place.ends_with(".weight") => {
                    let mut passing = weights;
                    let bias = place.replace(".weight", ".bias");
                    let without = Plaintext::zeros([outputs_of(shape)], DType::F32)?;
                    passing.insert(bias, Tensor::Plaintext(without));
                    let through = Plaintext::new(shape.clone(), &identity(shape))?;
                    passing.insert(&place, Tensor::Plaintext(through));
                    faults.push(Fault {
                        network: self.network.clone(),
                        weights: passing,
                        place,
                    });
                }
                _ => {}
            }
        }
        Ok(faults)
    }

    /// The network with one weight taken for another of the same tensor, a few times for each tensor.
    fn wrong_weights(&self, seed: u64) -> Result<Vec<Fault>> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut faults = Vec::new();
        for (name, tensor) in self.weights.iter() {
            let Tensor::Plaintext(right) = tensor else {
                continue;
            };
            for _ in 0..WRONG {
                let mut numbers = right.as_slice::<f32>()?.to_vec();
                let [at, other] = [(); 2].map(|()| rng.random_range(0..numbers.len()));
                numbers[at] = match other == at {
                    true => -numbers[at],
                    false => numbers[other],
                };
                let mut weights = self.weights.clone();
                let wrong = Plaintext::new(right.shape().clone(), &numbers)?;
                weights.insert(name, Tensor::Plaintext(wrong));
                faults.push(Fault {
                    place: format!("{name}[{at}]"),
                    network: self.network.clone(),
                    weights,
                });
            }
        }
        Ok(faults)
    }

    /// What part of neighbours that were exchanged is seen.
    fn exchanged(&self) -> Result<Row> {
        let start = Instant::now();
        let mut y = self.y.clone();
        let width = y.shape().row_elements();
        let mut planes = y.planes_mut::<f32>()?;
        for plane in 0..ALGEBRA.dim() {
            for pair in planes.plane_mut(plane).chunks_exact_mut(2 * width) {
                let (one, other) = pair.split_at_mut(width);
                one.swap_with_slice(other);
            }
        }
        let verified = self.verifier.check(&y, &self.receipt)?;
        let pairs = rows(&y) / 2;
        let seen = |pair: &usize| {
            let failed = |row: usize| verified.failed_rows.binary_search(&row).is_ok();
            failed(2 * pair) || failed(2 * pair + 1)
        };
        let seen = (0..pairs).filter(seen).count() as f64 / pairs.max(1) as f64;
        Ok(Row {
            recovered_fraction: seen,
            seconds: start.elapsed().as_secs_f64(),
            status: ended(seen >= EXCHANGED),
            note: format!("what part of {pairs} exchanges of two rows is seen"),
            ..self.row("rows-exchanged")
        })
    }

    /// What part of forged rows passes: every row is given another class, by whoever can split slots
    /// and tell images from noise.
    fn forged(&self) -> Result<Row> {
        let start = Instant::now();
        let inputs = Seen::of_first(&self.x, LOOKED_AT * PIXELS)?;
        let slot = attacks::by_roots(&inputs).smoothest(SIDE);
        let (y, wanted) = forge(&self.y, slot)?;
        let verified = self.verifier.check(&y, &self.receipt)?;
        let (passed, error) = passing(&verified, &wanted);
        Ok(Row {
            ciphertexts_used: inputs.len(),
            recovered_fraction: passed,
            max_abs_error: Some(error),
            seconds: start.elapsed().as_secs_f64(),
            status: ended(passed >= 1.0),
            note: format!(
                "what part of {} rows passes with another class; of the three streams the smoothest is \
                 the message",
                rows(&y)
            ),
            ..self.row("forged-past-check")
        })
    }
}

/// Results whose numbers in a slot are changed so that another class is the largest, and what is in that
/// slot then.
fn forge(y: &Ciphertext, slot: usize) -> Result<(Ciphertext, Vec<f64>)> {
    let seen = Seen::of(y)?;
    let width = y.shape().row_elements();
    let mut wanted = attacks::by_roots(&seen).0[slot].clone();
    let before = wanted.clone();
    for row in wanted.chunks_exact_mut(width) {
        let class = largest(row);
        row[(class + 1) % width] = row[class] + 1.0;
    }
    let weights = attacks::one_in(slot, &seen.roots);
    let mut forged = y.clone();
    let mut planes = forged.planes_mut::<f32>()?;
    for (plane, weight) in weights.iter().enumerate() {
        for (e, x) in planes.plane_mut(plane).iter_mut().enumerate() {
            *x = (f64::from(*x) + weight * (wanted[e] - before[e])) as f32;
        }
    }
    Ok((forged, wanted))
}

/// What part of the rows passes with the class that a forger wants, and how far the messages are from
/// what it wants.
fn passing(verified: &Verified, wanted: &[f64]) -> (f64, f64) {
    let found = verified.messages.to_f64();
    let width = verified.messages.shape().row_elements();
    let pairs = found.chunks_exact(width).zip(wanted.chunks_exact(width));
    let passes = |(row, (found, wanted)): &(usize, (&[f64], &[f64]))| {
        largest(found) == largest(wanted) && verified.failed_rows.binary_search(row).is_err()
    };
    let passed = pairs.enumerate().filter(passes).count();
    let errors = found.iter().zip(wanted).map(|(x, y)| (x - y).abs());
    let rows = verified.messages.shape().rows().max(1);
    (passed as f64 / rows as f64, errors.fold(0.0, f64::max))
}

fn largest(row: &[f64]) -> usize {
    let classes = 0..row.len();
    let largest = classes.max_by(|a, b| row[*a].total_cmp(&row[*b]));
    largest.unwrap_or(0)
}

/// Whether results are other results, and not the same with other rounding.
fn differ(found: &[f64], right: &[f64]) -> bool {
    let most = right.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let pairs = found.iter().zip(right);
    let furthest = pairs.fold(0.0f64, |m, (x, y)| m.max((x - y).abs()));
    furthest > SAME * most
}

fn ended(well: bool) -> Status {
    match well {
        true => Status::Ok,
        false => Status::Failed,
    }
}

fn rows(ciphertext: &Ciphertext) -> usize {
    ciphertext.shape().rows()
}

/// Outputs of a layer whose weights have this shape: the last of two axes, the first of four.
fn outputs_of(shape: &[usize]) -> usize {
    match shape {
        [_, outs] => *outs,
        _ => shape[0],
    }
}

/// Weights that pass on what they are given: ones from each input to the output of its number, at the
/// middle of a kernel.
fn identity(shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let passes = |e: usize| match shape {
        [_, outs] => e / outs == e % outs,
        [_, ins, rows, columns] => {
            let (channel, tap) = (e / (rows * columns), e % (rows * columns));
            channel / ins == channel % ins && tap == rows / 2 * columns + columns / 2
        }
        _ => false,
    };
    (0..count).map(|e| f32::from(u8::from(passes(e)))).collect()
}

/// Weights after the fewer epochs of a use case, on plaintexts.
fn train(workload: &Workload, set: &Examples, seed: u64) -> Result<Parameters> {
    let network = workload.training(workload.recipe.optimizer)?;
    let options = CompileOptions::plain(TRAIN_BATCH, DType::F32);
    let plan = Arc::new(Plan::compile(&network, &options)?);
    let mut session = Session::new(&Cpu::new()?, plan, None)?;
    session.load_parameters(&network.initial_parameters(seed, DType::F32)?)?;
    session.set_learning_rate(workload.recipe.rate)?;
    let rows: Vec<usize> = (0..set.len()).collect();
    for _ in 0..workload.recipe.quick_epochs {
        for batch in rows.chunks_exact(TRAIN_BATCH) {
            session.write_rows("x", &set.inputs, batch)?;
            session.write_rows("target", &set.targets, batch)?;
            session.run()?;
        }
    }
    Ok(session.parameters()?)
}

/// What a network makes of samples, on plaintexts.
fn compute(
    network: &Network,
    weights: &Parameters,
    options: &CompileOptions,
    samples: &Plaintext,
) -> Result<Plaintext> {
    let plan = Arc::new(Plan::compile(network, options)?);
    let mut session = Session::new(&Cpu::new()?, plan, None)?;
    session.load_parameters(weights)?;
    let outputs = session.predict(&[("x", samples.into())], "y", |_| ())?;
    Ok(outputs
        .into_plaintext()
        .expect("of plaintexts come plaintexts"))
}

/// What an engine makes of ciphertexts.
fn encrypted(network: &Network, weights: &Parameters, x: &Ciphertext) -> Result<Ciphertext> {
    let options = CompileOptions::encrypted_inputs(BATCH, DType::F32, ALGEBRA);
    let plan = Arc::new(Plan::compile(network, &options)?);
    let mut session = Session::new(&Cpu::new()?, plan, Some(x.key()))?;
    session.load_parameters(weights)?;
    let outputs = session.predict(&[("x", x.into())], "y", |_| ())?;
    Ok(outputs
        .into_ciphertext()
        .expect("of ciphertexts come ciphertexts"))
}

#[cfg(test)]
mod tests {
    use furthermore::scheme::KeyShape;

    use super::*;
    use crate::data::{self, CLASSES, Split};
    use crate::workloads::Judged;

    fn task(workload: &Workload) -> Task {
        let digits = data::draw(3, 640, 300);
        let examples = |split: &Split| {
            let mut targets = vec![0.0f32; split.len() * CLASSES];
            for (row, label) in split.labels.iter().enumerate() {
                targets[row * CLASSES + usize::from(*label)] = 1.0;
            }
            let shape = [&[split.len()], workload.input].concat();
            Examples {
                inputs: Plaintext::new(shape, &split.images).unwrap(),
                targets: Plaintext::new([split.len(), CLASSES], &targets).unwrap(),
            }
        };
        Task {
            data: digits.name,
            train: examples(&digits.train),
            test: examples(&digits.test),
            judged: Judged::Classes,
        }
    }

    #[test]
    fn faults_are_seen_and_forgeries_are_not() {
        for name in ["mnist-mlp", "mnist-lenet"] {
            let workload = Workload::named(name).unwrap();
            let mut rows = Vec::new();
            run(&workload, &task(&workload), 5, |row| rows.push(row)).unwrap();
            assert_eq!(rows.len(), ROWS);
            for row in &rows {
                println!("{row:?}");
                assert_eq!(row.status, Status::Ok, "{row:?}");
                assert!(row.scheme.ends_with(name));
                let least = match row.attack {
                    "honest-rows" => 0.0,
                    "rows-exchanged" => EXCHANGED,
                    "wrong-weights" => REACHED,
                    _ => 1.0,
                };
                assert!(row.recovered_fraction >= least, "{row:?}");
            }
            assert_eq!(rows[0].recovered_fraction, 0.0);
        }
    }

    /// Whoever takes the check for the message is seen in every row; whoever takes the mask for it
    /// changes nothing.
    #[test]
    fn only_the_messages_slot_is_forged_unseen() {
        let workload = Workload::named("mlp").unwrap();
        let task = task(&workload);
        let key = SecretKey::from_known_seed(KeyShape::packed(3, 2), 7).unwrap();
        let client = Client::new(&key, &workload, &task, 7).unwrap();
        let inputs = Seen::of_first(&client.x, LOOKED_AT * PIXELS).unwrap();
        let message = attacks::by_roots(&inputs).smoothest(SIDE);
        let mut alarms = Vec::new();
        for slot in 0..3 {
            let (y, wanted) = forge(&client.y, slot).unwrap();
            let verified = client.verifier.check(&y, &client.receipt).unwrap();
            let (passed, _) = passing(&verified, &wanted);
            assert_eq!(passed == 1.0, slot == message, "slot {slot}: {passed}");
            assert!(slot == message || passed < 0.5);
            alarms.push(verified.failed_rows.len());
        }
        alarms.sort_unstable();
        assert_eq!(alarms, [0, 0, task.test.len()]);
    }

    #[test]
    fn identities_pass_on_what_they_are_given() {
        assert_eq!(identity(&[3, 2]), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let kernel = identity(&[2, 1, 3, 3]);
        assert_eq!(kernel.iter().filter(|x| **x == 1.0).count(), 1);
        assert_eq!(kernel[4], 1.0);
        assert_eq!((outputs_of(&[3, 2]), outputs_of(&[6, 1, 5, 5])), (2, 6));
    }
}
