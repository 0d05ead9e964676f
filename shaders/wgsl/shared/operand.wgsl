// Access to the operand NAME, at an element of each plane.

fn load_NAME(at: u32) -> array<f32, PLANES> {
    var element: array<f32, PLANES>;
    for (var plane = 0u; plane < PLANES; plane++) {
        element[plane] = f32(NAME[plane * params.NAME_stride + at]);
    }
    return element;
}
