// The most a device gives, to hold kernels against: fused multiply-adds from registers, and a copy.

struct Params {
    command: u32,
    first: u32,
    x_stride: u32,
    y_stride: u32,
    rounds: u32,
    len: u32,
    shrink: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> params: Params;

// Independent sums: enough that their latency hides behind each other.
const CHAINS = 8u;

@compute @workgroup_size(WORKGROUP)
fn fused_multiply_adds(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let shrink = vec4(params.shrink);
    var sums: array<vec4<f32>, CHAINS>;
    for (var i = 0u; i < CHAINS; i++) {
        sums[i] = vec4(f32(local + i));
    }
    for (var round = 0u; round < params.rounds; round++) {
        for (var i = 0u; i < CHAINS; i++) {
            sums[i] = fma(sums[i], shrink, vec4(1.0));
        }
    }
    var total = sums[0];
    for (var i = 1u; i < CHAINS; i++) {
        total += sums[i];
    }
    let at = element_index(group, groups, local);
    if at < params.len {
        y[at] = total;
    }
}

@compute @workgroup_size(WORKGROUP)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        y[at] = x[at];
    }
}
