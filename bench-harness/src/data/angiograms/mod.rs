//! Frames of X-ray coronary angiographies, drawn without any data: which artery do they show, the
//! left or the right?
//!
//! A frame starts as a heart of random size and orientation with one coronary artery on it, a tree
//! of centre lines in space whose branches vary as they do among people (`arteries`), with radii
//! that fall at branchings and stenoses here and there (`tree`). Contrast fills it from a
//! catheter, not always to the ends. A C-arm looks at it from one of the usual angles (`carm`);
//! rays are attenuated by the contrast that they cross (`tube`) and by the chest (`chest`);
//! the heart moves while the frame is taken; and the detector adds blur, noise and a grey scale
//! (`detector`).

mod arteries;
mod carm;
mod catheter;
mod chest;
mod detector;
mod heart;
mod space;
mod tree;
mod tube;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use self::arteries::Dominance;
use self::carm::CArm;
use self::chest::Chest;
use self::heart::Heart;
use self::space::{Vector, add, around, chance, components, cross, norm, scale, sub};
use self::tree::Tree;
use self::tube::{Rays, Tube};
use super::Split;
use super::samples::{self, Part};

/// Height and width of every frame, in pixels.
pub const SIDE: usize = 64;

/// Pixels in one frame, [`SIDE`] squared.
pub const PIXELS: usize = SIDE * SIDE;

/// Number of classes: 0 is the left coronary artery, 1 the right one.
pub const CLASSES: usize = 2;

/// Angiograms in two parts that share no frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Angiograms {
    /// What a network is trained on.
    pub train: Split,
    /// What a trained network is measured on.
    pub test: Split,
}

/// Draws `train` and `test` frames, in parallel on the current rayon pool.
///
/// The result depends on the arguments alone, and never on the number of threads. Labels are
/// balanced (the counts of the two classes differ by at most one) and in random order. Pixels are
/// multiples of 1/255, and vessels are dark; over many frames their mean is 0.48 and their standard
/// deviation 0.20.
pub fn draw(seed: u64, train: usize, test: usize) -> Angiograms {
    let split = |part, count| {
        samples::draw_split(seed, part, count, CLASSES, PIXELS, |rng, label, image| {
            frame(rng, label == 1, image);
        })
    };
    Angiograms {
        train: split(Part::Train, train),
        test: split(Part::Test, test),
    }
}

/// Draws one frame of the right artery, or of the left, and returns what part of each pixel's rays
/// the contrast lets through.
fn frame(rng: &mut ChaCha8Rng, right: bool, image: &mut [f32]) -> Vec<f64> {
    // The heart is looked at, not the artery on it: without contrast no frame would tell which.
    let heart = Heart::new(rng);
    let arm = CArm::aimed(rng, heart.middle());
    let chest = Chest::new(rng, &heart).depth(&arm);

    let dominance = Dominance::new(rng);
    let mut tree = if right {
        arteries::right(rng, &heart, dominance)
    } else {
        arteries::left(rng, &heart, dominance)
    };
    while chance(rng, 0.4) {
        let (length, severity) = (rng.random_range(4.0..16.0), rng.random_range(0.3..0.95));
        tree.narrow(rng, length, severity);
    }
    let mut rays = Rays::new(&arm, OVER);
    let motion = Motion::new(rng, &heart);
    let bolus = Bolus::new(rng);
    for tube in tubes(&tree, &arm, &motion, &bolus) {
        rays.cross(&tube);
    }
    rays.cross(&catheter(rng, &heart, right, &arm, &bolus));

    let through: Vec<f64> = (0..PIXELS).map(|i| through(&rays.crossed, i)).collect();
    let thinnest = chest.iter().copied().fold(f64::MAX, f64::min);
    let mut arriving: Vec<f64> = through
        .iter()
        .zip(&chest)
        .map(|(through, depth)| libm::exp(thinnest - depth) * through)
        .collect();
    detector::expose(rng, &mut arriving, image);
    through
}

/// Rays to a pixel through the vessels, along a row or a column.
const OVER: usize = 3;

/// Mean over a pixel's rays of what contrast lets through.
fn through(crossed: &[f64], pixel: usize) -> f64 {
    let corner = pixel / SIDE * OVER * (OVER * SIDE) + pixel % SIDE * OVER;
    let mut sum = 0.0;
    for row in 0..OVER {
        for depth in &crossed[corner + row * OVER * SIDE..][..OVER] {
            sum += if *depth > 0.0 { libm::exp(-depth) } else { 1.0 };
        }
    }
    sum / (OVER * OVER) as f64
}

/// How the heart moves while a frame is taken.
struct Motion<'a> {
    heart: &'a Heart,
    /// Ways in millimetres: of the whole along the patient's axes, towards the heart's middle and
    /// around its long axis, of a point 40 mm from there.
    shift: Vector,
    squeeze: f64,
    twist: f64,
}

impl<'a> Motion<'a> {
    fn new(rng: &mut ChaCha8Rng, heart: &'a Heart) -> Self {
        // Most frames are taken between two beats.
        let haste = rng.random::<f64>();
        let haste = 2.2 * haste * haste;
        Self {
            heart,
            shift: space::jitter(rng, 0.7 * haste),
            squeeze: around(rng, 0.0, 0.7 * haste),
            twist: around(rng, 0.0, 0.5 * haste),
        }
    }

    /// Way of a point, in millimetres.
    fn of(&self, point: Vector) -> Vector {
        let from = scale(1.0 / 40.0, sub(point, self.heart.middle()));
        let around = cross(self.heart.axes[0], from);
        add(
            self.shift,
            add(scale(-self.squeeze, from), scale(self.twist, around)),
        )
    }
}

/// Contrast on its way from the ostium.
struct Bolus {
    /// What full contrast attenuates more than blood, per millimetre.
    strength: f64,
    /// How far it has come, in millimetres along the vessels, and over how much it thins out.
    front: f64,
    width: f64,
}

impl Bolus {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        // Some frames are taken as it begins to flow.
        let front = if chance(rng, 0.08) {
            rng.random_range(5.0..60.0)
        } else {
            rng.random_range(80.0..420.0)
        };
        Self {
            strength: rng.random_range(0.12..0.32),
            front,
            width: rng.random_range(20.0..70.0),
        }
    }

    /// What contrast attenuates at a distance from the ostium.
    fn at(&self, depth: f64) -> f64 {
        let t = ((self.front - depth) / self.width).clamp(0.0, 1.0);
        self.strength * t * t * (3.0 - 2.0 * t)
    }
}

/// The vessels of a tree as the C-arm sees them, without what lies within the vessel that they
/// leave.
fn tubes(tree: &Tree, arm: &CArm, motion: &Motion<'_>, bolus: &Bolus) -> Vec<Tube> {
    let depths = tree.depths();
    let tube = |(vessel, depth): (&tree::Vessel, f64)| {
        let inside = vessel.fork.map_or(0.0, |fork| {
            0.7 * tree.vessels[fork.parent].radii[fork.point]
        });
        let start = vessel.points[0];
        let first = vessel
            .points
            .iter()
            .position(|&point| norm(sub(point, start)) >= inside)?;
        let points = &vessel.points[first..];
        (points.len() > 1).then(|| Tube {
            points: points.iter().map(|&point| arm.see(point)).collect(),
            radii: vessel.radii[first..].to_vec(),
            density: vessel.lengths[first..]
                .iter()
                .map(|along| bolus.at(depth + along))
                .collect(),
            drift: points
                .iter()
                .map(|&point| components(&arm.axes, motion.of(point)))
                .collect(),
        })
    };
    tree.vessels.iter().zip(depths).filter_map(tube).collect()
}

/// The catheter as the C-arm sees it, full of contrast.
fn catheter(rng: &mut ChaCha8Rng, heart: &Heart, right: bool, arm: &CArm, bolus: &Bolus) -> Tube {
    let course = catheter::course(rng, heart, right);
    let points: Vec<Vector> = course.iter().map(|&point| arm.see(point)).collect();
    // 5 or 6 French: a third of a millimetre of diameter each.
    let radius = rng.random_range(5.0..6.0) / 6.0;
    let density = rng.random_range(0.6..1.0) * bolus.strength;
    Tube {
        radii: vec![radius; points.len()],
        density: vec![density; points.len()],
        drift: vec![[0.0; 3]; points.len()],
        points,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_sizes_asked_for_and_do_not_depend_on_each_other() {
        let drawn = draw(9, 7, 4);
        for (split, count) in [(&drawn.train, 7), (&drawn.test, 4)] {
            assert_eq!(split.len(), count);
            assert_eq!(split.images.len(), count * PIXELS);
        }
        assert_eq!(draw(9, 7, 0).train, drawn.train);
        assert_eq!(draw(9, 0, 4).test, drawn.test);
        assert!(draw(9, 0, 0).train.is_empty());
    }

    #[test]
    fn same_seed_same_frames_whatever_the_threads() {
        let [one, three] = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| draw(11, 7, 4))
        });
        assert_eq!(one, three);
    }

    #[test]
    fn seeds_parts_and_samples_differ() {
        let (first, second) = (draw(1, 5, 5), draw(2, 5, 5));
        let mut images: Vec<&[f32]> = [&first.train, &first.test, &second.train, &second.test]
            .iter()
            .flat_map(|split| split.images.chunks_exact(PIXELS))
            .collect();
        images.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert!(images.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn labels_are_balanced_and_shuffled() {
        let labels = draw(3, 25, 0).train.labels;
        let right = labels.iter().filter(|&&label| label == 1).count();
        assert_eq!((labels.len() - right, right), (13, 12));
        assert!(!labels.is_sorted());
        assert!(labels.windows(2).any(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn pixels_are_grey_levels_that_use_their_range() {
        let images = draw(4, 20, 0).train.images;
        let mean = images.iter().sum::<f32>() / images.len() as f32;
        assert!((mean - 0.48).abs() < 0.08, "{mean}");
        for image in images.chunks_exact(PIXELS) {
            for &value in image {
                assert!((0.0..=1.0).contains(&value));
                assert_eq!(value, (value * 255.0).round() / 255.0);
            }
            let mean: f32 = image.iter().sum::<f32>() / PIXELS as f32;
            assert!((0.2..0.8).contains(&mean), "{mean}");
            let squares: f32 = image
                .iter()
                .map(|value| (value - mean) * (value - mean))
                .sum();
            let deviation = (squares / PIXELS as f32).sqrt();
            assert!((0.05..0.4).contains(&deviation), "{deviation}");
        }
    }

    #[test]
    fn vessels_are_darker_than_what_is_beside_them() {
        // Pixels three columns apart, one in contrast and the other not.
        let mut differences = Vec::new();
        for number in 0..12 {
            let mut rng = samples::stream(5, number);
            let mut image = vec![0.0; PIXELS];
            let through = frame(&mut rng, number % 2 == 1, &mut image);
            for i in (0..PIXELS - 3).filter(|i| i % SIDE < SIDE - 3) {
                for (vessel, beside) in [(i, i + 3), (i + 3, i)] {
                    if through[vessel] < 0.75 && through[beside] == 1.0 {
                        differences.push(image[beside] - image[vessel]);
                    }
                }
            }
        }
        let count = differences.len() as f32;
        let darker = differences.iter().filter(|&&d| d > 0.0).count() as f32;
        assert!(count > 200.0, "{count}");
        assert!(darker > 0.9 * count, "{darker} of {count}");
        assert!(differences.iter().sum::<f32>() > 0.1 * count);
    }

    #[test]
    fn contrast_thins_out_towards_its_front() {
        let bolus = Bolus {
            strength: 0.2,
            front: 100.0,
            width: 40.0,
        };
        for (depth, expected) in [
            (0.0, 0.2),
            (60.0, 0.2),
            (80.0, 0.1),
            (100.0, 0.0),
            (300.0, 0.0),
        ] {
            assert!((bolus.at(depth) - expected).abs() < 1e-12, "{depth}");
        }
    }

    #[test]
    fn pixels_take_the_mean_of_what_their_rays_let_through() {
        let mut crossed = vec![0.0; OVER * OVER * PIXELS];
        // Pixel 65 is in row 1 and column 1: its rays are in rows and columns 3 to 5.
        crossed[3 * OVER * SIDE + 3] = 1.0;
        crossed[5 * OVER * SIDE + 5] = f64::INFINITY;
        let expected = (7.0 + (-1.0_f64).exp()) / 9.0;
        assert!((through(&crossed, 65) - expected).abs() < 1e-12);
        for other in [0, 1, 64, 66, 129, PIXELS - 1] {
            assert_eq!(through(&crossed, other), 1.0);
        }
    }
}
