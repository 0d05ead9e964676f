//! Line integrals through tubes: how much contrast, or bone, each ray crosses.
//!
//! A tube is cut at every point of its centre line, half way between the directions of the two
//! pieces that meet there, so that neighbouring pieces neither overlap nor leave a gap. A piece is a
//! cylinder between two such planes, and a ray's way through it is exact, however oblique it is.

use super::SIDE;
use super::carm::CArm;
use super::space::{Span, Vector, add, dot, norm, overlap, scale, sub, unit};

/// A bent tube, in coordinates along a C-arm's axes from its source.
#[derive(Clone, Debug, Default)]
pub(super) struct Tube {
    /// Points of the centre line, no two neighbours of which coincide.
    pub(super) points: Vec<Vector>,
    /// Radius at each point, in millimetres.
    pub(super) radii: Vec<f64>,
    /// What a millimetre within the tube adds to a ray, at each point.
    pub(super) density: Vec<f64>,
    /// Way that each point moves while the frame is taken, in millimetres.
    pub(super) drift: Vec<Vector>,
}

/// A grid of rays over the frame, several to a pixel, and what they have crossed.
#[derive(Clone, Debug)]
pub(super) struct Rays<'a> {
    arm: &'a CArm,
    /// Rays to a pixel along a row or a column.
    over: usize,
    /// What each ray has crossed so far, row by row.
    pub(super) crossed: Vec<f64>,
}

/// Moments of the exposure at which the nine rays to a pixel are taken, from first to last: a magic
/// square, so that every row and every column of rays is taken in the middle on average.
const MOMENTS: [usize; 9] = [1, 6, 5, 8, 4, 0, 3, 2, 7];

impl<'a> Rays<'a> {
    /// `over` squared rays to each pixel, none of which has crossed anything. With three, they are
    /// spread over the exposure; otherwise all are taken in its middle.
    pub(super) fn new(arm: &'a CArm, over: usize) -> Self {
        Self {
            arm,
            over,
            crossed: vec![0.0; over * over * SIDE * SIDE],
        }
    }

    /// Adds a tube to what the rays have crossed.
    pub(super) fn cross(&mut self, tube: &Tube) {
        let points = &tube.points;
        let ways: Vec<Vector> = points.windows(2).map(|w| unit(sub(w[1], w[0]))).collect();
        // The planes at which the tube is cut, as unit normals along the flow.
        let cuts: Vec<Vector> = (0..points.len())
            .map(|i| {
                let before = ways[i.saturating_sub(1).min(ways.len() - 1)];
                let after = ways[i.min(ways.len() - 1)];
                unit(add(before, after))
            })
            .collect();
        for (i, &way) in ways.iter().enumerate() {
            let mean = |values: &[f64]| 0.5 * (values[i] + values[i + 1]);
            self.cross_piece(&Piece {
                ends: [points[i], points[i + 1]],
                cuts: [cuts[i], cuts[i + 1]],
                way,
                radius: mean(&tube.radii),
                density: mean(&tube.density),
                drift: scale(0.5, add(tube.drift[i], tube.drift[i + 1])),
            });
        }
    }

    fn cross_piece(&mut self, piece: &Piece) {
        let [start, end] = piece.ends;
        // Behind or beside the source there is no frame.
        let nearest = start[2].min(end[2]) - piece.radius;
        if nearest <= 0.0 || piece.density == 0.0 {
            return;
        }
        let side = self.over * SIDE;
        let over = self.over as f64;
        let scale_up = over * self.arm.pixels_per_millimetre(nearest);
        let pixels = piece.ends.map(|end| self.arm.pixel(end));
        // Rays go through the middles of the grid's cells.
        let range = |axis: usize| {
            let reach = scale_up * (1.1 * piece.radius + 0.5 * piece.drift[axis].abs()) + 0.5;
            let [a, b] = [over * pixels[0][axis], over * pixels[1][axis]];
            let low = (a.min(b) - reach).clamp(0.0, side as f64);
            let high = (a.max(b) + reach).clamp(0.0, side as f64);
            low as usize..high.ceil() as usize
        };
        let columns = range(0);
        for row in range(1) {
            let y = self.arm.slope((row as f64 + 0.5) / over);
            for column in columns.clone() {
                let x = self.arm.slope((column as f64 + 0.5) / over);
                let moment = if self.over == 3 {
                    MOMENTS[row % 3 * 3 + column % 3] as f64 / 9.0 - 4.0 / 9.0
                } else {
                    0.0
                };
                self.crossed[row * side + column] += piece.density * piece.chord([x, y], moment);
            }
        }
    }
}

/// The part of a tube between two points.
struct Piece {
    ends: [Vector; 2],
    /// Normals of the planes at the ends, along the flow.
    cuts: [Vector; 2],
    /// Unit vector from one end to the other.
    way: Vector,
    radius: f64,
    density: f64,
    drift: Vector,
}

impl Piece {
    /// Length of a ray's way through the piece, in millimetres. The ray goes by these slopes from
    /// the source; `moment` is in exposures, 0 in the middle.
    fn chord(&self, [x, y]: [f64; 2], moment: f64) -> f64 {
        let ray = [x, y, 1.0];
        // The ray is followed from level with the start, where it is near enough for what follows
        // to lose no digits.
        let start = add(self.ends[0], scale(moment, self.drift));
        let from = sub(scale(start[2], ray), start);
        let across = |v: Vector| sub(v, scale(dot(v, self.way), self.way));
        let (side, step) = (across(from), across(ray));
        let (a, b) = (dot(step, step), dot(side, step));
        let c = dot(side, side) - self.radius * self.radius;
        let within: Span = if a > 1e-12 {
            let root = b * b - a * c;
            if root <= 0.0 {
                return 0.0;
            }
            let root = root.sqrt();
            [(-b - root) / a, (-b + root) / a]
        } else if c < 0.0 {
            // Along the tube.
            [f64::MIN, f64::MAX]
        } else {
            return 0.0;
        };
        let long = sub(self.ends[1], self.ends[0]);
        let ahead = ahead(dot(from, self.cuts[0]), dot(ray, self.cuts[0]));
        let behind = ahead_of_end(dot(sub(from, long), self.cuts[1]), dot(ray, self.cuts[1]));
        let between = [ahead[0].max(behind[0]), ahead[1].min(behind[1])];
        overlap(within, between) * norm(ray)
    }
}

/// Where `from + t * by` is not negative, as an interval of t.
fn ahead(from: f64, by: f64) -> Span {
    if by.abs() < 1e-12 {
        if from >= 0.0 {
            [f64::MIN, f64::MAX]
        } else {
            [0.0, 0.0]
        }
    } else if by > 0.0 {
        [-from / by, f64::MAX]
    } else {
        [f64::MIN, -from / by]
    }
}

/// Where `from + t * by` is negative, as an interval of t.
fn ahead_of_end(from: f64, by: f64) -> Span {
    ahead(-from, -by)
}

#[cfg(test)]
mod tests {
    use super::super::space::cross;
    use super::*;

    fn arm() -> CArm {
        CArm::new([0.0; 3], [0.0, 0.0], 1000.0, 160.0)
    }

    fn tube(points: Vec<Vector>, radius: f64, drift: Vector) -> Tube {
        Tube {
            radii: vec![radius; points.len()],
            density: vec![1.0; points.len()],
            drift: vec![drift; points.len()],
            points,
        }
    }

    fn straight(from: Vector, to: Vector, pieces: usize) -> Vec<Vector> {
        let at = |i: usize| add(from, scale(i as f64 / pieces as f64, sub(to, from)));
        (0..=pieces).map(at).collect()
    }

    #[test]
    fn straight_tubes_are_crossed_by_the_chord() {
        let arm = arm();
        // Across the beam at the isocentre, and oblique to it in both ways.
        for (from, to) in [
            ([-100.0, 3.0, 750.0], [100.0, 3.0, 750.0]),
            ([-90.0, -70.0, 700.0], [90.0, 80.0, 830.0]),
            ([5.0, -120.0, 640.0], [-7.0, 110.0, 860.0]),
        ] {
            let radius = 3.0;
            let mut rays = Rays::new(&arm, 2);
            rays.cross(&tube(straight(from, to, 37), radius, [0.0; 3]));
            let way = unit(sub(to, from));
            let mut crossed = 0;
            for (i, &found) in rays.crossed.iter().enumerate() {
                let [x, y] = [i % 128, i / 128].map(|cell| arm.slope((cell as f64 + 0.5) / 2.0));
                // The distance between two lines, and the chord at that distance.
                let ray = unit([x, y, 1.0]);
                let normal = cross(ray, way);
                let distance = dot(from, normal).abs() / norm(normal);
                let squared = (radius * radius - distance * distance).max(0.0);
                let expected = 2.0 * squared.sqrt() / norm(normal);
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
                crossed += usize::from(expected > 0.0);
            }
            assert!(crossed > 500, "{crossed}");
        }
    }

    #[test]
    fn a_tube_along_the_beam_is_crossed_from_end_to_end() {
        let arm = arm();
        let ray = unit([arm.slope(40.5), arm.slope(20.5), 1.0]);
        let points = straight(scale(700.0, ray), scale(730.0, ray), 9);
        let mut rays = Rays::new(&arm, 1);
        rays.cross(&tube(points, 2.0, [0.0; 3]));
        assert!((rays.crossed[20 * SIDE + 40] - 30.0).abs() < 1e-6);
        assert_eq!(rays.crossed[20 * SIDE + 46], 0.0);
    }

    /// Volume that rays have crossed: each stands for its share of a sphere about the source.
    fn volume(rays: &Rays<'_>, distance: f64) -> f64 {
        let cell = distance * rays.arm.field / rays.arm.distance / (rays.over * SIDE) as f64;
        rays.crossed.iter().sum::<f64>() * cell * cell
    }

    #[test]
    fn bends_neither_overlap_nor_gap() {
        let arm = arm();
        let ring: Vec<Vector> = (0..=90)
            .map(|i| {
                let (sin, cos) = (f64::from(i) * std::f64::consts::PI / 60.0).sin_cos();
                [20.0 * cos, 20.0 * sin, 750.0]
            })
            .collect();
        let mut rays = Rays::new(&arm, 8);
        rays.cross(&tube(ring.clone(), 4.0, [0.0; 3]));
        // Three quarters of a torus, by Pappus.
        let expected = std::f64::consts::PI * 16.0 * 20.0 * 1.5 * std::f64::consts::PI;
        let found = volume(&rays, 750.0);
        assert!((found / expected - 1.0).abs() < 5e-3, "{found} {expected}");

        // Pieces that each end squarely would overlap on the inside of the bend, and be too many
        // on no side of it: the check above has to notice a piece drawn twice.
        rays.cross(&tube(ring[..3].to_vec(), 4.0, [0.0; 3]));
        assert!((volume(&rays, 750.0) / expected - 1.0).abs() > 1e-2);
    }

    #[test]
    fn motion_blurs_and_keeps_what_is_crossed() {
        let arm = arm();
        let points = straight([-3.0, -30.0, 750.0], [2.0, 30.0, 750.0], 40);
        let [still, moved] = [0.0, 6.0].map(|way| {
            let mut rays = Rays::new(&arm, 3);
            rays.cross(&tube(points.clone(), 1.5, [way, 0.0, 0.0]));
            let pixel = |column: usize| {
                (0..9)
                    .map(|i| rays.crossed[(96 + i / 3) * 192 + 3 * column + i % 3])
                    .sum::<f64>()
                    / 9.0
            };
            (
                volume(&rays, 750.0),
                (27..37).map(pixel).collect::<Vec<_>>(),
            )
        });
        let expected = std::f64::consts::PI * 1.5 * 1.5 * (25.0_f64 + 3600.0).sqrt();
        for (found, _) in [&moved, &still] {
            assert!((found / expected - 1.0).abs() < 0.02, "{found} {expected}");
        }
        let (sharp, blurred) = (&still.1, &moved.1);
        assert!(blurred[4] < 0.8 * sharp[4], "{blurred:?} {sharp:?}");
        // 6 mm are 3.2 pixels, 1.6 to either side.
        assert!(sharp[2] == 0.0 && blurred[2] > 0.1, "{blurred:?} {sharp:?}");
    }

    #[test]
    fn what_is_not_in_the_frame_is_left_out() {
        let arm = arm();
        let mut rays = Rays::new(&arm, 1);
        for (from, to) in [
            ([200.0, 0.0, 750.0], [300.0, 0.0, 750.0]),
            ([0.0, -300.0, 750.0], [0.0, -200.0, 750.0]),
            ([0.0, 0.0, -750.0], [10.0, 0.0, -750.0]),
            ([-10.0, 0.0, 1.0], [10.0, 0.0, 1.0]),
        ] {
            rays.cross(&tube(straight(from, to, 5), 2.0, [0.0; 3]));
        }
        assert!(rays.crossed.iter().all(|&crossed| crossed == 0.0));
    }
}
