//! Each command as a call of the kernel of its name.

use furthermore_kernels_cpu::block_matmul::{Epilogue, block_matmul};
use furthermore_kernels_cpu::conv2d::Gradient;
use furthermore_kernels_cpu::poly_map::Coefficients;
use furthermore_kernels_cpu::{
    Arithmetic, Element, MAX_DIM, Planes, SlotMaxima, conv2d, convert, elementwise, function_map,
    poly_map, pool, reduce, update,
};

use super::{CpuProgram, view, view_mut};
use crate::device::{RunOptions, words, words_mut};
use crate::error::Result;
use crate::plan::{Command, Kernel, Reduction};
use crate::tensor::Buffer;

/// Most tensors that a command writes.
const MOST_WRITTEN: usize = 3;

impl<T: Element> CpuProgram<T> {
    /// Runs one command; returns what it saw of slots.
    pub(super) fn execute(
        &mut self,
        command: &Command,
        options: &RunOptions<'_>,
    ) -> Result<SlotMaxima> {
        // The written buffers are taken out while the rest is read.
        let mut targets: [Buffer; MOST_WRITTEN] = Default::default();
        for (target, region) in targets.iter_mut().zip(&command.writes) {
            *target = std::mem::take(&mut self.buffers[region.buffer]);
        }
        let seen = self.call(command, &mut targets, options);
        for (target, region) in targets.into_iter().zip(&command.writes) {
            self.buffers[region.buffer] = target;
        }
        seen
    }

    /// A plan holds no command whose operands its kernel does not take, so those named here exist.
    fn call(
        &mut self,
        command: &Command,
        targets: &mut [Buffer; MOST_WRITTEN],
        options: &RunOptions<'_>,
    ) -> Result<SlotMaxima> {
        let (exec, arithmetic, buffers) = (&self.exec, &self.arithmetic, &self.buffers);
        let scratch = self.scratch.as_mut_slice::<T>();
        let read = |i: usize| view::<T>(buffers, &command.reads[i]);
        let last = |wanted: bool, i: usize| wanted.then(|| read(i)).transpose();
        // A gradient by averages comes with the steps saved with these, which are read last.
        let gradient = |i: usize, pooled: Option<[usize; 2]>| -> Result<Gradient<'_, T>> {
            let planes = read(i)?;
            let (Some(window), Some(steps)) = (pooled, command.reads.last()) else {
                return Ok(planes.into());
            };
            let (held, slots) = (buffers[steps.buffer].as_words(), slots(arithmetic, &planes));
            Ok(Gradient::Pooled {
                averages: planes,
                steps: words(held, steps, slots)?,
                window,
            })
        };
        let [first, second, third] = targets;
        let Some(written) = command.writes.first() else {
            return Ok(reduce::slot_maxima(exec, arithmetic, read(0)?)?);
        };
        let target = &mut view_mut::<T>(first.as_mut_slice(), written)?;
        match &command.kernel {
            Kernel::BlockMatmul {
                shape,
                bias,
                activation,
            } => {
                let epilogue = Epilogue {
                    bias: last(*bias, 2)?,
                    activation: *activation,
                };
                let (a, b) = (read(0)?, read(1)?);
                return Ok(block_matmul(
                    exec, arithmetic, shape, a, b, target, &epilogue, scratch,
                )?);
            }
            Kernel::Conv2d {
                shape,
                bias,
                activation,
            } => {
                let (x, w, bias) = (read(0)?, read(1)?, last(*bias, 2)?);
                return Ok(conv2d::conv2d(
                    exec,
                    arithmetic,
                    shape,
                    x,
                    w,
                    bias,
                    *activation,
                    target,
                    scratch,
                )?);
            }
            Kernel::Conv2dPooled {
                shape,
                bias,
                window,
            } => {
                let (x, w, bias) = (read(0)?, read(1)?, last(*bias, 2)?);
                let slots = slots(arithmetic, &target.as_planes());
                let steps = command.writes.get(1);
                let steps = steps.map(|region| words_mut(second.as_mut_words(), region, slots));
                let mut steps = steps.transpose()?;
                return Ok(conv2d::conv2d_pooled(
                    exec,
                    arithmetic,
                    shape,
                    *window,
                    x,
                    w,
                    bias,
                    target,
                    steps.as_mut(),
                    scratch,
                )?);
            }
            Kernel::Conv2dGradientInput { shape, pooled } => {
                let (g, w) = (gradient(0, *pooled)?, read(1)?);
                conv2d::conv2d_gradient_input(exec, arithmetic, shape, g, w, target, scratch)?;
            }
            Kernel::Conv2dGradientWeights { shape, pooled } => {
                let (x, g) = (read(0)?, gradient(1, *pooled)?);
                conv2d::conv2d_gradient_weights(exec, arithmetic, shape, x, g, target, scratch)?;
            }
            Kernel::Conv2dGradientBias { sizes, pooled } => {
                let g = gradient(0, *pooled)?;
                conv2d::conv2d_gradient_bias(exec, arithmetic, *sizes, g, target)?;
            }
            Kernel::Pool {
                pool,
                shape,
                rectified,
            } => {
                let (kind, x) = (*pool, read(0)?);
                return Ok(if *rectified {
                    pool::rectified_pool(exec, arithmetic, shape, kind, x, target)?
                } else {
                    pool::pool(exec, arithmetic, shape, kind, x, target)?
                });
            }
            Kernel::PoolGradient {
                pool,
                shape,
                rectified,
            } => {
                let (kind, x, g) = (*pool, read(0)?, read(1)?);
                return Ok(if *rectified {
                    pool::rectified_pool_gradient(exec, arithmetic, shape, kind, x, g, target)?
                } else {
                    pool::pool_gradient(exec, arithmetic, shape, kind, x, g, target)?
                });
            }
            Kernel::FunctionMap { function } => {
                return Ok(if command.reads.is_empty() {
                    function_map::function_map_in_place(exec, arithmetic, *function, target)?
                } else {
                    function_map::function_map(exec, arithmetic, *function, read(0)?, target)?
                });
            }
            Kernel::FunctionMapGradient { function } => {
                return Ok(function_map::function_map_gradient(
                    exec,
                    arithmetic,
                    *function,
                    read(0)?,
                    target,
                )?);
            }
            Kernel::PolyMap { constants } => {
                let coefficients = coefficients(constants, || read(1))?;
                return Ok(poly_map::poly_map(
                    exec,
                    arithmetic,
                    coefficients,
                    read(0)?,
                    target,
                )?);
            }
            Kernel::PolyMapGradient { constants } => {
                let coefficients = coefficients(constants, || read(1))?;
                return Ok(poly_map::poly_map_gradient(
                    exec,
                    arithmetic,
                    coefficients,
                    read(0)?,
                    target,
                )?);
            }
            Kernel::PolyMapCoefficientGradient => {
                let (g, x) = (read(0)?, read(1)?);
                poly_map::poly_map_coefficient_gradient(exec, arithmetic, g, x, target)?;
            }
            Kernel::Linear {
                broadcast,
                alpha,
                beta,
            } => {
                let (a, b) = ((*alpha, read(0)?), (*beta, read(1)?));
                elementwise::linear(exec, arithmetic, broadcast, a, b, target)?;
            }
            Kernel::Multiply { broadcast } => {
                let (a, b) = (read(0)?, read(1)?);
                elementwise::multiply(exec, arithmetic, broadcast, a, b, target)?;
            }
            Kernel::Divide { broadcast } => {
                let (a, b) = (read(0)?, read(1)?);
                return Ok(elementwise::divide(
                    exec, arithmetic, broadcast, a, b, target,
                )?);
            }
            Kernel::Reduce { reduction, axis } => match reduction {
                Reduction::Sum => reduce::sum(exec, axis, read(0)?, target)?,
                Reduction::Mean => reduce::mean(exec, axis, read(0)?, target)?,
                Reduction::Max => {
                    return Ok(reduce::max(exec, arithmetic, axis, read(0)?, target)?);
                }
            },
            Kernel::MaxGradient { axis } => {
                let (x, g) = (read(0)?, read(1)?);
                return Ok(reduce::max_gradient(exec, arithmetic, axis, x, g, target)?);
            }
            Kernel::Softmax { columns, logarithm } => {
                let (x, columns) = (read(0)?, *columns);
                return Ok(if *logarithm {
                    reduce::log_softmax(exec, arithmetic, x, columns, target)?
                } else {
                    reduce::softmax(exec, arithmetic, x, columns, target)?
                });
            }
            Kernel::SoftmaxGradient { columns, logarithm } => {
                let (y, g, columns) = (read(0)?, read(1)?, *columns);
                return Ok(if *logarithm {
                    reduce::log_softmax_gradient(exec, arithmetic, y, g, columns, target)?
                } else {
                    reduce::softmax_gradient(exec, arithmetic, y, g, columns, target)?
                });
            }
            Kernel::SlotMaxima => {}
            Kernel::SoftmaxCrossEntropy { columns } => {
                let (x, y) = (read(0)?, read(1)?);
                return Ok(reduce::softmax_cross_entropy(
                    exec, arithmetic, x, y, *columns, target,
                )?);
            }
            Kernel::SoftmaxCrossEntropyGradient { columns } => {
                let (x, y) = (read(0)?, read(1)?);
                return Ok(reduce::softmax_cross_entropy_gradient(
                    exec, arithmetic, x, y, *columns, target,
                )?);
            }
            Kernel::BinaryCrossEntropy => {
                let (x, y) = (read(0)?, read(1)?);
                return Ok(reduce::binary_cross_entropy(
                    exec, arithmetic, x, y, target,
                )?);
            }
            Kernel::BinaryCrossEntropyGradient => {
                let (x, y) = (read(0)?, read(1)?);
                return Ok(reduce::binary_cross_entropy_gradient(
                    exec, arithmetic, x, y, target,
                )?);
            }
            Kernel::MeanSquaredError => {
                let (x, y) = (read(0)?, read(1)?);
                return Ok(reduce::mean_squared_error(exec, arithmetic, x, y, target)?);
            }
            Kernel::Sgd {
                rate,
                momentum,
                weight_decay,
            } => {
                let region = command.writes.get(1);
                let velocity = region.map(|v| view_mut::<T>(second.as_mut_slice(), v));
                let mut velocity = velocity.transpose()?;
                let velocity = velocity.as_mut().map(|v| (*momentum, v));
                let (rate, g) = (rate.unwrap_or(options.learning_rate), read(0)?);
                let finite = update::sgd(exec, rate, *weight_decay, g, target, velocity)?;
                return Ok(SlotMaxima::of_finite(finite));
            }
            &Kernel::Adam {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => {
                let adam = update::Adam {
                    learning_rate: options.learning_rate,
                    beta1,
                    beta2,
                    epsilon,
                    weight_decay,
                };
                let moment = &mut view_mut::<T>(second.as_mut_slice(), &command.writes[1])?;
                let root = &mut view_mut::<T>(third.as_mut_slice(), &command.writes[2])?;
                let (step, g) = (options.step, read(0)?);
                let finite = update::adam(exec, arithmetic, &adam, step, g, target, moment, root)?;
                return Ok(SlotMaxima::of_finite(finite));
            }
            Kernel::Clip { limit } => {
                let finite = update::clip(exec, arithmetic, *limit, target)?;
                return Ok(SlotMaxima::of_finite(finite));
            }
            Kernel::LinearMap { matrix } => {
                let x = read(0)?;
                let mut inputs: [&[T]; MAX_DIM] = [&[]; MAX_DIM];
                for (i, input) in inputs.iter_mut().enumerate().take(x.count()) {
                    *input = x.plane(i);
                }
                convert::linear_map(exec, matrix, &inputs[..x.count()], target)?;
            }
            Kernel::Transpose { sizes } => convert::transpose(exec, *sizes, read(0)?, target)?,
            Kernel::Interleave { into: true } => {
                convert::interleave(exec, read(0)?, target.plane_mut(0))?;
            }
            Kernel::Interleave { into: false } => {
                convert::deinterleave(exec, read(0)?.plane(0), target)?;
            }
            Kernel::StridedCopy { copy, rest } => {
                convert::strided_copy(exec, copy, *rest, read(0)?, target)?;
            }
            Kernel::Tiles { batch, into: true } => {
                convert::into_tiles(exec, *batch, read(0)?, target)?;
            }
            Kernel::Tiles { batch, into: false } => {
                convert::from_tiles(exec, *batch, read(0)?, target)?;
            }
        }
        Ok(SlotMaxima::NONE)
    }
}

/// Slots of a tensor.
fn slots<T>(arithmetic: &Arithmetic, planes: &Planes<'_, T>) -> usize {
    if planes.count() == 1 {
        1
    } else {
        arithmetic.slots()
    }
}

/// A polynomial's coefficients: constants, or else a tensor.
fn coefficients<'a, T: Element>(
    constants: &'a Option<Vec<f64>>,
    tensor: impl FnOnce() -> Result<Planes<'a, T>>,
) -> Result<Coefficients<'a, T>> {
    Ok(match constants {
        Some(constants) => Coefficients::Constant(constants),
        None => Coefficients::Tensor(tensor()?),
    })
}
