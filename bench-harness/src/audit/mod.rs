//! What someone recovers who holds no secret key: the known attacks, run on ciphertexts of images.
//!
//! | file | |
//! | --- | --- |
//! | `seen.rs` | what such a person sees: coordinates, and the evaluation key |
//! | `attacks.rs` | from coordinates to messages |
//! | `matrix.rs` | the little linear algebra that this takes |

mod attacks;
mod matrix;
mod seen;

use std::time::Instant;

use furthermore::Algebra;
use furthermore::scheme::{MaskPolicy, SecretKey};
use furthermore::tensor::Plaintext;
use serde::Serialize;

use crate::data::{PIXELS, SIDE};
use crate::error::Result;
use crate::report::Status;
use attacks::Streams;
use seen::Seen;

/// A message counts as recovered within this, of a range of 1: two and a half grey levels of 255.
const NEAR: f64 = 0.01;
/// What part of the messages an attack has to recover, or the audit fails.
const MOST: f64 = 0.99;
/// Keys under which smoothness is tried.
const TRIALS: u64 = 20;
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
    pub(crate) max_abs_error: f64,
    pub(crate) seconds: f64,
    pub(crate) status: Status,
    pub(crate) note: &'static str,
}

/// Rows, and sheets of images: a name, and pixels in 0 to 1.
pub(crate) type Found = (Vec<Row>, Vec<(&'static str, Vec<f32>)>);

/// Runs every attack on ciphertexts of these images, `count` x 784 in 0 to 1.
///
/// # Errors
/// When the engine refuses to encrypt.
pub(crate) fn run(images: &[f32], seed: u64, mut done: impl FnMut()) -> Result<Found> {
    let shape = [images.len() / PIXELS, PIXELS];
    let plaintext = Plaintext::new(shape, images)?;
    let messages = plaintext.to_f64();
    let see = |algebra: Algebra, masks: MaskPolicy<'_>, seed: u64| -> Result<Seen> {
        let key = SecretKey::from_known_seed(algebra.slots(), seed)?;
        let mut encryptor = key.encryptor_from_known_seed(algebra, seed)?;
        Seen::of(&encryptor.encrypt_with(&plaintext, masks)?)
    };
    let mut rows = Vec::new();
    let mut sheets = Vec::new();
    let masks = MaskPolicy::Features;
    let row = |algebra: Algebra, attack, [used, known]: [usize; 2], note| Row {
        scheme: algebra.to_string(),
        attack,
        masks: masks.name(),
        ciphertexts_used: used,
        known_plaintexts: known,
        recovered_fraction: 0.0,
        max_abs_error: 0.0,
        seconds: 0.0,
        status: Status::Ok,
        note,
    };
    let one_bit = "both slots of every ciphertext; which of the streams is the message is left";

    for algebra in [Algebra::Compact(2), Algebra::Compact(4)] {
        let seen = see(algebra, masks, seed)?;
        let row = row(algebra, "evaluation-key-roots", [0, 0], one_bit);
        rows.push(timed(row, || attacks::by_roots(&seen).best(&messages)));
        done();
    }
    let blocks = Algebra::Blocks(2);
    let seen = see(blocks, masks, seed)?;
    let each = row(
        blocks,
        "eigenvalues",
        [1, 0],
        "each ciphertext by itself: message and mask, in no order",
    );
    rows.push(timed(each, || {
        attacks::eigenvalues(&seen).nearest(&messages)
    }));
    done();
    let one = row(blocks, "eigenvectors-of-one", [1, 0], one_bit);
    let mut streams = None;
    rows.push(timed(one, || {
        let found = attacks::by_eigenvectors(&seen);
        let best = found.best(&messages);
        streams = Some(found);
        best
    }));
    done();
    if let Some(Streams(streams)) = streams {
        sheets.push(("ciphertexts", sheet(seen.plane(0))));
        sheets.extend(
            ["stream-1", "stream-2"]
                .into_iter()
                .zip(streams.iter().map(|s| sheet(s))),
        );
    }

    for policy in [
        MaskPolicy::PairedRows,
        MaskPolicy::Features,
        MaskPolicy::Uniform,
        MaskPolicy::Normal,
    ] {
        let tells = !matches!(policy, MaskPolicy::PairedRows);
        let mut row = row(
            Algebra::Compact(2),
            "smoothness",
            [messages.len(), 0],
            if tells {
                "which stream is the message, right under what part of the keys"
            } else {
                "masks are images themselves, which smoothness cannot tell apart: a known plaintext does"
            },
        );
        row.masks = policy.name();
        let start = Instant::now();
        let mut right = 0;
        for trial in 0..TRIALS {
            let streams = attacks::by_roots(&see(Algebra::Compact(2), policy, seed + trial)?);
            let (recovered, error) = near(streams.smoothest(SIDE), &messages);
            if recovered >= MOST {
                right += 1;
                row.max_abs_error = row.max_abs_error.max(error);
            }
        }
        row.seconds = start.elapsed().as_secs_f64();
        row.recovered_fraction = f64::from(right) / TRIALS as f64;
        if tells && row.recovered_fraction < MOST {
            row.status = Status::Failed;
        }
        rows.push(row);
        done();
    }

    for n in [2, 3] {
        let algebra = Algebra::Blocks(n);
        let seen = see(algebra, MaskPolicy::PairedRows, seed)?;
        let mut row = row(
            algebra,
            "known-plaintexts",
            [1, 1],
            "a left eigenvector reads every message",
        );
        row.masks = MaskPolicy::PairedRows.name();
        rows.push(timed(row, || {
            near(&attacks::by_known_block(&seen, &messages), &messages)
        }));
        done();
    }
    for n in [2, 3, 4] {
        let algebra = Algebra::Compact(n);
        let seen = see(algebra, MaskPolicy::PairedRows, seed)?;
        let mut row = row(
            algebra,
            "known-plaintexts",
            [n - 1, n - 1],
            "decryption is linear; no evaluation key",
        );
        row.masks = MaskPolicy::PairedRows.name();
        rows.push(timed(row, || {
            near(&attacks::by_known(&seen, &messages), &messages)
        }));
        done();
    }
    Ok((rows, sheets))
}

/// Attacks that are run.
pub(crate) const ATTACKS: usize = 13;

/// Runs an attack, which gives what part of the messages it recovered and the largest error in them.
fn timed(mut row: Row, attack: impl FnOnce() -> (f64, f64)) -> Row {
    let start = Instant::now();
    (row.recovered_fraction, row.max_abs_error) = attack();
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
            assert!(row.max_abs_error <= NEAR, "{row:?}");
        }
        assert_eq!(sheets.len(), 3);
        // One of the streams is the images, and the coordinates are not.
        let shown = &images[..SHOWN * PIXELS];
        let like = |sheet: &[f32]| {
            sheet
                .iter()
                .zip(shown)
                .all(|(x, m)| (x - m).abs() < NEAR as f32)
        };
        assert!(!like(&sheets[0].1) && sheets[1..].iter().any(|sheet| like(&sheet.1)));
    }

    #[test]
    fn what_is_not_recovered_fails() {
        let row = Row {
            scheme: String::new(),
            attack: "",
            masks: "",
            ciphertexts_used: 0,
            known_plaintexts: 0,
            recovered_fraction: 0.0,
            max_abs_error: 0.0,
            seconds: 0.0,
            status: Status::Ok,
            note: "",
        };
        let found = [0.0, 0.5, 0.2, f64::NAN];
        let row = timed(row, || near(&found, &[0.0, 0.505, 0.3, 0.1]));
        assert_eq!((row.recovered_fraction, row.status), (0.5, Status::Failed));
        assert!((row.max_abs_error - 0.005).abs() < 1e-12);
    }
}
