// Convolutions as matrix products, plaintext or encrypted on either side. For each group of channels,
// its weights by target channel x (source channel, tap), times what lies under taps: (source channel,
// tap) x (pixel, image), gathered while it is staged. Sources are the input, targets the output; the
// gradient by the input has them swapped. The output may be left in scratch, and its gradient may be that
// by averages of relu of it.

struct Params {
    command: u32,
    first: u32,
    a_stride: u32,
    b_stride: u32,
    bias_stride: u32,
    y_stride: u32,
    scratch_stride: u32,
    steps_stride: u32,
    batch: u32,
    alpha: f32,
    beta: f32,
    kept: u32,
    part: u32,
}

@group(0) @binding(0) var<storage, read> a: array<Stored>;
@group(0) @binding(1) var<storage, read> b: array<Stored>;
@group(0) @binding(2) var<storage, read> bias: array<Stored>;
@group(0) @binding(3) var<storage, read_write> y: array<Stored>;
@group(0) @binding(4) var<storage, read_write> scratch: array<f32>;
@group(0) @binding(5) var<storage, read> steps: array<u32>;
@group(0) @binding(6) var<uniform> params: Params;

const LEFT_ALONG_DEPTH = true;
// Images are side by side, and so are their pixels.
const RIGHT_ALONG_DEPTH = false;
const GRADIENT_PLANES = B_PLANES;

fn sources(axis: Axis) -> u32 {
    return select(axis.input, axis.output, SWAPPED);
}

fn targets(axis: Axis) -> u32 {
    return select(axis.output, axis.input, SWAPPED);
}

fn source_at(axis: Axis, to: u32, tap: u32) -> u32 {
    if SWAPPED {
        return place_at(axis, to, tap);
    }
    return element_at(axis, to, tap);
}

fn left_index(batch: u32, row: u32, depth: u32) -> u32 {
    let source = depth / TAPS;
    let pair = select(row * SOURCES + source, source * TARGETS + row, SWAPPED);
    return (batch * SOURCES * TARGETS + pair) * TAPS + depth % TAPS;
}

fn right_index(batch: u32, depth: u32, column: u32) -> u32 {
    let tap = depth % TAPS;
    let p = pixel(column, targets(ROWS) * targets(COLUMNS));
    let r = source_at(ROWS, p.number / targets(COLUMNS), tap / COLUMNS_KERNEL);
    let q = source_at(COLUMNS, p.number % targets(COLUMNS), tap % COLUMNS_KERNEL);
    if r < sources(ROWS) && q < sources(COLUMNS) {
        let channel = batch * SOURCES + depth / TAPS;
        let all = Result(GROUPS * SOURCES, sources(ROWS), sources(COLUMNS));
        return average_at(p, all, channel, r, q);
    }
    return NOWHERE;
}

fn left_value(element: array<f32, A_PLANES>, batch: u32, row: u32, depth: u32) -> array<f32, A_PLANES> {
    return element;
}

// An average is passed on to a pixel of its window by that pixel's steps.
fn right_value(element: array<f32, B_PLANES>, batch: u32, depth: u32, column: u32) -> array<f32, B_PLANES> {
    if POOLED {
        let tap = depth % TAPS;
        let p = pixel(column, targets(ROWS) * targets(COLUMNS));
        let r = source_at(ROWS, p.number / targets(COLUMNS), tap / COLUMNS_KERNEL);
        let q = source_at(COLUMNS, p.number % targets(COLUMNS), tap % COLUMNS_KERNEL);
        let all = Result(GROUPS * SOURCES, sources(ROWS), sources(COLUMNS));
        let channel = batch * SOURCES + depth / TAPS;
        return through_steps(element, word_at(p, all, channel, r, q), p.image);
    }
    return element;
}

fn write(batch: u32, row: u32, column: u32, product: Coordinates) {
    let pixels = targets(ROWS) * targets(COLUMNS);
    let p = pixel(column, pixels);
    let channel = batch * TARGETS + row;
    let at = element(p, GROUPS * TARGETS * pixels, channel * pixels + p.number);
    if IN_SCRATCH {
        store_scratch(at, epilogue(product, channel));
        return;
    }
    let sum = element_so_far(at, product);
    if is_last() {
        store_y(at, epilogue(sum, channel));
    }
}

fn convolve(tile: u32, local: vec3<u32>) {
    let columns = params.batch * targets(ROWS) * targets(COLUMNS);
    let tile_rows = (TARGETS + TILE_ROWS - 1u) / TILE_ROWS;
    let tile_columns = (columns + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let batch = tile / (tile_rows * tile_columns);
    if batch < GROUPS {
        let product = Product(TARGETS, columns, vec2(0u, SOURCES * TAPS));
        let row = tile / tile_columns % tile_rows;
        multiply_tile(product, batch, row, tile % tile_columns, local);
    }
}

// y, or scratch, = f(images b * weights a + bias).
@compute @workgroup_size(GROUP_COLUMNS, GROUP_ROWS)
fn conv2d(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    convolve(workgroup_index(group, groups), local);
    if FUNCTION != IDENTITY {
        report(index);
    }
}

// y, the gradient by the images, from the output's gradient b and the weights a.
@compute @workgroup_size(GROUP_COLUMNS, GROUP_ROWS)
fn conv2d_gradient_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    convolve(workgroup_index(group, groups), local);
}
