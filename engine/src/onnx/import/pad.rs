//! Padding: zeros, another number, or what is there already.

use super::{Importer, Made, made};
use crate::network::Value;
use crate::onnx::node::{Node, Step, axes_of, axis_of};

/// Numbers made to pad with: as many as a weight may well have.
const MOST: usize = 1 << 24;

/// Elements around what is computed.
pub(crate) fn pad(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let x = importer.operand(node, 0)?;
    let padding = amounts(node, importer.shape(x)?.len())?;
    let nothing = padding.iter().all(|amounts| *amounts == [0; 2]);
    let mode = match node.string("mode")?.unwrap_or("constant") {
        "constant" => {
            let fill = fill(node)?;
            return match nothing {
                true => made(x),
                false => of_number(importer, node, x, &padding, fill),
            };
        }
        "reflect" => Mode::Reflect,
        "edge" => Mode::Edge,
        "wrap" => Mode::Wrap,
        other => return Err(format!("its mode '{other}' is not known").into()),
    };
    match nothing {
        true => made(x),
        false => of_itself(importer, node, x, &padding, mode),
    }
}

/// How many elements are added before and after those of each axis.
fn amounts(node: &Node<'_>, rank: usize) -> Step<Vec<[usize; 2]>> {
    let asked = node.setting("pads", 1)?.ok_or("it does not say how many")?;
    let axes = match node.integers(3)? {
        // Amounts are paired with the axes in their order.
        Some(axes) => {
            axes_of(&axes, rank)?;
            let axis = |&axis: &i64| axis_of(axis, rank);
            axes.iter().map(axis).collect::<Step<Vec<usize>>>()?
        }
        None => (0..rank).collect(),
    };
    if asked.len() != 2 * axes.len() {
        let (found, axes) = (asked.len(), axes.len());
        return Err(format!("it has {found} amounts for {axes} axes").into());
    }
    let mut padding = vec![[0; 2]; rank];
    for (nth, &axis) in axes.iter().enumerate() {
        for (end, amount) in [asked[nth], asked[nth + axes.len()]]
            .into_iter()
            .enumerate()
        {
            padding[axis][end] = usize::try_from(amount)
                .map_err(|_| format!("an amount of {amount} cuts, and only adding is supported"))?;
        }
    }
    Ok(padding)
}

/// The number that a constant mode pads with.
fn fill(node: &Node<'_>) -> Step<f64> {
    let fill = match node.float("value")? {
        Some(value) => value,
        None => node.number(2)?.unwrap_or(0.0),
    };
    match fill.is_finite() {
        true => Ok(fill),
        false => Err(format!("it pads with {fill}").into()),
    }
}

/// A number around what is there.
fn of_number(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    x: Value,
    padding: &[[usize; 2]],
    fill: f64,
) -> Made {
    let name = importer.name(node);
    if fill == 0.0 {
        return made(importer.network.pad(&name, x, padding)?);
    }
    // Zeros around it, and to them the number where it belongs: what is inside stays as it was.
    let from = importer.shape(x)?;
    let (border, values) = border(importer, &from, padding, fill)?;
    let [padded, number] = ["padded", "border"].map(|part| importer.part(node, part));
    let network = &mut importer.network;
    let padded = network.pad(&padded, x, padding)?;
    let number = network.constant(&number, border, values)?;
    made(network.add(&name, padded, number)?)
}

/// A tensor that is `fill` around a shape and 0 inside, of size 1 along axes that nothing is added to.
fn border(
    importer: &mut Importer<'_>,
    from: &[usize],
    padding: &[[usize; 2]],
    fill: f64,
) -> Step<(Vec<usize>, Vec<f64>)> {
    let sizes: Vec<usize> = (from.iter().zip(padding))
        .map(
            |(&size, &[before, after])| match before.saturating_add(after) {
                0 => 1,
                added => size.saturating_add(added),
            },
        )
        .collect();
    let count = sizes
        .iter()
        .fold(1usize, |count, &size| count.saturating_mul(size));
    if count > MOST {
        return Err(format!("it pads to {count} elements a sample with {fill}, not 0").into());
    }
    importer.grow(count)?;
    let mut values = vec![0.0; count];
    for (at, value) in values.iter_mut().enumerate() {
        let mut left = at;
        for axis in (0..sizes.len()).rev() {
            let place = left % sizes[axis];
            left /= sizes[axis];
            let [before, after] = padding[axis];
            if place < before || (after > 0 && place + after >= sizes[axis]) {
                *value = fill;
            }
        }
    }
    Ok((sizes, values))
}

/// Which elements that are there are put around them.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// As in a mirror that stands on the last one.
    Reflect,
    /// The last one over and over.
    Edge,
    /// Those at the other end.
    Wrap,
}

/// Elements that are there around them, axis by axis, so that corners are of what was added before.
fn of_itself(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    mut x: Value,
    padding: &[[usize; 2]],
    mode: Mode,
) -> Made {
    let whole = importer.name(node);
    let last = padding.iter().rposition(|amounts| *amounts != [0; 2]);
    for (axis, &[before, after]) in padding.iter().enumerate() {
        let most = before.max(after);
        if most == 0 {
            continue;
        }
        let size = importer.shape(x)?[axis];
        let there = match mode {
            Mode::Reflect => size.saturating_sub(1),
            Mode::Edge => size.min(1) * MOST,
            Mode::Wrap => size,
        };
        if most > there {
            return Err(format!(
                "axis {axis} of size {size} gives {there} elements to add, and {most} are asked for"
            )
            .into());
        }
        if mode == Mode::Edge {
            importer.grow(before.saturating_add(after))?;
        }
        let name = match last {
            Some(last) if axis < last => format!("{whole}.axis{axis}"),
            _ => whole.clone(),
        };
        let network = &mut importer.network;
        let mut beside = |side: &str, start: usize, amount: usize| -> Step<Option<Value>> {
            let name = format!("{name}.{side}");
            Ok(match mode {
                _ if amount == 0 => None,
                Mode::Reflect => Some(network.slice(&name, x, axis, start, -1, amount)?),
                Mode::Wrap => Some(network.slice(&name, x, axis, start, 1, amount)?),
                Mode::Edge => {
                    let one = network.slice(&format!("{name}.one"), x, axis, start, 1, 1)?;
                    let mut shape = vec![1; padding.len() - axis];
                    shape[0] = amount;
                    let times =
                        network.constant(&format!("{name}.times"), shape, vec![1.0; amount])?;
                    Some(network.multiply(&name, one, times)?)
                }
            })
        };
        let [first, second] = match mode {
            Mode::Reflect => [before, size.saturating_sub(2)],
            Mode::Edge => [0, size - 1],
            Mode::Wrap => [size - before, 0],
        };
        let (before, after) = (
            beside("before", first, before)?,
            beside("after", second, after)?,
        );
        let parts: Vec<Value> = before.into_iter().chain([x]).chain(after).collect();
        x = importer.network.concat(&name, &parts, axis)?;
    }
    made(x)
}
