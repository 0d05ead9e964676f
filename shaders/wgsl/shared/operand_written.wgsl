fn store_NAME(at: u32, written: array<f32, PLANES>) {
    var element = written;
    for (var plane = 0u; plane < PLANES; plane++) {
        NAME[plane * params.NAME_stride + at] = Stored(element[plane]);
    }
}
