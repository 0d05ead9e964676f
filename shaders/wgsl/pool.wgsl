// Averages and maxima over sliding windows of image tensors, and their gradients. An average goes
// coordinate by coordinate, a maximum slot by slot. Gradients are gathered: each element asks the
// windows over it for its part, so that no two invocations add to one number.

struct Params {
    command: u32,
    first: u32,
    x_stride: u32,
    g_stride: u32,
    y_stride: u32,
    batch: u32,
    len: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> g: array<Stored>;
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;
@group(0) @binding(3) var<uniform> params: Params;

const ELEMENTS = ROWS_INPUT * COLUMNS_INPUT;
const PLACES = ROWS_OUTPUT * COLUMNS_OUTPUT;

// An element, or a place of the window, of one channel.
struct Spot {
    p: Pixel,
    channel: u32,
    row: u32,
    column: u32,
}

fn spot(at: u32, rows: u32, columns: u32) -> Spot {
    let p = pixel(at, CHANNELS * rows * columns);
    return Spot(p, p.number / (rows * columns), p.number / columns % rows, p.number % columns);
}

// Where an element of the same image and channel is.
fn input_at(s: Spot, row: u32, column: u32) -> u32 {
    let number = s.channel * ELEMENTS + row * COLUMNS_INPUT + column;
    return element(s.p, CHANNELS * ELEMENTS, number);
}

// Where a place of the same image and channel is.
fn output_at(s: Spot, row: u32, column: u32) -> u32 {
    let number = s.channel * PLACES + row * COLUMNS_OUTPUT + column;
    return element(s.p, CHANNELS * PLACES, number);
}

// How many elements an average is taken over, along one axis.
fn counted(axis: Axis, place: u32) -> u32 {
    if WITH_PADDING {
        let room = axis.input + axis.padding + axis.after - place * axis.stride;
        return min(axis.kernel, (room + axis.dilation - 1u) / axis.dilation);
    }
    let covered = taps(axis, place);
    return covered.y - covered.x;
}

// What an element of the window at that place is worth in its average.
fn share(row: u32, column: u32) -> f32 {
    return 1.0 / f32(counted(ROWS, row) * counted(COLUMNS, column));
}

fn average(s: Spot) -> Coordinates {
    let row_taps = taps(ROWS, s.row);
    let column_taps = taps(COLUMNS, s.column);
    var sum: Coordinates;
    for (var i = row_taps.x; i < row_taps.y; i++) {
        for (var j = column_taps.x; j < column_taps.y; j++) {
            let row = element_at(ROWS, s.row, i);
            var c = coordinates_x(input_at(s, row, element_at(COLUMNS, s.column, j)));
            for (var k = 0u; k < D; k++) {
                sum[k] += c[k];
            }
        }
    }
    let factor = share(s.row, s.column);
    for (var k = 0u; k < D; k++) {
        sum[k] *= factor;
    }
    return sum;
}

fn rectified_average(s: Spot) -> Coordinates {
    let row_taps = taps(ROWS, s.row);
    let column_taps = taps(COLUMNS, s.column);
    var sum: Slots;
    for (var i = row_taps.x; i < row_taps.y; i++) {
        for (var j = column_taps.x; j < column_taps.y; j++) {
            let row = element_at(ROWS, s.row, i);
            var slots = slots_x(input_at(s, row, element_at(COLUMNS, s.column, j)));
            see(slots);
            for (var k = 0u; k < N; k++) {
                sum[k] += max(slots[k], 0.0);
            }
        }
    }
    let factor = share(s.row, s.column);
    for (var k = 0u; k < N; k++) {
        sum[k] *= factor;
    }
    return join(sum);
}

fn maximum(s: Spot) -> Coordinates {
    let row_taps = taps(ROWS, s.row);
    let column_taps = taps(COLUMNS, s.column);
    let corner = element_at(ROWS, s.row, row_taps.x);
    var top = slots_x(input_at(s, corner, element_at(COLUMNS, s.column, column_taps.x)));
    for (var i = row_taps.x; i < row_taps.y; i++) {
        for (var j = column_taps.x; j < column_taps.y; j++) {
            let row = element_at(ROWS, s.row, i);
            var slots = slots_x(input_at(s, row, element_at(COLUMNS, s.column, j)));
            see(slots);
            for (var k = 0u; k < N; k++) {
                top[k] = select(top[k], slots[k], slots[k] > top[k]);
            }
        }
    }
    return join(top);
}

// An element's part of the averages it counts in.
fn average_gradient(s: Spot) -> Coordinates {
    let rows = places(ROWS, s.row);
    let columns = places(COLUMNS, s.column);
    var sum: Coordinates;
    for (var i = rows.x; i < rows.y; i++) {
        for (var j = columns.x; j < columns.y; j++) {
            if covers(ROWS, i, s.row) && covers(COLUMNS, j, s.column) {
                let factor = share(i, j);
                var c = coordinates_g(output_at(s, i, j));
                for (var k = 0u; k < D; k++) {
                    sum[k] = fma(factor, c[k], sum[k]);
                }
            }
        }
    }
    return sum;
}

// In which slots an element is the first of the largest of the window at that place.
fn is_first_maximum(s: Spot, own: Slots, row: u32, column: u32) -> array<bool, N> {
    var mine = own;
    var wins: array<bool, N>;
    for (var k = 0u; k < N; k++) {
        wins[k] = true;
    }
    let row_taps = taps(ROWS, row);
    let column_taps = taps(COLUMNS, column);
    for (var i = row_taps.x; i < row_taps.y; i++) {
        for (var j = column_taps.x; j < column_taps.y; j++) {
            let r = element_at(ROWS, row, i);
            let q = element_at(COLUMNS, column, j);
            let earlier = r < s.row || (r == s.row && q < s.column);
            var slots = slots_x(input_at(s, r, q));
            for (var k = 0u; k < N; k++) {
                let beaten = slots[k] > mine[k] || (earlier && slots[k] == mine[k]);
                wins[k] = wins[k] && !beaten;
            }
        }
    }
    return wins;
}

// An element's part of the maxima it is, slot by slot.
fn maximum_gradient(s: Spot, at: u32) -> Coordinates {
    let rows = places(ROWS, s.row);
    let columns = places(COLUMNS, s.column);
    let own = slots_x(at);
    var sum: Slots;
    for (var i = rows.x; i < rows.y; i++) {
        for (var j = columns.x; j < columns.y; j++) {
            if covers(ROWS, i, s.row) && covers(COLUMNS, j, s.column) {
                see(own);
                var wins = is_first_maximum(s, own, i, j);
                var slots = slots_g(output_at(s, i, j));
                for (var k = 0u; k < N; k++) {
                    sum[k] += select(0.0, slots[k], wins[k]);
                }
            }
        }
    }
    return join(sum);
}

// y, the average or maximum of each window of x.
@compute @workgroup_size(WORKGROUP)
fn pool(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        let s = spot(at, ROWS_OUTPUT, COLUMNS_OUTPUT);
        if MAXIMUM {
            store_y(at, maximum(s));
        } else {
            store_y(at, average(s));
        }
    }
    if MAXIMUM {
        report(local);
    }
}

// y, the gradient by x, from the gradient g by each window's average or maximum.
@compute @workgroup_size(WORKGROUP)
fn pool_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        let s = spot(at, ROWS_INPUT, COLUMNS_INPUT);
        if MAXIMUM {
            store_y(at, maximum_gradient(s, at));
        } else {
            store_y(at, average_gradient(s));
        }
    }
    if MAXIMUM {
        report(local);
    }
}

// y, the average of max(x, 0) over each window.
@compute @workgroup_size(WORKGROUP)
fn rectified_pool(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        store_y(at, rectified_average(spot(at, ROWS_OUTPUT, COLUMNS_OUTPUT)));
    }
    report(local);
}

// y, the gradient by x, from the gradient g by each window's average of max(x, 0).
@compute @workgroup_size(WORKGROUP)
fn rectified_pool_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        var slots = split(average_gradient(spot(at, ROWS_INPUT, COLUMNS_INPUT)));
        see(slots);
        var saved = slots_x(at);
        for (var k = 0u; k < N; k++) {
            slots[k] = select(0.0, slots[k], saved[k] > 0.0);
        }
        store_y(at, join(slots));
    }
    report(local);
}
