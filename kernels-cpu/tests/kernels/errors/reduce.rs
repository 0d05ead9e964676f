//! What reductions refuse.

use super::{ABSURD, EXEC, compact, ones, out, refused, untouched};
use furthermore_kernels_cpu::reduce::{
    Axis, binary_cross_entropy, binary_cross_entropy_gradient, log_softmax, max, max_gradient,
    mean, mean_squared_error, slot_maxima, softmax, softmax_cross_entropy,
    softmax_cross_entropy_gradient, softmax_gradient, sum,
};
use furthermore_kernels_cpu::{KernelError, Planes, PlanesMut};

#[test]
fn axes() {
    let compact = compact();
    let arithmetic = &compact.arithmetic;
    let name = |operand| ("reduce", operand);
    let axis = Axis {
        outer: 2,
        length: 3,
        inner: 4,
    };
    type Kernel<'a> =
        &'a dyn Fn(&Axis, Planes<'_, f32>, &mut PlanesMut<'_, f32>) -> Result<(), KernelError>;
    let kernels: [Kernel<'_>; 3] = [
        &|axis, x, to| sum(&EXEC, axis, x, to),
        &|axis, x, to| mean(&EXEC, axis, x, to),
        &|axis, x, to| max(&EXEC, arithmetic, axis, x, to).map(|_| ()),
    ];
    for kernel in kernels {
        let run = |axis: &Axis, input: (usize, usize), output: (usize, usize)| {
            let (input, mut output) = (ones(input.0, input.1), out(output.0, output.1));
            let outcome = kernel(axis, input.view(), &mut output.view_mut());
            untouched(&output);
            outcome
        };
        refused(run(&axis, (1, 24), (2, 8)), name("input"), true, (2, 1));
        refused(run(&axis, (2, 23), (2, 8)), name("input"), false, (24, 23));
        refused(run(&axis, (2, 24), (2, 7)), name("output"), false, (8, 7));
        refused(run(&axis, (2, 24), (2, 24)), name("output"), false, (8, 24));
        // Sizes whose product passes the largest number do not come round to the size of what is there.
        let huge = Axis {
            outer: usize::MAX / 2 + 1,
            length: 1,
            inner: 2,
        };
        let outcome = run(&huge, (2, 0), (2, 0));
        refused(outcome, name("output"), false, (usize::MAX, 0));
        let long = Axis {
            outer: 2,
            length: usize::MAX / 2 + 1,
            inner: 1,
        };
        let outcome = run(&long, (2, 0), (2, 2));
        refused(outcome, name("input"), false, (usize::MAX, 0));
    }
    let back = |x: (usize, usize), g: (usize, usize), output: (usize, usize)| {
        let (x, g, mut output) = (ones(x.0, x.1), ones(g.0, g.1), out(output.0, output.1));
        let to = &mut output.view_mut();
        let outcome = max_gradient(&EXEC, arithmetic, &axis, x.view(), g.view(), to);
        untouched(&output);
        outcome
    };
    refused(back((3, 24), (3, 8), (3, 24)), name("output"), true, (1, 3));
    refused(
        back((2, 24), (2, 8), (2, 23)),
        name("output"),
        false,
        (24, 23),
    );
    refused(back((1, 24), (2, 8), (2, 24)), name("input"), true, (2, 1));
    refused(
        back((2, 24), (1, 8), (2, 24)),
        name("gradient"),
        true,
        (2, 1),
    );
    refused(
        back((2, 24), (2, 24), (2, 24)),
        name("gradient"),
        false,
        (8, 24),
    );
    let mut output = out(3, 8);
    let outcome = max(
        &EXEC,
        arithmetic,
        &axis,
        ones(3, 24).view(),
        &mut output.view_mut(),
    );
    refused(outcome, name("output"), true, (1, 3));

    let normalised = |x: (usize, usize), columns, output: (usize, usize)| {
        let (x, mut output) = (ones(x.0, x.1), out(output.0, output.1));
        let to = &mut output.view_mut();
        let first = softmax(&EXEC, arithmetic, x.view(), columns, to);
        let second = log_softmax(&EXEC, arithmetic, x.view(), columns, to);
        untouched(&output);
        assert_eq!(first, second);
        first
    };
    refused(normalised((3, 6), 3, (3, 6)), name("output"), true, (1, 3));
    refused(normalised((1, 6), 3, (2, 6)), name("input"), true, (2, 1));
    refused(normalised((2, 5), 3, (2, 6)), name("input"), false, (6, 5));
    for (columns, needs) in [(4, 4), (7, 0), (0, 0)] {
        refused(
            normalised((2, 6), columns, (2, 6)),
            name("input"),
            false,
            (needs, 6),
        );
    }
    let back = |y: (usize, usize), g: (usize, usize), columns| {
        let (y, g, mut output) = (ones(y.0, y.1), ones(g.0, g.1), out(2, 6));
        let to = &mut output.view_mut();
        let outcome = softmax_gradient(&EXEC, arithmetic, y.view(), g.view(), columns, to);
        untouched(&output);
        outcome
    };
    refused(back((1, 6), (2, 6), 3), name("saved"), true, (2, 1));
    refused(back((2, 6), (2, 5), 3), name("gradient"), false, (6, 5));
    refused(back((2, 6), (2, 6), 4), name("saved"), false, (4, 6));
}

#[test]
fn reductions() {
    let compact = compact();
    let arithmetic = &compact.arithmetic;
    let name = |operand| ("reduce", operand);
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
        let fourth = binary_cross_entropy(&EXEC, arithmetic, x, y, &mut to.view_mut());
        assert_eq!(third, fourth);
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
        let outcome = binary_cross_entropy_gradient(&EXEC, arithmetic, x, x, out);
        refused(outcome, name("gradient"), planes, sizes);
        untouched(&to);
    }
}

/// Axes whose products pass every number are refused, or have nothing to do where one is zero.
#[test]
fn absurd_sizes() {
    let compact = compact();
    let arithmetic = &compact.arithmetic;
    let empty = || Planes::<f32>::new(&[], 2, usize::MAX, 0).expect("nothing is needed");
    let mut nothing = [0.0f32; 0];
    let mut to = PlanesMut::new(&mut nothing, 2, usize::MAX, 0).expect("as above");
    for outer in ABSURD {
        for length in ABSURD {
            for inner in ABSURD {
                let axis = Axis {
                    outer,
                    length,
                    inner,
                };
                let fits = outer == 0 || inner == 0;
                let (x, to) = (empty(), &mut to);
                for outcome in [
                    sum(&EXEC, &axis, x, to),
                    mean(&EXEC, &axis, x, to),
                    max(&EXEC, arithmetic, &axis, x, to).map(drop),
                    max_gradient(&EXEC, arithmetic, &axis, x, x, to).map(drop),
                ] {
                    assert_eq!(outcome.is_ok(), fits, "{axis:?}: {outcome:?}");
                }
                // Without a plane any length fits.
                let [full, reduced] = [length, 1].map(|length| {
                    [outer, length, inner]
                        .into_iter()
                        .fold(1, usize::saturating_mul)
                });
                let none = Planes::<f32>::new(&[], 0, 0, full).expect("nothing is needed");
                let mut to = PlanesMut::new(&mut [], 0, 0, reduced).expect("as above");
                assert_eq!(sum(&EXEC, &axis, none, &mut to), Ok(()));
            }
        }
    }
    for columns in ABSURD {
        let (x, to) = (empty(), &mut to);
        for outcome in [
            softmax(&EXEC, arithmetic, x, columns, to),
            log_softmax(&EXEC, arithmetic, x, columns, to),
            softmax_gradient(&EXEC, arithmetic, x, x, columns, to),
            softmax_cross_entropy_gradient(&EXEC, arithmetic, x, x, columns, to),
        ] {
            outcome.expect("no rows are rows of any length");
        }
        let mut loss = out(2, 1);
        softmax_cross_entropy(&EXEC, arithmetic, x, x, columns, &mut loss.view_mut())
            .expect("as above");
    }
}
