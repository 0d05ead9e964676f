//! The detector: blur, scattered light, noise, and the grey scale of the display.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::space::around;
use super::{PIXELS, SIDE};

/// Turns what arrives at each pixel, in any unit, into grey levels between 0 and 1.
pub(super) fn expose(rng: &mut ChaCha8Rng, arriving: &mut [f64], image: &mut [f32]) {
    // The automatic exposure holds the mean; a part of it was scattered and is everywhere the same.
    let scattered = rng.random_range(0.1..0.35);
    let mean = arriving.iter().sum::<f64>() / PIXELS as f64;
    for light in arriving.iter_mut() {
        *light = (1.0 - scattered) * *light / mean + scattered;
    }
    soften(arriving, rng.random_range(0.03..0.12));
    // Quanta per pixel at the mean: the noise is theirs, and its variance grows with the light.
    let quanta = libm::exp(rng.random_range(5.8..8.2));
    for light in arriving.iter_mut() {
        let noise = around(rng, 0.0, (*light / quanta).sqrt());
        *light = libm::log((*light + noise).max(0.02));
    }
    flatten(arriving, rng.random_range(0.3..0.8));
    let mut sorted = arriving.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let quantile = |part: f64| sorted[(part * (PIXELS - 1) as f64) as usize];
    let low = quantile(rng.random_range(0.0..0.015));
    let high = quantile(rng.random_range(0.95..1.0));
    let width = (high - low).max(1e-6);
    let (floor, ceiling) = (rng.random_range(0.0..0.15), rng.random_range(0.75..1.0));
    for (pixel, light) in image.iter_mut().zip(arriving) {
        let level = floor + (ceiling - floor) * (*light - low) / width;
        *pixel = ((255.0 * level.clamp(0.0, 1.0)).round() / 255.0) as f32;
    }
}

/// Blurs the image: along rows and then along columns, every pixel gives `share` of itself to each
/// of its two neighbours, and what would leave the image stays.
pub(super) fn soften(image: &mut [f64], share: f64) {
    for (line, step) in [(SIDE, 1), (1, SIDE)] {
        for i in 0..SIDE {
            let mut before = image[i * line];
            for j in 0..SIDE {
                let here = i * line + j * step;
                let value = image[here];
                let after = if j + 1 < SIDE {
                    image[here + step]
                } else {
                    value
                };
                image[here] = value + share * (before - 2.0 * value + after);
                before = value;
            }
        }
    }
}

/// Side of the blocks whose means say what the background is, in pixels.
const BLOCK: usize = 16;

/// Takes away `share` of the slow changes across the image, as displays do so that lungs and spine
/// both fit their range.
fn flatten(image: &mut [f64], share: f64) {
    const BLOCKS: usize = SIDE / BLOCK;
    let mut means = [[0.0; BLOCKS]; BLOCKS];
    for (i, value) in image.iter().enumerate() {
        means[i / SIDE / BLOCK][i % SIDE / BLOCK] += value / (BLOCK * BLOCK) as f64;
    }
    // Means hold in the middles of their blocks; between them they are joined by straight lines.
    let between = |pixel: usize| {
        let at = (pixel as f64 + 0.5) / BLOCK as f64 - 0.5;
        let low = at.floor().clamp(0.0, (BLOCKS - 2) as f64);
        (low as usize, (at - low).clamp(0.0, 1.0))
    };
    for (i, value) in image.iter_mut().enumerate() {
        let ((row, down), (column, right)) = (between(i / SIDE), between(i % SIDE));
        let along =
            |row: usize| (1.0 - right) * means[row][column] + right * means[row][column + 1];
        *value -= share * ((1.0 - down) * along(row) + down * along(row + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::samples::stream;

    #[test]
    fn softening_keeps_the_light() {
        let mut image = vec![0.0; PIXELS];
        image[10 * SIDE + 9] = 1.0;
        image[SIDE - 1] = 1.0;
        soften(&mut image, 0.1);
        assert!((image.iter().sum::<f64>() - 2.0).abs() < 1e-12);
        for (at, expected) in [
            (10 * SIDE + 9, 0.64),
            (10 * SIDE + 8, 0.08),
            (9 * SIDE + 8, 0.01),
        ] {
            assert!((image[at] - expected).abs() < 1e-12);
        }
        // In a corner nothing leaves the image.
        assert!((image[SIDE - 1] - 0.81).abs() < 1e-12);
    }

    #[test]
    fn flattening_takes_slopes_and_leaves_details() {
        let slope = |i: usize| 3.0 + 0.02 * (i % SIDE) as f64 - 0.01 * (i / SIDE) as f64;
        let mut image: Vec<f64> = (0..PIXELS).map(slope).collect();
        flatten(&mut image, 0.75);
        // Between the middles of the outermost blocks a slope is taken exactly.
        for row in 8..56 {
            for column in 8..56 {
                let i = row * SIDE + column;
                assert!((image[i] - 0.25 * slope(i)).abs() < 1e-9);
            }
        }
        let mut dot = vec![0.0; PIXELS];
        dot[40 * SIDE + 40] = 1.0;
        flatten(&mut dot, 0.75);
        assert!(dot[40 * SIDE + 40] > 0.99);
    }

    #[test]
    fn more_light_is_a_lighter_grey() {
        for number in 0..5 {
            let mut arriving: Vec<f64> = (0..PIXELS)
                .map(|i| if i / SIDE % 8 < 4 { 40.0 } else { 10.0 })
                .collect();
            let mut image = vec![0.0; PIXELS];
            expose(&mut stream(2, number), &mut arriving, &mut image);
            let mean = |first: usize| {
                let rows = (0..8).flat_map(|band| [first, first + 1].map(|row| 8 * band + row));
                let pixels = rows.flat_map(|row| image[row * SIDE..][..SIDE].iter());
                pixels.sum::<f32>() / (16 * SIDE) as f32
            };
            assert!(mean(1) > mean(5) + 0.3, "{} {}", mean(1), mean(5));
            assert!(image.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
        }
    }

    #[test]
    fn darkness_is_exposed_without_a_fault() {
        let mut image = vec![0.5; PIXELS];
        expose(&mut stream(2, 9), &mut vec![1e-300; PIXELS], &mut image);
        assert!(image.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
    }
}
