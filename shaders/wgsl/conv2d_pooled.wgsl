// Averages of relu of a convolution over windows that tile it, and the steps that its gradients need,
// from the convolution that the command's first dispatch left in scratch.

struct Params {
    command: u32,
    first: u32,
    y_stride: u32,
    steps_stride: u32,
    scratch_stride: u32,
    batch: u32,
}

@group(0) @binding(0) var<storage, read_write> scratch: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
@group(0) @binding(2) var<storage, read_write> steps: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

const RESULT = Result(CHANNELS, RESULT_ROWS, RESULT_COLUMNS);
const DOWN = RESULT_ROWS / WINDOW_ROWS;
const ACROSS = RESULT_COLUMNS / WINDOW_COLUMNS;
// A workgroup has as many windows of a tile, and an invocation for each image of them.
const WINDOWS = WORKGROUP / TILE_IMAGES;

var<workgroup> words: array<atomic<u32>, WINDOWS * N>;

// y, the averages, and steps.
@compute @workgroup_size(WORKGROUP)
fn conv2d_pooled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = workgroup_index(group, groups) * WINDOWS + local / TILE_IMAGES;
    let image = local % TILE_IMAGES;
    let channel = at / (DOWN * ACROSS) % CHANNELS;
    let top = at / ACROSS % DOWN * WINDOW_ROWS;
    let left = at % ACROSS * WINDOW_COLUMNS;
    // Past the last tile there is no image.
    let first = at / (DOWN * ACROSS * CHANNELS) * TILE_IMAGES;
    let width = min(TILE_IMAGES, max(params.batch, first) - first);
    let p = Pixel(first, width, 0u, image);
    // An invocation for each slot of a window gathers its steps.
    let gathered = local / TILE_IMAGES * N + image;
    if HAS_STEPS {
        if image < N {
            atomicStore(&words[gathered], 0u);
        }
        workgroupBarrier();
    }
    var sum: Slots;
    for (var i = 0u; i < WINDOW_ROWS; i++) {
        for (var j = 0u; j < WINDOW_COLUMNS; j++) {
            let row = top + i;
            let column = left + j;
            var slots: Slots;
            if image < width {
                let number = (channel * RESULT_ROWS + row) * RESULT_COLUMNS + column;
                let pixels = CHANNELS * RESULT_ROWS * RESULT_COLUMNS;
                slots = split(load_scratch(element(p, pixels, number)));
                see(slots);
            }
            for (var k = 0u; k < N; k++) {
                sum[k] += max(slots[k], 0.0);
            }
            if HAS_STEPS {
                for (var k = 0u; k < N; k++) {
                    if slots[k] > 0.0 {
                        atomicOr(&words[local / TILE_IMAGES * N + k], 1u << image);
                    }
                }
                workgroupBarrier();
                if image < N && width > 0u {
                    let word = word_at(p, RESULT, channel, row, column);
                    put_steps(
                        image * params.steps_stride + word,
                        atomicExchange(&words[gathered], 0u),
                    );
                }
                workgroupBarrier();
            }
        }
    }
    if image < width {
        for (var k = 0u; k < N; k++) {
            sum[k] *= SHARE;
        }
        store_y(average_at(p, RESULT, channel, top, left), join(sum));
    }
    report(local);
}
