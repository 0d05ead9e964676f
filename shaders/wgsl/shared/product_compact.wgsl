// Products of polynomials in Z: their values at 2 D - 1 Chebyshev nodes, multiplied, interpolated and
// reduced by Z's characteristic polynomial. At `algebra[PRODUCT]` lie the matrix of values
// ((2 D - 1) x D) and the matrix back (D x (2 D - 1)).

const LEFT = 2u * D - 1u;
const RIGHT = LEFT;
const TERMS = LEFT;
const SUMS = LEFT;

fn left(c: array<f32, A_PLANES>) -> array<f32, LEFT> {
    var coordinates = c;
    var values: array<f32, LEFT>;
    for (var t = 0u; t < TERMS; t++) {
        var sum = 0.0;
        for (var p = 0u; p < D; p++) {
            sum = fma(algebra[PRODUCT + t * D + p], coordinates[p], sum);
        }
        values[t] = sum;
    }
    return values;
}

fn right(c: array<f32, B_PLANES>) -> array<f32, RIGHT> {
    return left(c);
}

fn term_left(t: u32) -> u32 {
    return t;
}

fn term_right(t: u32) -> u32 {
    return t;
}

fn term_sum(t: u32) -> u32 {
    return t;
}

fn finish(sums: array<f32, SUMS>) -> array<f32, D> {
    var products = sums;
    var c: array<f32, D>;
    for (var p = 0u; p < D; p++) {
        var sum = 0.0;
        for (var t = 0u; t < TERMS; t++) {
            sum = fma(algebra[PRODUCT + TERMS * D + p * TERMS + t], products[t], sum);
        }
        c[p] = sum;
    }
    return c;
}
