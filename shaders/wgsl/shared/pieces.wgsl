// Long sums are cut into pieces, which different workgroups add up. These lie one after the other, in
// single precision whatever operands are stored in, until all are there.

fn store_piece(at: u32, piece: Coordinates) {
    var coordinates = piece;
    for (var p = 0u; p < D; p++) {
        scratch[p * params.pieces_stride + at] = coordinates[p];
    }
}
