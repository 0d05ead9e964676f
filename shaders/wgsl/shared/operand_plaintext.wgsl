// A plaintext among ciphertexts: that multiple of one.
fn coordinates_NAME(at: u32) -> Coordinates {
    let number = load_NAME(at)[0];
    var element: Coordinates;
    for (var plane = 0u; plane < D; plane++) {
        element[plane] = number * one(plane);
    }
    return element;
}

fn slots_NAME(at: u32) -> Slots {
    let number = load_NAME(at)[0];
    var slots: Slots;
    for (var slot = 0u; slot < N; slot++) {
        slots[slot] = number;
    }
    return slots;
}
