//! Hybrid MORE: a message is the value of a polynomial at a secret point, and its coefficients are
//! ciphertexts. The evaluation key's eigenvalues split each coefficient into slots as they do any
//! ciphertext; in the message's slot and in the mask's the point is the same.

use super::attacks::{Streams, furthest};
use super::matrix::solve;
use super::seen::Seen;

/// Ratios of coefficients nearer to each other than this are the same but for rounding.
const SAME: f64 = 1e-5;
/// Linear coefficients smaller than this say little of a ratio.
const LEAST: f64 = 1e-2;

/// A slot's polynomials: of each coefficient, lowest first, that of every ciphertext.
type Polynomials = Vec<Vec<f64>>;

/// The polynomials in each slot.
fn split(seen: &Seen) -> Vec<Polynomials> {
    let slot = |root: &f64| {
        let coefficient = |i: usize| {
            let (a, b) = (seen.plane(2 * i), seen.plane(2 * i + 1));
            a.iter().zip(b).map(|(a, b)| a + b * root).collect()
        };
        (0..seen.dim() / 2).map(coefficient).collect()
    };
    seen.roots.iter().map(slot).collect()
}

/// The polynomials' values at a point.
fn at(point: f64, polynomials: &Polynomials) -> Vec<f64> {
    let value = |nth: usize| {
        let coefficients = polynomials.iter().rev();
        coefficients.fold(0.0, |sum, coefficient| sum * point + coefficient[nth])
    };
    (0..polynomials[0].len()).map(value).collect()
}

/// The lowest coefficient is the message less the others times powers of the point, and the message
/// hangs on none of them: in a linear regression over all ciphertexts the slope of the second is the
/// point, negative.
pub(super) fn by_regression(seen: &Seen) -> Streams {
    let read = |polynomials: Polynomials| at(-slopes(&polynomials)[0], &polynomials);
    Streams(split(seen).into_iter().map(read).collect())
}

/// Slopes of the least squares fit of the lowest coefficient by the others and a constant.
fn slopes(polynomials: &Polynomials) -> Vec<f64> {
    let centred = |numbers: &Vec<f64>| -> Vec<f64> {
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        numbers.iter().map(|x| x - mean).collect()
    };
    let centred: Vec<Vec<f64>> = polynomials.iter().map(centred).collect();
    let (lowest, others) = (&centred[0], &centred[1..]);
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let products: Vec<f64> = others
        .iter()
        .flat_map(|a| others.iter().map(|b| dot(a, b)))
        .collect();
    let right: Vec<f64> = others.iter().map(|a| dot(a, lowest)).collect();
    solve(&products, &right)
}

/// Degree 1, images with black pixels: wherever the message is zero, the same -p0 / p1 is the point.
/// The slot in which most ratios of the first `used` ciphertexts agree is the message's; its values.
pub(super) fn by_zeros(seen: &Seen, used: usize) -> Vec<f64> {
    let slots = split(seen);
    let modes = slots
        .iter()
        .map(|polynomials| (mode(polynomials, used), polynomials));
    let most = modes.max_by_key(|((agree, _), _)| *agree);
    most.map_or_else(Vec::new, |((_, point), polynomials)| at(point, polynomials))
}

/// How many ratios agree that most agree on, and that ratio.
fn mode(polynomials: &Polynomials, used: usize) -> (usize, f64) {
    let pairs = polynomials[0].iter().zip(&polynomials[1]).take(used);
    let telling = pairs.filter(|(_, p1)| p1.abs() >= LEAST);
    let mut ratios: Vec<f64> = telling.map(|(p0, p1)| -p0 / p1).collect();
    ratios.sort_by(f64::total_cmp);
    let agreeing = |first: usize| {
        let rest = &ratios[first..];
        let count = rest.partition_point(|ratio| ratio - rest[0] <= SAME);
        (count, rest[count / 2])
    };
    let most = (0..ratios.len())
        .map(agreeing)
        .max_by_key(|(count, _)| *count);
    most.unwrap_or((0, f64::NAN))
}

/// Degree 1, two known messages: the first gives each slot's point, (m - p0) / p1, and in the message's
/// slot it is right for the second too. That slot's values.
pub(super) fn by_two_known(seen: &Seen, messages: &[f64]) -> Vec<f64> {
    let slots = split(seen);
    // Those that say most. A bright pixel, which few masks share, with large linear coefficients; then one
    // of which the slots say different things.
    let first = furthest(seen.len(), |nth| {
        let sizes = slots.iter().map(|polynomials| polynomials[1][nth].abs());
        messages[nth] * sizes.fold(f64::INFINITY, f64::min)
    });
    let read = |polynomials: &Polynomials| {
        let point = (messages[first] - polynomials[0][first]) / polynomials[1][first];
        at(point, polynomials)
    };
    let found: Vec<Vec<f64>> = slots.iter().map(read).collect();
    let second = furthest(seen.len(), |nth| (found[0][nth] - found[1][nth]).abs());
    let off = |found: &Vec<f64>| (found[second] - messages[second]).abs();
    let nearest = found.into_iter().min_by(|a, b| off(a).total_cmp(&off(b)));
    nearest.unwrap_or_default()
}

/// Reduced polynomials: the secret point is one of the public roots of what they are reduced by, so the
/// messages are among the values at each of them, in each slot.
pub(super) fn by_public_roots(seen: &Seen) -> Streams {
    let slots = split(seen);
    let roots = seen.reduction.iter();
    let streams = roots.flat_map(|root| slots.iter().map(|polynomials| at(*root, polynomials)));
    Streams(streams.collect())
}
