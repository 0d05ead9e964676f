// Polynomials over an algebra of two slots and two coordinates, lowest coefficient first: each has
// its two slots. The guard takes those of all coefficients together.

const N = D;
const GUARDED = 2u;
alias Coordinates = array<f32, D>;
alias Slots = array<f32, N>;

// Coordinate `p` of one, which is a polynomial without higher coefficients.
fn one(p: u32) -> f32 {
    return select(0.0, algebra[4u + min(p, 1u)], p < 2u);
}

// The slots of a coefficient.
fn split_pair(c: vec2<f32>) -> vec2<f32> {
    let mean = fma(algebra[1], c.y, algebra[0] * c.x);
    let half = fma(algebra[3], c.y, algebra[2] * c.x);
    return vec2(mean + half, mean - half);
}

fn join_pair(s: vec2<f32>) -> vec2<f32> {
    let mean = 0.5 * (s.x + s.y);
    let half = 0.5 * (s.x - s.y);
    return vec2(
        fma(algebra[6], half, algebra[4] * mean),
        fma(algebra[7], half, algebra[5] * mean),
    );
}

fn split(c: Coordinates) -> Slots {
    var coordinates = c;
    var slots: Slots;
    for (var p = 0u; p < D; p += 2u) {
        let pair = split_pair(vec2(coordinates[p], coordinates[p + 1u]));
        slots[p] = pair.x;
        slots[p + 1u] = pair.y;
    }
    return slots;
}

fn join(s: Slots) -> Coordinates {
    var slots = s;
    var coordinates: Coordinates;
    for (var p = 0u; p < D; p += 2u) {
        let pair = join_pair(vec2(slots[p], slots[p + 1u]));
        coordinates[p] = pair.x;
        coordinates[p + 1u] = pair.y;
    }
    return coordinates;
}
