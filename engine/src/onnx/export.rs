//! Weights back into the model that they came from. The model's bytes are copied field by field, so
//! that whatever is not read here stays as it is, and only tensors and what feeds them change.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use half::{bf16, f16};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::generated::{NodeProto, TensorProto};
use super::model::Model;
use super::tensor::{Element, Files};
use super::wire::fields;
use super::{Absorbed, Imported};
use crate::error::{Error, Result};
use crate::io;
use crate::network::Parameters;
use crate::tensor::Tensor;

/// Fields of a model and of its graph, by the numbers of `onnx.proto`.
const GRAPH: u32 = 7;
const NODE: u32 = 1;
const INITIALIZER: u32 = 5;

/// What takes the place of a tensor's numbers.
struct Weight {
    shape: Vec<usize>,
    numbers: Vec<f64>,
    /// The element type, by the format's number.
    data_type: i32,
}

/// What changes in a graph.
struct Change {
    /// By the names of initialisers, those that are not there yet among them.
    weights: BTreeMap<String, Weight>,
    /// What nodes make that initialisers give now.
    dropped: HashSet<String>,
}

impl Imported {
    /// Writes the ONNX file at `model`, from which this was imported, to `path` with these weights,
    /// which may have been trained on ciphertexts and decrypted since. A batch normalisation that is
    /// part of weights before it becomes one that changes nothing; tensors that were in files of
    /// their own are in the model then, and half precision stays so.
    ///
    /// # Errors
    /// When the model cannot be read, a weight is missing, encrypted or of another shape, one cannot
    /// be put back where it came from, naming it, or the file cannot be written.
    pub fn write_onnx(&self, model: &Path, weights: &Parameters, path: &Path) -> Result<()> {
        let read = Model::open(model)?;
        let change = self.change(&read, weights)?;
        let bytes = std::fs::read(model).map_err(|error| read.refuse(error.to_string()))?;
        let written = replaced(&bytes, &change, &read)?;
        io::write_bytes(path, &written)
    }

    fn change(&self, model: &Model, weights: &Parameters) -> Result<Change> {
        let mut change = Change {
            weights: BTreeMap::new(),
            dropped: HashSet::new(),
        };
        for (name, imported) in self.parameters.iter() {
            let Tensor::Plaintext(weight) = weights.get(name)? else {
                return Err(Error::Encrypted {
                    what: format!("weight '{name}' of an ONNX model"),
                });
            };
            let shape = imported.view().shape();
            if weight.shape() != shape {
                return Err(Error::Shape {
                    what: format!("weight '{name}'"),
                    expected: shape.clone(),
                    found: weight.shape().clone(),
                });
            }
            let weight = Weight {
                shape: shape.to_vec(),
                numbers: weight.to_f64(),
                data_type: data_type(model, name),
            };
            change.weights.insert(name.to_owned(), weight);
        }
        for absorbed in &self.absorbed {
            neutral(model, absorbed, &mut change)?;
        }
        let graph = &model.graph;
        let initializers: HashSet<&str> = graph.initializer.iter().map(|t| &*t.name).collect();
        let given = |name: &String| name.is_empty() || change.weights.contains_key(name);
        for node in &graph.node {
            let moved: Vec<&String> = (node.output.iter())
                .filter(|name| change.weights.contains_key(*name))
                .collect();
            match node.output.iter().find(|name| !given(name)) {
                Some(other) if !moved.is_empty() => {
                    return Err(model.refuse_node(
                        node,
                        format!(
                            "it makes '{}', a weight, and '{other}', which is none",
                            moved[0]
                        ),
                    ));
                }
                _ => change.dropped.extend(moved.into_iter().cloned()),
            }
        }
        let lost = (change.weights.keys())
            .find(|name| !initializers.contains(&***name) && !change.dropped.contains(*name));
        match lost {
            Some(name) => Err(model.refuse(format!("it has no place for the weight '{name}'"))),
            None => Ok(change),
        }
    }
}

/// Makes a normalisation one of factor 1, whose addend is that of the bias it was given or 0.
fn neutral(model: &Model, absorbed: &Absorbed, change: &mut Change) -> Result<()> {
    let nodes = &model.graph.node;
    let node = nodes
        .iter()
        .find(|node| node.output.first() == Some(&absorbed.output));
    let Some(node) = node.filter(|node| node.input.len() >= 5) else {
        let output = &absorbed.output;
        return Err(model.refuse(format!("it has no normalisation that makes '{output}'")));
    };
    let uses: HashMap<&str, usize> =
        nodes
            .iter()
            .flat_map(|node| &node.input)
            .fold(HashMap::new(), |mut uses, name| {
                *uses.entry(&**name).or_default() += 1;
                uses
            });
    let rows = &node.input[1..5];
    if let Some(shared) = rows.iter().find(|name| uses.get(&***name) != Some(&1)) {
        let reason = format!("its '{shared}' is read elsewhere too");
        return Err(model.refuse_node(node, reason));
    }
    let epsilon = node.attribute.iter().find(|a| a.name == "epsilon");
    let epsilon = epsilon.map_or(1e-5, |attribute| attribute.f);
    let channels = model.graph.initializer.iter().find(|t| t.name == rows[0]);
    let channels = match channels.map(|tensor| &tensor.dims[..]) {
        Some(&[channels]) => usize::try_from(channels).unwrap_or(0),
        _ => return Err(model.refuse_node(node, "its scale is no initialiser")),
    };
    let addend = match &absorbed.bias {
        Some(name) => change.weights.remove(name).map(|weight| weight.numbers),
        None => Some(vec![0.0; channels]),
    };
    let addend = addend.ok_or_else(|| model.refuse_node(node, "its addend is no weight"))?;
    // Of which the root with epsilon is 1.
    let variance = f64::from(1.0 - epsilon);
    let numbers = [
        vec![1.0; channels],
        addend,
        vec![0.0; channels],
        vec![variance; channels],
    ];
    for (name, numbers) in rows.iter().zip(numbers) {
        let weight = Weight {
            shape: vec![channels],
            numbers,
            data_type: data_type(model, name),
        };
        change.weights.insert(name.clone(), weight);
    }
    Ok(())
}

/// A model's bytes with its graph changed.
fn replaced(bytes: &[u8], change: &Change, model: &Model) -> Result<Vec<u8>> {
    let mut written = Vec::new();
    for field in fields(bytes) {
        let field = field.map_err(|reason| model.refuse(reason))?;
        match field.content {
            Some(graph) if field.tag == GRAPH => {
                put(&mut written, GRAPH, &changed_graph(graph, change, model)?);
            }
            _ => written.extend_from_slice(field.whole),
        }
    }
    Ok(written)
}

fn changed_graph(graph: &[u8], change: &Change, model: &Model) -> Result<Vec<u8>> {
    let mut written = Vec::new();
    let mut left = change.weights.keys().collect::<HashSet<_>>();
    let mut files = Files::new(model.folder.as_deref());
    let decoded = |error: prost::DecodeError| model.refuse(error.to_string());
    for field in fields(graph) {
        let field = field.map_err(|reason| model.refuse(reason))?;
        match (field.tag, field.content) {
            (INITIALIZER, Some(inside)) => {
                let old = TensorProto::decode(inside).map_err(decoded)?;
                let new = match change.weights.get(&old.name) {
                    Some(weight) => {
                        left.remove(&old.name);
                        tensor(&old.name, weight, model)?
                    }
                    // What lies beside the model is not beside what is written.
                    None if old.data_location != 0 => files.inlined(&old).map_err(|reason| {
                        model.refuse(format!("its initialiser '{}': {reason}", old.name))
                    })?,
                    None => {
                        written.extend_from_slice(field.whole);
                        continue;
                    }
                };
                put(&mut written, INITIALIZER, &new.encode_to_vec());
            }
            (NODE, Some(inside)) => {
                let node = NodeProto::decode(inside).map_err(decoded)?;
                if !node.output.iter().any(|name| change.dropped.contains(name)) {
                    written.extend_from_slice(field.whole);
                }
            }
            _ => written.extend_from_slice(field.whole),
        }
    }
    // Those that nodes made before.
    let mut left: Vec<&String> = left.into_iter().collect();
    left.sort();
    for name in left {
        let new = tensor(name, &change.weights[name], model)?;
        put(&mut written, INITIALIZER, &new.encode_to_vec());
    }
    Ok(written)
}

/// The element type of an initialiser, or of what nodes make of one by moving its numbers.
fn data_type(model: &Model, name: &str) -> i32 {
    /// The format's number for f32.
    const F32: i32 = 1;
    let graph = &model.graph;
    let mut name = name;
    // Each node is after those that it reads, so this ends.
    loop {
        if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.name == name) {
            return tensor.data_type;
        }
        let made = |node: &&NodeProto| node.output.iter().any(|output| output == name);
        let Some(node) = graph.node.iter().find(made) else {
            return F32;
        };
        let to = node.attribute.iter().find(|a| a.name == "to");
        match (node.op_type.as_str(), to, node.input.first()) {
            ("Cast", Some(to), _) => return i32::try_from(to.i).unwrap_or(F32),
            (_, _, Some(input)) => name = input,
            _ => return F32,
        }
    }
}

/// A tensor with these numbers.
fn tensor(name: &str, weight: &Weight, model: &Model) -> Result<TensorProto> {
    let refuse = |reason: String| model.refuse(format!("its initialiser '{name}': {reason}"));
    let numbers = weight.numbers.iter();
    let data_type = weight.data_type;
    let raw_data: Vec<u8> = match Element::of(data_type).map_err(refuse)? {
        Element::F32 => numbers.flat_map(|x| (*x as f32).to_le_bytes()).collect(),
        Element::F64 => numbers.flat_map(|x| x.to_le_bytes()).collect(),
        Element::F16 => numbers
            .flat_map(|x| f16::from_f64(*x).to_le_bytes())
            .collect(),
        Element::Bf16 => numbers
            .flat_map(|x| bf16::from_f64(*x).to_le_bytes())
            .collect(),
        _ => return Err(refuse("it is of integers".to_owned())),
    };
    Ok(TensorProto {
        dims: weight.shape.iter().map(|size| *size as i64).collect(),
        data_type,
        name: name.to_owned(),
        raw_data,
        ..TensorProto::default()
    })
}

/// Appends a message's field.
fn put(to: &mut Vec<u8>, tag: u32, content: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(content.len() as u64, to);
    to.extend_from_slice(content);
}
