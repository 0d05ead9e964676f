// The guard's verdict: whether updates may go ahead. One workgroup looks at what every command before
// them has seen.

struct Params {
    command: u32,
    first: u32,
    commands: u32,
}

// For each command, 1 where its slots have to be of similar magnitude.
@group(0) @binding(0) var<storage, read> watched: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn verdict(@builtin(local_invocation_index) local: u32) {
    for (var i = local; i < params.commands; i += WORKGROUP) {
        var low = INFINITY_BITS;
        var high = 0u;
        var slots = 0u;
        for (var k = 0u; k < GUARD_SLOTS; k++) {
            let bits = atomicLoad(&guard[GUARD_HEAD + i * GUARD_SLOTS + k]);
            high = max(high, bits);
            if bits > 0u {
                low = min(low, bits);
                slots++;
            }
        }
        let apart = run.limit >= 0.0 && bitcast<f32>(high) > run.limit * bitcast<f32>(low);
        if high >= INFINITY_BITS || (word_watched(i) == 1u && slots > 1u && apart) {
            atomicMax(&guard[0], 1u);
        }
    }
}
