// The gradient of a convolution by its weights as a matrix product: for each group of channels, the
// output's gradient by output channel x (pixel, image), times what lies under taps: (pixel, image) x
// (input channel, tap), gathered while it is staged. There are many more images and pixels than
// weights, so these are cut into pieces.

struct Params {
    command: u32,
    first: u32,
    a_stride: u32,
    b_stride: u32,
    y_stride: u32,
    scratch_stride: u32,
    steps_stride: u32,
    batch: u32,
    // Images times pixels of a piece, and how many pieces there are.
    piece: u32,
    count: u32,
    // Numbers of scratch before pieces.
    kept: u32,
}

@group(0) @binding(0) var<storage, read> a: array<Stored>;
@group(0) @binding(1) var<storage, read> b: array<Stored>;
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;
@group(0) @binding(3) var<storage, read_write> scratch: array<f32>;
@group(0) @binding(4) var<storage, read> steps: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

const LEFT_ALONG_DEPTH = true;
const RIGHT_ALONG_DEPTH = true;
const GRADIENT_PLANES = A_PLANES;
const PLACES = ROWS_OUTPUT * COLUMNS_OUTPUT;
const ELEMENTS = ROWS_INPUT * COLUMNS_INPUT;

// A batch is a group of one piece.

fn left_index(batch: u32, row: u32, depth: u32) -> u32 {
    let p = pixel(depth, PLACES);
    let r = p.number / COLUMNS_OUTPUT;
    let q = p.number % COLUMNS_OUTPUT;
    let channel = batch % GROUPS * TARGETS + row;
    let all = Result(GROUPS * TARGETS, ROWS_OUTPUT, COLUMNS_OUTPUT);
    return average_at(p, all, channel, r, q);
}

// An average is passed on to a pixel of its window by that pixel's steps.
fn left_value(element: array<f32, A_PLANES>, batch: u32, row: u32, depth: u32) -> array<f32, A_PLANES> {
    if POOLED {
        let p = pixel(depth, PLACES);
        let all = Result(GROUPS * TARGETS, ROWS_OUTPUT, COLUMNS_OUTPUT);
        let channel = batch % GROUPS * TARGETS + row;
        let word = word_at(p, all, channel, p.number / COLUMNS_OUTPUT, p.number % COLUMNS_OUTPUT);
        return through_steps(element, word, p.image);
    }
    return element;
}

fn right_value(element: array<f32, B_PLANES>, batch: u32, depth: u32, column: u32) -> array<f32, B_PLANES> {
    return element;
}

fn right_index(batch: u32, depth: u32, column: u32) -> u32 {
    let tap = column % TAPS;
    let p = pixel(depth, PLACES);
    let r = element_at(ROWS, p.number / COLUMNS_OUTPUT, tap / COLUMNS_KERNEL);
    let q = element_at(COLUMNS, p.number % COLUMNS_OUTPUT, tap % COLUMNS_KERNEL);
    if r < ROWS_INPUT && q < COLUMNS_INPUT {
        let channel = batch % GROUPS * SOURCES + column / TAPS;
        let number = channel * ELEMENTS + r * COLUMNS_INPUT + q;
        return element(p, GROUPS * SOURCES * ELEMENTS, number);
    }
    return NOWHERE;
}

fn write(batch: u32, row: u32, column: u32, product: Coordinates) {
    let at = (batch * TARGETS + row) * SOURCES * TAPS + column;
    if IN_PIECES {
        store_scratch(params.kept + at, product);
    } else {
        store_y(at, product);
    }
}

// y, or its pieces, from the images b and the output's gradient a.
@compute @workgroup_size(GROUP_COLUMNS, GROUP_ROWS)
fn conv2d_gradient_weights(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let tile = workgroup_index(group, groups);
    let columns = SOURCES * TAPS;
    let tile_rows = (TARGETS + TILE_ROWS - 1u) / TILE_ROWS;
    let tile_columns = (columns + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let batch = tile / (tile_rows * tile_columns);
    if batch < params.count * GROUPS {
        let start = batch / GROUPS * params.piece;
        let end = min(start + params.piece, params.batch * PLACES);
        let product = Product(TARGETS, columns, vec2(start, end));
        let row = tile / tile_columns % tile_rows;
        multiply_tile(product, batch, row, tile % tile_columns, local);
    }
}
