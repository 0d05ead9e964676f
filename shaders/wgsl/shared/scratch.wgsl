// What a command leaves for its own next dispatch, such as pieces of long sums that different workgroups
// add up. Planes lie `scratch_stride` apart, in single precision whatever operands are stored in.

fn store_scratch(at: u32, written: Coordinates) {
    var coordinates = written;
    for (var p = 0u; p < D; p++) {
        put_scratch(p * params.scratch_stride + at, coordinates[p]);
    }
}

fn load_scratch(at: u32) -> Coordinates {
    var coordinates: Coordinates;
    for (var p = 0u; p < D; p++) {
        coordinates[p] = word_scratch(p * params.scratch_stride + at);
    }
    return coordinates;
}
