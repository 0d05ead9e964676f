// Sliding windows. Along either axis one slides over `input` elements, `padding` places before them and
// `after` behind, and stops at `output` places. Sizes are far from what 32 bits hold, so that what lies
// before the first element wraps to a number that is larger than all of them.

struct Axis {
    input: u32,
    output: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
    after: u32,
    dilation: u32,
}

const ROWS = Axis(
    ROWS_INPUT, ROWS_OUTPUT, ROWS_KERNEL, ROWS_STRIDE, ROWS_PADDING, ROWS_AFTER, ROWS_DILATION,
);
const COLUMNS = Axis(
    COLUMNS_INPUT, COLUMNS_OUTPUT, COLUMNS_KERNEL, COLUMNS_STRIDE, COLUMNS_PADDING, COLUMNS_AFTER,
    COLUMNS_DILATION,
);
const TAPS = ROWS_KERNEL * COLUMNS_KERNEL;

// The element under a tap of the window at `place`: none of them where that is `input` or more.
fn element_at(axis: Axis, place: u32, tap: u32) -> u32 {
    return place * axis.stride + tap * axis.dilation - axis.padding;
}

// The place whose window has a tap on `element`: none of them where that is `output` or more.
fn place_at(axis: Axis, element: u32, tap: u32) -> u32 {
    let start = element + axis.padding - tap * axis.dilation;
    return select(axis.output, start / axis.stride, start % axis.stride == 0u);
}

// The taps of the window at `place` that lie on elements: from one to before the other.
fn taps(axis: Axis, place: u32) -> vec2<u32> {
    let start = place * axis.stride;
    let empty = max(start, axis.padding) - start;
    let room = max(start, axis.padding + axis.input) - start;
    let round = axis.dilation - 1u;
    return vec2(
        (empty + round) / axis.dilation,
        min((room + round) / axis.dilation, axis.kernel),
    );
}

// The places whose windows reach over `element`: from one to before the other.
fn places(axis: Axis, element: u32) -> vec2<u32> {
    let at = element + axis.padding;
    let reach = (axis.kernel - 1u) * axis.dilation;
    return vec2(
        (max(at, reach) - reach + axis.stride - 1u) / axis.stride,
        min(at / axis.stride + 1u, axis.output),
    );
}

// Whether the window at one of these places has a tap on `element`, and not between two of them.
fn covers(axis: Axis, place: u32, element: u32) -> bool {
    return (element + axis.padding - place * axis.stride) % axis.dilation == 0u;
}
