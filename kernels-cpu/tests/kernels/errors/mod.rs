//! What does not fit is refused with an error that names the operand, before anything is written;
//! nothing panics.

mod reduce;

use std::fmt::Debug;

use crate::support::{Algebra, Guarded};
use furthermore_kernels_cpu::block_matmul::{Epilogue, MatmulShape, block_matmul, scratch_len};
use furthermore_kernels_cpu::convert::{deinterleave, interleave, linear_map, transpose};
use furthermore_kernels_cpu::elementwise::{Broadcast, divide, linear, multiply};
use furthermore_kernels_cpu::function_map::{
    Function, function_map, function_map_gradient, function_map_in_place,
};
use furthermore_kernels_cpu::poly_map::{
    Coefficients, poly_map, poly_map_coefficient_gradient, poly_map_gradient,
};
use furthermore_kernels_cpu::update::{Adam, adam, clip, sgd};
use furthermore_kernels_cpu::{Arithmetic, Exec, Isa, KernelError, Planes, PlanesMut};

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
        KernelError::Shape { .. }
        | KernelError::NotFinite { .. }
        | KernelError::Parameter { .. } => panic!("{error} is of another kind"),
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
        batch: 1,
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
        batch: 1,
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
            batch: 1,
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
    // A row of six, or of what else a broadcast of b makes of it.
    type Kernel = fn(
        &Exec,
        &Arithmetic,
        &Broadcast,
        Planes<'_, f32>,
        Planes<'_, f32>,
        &mut PlanesMut<'_, f32>,
    ) -> Result<(), KernelError>;
    let kernels: [Kernel; 3] = [
        |exec, arithmetic, broadcast, a, b, to| {
            linear(exec, arithmetic, broadcast, (1.0, a), (1.0, b), to)
        },
        multiply,
        |exec, arithmetic, broadcast, a, b, to| {
            divide(exec, arithmetic, broadcast, a, b, to).map(|_| ())
        },
    ];
    for kernel in kernels {
        let run = |a: (usize, usize), b: (usize, usize), output: (usize, usize)| {
            let (a, b, mut output) = (ones(a.0, a.1), ones(b.0, b.1), out(output.0, output.1));
            let rows = Broadcast::new(&[2, 3], &[3]).expect("the shapes agree");
            let to = &mut output.view_mut();
            let outcome = kernel(&EXEC, arithmetic, &rows, a.view(), b.view(), to);
            if outcome.is_err() {
                untouched(&output);
            }
            outcome
        };
        run((2, 6), (1, 3), (2, 6)).expect("all fits");
        refused(run((3, 6), (2, 3), (2, 6)), name("a"), true, (1, 3));
        refused(run((2, 6), (3, 3), (2, 6)), name("b"), true, (1, 3));
        refused(run((2, 6), (0, 3), (2, 6)), name("b"), true, (1, 0));
        refused(run((2, 6), (2, 3), (1, 6)), name("output"), true, (2, 1));
        refused(run((1, 6), (2, 3), (1, 6)), name("output"), true, (2, 1));
        refused(run((1, 6), (1, 3), (2, 6)), name("output"), true, (1, 2));
        for has in [0, 3, 5, 7] {
            refused(run((2, has), (2, 3), (2, 6)), name("a"), false, (6, has));
        }
        for has in [0, 2, 6] {
            refused(run((2, 6), (2, has), (2, 6)), name("b"), false, (3, has));
        }
        for has in [0, 5, 7] {
            refused(
                run((2, 6), (2, 3), (2, has)),
                name("output"),
                false,
                (6, has),
            );
        }
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
            0.0,
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
    let compact = compact();
    let arithmetic = &compact.arithmetic;
    let options = Adam {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.9,
        epsilon: 1e-6,
        weight_decay: 0.0,
    };
    let step = |sizes: [(usize, usize); 4]| {
        let gradient = ones(sizes[0].0, sizes[0].1);
        let [mut w, mut m, mut u] = [1, 2, 3].map(|i| out(sizes[i].0, sizes[i].1));
        let outcome = adam(
            &EXEC,
            arithmetic,
            &options,
            1,
            gradient.view(),
            &mut w.view_mut(),
            &mut m.view_mut(),
            &mut u.view_mut(),
        );
        [w, m, u].iter().for_each(untouched);
        outcome
    };
    let fits = (2, 6);
    refused(step([(3, 6); 4]), name("parameter"), true, (1, 3));
    refused(
        step([(1, 6), fits, fits, fits]),
        name("gradient"),
        true,
        (2, 1),
    );
    refused(
        step([(2, 5), fits, fits, fits]),
        name("gradient"),
        false,
        (6, 5),
    );
    refused(
        step([fits, fits, (2, 7), fits]),
        name("first moment"),
        false,
        (6, 7),
    );
    refused(
        step([fits, fits, fits, (1, 6)]),
        name("second root"),
        true,
        (2, 1),
    );
    let mut gradient = out(3, 6);
    let outcome = clip(&EXEC, arithmetic, 1.0, &mut gradient.view_mut());
    refused(outcome, name("gradient"), true, (1, 3));
    untouched(&gradient);
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

#[test]
fn polynomials() {
    let name = |operand| ("poly_map", operand);
    let algebra = compact();
    let arithmetic = &algebra.arithmetic;
    let value = |c: (usize, usize), x: (usize, usize), y: (usize, usize)| {
        let mut output = out(y.0, y.1);
        let c = ones(c.0, c.1);
        let c = Coefficients::Tensor(c.view());
        let x = ones(x.0, x.1);
        let outcome = poly_map(&EXEC, arithmetic, c, x.view(), &mut output.view_mut());
        untouched(&output);
        outcome
    };
    refused(
        value((2, 0), (2, 6), (2, 6)),
        name("coefficients"),
        false,
        (1, 0),
    );
    refused(
        value((2, 65), (2, 6), (2, 6)),
        name("coefficients"),
        false,
        (64, 65),
    );
    refused(
        value((3, 4), (2, 6), (2, 6)),
        name("coefficients"),
        true,
        (1, 3),
    );
    refused(value((1, 4), (3, 6), (2, 6)), name("input"), true, (1, 3));
    refused(value((1, 4), (2, 6), (1, 6)), name("output"), true, (2, 1));
    refused(value((2, 4), (1, 6), (1, 6)), name("output"), true, (2, 1));
    refused(value((1, 4), (1, 6), (2, 6)), name("output"), true, (1, 2));
    refused(value((2, 4), (2, 6), (2, 5)), name("output"), false, (6, 5));

    let slope = |c: (usize, usize), x: (usize, usize), g: (usize, usize)| {
        let mut gradient = out(g.0, g.1);
        let c = ones(c.0, c.1);
        let c = Coefficients::Tensor(c.view());
        let x = ones(x.0, x.1);
        let outcome = poly_map_gradient(&EXEC, arithmetic, c, x.view(), &mut gradient.view_mut());
        untouched(&gradient);
        outcome
    };
    refused(
        slope((2, 0), (2, 6), (2, 6)),
        name("coefficients"),
        false,
        (1, 0),
    );
    refused(slope((1, 4), (3, 6), (2, 6)), name("saved"), true, (1, 3));
    refused(
        slope((2, 4), (1, 6), (1, 6)),
        name("gradient"),
        true,
        (2, 1),
    );
    refused(
        slope((1, 4), (1, 6), (3, 6)),
        name("gradient"),
        true,
        (1, 3),
    );
    refused(
        slope((1, 4), (2, 6), (2, 7)),
        name("gradient"),
        false,
        (6, 7),
    );

    let sums = |g: (usize, usize), x: (usize, usize), c: (usize, usize)| {
        let mut output = out(c.0, c.1);
        let (g, x) = (ones(g.0, g.1), ones(x.0, x.1));
        let outcome = poly_map_coefficient_gradient(
            &EXEC,
            arithmetic,
            g.view(),
            x.view(),
            &mut output.view_mut(),
        );
        untouched(&output);
        outcome
    };
    refused(sums((3, 6), (2, 6), (2, 4)), name("gradient"), true, (1, 3));
    refused(sums((2, 6), (3, 6), (2, 4)), name("input"), true, (1, 3));
    refused(sums((2, 6), (1, 5), (2, 4)), name("input"), false, (6, 5));
    refused(sums((1, 6), (2, 6), (1, 4)), name("output"), true, (2, 1));
    refused(sums((1, 6), (2, 6), (2, 0)), name("output"), false, (1, 0));
    refused(
        sums((1, 6), (2, 6), (2, 65)),
        name("output"),
        false,
        (64, 65),
    );

    // Finite in f64 is not enough where numbers are f32.
    for odd in [f64::NAN, f64::INFINITY, 1e300] {
        let mut output = out(1, 6);
        let x = ones(1, 6);
        let outcome = poly_map(
            &EXEC,
            arithmetic,
            Coefficients::Constant(&[1.0, odd, 0.5]),
            x.view(),
            &mut output.view_mut(),
        );
        untouched(&output);
        let error = outcome.expect_err("a coefficient is not finite");
        assert_eq!(
            error,
            KernelError::NotFinite {
                kernel: "poly_map",
                operand: "coefficients",
                index: 1
            }
        );
        let message = error.to_string();
        assert!(
            message.contains("poly_map") && message.contains("coefficients"),
            "{message}"
        );
    }
}
