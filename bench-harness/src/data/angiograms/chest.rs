//! What lies around the vessels: chest, lungs, diaphragm, heart, spine and ribs, as the exponents
//! of their attenuation.
//!
//! Attenuations are per millimetre at the energies of a tube at 70 to 90 kV behind its filters: soft
//! tissue 0.02, and bone more by what is given here. Lungs, by their density, would attenuate 0.28
//! of what soft tissue does; half of what that leaves bright is taken by the wedge filters that
//! operators move over them.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::carm::CArm;
use super::detector;
use super::heart::Heart;
use super::space::{self, Span, Vector, add, around, combine, components, dot, jitter, sub};
use super::tube::{Rays, Tube};
use super::{PIXELS, SIDE};

const TISSUE: f64 = 0.02;

/// What lung attenuates less than soft tissue, behind wedge filters.
const AIR: f64 = 0.36 * TISSUE;

/// What the spongy bone of the spine attenuates more than soft tissue.
const SPINE: f64 = 0.011;

/// What the compact bone of a rib attenuates more than soft tissue, and what its marrow does.
const RIB: f64 = 0.02;
const MARROW: f64 = 0.003;

/// An ellipsoid, or with an infinite semi-axis a cylinder.
#[derive(Clone, Debug)]
struct Ellipsoid {
    centre: Vector,
    axes: [Vector; 3],
    /// One over each semi-axis.
    inverse: Vector,
}

impl Ellipsoid {
    fn new(centre: Vector, semi: Vector) -> Self {
        Self {
            centre,
            axes: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            inverse: semi.map(|semi| 1.0 / semi),
        }
    }

    /// Coordinates in which it is the unit sphere.
    fn local(&self, v: Vector) -> Vector {
        let v = components(&self.axes, v);
        [0, 1, 2].map(|i| v[i] * self.inverse[i])
    }

    /// Where a ray is inside, in units of its direction; empty at 0 where it misses.
    fn span(&self, from: Vector, ray: Vector) -> Span {
        let (from, ray) = (self.local(sub(from, self.centre)), self.local(ray));
        let (a, b, c) = (dot(ray, ray), dot(from, ray), dot(from, from) - 1.0);
        let root = b * b - a * c;
        if root <= 0.0 {
            return [0.0, 0.0];
        }
        let root = root.sqrt();
        [(-b - root) / a, (-b + root) / a]
    }
}

/// The inside of one chest.
#[derive(Clone, Debug)]
pub(super) struct Chest {
    wall: Ellipsoid,
    lungs: [Ellipsoid; 2],
    /// What displaces lung: the heart with its great vessels, and what is below the diaphragm.
    solids: [Ellipsoid; 5],
    /// Bodies of the vertebrae, and the spines behind them.
    spine: [Ellipsoid; 2],
    /// Height of the middle of one vertebra, and from one to the next, in millimetres.
    vertebra: [f64; 2],
    ribs: Vec<Vec<Vector>>,
    /// Radius of the ribs, in millimetres.
    rib: f64,
}

impl Chest {
    pub(super) fn new(rng: &mut ChaCha8Rng, heart: &Heart) -> Self {
        let size = around(rng, 1.0, 0.06);
        let sized = |v: Vector| space::scale(size, v);
        let endless = f64::INFINITY;
        let mut place = |v: Vector| add(sized(v), jitter(rng, 3.0));
        let lungs = [-1.0, 1.0].map(|side| {
            Ellipsoid::new(place([68.0 * side, 2.0, 20.0]), sized([62.0, 88.0, 140.0]))
        });
        let spine_at = place([0.0, 66.0, 0.0]);
        // Between the lungs: great vessels, airways and gullet.
        let between = Ellipsoid::new(place([4.0, 18.0, 0.0]), sized([22.0, 74.0, endless]));
        let root = heart.root();
        let aorta = Ellipsoid::new(add(root, [-2.0, 0.0, 45.0]), [24.0, 24.0, 60.0]);
        // Frames are taken with breath held, more or less deeply.
        let breath = around(rng, -52.0, 12.0);
        let domes = [(-62.0, 8.0), (66.0, -4.0)].map(|(x, higher)| {
            let depth = 95.0;
            let top = breath + higher + around(rng, 0.0, 4.0);
            Ellipsoid::new(sized([x, 6.0, top - depth]), sized([84.0, 98.0, depth]))
        });
        let long = heart.semi[0];
        let body = Ellipsoid {
            // The ventricles and, behind the groove, the atria.
            centre: heart.at([0.2 * long, 0.0, -3.0]),
            axes: heart.axes,
            inverse: [0.82 * long, heart.semi[1] + 4.0, heart.semi[2] + 8.0].map(|s| 1.0 / s),
        };
        let ribs = (0..16)
            .map(|nth| {
                let side = if nth % 2 == 0 { -1.0 } else { 1.0 };
                let top = 30.0 * f64::from(nth / 2) - 85.0;
                rib(rng, side, top, size)
            })
            .collect();
        Self {
            wall: Ellipsoid::new(sized([0.0, 4.0, 0.0]), sized([165.0, 112.0, endless])),
            lungs,
            solids: {
                let [right, left] = domes;
                [body, between, aorta, right, left]
            },
            spine: [
                Ellipsoid::new(spine_at, sized([19.0, 15.0, endless])),
                Ellipsoid::new(
                    add(spine_at, sized([0.0, 34.0, 0.0])),
                    sized([8.0, 16.0, endless]),
                ),
            ],
            vertebra: [rng.random_range(0.0..30.0), around(rng, 29.0, 2.0)],
            ribs,
            rib: around(rng, 4.6, 0.4),
        }
    }

    /// Exponent of what is left of each pixel's ray, row by row.
    pub(super) fn depth(&self, arm: &CArm) -> Vec<f64> {
        let mut bones = Rays::new(arm, 1);
        for rib in &self.ribs {
            let points: Vec<Vector> = rib.iter().map(|&point| arm.see(point)).collect();
            for (radius, density) in [(self.rib, RIB), (0.7 * self.rib, MARROW - RIB)] {
                bones.cross(&Tube {
                    radii: vec![radius; points.len()],
                    density: vec![density; points.len()],
                    drift: vec![[0.0; 3]; points.len()],
                    points: points.clone(),
                });
            }
        }
        let mut depth: Vec<f64> = (0..PIXELS)
            .map(|i| {
                let [x, y] = [i % SIDE, i / SIDE].map(|pixel| arm.slope(pixel as f64 + 0.5));
                self.ray(arm.source, combine(&arm.axes, [x, y, 1.0]))
            })
            .collect();
        // Organs move and have no edges as sharp as ellipsoids.
        for _ in 0..2 {
            detector::soften(&mut depth, 0.25);
        }
        for (depth, bone) in depth.iter_mut().zip(bones.crossed) {
            *depth += bone;
        }
        depth
    }

    /// The same for one ray, without the ribs.
    fn ray(&self, from: Vector, ray: Vector) -> f64 {
        let length = |span: Span| span[1] - span[0];
        let wall = self.wall.span(from, ray);
        let solids = self.solids.each_ref().map(|solid| solid.span(from, ray));
        let mut air = 0.0;
        for lung in &self.lungs {
            let lung = lung.span(from, ray);
            let solid: f64 = solids
                .iter()
                .map(|&solid| space::overlap(lung, solid))
                .sum();
            // Where solids meet, what they share counts twice, but never for more than all.
            air += (length(lung) - solid).max(0.0);
        }
        let mut bone = 0.0;
        for (column, shift) in self.spine.iter().zip([0.0, 0.5]) {
            let span = column.span(from, ray);
            let height = from[2] + 0.5 * (span[0] + span[1]) * ray[2];
            let [middle, pace] = self.vertebra;
            let phase = std::f64::consts::TAU * ((height - middle) / pace + shift);
            // Discs are soft tissue; bodies are densest at their ends.
            let wave = libm::cos(phase);
            bone += length(span) * (1.0 - 0.45 * (0.5 - 0.5 * wave) * (0.5 - 0.5 * wave));
        }
        space::norm(ray) * (TISSUE * length(wall) - AIR * air + SPINE * bone)
    }
}

/// Centre line of a rib, from the spine round the chest to the breastbone.
fn rib(rng: &mut ChaCha8Rng, side: f64, top: f64, size: f64) -> Vec<Vector> {
    let fall = around(rng, 75.0, 6.0);
    let top = top + around(rng, 0.0, 2.0);
    let knots: Vec<Vector> = (0..=8)
        .map(|i| {
            let part = f64::from(i) / 8.0;
            let (sin, cos) = libm::sincos((8.0 + 146.0 * part).to_radians());
            let out = [side * 138.0 * sin, 6.0 + 88.0 * cos, 0.0];
            add(space::scale(size, out), [0.0, 0.0, top - fall * part])
        })
        .collect();
    space::curve(&knots, 8.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::samples::stream;

    #[test]
    fn rays_cross_an_ellipsoid_by_its_chord() {
        let ball = Ellipsoid::new([1.0, 2.0, 3.0], [5.0; 3]);
        let post = Ellipsoid::new([0.0; 3], [4.0, 2.0, f64::INFINITY]);
        for (shape, from, ray, expected) in [
            // Past the middle at 3, 4 behind it to either side; and past the ball.
            (&ball, [1.0, -8.0, 6.0], [0.0, 1.0, 0.0], [6.0, 14.0]),
            (&ball, [1.0, -8.0, 9.0], [0.0, 1.0, 0.0], [0.0, 0.0]),
            (&post, [0.0, -10.0, 99.0], [0.0, 0.5, 0.0], [16.0, 24.0]),
            (&post, [-10.0, 0.0, 7.0], [1.0, 0.0, 0.25], [6.0, 14.0]),
        ] {
            let found = shape.span(from, ray);
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        }
    }

    #[test]
    fn spine_and_belly_are_darker_than_lungs() {
        for number in 0..8 {
            let mut rng = stream(6, number);
            let heart = Heart::new(&mut rng);
            let chest = Chest::new(&mut rng, &heart);
            let through = |x: f64, z: f64| chest.ray([x, -750.0, z], [0.0, 1.0, 0.0]);
            let [lung, spine, belly] = [
                through(-75.0, 30.0),
                through(0.0, 30.0),
                through(-75.0, -125.0),
            ];
            assert!(lung > 1.0 && lung < spine - 0.5, "{lung} {spine}");
            assert!(lung < belly - 0.3, "{lung} {belly}");
            // Beside the patient there is nothing.
            assert_eq!(through(300.0, 0.0), 0.0);
        }
    }

    #[test]
    fn every_pixel_has_its_depth() {
        let mut rng = stream(7, 0);
        let heart = Heart::new(&mut rng);
        let chest = Chest::new(&mut rng, &heart);
        let arm = CArm::new([20.0, 0.0, 0.0], [30.0, -20.0], 1050.0, 170.0);
        let depth = chest.depth(&arm);
        assert_eq!(depth.len(), PIXELS);
        assert!(depth.iter().all(|depth| (1.0..12.0).contains(depth)));
    }
}
