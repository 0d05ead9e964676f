// Sums, means and maxima along an axis, softmax, slot magnitudes and losses.
//
// What is reduced is `[outer, length, inner]`, what is left of it `[outer, inner]`. A workgroup
// computes as many elements of what is left as shares of `lines` invocations fit into it. Rows of
// softmax and its kind are reduced along `length`, and `inner` is 1.

struct Params {
    command: u32,
    first: u32,
    x_stride: u32,
    gradient_stride: u32,
    targets_stride: u32,
    y_stride: u32,
    planes: u32,
    outer: u32,
    length: u32,
    inner: u32,
    // Elements of a plane that are left, or that are looked at one by one.
    len: u32,
    lines: u32,
    // Where more than one, workgroups leave sums of pieces in `scratch`, and `combine` adds them up.
    pieces: u32,
    // How much of an axis a piece is.
    piece: u32,
    scale: f32,
    // Numbers of scratch before those of pieces.
    kept: u32,
    part: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> gradient: array<Stored>;
@group(0) @binding(2) var<storage, read> targets: array<Stored>;
@group(0) @binding(3) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read_write> y: array<Stored>;
// Of coordinates, as everything that lies in memory: numbers of one element side by side.
@group(0) @binding(5) var<storage, read_write> scratch: array<f32>;

// What one invocation has to do with the element that it and others reduce.
struct Share {
    element: u32,
    // Which of the element's invocations it is, of how many.
    line: u32,
    lines: u32,
    // The first of them, and from one to the next.
    first: u32,
    step: u32,
}

// Neighbouring invocations read neighbouring numbers: along the axis where these are contiguous.
fn share_of(group: u32, local: u32) -> Share {
    let elements = WORKGROUP / params.lines;
    if params.inner == 1u {
        let nth = local / params.lines;
        let line = local % params.lines;
        return Share(group * elements + nth, line, params.lines, nth * params.lines, 1u);
    }
    let nth = local % elements;
    return Share(group * elements + nth, local / elements, params.lines, nth, elements);
}

// Where an element of what is left has the first of those it is reduced from.
fn start_of(element: u32) -> u32 {
    return element / params.inner * params.length * params.inner + element % params.inner;
}

fn all_slots(number: f32) -> Slots {
    var slots: Slots;
    for (var k = 0u; k < N; k++) {
        slots[k] = number;
    }
    return slots;
}

var<workgroup> shares: array<f32, N * WORKGROUP>;

// The sum, or the largest, of what the invocations of each share have, slot by slot, in a fixed
// order. Every invocation of the workgroup has to call it.
fn fold(mine: Slots, share: Share, largest: bool) -> Slots {
    var slots = mine;
    let local = share.first + share.line * share.step;
    for (var k = 0u; k < N; k++) {
        shares[k * WORKGROUP + local] = slots[k];
    }
    for (var half = share.lines / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if share.line < half {
            for (var k = 0u; k < N; k++) {
                let at = k * WORKGROUP + local;
                let own = shares[at];
                let other = shares[at + half * share.step];
                shares[at] = select(own + other, larger(own, other), largest);
            }
        }
    }
    workgroupBarrier();
    for (var k = 0u; k < N; k++) {
        slots[k] = shares[k * WORKGROUP + share.first];
    }
    workgroupBarrier();
    return slots;
}

// NaN is no larger than anything.
fn larger(a: f32, b: f32) -> f32 {
    return select(a, b, b > a);
}

// Numbers added up before their sum is added to the total: one running sum of n numbers is off by n
// roundings.
const CHUNK = 128u;

// The `at`th sum, times `scale`, once all that the command has of it is summed.
fn finish_sum(at: u32, plane: u32, element: u32, sum: f32) {
    let all = so_far(at, sum);
    if is_last() {
        put_y(plane, element, all * params.scale);
    }
}

// The sum along an axis, times `scale`. It is linear, so planes are summed one by one.
@compute @workgroup_size(WORKGROUP)
fn sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = workgroup_index(group, groups);
    let piece = number % params.pieces;
    let share = share_of(number / params.pieces, local);
    let plane = share.element / params.len;
    let element = share.element % params.len;
    var total = 0.0;
    if plane < params.planes {
        let start = start_of(element);
        let end = min((piece + 1u) * params.piece, params.length);
        var chunk = 0.0;
        var count = 0u;
        for (var i = piece * params.piece + share.line; i < end; i += params.lines) {
            chunk += number_x(plane, start + i * params.inner);
            count++;
            if count == CHUNK {
                total += chunk;
                chunk = 0.0;
                count = 0u;
            }
        }
        total += chunk;
    }
    let all = fold(all_slots(total), share, false)[0];
    if share.line == 0u && plane < params.planes {
        if params.pieces > 1u {
            put_scratch(params.kept + share.element * params.pieces + piece, all);
        } else {
            finish_sum(share.element, plane, element, all);
        }
    }
}

// Adds up `pieces` partial sums for each of `len` elements of each plane, times `scale`.
@compute @workgroup_size(WORKGROUP)
fn combine(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let share = share_of(workgroup_index(group, groups), local);
    let plane = share.element / params.len;
    var total = 0.0;
    if plane < params.planes {
        for (var i = share.line; i < params.pieces; i += params.lines) {
            total += word_scratch(params.kept + share.element * params.pieces + i);
        }
    }
    let all = fold(all_slots(total), share, false)[0];
    if share.line == 0u && plane < params.planes {
        finish_sum(share.element, plane, share.element % params.len, all);
    }
}

// The largest slots of an element, once the command has looked at all. Parts leave slots to each other.
fn finish_maximum(element: u32, largest: Slots) {
    var top = largest;
    for (var k = 0u; k < N; k++) {
        let at = k * params.len + element;
        if (params.part & FOLLOWS) != 0u {
            top[k] = larger(top[k], word_scratch(at));
        }
        if !is_last() {
            put_scratch(at, top[k]);
        }
    }
    if is_last() {
        store_y(element, join(top));
    }
}

// The maximum along an axis. (Its name is taken by WGSL's own.)
@compute @workgroup_size(WORKGROUP)
fn maximum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let share = share_of(workgroup_index(group, groups), local);
    var top = all_slots(-infinity());
    if share.element < params.len {
        let start = start_of(share.element);
        for (var i = share.line; i < params.length; i += params.lines) {
            var slots = slots_x(start + i * params.inner);
            see(slots);
            for (var k = 0u; k < N; k++) {
                top[k] = larger(top[k], slots[k]);
            }
        }
    }
    top = fold(top, share, true);
    if share.line == 0u && share.element < params.len {
        finish_maximum(share.element, top);
    }
    report(local);
}

// Where along the axis the largest of `shares` stand.
var<workgroup> places: array<u32, N * WORKGROUP>;
const NOWHERE = 0xffffffffu;

// The incoming gradient at the first maximum along the axis, slot by slot, and zero elsewhere.
@compute @workgroup_size(WORKGROUP)
fn max_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let share = share_of(workgroup_index(group, groups), local);
    let start = start_of(share.element);
    let inside = share.element < params.len;
    var top: Slots;
    var place: array<u32, N>;
    for (var k = 0u; k < N; k++) {
        place[k] = NOWHERE;
    }
    if inside {
        for (var i = share.line; i < params.length; i += params.lines) {
            var slots = slots_x(start + i * params.inner);
            for (var k = 0u; k < N; k++) {
                if place[k] == NOWHERE || slots[k] > top[k] {
                    top[k] = slots[k];
                    place[k] = i;
                }
            }
        }
    }
    for (var k = 0u; k < N; k++) {
        shares[k * WORKGROUP + local] = top[k];
        places[k * WORKGROUP + local] = place[k];
    }
    for (var half = params.lines / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if share.line < half {
            for (var k = 0u; k < N; k++) {
                let own = k * WORKGROUP + local;
                let other = own + half * share.step;
                // Of equals the first; who has seen nothing stands behind everyone.
                let before = places[other] < places[own];
                let above = shares[other] > shares[own] && places[other] != NOWHERE;
                if above || places[own] == NOWHERE || (before && shares[other] == shares[own]) {
                    shares[own] = shares[other];
                    places[own] = places[other];
                }
            }
        }
    }
    workgroupBarrier();
    if inside {
        var incoming = slots_gradient(share.element);
        see(incoming);
        for (var i = share.line; i < params.length; i += params.lines) {
            var slots: Slots;
            for (var k = 0u; k < N; k++) {
                slots[k] = select(0.0, incoming[k], places[k * WORKGROUP + share.first] == i);
            }
            store_y(start + i * params.inner, join(slots));
        }
    }
    report(local);
}

// The magnitudes of a tensor's slots, for the guard.
@compute @workgroup_size(WORKGROUP)
fn slot_maxima(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        see(slots_x(at));
    }
    report(local);
}

// What the softmax of a row needs, slot by slot.
struct Row {
    share: Share,
    inside: bool,
    start: u32,
    top: Slots,
    // The sum of `exp(x - top)`.
    total: Slots,
}

// Of this invocation's row. Every invocation of the workgroup has to call it.
fn row_of(group: u32, local: u32) -> Row {
    var row: Row;
    row.share = share_of(group, local);
    row.inside = row.share.element < params.outer;
    row.start = row.share.element * params.length;
    var top = all_slots(-infinity());
    if row.inside {
        for (var i = row.share.line; i < params.length; i += params.lines) {
            var slots = slots_x(row.start + i);
            see(slots);
            for (var k = 0u; k < N; k++) {
                top[k] = larger(top[k], slots[k]);
            }
        }
    }
    top = fold(top, row.share, true);
    var total: Slots;
    if row.inside {
        for (var i = row.share.line; i < params.length; i += params.lines) {
            var slots = slots_x(row.start + i);
            for (var k = 0u; k < N; k++) {
                total[k] += exponential(slots[k] - top[k]);
            }
        }
    }
    row.top = top;
    row.total = fold(total, row.share, false);
    return row;
}

// `exp(x - top) / sum(exp(x - top))` over each row.
@compute @workgroup_size(WORKGROUP)
fn softmax(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    var row = row_of(workgroup_index(group, groups), local);
    if row.inside {
        for (var i = row.share.line; i < params.length; i += params.lines) {
            var slots = slots_x(row.start + i);
            for (var k = 0u; k < N; k++) {
                slots[k] = exponential(slots[k] - row.top[k]) / row.total[k];
            }
            store_y(row.start + i, join(slots));
        }
    }
    report(local);
}

// `x - top - ln(sum(exp(x - top)))` over each row.
@compute @workgroup_size(WORKGROUP)
fn log_softmax(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    var row = row_of(workgroup_index(group, groups), local);
    for (var k = 0u; k < N; k++) {
        row.total[k] = logarithm(row.total[k]);
    }
    if row.inside {
        for (var i = row.share.line; i < params.length; i += params.lines) {
            var slots = slots_x(row.start + i);
            for (var k = 0u; k < N; k++) {
                slots[k] = slots[k] - row.top[k] - row.total[k];
            }
            store_y(row.start + i, join(slots));
        }
    }
    report(local);
}

// From the softmax x, or its logarithm, and the gradient g by it: `x (g - sum(g x))`, or
// `g - exp(x) sum(g)`. Every invocation of the workgroup has to call it.
fn backward(share: Share, logarithm: bool) {
    let inside = share.element < params.outer;
    let start = share.element * params.length;
    var total: Slots;
    if inside {
        for (var i = share.line; i < params.length; i += params.lines) {
            var saved = slots_x(start + i);
            var incoming = slots_gradient(start + i);
            see(incoming);
            for (var k = 0u; k < N; k++) {
                total[k] = fma(incoming[k], select(saved[k], 1.0, logarithm), total[k]);
            }
        }
    }
    total = fold(total, share, false);
    if inside {
        for (var i = share.line; i < params.length; i += params.lines) {
            var saved = slots_x(start + i);
            var slots = slots_gradient(start + i);
            for (var k = 0u; k < N; k++) {
                if logarithm {
                    slots[k] -= exponential(saved[k]) * total[k];
                } else {
                    slots[k] = saved[k] * (slots[k] - total[k]);
                }
            }
            store_y(start + i, join(slots));
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn softmax_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    backward(share_of(workgroup_index(group, groups), local), false);
    report(local);
}

@compute @workgroup_size(WORKGROUP)
fn log_softmax_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    backward(share_of(workgroup_index(group, groups), local), true);
    report(local);
}

// Adds up what the invocations of a workgroup have of a loss, which is one element. Every one of
// them has to call it.
fn keep_loss(mine: Slots, piece: u32, local: u32) {
    let share = Share(0u, local, WORKGROUP, 0u, 1u);
    var loss = join(fold(mine, share, false));
    if local == 0u && piece < params.pieces {
        if params.pieces > 1u {
            for (var p = 0u; p < D; p++) {
                put_scratch(params.kept + p * params.pieces + piece, loss[p]);
            }
        } else {
            for (var p = 0u; p < D; p++) {
                finish_sum(p, p, 0u, loss[p]);
            }
        }
    }
}

// The mean over rows of `-sum(target ln softmax(x))`.
@compute @workgroup_size(WORKGROUP)
fn softmax_cross_entropy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let piece = workgroup_index(group, groups);
    let rows = WORKGROUP / params.lines;
    var loss: Slots;
    for (var tile = piece; tile * rows < params.outer; tile += params.pieces) {
        var row = row_of(tile, local);
        for (var k = 0u; k < N; k++) {
            row.total[k] = logarithm(row.total[k]);
        }
        if row.inside {
            for (var i = row.share.line; i < params.length; i += params.lines) {
                var slots = slots_x(row.start + i);
                var wanted = slots_targets(row.start + i);
                for (var k = 0u; k < N; k++) {
                    loss[k] = fma(wanted[k], row.total[k] - (slots[k] - row.top[k]), loss[k]);
                }
            }
        }
    }
    keep_loss(loss, piece, local);
    report(local);
}

// `(softmax(x) - target) / rows`.
@compute @workgroup_size(WORKGROUP)
fn softmax_cross_entropy_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    var row = row_of(workgroup_index(group, groups), local);
    if row.inside {
        for (var i = row.share.line; i < params.length; i += params.lines) {
            var slots = slots_x(row.start + i);
            var wanted = slots_targets(row.start + i);
            for (var k = 0u; k < N; k++) {
                let share = exponential(slots[k] - row.top[k]) / row.total[k];
                slots[k] = (share - wanted[k]) * params.scale;
            }
            store_y(row.start + i, join(slots));
        }
    }
    report(local);
}

// The mean over elements of `max(x, 0) - x t + ln(1 + exp(-|x|))`, the cross entropy of sigmoid(x).
@compute @workgroup_size(WORKGROUP)
fn binary_cross_entropy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let piece = workgroup_index(group, groups);
    var loss: Slots;
    for (var at = piece * WORKGROUP + local; at < params.len; at += params.pieces * WORKGROUP) {
        var slots = slots_x(at);
        var wanted = slots_targets(at);
        see(slots);
        for (var k = 0u; k < N; k++) {
            let rest = logarithm_of_one_plus(exponential(-abs(slots[k])));
            loss[k] += fma(-slots[k], wanted[k], max(slots[k], 0.0)) + rest;
        }
    }
    keep_loss(loss, piece, local);
    report(local);
}

// `(sigmoid(x) - target) / elements`.
@compute @workgroup_size(WORKGROUP)
fn binary_cross_entropy_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        var slots = slots_x(at);
        var wanted = slots_targets(at);
        see(slots);
        for (var k = 0u; k < N; k++) {
            slots[k] = (logistic(slots[k]) - wanted[k]) * params.scale;
        }
        store_y(at, join(slots));
    }
    report(local);
}

// The mean over elements of `(x - target)^2`.
@compute @workgroup_size(WORKGROUP)
fn mean_squared_error(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let piece = workgroup_index(group, groups);
    var loss: Slots;
    for (var at = piece * WORKGROUP + local; at < params.len; at += params.pieces * WORKGROUP) {
        var slots = slots_x(at);
        var wanted = slots_targets(at);
        see(slots);
        for (var k = 0u; k < N; k++) {
            let difference = slots[k] - wanted[k];
            loss[k] = fma(difference, difference, loss[k]);
        }
    }
    keep_loss(loss, piece, local);
    report(local);
}
