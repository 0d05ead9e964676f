// It is bound as vectors, so that four numbers are one load: they start at a multiple of 4.

fn number_NAME(plane: u32, at: u32) -> f32 {
    return four_NAME(plane, at)[at % 4u];
}

fn four_NAME(plane: u32, at: u32) -> vec4<f32> {
    return vec4<f32>(word_NAME(plane, at));
}
