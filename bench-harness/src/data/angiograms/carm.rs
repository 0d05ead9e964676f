//! The C-arm: from where a frame is taken, and where a point of the patient falls on it.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::SIDE;
use super::space::{Vector, add, around, components, cross, jitter, scale, sub};

/// Views in use for either artery, in degrees: towards the patient's left (negative: right) and
/// towards the head (negative: the feet).
///
/// Either artery is taken from all of them, so that the angle does not tell which it is.
const VIEWS: [[f64; 2]; 11] = [
    [45.0, 0.0],
    [40.0, 25.0],
    [50.0, -25.0],
    [30.0, 0.0],
    [30.0, 20.0],
    [0.0, 30.0],
    [0.0, -28.0],
    [-30.0, 0.0],
    [-30.0, 25.0],
    [-25.0, -22.0],
    [-40.0, 0.0],
];

/// A cone of rays from a point to a square detector.
#[derive(Clone, Debug)]
pub(super) struct CArm {
    /// Where the rays come from.
    pub(super) source: Vector,
    /// Unit vectors to the right and down in the frame, and from the source to the middle of the
    /// detector.
    pub(super) axes: [Vector; 3],
    /// Distance from the source to the detector, in millimetres.
    pub(super) distance: f64,
    /// Side of the square that the frame shows, on the detector, in millimetres.
    pub(super) field: f64,
}

/// Distance from the source to the isocentre about which a C-arm turns, in millimetres.
const SOURCE_TO_ISOCENTRE: f64 = 750.0;

impl CArm {
    /// A C-arm whose isocentre is at a point of the patient, with the detector `left` degrees to
    /// the patient's left of straight ahead and `up` degrees to the head.
    ///
    /// Frames are seen as if one faced the patient: the patient's left is on the right.
    pub(super) fn new(isocentre: Vector, [left, up]: [f64; 2], distance: f64, field: f64) -> Self {
        let (sin_left, cos_left) = libm::sincos(left.to_radians());
        let (sin_up, cos_up) = libm::sincos(up.to_radians());
        let right = [cos_left, sin_left, 0.0];
        let beam = [cos_up * sin_left, -cos_up * cos_left, sin_up];
        Self {
            source: sub(isocentre, scale(SOURCE_TO_ISOCENTRE, beam)),
            axes: [right, cross(right, beam), beam],
            distance,
            field,
        }
    }

    /// A view as operators choose them, of what is about this point of the patient.
    pub(super) fn aimed(rng: &mut ChaCha8Rng, point: Vector) -> Self {
        let view = VIEWS[rng.random_range(0..VIEWS.len())].map(|angle| around(rng, angle, 8.0));
        let distance = rng.random_range(1000.0..1100.0);
        let field = rng.random_range(130.0..195.0);
        let isocentre = add(point, jitter(rng, 10.0));
        Self::new(isocentre, view, distance, field)
    }

    /// Coordinates of a point along the C-arm's axes, from the source.
    pub(super) fn see(&self, point: Vector) -> Vector {
        components(&self.axes, sub(point, self.source))
    }

    /// Column and row on which a point in front of the source falls, given by its coordinates
    /// along the C-arm's axes; in pixels from the upper left corner of the frame.
    pub(super) fn pixel(&self, seen: Vector) -> [f64; 2] {
        let magnified = self.distance / self.field / seen[2];
        [0, 1].map(|i| SIDE as f64 * (0.5 + magnified * seen[i]))
    }

    /// Pixels that a millimetre takes up at this distance from the source.
    pub(super) fn pixels_per_millimetre(&self, distance: f64) -> f64 {
        SIDE as f64 * self.distance / self.field / distance
    }

    /// The ray to a place in the frame, in pixels: to the side, or down, per millimetre ahead.
    pub(super) fn slope(&self, pixel: f64) -> f64 {
        (pixel / SIDE as f64 - 0.5) * self.field / self.distance
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::norm;
    use super::*;
    use crate::data::samples::stream;

    fn near(found: [f64; 2], expected: [f64; 2]) {
        for i in 0..2 {
            assert!(
                (found[i] - expected[i]).abs() < 1e-9,
                "{found:?} {expected:?}"
            );
        }
    }

    #[test]
    fn points_are_magnified_by_their_distance() {
        let isocentre = [5.0, -3.0, 20.0];
        let ahead = CArm::new(isocentre, [0.0, 0.0], 1000.0, 160.0);
        let at = |x: f64, y: f64, z: f64| {
            let point = add(isocentre, [x, y, z]);
            ahead.pixel(ahead.see(point))
        };
        near(at(0.0, 0.0, 0.0), [32.0, 32.0]);
        // 12 mm at the isocentre are 16 on the detector, a tenth of the field; the patient's left
        // is on the right, the head above.
        near(at(12.0, 0.0, 0.0), [38.4, 32.0]);
        near(at(0.0, 0.0, 12.0), [32.0, 25.6]);
        // Nearer to the detector, in front of the chest, points are magnified less.
        near(at(17.0, -100.0, 0.0), [32.0 + 6.4 * 1.25, 32.0]);
        near(at(-13.0, 100.0, 0.0), [32.0 - 6.4 * 1.25, 32.0]);
        assert!((ahead.pixels_per_millimetre(750.0) - 6.4 / 12.0).abs() < 1e-12);
    }

    #[test]
    fn views_are_named_by_where_the_detector_is() {
        let seen = |view, point| {
            let arm = CArm::new([0.0; 3], view, 1000.0, 160.0);
            arm.pixel(arm.see(point))
        };
        let back = [0.0, 60.0, 0.0];
        // The spine goes to the right of the frame in views from the left, and the other way round.
        assert!(seen([40.0, 0.0], back)[0] > 40.0);
        assert!(seen([-40.0, 0.0], back)[0] < 24.0);
        // From above, what lies behind comes up.
        assert!(seen([0.0, 30.0], back)[1] < 24.0);
        assert!(seen([0.0, -30.0], back)[1] > 40.0);
        let arm = CArm::new([0.0; 3], [90.0, 0.0], 1000.0, 160.0);
        assert!(norm(sub(arm.source, [-750.0, 0.0, 0.0])) < 1e-9);
    }

    #[test]
    fn rays_go_where_points_fall() {
        let arm = CArm::new([1.0, 2.0, 3.0], [33.0, -21.0], 1060.0, 150.0);
        let seen = arm.see([20.0, -14.0, 9.0]);
        let pixel = arm.pixel(seen);
        let slopes = pixel.map(|pixel| arm.slope(pixel));
        near(slopes, [seen[0] / seen[2], seen[1] / seen[2]]);
    }

    #[test]
    fn what_is_aimed_at_is_near_the_middle() {
        for number in 0..50 {
            let point = [40.0, -15.0, -2.5];
            let arm = CArm::aimed(&mut stream(1, number), point);
            let seen = arm.see(point);
            // At most 3.5 deviations of 10 mm along each axis, magnified onto the smallest field.
            let most = 35.0 * 3.0_f64.sqrt();
            assert!((seen[2] - SOURCE_TO_ISOCENTRE).abs() < most);
            for pixel in arm.pixel(seen) {
                assert!((pixel - 32.0).abs() < 64.0 * most * 1.6 / 130.0, "{pixel}");
            }
        }
    }
}
