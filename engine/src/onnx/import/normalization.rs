//! Batch normalisation with statistics that are known: a factor and an addend for each channel. The
//! product before it takes them in, where nothing else reads that or its weights. Layer normalisation
//! takes its own at each run.

use std::rc::Rc;

use super::products::own_weight;
use super::{Importer, Made, made};
use crate::network::{Function, Reduction};
use crate::onnx::Absorbed;
use crate::onnx::model::is_own;
use crate::onnx::node::{Bound, Known, Node, Step, axis_of};
use crate::onnx::support;
use crate::onnx::tensor::{Constant, Numbers};

/// What channels are multiplied by, and what is added to them then.
struct Affine {
    factor: Vec<f64>,
    addend: Vec<f64>,
}

/// `scale (x - mean) / sqrt(variance + epsilon) + bias` (Ioffe and Szegedy, 2015) as a factor and an
/// addend.
fn affine(node: &Node<'_>) -> Step<Affine> {
    if node.flag("training_mode", false)? || !node.flag("spatial", true)? {
        return Err("it is exported for training: export the model for inference".into());
    }
    let epsilon = node.float("epsilon")?.unwrap_or(1e-5);
    let numbers = |nth: usize| -> Step<&[f64]> {
        let constant = node.constant(nth)?;
        match constant.floats() {
            Some(values) if constant.shape.len() == 1 => Ok(values),
            _ => Err(format!("its input {nth} is not a row of real numbers").into()),
        }
    };
    let [scale, bias, mean, variance] = [numbers(1)?, numbers(2)?, numbers(3)?, numbers(4)?];
    if [bias.len(), mean.len(), variance.len()] != [scale.len(); 3] {
        return Err("its scale, bias, mean and variance are not of one length".into());
    }
    let factor: Vec<f64> = (scale.iter().zip(variance))
        .map(|(scale, variance)| scale / (variance + epsilon).sqrt())
        .collect();
    let addend: Vec<f64> = (0..scale.len())
        .map(|channel| bias[channel] - mean[channel] * factor[channel])
        .collect();
    let odd = |number: &&f64| !number.is_finite();
    match factor.iter().chain(&addend).find(odd) {
        Some(odd) => Err(format!("its statistics make a channel's factor or addend {odd}").into()),
        None => Ok(Affine { factor, addend }),
    }
}

/// The weights and bias of a product with the normalisation behind it folded in, if there is one that
/// reads nothing but this; axis `outputs` of the weights is that of the channels.
pub(crate) fn folded(
    importer: &mut Importer<'_>,
    node: &Node<'_>,
    weight: Bound,
    bias: Option<Bound>,
    outputs: usize,
) -> Step<(Bound, Option<Bound>)> {
    let unfolded = |weight, bias| Ok((weight, bias));
    let Some((at, affine)) = behind(importer, node) else {
        return unfolded(weight, bias);
    };
    let Some(known) = own_weight(importer, node, &weight, 1) else {
        return unfolded(weight, bias);
    };
    let (shape, channels) = (&known.constant.shape, affine.factor.len());
    let Numbers::Floats(values, dtype) = &known.constant.numbers else {
        return unfolded(weight, bias);
    };
    if shape.get(outputs) != Some(&channels) {
        return unfolded(weight, bias);
    }
    let added = bias.is_none();
    let (old, name) = match &bias {
        None => (
            vec![0.0; channels],
            importer.free(&format!("{}.bias", known.name), false),
        ),
        Some(bound) => match own_weight(importer, node, bound, 2) {
            Some(bias) if bias.constant.shape == [channels] => {
                let values = bias.constant.floats().unwrap_or_default();
                (values.to_vec(), bias.name.clone())
            }
            _ => return unfolded(weight, Some(bound.clone())),
        },
    };
    let inner: usize = shape[outputs + 1..].iter().product();
    let channel = |place: usize| place / inner.max(1) % channels;
    let scaled = |(place, value): (usize, &f64)| value * affine.factor[channel(place)];
    let new = Known {
        name: known.name.clone(),
        constant: Constant {
            shape: shape.clone(),
            numbers: Numbers::Floats(values.iter().enumerate().map(scaled).collect(), *dtype),
        },
        weight: true,
    };
    let moved = |channel: usize| old[channel] * affine.factor[channel] + affine.addend[channel];
    let bias = Known {
        name,
        constant: Constant {
            shape: vec![channels],
            numbers: Numbers::Floats((0..channels).map(moved).collect(), *dtype),
        },
        weight: true,
    };
    let normalization = Absorbed {
        output: importer.model.graph.node[at].output[0].clone(),
        bias: added.then(|| bias.name.clone()),
    };
    importer.absorbed.insert(at, normalization);
    Ok((
        Bound::Known(Rc::new(new)),
        Some(Bound::Known(Rc::new(bias))),
    ))
}

/// The normalisation that alone reads what a node makes, by position, if its statistics are known.
fn behind(importer: &Importer<'_>, node: &Node<'_>) -> Option<(usize, Affine)> {
    let name = node.name();
    if importer.reads(name) != 1 {
        return None;
    }
    let nodes = &importer.model.graph.node;
    let at = *importer.first_reader.get(name)?;
    let proto = &nodes[at];
    let own = is_own(&proto.domain) && proto.op_type == "BatchNormalization";
    if !own || proto.input.first().is_none_or(|x| x != name) {
        return None;
    }
    let statistics = (proto.input.iter())
        .map(|name| importer.bound.get(&**name).cloned())
        .collect();
    let reader = Node {
        proto,
        opset: node.opset,
        inputs: statistics,
    };
    // What is wrong with it is said when its turn comes.
    let known = support::operator("BatchNormalization").map(|operator| operator.attributes);
    reader.check_attributes(known.unwrap_or_default()).ok()?;
    affine(&reader).ok().map(|affine| (at, affine))
}

pub(crate) fn batch_normalization(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let Affine { factor, addend } = affine(node)?;
    let x = importer.operand(node, 0)?;
    let from = importer.shape(x)?;
    let channels = factor.len();
    if from.get(1) != Some(&channels) {
        return Err(format!("{from:?} has not {channels} channels on axis 1").into());
    }
    let mut by_channel = vec![1; from.len() - 1];
    by_channel[0] = channels;
    let name = importer.name(node);
    let network = &mut importer.network;
    let factor = network.constant(&format!("{name}.factor"), by_channel.clone(), factor)?;
    let scaled = network.multiply(&format!("{name}.scaled"), x, factor)?;
    let addend = network.constant(&format!("{name}.addend"), by_channel, addend)?;
    made(network.add(&name, scaled, addend)?)
}

/// `scale (x - mean) / sqrt(variance + epsilon) + bias` (Ba, Kiros and Hinton, 2016), mean and variance
/// of a sample along an axis and all after it.
pub(crate) fn layer_normalization(importer: &mut Importer<'_>, node: &Node<'_>) -> Made {
    let epsilon = node.float("epsilon")?.unwrap_or(1e-5);
    if epsilon.is_nan() || epsilon < 0.0 {
        return Err(format!("its epsilon {epsilon} is below zero or no number").into());
    }
    let x = importer.operand(node, 0)?;
    let rank = importer.shape(x)?.len();
    let axes: Vec<usize> = (axis_of(node.int("axis")?.unwrap_or(-1), rank)?..rank).collect();
    let scale = importer.operand(node, 1)?;
    let bias = match node.optional(2).cloned() {
        Some(bias) => Some(importer.live(&bias)?),
        None => None,
    };
    let name = importer.name(node);
    let part = |part: &str| format!("{name}.{part}");
    let network = &mut importer.network;
    let mean = network.reduce(&part("mean"), Reduction::Mean, x, &axes, true)?;
    let centred = network.subtract(&part("centred"), x, mean)?;
    let squared = network.square(&part("squared"), centred)?;
    let variance = network.reduce(&part("variance"), Reduction::Mean, squared, &axes, true)?;
    let epsilon = network.constant(&part("epsilon"), [1], vec![epsilon])?;
    let variance = network.add(&part("variance.shifted"), variance, epsilon)?;
    let deviation = network.map(&part("deviation"), Function::Sqrt, variance)?;
    let normalized = network.divide(&part("normalized"), centred, deviation)?;
    let Some(bias) = bias else {
        return made(network.multiply(&name, normalized, scale)?);
    };
    let scaled = network.multiply(&part("scaled"), normalized, scale)?;
    made(network.add(&name, scaled, bias)?)
}
