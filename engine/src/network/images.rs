//! How convolutions and pooling slide over images.

use furthermore_kernels_cpu::conv2d::Conv2dShape;
use furthermore_kernels_cpu::pool::PoolShape;

use crate::tensor::Shape;

/// How the kernel of a convolution slides. Pairs are rows, columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Pixels from one place to the next.
    pub stride: [usize; 2],
    /// Zeros before and after the rows, and before and after the columns.
    pub padding: [[usize; 2]; 2],
    /// Pixels from one tap to the next.
    pub dilation: [usize; 2],
    /// Channels are cut into so many groups that know nothing of each other.
    pub groups: usize,
}

impl Default for Convolution {
    fn default() -> Self {
        Self {
            stride: [1; 2],
            padding: [[0; 2]; 2],
            dilation: [1; 2],
            groups: 1,
        }
    }
}

impl Convolution {
    /// With so many zeros on every side.
    pub fn padded(padding: usize) -> Self {
        Self {
            padding: [[padding; 2]; 2],
            ..Self::default()
        }
    }
}

/// How the window of a pooling slides. Pairs are rows, columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Pixels from one place to the next.
    pub stride: [usize; 2],
    /// Pixels before and after the rows, and before and after the columns, that hold nothing.
    pub padding: [[usize; 2]; 2],
    /// Pixels from one tap to the next.
    pub dilation: [usize; 2],
    /// A last window may end past the padding.
    pub ceil: bool,
}

impl Window {
    /// Windows of `size` x `size` side by side.
    pub fn tiling(size: usize) -> Self {
        Self {
            kernel: [size; 2],
            stride: [size; 2],
            padding: [[0; 2]; 2],
            dilation: [1; 2],
            ceil: false,
        }
    }
}

/// Sizes of a convolution of two shapes.
pub(crate) fn conv2d_shape(
    x: &Shape,
    weights: &Shape,
    convolution: &Convolution,
) -> Result<Conv2dShape, String> {
    let (&[batch, in_channels, rows, columns], &[out_channels, depth, kr, kc]) = (&**x, &**weights)
    else {
        return Err(format!(
            "a convolution needs images [batch, channels, rows, columns] and weights of four axes, \
             not {x} and {weights}"
        ));
    };
    let groups = convolution.groups;
    if depth.checked_mul(groups) != Some(in_channels) || !out_channels.is_multiple_of(groups.max(1))
    {
        return Err(format!(
            "weights {weights} in {groups} groups do not fit the {in_channels} channels of {x}"
        ));
    }
    sizes(Conv2dShape {
        batch,
        in_channels,
        out_channels,
        input: [rows, columns],
        kernel: [kr, kc],
        stride: convolution.stride,
        padding: convolution.padding,
        dilation: convolution.dilation,
        groups,
    })
}

fn sizes(shape: Conv2dShape) -> Result<Conv2dShape, String> {
    shape.check().map_err(|error| error.to_string())?;
    if shape.output().contains(&0) {
        let ([kr, kc], [rows, columns]) = (shape.kernel, shape.input);
        return Err(format!(
            "a kernel of {kr} x {kc} has no place in images of {rows} x {columns}"
        ));
    }
    Ok(shape)
}

/// Sizes of a pooling of a shape.
pub(crate) fn pool_shape(x: &Shape, window: &Window) -> Result<PoolShape, String> {
    let &[batch, channels, rows, columns] = &**x else {
        return Err(format!(
            "pooling needs images [batch, channels, rows, columns], not {x}"
        ));
    };
    let shape = PoolShape {
        batch,
        channels,
        input: [rows, columns],
        kernel: window.kernel,
        stride: window.stride,
        padding: window.padding,
        dilation: window.dilation,
        ceil: window.ceil,
    };
    shape.check().map_err(|error| error.to_string())?;
    shape.check_windows().map_err(|error| error.to_string())?;
    if shape.output().contains(&0) {
        let [kr, kc] = shape.kernel;
        return Err(format!(
            "a window of {kr} x {kc} has no place in images of {rows} x {columns}"
        ));
    }
    Ok(shape)
}
