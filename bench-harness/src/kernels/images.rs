//! Convolutions and pooling, at the layers of the measured networks.

use furthermore_kernels_cpu::conv2d::{
    Conv2dPass, Conv2dShape, conv2d, conv2d_gradient_bias, conv2d_gradient_input,
    conv2d_gradient_weights, conv2d_pooled, pooled_scratch_len, scratch_len,
};
use furthermore_kernels_cpu::pool::{Pool, PoolShape, pool, pool_gradient};
use furthermore_kernels_cpu::{Arithmetic, Element, Exec, PlanesMut};

use super::operands::{Operand, call};
use super::{Algebras, Call, Case, Regime, Side};
use crate::error::Result;

/// In channels, out channels, rows and columns of an image, kernel, padding: of lenet and angio.
const LAYERS: [[usize; 5]; 5] = [
    [1, 6, 28, 5, 2],
    [6, 16, 14, 5, 0],
    [1, 8, 64, 3, 1],
    [8, 16, 32, 3, 1],
    [16, 32, 16, 3, 1],
];
const BATCH: usize = 64;

/// One case a layer and operation.
pub(super) fn cases<T: Element>(exec: Exec, algebras: &Algebras) -> Vec<Case> {
    let passes = [
        ("conv2d", Conv2dPass::Forward),
        ("conv2d_gradient_input", Conv2dPass::GradientInput),
        ("conv2d_gradient_weights", Conv2dPass::GradientWeights),
    ];
    let mut cases = Vec::new();
    for (kernel, pass) in passes {
        for [ins, outs, size, kernel_size, padding] in LAYERS {
            let shape = layer(ins, outs, size, kernel_size, padding);
            let sides = algebras.of_two().map(|(regime, algebra, arithmetic)| {
                convolution::<T>(exec, regime, algebra, arithmetic, shape, pass)
            });
            cases.push(Case {
                kernel: kernel.to_owned(),
                shape: name(&shape),
                sides: sides.collect(),
            });
        }
    }
    for [ins, outs, size, kernel_size, padding] in LAYERS {
        let shape = layer(ins, outs, size, kernel_size, padding);
        let sides = algebras.of_two().map(|(regime, algebra, arithmetic)| {
            pooled::<T>(exec, regime, algebra, arithmetic, shape)
        });
        cases.push(Case {
            kernel: "conv2d_pooled 2x2".to_owned(),
            shape: name(&shape),
            sides: sides.collect(),
        });
    }
    cases.push(bias::<T>(exec, algebras));
    for kind in [Pool::Average, Pool::Max] {
        for gradient in [false, true] {
            cases.push(pooling::<T>(exec, algebras, kind, gradient));
        }
    }
    cases
}

fn layer(ins: usize, outs: usize, size: usize, kernel: usize, padding: usize) -> Conv2dShape {
    Conv2dShape {
        batch: BATCH,
        in_channels: ins,
        out_channels: outs,
        input: [size; 2],
        kernel: [kernel; 2],
        stride: [1; 2],
        padding: [[padding; 2]; 2],
        dilation: [1; 2],
        groups: 1,
    }
}

fn name(shape: &Conv2dShape) -> String {
    let (ins, outs) = (shape.in_channels, shape.out_channels);
    let [[rows, columns], [height, width]] = [shape.input, shape.kernel];
    format!("{BATCH}x{ins}x{rows}x{columns} * {outs}x{ins}x{height}x{width}")
}

/// With averages of relu in the epilogue and what their gradient needs saved.
fn pooled<T: Element>(
    exec: Exec,
    regime: Regime,
    algebra: furthermore::Algebra,
    arithmetic: &Arithmetic,
    shape: Conv2dShape,
) -> Side {
    let (window, dim) = ([2, 2], arithmetic.dim());
    let right = if regime == Regime::CtPt { 1 } else { dim };
    let slots = arithmetic.slots();
    let (input, weights, output) = (
        shape.input_len(),
        shape.weight_len(),
        shape.output_len() / (window[0] * window[1]),
    );
    let [rows, columns] = shape.output();
    let products = arithmetic.product(dim, right).terms.len();
    let elements = dim * input + right * weights + dim * output;
    let steps = slots * shape.steps_len();
    let arithmetic = arithmetic.clone();
    Side {
        regime,
        algebra,
        flop: (2 * shape.batch * rows * columns * weights * products) as f64,
        bytes: (elements * size_of::<T>() + steps * size_of::<u32>()) as f64,
        prepare: Box::new(move || -> Result<Call> {
            let arithmetic = arithmetic.clone();
            let x = Operand::<T>::random(dim, input);
            let w = Operand::<T>::random(right, weights);
            let mut y = Operand::<T>::zeros(dim, output);
            let mut steps = vec![0; steps];
            let len = pooled_scratch_len::<T>(&exec, &arithmetic, &shape, window, dim, right);
            let mut scratch = Operand::<T>::zeros(1, len.map_err(furthermore::Error::from)?);
            call(move || {
                let (x, w, y) = (x.view()?, w.view()?, &mut y.view_mut()?);
                let words = shape.steps_len();
                let steps = &mut PlanesMut::new(&mut steps, slots, words, words)?;
                let scratch = &mut scratch.view_mut()?;
                let scratch = scratch.plane_mut(0);
                let (steps, arithmetic) = (Some(steps), &arithmetic);
                conv2d_pooled(
                    &exec, arithmetic, &shape, window, x, w, None, y, steps, scratch,
                )
                .map(drop)
            })
        }),
    }
}

fn convolution<T: Element>(
    exec: Exec,
    regime: Regime,
    algebra: furthermore::Algebra,
    arithmetic: &Arithmetic,
    shape: Conv2dShape,
    pass: Conv2dPass,
) -> Side {
    let dim = arithmetic.dim();
    let right = if regime == Regime::CtPt { 1 } else { dim };
    let (input, output, weights) = (shape.input_len(), shape.output_len(), shape.weight_len());
    // Left operand, right operand, result.
    let [a_len, b_len, c_len] = match pass {
        Conv2dPass::Forward => [input, weights, output],
        Conv2dPass::GradientInput => [output, weights, input],
        Conv2dPass::GradientWeights => [input, output, weights],
    };
    let [rows, columns] = shape.output();
    let products = arithmetic.product(dim, right).terms.len();
    let elements = dim * a_len + right * b_len + dim * c_len;
    let arithmetic = arithmetic.clone();
    Side {
        regime,
        algebra,
        flop: (2 * shape.batch * rows * columns * weights * products) as f64,
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

fn bias<T: Element>(exec: Exec, algebras: &Algebras) -> Case {
    let sizes = [BATCH, 16, 32, 32];
    let (channels, len) = (sizes[1], sizes.iter().product());
    let sides = algebras.of_one().map(|(regime, algebra, arithmetic)| {
        let (dim, arithmetic) = (arithmetic.dim(), arithmetic.clone());
        Side {
            regime,
            algebra,
            flop: (dim * len) as f64,
            bytes: (dim * len * size_of::<T>()) as f64,
            prepare: Box::new(move || {
                let (arithmetic, gradient) = (arithmetic.clone(), Operand::<T>::random(dim, len));
                let mut sums = Operand::<T>::zeros(dim, channels);
                call(move || {
                    let (g, to) = (gradient.view()?, &mut sums.view_mut()?);
                    conv2d_gradient_bias(&exec, &arithmetic, sizes, g, to)
                })
            }),
        }
    });
    Case {
        kernel: "conv2d_gradient_bias".to_owned(),
        shape: format!("{BATCH}x{channels}x32x32"),
        sides: sides.collect(),
    }
}

fn pooling<T: Element>(exec: Exec, algebras: &Algebras, kind: Pool, gradient: bool) -> Case {
    let shape = PoolShape {
        batch: BATCH,
        channels: 8,
        input: [64; 2],
        kernel: [2; 2],
        stride: [2; 2],
        padding: [[0; 2]; 2],
        dilation: [1; 2],
        ceil: false,
    };
    let (input, output) = (shape.input_len(), shape.output_len());
    let sides = algebras.of_one().map(|(regime, algebra, arithmetic)| {
        let dim = arithmetic.dim();
        // A maximum's gradient looks at the input again, an average's does not.
        let inputs = if gradient && kind == Pool::Max { 2 } else { 1 };
        let arithmetic = arithmetic.clone();
        Side {
            regime,
            algebra,
            flop: 0.0,
            bytes: (dim * (inputs * input + output) * size_of::<T>()) as f64,
            prepare: Box::new(move || {
                let arithmetic = arithmetic.clone();
                let x = Operand::<T>::random(dim, input);
                let mut y = Operand::<T>::random(dim, output);
                let mut dx = Operand::<T>::zeros(dim, input);
                call(move || {
                    if gradient {
                        let (x, g, dx) = (x.view()?, y.view()?, &mut dx.view_mut()?);
                        pool_gradient(&exec, &arithmetic, &shape, kind, x, g, dx).map(drop)
                    } else {
                        let (x, y) = (x.view()?, &mut y.view_mut()?);
                        pool(&exec, &arithmetic, &shape, kind, x, y).map(drop)
                    }
                })
            }),
        }
    });
    let suffix = if gradient { "_gradient" } else { "" };
    Case {
        kernel: format!("pool{suffix} {}", kind.name()),
        shape: format!("{BATCH}x8x64x64 by 2x2"),
        sides: sides.collect(),
    }
}
