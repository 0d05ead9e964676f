//! The heart's outside: half an ellipsoid below the groove between atria and ventricles, on which
//! the coronary arteries run.

use rand_chacha::ChaCha8Rng;

use super::space::{Vector, add, around, combine, components, cross, scale, sub, turned, unit};

/// Size, place and orientation of one heart.
#[derive(Clone, Debug)]
pub(super) struct Heart {
    /// Middle of the plane of the atrioventricular groove.
    pub(super) base: Vector,
    /// Unit vectors from the base to the apex, to the anterior interventricular groove, and to the
    /// left ventricle's side wall.
    pub(super) axes: [Vector; 3],
    /// Semi-axes in the direction of `axes`, in millimetres.
    pub(super) semi: Vector,
}

impl Heart {
    /// A heart as hearts are: the apex points to the left, forwards and downwards, about equally,
    /// and the septum faces right and forwards.
    pub(super) fn new(rng: &mut ChaCha8Rng) -> Self {
        let apex = unit([0.62, -0.56, -0.55]);
        let up = [0.0, 0.0, 1.0];
        let anterior = unit(sub(up, scale(apex[2], apex)));
        let left = cross(anterior, apex);
        let angles = [(); 3].map(|()| around(rng, 0.0, 0.13));
        let size = around(rng, 1.0, 0.07);
        Self {
            base: [
                around(rng, 8.0, 5.0),
                around(rng, 0.0, 5.0),
                around(rng, 0.0, 4.0),
            ],
            axes: turned([apex, anterior, left], angles),
            semi: [
                size * around(rng, 86.0, 4.0),
                size * around(rng, 36.0, 2.0),
                size * around(rng, 42.0, 2.0),
            ],
        }
    }

    /// The point with these coordinates along the axes, in millimetres from the base.
    pub(super) fn at(&self, local: Vector) -> Vector {
        add(self.base, combine(&self.axes, local))
    }

    /// A point `lift` millimetres above the surface.
    ///
    /// `round` is in degrees about the long axis: 0 is the anterior interventricular groove, 90 the
    /// side of the left ventricle, 180 the posterior groove, -90 the side of the right ventricle.
    /// `down` is 0 in the atrioventricular groove and 1 at the apex; below 0 it lies on the atria,
    /// and past 1 it comes up again on the far side.
    pub(super) fn surface(&self, [round, down, lift]: Vector) -> Vector {
        let (sin, cos) = libm::sincos(round.to_radians());
        let (depth, width) = libm::sincos(std::f64::consts::FRAC_PI_2 * down);
        let [long, anterior, left] = self.semi;
        let point = self.at([long * depth, anterior * width * cos, left * width * sin]);
        add(point, scale(lift, self.outwards(point)))
    }

    /// Unit vector that leads out of the heart from a point on its surface.
    pub(super) fn outwards(&self, point: Vector) -> Vector {
        let local = components(&self.axes, sub(point, self.base));
        let [a, b, c] = [0, 1, 2].map(|i| local[i] / (self.semi[i] * self.semi[i]));
        unit(combine(&self.axes, [a, b, c]))
    }

    /// Middle of what the arteries span, between their ostia and the apex.
    pub(super) fn middle(&self) -> Vector {
        self.at([0.25 * self.semi[0], 0.1 * self.semi[1], 0.0])
    }

    /// Middle of the aortic root, level with the ostia of the coronary arteries.
    pub(super) fn root(&self) -> Vector {
        self.at([-10.0, 0.45 * self.semi[1], 0.0])
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::{cross, dot, norm};
    use super::*;
    use crate::data::samples::stream;

    #[test]
    fn the_surface_is_an_ellipsoid_about_the_base() {
        let heart = Heart::new(&mut stream(1, 0));
        let apex = heart.surface([77.0, 1.0, 0.0]);
        assert!(norm(sub(apex, heart.at([heart.semi[0], 0.0, 0.0]))) < 1e-9);
        let side = heart.surface([90.0, 0.0, 3.0]);
        assert!(norm(sub(side, heart.at([0.0, 0.0, heart.semi[2] + 3.0]))) < 1e-9);
        for round in [-170.0, -20.0, 35.0, 140.0] {
            for down in [-0.3, 0.0, 0.4, 0.9, 1.1] {
                let point = heart.surface([round, down, 0.0]);
                let local = components(&heart.axes, sub(point, heart.base));
                let [a, b, c] = [0, 1, 2].map(|i| local[i] / heart.semi[i]);
                assert!((a * a + b * b + c * c - 1.0).abs() < 1e-9);
                // The way out is at right angles to steps along the surface.
                let out = heart.outwards(point);
                for step in [[1e-4, 0.0, 0.0], [0.0, 1e-6, 0.0]] {
                    let next = heart.surface(add([round, down, 0.0], step));
                    assert!(dot(unit(sub(next, point)), out).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn hearts_lie_as_hearts_do() {
        for number in 0..100 {
            let heart = Heart::new(&mut stream(2, number));
            let [apex, anterior, left] = heart.axes;
            assert!(apex[0] > 0.0 && apex[1] < 0.0 && apex[2] < 0.0, "{apex:?}");
            // The left ventricle is to the left and behind, the anterior groove above.
            assert!(left[0] + left[1] > 0.5 && anterior[2] > 0.3);
            assert!(norm(sub(cross(anterior, apex), left)) < 1e-9);
        }
    }
}
