//! Trees of vessels: centre lines, radii that fall at branchings and along the way, and narrowings.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::space::{self, Vector, norm, sub};

/// Distance between points of a centre line, in millimetres.
pub(super) const STEP: f64 = 1.5;

/// One vessel, from where it begins to where it is lost.
#[derive(Clone, Debug)]
pub(super) struct Vessel {
    /// Points of the centre line, about [`STEP`] apart, with the flow.
    pub(super) points: Vec<Vector>,
    /// Radius at each point, in millimetres.
    pub(super) radii: Vec<f64>,
    /// Distance of each point from the first, in millimetres.
    pub(super) lengths: Vec<f64>,
    /// Where it leaves another vessel; `None` for the one that leaves the aorta.
    pub(super) fork: Option<Fork>,
}

/// Where a vessel leaves another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fork {
    /// Number of the vessel that it leaves.
    pub(super) parent: usize,
    /// Number of the point there.
    pub(super) point: usize,
    /// Its first radius over the parent's radius ahead of the fork.
    pub(super) ratio: f64,
}

/// The vessels that one ostium feeds, every parent ahead of its branches.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) vessels: Vec<Vessel>,
}

impl Tree {
    /// A tree of one vessel along `points`, whose first radius is `radius` millimetres.
    pub(super) fn new(points: Vec<Vector>, radius: f64) -> Self {
        let mut tree = Self {
            vessels: Vec::new(),
        };
        tree.push(points, radius, None);
        tree
    }

    /// Adds a vessel that leaves another at `fork`, and returns its number.
    pub(super) fn branch(&mut self, points: Vec<Vector>, fork: Fork) -> usize {
        self.push(points, 0.0, Some(fork));
        self.vessels.len() - 1
    }

    fn push(&mut self, points: Vec<Vector>, radius: f64, fork: Option<Fork>) {
        self.vessels.push(Vessel {
            radii: vec![radius; points.len()],
            lengths: space::lengths(&points),
            points,
            fork,
        });
    }

    /// The point of a vessel that is nearest to a place.
    pub(super) fn nearest(&self, vessel: usize, place: Vector) -> usize {
        let distance = |point: &Vector| norm(sub(*point, place));
        let points = self.vessels[vessel].points.iter().map(distance);
        let nearest = points.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        nearest.map_or(0, |(point, _)| point)
    }

    /// Sets every radius by the radius with which the tree begins.
    ///
    /// At a branching the cubes of the radii behind it add up to the cube of the one ahead of it
    /// (Murray 1926), and between branchings a radius falls by the fraction `rate` per millimetre.
    pub(super) fn taper(&mut self, rate: f64) {
        for vessel in 0..self.vessels.len() {
            let mut forks: Vec<(usize, usize)> = (vessel + 1..self.vessels.len())
                .filter_map(|child| {
                    let fork = self.vessels[child].fork.filter(|f| f.parent == vessel)?;
                    Some((fork.point, child))
                })
                .collect();
            forks.sort_unstable();
            let mut forks = forks.into_iter().peekable();
            let mut radius = self.vessels[vessel].radii[0];
            for point in 0..self.vessels[vessel].points.len() {
                if point > 0 {
                    let lengths = &self.vessels[vessel].lengths;
                    radius *= libm::exp(-rate * (lengths[point] - lengths[point - 1]));
                }
                self.vessels[vessel].radii[point] = radius;
                while let Some((_, child)) = forks.next_if(|&(at, _)| at == point) {
                    let branch = &mut self.vessels[child];
                    let ratio = branch.fork.map_or(0.0, |fork| fork.ratio);
                    branch.radii[0] = ratio * radius;
                    radius *= libm::cbrt(1.0 - ratio * ratio * ratio);
                }
            }
        }
    }

    /// Narrows the tree at a random place: over `length` millimetres the diameter falls to
    /// `1 - severity` of its own and rises again, as a raised cosine.
    pub(super) fn narrow(&mut self, rng: &mut ChaCha8Rng, length: f64, severity: f64) {
        // Disease is looked for, and found, in vessels of more than 1.5 mm.
        let places: Vec<(usize, usize)> = (0..self.vessels.len())
            .flat_map(|vessel| (0..self.vessels[vessel].points.len()).map(move |i| (vessel, i)))
            .filter(|&(vessel, point)| self.vessels[vessel].radii[point] > 0.75)
            .collect();
        if places.is_empty() {
            return;
        }
        let (vessel, point) = places[rng.random_range(0..places.len())];
        let vessel = &mut self.vessels[vessel];
        let middle = vessel.lengths[point];
        for (radius, along) in vessel.radii.iter_mut().zip(&vessel.lengths) {
            let from = (along - middle).abs() / (0.5 * length);
            if from < 1.0 {
                let depth = 0.5 + 0.5 * libm::cos(std::f64::consts::PI * from);
                *radius *= 1.0 - severity * depth;
            }
        }
    }

    /// How far each vessel's first point is from the ostium, in millimetres along the vessels.
    pub(super) fn depths(&self) -> Vec<f64> {
        let mut depths: Vec<f64> = Vec::new();
        for vessel in &self.vessels {
            depths.push(vessel.fork.map_or(0.0, |fork| {
                depths[fork.parent] + self.vessels[fork.parent].lengths[fork.point]
            }));
        }
        depths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::samples::stream;

    /// A vessel of 30 mm along x with two branches of 12 mm, 6 mm and 15 mm from its start.
    fn fork() -> Tree {
        let line = |from: Vector, along: Vector, count: usize| {
            (0..=count)
                .map(|i| space::add(from, space::scale(STEP * i as f64, along)))
                .collect::<Vec<_>>()
        };
        let mut tree = Tree::new(line([0.0; 3], [1.0, 0.0, 0.0], 20), 2.0);
        for (place, ratio) in [(15.0, 0.8), (6.0, 0.5)] {
            let start = [place, 0.0, 0.0];
            let fork = Fork {
                parent: 0,
                point: tree.nearest(0, start),
                ratio,
            };
            tree.branch(line(start, [0.0, 1.0, 0.0], 8), fork);
        }
        tree
    }

    #[test]
    fn radii_fall_along_the_way_and_by_murrays_law_at_forks() {
        let rate = 0.004;
        let mut tree = fork();
        tree.taper(rate);
        let trunk = &tree.vessels[0].radii;
        let fall = (-rate * STEP).exp();
        assert_eq!(trunk[0], 2.0);
        for (child, point) in [(1, 10), (2, 4)] {
            let branch = &tree.vessels[child];
            let fork = branch.fork.unwrap();
            assert_eq!(fork.point, point);
            assert!((branch.radii[0] - fork.ratio * trunk[point]).abs() < 1e-12);
            let behind = trunk[point + 1] / fall;
            let cubes = behind.powi(3) + branch.radii[0].powi(3);
            assert!((cubes - trunk[point].powi(3)).abs() < 1e-9);
        }
        for vessel in &tree.vessels {
            let forks = [4, 10];
            for (i, pair) in vessel.radii.windows(2).enumerate() {
                if vessel.fork.is_some() || !forks.contains(&i) {
                    assert!((pair[1] / pair[0] - fall).abs() < 1e-12);
                }
            }
        }
        assert_eq!(tree.depths(), [0.0, 15.0, 6.0]);
    }

    #[test]
    fn a_narrowing_is_as_long_and_as_severe_as_asked() {
        let mut narrow = fork();
        narrow.taper(0.0);
        let whole = narrow.clone();
        narrow.narrow(&mut stream(1, 0), 9.0, 0.7);
        let changed: Vec<(usize, f64)> = (0..3)
            .flat_map(|vessel| {
                let pair = [&narrow, &whole].map(|tree| tree.vessels[vessel].radii.clone());
                let ratios = pair[0].iter().zip(&pair[1]).map(|(a, b)| a / b);
                ratios
                    .filter(|&ratio| ratio != 1.0)
                    .map(|ratio| (vessel, ratio))
                    .collect::<Vec<_>>()
            })
            .collect();
        // Points are 1.5 mm apart: at most five lie within less than 4.5 mm of the middle.
        assert!((3..=5).contains(&changed.len()), "{changed:?}");
        assert!(changed.iter().all(|&(vessel, _)| vessel == changed[0].0));
        let least = changed.iter().map(|&(_, ratio)| ratio).fold(1.0, f64::min);
        assert!((least - 0.3).abs() < 1e-12);

        // Where all is thin nothing is narrowed.
        let mut thin = Tree::new(fork().vessels[0].points.clone(), 0.7);
        thin.narrow(&mut stream(1, 0), 9.0, 0.7);
        assert!(thin.vessels[0].radii.iter().all(|&radius| radius == 0.7));
    }
}
