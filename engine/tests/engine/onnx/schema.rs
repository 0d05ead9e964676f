//! The committed code of the schema and the committed table of operators are what they are made from.

use std::fs;
use std::path::{Path, PathBuf};

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/onnx")
        .join(file)
}

/// The schema's code, made anew.
fn generated() -> String {
    let schema = source("onnx.proto");
    let folder = schema.parent().expect("it lies in a folder");
    let files = protox::compile([&schema], [folder]).unwrap_or_else(|error| panic!("{error}"));
    let out = tempfile::tempdir().expect("a temporary folder");
    prost_build::Config::new()
        .out_dir(out.path())
        .compile_fds(files)
        .expect("code from the schema");
    fs::read_to_string(out.path().join("onnx.rs")).expect("the package's file")
}

#[test]
fn the_committed_schema_code_is_generated() {
    let committed = fs::read_to_string(source("generated.rs")).expect("the committed file");
    assert!(
        committed == generated(),
        "engine/src/onnx/generated.rs is not made from onnx.proto: run `cargo test -p furthermore \
         --test engine -- --ignored write_the_schema_code`"
    );
}

#[test]
#[ignore = "writes the committed file, after a change of the schema"]
fn write_the_schema_code() {
    fs::write(source("generated.rs"), generated()).expect("the file can be written");
}
