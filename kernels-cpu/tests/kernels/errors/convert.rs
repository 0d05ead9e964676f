//! What conversions refuse.

use super::{ABSURD, EXEC, ones, out, refused, untouched};
use furthermore_kernels_cpu::convert::{
    cast, deinterleave, from_tiles, interleave, into_tiles, linear_map, transpose,
};
use furthermore_kernels_cpu::{Planes, PlanesMut};

#[test]
fn conversions() {
    let name = |operand| ("convert", operand);
    let map = |matrix: usize, inputs: &[usize]| {
        let inputs: Vec<Vec<f32>> = inputs.iter().map(|&len| vec![1.0; len]).collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut output = out(2, 6);
        let matrix = vec![1.0; matrix];
        let outcome = linear_map(&EXEC, &matrix, &inputs, &mut output.view_mut());
        untouched(&output);
        outcome
    };
    refused(map(5, &[6, 6, 6]), name("matrix"), false, (6, 5));
    refused(map(7, &[6, 6, 6]), name("matrix"), false, (6, 7));
    refused(map(1, &[]), name("matrix"), false, (0, 1));
    refused(map(4, &[6, 5]), name("input"), false, (6, 5));
    refused(map(4, &[7, 6]), name("input"), false, (6, 7));
    for has in [0, 11, 13] {
        let mut output = out(1, has);
        let outcome = interleave(&EXEC, ones(2, 6).view(), output.slice_mut());
        refused(outcome, name("output"), false, (12, has));
        untouched(&output);
        let mut output = out(2, 6);
        let outcome = deinterleave(&EXEC, &vec![1.0; has], &mut output.view_mut());
        refused(outcome, name("input"), false, (12, has));
        untouched(&output);
    }
    let turned = |shape, from: (usize, usize), to: (usize, usize)| {
        let mut output = out(to.0, to.1);
        let outcome = transpose(
            &EXEC,
            shape,
            ones(from.0, from.1).view(),
            &mut output.view_mut(),
        );
        untouched(&output);
        outcome
    };
    let far = usize::MAX;
    refused(
        turned([2, 3, 1], (2, 5), (2, 6)),
        name("input"),
        false,
        (6, 5),
    );
    refused(
        turned([2, 3, 1], (2, 6), (2, 7)),
        name("output"),
        false,
        (6, 7),
    );
    refused(
        turned([2, 3, 1], (2, 6), (1, 6)),
        name("output"),
        true,
        (2, 1),
    );
    refused(
        turned([far, far, 2], (1, 6), (1, 6)),
        name("input"),
        false,
        (far, 6),
    );
    assert_eq!(turned([far, far, 0], (1, 0), (1, 0)), Ok(()));
}

/// Batches, matrices, lengths and numbers of planes that pass every number, of tensors without an
/// element.
#[test]
fn absurd_sizes() {
    let mut nothing = [0.0f32; 0];
    let many = ABSURD.map(|planes| (planes, 0));
    for (planes, len) in many.into_iter().chain(ABSURD.map(|len| (0, len))) {
        let empty = Planes::<f32>::new(&[], planes, usize::MAX, len).expect("nothing is needed");
        let mut to = PlanesMut::new(&mut nothing, planes, usize::MAX, len).expect("as above");
        for batch in ABSURD {
            let fits = len == 0 || batch > 0 && len.is_multiple_of(batch);
            let outcome = into_tiles(&EXEC, batch, empty, &mut to);
            assert_eq!(outcome.is_ok(), fits, "{len} in a batch of {batch}");
            assert_eq!(from_tiles(&EXEC, batch, empty, &mut to), outcome);
            for rows in ABSURD {
                let outcome = transpose(&EXEC, [batch, rows, 0], empty, &mut to);
                assert_eq!(outcome.is_ok(), len == 0);
            }
        }
        let mut wide = PlanesMut::<f64>::new(&mut [], planes, usize::MAX, len).expect("as above");
        assert_eq!(cast(&EXEC, empty, &mut wide), Ok(()));
        assert_eq!(deinterleave(&EXEC, &[], &mut to), Ok(()));
        assert_eq!(interleave(&EXEC, empty, &mut []), Ok(()));
        assert_eq!(linear_map(&EXEC, &[], &[], &mut to), Ok(()));
        let outcome = linear_map(&EXEC, &[1.0], &[&[], &[]], &mut to);
        let needs = planes.saturating_mul(2);
        refused(outcome, ("convert", "matrix"), false, (needs, 1));
    }
}
