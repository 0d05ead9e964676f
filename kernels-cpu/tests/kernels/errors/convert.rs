//! What conversions refuse.

use super::{ABSURD, EXEC, ones, out, refused, untouched};
use furthermore_kernels_cpu::convert::{
    CopyAxis, Rest, StridedCopy, cast, deinterleave, from_tiles, interleave, into_tiles,
    linear_map, strided_copy, transpose,
};
use furthermore_kernels_cpu::{KernelError, Planes, PlanesMut};

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

fn axis(size: usize, from: isize, to: isize) -> CopyAxis {
    CopyAxis { size, from, to }
}

#[test]
fn strided_copies() {
    let copy = StridedCopy::new(6, 0, 7, 1, &[axis(6, 1, 1)]).expect("it lies in both planes");
    for rest in [Rest::Keep, Rest::Zero] {
        let outcome = |x: (usize, usize), to: (usize, usize)| {
            let mut output = out(to.0, to.1);
            let input = ones(x.0, x.1);
            let outcome = strided_copy(&EXEC, &copy, rest, input.view(), &mut output.view_mut());
            untouched(&output);
            outcome
        };
        let name = |operand| ("convert", operand);
        refused(outcome((2, 5), (2, 7)), name("input"), false, (6, 5));
        refused(outcome((2, 6), (2, 6)), name("target"), false, (7, 6));
        refused(outcome((2, 6), (2, 8)), name("target"), false, (7, 8));
        refused(outcome((2, 6), (1, 7)), name("target"), true, (2, 1));
    }
}

/// Boxes that reach out of a plane on either side, and places that are written twice.
#[test]
fn boxes_of_strided_copies() {
    let refused = |from: (usize, usize), to: (usize, usize), axes: &[CopyAxis], parts: &[&str]| {
        let made = StridedCopy::new(from.0, from.1, to.0, to.1, axes);
        let error = made.expect_err("it does not fit").to_string();
        for part in parts {
            assert!(error.contains(part), "'{error}' lacks {part}");
        }
    };
    let ten = (10, 0);
    refused(
        ten,
        ten,
        &[axis(11, 0, 1)],
        &["convert", "written", "10 in a plane of 10"],
    );
    refused(
        ten,
        ten,
        &[axis(10, -1, 1)],
        &["convert", "read", "-9 in a plane of 10"],
    );
    refused(
        (10, 9),
        ten,
        &[axis(10, -1, 1), axis(2, -1, 0)],
        &["read", "-1 in"],
    );
    refused((10, 10), ten, &[], &["read", "10 in a plane of 10"]);
    refused(ten, (0, 0), &[], &["written", "0 in a plane of 0"]);
    refused(
        ten,
        ten,
        &[axis(4, 1, 2), axis(4, 1, -1)],
        &["written", "-3 in"],
    );
    for twice in [
        &[axis(2, 1, 0)][..],
        &[axis(2, 1, 1), axis(2, 2, 1)],
        &[axis(2, 1, 1), axis(2, 2, -1)],
        &[axis(3, 1, 1), axis(2, 3, 2)],
        &[axis(2, 1, 1), axis(2, 2, 2), axis(2, 4, 3)],
    ] {
        refused(ten, (10, 3), twice, &["convert", "twice"]);
    }
    // Every second place of twice as many, seven times over.
    let many: Vec<CopyAxis> = (0..7)
        .map(|k| axis(2, 2 << (2 * k), 4 << (3 * k)))
        .collect();
    let far = (1 << 24, 0);
    refused(far, far, &many, &["axes", "at most 6", "7"]);
    assert!(StridedCopy::new(far.0, 0, far.0, 0, &many[1..]).is_ok());
}

/// Sizes, strides and lengths that pass every number are refused, or are those of a box that is there.
#[test]
fn absurd_boxes_of_strided_copies() {
    let strides = [0, 1, -1, 3, isize::MAX, isize::MIN, 1 << (isize::BITS / 2)];
    for (len, first) in ABSURD.into_iter().flat_map(|a| ABSURD.map(|b| (a, b))) {
        for (from, to) in strides.into_iter().flat_map(|a| strides.map(|b| (a, b))) {
            for (size, other) in ABSURD.into_iter().flat_map(|a| ABSURD.map(|b| (a, b))) {
                let axes = [axis(size, from, to), axis(other, to, from)];
                match StridedCopy::new(len, first, len, first, &axes) {
                    Ok(copy) => {
                        let fits = copy.is_empty() || copy.from().max(copy.to()) < len;
                        assert!(fits && copy.len() <= len, "{copy:?}");
                        assert_eq!(copy.len(), size.saturating_mul(other), "{copy:?}");
                    }
                    Err(error) => assert!(matches!(
                        error,
                        KernelError::Shape { .. } | KernelError::Parameter { .. }
                    )),
                }
            }
        }
    }
}
