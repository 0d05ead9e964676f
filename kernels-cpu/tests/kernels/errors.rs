//! What does not fit is refused with an error that names the operand, before anything is written;
//! nothing panics.

use std::fmt::Debug;

use crate::support::{Algebra, Guarded};
use furthermore_kernels_cpu::block_matmul::{Epilogue, MatmulShape, block_matmul, scratch_len};
use furthermore_kernels_cpu::convert::{deinterleave, interleave, linear_map};
use furthermore_kernels_cpu::elementwise::{linear, multiply};
use furthermore_kernels_cpu::function_map::{
    Function, function_map, function_map_gradient, function_map_in_place,
};
use furthermore_kernels_cpu::reduce::{
    mean_squared_error, slot_maxima, softmax_cross_entropy, softmax_cross_entropy_gradient,
    sum_rows,
};
use furthermore_kernels_cpu::update::sgd;
use furthermore_kernels_cpu::{Exec, Isa, KernelError, Planes, PlanesMut};

const EXEC: Exec = Exec {
    isa: Isa::PORTABLE,
    threads: 2,
};

/// The algebra of these tests: two planes to a ciphertext.
fn compact() -> Algebra {
    Algebra::compact2([0.75, -0.5])
}

/// An operand of ones.
fn ones(count: usize, len: usize) -> Guarded<f32> {
    Guarded::filled(&vec![vec![1.0; len]; count], 1)
}

/// An output of NaN.
fn out(count: usize, len: usize) -> Guarded<f32> {
    Guarded::poisoned(count, len, 1)
}

/// Panics unless nothing was written.
fn untouched(output: &Guarded<f32>) {
    output
        .intact()
        .expect("nothing is written beside an output that is refused");
    let all = output.planes().into_iter().flatten().all(|x| x.is_nan());
    assert!(all, "a refused kernel wrote to its output");
}

/// Panics unless the kernel was refused because of the number of planes, if `planes`, or else of the
/// length of that operand; the message has to say all of it.
fn refused<R: Debug>(
    outcome: Result<R, KernelError>,
    (kernel, operand): (&str, &str),
    planes: bool,
    (needs, has): (usize, usize),
) {
    let error = outcome.expect_err("the operands do not fit");
    let found = match error {
        KernelError::Length {
            kernel,
            operand,
            needs,
            has,
        } => (kernel, operand, false, needs, has),
        KernelError::PlaneCount {
            kernel,
            operand,
            needs,
            has,
        } => (kernel, operand, true, needs, has),
        KernelError::Shape { .. } => panic!("the shape was refused: {error}"),
    };
    assert_eq!(found, (kernel, operand, planes, needs, has));
    let message = error.to_string();
    for part in [kernel, operand, &needs.to_string(), &has.to_string()] {
        assert!(message.contains(part), "'{message}' lacks {part}");
    }
}

#[test]
fn views() {
    let kernel = ("planes", "data");
    let data = [0.0f32; 20];
    let view = |count, stride, len| {
        let shared = Planes::new(&data, count, stride, len).map(|_| ());
        let exclusive = PlanesMut::new(&mut data.clone(), count, stride, len).map(|_| ());
        assert_eq!(shared, exclusive, "both views look alike");
        shared
    };
    for (count, stride, len) in [
        (0, 0, 0),
        (0, 7, 100),
        (100, 7, 0),
        (1, 0, 20),
        (2, 10, 10),
        (3, 9, 2),
        (20, 1, 1),
    ] {
        view(count, stride, len).expect("these fit into twenty elements");
    }
    refused(view(1, 0, 21), kernel, false, (21, 20));
    refused(view(2, 11, 10), kernel, false, (21, 20));
    refused(view(3, 10, 1), kernel, false, (21, 20));
    // Planes that overlap: enough data, but one element would be written twice.
    refused(view(2, 9, 10), kernel, false, (19, 20));
    refused(view(2, 0, 1), kernel, false, (1, 20));
    // Sizes whose product passes the largest number do not come round to a small one.
    let huge = usize::MAX / 2 + 1;
    refused(view(3, huge, 1), kernel, false, (usize::MAX, 20));
    refused(view(2, usize::MAX, 5), kernel, false, (usize::MAX, 20));
    refused(view(huge + 1, 2, 2), kernel, false, (usize::MAX, 20));
}

/// Runs a 3 x 4 x 5 product of operands with these planes and lengths, one thing wrong at a time.
#[test]
fn matrix_products() {
    let compact = compact();
    let shape = MatmulShape {
        m: 3,
        k: 4,
        n: 5,
        transpose_a: false,
        transpose_b: false,
    };
    let run = |a: (usize, usize), b: (usize, usize), c: (usize, usize), bias, missing: usize| {
        let (a, b, mut c) = (ones(a.0, a.1), ones(b.0, b.1), out(c.0, c.1));
        let bias: Option<(usize, usize)> = bias;
        let bias = bias.map(|(planes, len)| ones(planes, len));
        let planes = |count| if count == 1 { 1 } else { 2 };
        let (left, right) = (planes(a.count()), planes(b.count()));
        let needs = scratch_len::<f32>(&EXEC, &compact.arithmetic, &shape, left, right);
        let mut scratch = out(1, needs - missing);
        let outcome = block_matmul(
            &EXEC,
            &compact.arithmetic,
            &shape,
            a.view(),
            b.view(),
            &mut c.view_mut(),
            &Epilogue {
                bias: bias.as_ref().map(Guarded::view),
                activation: Some(Function::Relu),
            },
            scratch.slice_mut(),
        );
        if outcome.is_err() {
            untouched(&c);
            untouched(&scratch);
        }
        (outcome, needs)
    };
    let name = |operand| ("block_matmul", operand);
    let (two, one) = (2, 1);
    run((2, 12), (2, 20), (2, 15), Some((2, 5)), 0)
        .0
        .expect("all fits");
    for has in [0, 11, 13] {
        let outcome = run((2, has), (2, 20), (2, 15), None, 0).0;
        refused(outcome, name("A"), false, (12, has));
    }
    for has in [19, 21] {
        let outcome = run((2, 12), (1, has), (2, 15), None, 0).0;
        refused(outcome, name("B"), false, (20, has));
    }
    for has in [14, 16] {
        let outcome = run((1, 12), (2, 20), (2, has), None, 0).0;
        refused(outcome, name("C"), false, (15, has));
    }
    refused(
        run((3, 12), (2, 20), (2, 15), None, 0).0,
        name("A"),
        true,
        (one, 3),
    );
    refused(
        run((2, 12), (4, 20), (2, 15), None, 0).0,
        name("B"),
        true,
        (one, 4),
    );
    refused(
        run((2, 12), (2, 20), (1, 15), None, 0).0,
        name("C"),
        true,
        (two, 1),
    );
    refused(
        run((1, 12), (1, 20), (2, 15), None, 0).0,
        name("C"),
        true,
        (one, 2),
    );
    // A ciphertext row cannot be added to a plaintext.
    let outcome = run((1, 12), (1, 20), (1, 15), Some((2, 5)), 0).0;
    refused(outcome, name("bias"), true, (one, 2));
    let outcome = run((2, 12), (1, 20), (2, 15), Some((3, 5)), 0).0;
    refused(outcome, name("bias"), true, (one, 3));
    for has in [0, 1, 4, 6, 15] {
        let outcome = run((2, 12), (1, 20), (2, 15), Some((1, has)), 0).0;
        refused(outcome, name("bias"), false, (5, has));
    }
    let (outcome, needs) = run((2, 12), (2, 20), (2, 15), None, 1);
    refused(outcome, name("scratch"), false, (needs, needs - 1));
}

/// Scratch for several pieces is needed in full, whatever one of them would take.
#[test]
fn short_scratch_for_several_pieces() {
    let compact = compact();
    let shape = MatmulShape {
        m: 120,
        k: 120,
        n: 120,
        transpose_a: false,
        transpose_b: true,
    };
    for isa in Isa::available() {
        let need =
            |threads| scratch_len::<f32>(&Exec { isa, threads }, &compact.arithmetic, &shape, 2, 2);
        assert!(need(3) > need(1), "pieces have scratch of their own");
        let (a, b, mut c) = (ones(2, 14_400), ones(2, 14_400), out(2, 14_400));
        let mut scratch = out(1, need(1));
        let outcome = block_matmul(
            &Exec { isa, threads: 3 },
            &compact.arithmetic,
            &shape,
            a.view(),
            b.view(),
            &mut c.view_mut(),
            &Epilogue::NONE,
            scratch.slice_mut(),
        );
        refused(
            outcome,
            ("block_matmul", "scratch"),
            false,
            (need(3), need(1)),
        );
        untouched(&c);
        untouched(&scratch);
    }
}

/// Shapes whose sizes pass the largest number do not come round to the size of what is there.
#[test]
fn shapes_past_counting() {
    let real = Algebra::real();
    let huge = usize::MAX / 2 + 1;
    for (m, k, n, operand) in [
        (huge, 2, 1, "A"),
        (usize::MAX, usize::MAX, 0, "A"),
        (0, huge, 2, "B"),
        (huge, 0, 2, "C"),
        (2, 0, huge, "C"),
    ] {
        let shape = MatmulShape {
            m,
            k,
            n,
            transpose_a: false,
            transpose_b: false,
        };
        let outcome = block_matmul::<f32>(
            &EXEC,
            &real.arithmetic,
            &shape,
            Planes::plain(&[]),
            Planes::plain(&[]),
            &mut PlanesMut::plain(&mut []),
            &Epilogue::NONE,
            &mut [],
        );
        refused(outcome, ("block_matmul", operand), false, (usize::MAX, 0));
    }
}

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

#[test]
fn elementwise_kernels() {
    let compact = compact();
    let arithmetic = &compact.arithmetic;
    let name = |operand| ("elementwise", operand);
    let sum = |a: (usize, usize), b: (usize, usize), output: (usize, usize)| {
        let (a, b, mut output) = (ones(a.0, a.1), ones(b.0, b.1), out(output.0, output.1));
        let (x, y) = ((1.0, a.view()), (1.0, b.view()));
        let outcome = linear(&EXEC, arithmetic, x, y, &mut output.view_mut());
        untouched(&output);
        outcome
    };
    refused(sum((3, 6), (2, 6), (2, 6)), name("a"), true, (1, 3));
    refused(sum((2, 6), (3, 6), (2, 6)), name("b"), true, (1, 3));
    refused(sum((2, 6), (2, 6), (1, 6)), name("output"), true, (2, 1));
    refused(sum((1, 6), (2, 6), (1, 6)), name("output"), true, (2, 1));
    refused(sum((1, 6), (1, 6), (2, 6)), name("output"), true, (1, 2));
    refused(sum((2, 5), (2, 6), (2, 6)), name("a"), false, (6, 5));
    refused(sum((2, 3), (2, 6), (2, 6)), name("a"), false, (6, 3));
    // Four does not divide six, twelve is no part of it, and nothing cannot be repeated.
    for has in [4, 12, 0] {
        refused(sum((2, 6), (2, has), (2, 6)), name("b"), false, (6, has));
    }
    let product = |a: (usize, usize), b: (usize, usize), output: (usize, usize)| {
        let (a, b, mut output) = (ones(a.0, a.1), ones(b.0, b.1), out(output.0, output.1));
        let to = &mut output.view_mut();
        let outcome = multiply(&EXEC, arithmetic, a.view(), b.view(), to);
        untouched(&output);
        outcome
    };
    refused(product((3, 6), (2, 6), (2, 6)), name("a"), true, (1, 3));
    refused(product((2, 6), (0, 6), (2, 6)), name("b"), true, (1, 0));
    refused(
        product((2, 6), (1, 6), (1, 6)),
        name("output"),
        true,
        (2, 1),
    );
    refused(product((2, 5), (2, 6), (2, 6)), name("a"), false, (6, 5));
    // A product does not broadcast.
    refused(product((2, 6), (2, 3), (2, 6)), name("b"), false, (6, 3));
    refused(product((2, 6), (2, 6), (2, 7)), name("a"), false, (7, 6));
}

#[test]
fn reductions() {
    let compact = compact();
    let arithmetic = &compact.arithmetic;
    let name = |operand| ("reduce", operand);
    let sums = |input: (usize, usize), output: (usize, usize)| {
        let (input, mut output) = (ones(input.0, input.1), out(output.0, output.1));
        let outcome = sum_rows(&EXEC, input.view(), &mut output.view_mut());
        untouched(&output);
        outcome
    };
    refused(sums((2, 6), (1, 3)), name("input"), true, (1, 2));
    refused(sums((2, 7), (2, 3)), name("input"), false, (6, 7));
    refused(sums((2, 2), (2, 3)), name("input"), false, (0, 2));
    refused(sums((2, 2), (2, 0)), name("input"), false, (0, 2));
    let outcome = slot_maxima(&EXEC, arithmetic, ones(3, 5).view());
    refused(outcome, name("values"), true, (1, 3));

    // Every loss checks its pair alike.
    let all = |x: (usize, usize), y: (usize, usize), columns, loss: (usize, usize)| {
        let (x, y) = (ones(x.0, x.1), ones(y.0, y.1));
        let (x, y) = (x.view(), y.view());
        let (mut to, mut gradient) = (out(loss.0, loss.1), out(x.count(), x.len()));
        let first = softmax_cross_entropy(&EXEC, arithmetic, x, y, columns, &mut to.view_mut());
        let second = softmax_cross_entropy_gradient(
            &EXEC,
            arithmetic,
            x,
            y,
            columns,
            &mut gradient.view_mut(),
        );
        let third = mean_squared_error(&EXEC, arithmetic, x, y, &mut to.view_mut());
        untouched(&to);
        (first, second, third, gradient)
    };
    let pairs = [
        ((3, 6), (3, 6), "predictions", true, (1, 3)),
        ((2, 6), (3, 6), "targets", true, (2, 3)),
        ((1, 6), (2, 6), "targets", true, (1, 2)),
        ((2, 6), (2, 5), "targets", false, (6, 5)),
        ((2, 6), (1, 3), "targets", false, (6, 3)),
    ];
    for (x, y, operand, planes, sizes) in pairs {
        let (first, second, third, gradient) = all(x, y, 3, (x.0, 1));
        refused(first, name(operand), planes, sizes);
        refused(second, name(operand), planes, sizes);
        refused(third, name(operand), planes, sizes);
        untouched(&gradient);
    }
    // Rows that do not come out, and rows of nothing. The mean squared error has no rows, so it is
    // refused its loss here.
    for (columns, needs) in [(4, 4), (7, 0), (0, 0)] {
        let (first, second, third, gradient) = all((2, 6), (2, 6), columns, (2, 2));
        refused(first, name("predictions"), false, (needs, 6));
        refused(second, name("predictions"), false, (needs, 6));
        refused(third, name("loss"), false, (1, 2));
        untouched(&gradient);
    }
    for (loss, planes, sizes) in [((1, 1), true, (2, 1)), ((2, 0), false, (1, 0))] {
        let (first, _, third, _) = all((2, 6), (2, 6), 3, loss);
        refused(first, name("loss"), planes, sizes);
        refused(third, name("loss"), planes, sizes);
    }
    for (gradient, planes, sizes) in [((1, 6), true, (2, 1)), ((2, 5), false, (6, 5))] {
        let (x, mut to) = (ones(2, 6), out(gradient.0, gradient.1));
        let (x, out) = (x.view(), &mut to.view_mut());
        let outcome = softmax_cross_entropy_gradient(&EXEC, arithmetic, x, x, 3, out);
        refused(outcome, name("gradient"), planes, sizes);
        untouched(&to);
    }
}

#[test]
fn updates() {
    let name = |operand| ("update", operand);
    let step = |gradient: (usize, usize), velocity: (usize, usize)| {
        let gradient = ones(gradient.0, gradient.1);
        let (mut velocity, mut parameter) = (out(velocity.0, velocity.1), out(2, 6));
        let outcome = sgd(
            &EXEC,
            0.1,
            gradient.view(),
            &mut parameter.view_mut(),
            Some((0.9, &mut velocity.view_mut())),
        );
        untouched(&velocity);
        untouched(&parameter);
        outcome
    };
    refused(step((1, 6), (2, 6)), name("gradient"), true, (2, 1));
    refused(step((2, 5), (2, 6)), name("gradient"), false, (6, 5));
    refused(step((2, 6), (3, 6)), name("velocity"), true, (2, 3));
    refused(step((2, 6), (2, 7)), name("velocity"), false, (6, 7));
}

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
        let outcome = interleave(ones(2, 6).view(), output.slice_mut());
        refused(outcome, name("output"), false, (12, has));
        untouched(&output);
        let mut output = out(2, 6);
        let outcome = deinterleave(&vec![1.0; has], &mut output.view_mut());
        refused(outcome, name("input"), false, (12, has));
        untouched(&output);
    }
}
