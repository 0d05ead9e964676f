// What every kernel of a plan shares: the algebra's constants, the guard's record, and what may
// differ from run to run.

struct Run {
    // How far slots may grow apart, negative where that is not limited.
    limit: f32,
}

@group(1) @binding(0) var<storage, read> algebra: array<f32>;
// A verdict, then for each command the largest magnitude of each slot, as bits: those of numbers
// that are not negative are ordered as the numbers are, and infinity and NaN lie above all of them.
@group(1) @binding(1) var<storage, read_write> guard: array<atomic<u32>>;
@group(1) @binding(2) var<uniform> run: Run;

const WORKGROUP = 256u;
const GUARD_SLOTS = 8u;
const GUARD_HEAD = 8u;
const INFINITY_BITS = 0x7f800000u;

// Which workgroup of the command this is. A dispatch of more than 65,535 is folded into rows, and a
// long command is cut into dispatches of which each knows its first.
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return params.first + group.y * groups.x + group.x;
}

// Which element this invocation computes, where each has one.
fn element_index(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return workgroup_index(group, groups) * WORKGROUP + local;
}

var<private> seen: array<u32, GUARDED>;
var<workgroup> group_seen: array<atomic<u32>, GUARDED>;

// Takes note of slots: their magnitudes, and whether they are finite.
fn see(slots: Slots) {
    var s = slots;
    for (var k = 0u; k < N; k++) {
        seen[k % GUARDED] = max(seen[k % GUARDED], bitcast<u32>(s[k]) & 0x7fffffffu);
    }
}

// Takes note only of whether slots are finite.
fn see_finite(slots: Slots) {
    var s = slots;
    for (var k = 0u; k < N; k++) {
        let bits = bitcast<u32>(s[k]) & 0x7fffffffu;
        let found = select(0u, bits, bits >= INFINITY_BITS);
        seen[k % GUARDED] = max(seen[k % GUARDED], found);
    }
}

// Takes note of a number that is past what half precision rounds to a finite one.
fn see_stored(number: f32) {
    if abs(number) >= 65520.0 {
        seen[0] = max(seen[0], INFINITY_BITS);
    }
}

// Adds what the workgroup has seen to the command's record. Every invocation has to get here.
fn report(local: u32) {
    if local < GUARDED {
        atomicStore(&group_seen[local], 0u);
    }
    workgroupBarrier();
    for (var k = 0u; k < GUARDED; k++) {
        atomicMax(&group_seen[k], seen[k]);
    }
    workgroupBarrier();
    if local < GUARDED {
        let all = atomicLoad(&group_seen[local]);
        if all > 0u {
            atomicMax(&guard[GUARD_HEAD + params.command * GUARD_SLOTS + local], all);
        }
    }
}
