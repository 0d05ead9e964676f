// Sums that a command goes through in parts: of each, a part adds what it has to what those before it
// have, and leaves that to the next in the first `kept` numbers of scratch. The last writes it.

// What a part is, as bits of `part`; one that is neither has all of the sum.
const FOLLOWS = 1u;
const IS_FOLLOWED = 2u;

fn is_last() -> bool {
    return (params.part & IS_FOLLOWED) == 0u;
}

// A coordinate's sum, the `at`th of those that are kept, and what earlier parts have of it.
fn so_far(at: u32, sum: f32) -> f32 {
    var all = sum;
    if (params.part & FOLLOWS) != 0u {
        all += word_scratch(at);
    }
    if !is_last() {
        put_scratch(at, all);
    }
    return all;
}

// Those of all coordinates of an element.
fn element_so_far(at: u32, sum: Coordinates) -> Coordinates {
    var all = sum;
    for (var p = 0u; p < D; p++) {
        all[p] = so_far(params.kept / D * p + at, all[p]);
    }
    return all;
}
