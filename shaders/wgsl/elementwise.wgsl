// Sums of multiples, products and quotients, element by element, of operands that may broadcast and
// of which either may be a plaintext.

struct Params {
    command: u32,
    first: u32,
    a_stride: u32,
    b_stride: u32,
    c_stride: u32,
    len: u32,
    alpha: f32,
    beta: f32,
    // For each axis, innermost first, its size and the steps along it in a and b.
    size_0: u32,
    a_0: u32,
    b_0: u32,
    size_1: u32,
    a_1: u32,
    b_1: u32,
    size_2: u32,
    a_2: u32,
    b_2: u32,
    size_3: u32,
    a_3: u32,
    b_3: u32,
    size_4: u32,
    a_4: u32,
    b_4: u32,
    size_5: u32,
    a_5: u32,
    b_5: u32,
}

@group(0) @binding(0) var<storage, read> a: array<Stored>;
@group(0) @binding(1) var<storage, read> b: array<Stored>;
@group(0) @binding(2) var<storage, read_write> c: array<Stored>;
@group(0) @binding(3) var<uniform> params: Params;

// The elements of a and b that meet at an element of the result: its digits to the bases of the axes'
// sizes are the places along them.
fn meeting(at: u32) -> vec2<u32> {
    var sizes = array<u32, 6>(
        params.size_0, params.size_1, params.size_2, params.size_3, params.size_4, params.size_5,
    );
    var steps = array<vec2<u32>, 6>(
        vec2(params.a_0, params.b_0),
        vec2(params.a_1, params.b_1),
        vec2(params.a_2, params.b_2),
        vec2(params.a_3, params.b_3),
        vec2(params.a_4, params.b_4),
        vec2(params.a_5, params.b_5),
    );
    var rest = at;
    var met = vec2(0u);
    for (var axis = 0u; axis < AXES - 1u; axis++) {
        met += rest % sizes[axis] * steps[axis];
        rest /= sizes[axis];
    }
    return met + rest * steps[AXES - 1u];
}

// c = alpha a + beta b.
@compute @workgroup_size(WORKGROUP)
fn linear(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        let met = meeting(at);
        var from_a = coordinates_a(met.x);
        var from_b = coordinates_b(met.y);
        var sum: Coordinates;
        for (var p = 0u; p < D; p++) {
            sum[p] = fma(params.alpha, from_a[p], params.beta * from_b[p]);
        }
        store_c(at, sum);
    }
}

// c = a b in the algebra.
@compute @workgroup_size(WORKGROUP)
fn multiply(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        let met = meeting(at);
        var from_a = left(load_a(met.x));
        var from_b = right(load_b(met.y));
        var sums: array<f32, SUMS>;
        for (var t = 0u; t < TERMS; t++) {
            let s = term_sum(t);
            sums[s] = fma(from_a[term_left(t)], from_b[term_right(t)], sums[s]);
        }
        store_c(at, finish(sums));
    }
}

// c = a / b, slot by slot.
@compute @workgroup_size(WORKGROUP)
fn divide(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        let met = meeting(at);
        var slots = slots_a(met.x);
        var divisors = slots_b(met.y);
        // An infinite divisor would hide in a quotient of zero.
        see_finite(divisors);
        for (var k = 0u; k < N; k++) {
            slots[k] /= divisors[k];
        }
        see(slots);
        store_c(at, join(slots));
    }
    report(local);
}
