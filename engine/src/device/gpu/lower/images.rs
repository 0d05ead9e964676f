//! Kernels on tiles of images: convolutions and pooling.

use furthermore_kernels_cpu::TILE_IMAGES;
use furthermore_kernels_cpu::conv2d::Conv2dShape;
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::pool::{Pool, PoolShape};
use furthermore_shaders::{Constant, Variant};

use super::products::Runs;
use super::{Lowered, Lowering, too_large};
use crate::error::Result;
use crate::plan::Region;

/// One axis of a sliding window: elements and places, taps, and how they runs.
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

/// How image tensors runs: a pixel's images side by side, in tiles of a whole number of vectors and one
/// of what is left.
fn images_of(batch: usize, along_depth: bool) -> Runs {
    Runs {
        length: batch,
        along_depth,
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
    fn in_pieces(&self, lowered: Lowered, pieces: &Pieces, y: Region) -> Result<Vec<Lowered>> {
        let mut lowered = lowered
            .size("piece", pieces.terms)?
            .size("count", pieces.count)?;
        let split = pieces.count > 1;
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
            .by_element(variant, y.elements, pieces.count * y.planes)
            .operand("y", y)
            .size("pieces_stride", stride)?
            .size("len", y.elements)?
            .size("count", pieces.count)?;
        lowered.scratch = stride.saturating_mul(y.planes);
        Ok(vec![lowered.size("pieces_stride", stride)?, sum])
    }

    /// A convolution, or `swapped` its gradient by the images.
    fn convolution(
        &self,
        entry: &'static str,
        swapped: bool,
        shape: &Conv2dShape,
        [images, weights]: [Region; 2],
        y: Region,
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
        let variant = windowed(self.variant("conv2d", entry, y.planes), axes)?;
        let variant = sized(variant, "GROUPS", shape.groups)?;
        let variant = sized(variant, "SOURCES", sources)?;
        let variant = sized(variant, "TARGETS", targets)?.flag("SWAPPED", swapped);
        let sizes = [targets, sources * taps, columns];
        let weight_runs = Runs {
            // Of the gradient by the images, sums go over output channels, between which runs others.
            length: if swapped { 1 } else { sources * taps },
            along_depth: true,
        };
        let runs = [weight_runs, images_of(shape.batch, false)];
        let tiled = self.tiled(variant, [weights, images], runs, sizes);
        let groups = shape.groups * tiled.tile.count(targets, columns);
        Lowered::tiled(tiled, groups)
            .operand("a", weights)
            .operand("b", images)
            .operand("y", y)
            .size("batch", shape.batch)
    }

    pub(super) fn conv2d(
        &self,
        shape: &Conv2dShape,
        [images, weights]: [Region; 2],
        bias: Option<Region>,
        activation: Option<Function>,
        y: Region,
    ) -> Result<Lowered> {
        let mut lowered = self
            .convolution("conv2d", false, shape, [images, weights], y)?
            .function(activation);
        lowered.variant = lowered
            .variant
            .flag("HAS_BIAS", bias.is_some())
            .plaintext("bias", bias.is_some_and(|bias| bias.planes < y.planes));
        Ok(match bias {
            Some(bias) => lowered.operand("bias", bias),
            None => lowered,
        })
    }

    pub(super) fn conv2d_gradient_input(
        &self,
        shape: &Conv2dShape,
        [gradient, weights]: [Region; 2],
        y: Region,
    ) -> Result<Lowered> {
        let entry = "conv2d_gradient_input";
        let mut lowered = self
            .convolution(entry, true, shape, [gradient, weights], y)?
            .function(None);
        lowered.variant = lowered.variant.flag("HAS_BIAS", false);
        Ok(lowered)
    }

    pub(super) fn conv2d_gradient_weights(
        &self,
        shape: &Conv2dShape,
        [images, gradient]: [Region; 2],
        y: Region,
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
        let sizes = [outs, terms, ins * taps];
        let runs = [images_of(shape.batch, true); 2];
        let mut tiled = self.tiled(variant, [gradient, images], runs, sizes);
        let groups = shape.groups * tiled.tile.count(outs, ins * taps);
        let pieces = Pieces::new(groups, terms);
        tiled.work /= pieces.count;
        let lowered = Lowered::tiled(tiled, groups * pieces.count)
            .operand("a", gradient)
            .operand("b", images)
            .size("batch", shape.batch)?;
        self.in_pieces(lowered, &pieces, y)
    }

    pub(super) fn conv2d_gradient_bias(
        &self,
        [batch, channels, pixels]: [usize; 3],
        gradient: Region,
        y: Region,
    ) -> Result<Vec<Lowered>> {
        let variant = self.variant("conv2d_sums", "conv2d_gradient_bias", y.planes);
        let variant = sized(variant, "TILE_IMAGES", TILE_IMAGES)?;
        let terms = batch * pixels;
        let pieces = Pieces::new(channels, terms);
        let groups = channels * pieces.count;
        let lowered = Lowered::new(variant, groups, pieces.terms.saturating_mul(y.planes))
            .operand("g", gradient)
            .size("batch", batch)?
            .size("channels", channels)?
            .size("pixels", pixels)?;
        self.in_pieces(lowered, &pieces, y)
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
        let lowered = self
            .by_element(variant, y.elements, taps.saturating_mul(y.planes))
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
