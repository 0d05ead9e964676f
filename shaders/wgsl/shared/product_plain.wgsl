// A product with a plaintext on either side: each coordinate times the plaintext.

const LEFT = A_PLANES;
const RIGHT = B_PLANES;
const TERMS = max(A_PLANES, B_PLANES);
const SUMS = TERMS;

fn left(c: array<f32, A_PLANES>) -> array<f32, LEFT> {
    return c;
}

fn right(c: array<f32, B_PLANES>) -> array<f32, RIGHT> {
    return c;
}

fn term_left(t: u32) -> u32 {
    return min(t, LEFT - 1u);
}

fn term_right(t: u32) -> u32 {
    return min(t, RIGHT - 1u);
}

fn term_sum(t: u32) -> u32 {
    return t;
}

fn finish(sums: array<f32, SUMS>) -> array<f32, SUMS> {
    return sums;
}
