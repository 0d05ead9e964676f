//! ONNX models: what is read, what is refused, and that a network from a file computes what its
//! exporter's framework computed. The files come from `tests/fixtures/make_onnx.py`.

mod build;
mod export;
// Links are made there, in Unix's way.
#[cfg(unix)]
mod files;
mod refused;
mod refused_nodes;
mod schema;
mod structure;
mod values;
mod written;

use crate::support::models::fixtures;
