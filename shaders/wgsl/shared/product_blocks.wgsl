// The product of SIZE x SIZE matrices: entry (i, j) is the sum over l of entries (i, l) and (l, j).

const LEFT = A_PLANES;
const RIGHT = B_PLANES;
const TERMS = SIZE * SIZE * SIZE;
const SUMS = SIZE * SIZE;

fn left(c: array<f32, A_PLANES>) -> array<f32, LEFT> {
    return c;
}

fn right(c: array<f32, B_PLANES>) -> array<f32, RIGHT> {
    return c;
}

// Term t has the digits i, j, l in base SIZE.
fn term_left(t: u32) -> u32 {
    return t / (SIZE * SIZE) * SIZE + t % SIZE;
}

fn term_right(t: u32) -> u32 {
    return t % SIZE * SIZE + t / SIZE % SIZE;
}

fn term_sum(t: u32) -> u32 {
    return t / SIZE;
}

fn finish(sums: array<f32, SUMS>) -> array<f32, SUMS> {
    return sums;
}
