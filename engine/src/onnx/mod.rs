//! Networks from ONNX files: [`Network::from_onnx`].
//!
//! | file | what it holds |
//! | --- | --- |
//! | `onnx.proto`, `generated.rs` | the part of the format that is read, and the code made from it |
//! | `wire.rs` | the fields of the encoded bytes, looked at before anything is allocated for them |
//! | `model.rs` | a model, decoded and checked: names, order, versions |
//! | `tensor.rs` | tensors with their numbers, from the model or from files beside it |
//! | `node.rs` | one node with its settings and what its inputs are |
//! | `support.rs` | the table of operators |
//! | `fold.rs` | nodes whose inputs are all known are computed here |
//! | `import.rs` | every other node becomes operations of a network |
//! | `export.rs` | weights go back into their model |

mod export;
mod fold;
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "its code is prost's")]
mod generated;
mod import;
mod model;
mod node;
mod support;
mod tensor;
mod wire;

use std::path::Path;

use crate::error::Result;
use crate::network::{Network, Parameters};
use import::Importer;
use model::Model;

/// The operators that are read, and what of each, as a table in Markdown: what `ONNX.md` shows.
pub fn operators() -> String {
    support::table()
}

/// What of an ONNX model is imported, and for which batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Samples for which shapes that the model computes are worked out. Where they do not depend on
    /// it, the network serves any batch.
    pub batch: usize,
    /// Names of the values that the network gives, in this order: outputs of the model or anything
    /// else in it, so that a tail such as `ArgMax` can be left off. All outputs of the model where
    /// this is empty.
    pub outputs: Vec<String>,
}

impl Default for OnnxOptions {
    /// One sample, all outputs.
    fn default() -> Self {
        Self {
            batch: 1,
            outputs: Vec::new(),
        }
    }
}

/// An ONNX model as a network with its weights.
#[derive(Debug, Clone)]
pub struct Imported {
    /// What it computes. Inputs, outputs and parameters have the model's names.
    pub network: Network,
    /// Its weights: f64 where the model has them so, f32 otherwise.
    pub parameters: Parameters,
    /// Normalisations that have gone into weights.
    absorbed: Vec<Absorbed>,
}

/// A batch normalisation that is part of the weights before it.
#[derive(Debug, Clone)]
struct Absorbed {
    /// What its node makes.
    output: String,
    /// The parameter that was made for its addends, where the product before it had no bias.
    bias: Option<String>,
}

impl Network {
    /// A network from an ONNX file, and its weights. Tensors kept in other files are read from the
    /// file's folder and nowhere else. `ONNX.md` lists the operators.
    ///
    /// An input's first axis is the batch. What depends on nothing but weights and shapes is computed
    /// here; float initialisers with axes become parameters under their names, unless a batch
    /// normalisation is folded into them.
    ///
    /// # Errors
    /// When the file cannot be read or is no valid model, when it needs an operator or a version
    /// that is not supported, naming node, operator and opset, or when shapes do not go together.
    pub fn from_onnx(path: &Path, options: &OnnxOptions) -> Result<Imported> {
        Importer::run(&Model::open(path)?, options)
    }

    /// A network from the bytes of an ONNX model that keeps all its tensors in itself.
    ///
    /// # Errors
    /// As [`Network::from_onnx`], and when a tensor is kept in another file.
    pub fn from_onnx_bytes(bytes: &[u8], options: &OnnxOptions) -> Result<Imported> {
        Importer::run(&Model::decode(bytes, "in memory", None)?, options)
    }
}
