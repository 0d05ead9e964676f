//! Convolutions and their gradients, at the layers of the measured networks and beside them.

use furthermore::plan::Kernel;
use furthermore_kernels_cpu::TILE_IMAGES;
use furthermore_kernels_cpu::conv2d::Conv2dShape;

use super::case::{Case, Setup};
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
pub(super) fn cases(setup: &Setup) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for shape in SHAPES {
        let (input, output, weights) = (shape.input_len(), shape.output_len(), shape.weight_len());
        let forward = Kernel::Conv2d {
            shape,
            bias: false,
            activation: None,
        };
        let by_input = Kernel::Conv2dGradientInput { shape };
        let by_weights = Kernel::Conv2dGradientWeights { shape };
        for (kernel, operands, result) in [
            (forward, [input, weights], output),
            (by_input, [output, weights], input),
            (by_weights, [input, output], weights),
        ] {
            let name = kernel.name();
            cases.push(setup.two(name, layer_name(&shape), &kernel, operands, result)?);
        }
    }
    let (channels, pixels) = (16, 32 * 32);
    let sizes = [BATCH, channels, pixels];
    let kernel = Kernel::Conv2dGradientBias { sizes };
    let shape = format!("{BATCH}x{channels}x32x32");
    let gradient = sizes.iter().product();
    cases.push(setup.one(kernel.name(), shape, &kernel, &[gradient], &[channels])?);
    Ok(cases)
}

/// Input and weights, and what is not 1.
fn layer_name(shape: &Conv2dShape) -> String {
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
