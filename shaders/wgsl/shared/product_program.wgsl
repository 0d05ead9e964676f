// A bilinear program: products of combinations of either side's coordinates, combined in turn. At
// `algebra[PRODUCT]` lie the matrices of the left operand's combinations (TERMS x A_PLANES), of the
// right one's (TERMS x B_PLANES) and of the result's coordinates (D x TERMS).

const LEFT = TERMS;
const RIGHT = TERMS;
const SUMS = TERMS;
const RIGHT_AT = PRODUCT + TERMS * A_PLANES;
const RESULT_AT = RIGHT_AT + TERMS * B_PLANES;

fn left(c: array<NUMBERS, A_PLANES>) -> array<NUMBERS, LEFT> {
    var coordinates = c;
    var values: array<NUMBERS, LEFT>;
    for (var t = 0u; t < TERMS; t++) {
        var sum: NUMBERS;
        for (var p = 0u; p < A_PLANES; p++) {
            sum = fma(NUMBERS(algebra[PRODUCT + t * A_PLANES + p]), coordinates[p], sum);
        }
        values[t] = sum;
    }
    return values;
}

fn right(c: array<NUMBERS, B_PLANES>) -> array<NUMBERS, RIGHT> {
    var coordinates = c;
    var values: array<NUMBERS, RIGHT>;
    for (var t = 0u; t < TERMS; t++) {
        var sum: NUMBERS;
        for (var p = 0u; p < B_PLANES; p++) {
            sum = fma(NUMBERS(algebra[RIGHT_AT + t * B_PLANES + p]), coordinates[p], sum);
        }
        values[t] = sum;
    }
    return values;
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
            sum = fma(algebra[RESULT_AT + p * TERMS + t], products[t], sum);
        }
        c[p] = sum;
    }
    return c;
}
