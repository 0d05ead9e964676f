//! Convolutions and their gradients, at the layers of the measured networks and beside them.

use furthermore_kernels_cpu::conv2d::{
    Conv2dPass, Conv2dShape, conv2d, conv2d_gradient_bias, conv2d_gradient_input,
    conv2d_gradient_weights, scratch_len,
};
use furthermore_kernels_cpu::{Arithmetic, Element, TILE_IMAGES};

use super::operands::{Operand, call};
use super::pass::Pass;
use super::{Call, Case, Regime, Setup, Side};
use crate::error::Result;

const BATCH: usize = 2 * TILE_IMAGES;
/// Of lenet and angio; then a layer of angio that steps, that reaches further, and in groups.
const SHAPES: [Conv2dShape; 9] = [
    layer([1, 6], 28, 5, 2),
    layer([6, 16], 14, 5, 0),
    layer([1, 8], 64, 3, 1),
    layer([8, 16], 32, 3, 1),
    layer([16, 32], 16, 3, 1),
    Conv2dShape {
        stride: [2; 2],
        ..layer([8, 16], 32, 3, 1)
    },
    Conv2dShape {
        dilation: [2; 2],
        ..layer([8, 16], 32, 3, 2)
    },
    Conv2dShape {
        groups: 4,
        ..layer([8, 16], 32, 3, 1)
    },
    Conv2dShape {
        groups: 16,
        ..layer([16, 16], 32, 3, 1)
    },
];

/// In and out channels, rows and columns of an image and of the kernel, padding.
const fn layer(
    [in_channels, out_channels]: [usize; 2],
    size: usize,
    kernel: usize,
    padding: usize,
) -> Conv2dShape {
    Conv2dShape {
        batch: BATCH,
        in_channels,
        out_channels,
        input: [size; 2],
        kernel: [kernel; 2],
        stride: [1; 2],
        padding: [[padding; 2]; 2],
        dilation: [1; 2],
        groups: 1,
    }
}

/// One case a layer and operation.
pub(super) fn cases<T: Element>(setup: &Setup) -> Vec<Case> {
    let passes = [
        ("conv2d", Conv2dPass::Forward),
        ("conv2d_gradient_input", Conv2dPass::GradientInput),
        ("conv2d_gradient_weights", Conv2dPass::GradientWeights),
    ];
    let mut cases = Vec::new();
    for (kernel, pass) in passes {
        for shape in SHAPES {
            let sides = setup.of_two().map(|(regime, algebra, arithmetic)| {
                convolution::<T>(setup, regime, algebra, arithmetic, shape, pass)
            });
            cases.push(Case {
                kernel: kernel.to_owned(),
                shape: name(&shape),
                sides: sides.collect(),
            });
        }
    }
    cases.push(bias::<T>(setup));
    cases
}

/// Input and weights, and what is not 1.
fn name(shape: &Conv2dShape) -> String {
    let (ins, outs, groups) = (shape.in_channels, shape.out_channels, shape.groups);
    let ([rows, columns], [kernel_rows, kernel_columns]) = (shape.input, shape.kernel);
    let of_group = ins / groups;
    let mut name = format!(
        "{BATCH}x{ins}x{rows}x{columns} * {outs}x{of_group}x{kernel_rows}x{kernel_columns}"
    );
    let [stride, dilation] = [shape.stride[0], shape.dilation[0]];
    for (size, what) in [
        (stride, "stride"),
        (dilation, "dilation"),
        (groups, "groups"),
    ] {
        if size != 1 {
            name += &format!(" {what} {size}");
        }
    }
    name
}

/// Multiplications of one real product: those by padding are not carried out.
fn multiplications(shape: &Conv2dShape) -> usize {
    let taps = |axis: usize| -> usize {
        let before = shape.padding[axis][0];
        let padded = before..before + shape.input[axis];
        let place = |place: usize| {
            let tap = |tap: usize| place * shape.stride[axis] + tap * shape.dilation[axis];
            (0..shape.kernel[axis])
                .filter(|&i| padded.contains(&tap(i)))
                .count()
        };
        (0..shape.output()[axis]).map(place).sum()
    };
    let pairs = shape.out_channels * shape.in_channels / shape.groups;
    shape.batch * pairs * taps(0) * taps(1)
}

fn convolution<T: Element>(
    setup: &Setup,
    regime: Regime,
    algebra: furthermore::Algebra,
    arithmetic: &Arithmetic,
    shape: Conv2dShape,
    pass: Conv2dPass,
) -> Side {
    let exec = setup.exec;
    let dim = arithmetic.dim();
    let right = if regime == Regime::CtPt { 1 } else { dim };
    let (input, output, weights) = (shape.input_len(), shape.output_len(), shape.weight_len());
    // Left operand, right operand, result.
    let [a_len, b_len, c_len] = match pass {
        Conv2dPass::Forward => [input, weights, output],
        Conv2dPass::GradientInput => [output, weights, input],
        Conv2dPass::GradientWeights => [input, output, weights],
    };
    let products = arithmetic.product(dim, right).terms.len();
    let elements = dim * a_len + right * b_len + dim * c_len;
    let arithmetic = arithmetic.clone();
    Side {
        regime,
        algebra,
        flop: (2 * multiplications(&shape) * products) as f64,
        bytes: (elements * size_of::<T>()) as f64,
        prepare: Box::new(move || -> Result<Call> {
            let arithmetic = arithmetic.clone();
            let a = Operand::<T>::random(dim, a_len);
            let b = Operand::<T>::random(right, b_len);
            let mut c = Operand::<T>::zeros(dim, c_len);
            let len = scratch_len::<T>(&exec, &arithmetic, &shape, pass, dim, right);
            let mut scratch = Operand::<T>::zeros(1, len.map_err(furthermore::Error::from)?);
            call(move || {
                let (x, y, arithmetic) = (a.view()?, b.view()?, &arithmetic);
                let (c, scratch) = (&mut c.view_mut()?, &mut scratch.view_mut()?);
                let scratch = scratch.plane_mut(0);
                match pass {
                    Conv2dPass::Forward => {
                        conv2d(&exec, arithmetic, &shape, x, y, None, None, c, scratch).map(drop)
                    }
                    Conv2dPass::GradientInput => {
                        conv2d_gradient_input(&exec, arithmetic, &shape, x, y, c, scratch)
                    }
                    Conv2dPass::GradientWeights => {
                        conv2d_gradient_weights(&exec, arithmetic, &shape, x, y, c, scratch)
                    }
                }
            })
        }),
    }
}

fn bias<T: Element>(setup: &Setup) -> Case {
    let (channels, pixels) = (16, 32 * 32);
    let pass = Pass {
        a: BATCH * channels * pixels,
        y: channels,
        ..Pass::default()
    };
    let shape = format!("{BATCH}x{channels}x32x32");
    pass.case::<T, _>(setup, "conv2d_gradient_bias", shape, move |t| {
        let (gradient, sums) = (t.a.view()?, &mut t.y.view_mut()?);
        conv2d_gradient_bias(&t.exec, [BATCH, channels, pixels], gradient, sums)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_not_multiplied() {
        // Without padding every tap of every place counts.
        let inner = layer([6, 16], 14, 5, 0);
        assert_eq!(
            multiplications(&inner),
            BATCH * 6 * 16 * (10 * 5) * (10 * 5)
        );
        // The outermost places lose two taps on each side, the next ones one.
        let padded = layer([1, 6], 28, 5, 2);
        let axis = 28 * 5 - 2 * (2 + 1);
        assert_eq!(multiplications(&padded), BATCH * 6 * axis * axis);
        // Every other place: only the first of 16 reaches past the image.
        let stepped = Conv2dShape {
            stride: [2; 2],
            groups: 8,
            ..layer([8, 16], 32, 3, 1)
        };
        let axis = 16 * 3 - 1;
        assert_eq!(multiplications(&stepped), BATCH * 16 * axis * axis);
    }
}
