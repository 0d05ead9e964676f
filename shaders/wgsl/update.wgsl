// Optimiser steps, in place on parameters, and what is done to gradients before them. What is linear
// is done plane by plane, the rest slot by slot.

struct Params {
    command: u32,
    first: u32,
    gradient_stride: u32,
    parameter_stride: u32,
    velocity_stride: u32,
    moment_stride: u32,
    root_stride: u32,
    planes: u32,
    len: u32,
    momentum: f32,
    weight_decay: f32,
    // Minus the step's length, with Adam over the first moment's correction.
    rate: f32,
    beta1: f32,
    // 1 - beta1
    rest1: f32,
    beta2: f32,
    rest2: f32,
    // One over the root's correction.
    scale: f32,
    epsilon: f32,
    limit: f32,
}

@group(0) @binding(0) var<storage, read> gradient: array<Stored>;
@group(0) @binding(1) var<storage, read_write> parameter: array<Stored>;
@group(0) @binding(2) var<storage, read_write> velocity: array<Stored>;
@group(0) @binding(3) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read_write> moment: array<Stored>;
@group(0) @binding(5) var<storage, read_write> root: array<Stored>;

// Whether steps may be taken: nothing that came before them has tripped the guard.
fn may_step() -> bool {
    return atomicLoad(&guard[0]) == 0u;
}

// Takes note of a coordinate only if it is not finite.
fn see_coordinate(x: f32) {
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    seen[0] = max(seen[0], select(0u, bits, bits >= INFINITY_BITS));
}

// `parameter += rate step` with the step `gradient + weight_decay parameter`, or with the
// velocity, to `momentum` times which that is added.
@compute @workgroup_size(WORKGROUP)
fn sgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = workgroup_index(group, groups);
    let plane_groups = (params.len + WORKGROUP - 1u) / WORKGROUP;
    let plane = number / plane_groups;
    let at = number % plane_groups * WORKGROUP + local;
    if plane < params.planes && at < params.len && may_step() {
        let before = number_parameter(plane, at);
        let g = number_gradient(plane, at);
        var step = fma(params.weight_decay, before, g);
        if HAS_VELOCITY {
            step = fma(params.momentum, number_velocity(plane, at), step);
            put_velocity(plane, at, step);
        }
        let stepped = fma(params.rate, step, before);
        see_coordinate(stepped);
        put_parameter(plane, at, stepped);
    }
    report(local);
}

// A step of Adam (Kingma and Ba, arXiv:1412.6980), with the root of the second moment formed slot by
// slot.
@compute @workgroup_size(WORKGROUP)
fn adam(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len && may_step() {
        var w = load_parameter(at);
        var g = load_gradient(at);
        var m = load_moment(at);
        for (var p = 0u; p < D; p++) {
            g[p] = fma(params.weight_decay, w[p], g[p]);
            m[p] = fma(params.beta1, m[p], params.rest1 * g[p]);
            see_coordinate(m[p]);
        }
        var slots = split(g);
        var step = split(m);
        var u = slots_root(at);
        for (var k = 0u; k < N; k++) {
            let square = params.rest2 * slots[k] * slots[k];
            u[k] = sqrt(fma(params.beta2, u[k] * u[k], square));
            step[k] = step[k] / fma(params.scale, u[k], params.epsilon);
        }
        see_finite(u);
        var change = join(step);
        for (var p = 0u; p < D; p++) {
            w[p] = fma(params.rate, change[p], w[p]);
            see_coordinate(w[p]);
        }
        store_parameter(at, w);
        store_moment(at, m);
        store_root(at, join(u));
    }
    report(local);
}

// Limits slots to `-limit..=limit`; NaN passes.
@compute @workgroup_size(WORKGROUP)
fn clip(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        var slots = slots_parameter(at);
        for (var k = 0u; k < N; k++) {
            let raised = select(slots[k], -params.limit, slots[k] < -params.limit);
            slots[k] = select(raised, params.limit, raised > params.limit);
        }
        see_finite(slots);
        store_parameter(at, join(slots));
    }
    report(local);
}
