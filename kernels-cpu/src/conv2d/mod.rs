//! Convolutions of image tensors, plain or encrypted on either side, and their gradients.
//!
//! Images lie batch-innermost in tiles ([`TILE_IMAGES`](crate::TILE_IMAGES)); weights are
//! `[out_channels, in_channels / groups, kernel rows, kernel columns]`, row-major. As a matrix product
//! is, a convolution of ciphertexts is the algebra's bilinear program over real convolutions: the D
//! planes of a ciphertext by plaintext weights are D times the images.
//!
//! One pixel of 8 channels and 32 images is a register tile: each tap loads two vectors of the source
//! and broadcasts 8 packed weights for 16 fused multiply-adds. There is no im2col: rows are packed as
//! they are, a few at a time, and a window at the border has fewer taps. The gradient by the input is
//! the same kernel with source and target swapped; the gradient by the weights holds tiles of weights
//! as vectors of sums, one lane an image, and adds up lanes once at the end.

mod forward;
mod micro;
mod pack;
mod pooled;
mod schedule;
mod weights;

pub(crate) use forward::Convolve;
pub(crate) use pack::PackWeights;
use pooled::Source;
pub(crate) use pooled::{Averages, PooledSums, Unpooled};
pub use pooled::{Gradient, pooled_sizes, steps_len};
pub(crate) use weights::{ChannelSums, Correlate};

use schedule::{Geometry, Schedule, aligned, piece, pieces, row_pitch};

use crate::algebra::Arithmetic;
use crate::element::Element;
use crate::error::KernelError;
use crate::function_map::Function;
use crate::images::{self, Axis};
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::sizes::product;
use crate::slots::SlotMaxima;
use crate::threads::Exec;

const NAME: &str = "conv2d";

/// Sizes of a convolution. Pairs are rows, columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2dShape {
    /// Images.
    pub batch: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Rows and columns of an input image.
    pub input: [usize; 2],
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Pixels from one place of the kernel to the next.
    pub stride: [usize; 2],
    /// Zeros before and after the rows, and before and after the columns.
    pub padding: [[usize; 2]; 2],
    /// Pixels from one tap to the next.
    pub dilation: [usize; 2],
    /// Channels are cut into so many groups that know nothing of each other.
    pub groups: usize,
}

impl Conv2dShape {
    /// Rows and columns of an output image: 0 where the kernel is larger than the padded input, and
    /// where the input is empty.
    pub fn output(&self) -> [usize; 2] {
        [self.axis(0).output, self.axis(1).output]
    }

    /// Elements of a plane of the input.
    pub fn input_len(&self) -> usize {
        product(&[self.batch, self.in_channels, self.input[0], self.input[1]])
    }

    /// Elements of a plane of the output.
    pub fn output_len(&self) -> usize {
        product(&self.output_sizes())
    }

    /// Elements of a plane of the weights.
    pub fn weight_len(&self) -> usize {
        let [rows, columns] = self.kernel;
        product(&[
            self.out_channels,
            self.in_channels / self.groups.max(1),
            rows,
            columns,
        ])
    }

    /// Images, channels, rows and columns of the output.
    pub fn output_sizes(&self) -> [usize; 4] {
        let [rows, columns] = self.output();
        [self.batch, self.out_channels, rows, columns]
    }

    /// Real multiplications of one product of planes: lanes without an image work too.
    fn products<T: Element>(&self, exec: &Exec) -> usize {
        let [rows, columns] = self.output();
        let images = self.batch.next_multiple_of(exec.isa.lanes::<T>());
        product(&[images, rows, columns, self.weight_len()])
    }

    fn axis(&self, axis: usize) -> Axis {
        let padding = self.padding[axis];
        let padded = self.input[axis]
            .saturating_add(padding[0])
            .saturating_add(padding[1]);
        let span = self.kernel[axis]
            .saturating_sub(1)
            .saturating_mul(self.dilation[axis])
            .saturating_add(1);
        let output = match padded.checked_sub(span) {
            Some(room) if self.input[axis] > 0 => {
                (room / self.stride[axis].max(1)).saturating_add(1)
            }
            _ => 0,
        };
        Axis {
            input: self.input[axis],
            output,
            kernel: self.kernel[axis],
            stride: self.stride[axis],
            padding: padding[0],
            dilation: self.dilation[axis],
            swapped: false,
        }
    }

    /// Whether sizes go together; every kernel here asks.
    ///
    /// # Errors
    /// When they do not, saying why.
    pub fn check(&self) -> Result<(), KernelError> {
        let refuse = |reason| {
            Err(KernelError::Shape {
                kernel: NAME,
                reason,
            })
        };
        let some = |sizes: [usize; 2]| sizes[0] > 0 && sizes[1] > 0;
        if !some(self.kernel) || !some(self.stride) || !some(self.dilation) {
            return refuse("kernel, stride and dilation have to be at least 1");
        }
        let (ins, outs, groups) = (self.in_channels, self.out_channels, self.groups);
        if ins == 0 || outs == 0 || groups == 0 {
            return refuse("channels and groups have to be at least 1");
        }
        if !ins.is_multiple_of(groups) || !outs.is_multiple_of(groups) {
            return refuse("the groups do not divide the channels");
        }
        let [rows, columns] = [0, 1].map(|i| self.axis(i).reach(self.padding[i][1]));
        if !images::in_range(&[self.batch.max(1), ins.max(outs), rows, columns])
            || !images::in_range(&[ins, outs, self.kernel[0], self.kernel[1]])
        {
            return refuse("the sizes are larger than any tensor");
        }
        Ok(())
    }
}

/// What is computed of a convolution's result while it is in cache.
#[derive(Clone, Copy)]
enum Epilogue {
    Map(Option<Function>),
    /// Averages of relu over windows, which are all that is kept but for its steps.
    Pool {
        window: [usize; 2],
        steps: Option<RawPlanes<u32>>,
    },
}

/// Which of the three operations of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conv2dPass {
    /// [`conv2d`].
    Forward,
    /// [`conv2d_gradient_input`].
    GradientInput,
    /// [`conv2d_gradient_weights`].
    GradientWeights,
}

/// Elements of scratch that an operation needs for operands of that many planes, in the order the
/// operation takes them.
///
/// # Errors
/// When the shape is no convolution.
pub fn scratch_len<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &Conv2dShape,
    pass: Conv2dPass,
    left_planes: usize,
    right_planes: usize,
) -> Result<usize, KernelError> {
    shape.check()?;
    let program = arithmetic.product(left_planes, right_planes);
    let planes = arithmetic.result_planes(left_planes, right_planes);
    Ok(match pass {
        Conv2dPass::GradientWeights => {
            weights::Scratch::new::<T>(exec, shape, program, planes).len()
        }
        _ => {
            let geometry = Geometry::new(shape, pass == Conv2dPass::GradientInput);
            Schedule::new::<T>(exec, &geometry, shape, program, planes, None).scratch_len()
        }
    })
}

/// Elements of scratch that [`conv2d_pooled`] needs for images and weights of that many planes.
///
/// # Errors
/// When the shape is no convolution, or the windows do not tile its result.
pub fn pooled_scratch_len<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &Conv2dShape,
    window: [usize; 2],
    input_planes: usize,
    weights_planes: usize,
) -> Result<usize, KernelError> {
    shape.check()?;
    pooled_sizes(shape.output_sizes(), window)?;
    let program = arithmetic.product(input_planes, weights_planes);
    let planes = arithmetic.result_planes(input_planes, weights_planes);
    let (geometry, window) = (Geometry::new(shape, false), Some(window));
    Ok(Schedule::new::<T>(exec, &geometry, shape, program, planes, window).scratch_len())
}

fn enough<T>(scratch: &[T], needs: usize) -> Result<(), KernelError> {
    if scratch.len() < needs {
        return Err(KernelError::Length {
            kernel: NAME,
            operand: "scratch",
            needs,
            has: scratch.len(),
        });
    }
    Ok(())
}

/// Computes `output = f(input * weights + bias)`, all plaintext (one plane) or ciphertexts.
///
/// `bias`, one element a channel, is added to every pixel; `activation` is applied last. What the
/// output held before does not matter. `scratch` needs [`scratch_len`] elements of any content.
/// Returns the magnitudes of the activation's arguments, nothing where there is no activation.
///
/// # Errors
/// When the shape is no convolution, or planes, lengths or scratch do not fit it.
pub fn conv2d<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &Conv2dShape,
    input: Planes<'_, T>,
    weights: Planes<'_, T>,
    bias: Option<Planes<'_, T>>,
    activation: Option<Function>,
    output: &mut PlanesMut<'_, T>,
    scratch: &mut [T],
) -> Result<SlotMaxima, KernelError> {
    let planes = check_operands(arithmetic, shape, &input, &weights, &bias)?;
    output.expect(NAME, "output", &[planes], shape.output_len())?;
    if activation.is_some() {
        output.expect(NAME, "output", &[1, arithmetic.dim()], output.len())?;
    }
    let (source, epilogue) = (Source::Planes(input.raw()), Epilogue::Map(activation));
    run(
        exec, arithmetic, shape, false, source, weights, bias, epilogue, output, scratch,
    )
}

/// Computes the averages of `relu(input * weights + bias)`, relu slot by slot, over windows side by side,
/// which have to tile the convolution's result.
///
/// `steps`, a plane of [`steps_len`] words for each slot of the result, takes what the gradients by it
/// need. `scratch` needs [`pooled_scratch_len`] elements of any content. Returns the
/// magnitudes of relu's arguments.
///
/// # Errors
/// When the shape is no convolution, the windows do not tile, or planes, lengths or scratch do not fit.
pub fn conv2d_pooled<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &Conv2dShape,
    window: [usize; 2],
    input: Planes<'_, T>,
    weights: Planes<'_, T>,
    bias: Option<Planes<'_, T>>,
    output: &mut PlanesMut<'_, T>,
    steps: Option<&mut PlanesMut<'_, u32>>,
    scratch: &mut [T],
) -> Result<SlotMaxima, KernelError> {
    let planes = check_operands(arithmetic, shape, &input, &weights, &bias)?;
    let sizes = pooled_sizes(shape.output_sizes(), window)?;
    output.expect(NAME, "output", &[planes], product(&sizes))?;
    output.expect(NAME, "output", &[1, arithmetic.dim()], output.len())?;
    let slots = pooled::slots_of(arithmetic, planes);
    if let Some(steps) = &steps {
        steps.expect(NAME, "steps", &[slots], steps_len(shape.output_sizes()))?;
    }
    let steps = steps.map(PlanesMut::raw);
    let (source, epilogue) = (
        Source::Planes(input.raw()),
        Epilogue::Pool { window, steps },
    );
    run(
        exec, arithmetic, shape, false, source, weights, bias, epilogue, output, scratch,
    )
}

/// Checks what a convolution reads; returns the planes of its result.
fn check_operands<T: Element>(
    arithmetic: &Arithmetic,
    shape: &Conv2dShape,
    input: &Planes<'_, T>,
    weights: &Planes<'_, T>,
    bias: &Option<Planes<'_, T>>,
) -> Result<usize, KernelError> {
    shape.check()?;
    let either = |operand: &Planes<'_, T>| [1, arithmetic.ciphertext(operand.count())];
    input.expect(NAME, "input", &either(input), shape.input_len())?;
    weights.expect(NAME, "weights", &either(weights), shape.weight_len())?;
    let planes = arithmetic.result_planes(input.count(), weights.count());
    if planes > 1 && planes != arithmetic.ciphertext(planes) {
        return Err(KernelError::PlaneCount {
            kernel: NAME,
            operand: "output",
            needs: arithmetic.dim(),
            has: planes,
        });
    }
    if let Some(bias) = bias {
        bias.expect(NAME, "bias", &[1, planes], shape.out_channels)?;
    }
    Ok(planes)
}

/// The gradient of [`conv2d`] by its input, from the output's gradient and the weights.
///
/// # Errors
/// When the shape is no convolution, or planes, lengths or scratch do not fit it.
pub fn conv2d_gradient_input<'a, T: Element>(
    exec: &Exec,
    arithmetic: &'a Arithmetic,
    shape: &Conv2dShape,
    gradient: impl Into<Gradient<'a, T>>,
    weights: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
    scratch: &mut [T],
) -> Result<(), KernelError> {
    shape.check()?;
    let (gradient, either) = (gradient.into(), [1, arithmetic.dim()]);
    gradient.expect(arithmetic, &either, shape.output_sizes())?;
    weights.expect(NAME, "weights", &either, shape.weight_len())?;
    let planes = arithmetic.result_planes(gradient.count(), weights.count());
    output.expect(NAME, "output", &[planes], shape.input_len())?;
    let (source, epilogue) = (gradient.source(exec.isa, arithmetic), Epilogue::Map(None));
    run(
        exec, arithmetic, shape, true, source, weights, None, epilogue, output, scratch,
    )
    .map(drop)
}

/// Either way of a convolution whose operands were checked.
fn run<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &Conv2dShape,
    swapped: bool,
    source: Source<'_, T>,
    weights: Planes<'_, T>,
    bias: Option<Planes<'_, T>>,
    epilogue: Epilogue,
    output: &mut PlanesMut<'_, T>,
    scratch: &mut [T],
) -> Result<SlotMaxima, KernelError> {
    let program = arithmetic.product(source.count(), weights.count());
    let geometry = Geometry::new(shape, swapped);
    let pooled = match epilogue {
        Epilogue::Pool { window, .. } => Some(window),
        Epilogue::Map(_) => None,
    };
    let schedule = Schedule::new::<T>(exec, &geometry, shape, program, output.count(), pooled);
    enough(scratch, schedule.scratch_len())?;
    if output.is_empty() {
        return Ok(SlotMaxima::NONE);
    }
    let (shared, own) = scratch.split_at_mut(schedule.weights + schedule.bias);
    let (packed, biases) = shared.split_at_mut(schedule.weights);
    T::run_pack_weights(
        exec.isa,
        PackWeights {
            geometry: &geometry,
            program,
            weights,
            to: packed,
        },
    );
    let channels = geometry.groups * geometry.targets;
    for (i, biases) in biases
        .chunks_mut(channels.max(1))
        .take(output.count())
        .enumerate()
    {
        // A plaintext bias is a multiple of the algebra's one.
        let (plane, weight) = match &bias {
            Some(bias) if bias.count() == output.count() => (bias.plane(i), 1.0),
            Some(bias) => (bias.plane(0), arithmetic.one()[i]),
            None => (&[][..], 0.0),
        };
        biases.fill(T::zero());
        for (to, x) in biases.iter_mut().zip(plane) {
            *to = T::of(weight) * *x;
        }
    }
    let (packed, biases) = (&*packed, &*biases);
    let own = PlanesMut::new(own, schedule.pieces, schedule.piece(), schedule.piece())?.raw();
    let target = output.raw();
    let staged_plane = schedule.staged / target.count;
    let body = |i: usize| {
        let window = own.plane(i);
        let staged = RawPlanes::new(
            window.wrapping_add(schedule.window),
            target.count,
            staged_plane,
        );
        let rows = piece(geometry.rows() / schedule.grain, schedule.pieces, i);
        let task = Convolve {
            isa: exec.isa,
            arithmetic,
            program,
            geometry: &geometry,
            source,
            target,
            weights: packed,
            biases,
            epilogue,
            schedule: &schedule,
            window,
            staged,
            rows: rows.start * schedule.grain..rows.end * schedule.grain,
        };
        T::run_convolve(exec.isa, task)
    };
    Ok(exec.pieces(schedule.pieces, body, SlotMaxima::merge))
}

/// The gradient of [`conv2d`] by its weights, from the input and the output's gradient.
///
/// Sums over images and pixels are added up in an order that depends on the shape, the thread count and
/// the instruction set alone.
///
/// # Errors
/// When the shape is no convolution, or planes, lengths or scratch do not fit it.
pub fn conv2d_gradient_weights<'a, T: Element>(
    exec: &Exec,
    arithmetic: &'a Arithmetic,
    shape: &Conv2dShape,
    input: Planes<'_, T>,
    gradient: impl Into<Gradient<'a, T>>,
    output: &mut PlanesMut<'_, T>,
    scratch: &mut [T],
) -> Result<(), KernelError> {
    shape.check()?;
    let (gradient, either) = (gradient.into(), [1, arithmetic.dim()]);
    input.expect(NAME, "input", &either, shape.input_len())?;
    gradient.expect(arithmetic, &either, shape.output_sizes())?;
    let planes = arithmetic.result_planes(input.count(), gradient.count());
    output.expect(NAME, "output", &[planes], shape.weight_len())?;
    weights::run(exec, arithmetic, shape, input, gradient, output, scratch)
}

/// The gradient of [`conv2d`] by its bias: the sum of the output's gradient over images and pixels.
/// `sizes` are its images, channels, rows and columns.
///
/// # Errors
/// When planes or lengths do not fit those sizes.
pub fn conv2d_gradient_bias<'a, T: Element>(
    exec: &Exec,
    arithmetic: &'a Arithmetic,
    sizes: [usize; 4],
    gradient: impl Into<Gradient<'a, T>>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let (gradient, planes) = (gradient.into(), output.count());
    if !images::in_range(&sizes.map(|size| size.max(1))) {
        return Err(KernelError::Shape {
            kernel: NAME,
            reason: "the sizes are larger than any tensor",
        });
    }
    let [batch, channels, rows, columns] = sizes;
    output.expect(NAME, "output", &[planes], channels)?;
    gradient.expect(arithmetic, &[planes], sizes)?;
    if gradient.is_empty() {
        for i in 0..planes {
            output.plane_mut(i).fill(T::zero());
        }
        return Ok(());
    }
    match gradient {
        Gradient::Dense(gradient) => weights::bias(exec, batch, rows * columns, gradient, output),
        Gradient::Pooled {
            averages,
            steps,
            window,
        } => pooled::bias(exec, arithmetic, sizes, averages, steps, window, output),
    }
    Ok(())
}
