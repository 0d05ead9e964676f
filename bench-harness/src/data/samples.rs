//! What the drawn data sets share: a random stream for every sample, balanced labels, and parts
//! drawn in parallel.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::Split;

/// The two parts of a data set, which draw from disjoint random streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The training part.
    Train,
    /// The test part.
    Test,
}

impl Part {
    /// First stream of this part's samples; the sample at position `i` uses the `i`-th after it.
    pub(super) fn samples(self) -> u64 {
        match self {
            Self::Train => 0,
            Self::Test => 1 << 62,
        }
    }

    /// The stream that shuffles this part's labels.
    fn labels(self) -> u64 {
        self.samples() | 1 << 63
    }
}

/// Draws one part of a data set, in parallel on the current rayon pool: `count` images of `pixels`
/// pixels, with labels below `classes` that are balanced and in random order.
///
/// `draw` is given a sample's own random stream, its label and its pixels, 0 on entry; so samples
/// come out the same in whatever order they are drawn.
pub(super) fn draw_split(
    seed: u64,
    part: Part,
    count: usize,
    classes: usize,
    pixels: usize,
    draw: impl Fn(&mut ChaCha8Rng, u8, &mut [f32]) + Sync,
) -> Split {
    let mut labels: Vec<u8> = (0..count).map(|i| (i % classes) as u8).collect();
    labels.shuffle(&mut stream(seed, part.labels()));

    let mut images = vec![0.0; count * pixels];
    images
        .par_chunks_mut(pixels)
        .zip(&labels)
        .enumerate()
        .for_each(|(i, (image, &label))| {
            draw(&mut stream(seed, part.samples() + i as u64), label, image);
        });
    Split { images, labels }
}

/// One of the independent random streams that belong to a seed.
pub(super) fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

/// A random number of mean 0 and standard deviation 1 that never exceeds 3.5 in size. Bounded on
/// purpose: no sample is distorted beyond all recognition.
pub(super) fn bell(rng: &mut ChaCha8Rng) -> f32 {
    let sum: f32 = (0..4).map(|_| rng.random::<f32>()).sum();
    (sum - 2.0) * 3.0_f32.sqrt()
}
