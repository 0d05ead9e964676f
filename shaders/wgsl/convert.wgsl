// Linear maps between planes, and layouts: planes here are numbers, whatever they are coordinates of,
// so that kernels name plane and place themselves.

struct Params {
    command: u32,
    first: u32,
    x_stride: u32,
    y_stride: u32,
    len: u32,
    // Of the map's matrix, or of each matrix that is transposed.
    rows: u32,
    columns: u32,
    planes: u32,
    // Matrices of a plane.
    batch: u32,
    // Where in a plane they begin, and from one row to the next.
    start: u32,
    x_row: u32,
    y_row: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
// The map's matrix, row-major.
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

// Planes that an invocation writes, each plane it reads being read once for them.
const MAP_ROWS = 8u;

// Plane i of y is the sum of `table[i][j]` times plane j of x. An error is at most
// (columns + 1) 2^-24 times the sum of the terms' magnitudes: a weight and each sum are rounded.
@compute @workgroup_size(WORKGROUP)
fn linear_map(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let blocks = (params.rows + MAP_ROWS - 1u) / MAP_ROWS;
    let workgroup = workgroup_index(group, groups);
    let row = workgroup % blocks * MAP_ROWS;
    let at = workgroup / blocks * WORKGROUP + local;
    if at < params.len {
        var sums: array<f32, MAP_ROWS>;
        for (var j = 0u; j < params.columns; j++) {
            let number = f32(x[j * params.x_stride + at]);
            for (var i = 0u; i < MAP_ROWS; i++) {
                if row + i < params.rows {
                    let weight = table[(row + i) * params.columns + j];
                    // Of a plane of weight zero nothing gets through, infinity neither.
                    if weight != 0.0 {
                        sums[i] = fma(weight, number, sums[i]);
                    }
                }
            }
        }
        for (var i = 0u; i < MAP_ROWS; i++) {
            if row + i < params.rows {
                y[(row + i) * params.y_stride + at] = Stored(sums[i]);
            }
        }
    }
}

// A column more than a row of the tile has, so that columns too are read from different banks.
const PITCH = TILE_COLUMNS + 1u;

var<workgroup> staged: array<Stored, TILE_ROWS * PITCH>;

// Transposes rows x columns matrices, a tile in each workgroup. Interleaved elements are the columns
// of a matrix whose rows are planes, and image tiles the transposes of their samples.
@compute @workgroup_size(WORKGROUP)
fn transpose(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let down = (params.rows + TILE_ROWS - 1u) / TILE_ROWS;
    let across = (params.columns + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let tile = workgroup_index(group, groups);
    let matrix = tile / (down * across);
    let there = matrix < params.planes * params.batch;
    let row = tile / across % down * TILE_ROWS;
    let column = tile % across * TILE_COLUMNS;
    let plane = matrix / params.batch;
    let start = params.start + matrix % params.batch * params.rows * params.columns;
    for (var k = local; k < TILE_ROWS * TILE_COLUMNS; k += WORKGROUP) {
        let i = k / TILE_COLUMNS;
        let j = k % TILE_COLUMNS;
        if there && row + i < params.rows && column + j < params.columns {
            let read_at = plane * params.x_stride + start + (row + i) * params.x_row;
            staged[i * PITCH + j] = x[read_at + column + j];
        }
    }
    workgroupBarrier();
    for (var k = local; k < TILE_ROWS * TILE_COLUMNS; k += WORKGROUP) {
        let i = k % TILE_ROWS;
        let j = k / TILE_ROWS;
        if there && row + i < params.rows && column + j < params.columns {
            let write_at = plane * params.y_stride + start + (column + j) * params.y_row;
            y[write_at + row + i] = staged[i * PITCH + j];
        }
    }
}
