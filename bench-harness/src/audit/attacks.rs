//! From coordinates to messages, without a secret key.

use super::matrix::{null_vector, solve, transposed};
use super::near;
use super::seen::Seen;

/// What is in the slots of every ciphertext, slot by slot, in an order that is not known.
pub(super) struct Streams(pub(super) Vec<Vec<f64>>);

impl Streams {
    /// What part of the messages the stream recovers that recovers most, and the largest error.
    pub(super) fn best(&self, messages: &[f64]) -> (f64, f64) {
        let found = self.0.iter().map(|stream| near(stream, messages));
        found
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap_or((0.0, 0.0))
    }

    /// The same where the order may differ from ciphertext to ciphertext.
    pub(super) fn nearest(&self, messages: &[f64]) -> (f64, f64) {
        let nearest: Vec<f64> = (messages.iter().enumerate())
            .map(|(i, m)| {
                let slots = self.0.iter().map(|stream| stream[i]);
                let nearest = slots.min_by(|a, b| (a - m).abs().total_cmp(&(b - m).abs()));
                nearest.unwrap_or(f64::NAN)
            })
            .collect();
        near(&nearest, messages)
    }

    /// Which stream's images of `side` pixels change least from pixel to pixel.
    pub(super) fn smoothest(&self, side: usize) -> usize {
        let change = |stream: &[f64]| -> f64 {
            let rows = stream.chunks_exact(side);
            rows.flat_map(|row| row.windows(2))
                .map(|pair| (pair[1] - pair[0]).abs())
                .sum()
        };
        let streams = self.0.iter().enumerate();
        streams
            .min_by(|(_, a), (_, b)| change(a).total_cmp(&change(b)))
            .map_or(0, |(nth, _)| nth)
    }
}

/// Compact(n): the evaluation key names the eigenvalues of the generator Z, and a ciphertext is a
/// sum of Chebyshev polynomials of Z. So slot k holds the sum of the coordinates times T_j(v_k).
pub(super) fn by_roots(seen: &Seen) -> Streams {
    let slot = |root: &f64| -> Vec<f64> {
        let weights = chebyshev(*root, seen.dim());
        (0..seen.len())
            .map(|i| dot(&weights, &seen.one(i)))
            .collect()
    };
    Streams(seen.roots.iter().map(slot).collect())
}

/// What one in one slot and zero in the others is in coordinates: Compact(n) from the other side, which
/// is all it takes to change a number in a slot.
pub(super) fn one_in(slot: usize, roots: &[f64]) -> Vec<f64> {
    let to_slots: Vec<f64> = roots
        .iter()
        .flat_map(|root| chebyshev(*root, roots.len()))
        .collect();
    let one = (0..roots.len()).map(|nth| f64::from(u8::from(nth == slot)));
    solve(&to_slots, &one.collect::<Vec<_>>())
}

/// T_j(x) for j in 0..count.
fn chebyshev(x: f64, count: usize) -> Vec<f64> {
    let mut values = vec![1.0, x];
    while values.len() < count {
        let [before, last] = [values[values.len() - 2], values[values.len() - 1]];
        values.push(2.0 * x * last - before);
    }
    values
}

/// Blocks(2): the eigenvalues of each matrix, the larger first.
pub(super) fn eigenvalues(seen: &Seen) -> Streams {
    let pairs = (0..seen.len()).map(|i| eigenvalues_of(&seen.one(i)));
    let (large, small) = pairs.map(|[large, small]| (large, small)).unzip();
    Streams(vec![large, small])
}

/// Mean of the diagonal, and half the distance of the eigenvalues from each other around it.
fn eigenvalues_of(c: &[f64]) -> [f64; 2] {
    let (mean, half) = ((c[0] + c[3]) / 2.0, (c[0] - c[3]) / 2.0);
    let distance = (half * half + c[1] * c[2]).max(0.0).sqrt();
    [mean + distance, mean - distance]
}

/// Blocks(2): every ciphertext has the eigenvectors of one of them; the one whose eigenvalues are
/// furthest apart shows them best.
pub(super) fn by_eigenvectors(seen: &Seen) -> Streams {
    let apart = |i: usize| {
        let [large, small] = eigenvalues_of(&seen.one(i));
        large - small
    };
    let one = seen.one(furthest(seen.len(), apart));
    let streams = eigenvalues_of(&one).map(|eigenvalue| by_eigenvalue(seen, &one, eigenvalue));
    Streams(streams.to_vec())
}

/// Blocks(n): a ciphertext whose message is known. Its left eigenvector for that message is one of
/// every ciphertext for its own.
pub(super) fn by_known_block(seen: &Seen, messages: &[f64]) -> Vec<f64> {
    // A bright pixel with dark masks, as the trace shows: where a mask is the message, two eigenvectors
    // are for the same number.
    let n = seen.dim().isqrt();
    let apart = |i: usize| {
        let trace: f64 = seen.one(i).iter().step_by(n + 1).sum();
        n as f64 * messages[i] - trace
    };
    let known = furthest(messages.len(), apart);
    by_eigenvalue(seen, &seen.one(known), messages[known])
}

/// What every ciphertext has for the left eigenvector w that `one` has for an eigenvalue:
/// w C u / w u, where u is w.
fn by_eigenvalue(seen: &Seen, one: &[f64], eigenvalue: f64) -> Vec<f64> {
    let n = seen.dim().isqrt();
    let mut singular = transposed(one, n);
    for i in 0..n {
        singular[i * n + i] -= eigenvalue;
    }
    let w = null_vector(&singular, n);
    // The sum over e of w_row C_e w_column.
    let weights: Vec<f64> = (0..n * n).map(|e| w[e / n] * w[e % n]).collect();
    (0..seen.len())
        .map(|i| dot(&weights, &seen.one(i)))
        .collect()
}

/// Compact(n): a message is the first coordinate and a sum of the others with n - 1 weights that are
/// the same for all ciphertexts. So many known messages give them, and no evaluation key is needed.
pub(super) fn by_known(seen: &Seen, messages: &[f64]) -> Vec<f64> {
    let unknown = seen.dim() - 1;
    // Known ones that say most: those furthest from what the ones before them span.
    let mut spanned: Vec<Vec<f64>> = Vec::new();
    let mut known = Vec::new();
    for _ in 0..unknown {
        let rest = |i: usize| {
            let mut row = seen.one(i)[1..].to_vec();
            for base in &spanned {
                let along = dot(base, &row);
                row.iter_mut().zip(base).for_each(|(x, b)| *x -= along * b);
            }
            row
        };
        let length = |i: usize| dot(&rest(i), &rest(i));
        let next = furthest(seen.len(), length);
        let scale = length(next).sqrt();
        spanned.push(rest(next).iter().map(|x| x / scale).collect());
        known.push(next);
    }
    let rows: Vec<f64> = known
        .iter()
        .flat_map(|i| seen.one(*i)[1..].to_vec())
        .collect();
    let right: Vec<f64> = known
        .iter()
        .map(|i| messages[*i] - seen.plane(0)[*i])
        .collect();
    let weights = [&[1.0], &solve(&rows, &right)[..]].concat();
    (0..seen.len())
        .map(|i| dot(&weights, &seen.one(i)))
        .collect()
}

/// Which of `0..count` has most of something.
pub(super) fn furthest(count: usize, of: impl Fn(usize) -> f64) -> usize {
    let furthest = (0..count).max_by(|a, b| of(*a).total_cmp(&of(*b)));
    furthest.unwrap_or(0)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
