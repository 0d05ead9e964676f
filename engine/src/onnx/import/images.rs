//! How windows slide over series and images, and pooling. A series is an image of one row.

use super::{Importer, Made, made};
use crate::network::{Pool, Value, Window};
use crate::onnx::node::{Node, Step};

/// Steps, padding and dilation along rows and columns.
pub(crate) struct Slides {
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [[usize; 2]; 2],
    pub(crate) dilation: [usize; 2],
}

/// Numbers for each axis of an image or a series.
fn per_axis(asked: Option<&[i64]>, what: &str, count: usize, default: usize) -> Step<Vec<usize>> {
    let Some(asked) = asked else {
        return Ok(vec![default; count]);
    };
    let numbers: Option<Vec<usize>> = asked.iter().map(|&n| usize::try_from(n).ok()).collect();
    numbers
        .filter(|numbers| numbers.len() == count)
        .ok_or_else(|| format!("its {what} {asked:?} are not {count} numbers from 0 up").into())
}

/// Rows and columns of numbers for each axis; a series has one row.
fn pair<T: Copy>(numbers: &[T], of_one_row: T) -> [T; 2] {
    match numbers {
        [columns] => [of_one_row, *columns],
        [rows, columns, ..] => [*rows, *columns],
        [] => [of_one_row; 2],
    }
}

/// How a window of `kernel` slides over a tensor of shape `from`.
///
/// # Errors
/// When these are no series or images, or what the node says does not fit them.
pub(crate) fn slides(node: &Node<'_>, from: &[usize], kernel: &[usize]) -> Step<Slides> {
    let [_, _, image @ ..] = from else {
        return Err(format!("{from:?} is no series and no image").into());
    };
    let axes = image.len();
    if !(1..=2).contains(&axes) || kernel.len() != axes {
        return Err(format!("windows of {kernel:?} on {from:?}: one or two axes are taken").into());
    }
    let stride = per_axis(node.ints("strides")?, "strides", axes, 1)?;
    let dilation = per_axis(node.ints("dilations")?, "dilations", axes, 1)?;
    if stride.contains(&0) || dilation.contains(&0) || kernel.contains(&0) {
        return Err("a kernel, stride or dilation is 0".into());
    }
    let pads = per_axis(node.ints("pads")?, "pads", 2 * axes, 0)?;
    // What windows lack at the ends so that there are as many as places to start at.
    let lacking = |axis: usize| {
        let places = image[axis].div_ceil(stride[axis]);
        let span = (kernel[axis] - 1)
            .saturating_mul(dilation[axis])
            .saturating_add(1);
        (places.saturating_sub(1) * stride[axis])
            .saturating_add(span)
            .saturating_sub(image[axis])
    };
    let side = |axis: usize| -> Step<[usize; 2]> {
        Ok(match node.string("auto_pad")?.unwrap_or("NOTSET") {
            "NOTSET" => [pads[axis], pads[axes + axis]],
            "VALID" => [0; 2],
            "SAME_UPPER" => [lacking(axis) / 2, lacking(axis).div_ceil(2)],
            "SAME_LOWER" => [lacking(axis).div_ceil(2), lacking(axis) / 2],
            other => return Err(format!("its auto_pad '{other}' is not known").into()),
        })
    };
    let padding: Vec<[usize; 2]> = (0..axes).map(side).collect::<Step<_>>()?;
    Ok(Slides {
        stride: pair(&stride, 1),
        padding: pair(&padding, [0; 2]),
        dilation: pair(&dilation, 1),
    })
}

/// What `compute` makes of images, under the name it is given; series pass through it as one row.
pub(crate) fn in_rows<'a>(
    importer: &mut Importer<'a>,
    node: &Node<'_>,
    x: Value,
    compute: impl FnOnce(&mut Importer<'a>, &str, Value) -> Step<Value>,
) -> Made {
    let name = importer.name(node);
    let from = importer.shape(x)?;
    let [batch, channels, length] = from[..] else {
        return made(compute(importer, &name, x)?);
    };
    let row = importer.reshaped(&format!("{name}.image"), x, &[batch, channels, 1, length])?;
    let row = compute(importer, &format!("{name}.row"), row)?;
    let to = importer.shape(row)?;
    made(importer.reshaped(&name, row, &[to[0], to[1], to[3]])?)
}

fn kernel(node: &Node<'_>, axes: usize) -> Step<Vec<usize>> {
    let asked = node.ints("kernel_shape")?.ok_or("it has no kernel_shape")?;
    per_axis(Some(asked), "kernel_shape", axes, 1)
}

/// The padding of an axis of `size` pixels without what lies past the last window: none starts behind the
/// pixels, though with zeros for pixels one might.
fn reached(window: &Window, axis: usize, size: usize) -> [usize; 2] {
    let [before, after] = window.padding[axis];
    let span = (window.kernel[axis] - 1)
        .saturating_mul(window.dilation[axis])
        .saturating_add(1);
    let pixels = size.saturating_add(before);
    let last = pixels.saturating_sub(1) / window.stride[axis] * window.stride[axis];
    [
        before,
        after.min(last.saturating_add(span).saturating_sub(pixels)),
    ]
}

fn pooled(importer: &mut Importer<'_>, node: &Node<'_>, pool: Pool, counted: bool) -> Made {
    let x = importer.operand(node, 0)?;
    let from = importer.shape(x)?;
    let kernel = kernel(node, from.len().saturating_sub(2))?;
    let Slides {
        stride,
        padding,
        dilation,
    } = slides(node, &from, &kernel)?;
    let ceil = node.flag("ceil_mode", false)?;
    let counted = counted && padding != [[0; 2]; 2];
    let mut window = Window {
        kernel: pair(&kernel, 1),
        stride,
        padding,
        dilation,
        ceil,
    };
    in_rows(importer, node, x, |importer, name, mut x| {
        if counted {
            // Zeros that count are ordinary pixels; what windows reach past them does not.
            let shape = importer.shape(x)?;
            let [rows, columns] = [0, 1].map(|axis| match ceil {
                true => reached(&window, axis, shape[2 + axis]),
                false => window.padding[axis],
            });
            window.padding = [[0; 2]; 2];
            let amounts = [[0; 2], [0; 2], rows, columns];
            x = importer
                .network
                .pad(&format!("{name}.padded"), x, &amounts)?;
        }
        Ok(importer.network.pool(name, pool, x, window)?)
    })
}

pub(crate) fn average_pool(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let counted = node.flag("count_include_pad", false)?;
    pooled(importer, node, Pool::Average, counted)
}

/// Maxima; in which order places are counted matters to the output that is not computed only.
pub(crate) fn max_pool(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    pooled(importer, node, Pool::Max, false)
}

/// The mean of each channel.
pub(crate) fn global_average_pool(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let x = importer.operand(node, 0)?;
    let from = importer.shape(x)?;
    let (3 | 4, Some(image)) = (from.len(), from.get(2..)) else {
        return Err(format!("{from:?} is no series and no image").into());
    };
    let window = Window {
        kernel: pair(image, 1),
        ..Window::tiling(1)
    };
    in_rows(importer, node, x, |importer, name, x| {
        Ok(importer.network.pool(name, Pool::Average, x, window)?)
    })
}
