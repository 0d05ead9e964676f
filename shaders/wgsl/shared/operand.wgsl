// Access to the operand NAME, at an element of each plane and at four that lie side by side.

fn load_NAME(at: u32) -> array<f32, PLANES> {
    var element: array<f32, PLANES>;
    for (var plane = 0u; plane < PLANES; plane++) {
        element[plane] = number_NAME(plane, at);
    }
    return element;
}

fn load4_NAME(at: u32) -> array<vec4<f32>, PLANES> {
    var elements: array<vec4<f32>, PLANES>;
    for (var plane = 0u; plane < PLANES; plane++) {
        elements[plane] = four_NAME(plane, at);
    }
    return elements;
}
