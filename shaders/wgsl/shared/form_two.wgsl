// Two slots: `mean . c` plus and minus `half . c`, and back `mean one + half span`. Where the slots
// agree, the result is a multiple of one, exactly.

const N = 2u;
// Slots that the guard keeps apart.
const GUARDED = N;
alias Coordinates = array<f32, D>;
alias Slots = array<f32, N>;

// Coordinate `p` of one.
fn one(p: u32) -> f32 {
    return algebra[2u * D + p];
}

fn split(c: Coordinates) -> Slots {
    var coordinates = c;
    var mean = algebra[0] * coordinates[0];
    var half = algebra[D] * coordinates[0];
    for (var p = 1u; p < D; p++) {
        mean = fma(algebra[p], coordinates[p], mean);
        half = fma(algebra[D + p], coordinates[p], half);
    }
    return Slots(mean + half, mean - half);
}

fn join(s: Slots) -> Coordinates {
    let mean = 0.5 * (s[0] + s[1]);
    let half = 0.5 * (s[0] - s[1]);
    var coordinates: Coordinates;
    for (var p = 0u; p < D; p++) {
        coordinates[p] = fma(algebra[3u * D + p], half, one(p) * mean);
    }
    return coordinates;
}
