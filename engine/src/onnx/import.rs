//! From a model to a network: nodes whose inputs are known are computed, every other one becomes
//! operations.

pub(crate) mod elementwise;
pub(crate) mod functions;
mod gelu;
pub(crate) mod images;
pub(crate) mod normalization;
pub(crate) mod pad;
pub(crate) mod products;
pub(crate) mod reductions;
pub(crate) mod shapes;
pub(crate) mod softplus;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::generated::{GraphProto, ValueInfoProto, tensor_shape_proto};
use super::model::{Model, is_own};
use super::node::{Bound, Known, Node, Step};
use super::support::{self, Fold};
use super::tensor::{Constant, Element, Files, Numbers};
use super::{Absorbed, Imported, OnnxOptions};
use crate::error::Result;
use crate::network::{Init, Network, Parameters, Value};
use crate::tensor::{DType, Plaintext, Shape, Tensor};

/// Numbers read and written to compute what is known, in all.
const MOST_WORK: usize = 1 << 29;
/// What a number counts that is there without one that was read: no file stands for its memory.
const WORK_OF_GROWTH: usize = 8;
/// Operations of a network.
const MOST_OPERATIONS: usize = 1 << 17;

/// A network that grows node by node.
pub(crate) struct Importer<'a> {
    model: &'a Model,
    batch: usize,
    network: Network,
    parameters: Parameters,
    /// Shapes of the network's values, as far as they have been asked for.
    shapes: Vec<Shape>,
    bound: HashMap<&'a str, Bound>,
    /// Parameters and constants of the network, by the model's name for them.
    placed: HashMap<String, Value>,
    /// How often each value is read, outputs included.
    readers: HashMap<&'a str, usize>,
    /// The node that reads a value first, by position.
    first_reader: HashMap<&'a str, usize>,
    /// Nodes that a node before them has taken in, by position.
    absorbed: HashMap<usize, Absorbed>,
    /// Every name in the model.
    names: BTreeSet<&'a str>,
    /// Names that were made up, by what they were made up for.
    made_up: HashMap<(String, bool), String>,
    /// All of these.
    given: HashSet<String>,
    /// Outputs asked for: a known value among them is no parameter, whose name an output cannot have.
    outputs: HashSet<&'a str>,
    files: Files,
    work: usize,
}

/// What nodes become: the values they make, in order.
pub(crate) type Made = Step<Vec<Bound>>;

/// A node that makes one value of the network.
pub(crate) fn made(value: Value) -> Made {
    Ok(vec![Bound::Live(value)])
}

impl<'a> Importer<'a> {
    /// Imports what the outputs need.
    pub(crate) fn run(model: &'a Model, options: &'a OnnxOptions) -> Result<Imported> {
        let mut imported = Self::import(model, options, options.batch)?;
        imported.network.meeting = Self::meeting(model, options, &imported.network);
        Ok(imported)
    }

    /// Outputs in which samples meet, or may, once there are more of them than the batch. One import
    /// cannot tell: groups of as many samples as a batch has are one group in it, and look like none.
    fn meeting(model: &'a Model, options: &'a OnnxOptions, network: &Network) -> Vec<Value> {
        let batch = options.batch;
        let given: HashSet<&str> = (model.graph.initializer.iter())
            .map(|tensor| &*tensor.name)
            .collect();
        let mut inputs = model.graph.input.iter();
        if inputs.any(|input| has_fixed_batch(input) && !given.contains(&*input.name)) {
            return Vec::new();
        }
        let twice = batch.saturating_mul(2);
        let others = [twice.saturating_add(1), twice, batch.saturating_add(1)];
        let apart = others.into_iter().find_map(|batch| {
            let other = Self::import(model, options, batch).ok()?.network;
            let shapes = other.shapes(batch).ok()?;
            let apart = other.by_sample(&shapes, batch);
            let of = |(_, value): &(String, Value)| apart[value.0];
            Some(other.outputs().iter().map(of).collect::<Vec<bool>>())
        });
        // Runs of one sample are all that there is to a model that takes no more.
        let all = vec![batch == 1; network.outputs().len()];
        let outputs = network.outputs().iter().zip(apart.unwrap_or(all));
        let meeting = outputs.filter(|(_, apart)| !apart);
        meeting.map(|((_, value), _)| *value).collect()
    }

    fn import(model: &'a Model, options: &'a OnnxOptions, batch: usize) -> Result<Imported> {
        if batch == 0 {
            return Err(model.refuse("a batch of 0 samples was asked for"));
        }
        let outputs = model.chosen(&options.outputs)?;
        let (needed, readers) = model.needed(&outputs);
        let mut first_reader = HashMap::new();
        for (at, node) in model.graph.node.iter().enumerate().rev() {
            if needed[at] {
                first_reader.extend(node.input.iter().map(|name| (&**name, at)));
            }
        }
        let mut importer = Self {
            model,
            batch,
            network: Network::new(),
            parameters: Parameters::default(),
            shapes: Vec::new(),
            bound: HashMap::new(),
            placed: HashMap::new(),
            readers,
            first_reader,
            absorbed: HashMap::new(),
            names: names(&model.graph),
            made_up: HashMap::new(),
            given: HashSet::new(),
            outputs: outputs.iter().copied().collect(),
            files: Files::new(model.folder.as_deref()),
            work: 0,
        };
        importer.initialisers()?;
        importer.inputs()?;
        for (at, needed) in needed.into_iter().enumerate() {
            if needed {
                importer.node(at)?;
            }
        }
        for name in outputs {
            let bound = importer.bound.get(name).cloned();
            let placed = match bound {
                Some(bound) => importer.live(&bound).map_err(|refusal| refusal.0),
                None => Err("it was not made".to_owned()),
            };
            let value =
                placed.map_err(|reason| model.refuse(format!("its output '{name}': {reason}")))?;
            importer.network.output(name, value)?;
        }
        Ok(Imported {
            network: importer.network,
            parameters: importer.parameters,
            absorbed: importer.absorbed.into_values().collect(),
        })
    }

    /// Reads the initialisers that something needs.
    fn initialisers(&mut self) -> Result<()> {
        let model = self.model;
        for tensor in &model.graph.initializer {
            if !self.readers.contains_key(&*tensor.name) {
                continue;
            }
            let constant = self.files.tensor(tensor).map_err(|reason| {
                model.refuse(format!("its initialiser '{}': {reason}", tensor.name))
            })?;
            let weight = constant.floats().is_some()
                && !constant.shape.is_empty()
                && !self.outputs.contains(&*tensor.name);
            self.bind_known(&tensor.name, constant, weight);
        }
        Ok(())
    }

    fn bind_known(&mut self, name: &'a str, constant: Constant, weight: bool) {
        let known = Known {
            name: name.to_owned(),
            constant,
            weight,
        };
        self.bound.insert(name, Bound::Known(Rc::new(known)));
    }

    /// Makes the inputs that something needs and that have no default.
    fn inputs(&mut self) -> Result<()> {
        let model = self.model;
        for input in &model.graph.input {
            let name = &*input.name;
            if self.bound.contains_key(name) || !self.readers.contains_key(name) {
                continue;
            }
            let shape = sample(input, self.batch)
                .map_err(|reason| model.refuse(format!("its input '{name}' {reason}")))?;
            let value = self.network.input(name, shape)?;
            self.bound.insert(name, Bound::Live(value));
        }
        Ok(())
    }

    /// Computes a node, or adds what computes it.
    fn node(&mut self, at: usize) -> Result<()> {
        let model = self.model;
        let proto = &model.graph.node[at];
        let inputs = (proto.input.iter())
            .map(|name| match name.is_empty() {
                true => None,
                false => self.bound.get(&**name).cloned(),
            })
            .collect();
        let node = Node {
            proto,
            opset: model.opset,
            inputs,
        };
        let made = self
            .taken(at, &node)
            .map_err(|refusal| model.refuse_node(proto, refusal.0))?;
        for (nth, name) in proto.output.iter().enumerate() {
            let name = &**name;
            match made.get(nth) {
                Some(bound) if !name.is_empty() => {
                    self.bound.insert(name, bound.clone());
                }
                None if !name.is_empty() && self.readers.contains_key(name) => {
                    let reason = format!("its output {nth} ('{name}') is not computed");
                    return Err(model.refuse_node(proto, reason));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn taken(&mut self, at: usize, node: &Node<'a>) -> Made {
        if self.absorbed.contains_key(&at) {
            return Ok(vec![node.input(0)?.clone()]);
        }
        let operator = match is_own(&node.proto.domain) {
            true => support::operator(&node.proto.op_type),
            false => None,
        };
        let Some(operator) = operator else {
            return Err("this operator is not supported: ONNX.md lists those that are".into());
        };
        node.check_attributes(operator.attributes)?;
        let known = |bound: &Bound| bound.known().is_some();
        let all_known = node.inputs.iter().flatten().all(known);
        match (operator.fold, operator.lower) {
            (Some(fold), _) if all_known => self.folded(node, fold),
            (_, Some(lower)) => {
                let made = lower(self, node)?;
                // Shapes that do not go together are this node's fault.
                self.network.infer(self.batch, &mut self.shapes)?;
                if self.network.nodes().len() > MOST_OPERATIONS {
                    let most = MOST_OPERATIONS;
                    return Err(format!("up to it there are more than {most} operations").into());
                }
                Ok(made)
            }
            _ => Err("it is taken only where all its inputs are known before a run".into()),
        }
    }

    /// Counts numbers that no file stands for, before they are made.
    pub(crate) fn grow(&mut self, count: usize) -> Step<()> {
        let work = WORK_OF_GROWTH.saturating_mul(count);
        self.work = self.work.saturating_add(work);
        match self.work > MOST_WORK {
            true => Err("what is known takes too many numbers to compute".into()),
            false => Ok(()),
        }
    }

    /// Computes a node whose inputs are known.
    fn folded(&mut self, node: &Node<'a>, fold: Fold) -> Made {
        // One that is read twice is still one that a file stands for.
        let mut operands: Vec<&Rc<Known>> = (node.inputs.iter().flatten())
            .filter_map(|bound| match bound {
                Bound::Known(known) => Some(known),
                Bound::Live(_) => None,
            })
            .collect();
        operands.sort_by_key(|known| Rc::as_ptr(known));
        operands.dedup_by_key(|known| Rc::as_ptr(known));
        let read: usize = operands.iter().map(|known| known.constant.len()).sum();
        let (constant, moves) = match fold {
            Fold::Moves(compute) => (compute(node)?, true),
            Fold::Computes(compute) => (compute(node)?, false),
        };
        self.work = self.work.saturating_add(read + constant.len());
        self.grow(constant.len().saturating_sub(read))?;
        let name = node.name();
        let weight = moves
            && !constant.shape.is_empty()
            && !self.outputs.contains(name)
            && matches!(node.optional(0), Some(Bound::Known(known)) if known.weight);
        let known = Known {
            name: name.to_owned(),
            constant,
            weight,
        };
        Ok(vec![Bound::Known(Rc::new(known))])
    }

    /// The name of the network's operation that makes a node's value: the model's, unless names of its
    /// parts could meet another name there.
    pub(crate) fn name(&mut self, node: &Node<'_>) -> String {
        self.free(node.name(), true)
    }

    /// A name of which no name in the model is a part, with "." behind; `own` if the model has it.
    fn free(&mut self, name: &str, own: bool) -> String {
        let what = (name.to_owned(), own);
        if let Some(made_up) = self.made_up.get(&what) {
            return made_up.clone();
        }
        let mut free = name.to_owned();
        loop {
            let prefix = format!("{free}.");
            let next = self.names.range(&*prefix..).next();
            let parts = next.is_some_and(|next| next.starts_with(&prefix));
            let theirs = self.names.contains(&*free) && !(own && free == name);
            if !parts && !theirs && !self.given.contains(&free) {
                break;
            }
            free.push('_');
        }
        if free != name {
            self.given.insert(free.clone());
            self.made_up.insert(what, free.clone());
        }
        free
    }

    /// The name of a part of what a node becomes.
    pub(crate) fn part(&mut self, node: &Node<'_>, part: &str) -> String {
        format!("{}.{part}", self.name(node))
    }

    /// The network's value for a bound one: a known one becomes a parameter or a constant, once.
    pub(crate) fn live(&mut self, bound: &Bound) -> Step<Value> {
        let known = match bound {
            Bound::Live(value) => return Ok(*value),
            Bound::Known(known) => known,
        };
        if let Some(value) = self.placed.get(&known.name) {
            return Ok(*value);
        }
        let Numbers::Floats(values, dtype) = &known.constant.numbers else {
            return Err(format!("'{}' is of integers, not of real numbers", known.name).into());
        };
        let shape: Shape = known.constant.shape.clone().into();
        let value = if known.weight {
            let plaintext = match dtype {
                DType::F64 => Plaintext::new(shape.clone(), values)?,
                DType::F32 => {
                    let narrow: Vec<f32> = values.iter().map(|x| *x as f32).collect();
                    Plaintext::new(shape.clone(), &narrow)?
                }
            };
            self.parameters
                .insert(&known.name, Tensor::Plaintext(plaintext));
            self.network
                .parameter(&known.name, shape, Init::Constant(0.0))?
        } else {
            self.network.constant(&known.name, shape, values.clone())?
        };
        self.placed.insert(known.name.clone(), value);
        Ok(value)
    }

    /// The network's value of an input of a node.
    pub(crate) fn operand(&mut self, node: &Node<'_>, nth: usize) -> Step<Value> {
        let bound = node.input(nth)?.clone();
        self.live(&bound)
    }

    /// The shape of a value of the network, for the batch asked for.
    pub(crate) fn shape(&mut self, value: Value) -> Step<Vec<usize>> {
        self.network.infer(self.batch, &mut self.shapes)?;
        Ok(self.shapes[value.0].to_vec())
    }

    /// The shape of a value of the model.
    pub(crate) fn shape_of(&mut self, bound: &Bound) -> Step<Vec<usize>> {
        match bound {
            Bound::Known(known) => Ok(known.constant.shape.clone()),
            Bound::Live(value) => self.shape(*value),
        }
    }

    /// A value in another shape of as many elements, which keeps the batch where it stays in front.
    pub(crate) fn reshaped(&mut self, name: &str, x: Value, shape: &[usize]) -> Step<Value> {
        let from = self.shape(x)?;
        if from == shape {
            return Ok(x);
        }
        let (Some(rows), Some((to, sample))) = (from.first(), shape.split_first()) else {
            return Err(format!("{from:?} is not reshaped to {shape:?}: one has no axes").into());
        };
        Ok(if rows == to {
            self.network.reshape(name, x, sample)?
        } else {
            self.network.reshape_to(name, x, shape)?
        })
    }

    /// Nodes that read a value.
    pub(crate) fn reads(&self, name: &str) -> usize {
        self.readers.get(name).copied().unwrap_or(0)
    }
}

/// Every name that a graph gives to a value.
fn names(graph: &GraphProto) -> BTreeSet<&str> {
    (graph.node.iter().flat_map(|node| &node.output))
        .chain(graph.input.iter().map(|input| &input.name))
        .chain(graph.initializer.iter().map(|tensor| &tensor.name))
        .map(|name| &**name)
        .collect()
}

/// Whether an input's first axis has a size in the file.
fn has_fixed_batch(input: &ValueInfoProto) -> bool {
    use tensor_shape_proto::dimension::Value as Size;
    let kind = input
        .r#type
        .as_ref()
        .and_then(|kind| kind.tensor_type.as_ref());
    let rows = kind.and_then(|tensor| tensor.shape.as_ref()?.dim.first()?.value.as_ref());
    matches!(rows, Some(Size::DimValue(_)))
}

/// The shape of one sample of an input.
fn sample(input: &ValueInfoProto, batch: usize) -> Result<Shape, String> {
    use tensor_shape_proto::dimension::Value as Size;
    let tensor = (input.r#type.as_ref())
        .and_then(|kind| kind.tensor_type.as_ref())
        .ok_or("is no tensor, or its type is not told")?;
    let real = Element::of(tensor.elem_type).map(|element| element.float().is_some());
    if real != Ok(true) {
        let number = tensor.elem_type;
        return Err(format!(
            "has elements of type number {number}, and real numbers are what is encrypted"
        ));
    }
    let shape = tensor.shape.as_ref().ok_or("has no shape")?;
    let sizes: Vec<Option<&Size>> = shape.dim.iter().map(|size| size.value.as_ref()).collect();
    let Some((rows, rest)) = sizes.split_first() else {
        return Err("has no axes, and the first has to be the batch".to_owned());
    };
    if let Some(Size::DimValue(rows)) = rows
        && usize::try_from(*rows) != Ok(batch)
    {
        return Err(format!(
            "has a first axis of size {rows}, and the batch asked for is {batch}: export the model \
             with a dynamic batch axis, or import it for batch {rows}"
        ));
    }
    let fixed = |(nth, size): (usize, &Option<&Size>)| match size {
        Some(Size::DimValue(size)) => Ok(*size),
        Some(Size::DimParam(name)) if !name.is_empty() => Err(format!(
            "has axis {} of size '{name}': only the batch may be open, so export it with a number",
            nth + 1
        )),
        _ => Err(format!("has axis {} of no size", nth + 1)),
    };
    let dims: Vec<i64> = (rest.iter().enumerate())
        .map(fixed)
        .collect::<Result<_, _>>()?;
    let (shape, _) = super::tensor::sizes(&dims).map_err(|reason| format!("is odd: {reason}"))?;
    Ok(shape.into())
}
