//! Convolutions of image tensors, plain or encrypted on either side, and their gradients.
//!
//! Images lie batch-innermost in tiles ([`TILE_IMAGES`]); weights are
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
mod weights;

pub(crate) use forward::Convolve;
pub(crate) use pack::PackWeights;
pub(crate) use weights::{ChannelSums, Correlate};

use std::ops::Range;

use crate::algebra::{Arithmetic, Bilinear};
use crate::element::Element;
use crate::error::KernelError;
use crate::function_map::Function;
use crate::images::{self, Axis, TILE_IMAGES};
use crate::planes::{Planes, PlanesMut};
use crate::sizes::product;
use crate::slots::SlotMaxima;
use crate::threads::{Exec, MIN_PRODUCTS_PER_PIECE};

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
        let [rows, columns] = self.output();
        product(&[self.batch, self.out_channels, rows, columns])
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

/// A convolution as the kernels see it: target channels that sum over source channels, either way.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    batch: usize,
    groups: usize,
    /// Channels of a group.
    sources: usize,
    targets: usize,
    axes: [Axis; 2],
    kernel: [usize; 2],
    /// Where weights lie: elements from one group, target channel and source channel to the next.
    group_weights: usize,
    target_weights: usize,
    source_weights: usize,
}

impl Geometry {
    /// From input to output, or `swapped` from output to input.
    fn new(shape: &Conv2dShape, swapped: bool) -> Self {
        let [ins, outs] = [shape.in_channels, shape.out_channels].map(|c| c / shape.groups);
        let taps = shape.kernel[0] * shape.kernel[1];
        let forward = Self {
            batch: shape.batch,
            groups: shape.groups,
            sources: ins,
            targets: outs,
            axes: [shape.axis(0), shape.axis(1)],
            kernel: shape.kernel,
            group_weights: outs * ins * taps,
            target_weights: ins * taps,
            source_weights: taps,
        };
        if !swapped {
            return forward;
        }
        Self {
            sources: outs,
            targets: ins,
            axes: forward.axes.map(Axis::swap),
            target_weights: taps,
            source_weights: ins * taps,
            ..forward
        }
    }

    fn tiles(&self) -> usize {
        self.batch.div_ceil(TILE_IMAGES)
    }

    /// Rows of results, all tiles together: what is cut into pieces.
    fn rows(&self) -> usize {
        self.tiles() * self.axes[0].targets()
    }

    /// Elements of one image of the source, all channels.
    fn source_image(&self) -> usize {
        self.groups * self.sources * self.axes[0].source_len() * self.axes[1].source_len()
    }

    /// Elements of one image of the result, all channels.
    fn target_image(&self) -> usize {
        self.groups * self.targets * self.axes[0].targets() * self.axes[1].targets()
    }

    fn weights(&self) -> usize {
        self.groups * self.group_weights
    }
}

/// How many pieces to cut `rows` rows into when all together are `products` multiplications.
fn pieces(exec: &Exec, rows: usize, products: usize) -> usize {
    (products / MIN_PRODUCTS_PER_PIECE)
        .clamp(1, exec.threads.max(1))
        .min(rows.max(1))
}

/// Piece `i` of `pieces` of `0..len`.
fn piece(len: usize, pieces: usize, i: usize) -> Range<usize> {
    len * i / pieces..len * (i + 1) / pieces
}

/// Elements rounded up so that what follows starts on a cache line.
fn aligned<T>(elements: usize) -> usize {
    let rounded = elements.checked_next_multiple_of(64 / size_of::<T>());
    rounded.unwrap_or(usize::MAX)
}

/// Bytes of the rows of a source that lie packed at a time, and of the results computed from them in
/// the meantime: each a quarter of a 1 MiB level-2 cache.
const WINDOW_BYTES: usize = 256 << 10;

/// How a convolution is gone through: in pieces, each a chunk of rows after the other, for which one
/// combination of the source's planes is packed at a time.
///
/// Images of 2^n pixels put every channel and row of a pixel in the same few places of a cache. Packed
/// rows lie a cache line further apart than they are long.
struct Schedule {
    pieces: usize,
    /// Most rows of results in a chunk.
    rows: usize,
    /// Rows of the source packed for them.
    source_rows: usize,
    /// Elements of scratch: packed weights and biases that all pieces share, and each piece's rows.
    weights: usize,
    bias: usize,
    window: usize,
}

impl Schedule {
    fn new<T: Element>(
        exec: &Exec,
        geometry: &Geometry,
        shape: &Conv2dShape,
        program: &Bilinear,
        planes: usize,
    ) -> Self {
        let products = shape
            .products::<T>(exec)
            .saturating_mul(program.terms.len());
        let [rows, columns] = &geometry.axes;
        let width = geometry.batch.min(TILE_IMAGES);
        let channels = geometry.groups * geometry.sources;
        let source_row = channels * row_pitch::<T>(columns.source_len() * width);
        let target_channels = planes * geometry.groups * geometry.targets;
        let target_row = product(&[target_channels, columns.targets(), width]);
        let most = WINDOW_BYTES / size_of::<T>();
        let limit = rows.targets().min(most / target_row.max(1));
        let fits = |count: usize| rows.most_sources(count).saturating_mul(source_row) <= most;
        let mut chunk = 1;
        while chunk < limit && fits(chunk + 1) {
            chunk += 1;
        }
        let source_rows = rows.most_sources(chunk);
        Self {
            pieces: pieces(exec, geometry.rows(), products),
            rows: chunk,
            source_rows,
            weights: aligned::<T>(product(&[program.right.len(), geometry.weights()])),
            bias: aligned::<T>(target_channels),
            window: aligned::<T>(source_rows * source_row),
        }
    }

    fn scratch_len(&self) -> usize {
        let own = product(&[self.pieces, self.window]);
        own.saturating_add(self.weights).saturating_add(self.bias)
    }
}

/// Elements from one packed row to the next.
fn row_pitch<T>(len: usize) -> usize {
    aligned::<T>(len) + 64 / size_of::<T>()
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
            Schedule::new::<T>(exec, &geometry, shape, program, planes).scratch_len()
        }
    })
}

/// Checks a shape, two operands, each with its name and the elements of a plane, and their result.
fn expect<T: Element>(
    arithmetic: &Arithmetic,
    shape: &Conv2dShape,
    operands: [(&'static str, &Planes<'_, T>, usize); 2],
    output: &PlanesMut<'_, T>,
    output_len: usize,
) -> Result<(), KernelError> {
    shape.check()?;
    for (name, operand, len) in operands {
        operand.expect(NAME, name, &[1, arithmetic.dim()], len)?;
    }
    let [left, right] = operands.map(|(_, operand, _)| operand.count());
    let planes = arithmetic.result_planes(left, right);
    output.expect(NAME, "output", &[planes], output_len)
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
    let operands = [
        ("input", &input, shape.input_len()),
        ("weights", &weights, shape.weight_len()),
    ];
    expect(arithmetic, shape, operands, output, shape.output_len())?;
    if let Some(bias) = &bias {
        bias.expect(NAME, "bias", &[1, output.count()], shape.out_channels)?;
    }
    run(
        exec, arithmetic, shape, false, input, weights, bias, activation, output, scratch,
    )
}

/// The gradient of [`conv2d`] by its input, from the output's gradient and the weights.
///
/// # Errors
/// When the shape is no convolution, or planes, lengths or scratch do not fit it.
pub fn conv2d_gradient_input<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &Conv2dShape,
    gradient: Planes<'_, T>,
    weights: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
    scratch: &mut [T],
) -> Result<(), KernelError> {
    let operands = [
        ("gradient", &gradient, shape.output_len()),
        ("weights", &weights, shape.weight_len()),
    ];
    expect(arithmetic, shape, operands, output, shape.input_len())?;
    run(
        exec, arithmetic, shape, true, gradient, weights, None, None, output, scratch,
    )
    .map(drop)
}

/// Either way of a convolution whose operands were checked.
fn run<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &Conv2dShape,
    swapped: bool,
    source: Planes<'_, T>,
    weights: Planes<'_, T>,
    bias: Option<Planes<'_, T>>,
    activation: Option<Function>,
    output: &mut PlanesMut<'_, T>,
    scratch: &mut [T],
) -> Result<SlotMaxima, KernelError> {
    let program = arithmetic.product(source.count(), weights.count());
    let geometry = Geometry::new(shape, swapped);
    let schedule = Schedule::new::<T>(exec, &geometry, shape, program, output.count());
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
    let own = PlanesMut::new(own, schedule.pieces, schedule.window, schedule.window)?.raw();
    let (source, target) = (source.raw(), output.raw());
    let body = |i: usize| {
        let task = Convolve {
            isa: exec.isa,
            arithmetic,
            program,
            geometry: &geometry,
            source,
            target,
            weights: packed,
            biases,
            activation,
            schedule: &schedule,
            window: own.plane(i),
            rows: piece(geometry.rows(), schedule.pieces, i),
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
pub fn conv2d_gradient_weights<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &Conv2dShape,
    input: Planes<'_, T>,
    gradient: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
    scratch: &mut [T],
) -> Result<(), KernelError> {
    let operands = [
        ("input", &input, shape.input_len()),
        ("gradient", &gradient, shape.output_len()),
    ];
    expect(arithmetic, shape, operands, output, shape.weight_len())?;
    weights::run(exec, arithmetic, shape, input, gradient, output, scratch)
}

/// The gradient of [`conv2d`] by its bias: the sum of the output's gradient, `[batch, channels, pixels]`,
/// over images and pixels.
///
/// # Errors
/// When planes or lengths do not fit those sizes.
pub fn conv2d_gradient_bias<T: Element>(
    exec: &Exec,
    [batch, channels, pixels]: [usize; 3],
    gradient: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let planes = output.count();
    if !images::in_range(&[batch.max(1), channels.max(1), pixels.max(1)]) {
        return Err(KernelError::Shape {
            kernel: NAME,
            reason: "the sizes are larger than any tensor",
        });
    }
    output.expect(NAME, "output", &[planes], channels)?;
    let needs = product(&[batch, channels, pixels]);
    gradient.expect(NAME, "gradient", &[planes], needs)?;
    if gradient.is_empty() {
        for i in 0..planes {
            output.plane_mut(i).fill(T::zero());
        }
        return Ok(());
    }
    weights::bias(exec, batch, pixels, gradient, output);
    Ok(())
}
