// C = f(op(A) op(B) + bias) for batches of matrices, plaintext or encrypted on either side; op(A) is
// m x k, op(B) k x n, all row-major. Of a part of a product, rows of memory are longer than what it
// takes of them.

struct Params {
    command: u32,
    first: u32,
    a_stride: u32,
    b_stride: u32,
    bias_stride: u32,
    c_stride: u32,
    batch: u32,
    m: u32,
    k: u32,
    n: u32,
    alpha: f32,
    beta: f32,
    // Elements from one row in memory to the next, and where in these what is taken begins.
    a_row: u32,
    a_start: u32,
    b_row: u32,
    b_start: u32,
    c_row: u32,
    c_start: u32,
    kept: u32,
    part: u32,
}

@group(0) @binding(0) var<storage, read> a: array<Stored>;
@group(0) @binding(1) var<storage, read> b: array<Stored>;
@group(0) @binding(2) var<storage, read> bias: array<Stored>;
@group(0) @binding(3) var<storage, read_write> c: array<Stored>;
@group(0) @binding(4) var<storage, read_write> scratch: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

const LEFT_ALONG_DEPTH = !TRANSPOSE_A;
const RIGHT_ALONG_DEPTH = TRANSPOSE_B;

fn left_index(batch: u32, row: u32, depth: u32) -> u32 {
    let place = select(vec2(row, depth), vec2(depth, row), TRANSPOSE_A);
    let rows = select(params.m, params.k, TRANSPOSE_A);
    return (batch * rows + place.x) * params.a_row + params.a_start + place.y;
}

fn right_index(batch: u32, depth: u32, column: u32) -> u32 {
    let place = select(vec2(depth, column), vec2(column, depth), TRANSPOSE_B);
    let rows = select(params.k, params.n, TRANSPOSE_B);
    return (batch * rows + place.x) * params.b_row + params.b_start + place.y;
}

fn left_value(element: array<f32, A_PLANES>, batch: u32, row: u32, depth: u32) -> array<f32, A_PLANES> {
    return element;
}

fn right_value(element: array<f32, B_PLANES>, batch: u32, depth: u32, column: u32) -> array<f32, B_PLANES> {
    return element;
}

fn write(batch: u32, row: u32, column: u32, product: Coordinates) {
    let at = (batch * params.m + row) * params.c_row + params.c_start + column;
    let sum = element_so_far(at, product);
    if is_last() {
        store_c(at, epilogue(sum, column));
    }
}

@compute @workgroup_size(GROUP_COLUMNS, GROUP_ROWS)
fn block_matmul(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let tile_rows = (params.m + TILE_ROWS - 1u) / TILE_ROWS;
    let tile_columns = (params.n + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let tile = workgroup_index(group, groups);
    let batch = tile / (tile_rows * tile_columns);
    if batch < params.batch {
        let product = Product(params.m, params.n, vec2(0u, params.k));
        let row = tile / tile_columns % tile_rows;
        multiply_tile(product, batch, row, tile % tile_columns, local);
    }
    if FUNCTION != IDENTITY {
        report(index);
    }
}
