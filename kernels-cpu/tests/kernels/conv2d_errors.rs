//! What a convolution refuses, and that the tests notice a wrong one.

use crate::conv2d::{PASSES, shape};
use crate::support::{Algebra, Conv, Convolution, Guarded, Kind, channel_sizes, same_bits};
use furthermore_kernels_cpu::conv2d::{
    Conv2dPass, Conv2dShape, conv2d, conv2d_gradient_bias, conv2d_gradient_input,
    conv2d_gradient_weights, scratch_len,
};
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::{Element, Exec, Isa, KernelError};

const EXEC: Exec = Exec {
    isa: Isa::PORTABLE,
    threads: 2,
};
const KERNEL: &str = "conv2d";

/// Two images of 2 channels to 3: 80 elements of input, 36 weights, 54 of output.
fn small() -> Conv2dShape {
    shape(2, [2, 3], [4, 5], [2, 3])
}

/// Planes and elements of an operand, or a result.
type Size = (usize, usize);

/// Operands of ones.
fn ones((planes, len): Size) -> Guarded<f32> {
    Guarded::filled(&vec![vec![1.0; len]; planes], 1)
}

/// Panics unless nothing was written.
fn untouched(output: &Guarded<f32>) {
    output
        .intact()
        .expect("nothing is written beside an output that is refused");
    let all = output.planes().into_iter().flatten().all(|x| x.is_nan());
    assert!(all, "a refused kernel wrote to its output");
}

/// Runs one operation on operands of these sizes with a scratch of `has` elements.
fn run(
    shape: &Conv2dShape,
    pass: Conv2dPass,
    [left, right, result]: [Size; 3],
    bias: Option<Size>,
    has: usize,
) -> Result<(), KernelError> {
    let arithmetic = &Algebra::compact2([0.75, -0.5]).arithmetic;
    let (left, right) = (ones(left), ones(right));
    let bias = bias.map(ones);
    let mut to = Guarded::poisoned(result.0, result.1, 1);
    let mut scratch = Guarded::<f32>::poisoned(1, has, 0);
    let (a, b, own) = (left.view(), right.view(), scratch.slice_mut());
    let outcome = match pass {
        Conv2dPass::Forward => {
            let (bias, relu) = (bias.as_ref().map(Guarded::view), Some(Function::Relu));
            let to = &mut to.view_mut();
            conv2d(&EXEC, arithmetic, shape, a, b, bias, relu, to, own).map(drop)
        }
        Conv2dPass::GradientInput => {
            conv2d_gradient_input(&EXEC, arithmetic, shape, a, b, &mut to.view_mut(), own)
        }
        Conv2dPass::GradientWeights => {
            conv2d_gradient_weights(&EXEC, arithmetic, shape, a, b, &mut to.view_mut(), own)
        }
    };
    if outcome.is_err() {
        untouched(&to);
        untouched(&scratch);
    }
    outcome
}

fn length(operand: &'static str, needs: usize, has: usize) -> KernelError {
    KernelError::Length {
        kernel: KERNEL,
        operand,
        needs,
        has,
    }
}

fn planes(operand: &'static str, needs: usize, has: usize) -> KernelError {
    KernelError::PlaneCount {
        kernel: KERNEL,
        operand,
        needs,
        has,
    }
}

/// Every operand of every operation, too short, too long, of too many planes: the error says which.
#[test]
fn operands_that_do_not_fit() {
    let sizes = [80, 36, 54];
    let shape = small();
    assert_eq!(
        [shape.input_len(), shape.weight_len(), shape.output_len()],
        sizes
    );
    let enough = 10_000;
    for (pass, roles, names) in [
        (Conv2dPass::Forward, [0, 1, 2], ["input", "weights"]),
        (
            Conv2dPass::GradientInput,
            [2, 1, 0],
            ["gradient", "weights"],
        ),
        (
            Conv2dPass::GradientWeights,
            [0, 2, 1],
            ["input", "gradient"],
        ),
    ] {
        let right = roles.map(|role| (2, sizes[role]));
        run(&shape, pass, right, None, enough).expect("all fits");
        for (nth, operand) in [(0, names[0]), (1, names[1]), (2, "output")] {
            let (_, needs) = right[nth];
            for has in [0, needs - 1, needs + 1] {
                let mut wrong = right;
                wrong[nth].1 = has;
                let error = run(&shape, pass, wrong, None, enough).expect_err("it does not fit");
                assert_eq!(error, length(operand, needs, has), "{pass:?}");
                let message = error.to_string();
                for part in [KERNEL, operand, &needs.to_string(), &has.to_string()] {
                    assert!(message.contains(part), "'{message}' lacks {part}");
                }
            }
            let expected = if nth == 2 { 2 } else { 1 };
            for has in [0, 3] {
                let mut wrong = right;
                wrong[nth].0 = has;
                if has == 0 {
                    wrong[nth].1 = 0;
                }
                let error = run(&shape, pass, wrong, None, enough).expect_err("it does not fit");
                assert_eq!(error, planes(operand, expected, has), "{pass:?}");
            }
        }
        // A ciphertext does not go into a plaintext, nor the other way round.
        let mut wrong = right;
        wrong[2].0 = 1;
        let error = run(&shape, pass, wrong, None, enough).expect_err("it does not fit");
        assert_eq!(error, planes("output", 2, 1));
        let [(_, a), (_, b), (_, c)] = right;
        let outcome = run(&shape, pass, [(1, a), (1, b), (2, c)], None, enough);
        assert_eq!(outcome, Err(planes("output", 1, 2)));
    }
}

#[test]
fn biases_that_do_not_fit() {
    let shape = small();
    let cipher = [(2, 80), (1, 36), (2, 54)];
    let plain = [(1, 80), (1, 36), (1, 54)];
    let with = |operands, bias| run(&shape, Conv2dPass::Forward, operands, Some(bias), 10_000);
    with(cipher, (2, 3)).expect("a ciphertext to a channel");
    with(cipher, (1, 3)).expect("a plaintext to a channel");
    for has in [0, 1, 2, 4, 36] {
        assert_eq!(with(cipher, (2, has)), Err(length("bias", 3, has)));
        assert_eq!(with(plain, (1, has)), Err(length("bias", 3, has)));
    }
    assert_eq!(with(cipher, (3, 3)), Err(planes("bias", 1, 3)));
    // A ciphertext cannot be added to a plaintext.
    assert_eq!(with(plain, (2, 3)), Err(planes("bias", 1, 2)));

    let sum = |gradient: Size, output: Size| {
        let (gradient, mut to) = (ones(gradient), Guarded::poisoned(output.0, output.1, 1));
        let outcome = conv2d_gradient_bias(
            &EXEC,
            &Algebra::compact2([0.75, -0.5]).arithmetic,
            channel_sizes(&shape),
            gradient.view(),
            &mut to.view_mut(),
        );
        if outcome.is_err() {
            untouched(&to);
        }
        outcome
    };
    sum((2, 54), (2, 3)).expect("all fits");
    assert_eq!(sum((2, 53), (2, 3)), Err(length("gradient", 54, 53)));
    assert_eq!(sum((2, 54), (2, 4)), Err(length("output", 3, 4)));
    assert_eq!(sum((1, 54), (2, 3)), Err(planes("gradient", 2, 1)));
    assert_eq!(sum((2, 54), (1, 3)), Err(planes("gradient", 1, 2)));
}

/// Scratch one element short is refused, longer than needed is used no further.
#[test]
fn scratch() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    for pass in PASSES {
        let case = Conv::new(small(), pass, Kind::Cipher, Kind::Cipher);
        let prepared = Convolution::<f32>::new(&algebra, case, 1);
        let expected = prepared.check(&EXEC);
        let needs = prepared.needs(&EXEC, &algebra.arithmetic);
        let sizes = match pass {
            Conv2dPass::Forward => [80, 36, 54],
            Conv2dPass::GradientInput => [54, 36, 80],
            Conv2dPass::GradientWeights => [80, 54, 36],
        };
        for has in [0, needs - 1] {
            let outcome = run(&small(), pass, sizes.map(|len| (2, len)), None, has);
            assert_eq!(outcome, Err(length("scratch", needs, has)));
        }
        let mut scratch = vec![f32::INFINITY; needs + 100];
        let mut to = Guarded::poisoned(2, expected.len(), 0);
        let (left, right) = (prepared.left.view(), prepared.right.view());
        let (shape, result) = (small(), &mut to.view_mut());
        let arithmetic = &algebra.arithmetic;
        let own = &mut scratch[..];
        match pass {
            Conv2dPass::Forward => conv2d(
                &EXEC, arithmetic, &shape, left, right, None, None, result, own,
            )
            .map(drop),
            Conv2dPass::GradientInput => {
                conv2d_gradient_input(&EXEC, arithmetic, &shape, left, right, result, own)
            }
            Conv2dPass::GradientWeights => {
                conv2d_gradient_weights(&EXEC, arithmetic, &shape, left, right, result, own)
            }
        }
        .expect("the operands fit");
        for (found, expected) in to.planes().into_iter().zip(expected.planes()) {
            assert!(same_bits(found, expected), "{pass:?}: content of scratch");
        }
        assert!(scratch[needs..].iter().all(|x| *x == f32::INFINITY));
    }
}

/// Shapes that are no convolution, by every function that takes one.
#[test]
fn shapes_that_are_none() {
    let small = small();
    let zero = "kernel, stride and dilation have to be at least 1";
    let none = "channels and groups have to be at least 1";
    let groups = "the groups do not divide the channels";
    let large = "the sizes are larger than any tensor";
    let with_groups = |in_channels, out_channels, groups| Conv2dShape {
        in_channels,
        out_channels,
        groups,
        ..small
    };
    let mut shapes = vec![
        (with_groups(2, 3, 0), none),
        (with_groups(0, 3, 1), none),
        (with_groups(2, 0, 1), none),
        (with_groups(1 << 40, 1 << 20, 1), large),
        (with_groups(2, 3, 2), groups),
        (with_groups(3, 2, 2), groups),
        (with_groups(6, 3, 4), groups),
    ];
    for axis in 0..2 {
        let without = |sizes: [usize; 2]| {
            let mut sizes = sizes;
            sizes[axis] = 0;
            sizes
        };
        let (kernel, stride, dilation) = (
            without(small.kernel),
            without(small.stride),
            without(small.dilation),
        );
        shapes.push((Conv2dShape { kernel, ..small }, zero));
        shapes.push((Conv2dShape { stride, ..small }, zero));
        shapes.push((Conv2dShape { dilation, ..small }, zero));
    }
    let arithmetic = &Algebra::compact2([0.75, -0.5]).arithmetic;
    for (shape, reason) in shapes {
        let refusal = KernelError::Shape {
            kernel: KERNEL,
            reason,
        };
        assert!(refusal.to_string().contains(reason));
        for pass in PASSES {
            let needs = scratch_len::<f32>(&EXEC, arithmetic, &shape, pass, 2, 2);
            assert_eq!(needs.expect_err("no scratch is enough"), refusal);
            // Lengths by the shape itself, which answers even where it is none.
            let (x, w, y) = (shape.input_len(), shape.weight_len(), shape.output_len());
            let sizes = match pass {
                Conv2dPass::Forward => [x, w, y],
                Conv2dPass::GradientInput => [y, w, x],
                Conv2dPass::GradientWeights => [x, y, w],
            };
            let sizes = sizes.map(|len| (2, len.min(1000)));
            let outcome = run(&shape, pass, sizes, None, 10_000);
            assert_eq!(outcome, Err(refusal.clone()), "{shape:?}");
        }
    }
}

/// Sizes whose products and sums pass every number are refused or have nothing to do: no panic, no
/// endless loop, no small number that they come round to.
#[test]
fn absurd_sizes() {
    type Field = fn(&mut Conv2dShape) -> &mut usize;
    let fields: [Field; 16] = [
        |s| &mut s.batch,
        |s| &mut s.in_channels,
        |s| &mut s.out_channels,
        |s| &mut s.input[0],
        |s| &mut s.input[1],
        |s| &mut s.kernel[0],
        |s| &mut s.kernel[1],
        |s| &mut s.stride[0],
        |s| &mut s.stride[1],
        |s| &mut s.padding[0][0],
        |s| &mut s.padding[0][1],
        |s| &mut s.padding[1][0],
        |s| &mut s.padding[1][1],
        |s| &mut s.dilation[0],
        |s| &mut s.dilation[1],
        |s| &mut s.groups,
    ];
    let bases = [
        small(),
        shape(0, [2, 3], [4, 5], [2, 3]),
        shape(2, [2, 3], [0, 5], [2, 3]),
        shape(2, [2, 3], [4, 0], [2, 3]),
        shape(2, [2, 3], [4, 5], [5, 6]),
    ];
    let values = [usize::MAX, usize::MAX / 2 + 1, 1 << 40, 1 << 32];
    let arithmetic = &Algebra::compact2([0.75, -0.5]).arithmetic;
    let mut refused = 0;
    for base in bases {
        for first in 0..fields.len() {
            for second in first..fields.len() {
                for value in values {
                    let mut shape = base;
                    *fields[first](&mut shape) = value;
                    *fields[second](&mut shape) = value;
                    let lens = [shape.input_len(), shape.weight_len(), shape.output_len()];
                    for pass in PASSES {
                        let [x, w, y] = lens;
                        let sizes = match pass {
                            Conv2dPass::Forward => [x, w, y],
                            Conv2dPass::GradientInput => [y, w, x],
                            Conv2dPass::GradientWeights => [x, y, w],
                        };
                        let needs = scratch_len::<f32>(&EXEC, arithmetic, &shape, pass, 2, 2);
                        // What cannot be had is handed over short.
                        let has = |len: usize| len.min(1000);
                        let operands = sizes.map(|len| (2, has(len)));
                        let own = has(needs.unwrap_or(0));
                        let outcome = run(&shape, pass, operands, None, own);
                        if sizes.iter().any(|&len| len > 1000) {
                            outcome.expect_err("no such operands exist");
                            refused += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(refused > 1000);
}

/// One element off by little, in any coordinate and anywhere in the result, is found, and so is one
/// that was never written.
fn corruption_is_found<T: Element>() {
    for algebra in [
        Algebra::real(),
        Algebra::compact2([0.75, -0.5]),
        Algebra::blocks(2),
    ] {
        let kind = algebra.kinds()[algebra.kinds().len() - 1];
        for pass in PASSES {
            let case = Conv::new(small(), pass, kind, kind);
            let prepared = Convolution::<T>::new(&algebra, case, 3);
            let right = prepared.check(&EXEC);
            let worst = prepared
                .bounds
                .iter()
                .flatten()
                .fold(0.0f64, |x, y| x.max(*y));
            for plane in 0..right.count() {
                // How much the slot that shows this coordinate most shows of it.
                let shown = (0..algebra.slots)
                    .map(|k| algebra.to[k * algebra.dim + plane].abs())
                    .fold(0.0, f64::max);
                for at in [0, 1, right.len() / 2, right.len() - 1] {
                    let x = right.planes()[plane][at].wide();
                    for wrong in [x + 4.0 * worst / shown, x - 4.0 * worst / shown, f64::NAN] {
                        let mut result = right.clone();
                        result.view_mut().plane_mut(plane)[at] = T::of(wrong);
                        let outcome = prepared.compare(&result);
                        assert!(outcome.is_err(), "{wrong} in place of {x} went unnoticed");
                    }
                }
            }
        }
    }
}

#[test]
fn corruption_is_found_f32() {
    corruption_is_found::<f32>();
}

#[test]
fn corruption_is_found_f64() {
    corruption_is_found::<f64>();
}

/// A program with one coefficient changed is found by every pass.
#[test]
fn wrong_coefficients_are_found() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    for pass in PASSES {
        let case = Conv::new(small(), pass, Kind::Cipher, Kind::Cipher);
        let prepared = Convolution::<f32>::new(&algebra, case, 4);
        let count = algebra.program.terms.iter().map(|t| t.outputs.len()).sum();
        for nth in 0..count {
            let mut program = algebra.program.clone();
            let mut outputs = program.terms.iter_mut().flat_map(|term| &mut term.outputs);
            outputs.nth(nth).expect("there are so many").1 += 0.01;
            let outcome = prepared
                .run_with(&EXEC, &algebra.with_program(program))
                .and_then(|result| prepared.compare(&result));
            assert!(
                outcome.is_err(),
                "{pass:?}: coefficient {nth} went unnoticed"
            );
        }
    }
}

/// A kernel that exchanged two taps, or forgot a bias or an activation, is found.
#[test]
fn wrong_operations_are_found() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    for pass in [Conv2dPass::Forward, Conv2dPass::GradientInput] {
        let case = Conv::new(small(), pass, Kind::Cipher, Kind::Plain);
        let mut prepared = Convolution::<f32>::new(&algebra, case, 5);
        prepared.check(&EXEC);
        // Behind the oracle's back.
        prepared.right.buffer.view_mut().plane_mut(0).swap(7, 8);
        let result = prepared
            .run_with(&EXEC, &algebra.arithmetic)
            .expect("the operands fit");
        let outcome = prepared.compare(&result);
        assert!(outcome.is_err(), "{pass:?}: two taps in each other's place");
    }
    let case = Conv::new(small(), Conv2dPass::Forward, Kind::Cipher, Kind::Cipher);
    let bare = Convolution::<f32>::new(&algebra, case, 6).check(&EXEC);
    for (bias, activation) in [
        (Some(Kind::Plain), None),
        (Some(Kind::Cipher), None),
        (None, Some(Function::Relu)),
        (None, Some(Function::Tanh)),
    ] {
        // The same seed draws the same operands first.
        let full = Convolution::<f32>::new(&algebra, case.then(bias, activation), 6);
        full.check(&EXEC);
        assert!(full.compare(&bare).is_err(), "{bias:?} {activation:?}");
    }
}

/// What is not finite shows in the magnitudes of the activation's arguments.
#[test]
fn infinities_are_seen() {
    let arithmetic = &Algebra::real().arithmetic;
    let shape = small();
    let weights = ones((1, shape.weight_len()));
    for isa in Isa::available() {
        let exec = Exec { isa, threads: 1 };
        for (x, finite) in [
            (1.0, true),
            (f32::INFINITY, false),
            (f32::NEG_INFINITY, false),
            (f32::NAN, false),
        ] {
            let mut input = ones((1, shape.input_len()));
            input.view_mut().plane_mut(0)[31] = x;
            let mut output = Guarded::poisoned(1, shape.output_len(), 0);
            let seen = conv2d(
                &exec,
                arithmetic,
                &shape,
                input.view(),
                weights.view(),
                None,
                Some(Function::Relu),
                &mut output.view_mut(),
                &mut [f32::NAN; 1000],
            )
            .expect("the operands fit");
            assert_eq!(seen.finite(), finite, "{exec:?} {x}");
        }
    }
}
