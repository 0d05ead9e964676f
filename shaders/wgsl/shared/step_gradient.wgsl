// The gradient by a pixel of a convolution's result from that by its average: relu's derivative is the
// pixel's steps.

fn is_step(slot: u32, word: u32, image: u32) -> bool {
    return (word_steps(slot * params.steps_stride + word) >> image & 1u) == 1u;
}

// GRADIENT_PLANES is those of a ciphertext or, of a plaintext among them, one.
fn through_steps(
    average: array<f32, GRADIENT_PLANES>,
    word: u32,
    image: u32,
) -> array<f32, GRADIENT_PLANES> {
    var gradient = average;
    if GRADIENT_PLANES < D {
        gradient[0] = select(0.0, SHARE * gradient[0], is_step(0u, word, image));
        return gradient;
    }
    var coordinates: Coordinates;
    for (var p = 0u; p < GRADIENT_PLANES; p++) {
        coordinates[p] = gradient[p];
    }
    var slots = split(coordinates);
    for (var k = 0u; k < N; k++) {
        slots[k] = select(0.0, SHARE * slots[k], is_step(k, word, image));
    }
    coordinates = join(slots);
    for (var p = 0u; p < GRADIENT_PLANES; p++) {
        gradient[p] = coordinates[p];
    }
    return gradient;
}
