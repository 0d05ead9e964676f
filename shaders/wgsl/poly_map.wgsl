// Polynomials of a tensor, `sum_k c_k x^k`, and their gradients: each slot's own polynomial by
// Horner's rule, which equals the rule in the algebra and costs less.

struct Params {
    command: u32,
    first: u32,
    x_stride: u32,
    c_stride: u32,
    g_stride: u32,
    y_stride: u32,
    len: u32,
    terms: u32,
    // Into how many parts elements are cut whose products are summed.
    chunks: u32,
    // Numbers of scratch before chunks.
    kept: u32,
    part: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> c: array<Stored>;
@group(0) @binding(2) var<storage, read> g: array<Stored>;
@group(0) @binding(3) var<storage, read_write> y: array<Stored>;
// Coefficients that are known numbers.
@group(0) @binding(4) var<storage, read> table: array<f32>;
// Sums of chunks: those of a coordinate of a coefficient side by side.
@group(0) @binding(5) var<storage, read_write> scratch: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

// Elements of an invocation. A coefficient's slots are formed once for all of them.
const RUN = 4u;

alias Elements = array<Slots, RUN>;

// The `e`th element of an invocation.
fn run_index(workgroup: u32, local: u32, e: u32) -> u32 {
    return (workgroup * RUN + e) * WORKGROUP + local;
}

// Coefficient k, times k for the derivative.
fn coefficient(k: u32, derivative: bool) -> Slots {
    var slots: Slots;
    if IN_TABLE {
        for (var n = 0u; n < N; n++) {
            slots[n] = word_table(k);
        }
    } else {
        slots = slots_c(k);
    }
    if derivative {
        for (var n = 0u; n < N; n++) {
            slots[n] *= f32(k);
        }
    }
    return slots;
}

// The polynomial, or its derivative, at each element.
fn evaluate(elements: Elements, derivative: bool) -> Elements {
    var points = elements;
    var values: Elements;
    let lowest = select(0u, 1u, derivative);
    if params.terms > lowest {
        let last = coefficient(params.terms - 1u, derivative);
        for (var e = 0u; e < RUN; e++) {
            values[e] = last;
        }
        for (var k = params.terms - 1u; k > lowest; k--) {
            var next = coefficient(k - 1u, derivative);
            for (var e = 0u; e < RUN; e++) {
                for (var n = 0u; n < N; n++) {
                    values[e][n] = fma(values[e][n], points[e][n], next[n]);
                }
            }
        }
    }
    return values;
}

// y = sum_k c_k x^k.
@compute @workgroup_size(WORKGROUP)
fn poly_map(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_index(group, groups);
    var points: Elements;
    for (var e = 0u; e < RUN; e++) {
        let at = run_index(workgroup, local, e);
        if at < params.len {
            points[e] = slots_x(at);
            see(points[e]);
        }
    }
    var values = evaluate(points, false);
    for (var e = 0u; e < RUN; e++) {
        let at = run_index(workgroup, local, e);
        if at < params.len {
            store_y(at, join(values[e]));
        }
    }
    report(local);
}

// Multiplies the gradient y by `sum_k k c_k x^(k-1)`.
@compute @workgroup_size(WORKGROUP)
fn poly_map_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_index(group, groups);
    var points: Elements;
    for (var e = 0u; e < RUN; e++) {
        let at = run_index(workgroup, local, e);
        if at < params.len {
            points[e] = slots_x(at);
        }
    }
    var slopes = evaluate(points, true);
    for (var e = 0u; e < RUN; e++) {
        let at = run_index(workgroup, local, e);
        if at < params.len {
            var slots = slots_y(at);
            see(slots);
            for (var n = 0u; n < N; n++) {
                slots[n] *= slopes[e][n];
            }
            store_y(at, join(slots));
        }
    }
    report(local);
}

// Coefficients whose sums an invocation keeps in registers.
const BLOCK = max(16u / N, 4u);

var<workgroup> group_sums: array<Slots, WORKGROUP>;

// The sum over the workgroup's invocations. Every one of them has to get here.
fn sum_of_group(slots: Slots, local: u32) -> Slots {
    group_sums[local] = slots;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if local < half {
            for (var n = 0u; n < N; n++) {
                group_sums[local][n] += group_sums[local + half][n];
            }
        }
        workgroupBarrier();
    }
    let sum = group_sums[0];
    workgroupBarrier();
    return sum;
}

// Coefficient k's gradient, once all that the command has of it is summed.
fn finish_term(k: u32, sum: Slots) {
    let all = element_so_far(k, join(sum));
    if is_last() {
        store_y(k, all);
    }
}

// Element k of y is the sum over elements of `g x^k`, or scratch its part of one chunk where there
// are several. A workgroup has BLOCK coefficients of a chunk.
@compute @workgroup_size(WORKGROUP)
fn poly_map_coefficient_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_index(group, groups);
    let chunk = workgroup % params.chunks;
    let lowest = workgroup / params.chunks * BLOCK;
    var sums: array<Slots, BLOCK>;
    if lowest < params.terms {
        let step = params.chunks * WORKGROUP;
        for (var at = chunk * WORKGROUP + local; at < params.len; at += step) {
            var point = slots_x(at);
            var product = slots_g(at);
            // Factor by factor, since a power by itself may overflow where the product is zero.
            for (var k = 0u; k < lowest; k++) {
                for (var n = 0u; n < N; n++) {
                    product[n] *= point[n];
                }
            }
            for (var k = 0u; k < BLOCK; k++) {
                for (var n = 0u; n < N; n++) {
                    sums[k][n] += product[n];
                    product[n] *= point[n];
                }
            }
        }
    }
    for (var k = 0u; k < BLOCK; k++) {
        let sum = sum_of_group(sums[k], local);
        let term = lowest + k;
        if local == 0u && term < params.terms {
            if params.chunks == 1u {
                finish_term(term, sum);
            } else {
                var coordinates = join(sum);
                for (var p = 0u; p < D; p++) {
                    let at = (term * D + p) * params.chunks + chunk;
                    put_scratch(params.kept + at, coordinates[p]);
                }
            }
        }
    }
}

// The sum of the chunks: of coefficient k in workgroup k, a chunk for each invocation.
@compute @workgroup_size(WORKGROUP)
fn poly_map_coefficient_gradient_of_chunks(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let term = workgroup_index(group, groups);
    var part: Slots;
    if term < params.terms && local < params.chunks {
        var coordinates: Coordinates;
        for (var p = 0u; p < D; p++) {
            let at = (term * D + p) * params.chunks + local;
            coordinates[p] = word_scratch(params.kept + at);
        }
        part = split(coordinates);
    }
    let sum = sum_of_group(part, local);
    if local == 0u && term < params.terms {
        finish_term(term, sum);
    }
}
