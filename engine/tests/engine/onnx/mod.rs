//! ONNX models: what is read, what is refused, and that a network from a file computes what its
//! exporter's framework computed. The files come from `tests/fixtures/make_onnx.py`.

mod build;
// Links are made there, in Unix's way.
#[cfg(unix)]
mod files;
mod refused;
mod refused_nodes;
mod schema;
mod structure;
mod values;

use std::path::{Path, PathBuf};

/// Where the models lie.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx")
}
