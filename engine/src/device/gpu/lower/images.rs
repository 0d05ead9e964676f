//! Kernels on tiles of images: convolutions and pooling.

use furthermore_kernels_cpu::TILE_IMAGES;
use furthermore_kernels_cpu::conv2d::{Conv2dShape, steps_len};
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::pool::{Pool, PoolShape};
use furthermore_shaders::{Constant, Value, Variant};

use super::products::Runs;
use super::{Lowered, Lowering, Share, WORKGROUP, too_large};
use crate::error::Result;
use crate::plan::Region;

/// One axis of a sliding window: elements and places, taps, and how they lie.
#[derive(Debug, Clone, Copy)]
struct Axis {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    padding: [usize; 2],
    dilation: usize,
}

impl Axis {
    fn of_convolution(shape: &Conv2dShape) -> [Self; 2] {
        [0, 1].map(|i| Self {
            input: shape.input[i],
            output: shape.output()[i],
            kernel: shape.kernel[i],
            stride: shape.stride[i],
            padding: shape.padding[i],
            dilation: shape.dilation[i],
        })
    }

    fn of_pooling(shape: &PoolShape) -> [Self; 2] {
        [0, 1].map(|i| Self {
            input: shape.input[i],
            output: shape.output()[i],
            kernel: shape.kernel[i],
            stride: shape.stride[i],
            padding: shape.padding[i],
            dilation: shape.dilation[i],
        })
    }
}

/// With a size as a constant: divisions by constants are multiplications.
fn sized(variant: Variant, name: &'static str, size: usize) -> Result<Variant> {
    let fits = u32::try_from(size).map_err(|_| too_large(name, size))?;
    Ok(variant.constant(name, Constant::U32(fits)))
}

/// With the sizes of windows.
fn windowed(mut variant: Variant, axes: [Axis; 2]) -> Result<Variant> {
    const NAMES: [[&str; 7]; 2] = [
        [
            "ROWS_INPUT",
            "ROWS_OUTPUT",
            "ROWS_KERNEL",
            "ROWS_STRIDE",
            "ROWS_PADDING",
            "ROWS_AFTER",
            "ROWS_DILATION",
        ],
        [
            "COLUMNS_INPUT",
            "COLUMNS_OUTPUT",
            "COLUMNS_KERNEL",
            "COLUMNS_STRIDE",
            "COLUMNS_PADDING",
            "COLUMNS_AFTER",
            "COLUMNS_DILATION",
        ],
    ];
    for (names, axis) in NAMES.iter().zip(axes) {
        let sizes = [
            axis.input,
            axis.output,
            axis.kernel,
            axis.stride,
            axis.padding[0],
            axis.padding[1],
            axis.dilation,
        ];
        // No index along the axis, taps off the image included, may come near the half of 32 bits:
        // what lies before the first element wraps.
        let reach = axis.kernel.saturating_mul(axis.dilation);
        let padded = axis.padding.into_iter().chain([axis.input, axis.stride]);
        let reach = padded.fold(reach, usize::saturating_add);
        if reach > 1 << 30 {
            return Err(too_large("the reach of a window", reach));
        }
        for (name, size) in names.iter().zip(sizes) {
            variant = sized(variant, name, size)?;
        }
    }
    sized(variant, "TILE_IMAGES", TILE_IMAGES)
}

/// How image tensors lie: a pixel's images side by side, in tiles of a whole number of vectors and one
/// of what is left.
fn images_of(batch: usize, along_depth: bool) -> Runs {
    Runs {
        length: batch,
        along_depth,
    }
}

/// With the windows of averages, of one pixel where there are none.
fn averaged(variant: Variant, window: Option<[usize; 2]>) -> Result<Variant> {
    let [rows, columns] = window.unwrap_or([1, 1]);
    let variant = variant.flag("POOLED", window.is_some());
    sized(
        sized(variant, "WINDOW_ROWS", rows)?,
        "WINDOW_COLUMNS",
        columns,
    )
}

/// The gradient by a convolution's result: as it is, or by averages over windows with the steps that
/// were saved with these.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gradient {
    region: Region,
    pooled: Option<([usize; 2], Region)>,
}

impl Gradient {
    /// From the region of a gradient and what else the command reads, steps last.
    pub(super) fn new(region: Region, window: Option<[usize; 2]>, reads: &[Region]) -> Self {
        let pooled = window.zip(reads.last().copied());
        Self { region, pooled }
    }

    fn window(&self) -> Option<[usize; 2]> {
        self.pooled.map(|(window, _)| window)
    }
}

impl Lowered {
    /// The steps of a gradient's slots.
    fn steps_of(self, gradient: &Gradient, sizes: [usize; 4]) -> Self {
        match gradient.pooled {
            Some((_, steps)) => self.steps(steps, sizes),
            None => self,
        }
    }

    /// The steps of a convolution's result of these sizes.
    fn steps(self, region: Region, sizes: [usize; 4]) -> Self {
        let stride = steps_len(sizes);
        self.operand("steps", Region { stride, ..region })
    }

    /// Planes of scratch of so many numbers.
    fn in_scratch(mut self, planes: usize, numbers: usize) -> Self {
        self.scratch = planes.saturating_mul(numbers);
        // Where it passes what shaders count, so does scratch, and the command is cut or refused.
        let stride = u32::try_from(numbers).unwrap_or(u32::MAX);
        self.parameters.push(("scratch_stride", Value::U32(stride)));
        self
    }
}

/// How a sum that different workgroups add up is cut.
struct Pieces {
    /// Terms of a piece.
    terms: usize,
    count: usize,
}

impl Pieces {
    /// Pieces of a sum of `terms` terms where `groups` workgroups would add it up whole: enough to
    /// occupy a device, none so short that what is left to add up afterwards counts.
    fn new(groups: usize, terms: usize) -> Self {
        const GROUPS: usize = 256;
        const TERMS: usize = 256;
        let most = (GROUPS / groups.max(1)).min(terms / TERMS).max(1);
        // The bounds of pieces are whole cache lines.
        let terms_each = terms.div_ceil(most).next_multiple_of(TILE_IMAGES).max(1);
        Self {
            terms: terms_each,
            count: terms.div_ceil(terms_each).max(1),
        }
    }
}

impl Lowering {
    /// A sum in pieces, each of `terms` of its command's terms, and what adds these up.
    fn in_pieces(
        &self,
        lowered: Lowered,
        pieces: &Pieces,
        y: Region,
        share: &Share,
    ) -> Result<Vec<Lowered>> {
        let mut lowered = lowered
            .size("piece", pieces.terms)?
            .size("count", pieces.count)?;
        let split = pieces.count > 1 || share.of_sums();
        lowered.variant = lowered.variant.flag("IN_PIECES", split);
        if !split {
            return Ok(vec![lowered.operand("y", y)]);
        }
        let stride = pieces.count.saturating_mul(y.elements);
        let variant = self
            .variant("conv2d_sums", "add_pieces", y.planes)
            .flag("IN_PIECES", split);
        let variant = sized(variant, "TILE_IMAGES", TILE_IMAGES)?;
        let sum = self
            .by_element(
                averaged(variant, None)?,
                y.elements,
                pieces.count * y.planes,
            )
            .operand("y", y)
            .in_scratch(y.planes, stride)
            .size("len", y.elements)?
            .size("count", pieces.count)?;
        let dispatches = vec![lowered.in_scratch(y.planes, stride), sum];
        share.keep(dispatches, y.planes * y.elements)
    }

    /// A convolution, or `swapped` its gradient by the images, of so many planes; what takes the
    /// images' place lies in `runs`.
    fn convolution(
        &self,
        entry: &'static str,
        swapped: bool,
        shape: &Conv2dShape,
        [images, weights]: [Region; 2],
        runs: Runs,
        planes: usize,
    ) -> Result<Lowered> {
        let [ins, outs] = [shape.in_channels, shape.out_channels].map(|c| c / shape.groups);
        let axes = Axis::of_convolution(shape);
        let (sources, targets) = if swapped { (outs, ins) } else { (ins, outs) };
        let pixels: usize = axes
            .iter()
            .map(|axis| if swapped { axis.input } else { axis.output })
            .product();
        let taps: usize = shape.kernel.iter().product();
        let columns = shape.batch * pixels;
        let variant = windowed(self.variant("conv2d", entry, planes), axes)?;
        let variant = sized(variant, "GROUPS", shape.groups)?;
        let variant = sized(variant, "SOURCES", sources)?;
        let variant = sized(variant, "TARGETS", targets)?.flag("SWAPPED", swapped);
        let sizes = [targets, sources * taps, columns];
        let weight_runs = Runs {
            // Of the gradient by the images, sums go over output channels, between which others lie.
            length: if swapped { 1 } else { sources * taps },
            along_depth: true,
        };
        let tiled = self.tiled(variant, [weights, images], [weight_runs, runs], sizes);
        let groups = shape.groups * tiled.tile.count(targets, columns);
        Lowered::tiled(tiled, groups)
            .operand("a", weights)
            .operand("b", images)
            .size("batch", shape.batch)
    }

    pub(super) fn conv2d(
        &self,
        shape: &Conv2dShape,
        operands: [Region; 2],
        bias: Option<Region>,
        activation: Option<Function>,
        y: Region,
    ) -> Result<Lowered> {
        let mut lowered = self.forward(shape, operands, bias, y.planes)?;
        lowered.variant = lowered.variant.flag("IN_SCRATCH", false);
        Ok(lowered.function(activation).operand("y", y))
    }

    /// A convolution of images and weights, wherever it is written.
    fn forward(
        &self,
        shape: &Conv2dShape,
        operands: [Region; 2],
        bias: Option<Region>,
        planes: usize,
    ) -> Result<Lowered> {
        let runs = images_of(shape.batch, false);
        let mut lowered = self.convolution("conv2d", false, shape, operands, runs, planes)?;
        lowered.variant = averaged(lowered.variant, None)?
            .flag("HAS_BIAS", bias.is_some())
            .plaintext("bias", bias.is_some_and(|bias| bias.planes < planes));
        Ok(match bias {
            Some(bias) => lowered.operand("bias", bias),
            None => lowered,
        })
    }

    /// The convolution in scratch, then what is kept of it.
    pub(super) fn conv2d_pooled(
        &self,
        shape: &Conv2dShape,
        operands: [Region; 2],
        bias: Option<Region>,
        window: [usize; 2],
        y: Region,
        steps: Option<Region>,
    ) -> Result<Vec<Lowered>> {
        let (planes, len) = (y.planes, shape.output_len());
        let mut convolution = self.forward(shape, operands, bias, planes)?.function(None);
        convolution.variant = convolution.variant.flag("IN_SCRATCH", true);
        let convolution = convolution.in_scratch(planes, len);
        let sizes = shape.output_sizes();
        let [batch, channels, rows, columns] = sizes;
        let variant = self.variant("conv2d_pooled", "conv2d_pooled", planes);
        let variant = sized(variant, "TILE_IMAGES", TILE_IMAGES)?;
        let variant = sized(variant, "CHANNELS", channels)?;
        let variant = sized(variant, "RESULT_ROWS", rows)?;
        let variant = sized(variant, "RESULT_COLUMNS", columns)?;
        let variant = averaged(variant, Some(window))?.flag("HAS_STEPS", steps.is_some());
        let taps = window[0] * window[1];
        let windows = batch.div_ceil(TILE_IMAGES) * channels * (rows * columns / taps);
        let groups = windows.div_ceil(WORKGROUP / TILE_IMAGES);
        let work = (WORKGROUP * planes).saturating_mul(taps);
        let lowered = Lowered::new(variant, groups, work)
            .operand("y", y)
            .in_scratch(planes, len)
            .size("batch", batch)?;
        let lowered = match steps {
            Some(steps) => lowered.steps(steps, sizes),
            None => lowered,
        };
        Ok(vec![convolution, lowered])
    }

    pub(super) fn conv2d_gradient_input(
        &self,
        shape: &Conv2dShape,
        gradient: &Gradient,
        weights: Region,
        y: Region,
        share: &Share,
    ) -> Result<Vec<Lowered>> {
        let (entry, operands) = ("conv2d_gradient_input", [gradient.region, weights]);
        let runs = images_of(shape.batch, false).unless(gradient.window().is_some());
        let mut lowered = self
            .convolution(entry, true, shape, operands, runs, y.planes)?
            .function(None)
            .operand("y", y)
            .steps_of(gradient, shape.output_sizes());
        lowered.variant = averaged(lowered.variant, gradient.window())?
            .flag("HAS_BIAS", false)
            .flag("IN_SCRATCH", false);
        share.keep(vec![lowered], y.planes * y.elements)
    }

    pub(super) fn conv2d_gradient_weights(
        &self,
        shape: &Conv2dShape,
        images: Region,
        gradient: &Gradient,
        y: Region,
        share: &Share,
    ) -> Result<Vec<Lowered>> {
        let [ins, outs] = [shape.in_channels, shape.out_channels].map(|c| c / shape.groups);
        let axes = Axis::of_convolution(shape);
        let taps: usize = shape.kernel.iter().product();
        let terms = shape.batch * axes[0].output * axes[1].output;
        let variant = self.variant("conv2d_weights", "conv2d_gradient_weights", y.planes);
        let variant = windowed(variant, axes)?;
        let variant = sized(variant, "GROUPS", shape.groups)?;
        let variant = sized(variant, "SOURCES", ins)?;
        let variant = sized(variant, "TARGETS", outs)?;
        let variant = averaged(variant, gradient.window())?;
        let sizes = [outs, terms, ins * taps];
        let gradients = images_of(shape.batch, true).unless(gradient.window().is_some());
        let runs = [gradients, images_of(shape.batch, true)];
        let mut tiled = self.tiled(variant, [gradient.region, images], runs, sizes);
        let groups = shape.groups * tiled.tile.count(outs, ins * taps);
        let pieces = Pieces::new(groups, terms);
        tiled.work /= pieces.count;
        let lowered = Lowered::tiled(tiled, groups * pieces.count)
            .operand("a", gradient.region)
            .operand("b", images)
            .steps_of(gradient, shape.output_sizes())
            .size("batch", shape.batch)?;
        self.in_pieces(lowered, &pieces, y, share)
    }

    pub(super) fn conv2d_gradient_bias(
        &self,
        sizes: [usize; 4],
        gradient: &Gradient,
        y: Region,
        share: &Share,
    ) -> Result<Vec<Lowered>> {
        let [batch, channels, rows, columns] = sizes;
        let variant = self.variant("conv2d_sums", "conv2d_gradient_bias", y.planes);
        let variant = sized(variant, "TILE_IMAGES", TILE_IMAGES)?;
        let variant = averaged(variant, gradient.window())?;
        let terms = batch * rows * columns;
        let pieces = Pieces::new(channels, terms);
        let groups = channels * pieces.count;
        let lowered = Lowered::new(variant, groups, pieces.terms.saturating_mul(y.planes))
            .operand("g", gradient.region)
            .steps_of(gradient, sizes)
            .size("batch", batch)?
            .size("channels", channels)?
            .size("rows", rows)?
            .size("columns", columns)?;
        self.in_pieces(lowered, &pieces, y, share)
    }

    /// A pooling of `x`, or given its gradient that by `x`.
    pub(super) fn pool(
        &self,
        pool: Pool,
        rectified: bool,
        shape: &PoolShape,
        x: Region,
        gradient: Option<Region>,
        y: Region,
    ) -> Result<Lowered> {
        let entry = match (rectified, gradient.is_some()) {
            (false, false) => "pool",
            (false, true) => "pool_gradient",
            (true, false) => "rectified_pool",
            (true, true) => "rectified_pool_gradient",
        };
        let axes = Axis::of_pooling(shape);
        let variant = windowed(self.variant("pool", entry, y.planes), axes)?;
        let variant = sized(variant, "CHANNELS", shape.channels)?
            .flag("MAXIMUM", pool == Pool::Max)
            .flag("WITH_PADDING", pool == Pool::AverageWithPadding);
        let taps: usize = shape.kernel.iter().product();
        // Of a gradient, each pixel is looked for in all windows over it, and in each of a maximum among
        // all of its pixels.
        let axes = shape.kernel.iter().zip(&shape.stride);
        let windows: usize = axes
            .map(|(size, step)| size.div_ceil((*step).max(1)))
            .product();
        let steps = match (gradient.is_some(), pool) {
            (false, _) => taps,
            (true, Pool::Max) => windows.saturating_mul(taps),
            (true, _) => windows,
        };
        let lowered = self
            .by_element(variant, y.elements, steps.saturating_mul(y.planes))
            .operand("x", x)
            .operand("y", y)
            .size("batch", shape.batch)?
            .size("len", y.elements)?;
        Ok(match gradient {
            Some(gradient) => lowered.operand("g", gradient),
            None => lowered,
        })
    }
}
