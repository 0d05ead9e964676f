fn number_NAME(plane: u32, at: u32) -> f32 {
    return f32(word_NAME(plane, at));
}

fn four_NAME(plane: u32, at: u32) -> vec4<f32> {
    return vec4(
        number_NAME(plane, at),
        number_NAME(plane, at + 1u),
        number_NAME(plane, at + 2u),
        number_NAME(plane, at + 3u),
    );
}
