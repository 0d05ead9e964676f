// Sums of channels over images and pixels, and sums of pieces.

struct Params {
    command: u32,
    first: u32,
    g_stride: u32,
    y_stride: u32,
    scratch_stride: u32,
    steps_stride: u32,
    batch: u32,
    channels: u32,
    rows: u32,
    columns: u32,
    // Images times pixels of a piece, and how many pieces there are.
    piece: u32,
    count: u32,
    len: u32,
    // Numbers of scratch before pieces.
    kept: u32,
    part: u32,
}

@group(0) @binding(0) var<storage, read> g: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
@group(0) @binding(2) var<storage, read_write> scratch: array<f32>;
@group(0) @binding(3) var<storage, read> steps: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

const GRADIENT_PLANES = D;

var<workgroup> sums: array<f32, WORKGROUP>;

// The sum of the workgroup's numbers, in an order that depends on nothing else.
fn group_sum(number: f32, local: u32) -> f32 {
    sums[local] = number;
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sums[local] += sums[local + half];
        }
    }
    workgroupBarrier();
    let sum = sums[0];
    workgroupBarrier();
    return sum;
}

// y, or its pieces: each channel of the output's gradient g, summed. A workgroup sums one piece of one
// channel.
@compute @workgroup_size(WORKGROUP)
fn conv2d_gradient_bias(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = workgroup_index(group, groups);
    if at < params.count * params.channels {
        let start = at / params.channels * params.piece;
        let pixels = params.rows * params.columns;
        let end = min(start + params.piece, params.batch * pixels);
        let channel = at % params.channels;
        let all = Result(params.channels, params.rows, params.columns);
        var sum: Coordinates;
        for (var i = start + local; i < end; i += WORKGROUP) {
            let p = pixel(i, pixels);
            let row = p.number / params.columns;
            let column = p.number % params.columns;
            var next = coordinates_g(average_at(p, all, channel, row, column));
            if POOLED {
                next = through_steps(next, word_at(p, all, channel, row, column), p.image);
            }
            for (var k = 0u; k < D; k++) {
                sum[k] += next[k];
            }
        }
        for (var k = 0u; k < D; k++) {
            sum[k] = group_sum(sum[k], local);
        }
        if local == 0u {
            if IN_PIECES {
                store_scratch(params.kept + at, sum);
            } else {
                store_y(at, sum);
            }
        }
    }
}

// Adds up pieces, in order.
@compute @workgroup_size(WORKGROUP)
fn add_pieces(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        var sum: Coordinates;
        for (var i = 0u; i < params.count; i++) {
            var piece = load_scratch(params.kept + i * params.len + at);
            for (var k = 0u; k < D; k++) {
                sum[k] += piece[k];
            }
        }
        let all = element_so_far(at, sum);
        if is_last() {
            store_y(at, all);
        }
    }
}
