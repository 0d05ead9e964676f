//! The shapes of the digits: for each class several ways of writing it, as pen strokes.
//!
//! A stroke is a row of knots that the pen passes through, written `x,y` in hundredths of the
//! digit's height with x to the right and y downwards; `!` after a knot makes it a corner, and `|`
//! starts a new stroke. Between knots the pen follows cubic Bezier curves that join smoothly,
//! except at corners. Everything that makes two digits of one style differ is left to the caller,
//! who moves the knots before the curves are laid through them.

use super::CLASSES;

/// A point or a vector, x to the right and y downwards.
pub(super) type Point = [f32; 2];

/// A point that the pen passes through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Knot {
    /// Position, in units of the digit's height.
    pub(super) at: Point,
    /// Whether the pen may turn sharply here.
    pub(super) corner: bool,
}

/// One way of writing a digit.
#[derive(Clone, Debug)]
pub(super) struct Style {
    /// How often this style is used, relative to the others of its digit.
    pub(super) weight: f32,
    /// The strokes, each of two knots or more.
    pub(super) strokes: Vec<Vec<Knot>>,
}

/// Weight and strokes of every style, by digit.
const SHAPES: [&[(f32, &str)]; CLASSES] = [
    // 0: an oval begun at the top, begun at the right, left open, with a curl, narrow, oblique.
    &[
        (3.0, "40,1 14,13 1,50 13,86 37,99 61,84 70,48 58,12 36,1"),
        (2.0, "54,12 34,0 10,20 2,55 14,90 36,98 57,76 61,40 50,10"),
        (1.0, "40,6 18,8 3,38 6,78 28,99 52,86 62,50 56,16 44,4"),
        (
            1.0,
            "44,12 22,2 4,34 4,72 24,98 50,88 62,54 56,16 34,2 26,16 46,18 66,6",
        ),
        (1.5, "26,2 8,22 4,60 14,94 28,98 40,78 42,40 34,8 22,2"),
        (1.0, "58,6 32,12 8,44 4,78 20,98 44,82 62,48 68,16 52,3"),
    ],
    // 1: a bare stroke, bowed strokes, with a serif, with serif and base, with a base only.
    &[
        (6.0, "30,0 30,100"),
        (1.5, "30,0 28,34 30,70 34,100"),
        (1.0, "32,0 34,40 30,70 26,100"),
        (1.2, "19,13 31,0! 31,50 30,100"),
        (0.5, "12,22 32,1! 32,50 32,97 | 8,98 32,97 56,98"),
        (0.2, "30,0 30,50 30,97 | 10,99 30,97 52,98"),
    ],
    // 2: with a corner at the foot, with a loop there, upright with a flat foot, like a Z, wide.
    &[
        (2.5, "5,22 18,4 38,2 52,18 46,42 26,70 3,96! 32,94 64,95"),
        (
            2.0,
            "6,20 24,2 46,6 52,26 40,58 20,86 5,95 2,84 14,78 34,90 52,98 70,88",
        ),
        (
            1.0,
            "8,26 12,6 32,0 50,12 50,34 32,62 8,88 16,94 44,92 62,98",
        ),
        (0.7, "4,6 28,4 52,6 44,30 22,62 2,96! 34,98 62,94"),
        (
            1.0,
            "2,30 16,6 44,0 60,20 48,48 18,74 2,90 14,98 44,88 74,92",
        ),
        (
            0.8,
            "10,14 30,0 48,12 46,44 34,74 14,96 4,88 18,82 36,94 58,96",
        ),
    ],
    // 3: with a corner between the bowls, with a loop there, smooth, flat-topped, big lower bowl.
    &[
        (
            2.5,
            "6,12 26,0 48,8 46,30 18,46! 44,50 58,70 46,92 22,100 2,90",
        ),
        (
            1.5,
            "8,10 28,1 48,10 44,32 24,46 18,42 26,42 48,52 56,72 42,94 20,99 2,88",
        ),
        (
            1.2,
            "6,14 28,0 50,12 44,36 30,46 46,54 56,74 40,96 14,99 1,88",
        ),
        (
            0.8,
            "6,4 30,3 52,4! 38,22 22,40! 44,46 56,68 44,92 22,99 4,92",
        ),
        (
            1.0,
            "12,8 30,0 44,10 40,28 20,38! 46,42 62,66 50,92 24,100 0,88",
        ),
    ],
    // 4: open at the top, closed at the top, open with a round base, drawn without lifting.
    &[
        (2.5, "10,4 6,28 4,50! 30,52 62,46 | 52,0 49,46 46,100"),
        (1.2, "44,0 22,34 2,62! 34,62 66,59 | 46,2 45,50 44,100"),
        (2.0, "12,2 4,26 10,46 30,48 50,34 | 56,0 52,34 46,68 42,100"),
        (1.2, "8,6 4,30 14,46 36,44 52,8! 48,50 44,100"),
        (0.7, "48,2 28,22 6,48 14,54 38,52 58,48 | 52,4 48,40 44,98"),
        (1.0, "20,4 10,30 2,56! 34,54 70,50 | 44,24 40,60 38,100"),
    ],
    // 5: the bar drawn last, without lifting, flowing like an S, with a detached bar, a low belly.
    &[
        (
            2.0,
            "16,4 12,24 10,42! 32,36 54,50 52,80 30,98 2,90 | 15,4 36,4 62,1",
        ),
        (
            2.0,
            "60,2 38,4 18,5! 14,26 10,44! 34,40 52,56 50,82 28,99 2,92",
        ),
        (1.5, "62,4 36,2 18,14 16,36 36,48 50,66 42,90 20,99 0,90"),
        (
            1.0,
            "18,14 14,28 12,46! 36,44 52,62 44,88 20,100 0,94 | 22,6 42,5 66,0",
        ),
        (0.8, "58,0 34,3 20,6! 8,50! 28,42 46,54 46,78 26,96 4,88"),
    ],
    // 6: a curved back, a straight back, a large bowl, a small bowl that curls inward.
    &[
        (2.5, "46,0 22,22 6,58 10,88 30,99 50,84 48,62 30,54 10,72"),
        (1.5, "40,0 22,30 8,66 12,92 32,98 48,82 42,64 24,64 10,82"),
        (1.0, "34,0 12,26 2,60 10,92 34,100 58,82 54,54 30,44 6,64"),
        (
            1.0,
            "52,4 28,10 8,44 6,80 24,98 44,90 46,70 32,62 18,72 20,82",
        ),
        (1.0, "26,0 12,34 6,72 18,98 40,94 48,74 36,60 16,70"),
    ],
    // 7: plain, with a bar, with a drop at the left, with a curved top, rounded.
    &[
        (2.5, "2,8 30,6 58,4! 44,38 32,70 26,100"),
        (1.5, "4,6 32,6 60,4! 46,36 34,68 24,100 | 16,54 36,50 58,48"),
        (1.0, "2,24 6,6! 34,6 58,4! 42,42 30,100"),
        (1.2, "0,16 16,4 36,12 60,2! 46,40 36,70 34,100"),
        (1.0, "4,12 26,2 48,6 52,22 44,50 36,76 30,100"),
        (
            0.5,
            "2,16 20,4 38,10 58,4! 40,44 24,100 | 12,56 32,48 54,52",
        ),
    ],
    // 8: begun at the upper right, two separate loops, begun in the middle, left open at the top.
    &[
        (
            2.5,
            "52,10 32,0 12,12 18,36 40,54 54,76 36,98 10,88 14,64 36,44 52,22 46,6",
        ),
        (
            1.0,
            "32,1 14,12 14,34 32,46 48,32 46,10 30,1 | 32,46 10,62 8,86 30,99 52,86 50,62 30,46",
        ),
        (
            1.2,
            "32,46 14,30 20,6 40,2 50,20 34,46 12,70 16,94 38,98 52,78 36,52 24,40",
        ),
        (
            1.5,
            "58,12 38,0 16,10 16,32 38,52 46,78 28,99 8,88 14,66 40,42 64,20",
        ),
        (
            0.8,
            "44,4 22,4 14,22 30,44 50,66 44,92 22,98 10,80 26,54 46,32 50,14 40,2",
        ),
    ],
    // 9: a straight tail, a curved tail, stroke by stroke, a tail swung left, without a corner.
    &[
        (2.5, "50,14 30,1 8,18 8,42 28,50 48,34 52,10! 48,56 44,100"),
        (
            1.2,
            "52,16 32,0 10,16 10,40 30,48 50,32 54,14! 54,54 44,88 22,99 6,90",
        ),
        (1.0, "48,8 22,2 4,24 14,46 38,42 50,12 | 52,4 48,50 46,100"),
        (1.0, "46,20 30,2 10,14 8,36 26,46 46,30 48,16 46,54 36,98"),
        (1.0, "54,8 30,0 8,14 10,36 34,42 54,24 52,54 40,82 18,99"),
    ],
];

/// The styles of every digit.
pub(super) fn styles() -> [Vec<Style>; CLASSES] {
    SHAPES.map(|shapes| {
        let style = |&(weight, text): &(f32, &str)| Style {
            weight,
            strokes: parse(text),
        };
        shapes.iter().map(style).collect()
    })
}

/// Reads the strokes of one style in the notation described at the top.
fn parse(text: &str) -> Vec<Vec<Knot>> {
    let knot = |word: &str| {
        let (position, corner) = match word.strip_suffix('!') {
            Some(position) => (position, true),
            None => (word, false),
        };
        let (x, y) = position.split_once(',').expect("a knot is written x,y");
        let hundredths =
            |number: &str| number.parse::<f32>().expect("a coordinate is a number") / 100.0;
        Knot {
            at: [hundredths(x), hundredths(y)],
            corner,
        }
    };
    text.split('|')
        .map(|stroke| stroke.split_whitespace().map(knot).collect())
        .collect()
}

/// Length of a control arm relative to the distance between its knots. A quarter of a circle
/// through two knots would need 0.39; a pen flattens its curves a little.
const ARM: f32 = 0.37;

/// Lays a curve through the knots of a stroke and returns points along it, close enough together
/// for straight lines between them to pass for the curve at 28 x 28 pixels.
pub(super) fn trace(knots: &[Knot]) -> Vec<Point> {
    // Direction of the pen at a knot; none at a corner and at the ends, where it follows from the
    // other end of each curve.
    let direction = |i: usize| -> Option<Point> {
        if i == 0 || i + 1 == knots.len() || knots[i].corner {
            return None;
        }
        let along = sub(knots[i + 1].at, knots[i - 1].at);
        let length = norm(along);
        (length > 0.0).then(|| [along[0] / length, along[1] / length])
    };
    let mut points: Vec<Point> = knots.first().map(|knot| knot.at).into_iter().collect();
    for i in 1..knots.len() {
        let (start, end) = (knots[i - 1].at, knots[i].at);
        let length = norm(sub(end, start));
        let reach = ARM * length;
        let (leave, arrive) = (direction(i - 1), direction(i));
        let after = leave.map(|d| [start[0] + reach * d[0], start[1] + reach * d[1]]);
        let before = arrive.map(|d| [end[0] - reach * d[0], end[1] - reach * d[1]]);
        // Where one end is free the curve leaves it towards the other end's control point, which
        // bends it evenly; where both are free this is a straight line.
        let first = after.unwrap_or_else(|| middle(start, before.unwrap_or(end)));
        let second = before.unwrap_or_else(|| middle(end, after.unwrap_or(start)));
        let steps = (length * STEPS_PER_HEIGHT).ceil().clamp(2.0, 12.0) as usize;
        for step in 1..=steps {
            let t = step as f32 / steps as f32;
            points.push(bezier([start, first, second, end], t));
        }
    }
    points
}

/// Straight pieces per curve as long as the digit is high: each about a pixel and a half.
const STEPS_PER_HEIGHT: f32 = 14.0;

/// The point at `t` in `0..=1` of the cubic Bezier curve with these control points.
fn bezier(controls: [Point; 4], t: f32) -> Point {
    let s = 1.0 - t;
    let shares = [s * s * s, 3.0 * s * s * t, 3.0 * s * t * t, t * t * t];
    let mut point = [0.0; 2];
    for (control, share) in controls.iter().zip(shares) {
        point[0] += share * control[0];
        point[1] += share * control[1];
    }
    point
}

/// The vector from `b` to `a`.
pub(super) fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

/// Length of a vector.
pub(super) fn norm(v: Point) -> f32 {
    (v[0] * v[0] + v[1] * v[1]).sqrt()
}

fn middle(a: Point, b: Point) -> Point {
    [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_parses_into_strokes_within_the_box() {
        for (digit, styles) in styles().iter().enumerate() {
            assert!(styles.len() >= 4, "digit {digit} has several styles");
            for style in styles {
                assert!(style.weight > 0.0);
                for stroke in &style.strokes {
                    assert!(stroke.len() >= 2, "digit {digit} has a stroke of one knot");
                    for knot in stroke {
                        assert!((0.0..=0.8).contains(&knot.at[0]), "digit {digit}: {knot:?}");
                        assert!((0.0..=1.0).contains(&knot.at[1]), "digit {digit}: {knot:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn notation() {
        let knot = |x, y, corner| Knot { at: [x, y], corner };
        assert_eq!(
            parse("0,50! 25,100 | 10,20 30,40"),
            [
                vec![knot(0.0, 0.5, true), knot(0.25, 1.0, false)],
                vec![knot(0.1, 0.2, false), knot(0.3, 0.4, false)],
            ]
        );
    }

    #[test]
    fn two_knots_make_a_straight_line() {
        let line = trace(&parse("0,0 30,100")[0]);
        assert!(line.len() > 10);
        for [x, y] in line {
            assert!((x - 0.3 * y).abs() < 1e-6);
        }
    }

    #[test]
    fn curves_pass_through_their_knots_and_turn_sharply_only_at_corners() {
        let sharpest = |text: &str| {
            let knots = &parse(text)[0];
            let points = trace(knots);
            for knot in knots {
                assert!(points.iter().any(|&point| norm(sub(point, knot.at)) < 1e-6));
            }
            let turn = |three: &[Point]| {
                let (a, b) = (sub(three[1], three[0]), sub(three[2], three[1]));
                ((a[0] * b[0] + a[1] * b[1]) / (norm(a) * norm(b)))
                    .clamp(-1.0, 1.0)
                    .acos()
            };
            points.windows(3).map(turn).fold(0.0, f32::max)
        };
        assert!(sharpest("0,0 50,0 50,50") < 0.8);
        assert!((sharpest("0,0 50,0! 50,50") - std::f32::consts::FRAC_PI_2).abs() < 1e-3);
    }
}
