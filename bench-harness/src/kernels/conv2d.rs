//! Convolutions and their gradients, at the layers of the measured networks and beside them.

use furthermore::plan::{Kernel, Operand};
use furthermore_kernels_cpu::TILE_IMAGES;
use furthermore_kernels_cpu::conv2d::{Conv2dShape, steps_len};

use super::case::{Case, Regime, Setup, takes};
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

/// Windows of averages, in the rows that have them.
const WINDOW: [usize; 2] = [2; 2];

/// One case a layer and operation; of lenet and angio also with averages.
pub(super) fn cases(setup: &Setup) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for shape in SHAPES {
        let (input, output, weights) = (shape.input_len(), shape.output_len(), shape.weight_len());
        let forward = Kernel::Conv2d {
            shape,
            bias: false,
            activation: None,
        };
        let by_input = Kernel::Conv2dGradientInput {
            shape,
            pooled: None,
        };
        let by_weights = Kernel::Conv2dGradientWeights {
            shape,
            pooled: None,
        };
        for (kernel, operands, result) in [
            (forward, [input, weights], output),
            (by_input, [output, weights], input),
            (by_weights, [input, output], weights),
        ] {
            let name = kernel.name();
            cases.push(setup.two(name, layer_name(&shape), &kernel, operands, result)?);
        }
    }
    let sizes = [BATCH, 16, 32, 32];
    let shape = sizes.map(|size| size.to_string()).join("x");
    let (gradient, channels) = (sizes.iter().product(), sizes[1]);
    let kernel = Kernel::Conv2dGradientBias {
        sizes,
        pooled: None,
    };
    cases.push(setup.one(kernel.name(), shape, &kernel, &[gradient], &[channels])?);
    for &shape in &SHAPES[..5] {
        averages(setup, shape, &mut cases)?;
    }
    Ok(cases)
}

/// A layer of which averages of relu are kept, and the gradients by these.
fn averages(setup: &Setup, shape: Conv2dShape, cases: &mut Vec<Case>) -> Result<()> {
    let (sizes, pooled) = (shape.output_sizes(), Some(WINDOW));
    let (input, weights) = (shape.input_len(), shape.weight_len());
    let average = shape.output_len() / (WINDOW[0] * WINDOW[1]);
    let forward = Kernel::Conv2dPooled {
        shape,
        bias: false,
        window: WINDOW,
    };
    let by_input = Kernel::Conv2dGradientInput { shape, pooled };
    let by_weights = Kernel::Conv2dGradientWeights { shape, pooled };
    let by_bias = Kernel::Conv2dGradientBias { sizes, pooled };
    // Which of the tensors the averages are: the last is the result.
    for (kernel, lens, averages) in [
        (forward, vec![input, weights, average], 2),
        (by_input, vec![average, weights, input], 0),
        (by_weights, vec![input, average, weights], 1),
        (by_bias, vec![average, shape.out_channels], 0),
    ] {
        let saves = averages + 1 == lens.len();
        let two = lens.len() > 2;
        let regimes = setup
            .of_two()
            .filter(|(regime, ..)| two || *regime != Regime::CtPt)
            .filter(|(_, algebra, _)| takes(*algebra, &kernel));
        let sides = regimes.map(|side| {
            let (regime, _, arithmetic) = side;
            let planes = |nth: usize| match (nth, regime) {
                (1, Regime::CtPt) => 1,
                _ => arithmetic.dim(),
            };
            let tensor = |(nth, &elements): (usize, &usize)| Operand {
                planes: planes(nth),
                elements,
            };
            let mut reads: Vec<Operand> = lens.iter().enumerate().map(tensor).collect();
            let mut writes = vec![reads.remove(lens.len() - 1)];
            let slots = if planes(averages) == 1 {
                1
            } else {
                arithmetic.slots()
            };
            let steps = Operand {
                planes: 0,
                elements: slots * steps_len(sizes),
            };
            if saves {
                writes.push(steps);
            } else {
                reads.push(steps);
            }
            setup.side(side, kernel.clone(), &reads, &writes)
        });
        let name = kernel.name();
        cases.push(Case {
            kernel: if saves {
                name.to_owned()
            } else {
                format!("{name} by averages")
            },
            shape: layer_name(&shape),
            sides: sides.collect::<Result<_>>()?,
        });
    }
    Ok(())
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
