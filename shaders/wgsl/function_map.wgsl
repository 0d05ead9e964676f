// Functions of ciphertexts, slot by slot, and their derivatives.

struct Params {
    command: u32,
    first: u32,
    x_stride: u32,
    y_stride: u32,
    len: u32,
    alpha: f32,
    beta: f32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
@group(0) @binding(2) var<uniform> params: Params;

// y = f(x), or f(y) in place.
@compute @workgroup_size(WORKGROUP)
fn function_map(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        var slots: Slots;
        if IN_PLACE {
            slots = slots_y(at);
        } else {
            slots = slots_x(at);
        }
        see(slots);
        for (var k = 0u; k < N; k++) {
            slots[k] = value(slots[k]);
        }
        see_finite(slots);
        store_y(at, join(slots));
    }
    report(local);
}

// Multiplies the gradient y by the derivative, from what the function saved in x.
@compute @workgroup_size(WORKGROUP)
fn function_map_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        var saved = slots_x(at);
        var slots = slots_y(at);
        see(slots);
        for (var k = 0u; k < N; k++) {
            slots[k] = gradient(saved[k], slots[k]);
        }
        see_finite(slots);
        store_y(at, join(slots));
    }
    report(local);
}
