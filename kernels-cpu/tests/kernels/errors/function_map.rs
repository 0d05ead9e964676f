//! What function maps refuse.

use super::{EXEC, compact, ones, out, refused, untouched};
use furthermore_kernels_cpu::function_map::{
    Function, function_map, function_map_gradient, function_map_in_place,
};

#[test]
fn function_maps() {
    let compact = compact();
    let arithmetic = &compact.arithmetic;
    let name = |operand| ("function_map", operand);
    for function in Function::ALL {
        let map = |input: (usize, usize), output: (usize, usize)| {
            let (input, mut output) = (ones(input.0, input.1), out(output.0, output.1));
            let to = &mut output.view_mut();
            let outcome = function_map(&EXEC, arithmetic, function, input.view(), to);
            untouched(&output);
            outcome
        };
        refused(map((3, 5), (3, 5)), name("output"), true, (1, 3));
        refused(map((1, 5), (2, 5)), name("input"), true, (2, 1));
        refused(map((2, 5), (1, 5)), name("input"), true, (1, 2));
        refused(map((2, 4), (2, 5)), name("input"), false, (5, 4));
        refused(map((2, 6), (2, 5)), name("input"), false, (5, 6));
        let mut values = out(3, 5);
        let to = &mut values.view_mut();
        let outcome = function_map_in_place(&EXEC, arithmetic, function, to);
        refused(outcome, name("values"), true, (1, 3));
        untouched(&values);
        let gradient = |saved: (usize, usize), gradient: (usize, usize)| {
            let (saved, mut gradient) = (ones(saved.0, saved.1), out(gradient.0, gradient.1));
            let to = &mut gradient.view_mut();
            let outcome = function_map_gradient(&EXEC, arithmetic, function, saved.view(), to);
            untouched(&gradient);
            outcome
        };
        refused(gradient((3, 5), (3, 5)), name("gradient"), true, (1, 3));
        refused(gradient((1, 5), (2, 5)), name("saved"), true, (2, 1));
        refused(gradient((2, 4), (2, 5)), name("saved"), false, (5, 4));
    }
}
