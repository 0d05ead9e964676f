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

/// The committed page with the table of operators.
fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ONNX.md")
}

/// The page with its table made anew: all from the table's head on.
fn page_made_anew() -> String {
    let committed = fs::read_to_string(page()).expect("the committed page");
    let head = committed.find("| operator").expect("its table");
    committed[..head].to_owned() + &furthermore::onnx::operators()
}

#[test]
fn the_committed_table_of_operators_is_the_codes() {
    let committed = fs::read_to_string(page()).expect("the committed page");
    assert!(
        committed == page_made_anew(),
        "ONNX.md is not made from engine/src/onnx/support.rs: run `cargo test -p furthermore --test \
         engine -- --ignored write_the_table_of_operators`"
    );
    // Operators are found by bisection.
    let rows = committed.lines().filter(|line| line.starts_with("| "));
    let names: Vec<&str> = rows
        .skip(2)
        .filter_map(|row| row.split(' ').nth(1))
        .collect();
    assert!(names.is_sorted() && names.len() > 60, "{names:?}");
}

#[test]
#[ignore = "writes the committed page, after a change of the operators"]
fn write_the_table_of_operators() {
    fs::write(page(), page_made_anew()).expect("the page can be written");
}
