//! Digits that look handwritten, drawn without any data.
//!
//! A digit starts as the strokes of one writing style of its class. Its knots are moved, its
//! strokes shifted and turned, curves laid through them, and the whole bent by a smooth field,
//! slanted, stretched and turned. It is then treated as the makers of MNIST treated theirs: scaled
//! until its longer side is about 20 pixels, and placed with its ink centred. The pen is a disc
//! whose radius varies along the stroke; a pixel is inked by its distance to the stroke, and the
//! picture is softened and given a little grain.
//!
//! Every sample has a random stream of its own, so that samples can be drawn in any order.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::glyphs::{self, Knot, Point, Style, norm, sub};
use super::{CLASSES, PIXELS, SIDE, Split};

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

/// Draws one part of a data set: `count` digits, with labels balanced and in random order.
pub(super) fn draw_split(seed: u64, part: Part, count: usize) -> Split {
    let mut labels: Vec<u8> = (0..count).map(|i| (i % CLASSES) as u8).collect();
    labels.shuffle(&mut stream(seed, part.labels()));

    let styles = glyphs::styles();
    let mut images = vec![0.0; count * PIXELS];
    images
        .par_chunks_mut(PIXELS)
        .zip(&labels)
        .enumerate()
        .for_each(|(i, (image, &label))| {
            let mut rng = stream(seed, part.samples() + i as u64);
            draw_digit(&mut rng, &styles[usize::from(label)], image);
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
fn bell(rng: &mut ChaCha8Rng) -> f32 {
    let sum: f32 = (0..4).map(|_| rng.random::<f32>()).sum();
    (sum - 2.0) * 3.0_f32.sqrt()
}

/// A random number around 1: the exponential of a [`bell`] of the given spread.
fn factor(rng: &mut ChaCha8Rng, spread: f32) -> f32 {
    (spread * bell(rng)).exp()
}

/// Draws one digit in one of `styles` into `image`, 784 pixels that are 0 on entry.
fn draw_digit(rng: &mut ChaCha8Rng, styles: &[Style], image: &mut [f32]) {
    // Most samples are written with some care and a few with very little.
    let haste = 0.6 + 1.2 * rng.random::<f32>().powi(3);
    let style = pick(rng, styles);
    let mut strokes: Vec<Vec<Point>> = style
        .strokes
        .iter()
        .map(|knots| glyphs::trace(&rewrite(rng, knots, haste)))
        .collect();
    bend(rng, &mut strokes, haste);
    let pen = Pen::new(rng);
    pose(rng, &mut strokes, &pen);
    let radii: Vec<Vec<f32>> = strokes
        .iter()
        .map(|stroke| pen.radii(rng, stroke))
        .collect();
    centre(rng, &mut strokes, &radii);
    ink(rng, &strokes, &radii, image);
}

/// Chooses a style with the probability that its weight gives it.
fn pick<'a>(rng: &mut ChaCha8Rng, styles: &'a [Style]) -> &'a Style {
    let total: f32 = styles.iter().map(|style| style.weight).sum();
    let mut left = total * rng.random::<f32>();
    for style in &styles[..styles.len() - 1] {
        left -= style.weight;
        if left < 0.0 {
            return style;
        }
    }
    &styles[styles.len() - 1]
}

/// Spread of a knot's position, in units of the digit's height.
const KNOT_SPREAD: f32 = 0.022;

/// The same for the ends of a stroke, which writers place with less care.
const END_SPREAD: f32 = 0.045;

/// Moves a stroke and its knots: as a whole, by turning and stretching about its middle, and each
/// knot by itself.
fn rewrite(rng: &mut ChaCha8Rng, knots: &[Knot], haste: f32) -> Vec<Knot> {
    let count = knots.len() as f32;
    let middle = [0, 1].map(|axis| knots.iter().map(|knot| knot.at[axis]).sum::<f32>() / count);
    let shift = [0.02 * haste * bell(rng), 0.02 * haste * bell(rng)];
    let (sin, cos) = (0.06 * haste * bell(rng)).sin_cos();
    let stretch = [factor(rng, 0.08 * haste), factor(rng, 0.08 * haste)];
    // A hasty hand rounds its corners.
    let rounded = rng.random_bool(f64::from(0.2 * haste));
    let moved = |(i, knot): (usize, &Knot)| {
        let end = i == 0 || i + 1 == knots.len();
        let spread = haste * if end { END_SPREAD } else { KNOT_SPREAD };
        let [x, y] = sub(knot.at, middle);
        let (x, y) = (stretch[0] * x, stretch[1] * y);
        let at = [
            middle[0] + cos * x - sin * y + shift[0] + spread * bell(rng),
            middle[1] + sin * x + cos * y + shift[1] + spread * bell(rng),
        ];
        Knot {
            at,
            corner: knot.corner && !rounded,
        }
    };
    knots.iter().enumerate().map(moved).collect()
}

/// Waves that make up the elastic distortion.
const WAVES: usize = 4;

/// Elastic distortion: moves every point by a sum of long waves across the digit.
fn bend(rng: &mut ChaCha8Rng, strokes: &mut [Vec<Point>], haste: f32) {
    let waves: [[f32; 5]; WAVES] = std::array::from_fn(|_| {
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        // From a third of a wave to one and a quarter across the digit's height.
        let pace = std::f32::consts::TAU * rng.random_range(0.33..1.25);
        let phase = rng.random_range(0.0..std::f32::consts::TAU);
        let size = 0.03 * haste;
        [
            pace * angle.cos(),
            pace * angle.sin(),
            phase,
            size * bell(rng),
            size * bell(rng),
        ]
    });
    for point in strokes.iter_mut().flatten() {
        let [x, y] = *point;
        for [across, down, phase, dx, dy] in waves {
            let height = (across * x + down * y + phase).sin();
            point[0] += dx * height;
            point[1] += dy * height;
        }
    }
}

/// How the pen writes in one sample.
struct Pen {
    /// Mean radius of the line, in pixels.
    radius: f32,
    /// Relative change of the radius along a stroke.
    pressure: f32,
    /// How much thinner the ends of a stroke are, from 0 to 1.
    taper: f32,
}

impl Pen {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        Self {
            radius: 1.24 * factor(rng, 0.24),
            pressure: rng.random_range(0.05..0.28),
            taper: rng.random_range(0.0..0.45),
        }
    }

    /// Radius at each point of a stroke, in pixels.
    fn radii(&self, rng: &mut ChaCha8Rng, stroke: &[Point]) -> Vec<f32> {
        let phase = rng.random_range(0.0..std::f32::consts::TAU);
        let pace = std::f32::consts::TAU * rng.random_range(0.5..1.6);
        let last = (stroke.len() - 1) as f32;
        let radius = |i: usize| {
            let along = i as f32 / last;
            let from_end = (6.0 * along.min(1.0 - along)).min(1.0);
            let pressed = 1.0 + self.pressure * (pace * along + phase).sin();
            self.radius * pressed * (1.0 - self.taper * (1.0 - from_end))
        };
        (0..stroke.len()).map(radius).collect()
    }
}

/// Slants, turns and stretches the digit, and scales it to its final size in pixels.
fn pose(rng: &mut ChaCha8Rng, strokes: &mut [Vec<Point>], pen: &Pen) {
    // Most people lean their digits to the right.
    let slant = 0.14 + 0.22 * bell(rng);
    let (sin, cos) = (0.09 * bell(rng)).sin_cos();
    let wide = 1.12 * factor(rng, 0.14);
    let turned = |[x, y]: Point| {
        let x = wide * (x - slant * y);
        [cos * x - sin * y, sin * x + cos * y]
    };
    let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
    for point in strokes.iter_mut().flatten() {
        *point = turned(*point);
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    // The line is as wide as the pen on both sides, and this width is part of the digit's size.
    let size = 20.0 * factor(rng, 0.04) - 2.0 * pen.radius;
    let longer = (high[0] - low[0]).max(high[1] - low[1]);
    for point in strokes.iter_mut().flatten() {
        *point = [point[0] * size / longer, point[1] * size / longer];
    }
}

/// Column and row on which MNIST centres the ink, in pixels.
const CENTRE: f32 = 14.0;

/// Moves the digit, in pixels, until its ink is centred but for a small random displacement.
fn centre(rng: &mut ChaCha8Rng, strokes: &mut [Vec<Point>], radii: &[Vec<f32>]) {
    let (mut mass, mut moment) = (0.0, [0.0; 2]);
    for (stroke, radii) in strokes.iter().zip(radii) {
        for (ends, radii) in stroke.windows(2).zip(radii.windows(2)) {
            let area = norm(sub(ends[1], ends[0])) * (radii[0] + radii[1]);
            mass += area;
            for axis in 0..2 {
                moment[axis] += area * (ends[0][axis] + ends[1][axis]) / 2.0;
            }
        }
    }
    let shift = moment.map(|moment| CENTRE - moment / mass + 0.5 * bell(rng));
    for point in strokes.iter_mut().flatten() {
        *point = [point[0] + shift[0], point[1] + shift[1]];
    }
}

/// Inks the strokes into the image, softens them and adds grain. Points and radii are in pixels,
/// the centre of the top left pixel being the origin.
fn ink(rng: &mut ChaCha8Rng, strokes: &[Vec<Point>], radii: &[Vec<f32>], image: &mut [f32]) {
    // Distance of every pixel to the edge of the nearest stroke, negative within it.
    let mut edge = [f32::MAX; PIXELS];
    for (stroke, radii) in strokes.iter().zip(radii) {
        for (ends, radii) in stroke.windows(2).zip(radii.windows(2)) {
            approach(&mut edge, [ends[0], ends[1]], [radii[0], radii[1]]);
        }
    }
    // The width of the grey margin, and how dark the ink is; beyond 1 it is simply white.
    let margin = rng.random_range(0.8..1.3);
    let strength = rng.random_range(0.95..1.45);
    for (pixel, edge) in image.iter_mut().zip(edge) {
        *pixel = strength * (0.5 - edge / margin).clamp(0.0, 1.0);
    }
    soften(image, rng.random_range(0.0..0.09));
    // Softening leaves a faint halo, which a scanner set for black ink does not see.
    for pixel in image.iter_mut() {
        *pixel = (*pixel - HALO).max(0.0) / (1.0 - HALO);
    }
    let grain = rng.random_range(0.01..0.07);
    for pixel in image.iter_mut().filter(|pixel| **pixel > 0.0) {
        // Grain comes with the ink: the background of MNIST is clean.
        let noisy = pixel.min(1.0) + grain * pixel.min(0.5) * 2.0 * bell(rng);
        *pixel = (noisy.clamp(0.0, 1.0) * 255.0).round() / 255.0;
    }
}

/// Brightness below which the softened image counts as background.
const HALO: f32 = 0.06;

/// Pixels around a line that its margin can reach, beyond the line's radius.
const REACH: f32 = 1.0;

/// Lowers the distances in `edge` to that of the line between `ends`, whose radius changes evenly
/// from one end to the other, for the pixels near enough to be inked by it.
fn approach(edge: &mut [f32; PIXELS], ends: [Point; 2], radii: [f32; 2]) {
    let [start, end] = ends;
    let along = sub(end, start);
    let squared = (along[0] * along[0] + along[1] * along[1]).max(1e-12);
    let reach = radii[0].max(radii[1]) + REACH;
    // Pixels outside the image are cut off, as they are at the edge of a scan.
    let range = |axis: usize| {
        let low = (start[axis].min(end[axis]) - reach)
            .ceil()
            .clamp(0.0, SIDE as f32);
        let high = (start[axis].max(end[axis]) + reach)
            .floor()
            .clamp(-1.0, SIDE as f32 - 1.0);
        low as usize..(high + 1.0) as usize
    };
    let columns = range(0);
    for row in range(1) {
        for column in columns.clone() {
            let from = sub([column as f32, row as f32], start);
            let t = ((from[0] * along[0] + from[1] * along[1]) / squared).clamp(0.0, 1.0);
            let distance = norm([from[0] - t * along[0], from[1] - t * along[1]]);
            let radius = radii[0] + t * (radii[1] - radii[0]);
            let nearest = &mut edge[row * SIDE + column];
            *nearest = nearest.min(distance - radius);
        }
    }
}

/// Blurs the image: along rows and then along columns, every pixel gives `share` of itself to each
/// of its two neighbours.
fn soften(image: &mut [f32], share: f32) {
    for (line, step) in [(SIDE, 1), (1, SIDE)] {
        for i in 0..SIDE {
            let mut before = 0.0;
            for j in 0..SIDE {
                let here = i * line + j * step;
                let value = image[here];
                let after = if j + 1 < SIDE {
                    image[here + step]
                } else {
                    0.0
                };
                image[here] = value + share * (before - 2.0 * value + after);
                before = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw;
    use super::*;

    #[test]
    fn same_seed_same_digits_whatever_the_threads() {
        let [one, three] = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| draw(11, 120, 40))
        });
        assert_eq!(one.name, "drawn-digits");
        assert_eq!(one, three);
    }

    #[test]
    fn seeds_parts_and_samples_differ() {
        let (first, second) = (draw(1, 100, 100), draw(2, 100, 100));
        assert_ne!(first.train.labels, second.train.labels);
        assert_ne!(first.train.labels, first.test.labels);
        let mut images: Vec<&[f32]> = [&first.train, &first.test, &second.train, &second.test]
            .iter()
            .flat_map(|split| split.images.chunks_exact(PIXELS))
            .collect();
        images.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert!(images.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn labels_are_balanced_and_shuffled() {
        let split = draw_split(3, Part::Train, 204);
        assert_eq!(split.len(), 204);
        assert_eq!(split.images.len(), 204 * PIXELS);
        let counts: Vec<usize> = (0..10)
            .map(|digit| split.labels.iter().filter(|&&label| label == digit).count())
            .collect();
        assert_eq!(counts, [21, 21, 21, 21, 20, 20, 20, 20, 20, 20]);
        assert!(!split.labels.is_sorted_by_key(|&label| label));
        assert_ne!(split.labels[..10], split.labels[10..20]);
    }

    #[test]
    fn none_is_an_empty_split() {
        assert!(draw(3, 0, 0).train.is_empty());
    }

    #[test]
    fn pixels_are_grey_levels_with_a_clean_background() {
        let split = draw_split(4, Part::Test, 300);
        for image in split.images.chunks_exact(PIXELS) {
            for &value in image {
                assert!((0.0..=1.0).contains(&value));
                assert_eq!(value, (value * 255.0).round() / 255.0);
            }
            let ink: f32 = image.iter().sum();
            assert!((20.0..300.0).contains(&ink), "{ink}");
            assert!(image.iter().filter(|&&value| value == 0.0).count() > PIXELS / 3);
        }
    }

    #[test]
    fn ink_is_centred() {
        let split = draw_split(5, Part::Train, 300);
        let mut mean = [0.0; 2];
        for image in split.images.chunks_exact(PIXELS) {
            let ink: f32 = image.iter().sum();
            let mut centre = [0.0; 2];
            for (i, value) in image.iter().enumerate() {
                centre[0] += value * (i % SIDE) as f32 / ink;
                centre[1] += value * (i / SIDE) as f32 / ink;
            }
            for axis in 0..2 {
                assert!((centre[axis] - CENTRE).abs() < 3.0, "{centre:?}");
                mean[axis] += centre[axis] / split.len() as f32;
            }
        }
        assert!(
            mean.iter().all(|mean| (mean - CENTRE).abs() < 0.25),
            "{mean:?}"
        );
    }

    #[test]
    fn one_line_is_inked_by_its_distance() {
        let mut edge = [f32::MAX; PIXELS];
        approach(&mut edge, [[14.0, 5.0], [14.0, 20.0]], [1.5, 1.5]);
        for (offset, expected) in [(0, -1.5), (1, -0.5), (2, 0.5)] {
            assert!((edge[10 * SIDE + 14 + offset] - expected).abs() < 1e-6);
            assert!((edge[10 * SIDE + 14 - offset] - expected).abs() < 1e-6);
        }
        assert_eq!(edge[10 * SIDE + 17], f32::MAX);
        assert_eq!(edge[2 * SIDE + 14], f32::MAX);

        // A line that lies outside the image leaves it alone, and one across its edge is cut.
        let mut edge = [f32::MAX; PIXELS];
        approach(&mut edge, [[-9.0, -9.0], [-5.0, -9.0]], [1.0, 1.0]);
        approach(&mut edge, [[40.0, 3.0], [50.0, 40.0]], [1.0, 1.0]);
        assert!(edge.iter().all(|&distance| distance == f32::MAX));
        approach(&mut edge, [[26.0, 26.0], [40.0, 40.0]], [1.0, 1.0]);
        assert!((edge[PIXELS - 1] + 1.0).abs() < 1e-6);
    }

    #[test]
    fn softening_keeps_the_ink() {
        let mut image = vec![0.0; PIXELS];
        image[10 * SIDE + 9] = 1.0;
        soften(&mut image, 0.1);
        assert!((image.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let near = [
            image[10 * SIDE + 9],
            image[10 * SIDE + 10],
            image[9 * SIDE + 9],
            image[9 * SIDE + 8],
        ];
        for (value, expected) in near.into_iter().zip([0.64, 0.08, 0.08, 0.01]) {
            assert!((value - expected).abs() < 1e-6);
        }
    }
}
