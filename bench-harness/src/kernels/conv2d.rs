//! Convolutions and their gradients, at the layers of the measured networks and beside them.

use furthermore_kernels_cpu::conv2d::{
    Conv2dPass, Conv2dShape, Gradient, conv2d, conv2d_gradient_bias, conv2d_gradient_input,
    conv2d_gradient_weights, conv2d_pooled, pooled_scratch_len, scratch_len, steps_len,
};
use furthermore_kernels_cpu::{Arithmetic, Element, KernelError, Planes, PlanesMut, TILE_IMAGES};

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

/// Windows of averages of relu, in the rows that have them.
const WINDOW: [usize; 2] = [2; 2];

/// One case a layer and operation; the layers of lenet and angio with averages too.
pub(super) fn cases<T: Element>(setup: &Setup) -> Vec<Case> {
    let passes = [
        (["conv2d", "conv2d_pooled"], Conv2dPass::Forward),
        (
            ["conv2d_gradient_input", "conv2d_gradient_input by averages"],
            Conv2dPass::GradientInput,
        ),
        (
            [
                "conv2d_gradient_weights",
                "conv2d_gradient_weights by averages",
            ],
            Conv2dPass::GradientWeights,
        ),
    ];
    let mut cases = Vec::new();
    for ([kernel, averaged], pass) in passes {
        for shape in SHAPES {
            cases.push(convolution::<T>(setup, kernel, shape, pass, None));
        }
        for shape in &SHAPES[..5] {
            cases.push(convolution::<T>(
                setup,
                averaged,
                *shape,
                pass,
                Some(WINDOW),
            ));
        }
    }
    cases.push(bias::<T>(setup));
    cases.push(bias_by_averages::<T>(setup));
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
    kernel: &str,
    shape: Conv2dShape,
    pass: Conv2dPass,
    window: Option<[usize; 2]>,
) -> Case {
    let sides = setup.of_two().map(|(regime, algebra, arithmetic)| {
        side::<T>(setup, regime, algebra, arithmetic, shape, pass, window)
    });
    Case {
        kernel: kernel.to_owned(),
        shape: name(&shape),
        sides: sides.collect(),
    }
}

fn side<T: Element>(
    setup: &Setup,
    regime: Regime,
    algebra: furthermore::Algebra,
    arithmetic: &Arithmetic,
    shape: Conv2dShape,
    pass: Conv2dPass,
    window: Option<[usize; 2]>,
) -> Side {
    let exec = setup.exec;
    let dim = arithmetic.dim();
    let right = if regime == Regime::CtPt { 1 } else { dim };
    let (input, weights) = (shape.input_len(), shape.weight_len());
    let output = shape.output_len() / window.map_or(1, |[rows, columns]| rows * columns);
    // Left operand, right operand, result.
    let [a_len, b_len, c_len] = match pass {
        Conv2dPass::Forward => [input, weights, output],
        Conv2dPass::GradientInput => [output, weights, input],
        Conv2dPass::GradientWeights => [input, output, weights],
    };
    let products = arithmetic.product(dim, right).terms.len();
    let elements = dim * a_len + right * b_len + dim * c_len;
    let steps = Steps {
        slots: match pass {
            Conv2dPass::GradientWeights if right == 1 => 1,
            _ => arithmetic.slots(),
        },
        words: window.map_or(0, |_| steps_len(shape.output_sizes())),
    };
    let arithmetic = arithmetic.clone();
    Side {
        regime,
        algebra,
        flop: (2 * multiplications(&shape) * products) as f64,
        bytes: (elements * size_of::<T>() + steps.bytes()) as f64,
        prepare: Box::new(move || -> Result<Call> {
            let arithmetic = arithmetic.clone();
            let a = Operand::<T>::random(dim, a_len);
            let b = Operand::<T>::random(right, b_len);
            let mut c = Operand::<T>::zeros(dim, c_len);
            let mut bits = steps.every_other();
            let len = match (pass, window) {
                (Conv2dPass::Forward, Some(window)) => {
                    pooled_scratch_len::<T>(&exec, &arithmetic, &shape, window, dim, right)
                }
                _ => scratch_len::<T>(&exec, &arithmetic, &shape, pass, dim, right),
            };
            let mut scratch = Operand::<T>::zeros(1, len.map_err(furthermore::Error::from)?);
            call(move || {
                let (x, y, arithmetic) = (a.view()?, b.view()?, &arithmetic);
                let (c, scratch) = (&mut c.view_mut()?, &mut scratch.view_mut()?);
                let scratch = scratch.plane_mut(0);
                match (pass, window) {
                    (Conv2dPass::Forward, None) => {
                        conv2d(&exec, arithmetic, &shape, x, y, None, None, c, scratch).map(drop)
                    }
                    (Conv2dPass::Forward, Some(window)) => {
                        let steps = &mut steps.view_mut(&mut bits)?;
                        conv2d_pooled(
                            &exec,
                            arithmetic,
                            &shape,
                            window,
                            x,
                            y,
                            None,
                            c,
                            Some(steps),
                            scratch,
                        )
                        .map(drop)
                    }
                    (Conv2dPass::GradientInput, _) => {
                        let x = steps.gradient(x, &bits, window)?;
                        conv2d_gradient_input(&exec, arithmetic, &shape, x, y, c, scratch)
                    }
                    (Conv2dPass::GradientWeights, _) => {
                        let y = steps.gradient(y, &bits, window)?;
                        conv2d_gradient_weights(&exec, arithmetic, &shape, x, y, c, scratch)
                    }
                }
            })
        }),
    }
}

/// The steps that are saved with averages.
#[derive(Clone, Copy)]
struct Steps {
    slots: usize,
    words: usize,
}

impl Steps {
    fn bytes(self) -> usize {
        self.slots * self.words * size_of::<u32>()
    }

    /// Steps that every other image takes.
    fn every_other(self) -> Vec<u32> {
        vec![u32::MAX / 3; self.slots * self.words]
    }

    fn view_mut(self, bits: &mut [u32]) -> Result<PlanesMut<'_, u32>, KernelError> {
        PlanesMut::new(bits, self.slots, self.words, self.words)
    }

    fn gradient<'a, T: Element>(
        self,
        gradient: Planes<'a, T>,
        bits: &'a [u32],
        window: Option<[usize; 2]>,
    ) -> Result<Gradient<'a, T>, KernelError> {
        let Some(window) = window else {
            return Ok(gradient.into());
        };
        Ok(Gradient::Pooled {
            averages: gradient,
            steps: Planes::new(bits, self.slots, self.words, self.words)?,
            window,
        })
    }
}

/// Images, channels, rows and columns of a bias's rows.
const BIASED: [usize; 4] = [BATCH, 16, 32, 32];

fn bias<T: Element>(setup: &Setup) -> Case {
    let [batch, channels, rows, columns] = BIASED;
    let pass = Pass {
        a: BIASED.iter().product(),
        y: channels,
        ..Pass::default()
    };
    let shape = format!("{batch}x{channels}x{rows}x{columns}");
    pass.case::<T, _>(setup, "conv2d_gradient_bias", shape, move |t| {
        let (gradient, sums) = (t.a.view()?, &mut t.y.view_mut()?);
        conv2d_gradient_bias(&t.exec, &t.arithmetic, BIASED, gradient, sums)
    })
}

fn bias_by_averages<T: Element>(setup: &Setup) -> Case {
    let [batch, channels, rows, columns] = BIASED;
    let len = BIASED.iter().product::<usize>() / (WINDOW[0] * WINDOW[1]);
    let exec = setup.exec;
    let sides = setup.of_one().map(|(regime, algebra, arithmetic)| {
        let (dim, arithmetic) = (arithmetic.dim(), arithmetic.clone());
        let steps = Steps {
            slots: arithmetic.slots(),
            words: steps_len(BIASED),
        };
        Side {
            regime,
            algebra,
            flop: 0.0,
            bytes: (dim * (len + channels) * size_of::<T>() + steps.bytes()) as f64,
            prepare: Box::new(move || {
                let arithmetic = arithmetic.clone();
                let gradient = Operand::<T>::random(dim, len);
                let mut sums = Operand::<T>::zeros(dim, channels);
                let bits = steps.every_other();
                call(move || {
                    let gradient = steps.gradient(gradient.view()?, &bits, Some(WINDOW))?;
                    let sums = &mut sums.view_mut()?;
                    conv2d_gradient_bias(&exec, &arithmetic, BIASED, gradient, sums)
                })
            }),
        }
    });
    Case {
        kernel: "conv2d_gradient_bias by averages".to_owned(),
        shape: format!("{batch}x{channels}x{rows}x{columns}"),
        sides: sides.collect(),
    }
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
