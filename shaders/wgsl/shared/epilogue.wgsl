// What is done to an element of a product before it is written: a bias, then a function.

fn epilogue(product: Coordinates, bias_at: u32) -> Coordinates {
    var c = product;
    if HAS_BIAS {
        var added = coordinates_bias(bias_at);
        for (var p = 0u; p < D; p++) {
            c[p] += added[p];
        }
    }
    if FUNCTION != IDENTITY {
        var slots = split(c);
        see(slots);
        for (var k = 0u; k < N; k++) {
            slots[k] = value(slots[k]);
        }
        see_finite(slots);
        c = join(slots);
    }
    return c;
}
