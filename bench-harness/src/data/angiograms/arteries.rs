//! The left and the right coronary artery, with the variety that they have among people.
//!
//! Diameters are those of Dodge, Brown, Bolson and Dodge (1992): left main 4.5 mm, proximal left
//! anterior descending 3.7, proximal circumflex 3.4 and right 3.9 mm where the right artery is
//! dominant, circumflex 4.2 and right 2.8 mm where the left one is. Places are given as
//! [`Heart::surface`] takes them: degrees about the long axis, way down to the apex, lift.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::heart::Heart;
use super::space::{self, Vector, add, around, chance, cross, jitter, scale, sub, unit};
use super::tree::{Fork, STEP, Tree};

/// Which artery supplies the back of the heart: the posterior descending and the posterolateral
/// branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dominance {
    /// The right one, in four of five people.
    Right,
    /// The left one.
    Left,
    /// Posterior descending from the right, posterolateral branches from the left.
    Both,
}

impl Dominance {
    pub(super) fn new(rng: &mut ChaCha8Rng) -> Self {
        match rng.random_range(0.0..1.0) {
            x if x < 0.8 => Self::Right,
            x if x < 0.9 => Self::Left,
            _ => Self::Both,
        }
    }
}

/// What the branches of one artery are laid out with.
struct Layout<'a> {
    rng: &'a mut ChaCha8Rng,
    heart: &'a Heart,
    /// How far vessels wind to either side, in millimetres.
    winding: f64,
}

impl Layout<'_> {
    /// A centre line from `start` over places on the heart, each moved a little, with windings.
    fn course(&mut self, start: &[Vector], places: &[Vector]) -> Vec<Vector> {
        let mut knots = start.to_vec();
        for &place in places {
            let moved = jitter(self.rng, 1.2);
            knots.push(add(self.heart.surface(place), moved));
        }
        let mut points = space::curve(&knots, STEP);
        self.wind(&mut points);
        points
    }

    /// Moves points sideways along the surface by a sum of waves, none at the start.
    fn wind(&mut self, points: &mut [Vector]) {
        let waves = [(); 3].map(|()| {
            let pace = std::f64::consts::TAU / self.rng.random_range(18.0..50.0);
            let phase = self.rng.random_range(0.0..std::f64::consts::TAU);
            // Short waves are flat, or the vessel would fold.
            (pace, phase, around(self.rng, 0.0, 0.09 / pace))
        });
        let lengths = space::lengths(points);
        let sides: Vec<Vector> = (0..points.len())
            .map(|i| {
                let [before, after] = [i.saturating_sub(1), (i + 1).min(points.len() - 1)];
                let along = sub(points[after], points[before]);
                unit(cross(along, self.heart.outwards(points[i])))
            })
            .collect();
        for ((point, side), along) in points.iter_mut().zip(sides).zip(lengths) {
            let height: f64 = waves
                .iter()
                .map(|&(pace, phase, height)| height * libm::sin(pace * along + phase))
                .sum();
            let moved = self.winding * (along / 15.0).min(1.0) * height;
            *point = add(*point, scale(moved, side));
        }
    }

    /// Adds a branch that leaves `parent` nearest to the place `from` and runs over `places`.
    fn branch(
        &mut self,
        tree: &mut Tree,
        parent: usize,
        from: Vector,
        ratio: f64,
        places: &[Vector],
    ) -> usize {
        let point = tree.nearest(parent, self.heart.surface(from));
        let start = tree.vessels[parent].points[point];
        let points = self.course(&[start], places);
        let fork = Fork {
            parent,
            point,
            ratio,
        };
        tree.branch(points, fork)
    }

    /// A branch that leaves `parent` at `from` and runs down the heart by `down`, `drift` degrees
    /// aside.
    fn descend(
        &mut self,
        tree: &mut Tree,
        parent: usize,
        from: Vector,
        ratio: f64,
        [drift, down]: [f64; 2],
    ) -> usize {
        let place = |part: f64, way: f64| [from[0] + part * drift, from[1] + way * down, 0.5];
        // Aside first, then down.
        let places = [place(0.34, 0.25), place(0.72, 0.6), place(1.0, 1.0)];
        self.branch(tree, parent, from, ratio, &places)
    }

    /// Branches that leave `parent` in the groove at `round` degrees, between two depths, and go
    /// straight into the septum.
    fn septals(
        &mut self,
        tree: &mut Tree,
        parent: usize,
        round: f64,
        count: usize,
        [low, high]: [f64; 2],
        reach: f64,
    ) {
        for nth in 0..count {
            let down = low + (high - low) * (nth as f64 + self.rng.random::<f64>()) / count as f64;
            let reach = reach * self.rng.random_range(0.6..1.2);
            let ratio = self.rng.random_range(0.2..0.33);
            let places = [
                [round, down + 0.03, -0.3 * reach],
                [round, down + 0.09, -reach],
            ];
            self.branch(tree, parent, [round, down, 0.0], ratio, &places);
        }
    }

    fn ratio(&mut self, mean: f64) -> f64 {
        around(self.rng, mean, 0.06)
    }
}

/// Where an artery leaves the aorta; `out` is along the heart's axes, away from the root's middle.
pub(super) fn ostium(heart: &Heart, right: bool) -> Vector {
    let out = if right {
        [0.0, 8.0, -11.0]
    } else {
        [0.0, 5.0, 12.0]
    };
    add(heart.root(), space::combine(&heart.axes, out))
}

/// The left coronary artery: left main, anterior descending with diagonals and septals, circumflex
/// with obtuse marginals, sometimes a ramus between them.
pub(super) fn left(rng: &mut ChaCha8Rng, heart: &Heart, dominance: Dominance) -> Tree {
    let winding = rng.random_range(0.2..1.6);
    let mut layout = Layout {
        rng,
        heart,
        winding,
    };
    let split = layout.rng.random_range(12.0..26.0);
    let end = layout.rng.random_range(0.82..1.14);
    let start = ostium(heart, false);
    let anterior = [
        [split, -0.03, 2.0],
        [6.0, 0.13, 2.0],
        [3.0, 0.32, 1.0],
        [0.0, 0.52, 1.0],
        [-2.0, 0.70, 1.0],
        [-2.0, 0.7 + 0.5 * (end - 0.7), 1.0],
        [0.0, end, 1.0],
    ];
    let points = layout.course(&[start], &anterior);
    let radius = around(layout.rng, 2.25, 0.22);
    let mut tree = Tree::new(points, radius);

    // The circumflex follows the groove as far as it has something to supply.
    let (last, ratio) = match dominance {
        Dominance::Right => (layout.rng.random_range(85.0..140.0), 0.75),
        Dominance::Both => (layout.rng.random_range(145.0..165.0), 0.78),
        Dominance::Left => (178.0, 0.83),
    };
    let count = ((last - split) / 26.0).ceil();
    let groove: Vec<Vector> = (1..=count as usize)
        .map(|i| [split + (last - split) * i as f64 / count, 0.03, 1.5])
        .collect();
    let ratio = layout.ratio(ratio);
    let circumflex = layout.branch(&mut tree, 0, [split, -0.03, 2.0], ratio, &groove);

    if chance(layout.rng, 0.3) {
        let ratio = layout.ratio(0.5);
        let way = [layout.rng.random_range(16.0..30.0), 0.55];
        layout.descend(&mut tree, 0, [split, 0.0, 1.0], ratio, way);
    }
    let diagonals = layout.rng.random_range(1..=3);
    for nth in 0..diagonals {
        let down = 0.12 + 0.16 * f64::from(nth) + layout.rng.random_range(0.0..0.08);
        let way = [
            layout.rng.random_range(24.0..44.0),
            layout.rng.random_range(0.25..0.45),
        ];
        let ratio = layout.ratio(0.58);
        layout.descend(&mut tree, 0, [4.0, down, 1.0], ratio, way);
    }
    let septals = layout.rng.random_range(2..=6);
    layout.septals(&mut tree, 0, 2.0, septals, [0.1, 0.62], 32.0);

    let marginals = layout.rng.random_range(1..=3);
    for nth in 0..marginals {
        let room = (last - 48.0) / f64::from(marginals);
        let round = 44.0 + room * (f64::from(nth) + layout.rng.random_range(0.0..0.7));
        let way = [
            layout.rng.random_range(4.0..22.0),
            layout.rng.random_range(0.4..0.72),
        ];
        let ratio = layout.ratio(0.66);
        layout.descend(&mut tree, circumflex, [round, 0.03, 1.5], ratio, way);
    }
    if chance(layout.rng, 0.5) {
        let places = [[50.0, -0.12, 1.0], [80.0, -0.3, 1.0]];
        layout.branch(&mut tree, circumflex, [34.0, 0.03, 1.5], 0.3, &places);
    }
    if dominance != Dominance::Right {
        posterolaterals(&mut layout, &mut tree, circumflex, [140.0, 158.0]);
    }
    if dominance == Dominance::Left {
        descending(&mut layout, &mut tree, circumflex, 178.0);
    }
    tree.taper(around(rng, 0.0045, 0.0008));
    tree
}

/// The right coronary artery: conus, sinus node, right ventricular and acute marginal branches,
/// and, as dominance has it, posterior descending and posterolateral branches.
pub(super) fn right(rng: &mut ChaCha8Rng, heart: &Heart, dominance: Dominance) -> Tree {
    let winding = rng.random_range(0.2..1.6);
    let mut layout = Layout {
        rng,
        heart,
        winding,
    };
    let last = match dominance {
        Dominance::Right => layout.rng.random_range(-222.0..-196.0),
        Dominance::Both => -178.0,
        Dominance::Left => layout.rng.random_range(-140.0..-105.0),
    };
    let first = -48.0;
    let count = ((first - last) / 22.0_f64).ceil();
    let mut groove: Vec<Vector> = (0..=count as usize)
        .map(|i| [first + (last - first) * i as f64 / count, 0.03, 2.0])
        .collect();
    match dominance {
        // Past the crux it ends as the last of the posterolateral branches.
        Dominance::Right => groove.extend([[last - 8.0, 0.18, 0.5], [last - 12.0, 0.45, 0.5]]),
        // It turns down where the posterior descending goes.
        Dominance::Both => groove.extend([[-180.0, 0.25, 0.5], [-180.0, 0.7, 0.5]]),
        Dominance::Left => groove.extend([[last - 6.0, 0.25, 0.5]]),
    }
    let start = ostium(heart, true);
    let points = layout.course(&[start], &groove);
    let diameter = if dominance == Dominance::Left {
        2.8
    } else {
        3.9
    };
    let radius = around(layout.rng, 0.5 * diameter, 0.22);
    let mut tree = Tree::new(points, radius);

    if chance(layout.rng, 0.7) {
        let places = [[-34.0, 0.1, 2.0], [-20.0, 0.24, 2.0]];
        layout.branch(&mut tree, 0, [-44.0, -0.02, 3.0], 0.36, &places);
    }
    if chance(layout.rng, 0.6) {
        let places = [[-70.0, -0.2, 0.0], [-110.0, -0.45, 0.0]];
        layout.branch(&mut tree, 0, [-50.0, 0.0, 2.0], 0.34, &places);
    }
    let marginals = layout.rng.random_range(1..=3);
    for nth in 0..marginals {
        let round = -62.0 - 24.0 * f64::from(nth) - layout.rng.random_range(0.0..14.0);
        let way = [
            layout.rng.random_range(0.0..20.0),
            layout.rng.random_range(0.3..0.65),
        ];
        let ratio = layout.ratio(0.45);
        layout.descend(&mut tree, 0, [round, 0.03, 2.0], ratio, way);
    }
    match dominance {
        Dominance::Right => {
            descending(&mut layout, &mut tree, 0, -178.0);
            posterolaterals(&mut layout, &mut tree, 0, [-192.0, last + 4.0]);
        }
        Dominance::Both => layout.septals(&mut tree, 0, -180.0, 3, [0.15, 0.5], 15.0),
        Dominance::Left => {}
    }
    tree.taper(around(rng, 0.0028, 0.0006));
    tree
}

/// The posterior descending artery, in the groove between the ventricles, with its septals.
fn descending(layout: &mut Layout<'_>, tree: &mut Tree, parent: usize, round: f64) {
    let end = layout.rng.random_range(0.55..0.85);
    let places = [
        [round, 0.14, 1.0],
        [round, 0.5 * end, 0.5],
        [round, end, 0.5],
    ];
    let ratio = layout.ratio(0.78);
    let vessel = layout.branch(tree, parent, [round, 0.03, 2.0], ratio, &places);
    let septals = layout.rng.random_range(1..=4);
    layout.septals(tree, vessel, round, septals, [0.15, 0.5], 15.0);
}

/// One or two branches down the back of the left ventricle, that leave between two places of the
/// groove.
fn posterolaterals(layout: &mut Layout<'_>, tree: &mut Tree, parent: usize, range: [f64; 2]) {
    let count = layout.rng.random_range(1..=2);
    for nth in 0..count {
        let part = (f64::from(nth) + layout.rng.random_range(0.2..0.8)) / f64::from(count);
        let round = range[0] + part * (range[1] - range[0]);
        let way = [
            layout.rng.random_range(-14.0..2.0),
            layout.rng.random_range(0.35..0.6),
        ];
        let ratio = layout.ratio(0.62);
        layout.descend(tree, parent, [round, 0.03, 1.5], ratio, way);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::samples::stream;
    use space::norm;

    fn trees() -> impl Iterator<Item = (Heart, Dominance, [Tree; 2])> {
        (0..60).map(|number| {
            let mut rng = stream(8, number);
            let heart = Heart::new(&mut rng);
            let dominance =
                [Dominance::Right, Dominance::Left, Dominance::Both][number as usize % 3];
            let trees = [
                left(&mut rng, &heart, dominance),
                right(&mut rng, &heart, dominance),
            ];
            (heart, dominance, trees)
        })
    }

    /// Distance of a tree from a place on the heart.
    fn reach(tree: &Tree, place: Vector) -> f64 {
        let points = tree.vessels.iter().flat_map(|vessel| &vessel.points);
        points
            .map(|&point| norm(sub(point, place)))
            .fold(f64::MAX, f64::min)
    }

    #[test]
    fn dominance_says_who_supplies_the_back() {
        for (heart, dominance, [left, right]) in trees() {
            let posterior = heart.surface([180.0, 0.3, 0.0]);
            let lateral = heart.surface([150.0, 0.2, 0.0]);
            let mut owner = [&right, &left].map(|tree| reach(tree, posterior));
            if dominance == Dominance::Left {
                owner.reverse();
            }
            assert!(
                owner[0] < 10.0 && owner[0] < owner[1],
                "{dominance:?} {owner:?}"
            );
            if dominance != Dominance::Right {
                assert!(reach(&left, lateral) < reach(&right, lateral));
            }
        }
        let counts = (0..400).fold([0; 3], |mut counts, number| {
            counts[Dominance::new(&mut stream(9, number)) as usize] += 1;
            counts
        });
        assert!((280..360).contains(&counts[0]), "{counts:?}");
        assert!(
            counts[1..].iter().all(|count| (15..70).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn diameters_and_lengths_are_those_of_coronary_arteries() {
        for (_, dominance, trees) in trees() {
            for (tree, is_right) in trees.iter().zip([false, true]) {
                assert!((2..24).contains(&tree.vessels.len()));
                let trunk = &tree.vessels[0];
                let first = 2.0 * trunk.radii[0];
                let expected = match (is_right, dominance) {
                    (false, _) => 4.5,
                    (true, Dominance::Left) => 2.8,
                    (true, _) => 3.9,
                };
                assert!((first - expected).abs() < 1.6, "{first}");
                let length = trunk.lengths[trunk.points.len() - 1];
                assert!((50.0..270.0).contains(&length), "{length}");
                for vessel in &tree.vessels {
                    assert!(vessel.radii.is_sorted_by(|a, b| a > b));
                    let last = vessel.radii[vessel.radii.len() - 1];
                    assert!((0.05..1.6).contains(&last), "{last}");
                }
            }
            // Behind the left main come vessels of about 3.7 and 3.4 mm, or 4.2 mm.
            let left = &trees[0];
            let circumflex = 2.0 * left.vessels[1].radii[0];
            assert!((2.4..5.0).contains(&circumflex), "{circumflex}");
        }
    }

    #[test]
    fn vessels_run_smoothly_on_the_heart() {
        for (heart, _, trees) in trees() {
            for vessel in trees.iter().flat_map(|tree| &tree.vessels) {
                for pair in vessel.points.windows(2) {
                    let step = norm(sub(pair[1], pair[0]));
                    assert!((0.2..5.0).contains(&step), "{step}");
                }
                for &point in &vessel.points {
                    let local = space::components(&heart.axes, sub(point, heart.base));
                    let [a, b, c] = [0, 1, 2].map(|i| local[i] / heart.semi[i]);
                    // Septals go in, and the first part crosses over from the aorta.
                    assert!(a * a + b * b + c * c < 1.6, "{local:?}");
                }
            }
        }
    }
}
