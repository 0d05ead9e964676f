// `sum_k c_k x^k` of an x that is a polynomial over an algebra of two slots: in each slot Horner's rule
// multiplies polynomials of real numbers. The coefficients c are plaintext.

struct Params {
    command: u32,
    first: u32,
    x_stride: u32,
    c_stride: u32,
    y_stride: u32,
    len: u32,
    terms: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> c: array<Stored>;
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;
// Coefficients that are known numbers.
@group(0) @binding(3) var<storage, read> table: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

// Coefficients of an argument and of its image.
const GIVEN = X_PLANES / 2u;
const MADE = D / 2u;

fn term(k: u32) -> f32 {
    if IN_TABLE {
        return word_table(k);
    }
    return number_c(0u, k);
}

@compute @workgroup_size(WORKGROUP)
fn poly_map_composed(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = element_index(group, groups, local);
    if at < params.len {
        var coordinates = load_x(at);
        var given: array<vec2<f32>, GIVEN>;
        for (var i = 0u; i < GIVEN; i++) {
            given[i] = split_pair(vec2(coordinates[2u * i], coordinates[2u * i + 1u]));
            seen[0] = max(seen[0], bitcast<u32>(given[i].x) & 0x7fffffffu);
            seen[1] = max(seen[1], bitcast<u32>(given[i].y) & 0x7fffffffu);
        }
        var made: array<vec2<f32>, MADE>;
        made[0] = vec2(term(params.terms - 1u));
        var held = 1u;
        for (var k = params.terms - 1u; k > 0u; k--) {
            let next = held + GIVEN - 1u;
            // From the highest down, so that what is overwritten is needed no more.
            for (var i = next; i > 0u; i--) {
                let place = i - 1u;
                var sum: vec2<f32>;
                for (var j = 0u; j < GIVEN; j++) {
                    if j <= place && place - j < held {
                        sum = fma(given[j], made[place - j], sum);
                    }
                }
                made[place] = sum;
            }
            made[0] += vec2(term(k - 1u));
            held = next;
        }
        var written: Coordinates;
        for (var i = 0u; i < MADE; i++) {
            let pair = join_pair(made[i]);
            written[2u * i] = pair.x;
            written[2u * i + 1u] = pair.y;
        }
        store_y(at, written);
    }
    report(local);
}
