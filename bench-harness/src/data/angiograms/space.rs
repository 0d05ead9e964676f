//! Points and curves in space, and random numbers around a mean.
//!
//! Coordinates are in millimetres and a patient's own: x to the patient's left, y to the back, z to
//! the head, the origin at the middle of the chest in the plane of the heart's valves.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::super::samples;

/// A point or a direction.
pub(super) type Vector = [f64; 3];

/// A closed interval along a ray, low end first.
pub(super) type Span = [f64; 2];

pub(super) fn add(a: Vector, b: Vector) -> Vector {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(super) fn sub(a: Vector, b: Vector) -> Vector {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn scale(factor: f64, a: Vector) -> Vector {
    [factor * a[0], factor * a[1], factor * a[2]]
}

pub(super) fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: Vector, b: Vector) -> Vector {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

pub(super) fn norm(a: Vector) -> f64 {
    dot(a, a).sqrt()
}

/// The direction of a vector that is not 0.
pub(super) fn unit(a: Vector) -> Vector {
    scale(1.0 / norm(a), a)
}

/// The vector with these components along three axes.
pub(super) fn combine(axes: &[Vector; 3], by: Vector) -> Vector {
    add(
        scale(by[0], axes[0]),
        add(scale(by[1], axes[1]), scale(by[2], axes[2])),
    )
}

/// The components of a vector along three axes that are unit vectors at right angles.
pub(super) fn components(axes: &[Vector; 3], of: Vector) -> Vector {
    axes.map(|axis| dot(axis, of))
}

/// The axes turned about each of themselves in turn, by angles in radians.
pub(super) fn turned(axes: [Vector; 3], angles: Vector) -> [Vector; 3] {
    let mut axes = axes;
    for (nth, angle) in angles.into_iter().enumerate() {
        let (sin, cos) = libm::sincos(angle);
        let (b, c) = (axes[(nth + 1) % 3], axes[(nth + 2) % 3]);
        axes[(nth + 1) % 3] = add(scale(cos, b), scale(sin, c));
        axes[(nth + 2) % 3] = sub(scale(cos, c), scale(sin, b));
    }
    axes
}

/// Length that two intervals share.
pub(super) fn overlap(a: Span, b: Span) -> f64 {
    (a[1].min(b[1]) - a[0].max(b[0])).max(0.0)
}

/// A smooth curve through two knots or more, no two neighbours of which coincide, as points about
/// `step` apart.
///
/// Between knots runs a cubic whose slope at a knot is that of the parabola through the knot and
/// its neighbours, over their distances.
pub(super) fn curve(knots: &[Vector], step: f64) -> Vec<Vector> {
    let last = knots.len() - 1;
    let gaps: Vec<f64> = knots.windows(2).map(|w| norm(sub(w[1], w[0]))).collect();
    let rise = |i: usize| scale(1.0 / gaps[i], sub(knots[i + 1], knots[i]));
    let slope = |i: usize| {
        if i == 0 {
            rise(0)
        } else if i == last {
            rise(last - 1)
        } else {
            let both = gaps[i - 1] + gaps[i];
            add(
                scale(gaps[i] / both, rise(i - 1)),
                scale(gaps[i - 1] / both, rise(i)),
            )
        }
    };
    let mut points = vec![knots[0]];
    for i in 0..last {
        let pieces = (gaps[i] / step).ceil();
        let (from, to) = (scale(gaps[i], slope(i)), scale(gaps[i], slope(i + 1)));
        let chord = sub(knots[i + 1], knots[i]);
        for piece in 1..=pieces as usize {
            let t = piece as f64 / pieces;
            // Hermite's form, with the chord taken out of the two slopes.
            let bend = add(
                scale(t * (1.0 - t) * (1.0 - t), sub(from, chord)),
                scale(t * t * (t - 1.0), sub(to, chord)),
            );
            points.push(add(knots[i], add(scale(t, chord), bend)));
        }
    }
    points
}

/// Distance of each point from the first one along the curve, in millimetres.
pub(super) fn lengths(points: &[Vector]) -> Vec<f64> {
    let mut passed = 0.0;
    let mut lengths = vec![0.0];
    for pair in points.windows(2) {
        passed += norm(sub(pair[1], pair[0]));
        lengths.push(passed);
    }
    lengths
}

/// A random number of this mean and standard deviation, at most 3.5 deviations from the mean.
pub(super) fn around(rng: &mut ChaCha8Rng, mean: f64, deviation: f64) -> f64 {
    mean + deviation * f64::from(samples::bell(rng))
}

/// A random vector around 0, each component of this standard deviation.
pub(super) fn jitter(rng: &mut ChaCha8Rng, deviation: f64) -> Vector {
    [(); 3].map(|()| around(rng, 0.0, deviation))
}

/// Whether something of this probability happens.
pub(super) fn chance(rng: &mut ChaCha8Rng, probability: f64) -> bool {
    rng.random_bool(probability)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_pass_through_their_knots_in_even_steps() {
        let knots = [
            [0.0, 0.0, 0.0],
            [10.0, 0.0, 2.0],
            [12.0, 6.0, 0.0],
            [30.0, 8.0, -5.0],
        ];
        let points = curve(&knots, 1.5);
        assert_eq!((points[0], points[points.len() - 1]), (knots[0], knots[3]));
        for knot in knots {
            let nearest = points.iter().map(|&p| norm(sub(p, knot)));
            assert!(nearest.fold(f64::MAX, f64::min) < 1e-12);
        }
        for pair in points.windows(2) {
            let step = norm(sub(pair[1], pair[0]));
            assert!((0.7..2.5).contains(&step), "{step}");
        }
    }

    #[test]
    fn curves_follow_a_circle_and_a_straight_line() {
        let on_circle: Vec<Vector> = (0..=12)
            .map(|i| {
                let (sin, cos) = (f64::from(i) * 0.25).sin_cos();
                [40.0 * cos, 40.0 * sin, 7.0]
            })
            .collect();
        for point in curve(&on_circle, 1.0) {
            let radius = (point[0] * point[0] + point[1] * point[1]).sqrt();
            assert!((radius - 40.0).abs() < 0.2, "{radius}");
            assert!((point[2] - 7.0).abs() < 1e-12);
        }
        let line = curve(&[[0.0; 3], [3.0, 0.0, 4.0]], 1.0);
        let expected: Vec<f64> = (0..=5).map(f64::from).collect();
        for (length, expected) in lengths(&line).iter().zip(&expected) {
            assert!((length - expected).abs() < 1e-12);
        }
        assert_eq!(line.len(), expected.len());
    }

    #[test]
    fn turned_axes_stay_at_right_angles() {
        let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let quarter = std::f64::consts::FRAC_PI_2;
        // About x, y goes to z and z to -y.
        let once = turned(axes, [quarter, 0.0, 0.0]);
        for (axis, expected) in
            once.iter()
                .zip([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
        {
            assert!(norm(sub(*axis, expected)) < 1e-12);
        }
        let turned = turned(axes, [0.3, -0.7, 1.9]);
        let [x, y, z] = turned;
        assert!(norm(sub(cross(x, y), z)) < 1e-12 && (norm(x) - 1.0).abs() < 1e-12);
        let v = [3.0, -1.0, 0.5];
        assert!(norm(sub(combine(&turned, components(&turned, v)), v)) < 1e-12);
    }

    #[test]
    fn intervals_share_what_lies_in_both() {
        for (a, b, expected) in [
            ([0.0, 4.0], [1.0, 2.0], 1.0),
            ([0.0, 4.0], [3.0, 9.0], 1.0),
            ([0.0, 4.0], [4.0, 9.0], 0.0),
            ([0.0, 4.0], [5.0, 9.0], 0.0),
        ] {
            assert_eq!(overlap(a, b), expected);
            assert_eq!(overlap(b, a), expected);
        }
    }
}
