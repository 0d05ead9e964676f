// Sums, means and maxima along an axis, softmax, slot magnitudes and losses.

struct Params {
    command: u32,
    first: u32,
    x_stride: u32,
    len: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(3) var<uniform> params: Params;

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
