// Any number of slots, through the algebra's two matrices.

// Slots that the guard keeps apart.
const GUARDED = N;
alias Coordinates = array<f32, D>;
alias Slots = array<f32, N>;

// Coordinate `p` of one: the sum over slots of its column.
fn one(p: u32) -> f32 {
    var sum = 0.0;
    for (var k = 0u; k < N; k++) {
        sum += algebra[N * D + p * N + k];
    }
    return sum;
}

fn split(c: Coordinates) -> Slots {
    var coordinates = c;
    var slots: Slots;
    for (var k = 0u; k < N; k++) {
        var sum = 0.0;
        for (var p = 0u; p < D; p++) {
            sum = fma(algebra[k * D + p], coordinates[p], sum);
        }
        slots[k] = sum;
    }
    return slots;
}

fn join(s: Slots) -> Coordinates {
    var slots = s;
    var coordinates: Coordinates;
    for (var p = 0u; p < D; p++) {
        var sum = 0.0;
        for (var k = 0u; k < N; k++) {
            sum = fma(algebra[N * D + p * N + k], slots[k], sum);
        }
        coordinates[p] = sum;
    }
    return coordinates;
}
