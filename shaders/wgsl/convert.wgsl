// Linear maps between planes, layouts, and boxes carried elsewhere: planes here are numbers, whatever they are coordinates of,
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
    // Where in a plane they begin.
    start: u32,
    // From one row to the next, planes and numbers of a plane.
    x_plane: u32,
    x_row: u32,
    y_plane: u32,
    y_row: u32,
    // Where a copy's box begins.
    x_start: u32,
    y_start: u32,
    // For each of its axes, innermost in y first, its size and the steps along it. Those in x may run
    // backwards: what lies before 0 wraps, and a place in the plane comes round again.
    size_0: u32,
    x_0: u32,
    y_0: u32,
    size_1: u32,
    x_1: u32,
    y_1: u32,
    size_2: u32,
    x_2: u32,
    y_2: u32,
    size_3: u32,
    x_3: u32,
    y_3: u32,
    size_4: u32,
    x_4: u32,
    y_4: u32,
    size_5: u32,
    x_5: u32,
    y_5: u32,
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
            let number = number_x(j, at);
            for (var i = 0u; i < MAP_ROWS; i++) {
                if row + i < params.rows {
                    let weight = word_table((row + i) * params.columns + j);
                    // Of a plane of weight zero nothing gets through, infinity neither.
                    if weight != 0.0 {
                        sums[i] = fma(weight, number, sums[i]);
                    }
                }
            }
        }
        for (var i = 0u; i < MAP_ROWS; i++) {
            if row + i < params.rows {
                put_y(row + i, at, sums[i]);
            }
        }
    }
}

// A column more than a row of the tile has, so that columns too are read from different banks.
const PITCH = TILE_COLUMNS + 1u;

var<workgroup> staged: array<f32, TILE_ROWS * PITCH>;

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
            let from_plane = plane + (row + i) * params.x_plane;
            let line = start + (row + i) * params.x_row;
            staged[i * PITCH + j] = number_x(from_plane, line + column + j);
        }
    }
    workgroupBarrier();
    for (var k = local; k < TILE_ROWS * TILE_COLUMNS; k += WORKGROUP) {
        let i = k % TILE_ROWS;
        let j = k / TILE_ROWS;
        if there && row + i < params.rows && column + j < params.columns {
            let to_plane = plane + (column + j) * params.y_plane;
            let line = start + (column + j) * params.y_row;
            put_y(to_plane, line + row + i, staged[i * PITCH + j]);
        }
    }
}

// What an invocation of a copy carries: whether there is something, from where in x, to where in y.
struct Carried {
    there: bool,
    x: u32,
    y: u32,
}

// Of number `at` of the box; or, where all of y is written, of that of y, which outside the box takes
// nothing.
fn carried(at: u32) -> Carried {
    var sizes = array<u32, 6>(
        params.size_0, params.size_1, params.size_2, params.size_3, params.size_4, params.size_5,
    );
    var steps = array<vec2<u32>, 6>(
        vec2(params.x_0, params.y_0),
        vec2(params.x_1, params.y_1),
        vec2(params.x_2, params.y_2),
        vec2(params.x_3, params.y_3),
        vec2(params.x_4, params.y_4),
        vec2(params.x_5, params.y_5),
    );
    if WHOLE {
        // Each axis of y steps over all that those inside it reach, so places along them are the digits
        // of what is left. Numbers before the box wrap, and are past all that it reaches.
        var rest = at - params.y_start;
        var met = params.x_start;
        var there = true;
        for (var k = AXES; k > 0u; k--) {
            let step = steps[k - 1u];
            let place = rest / step.y;
            rest -= place * step.y;
            met += place * step.x;
            there = there && place < sizes[k - 1u];
        }
        return Carried(there && rest == 0u, met, at);
    }
    var rest = at;
    var met = vec2(params.x_start, params.y_start);
    for (var k = 0u; k < AXES - 1u; k++) {
        met += rest % sizes[k] * steps[k];
        rest /= sizes[k];
    }
    met += rest * steps[AXES - 1u];
    return Carried(true, met.x, met.y);
}

// Carries a box of every plane of x into y, number by number as they lie in y. What is outside the box
// becomes zero where all of y is written.
@compute @workgroup_size(WORKGROUP)
fn strided_copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        let element = carried(at);
        for (var plane = 0u; plane < params.planes; plane++) {
            var number = 0.0;
            if element.there {
                number = number_x(plane, element.x);
            }
            put_y(plane, element.y, number);
        }
    }
}
