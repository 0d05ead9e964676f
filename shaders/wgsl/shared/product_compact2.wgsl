// (a1 + b1 Z)(a2 + b2 Z) in three products: p = a1 a2, q = b1 b2, s = (a1 + b1)(a2 + b2);
// a = p - d q and b = s - p - q + t q, since Z^2 = t Z - d.

const LEFT = 3u;
const RIGHT = 3u;
const TERMS = 3u;
const SUMS = 3u;

fn left(c: array<f32, A_PLANES>) -> array<f32, LEFT> {
    return array<f32, LEFT>(c[0], c[1], c[0] + c[1]);
}

fn right(c: array<f32, B_PLANES>) -> array<f32, RIGHT> {
    return array<f32, RIGHT>(c[0], c[1], c[0] + c[1]);
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

// `algebra[PRODUCT]` is -d, the next t - 1.
fn finish(sums: array<f32, SUMS>) -> array<f32, 2> {
    let p = sums[0];
    let q = sums[1];
    return array<f32, 2>(
        fma(algebra[PRODUCT], q, p),
        fma(algebra[PRODUCT + 1u], q, sums[2] - p),
    );
}
