fn coordinates_NAME(at: u32) -> Coordinates {
    return load_NAME(at);
}

fn slots_NAME(at: u32) -> Slots {
    return split(load_NAME(at));
}
