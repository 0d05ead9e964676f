//! The catheter through which contrast is injected, and the aorta through which it comes.

use rand_chacha::ChaCha8Rng;

use super::arteries;
use super::heart::Heart;
use super::space::{self, Vector, add, chance, jitter, scale, sub, unit};

/// Centre line of a catheter in the ostium of either artery, tip last.
///
/// It comes round the arch, from below along the spine or from the right arm, leans on the aorta's
/// far wall and points into the ostium, as the curves named after Judkins do.
pub(super) fn course(rng: &mut ChaCha8Rng, heart: &Heart, right: bool) -> Vec<Vector> {
    let root = heart.root();
    let ostium = arteries::ostium(heart, right);
    let out = unit(sub(ostium, root));
    let up = [0.0, 0.0, 1.0];
    let inside = |lean: f64, height: f64| add(root, add(scale(lean, out), scale(height, up)));
    let arch = add(root, [-2.0, 14.0, 88.0]);
    let mut knots = if chance(rng, 0.5) {
        // Up the descending aorta, to the left of the spine.
        vec![
            add(root, [20.0, 62.0, -230.0]),
            add(root, [18.0, 64.0, -120.0]),
            add(root, [16.0, 64.0, -20.0]),
            add(root, [16.0, 58.0, 50.0]),
            add(root, [10.0, 36.0, 84.0]),
        ]
    } else {
        vec![
            add(root, [-110.0, 10.0, 120.0]),
            add(root, [-50.0, 16.0, 112.0]),
        ]
    };
    knots.extend([arch, inside(-4.0, 55.0), inside(-10.0, 26.0)]);
    // The left curve dips below the ostium before its tip comes up; the right one comes from above.
    knots.push(inside(-7.0, if right { 9.0 } else { 1.0 }));
    let (middle, end) = (knots.len() - 5, knots.len());
    for knot in &mut knots[middle..end] {
        *knot = add(*knot, jitter(rng, 2.0));
    }
    knots.push(sub(ostium, scale(5.0, out)));
    knots.push(add(ostium, scale(2.0, out)));
    space::curve(&knots, 3.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::samples::stream;
    use space::{dot, norm};

    #[test]
    fn the_tip_points_into_the_ostium() {
        for number in 0..20 {
            let mut rng = stream(3, number);
            let heart = Heart::new(&mut rng);
            for right in [false, true] {
                let course = course(&mut rng, &heart, right);
                let ostium = arteries::ostium(&heart, right);
                let tip = course[course.len() - 1];
                assert!((norm(sub(tip, ostium)) - 2.0).abs() < 1e-9);
                let along = unit(sub(tip, course[course.len() - 2]));
                assert!(dot(along, unit(sub(ostium, heart.root()))) > 0.8);
                assert!(
                    course
                        .windows(2)
                        .all(|pair| norm(sub(pair[1], pair[0])) > 0.2)
                );
            }
        }
    }
}
