//! What someone recovers who holds no secret key: the known attacks, run on ciphertexts of images.
//!
//! | file | |
//! | --- | --- |
//! | `seen.rs` | what such a person sees: coordinates, and the evaluation key |
//! | `attacks.rs` | from coordinates to messages |
//! | `hybrid.rs` | from the polynomials of hybrid ciphertexts to messages |
//! | `verification.rs` | what check inputs see, and forging past them |
//! | `matrix.rs` | the little linear algebra that this takes |

mod attacks;
mod hybrid;
mod matrix;
mod seen;
mod verification;

use std::time::Instant;

use furthermore::Algebra;
use furthermore::scheme::{MaskPolicy, SecretKey};
use furthermore::tensor::Plaintext;
use serde::Serialize;

use crate::data::{PIXELS, SIDE};
use crate::error::Result;
use crate::report::Status;
use crate::workloads::{Task, Workload};
use attacks::Streams;
use seen::Seen;

/// A message counts as recovered within this, of a range of 1: two and a half grey levels of 255.
const NEAR: f64 = 0.01;
/// What part of the messages an attack has to recover, or the audit fails.
const MOST: f64 = 0.99;
/// Keys under which smoothness is tried.
const TRIALS: u64 = 20;
/// Images whose black pixels give a hybrid key's point away.
const BLACK: usize = 5;
/// Images of which the streams are shown.
pub(crate) const SHOWN: usize = 36;

/// A row of the report: one attack on one scheme.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) scheme: String,
    pub(crate) attack: &'static str,
    pub(crate) masks: &'static str,
    /// Ciphertexts that the attack needs; what it then reads is all the others.
    pub(crate) ciphertexts_used: usize,
    pub(crate) known_plaintexts: usize,
    pub(crate) recovered_fraction: f64,
    /// Of the messages that were recovered.
    pub(crate) max_abs_error: Option<f64>,
    pub(crate) seconds: f64,
    pub(crate) status: Status,
    pub(crate) note: String,
}

impl Row {
    /// An attack that has not been run, on ciphertexts with masks of pixels.
    fn of(algebra: Algebra, attack: &'static str) -> Self {
        Self {
            scheme: algebra.to_string(),
            attack,
            masks: MaskPolicy::Features.name(),
            ciphertexts_used: 0,
            known_plaintexts: 0,
            recovered_fraction: 0.0,
            max_abs_error: None,
            seconds: 0.0,
            status: Status::Ok,
            note: String::new(),
        }
    }

    /// What it needs: ciphertexts, and plaintexts that are known.
    fn needs(mut self, ciphertexts: usize, known: usize, note: &str) -> Self {
        (self.ciphertexts_used, self.known_plaintexts) = (ciphertexts, known);
        self.note = note.to_owned();
        self
    }

    /// On ciphertexts with other masks.
    fn with_masks(mut self, masks: MaskPolicy<'_>) -> Self {
        self.masks = masks.name();
        self
    }
}

/// A sheet of images: a name, and pixels in 0 to 1.
type Sheet = (&'static str, Vec<f32>);

/// What attacks come to.
pub(crate) type Found = (Vec<Row>, Vec<Sheet>);

const ONE_BIT: &str = "both slots of every ciphertext; which of the streams is the message is left";

/// Attacks on ciphertexts that [`run`] makes.
pub(crate) const ATTACKS: usize = 19;

/// Rows that [`verify`] gives for each network.
pub(crate) const CHECKS: usize = verification::ROWS;

/// Runs every attack on ciphertexts of these images, `count` x 784 in 0 to 1.
///
/// # Errors
/// When the engine refuses to encrypt.
pub(crate) fn run(images: &[f32], seed: u64, mut done: impl FnMut()) -> Result<Found> {
    let shape = [images.len() / PIXELS, PIXELS];
    let plaintext = Plaintext::new(shape, images)?;
    let target = Target {
        messages: plaintext.to_f64(),
        plaintext,
        seed,
    };
    let (mut rows, mut sheets) = (Vec::new(), Vec::new());
    let mut push = |row| {
        rows.push(row);
        done();
    };
    target.split(&mut push, &mut sheets)?;
    target.tell_apart(&mut push)?;
    target.know(&mut push)?;
    target.hybrid(&mut push, &mut sheets)?;
    Ok((rows, sheets))
}

/// Tries verification by check inputs on a network that learns from digits.
///
/// # Errors
/// When the engine refuses something.
pub(crate) fn verify(
    workload: &Workload,
    task: &Task,
    seed: u64,
    done: impl FnMut(Row),
) -> Result<()> {
    verification::run(workload, task, seed, done)
}

/// Images to be encrypted, and attacked.
struct Target {
    plaintext: Plaintext,
    messages: Vec<f64>,
    seed: u64,
}

impl Target {
    /// What an engine sees of them under a key.
    fn see(&self, algebra: Algebra, masks: MaskPolicy<'_>, seed: u64) -> Result<Seen> {
        let key = SecretKey::from_known_seed(algebra, seed)?;
        let mut encryptor = key.encryptor_from_known_seed(algebra, seed)?;
        Seen::of(&encryptor.encrypt_with(&self.plaintext, masks)?)
    }

    /// Ciphertexts taken apart into slots.
    fn split(&self, push: &mut impl FnMut(Row), sheets: &mut Vec<Sheet>) -> Result<()> {
        let masks = MaskPolicy::Features;
        for algebra in [Algebra::Compact(2), Algebra::Compact(4)] {
            let seen = self.see(algebra, masks, self.seed)?;
            let row = Row::of(algebra, "evaluation-key-roots").needs(0, 0, ONE_BIT);
            push(timed(row, || attacks::by_roots(&seen).best(&self.messages)));
        }
        let blocks = Algebra::Blocks(2);
        let seen = self.see(blocks, masks, self.seed)?;
        let note = "each ciphertext by itself: message and mask, in no order";
        let row = Row::of(blocks, "eigenvalues").needs(1, 0, note);
        push(timed(row, || {
            attacks::eigenvalues(&seen).nearest(&self.messages)
        }));
        let mut streams = Streams(Vec::new());
        let row = Row::of(blocks, "eigenvectors-of-one").needs(1, 0, ONE_BIT);
        push(timed(row, || {
            streams = attacks::by_eigenvectors(&seen);
            streams.best(&self.messages)
        }));
        sheets.push(("ciphertexts", sheet(seen.plane(0))));
        let names = ["stream-1", "stream-2"].into_iter();
        sheets.extend(names.zip(streams.0.iter().map(|s| sheet(s))));
        Ok(())
    }

    /// Which of the slots is the message.
    fn tell_apart(&self, push: &mut impl FnMut(Row)) -> Result<()> {
        for policy in [
            MaskPolicy::PairedRows,
            MaskPolicy::Features,
            MaskPolicy::Uniform,
            MaskPolicy::Normal,
        ] {
            let tells = !matches!(policy, MaskPolicy::PairedRows);
            let note = if tells {
                "which stream is the message, right under what part of the keys"
            } else {
                "masks are images themselves, which smoothness cannot tell apart: a known plaintext does"
            };
            let row = Row::of(Algebra::Compact(2), "smoothness");
            let mut row = (row.needs(self.messages.len(), 0, note)).with_masks(policy);
            let start = Instant::now();
            let mut right = 0;
            let mut largest = 0.0;
            for trial in 0..TRIALS {
                let seen = self.see(Algebra::Compact(2), policy, self.seed + trial)?;
                let streams = attacks::by_roots(&seen);
                let (recovered, error) = near(&streams.0[streams.smoothest(SIDE)], &self.messages);
                if recovered >= MOST {
                    right += 1;
                    largest = f64::max(largest, error);
                }
            }
            row.max_abs_error = Some(largest);
            row.seconds = start.elapsed().as_secs_f64();
            row.recovered_fraction = f64::from(right) / TRIALS as f64;
            if tells && row.recovered_fraction < MOST {
                row.status = Status::Failed;
            }
            push(row);
        }
        Ok(())
    }

    /// With known plaintexts.
    fn know(&self, push: &mut impl FnMut(Row)) -> Result<()> {
        let (masks, messages) = (MaskPolicy::PairedRows, &self.messages);
        for n in [2, 3] {
            let algebra = Algebra::Blocks(n);
            let seen = self.see(algebra, masks, self.seed)?;
            let note = "a left eigenvector reads every message";
            let row = Row::of(algebra, "known-plaintexts").needs(1, 1, note);
            push(timed(row.with_masks(masks), || {
                near(&attacks::by_known_block(&seen, messages), messages)
            }));
        }
        for n in [2, 3, 4] {
            let algebra = Algebra::Compact(n);
            let seen = self.see(algebra, masks, self.seed)?;
            let note = "decryption is linear; no evaluation key";
            let row = Row::of(algebra, "known-plaintexts").needs(n - 1, n - 1, note);
            push(timed(row.with_masks(masks), || {
                near(&attacks::by_known(&seen, messages), messages)
            }));
        }
        Ok(())
    }

    /// Polynomials.
    fn hybrid(&self, push: &mut impl FnMut(Row), sheets: &mut Vec<Sheet>) -> Result<()> {
        let messages = &self.messages;
        for degree in [1, 2] {
            let algebra = Algebra::Graded(degree);
            let seen = self.see(algebra, MaskPolicy::Features, self.seed)?;
            let note =
                "the point is a slope, the same in both slots; which is the message's is left";
            let row = Row::of(algebra, "linear-regression").needs(messages.len(), 0, note);
            push(timed(row, || hybrid::by_regression(&seen).best(messages)));
        }
        let graded = Algebra::Graded(1);
        let masks = MaskPolicy::Uniform;
        let seen = self.see(graded, masks, self.seed)?;
        let used = seen.len().min(BLACK * PIXELS);
        let note = "black pixels share the point as a ratio; the slot in which ratios agree is the message's";
        let row = Row::of(graded, "black-pixels").needs(used, 0, note);
        let mut found = Vec::new();
        push(timed(row.with_masks(masks), || {
            found = hybrid::by_zeros(&seen, used);
            near(&found, messages)
        }));
        sheets.push(("hybrid-coefficients", sheet(seen.plane(0))));
        sheets.push(("hybrid-recovered", sheet(&found)));

        let masks = MaskPolicy::PairedRows;
        let seen = self.see(graded, masks, self.seed)?;
        let note =
            "with the evaluation key: the first gives each slot's point, the second the slot";
        let row = Row::of(graded, "known-plaintexts").needs(2, 2, note);
        push(timed(row.with_masks(masks), || {
            near(&hybrid::by_two_known(&seen, messages), messages)
        }));
        for degree in [1, 2] {
            let algebra = Algebra::Reduced(degree);
            let seen = self.see(algebra, MaskPolicy::Features, self.seed)?;
            let note = "values at every public root in both slots; which of these streams is the message is left";
            let row = Row::of(algebra, "public-roots").needs(0, 0, note);
            push(timed(row, || hybrid::by_public_roots(&seen).best(messages)));
        }
        Ok(())
    }
}

/// Runs an attack, which gives what part of the messages it recovered and the largest error in them.
fn timed(mut row: Row, attack: impl FnOnce() -> (f64, f64)) -> Row {
    let start = Instant::now();
    let (recovered, error) = attack();
    (row.recovered_fraction, row.max_abs_error) = (recovered, Some(error));
    row.seconds = start.elapsed().as_secs_f64();
    if row.recovered_fraction < MOST {
        row.status = Status::Failed;
    }
    row
}

/// What part of the messages is near what was found, and the largest error in that part.
fn near(found: &[f64], messages: &[f64]) -> (f64, f64) {
    let errors = found.iter().zip(messages).map(|(x, m)| (x - m).abs());
    let mut count = 0;
    let mut largest = 0.0;
    for error in errors.filter(|error| *error <= NEAR) {
        count += 1;
        largest = f64::max(largest, error);
    }
    (f64::from(count) / messages.len().max(1) as f64, largest)
}

/// The first images of a stream, in the range that they have.
fn sheet(stream: &[f64]) -> Vec<f32> {
    let shown = &stream[..stream.len().min(SHOWN * PIXELS)];
    let low = shown.iter().copied().fold(f64::INFINITY, f64::min);
    let high = shown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = if high > low { high - low } else { 1.0 };
    shown.iter().map(|x| ((x - low) / range) as f32).collect()
}

#[cfg(test)]
mod tests {
    use furthermore::tensor::Plaintext;

    use super::*;
    use crate::data;

    #[test]
    fn every_attack_reproduces() {
        let images = data::draw(3, 48, 0).train.images;
        let mut steps = 0;
        let (rows, sheets) = run(&images, 5, || steps += 1).unwrap();
        assert_eq!((rows.len(), steps), (ATTACKS, ATTACKS));
        for row in &rows {
            assert_eq!(row.status, Status::Ok, "{row:?}");
            let guessing = row.attack == "smoothness" && row.masks == "paired-rows";
            assert!(guessing || row.recovered_fraction >= MOST, "{row:?}");
            assert!(row.max_abs_error.is_some_and(|e| e <= NEAR), "{row:?}");
        }
        let names: Vec<&str> = sheets.iter().map(|(name, _)| *name).collect();
        let expected = [
            "ciphertexts",
            "stream-1",
            "stream-2",
            "hybrid-coefficients",
            "hybrid-recovered",
        ];
        assert_eq!(names, expected);
        // One of the streams is the images, and the coordinates are not.
        let shown = &images[..SHOWN * PIXELS];
        let like = |sheet: &[f32]| {
            sheet
                .iter()
                .zip(shown)
                .all(|(x, m)| (x - m).abs() < NEAR as f32)
        };
        assert!(!like(&sheets[0].1) && sheets[1..3].iter().any(|sheet| like(&sheet.1)));
        assert!(!like(&sheets[3].1) && like(&sheets[4].1));
    }

    /// Attacks on hybrid ciphertexts find nothing where what they go by is not there.
    #[test]
    fn attacks_on_polynomials_can_fail() {
        let images = data::draw(3, 12, 0).train.images;
        let see = |images: &[f32], algebra| {
            let plaintext = Plaintext::new([images.len() / PIXELS, PIXELS], images).unwrap();
            let target = Target {
                messages: plaintext.to_f64(),
                plaintext,
                seed: 5,
            };
            let seen = target.see(algebra, MaskPolicy::Uniform, 5).unwrap();
            (seen, target.messages)
        };
        let (seen, messages) = see(&images, Algebra::Graded(1));
        let recovered = |found: Vec<f64>| near(&found, &messages).0;
        assert!(recovered(hybrid::by_zeros(&seen, BLACK * PIXELS)) >= MOST);
        assert!(recovered(hybrid::by_two_known(&seen, &messages)) >= MOST);
        // What is known is wrong.
        let wrong: Vec<f64> = messages.iter().map(|m| 0.7 - m).collect();
        assert!(recovered(hybrid::by_two_known(&seen, &wrong)) < 0.2);
        // Other numbers than those that were encrypted under this key.
        let (other, _) = see(&images[PIXELS..], Algebra::Graded(1));
        assert!(recovered(hybrid::by_zeros(&other, BLACK * PIXELS)) < MOST);
        assert!(hybrid::by_regression(&other).best(&messages).0 < MOST);
        // No pixel is black.
        let grey: Vec<f32> = (0..images.len())
            .map(|e| 0.5 + 0.001 * (e % 400) as f32)
            .collect();
        let (seen, messages) = see(&grey, Algebra::Graded(1));
        let found = hybrid::by_zeros(&seen, BLACK * PIXELS);
        assert!(near(&found, &messages).0 < MOST);
        // A key without a public polynomial has no public roots.
        let (seen, messages) = see(&images, Algebra::Graded(2));
        assert_eq!(hybrid::by_public_roots(&seen).best(&messages), (0.0, 0.0));
    }

    #[test]
    fn what_is_not_recovered_fails() {
        let row = Row::of(Algebra::Compact(2), "");
        let found = [0.0, 0.5, 0.2, f64::NAN];
        let row = timed(row, || near(&found, &[0.0, 0.505, 0.3, 0.1]));
        assert_eq!((row.recovered_fraction, row.status), (0.5, Status::Failed));
        assert!(row.max_abs_error.is_some_and(|e| (e - 0.005).abs() < 1e-12));
    }
}
