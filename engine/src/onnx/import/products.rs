//! Matrix products and convolutions.

use super::images::{in_rows, slides};
use super::shapes::sizes;
use super::{Importer, Made, made, normalization};
use crate::network::{Convolution, Value};
use crate::onnx::node::{Bound, Known, Node, Step};

/// `alpha A B + beta C`, A and B transposed or not.
pub(crate) fn gemm(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let alpha = node.float("alpha")?.unwrap_or(1.0);
    let beta = node.float("beta")?.unwrap_or(1.0);
    let [transpose_a, transpose_b] = [node.flag("transA", false)?, node.flag("transB", false)?];
    let mut weight = node.input(1)?.clone();
    let mut bias = node.optional(2).filter(|_| beta != 0.0).cloned();
    if (alpha, beta) == (1.0, 1.0) {
        let outputs = if transpose_b { 0 } else { 1 };
        (weight, bias) = normalization::folded(importer, node, weight, bias, outputs)?;
    }
    let a = importer.operand(node, 0)?;
    let b = importer.live(&weight)?;
    let name = importer.name(node);
    let (product, scaled) = (format!("{name}.product"), format!("{name}.scaled"));
    let product_name = if bias.is_none() && alpha == 1.0 {
        &name
    } else {
        &product
    };
    let mut y = importer
        .network
        .matmul_with(product_name, a, b, transpose_a, transpose_b)?;
    if alpha != 1.0 {
        let name = if bias.is_none() { &name } else { &scaled };
        y = importer.network.scale(name, y, alpha)?;
    }
    let Some(bias) = bias else {
        return made(y);
    };
    let mut c = importer.live(&bias)?;
    if beta != 1.0 {
        c = importer.network.scale(&format!("{name}.bias"), c, beta)?;
    }
    made(importer.network.add(&name, y, c)?)
}

/// A product of matrices as numpy has it: axes before the last two are paired, and an operand of one
/// axis is a row on the left and a column on the right.
pub(crate) fn matmul(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let [mut a, mut b] = [importer.operand(node, 0)?, importer.operand(node, 1)?];
    let [mut of_a, mut of_b] = [importer.shape(a)?, importer.shape(b)?];
    if of_a.is_empty() || of_b.is_empty() {
        return Err("a number without axes is no matrix".into());
    }
    let name = importer.name(node);
    let (row, column) = (of_a.len() == 1, of_b.len() == 1);
    if row {
        of_a.insert(0, 1);
        a = importer.reshaped(&format!("{name}.row"), a, &of_a)?;
    }
    if column {
        of_b.push(1);
        b = importer.reshaped(&format!("{name}.column"), b, &of_b)?;
    }
    let whole = !row && !column;
    let product = format!("{name}.product");
    let y = product_of(
        importer,
        if whole { &name } else { &product },
        [a, b],
        [&of_a, &of_b],
    )?;
    if whole {
        return made(y);
    }
    let mut to = importer.shape(y)?;
    if column {
        to.pop();
    }
    if row {
        to.remove(to.len() - usize::from(!column) - 1);
    }
    made(importer.reshaped(&name, y, &to)?)
}

fn product_of(
    importer: &mut Importer<'_>,
    name: &str,
    [a, b]: [Value; 2],
    [of_a, of_b]: [&[usize]; 2],
) -> Step<Value> {
    // One matrix on the left of many: as its transpose on the right of theirs.
    if of_a.len() == 2 && of_b.len() > 2 {
        let mut swapped: Vec<usize> = (0..of_b.len()).collect();
        swapped.swap(of_b.len() - 2, of_b.len() - 1);
        let network = &mut importer.network;
        let columns = network.transpose(&format!("{name}.columns"), b, &swapped)?;
        let turned = format!("{name}.turned");
        let turned = network.matmul_with(&turned, columns, a, false, true)?;
        return Ok(network.transpose(name, turned, &swapped)?);
    }
    Ok(importer.network.matmul_with(name, a, b, false, false)?)
}

/// A convolution of series or images.
pub(crate) fn conv(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let (weight, bias) = (node.input(1)?.clone(), node.optional(2).cloned());
    let (weight, bias) = normalization::folded(importer, node, weight, bias, 0)?;
    let x = importer.operand(node, 0)?;
    let from = importer.shape(x)?;
    let kernel = importer.shape_of(&weight)?;
    if kernel.len() != from.len() || kernel.len() < 2 {
        return Err(format!("weights of shape {kernel:?} do not fit {from:?}").into());
    }
    if let Some(said) = node.ints("kernel_shape")?
        && sizes(said)? != kernel[2..]
    {
        let kernel = &kernel[2..];
        return Err(format!("its kernel_shape {said:?} is not its weights' {kernel:?}").into());
    }
    let slides = slides(node, &from, &kernel[2..])?;
    let groups = usize::try_from(node.int("group")?.unwrap_or(1))
        .map_err(|_| "its number of groups is negative")?;
    let convolution = Convolution {
        stride: slides.stride,
        padding: slides.padding,
        dilation: slides.dilation,
        groups,
    };
    let weight = importer.live(&weight)?;
    let bias = match &bias {
        Some(bias) => Some(importer.live(bias)?),
        None => None,
    };
    in_rows(importer, node, x, |importer, name, x| {
        let weight = match kernel[..] {
            [outs, depth, taps] => {
                let kernel = format!("{}.kernel", importer.name(node));
                importer.reshaped(&kernel, weight, &[outs, depth, 1, taps])?
            }
            _ => weight,
        };
        Ok(importer
            .network
            .convolve(name, x, weight, bias, convolution)?)
    })
}

/// The weight that an input of a node is, if nothing else reads it under this name or another.
pub(crate) fn own_weight<'b>(
    importer: &Importer<'_>,
    node: &Node<'_>,
    bound: &'b Bound,
    nth: usize,
) -> Option<&'b Known> {
    let name = node.proto.input.get(nth)?;
    match bound {
        Bound::Known(known) if known.weight && known.name == *name && importer.reads(name) == 1 => {
            Some(known)
        }
        _ => None,
    }
}
