//! A model, decoded and checked.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use prost::Message;

use super::generated::{GraphProto, ModelProto, NodeProto};
use super::wire;
use crate::error::{Error, Result};

/// Versions of the operators that are read. Before 7, shapes of sums were told by attributes.
pub(crate) const OPSETS: std::ops::RangeInclusive<i64> = 7..=25;
/// Versions of the format itself.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=14;
/// No file is larger: its lengths are counted in 31 bits.
const MOST_BYTES: u64 = 1 << 31;
const MOST_NODES: usize = 1 << 15;
/// Inputs or outputs of one node, and outputs of a model.
const MOST_OPERANDS: usize = 1 << 10;

/// A model whose nodes come in an order in which they can be computed.
pub(crate) struct Model {
    pub(crate) graph: GraphProto,
    pub(crate) opset: i64,
    /// What errors call it.
    pub(crate) file: String,
    /// Where its tensors' files are, if it may have any.
    pub(crate) folder: Option<PathBuf>,
}

/// What errors call a node: its name, or what it makes.
pub(crate) fn node_name(node: &NodeProto) -> &str {
    let first = node.output.iter().find(|name| !name.is_empty());
    match (node.name.is_empty(), first) {
        (true, Some(output)) => output,
        _ => &node.name,
    }
}

/// An operator's name with its domain, where that is not the format's own.
pub(crate) fn operator_name(node: &NodeProto) -> String {
    if is_own(&node.domain) {
        node.op_type.clone()
    } else {
        format!("{}.{}", node.domain, node.op_type)
    }
}

/// Whether it is the domain of the format's own operators.
pub(crate) fn is_own(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

impl Model {
    /// Reads a file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let refuse = |reason: String| Error::OnnxModel {
            model: file.clone(),
            reason,
        };
        let unreadable = |error: std::io::Error| refuse(error.to_string());
        // A pipe would be waited for, so it is not opened.
        if !path.metadata().map_err(unreadable)?.is_file() {
            return Err(refuse("it is not a file".to_owned()));
        }
        let mut bytes = Vec::new();
        let opened = File::open(path).map_err(unreadable)?;
        (opened.take(MOST_BYTES + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        Self::decode(&bytes, &file, Some(folder.to_owned()))
    }

    /// Decodes and checks a model.
    pub(crate) fn decode(bytes: &[u8], file: &str, folder: Option<PathBuf>) -> Result<Self> {
        let refuse = |reason: String| Error::OnnxModel {
            model: file.to_owned(),
            reason,
        };
        if bytes.len() as u64 > MOST_BYTES {
            return Err(refuse(format!("it has more than {MOST_BYTES} bytes")));
        }
        wire::check(bytes).map_err(refuse)?;
        let model = ModelProto::decode(bytes)
            .map_err(|error| refuse(format!("it is no ONNX model: {error}")))?;
        let opset = versions(&model).map_err(refuse)?;
        let Some(graph) = model.graph else {
            return Err(refuse("it has no graph".to_owned()));
        };
        let model = Self {
            graph,
            opset,
            file: file.to_owned(),
            folder,
        };
        model.check()?;
        Ok(model)
    }

    /// An error of the model as a whole.
    pub(crate) fn refuse(&self, reason: impl Into<String>) -> Error {
        Error::OnnxModel {
            model: self.file.clone(),
            reason: reason.into(),
        }
    }

    /// An error of one node.
    pub(crate) fn refuse_node(&self, node: &NodeProto, reason: impl Into<String>) -> Error {
        Error::Onnx {
            node: node_name(node).to_owned(),
            operator: operator_name(node),
            opset: self.opset,
            reason: reason.into(),
        }
    }

    /// Holds every name to be made once and before it is read.
    fn check(&self) -> Result<()> {
        let graph = &self.graph;
        if graph.node.len() > MOST_NODES {
            let nodes = graph.node.len();
            return Err(self.refuse(format!(
                "it has {nodes} nodes, and up to {MOST_NODES} are read"
            )));
        }
        if graph.output.len() > MOST_OPERANDS {
            let outputs = graph.output.len();
            return Err(self.refuse(format!(
                "it has {outputs} outputs, and up to {MOST_OPERANDS} are read"
            )));
        }
        let mut made: HashSet<&str> = HashSet::new();
        for tensor in &graph.initializer {
            if !made.insert(&tensor.name) {
                let name = &tensor.name;
                return Err(self.refuse(format!("there are two initialisers '{name}'")));
            }
        }
        let mut inputs: HashSet<&str> = HashSet::new();
        for input in &graph.input {
            if !inputs.insert(&input.name) {
                return Err(self.refuse(format!("there are two inputs '{}'", input.name)));
            }
        }
        // An input with an initialiser is one that has a default.
        made.extend(&inputs);
        let later: HashSet<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
        for node in &graph.node {
            if node.input.len().max(node.output.len()) > MOST_OPERANDS {
                let reason = format!("it has more than {MOST_OPERANDS} inputs or outputs");
                return Err(self.refuse_node(node, reason));
            }
            for name in node.input.iter().filter(|name| !name.is_empty()) {
                if made.contains(&**name) {
                    continue;
                }
                let reason = if later.contains(name) {
                    format!(
                        "it reads '{name}' before that is made: nodes are out of order, or in a cycle"
                    )
                } else {
                    format!("it reads '{name}', which no input, initialiser or node makes")
                };
                return Err(self.refuse_node(node, reason));
            }
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                if !made.insert(name) {
                    let reason = format!("it makes '{name}', which there is already");
                    return Err(self.refuse_node(node, reason));
                }
            }
        }
        match graph.output.iter().find(|o| !made.contains(&*o.name)) {
            Some(output) => Err(self.refuse(format!(
                "its output '{}' is made by no input, initialiser or node",
                output.name
            ))),
            None => Ok(()),
        }
    }

    /// The values that are asked for.
    pub(crate) fn chosen<'a>(&'a self, outputs: &'a [String]) -> Result<Vec<&'a str>> {
        let graph = &self.graph;
        let there = || graph.output.iter().map(|output| &*output.name);
        if outputs.is_empty() {
            let all: Vec<&str> = there().collect();
            return if all.is_empty() {
                Err(self.refuse("it has no outputs"))
            } else {
                Ok(all)
            };
        }
        let made: HashSet<&str> = (graph.node.iter().flat_map(|node| &node.output))
            .chain(graph.input.iter().map(|input| &input.name))
            .chain(graph.initializer.iter().map(|tensor| &tensor.name))
            .map(|name| &**name)
            .collect();
        match outputs.iter().find(|name| !made.contains(&***name)) {
            Some(name) => Err(Error::Unknown {
                what: "value of the ONNX model",
                name: name.clone(),
                known: there().collect::<Vec<_>>().join(", "),
            }),
            None => Ok(outputs.iter().map(|name| &**name).collect()),
        }
    }

    /// Which nodes `outputs` need, and how often each value is read by those and as an output.
    pub(crate) fn needed<'a>(
        &'a self,
        outputs: &[&'a str],
    ) -> (Vec<bool>, HashMap<&'a str, usize>) {
        let mut readers: HashMap<&str, usize> = HashMap::new();
        for name in outputs {
            *readers.entry(name).or_default() += 1;
        }
        let nodes = &self.graph.node;
        let mut needed = vec![false; nodes.len()];
        for (at, node) in nodes.iter().enumerate().rev() {
            let wanted = |name: &String| !name.is_empty() && readers.contains_key(&**name);
            needed[at] = node.output.iter().any(wanted);
            if needed[at] {
                for name in &node.input {
                    *readers.entry(name).or_default() += 1;
                }
            }
        }
        (needed, readers)
    }
}

/// The version of the operators, if it and the format's are ones that are read.
fn versions(model: &ModelProto) -> Result<i64, String> {
    let range =
        |range: std::ops::RangeInclusive<i64>| format!("{} to {}", range.start(), range.end());
    if !IR_VERSIONS.contains(&model.ir_version) {
        let (found, known) = (model.ir_version, range(IR_VERSIONS));
        return Err(format!(
            "it is of version {found} of the format, and {known} are read"
        ));
    }
    let own = model.opset_import.iter().find(|set| is_own(&set.domain));
    match own.map(|set| set.version) {
        Some(opset) if OPSETS.contains(&opset) => Ok(opset),
        Some(opset) => Err(format!(
            "it uses opset {opset}, and {} are read: export it with one of these",
            range(OPSETS)
        )),
        None => Err("it does not say which opset of ONNX's operators it uses".to_owned()),
    }
}
