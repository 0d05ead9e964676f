//! Models with tensors in other files, and files that are no models.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use furthermore::network::Network;
use furthermore::onnx::{Imported, OnnxOptions};
use prost::Message;

use super::build::{ModelProto, StringStringEntryProto, TensorProto, floats, model, node};
use crate::support::{plain, refused};

/// What a tensor says of its file.
type Entries<'a> = &'a [(&'a str, &'a str)];

/// `y = x + w` with w of six numbers in a file.
fn added(name: &str, entries: Entries<'_>) -> ModelProto {
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let weight = TensorProto {
        data_location: 1,
        external_data: entries.iter().map(entry).collect(),
        ..floats(name, &[6], &[])
    };
    model(&[node("Add", &["x", name], &["y"], &[])], &[weight])
}

fn import(folder: &Path, model: &ModelProto) -> furthermore::Result<Imported> {
    let path = folder.join("model.onnx");
    fs::write(&path, model.encode_to_vec()).expect("it can be written");
    Network::from_onnx(&path, &OnnxOptions::default())
}

#[test]
fn weights_are_read_from_the_models_folder_only() {
    let outside = tempfile::tempdir().expect("a temporary folder");
    let folder = outside.path().join("model");
    fs::create_dir_all(folder.join("part")).expect("a folder");
    let numbers: Vec<u8> = (0..8u8).flat_map(|n| f32::from(n).to_le_bytes()).collect();
    for path in ["weights.bin", "model/weights.bin", "model/part/weights.bin"] {
        fs::write(outside.path().join(path), &numbers).expect("it can be written");
    }
    symlink("../weights.bin", folder.join("link.bin")).expect("a link");
    let read = |entries: Entries<'_>| import(&folder, &added("w", entries));
    let weight = |imported: Imported| {
        let tensor = imported.parameters.get("w").expect("its weight").clone();
        plain(Ok(tensor)).to_f64()
    };
    let whole = [
        ("location", "weights.bin"),
        ("offset", "8"),
        ("length", "24"),
    ];
    assert_eq!(
        weight(read(&whole).expect("a model")),
        [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    );
    let rest = [("location", "part/weights.bin"), ("offset", "8")];
    assert!(read(&rest).is_ok());
    let around = [("location", "part/../weights.bin"), ("length", "24")];
    assert_eq!(
        weight(read(&around).expect("a model")),
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    );
    let absolute = outside.path().join("weights.bin").display().to_string();
    let cases: [(&str, Entries<'_>, &str); 12] = [
        ("no file", &[], "not named"),
        (
            "above",
            &[("location", "../weights.bin"), ("length", "24")],
            "inside the model's folder",
        ),
        (
            "absolute",
            &[("location", &absolute), ("length", "24")],
            "inside the model's folder",
        ),
        (
            "a link",
            &[("location", "link.bin"), ("length", "24")],
            "inside the model's folder",
        ),
        ("a folder", &[("location", "part")], "no file inside"),
        ("nothing", &[("location", "")], "no file inside"),
        ("missing", &[("location", "none.bin")], "'none.bin'"),
        (
            "a text",
            &[("location", "weights.bin"), ("offset", "two")],
            "'two'",
        ),
        (
            "before",
            &[("location", "weights.bin"), ("offset", "-8")],
            "'-8'",
        ),
        (
            "past the end",
            &[
                ("location", "weights.bin"),
                ("offset", "16"),
                ("length", "24"),
            ],
            "past",
        ),
        (
            "far past",
            &[
                ("location", "weights.bin"),
                ("offset", "18446744073709551615"),
            ],
            "past",
        ),
        (
            "other sizes",
            &[("location", "weights.bin")],
            "32 bytes for 6 numbers of 4",
        ),
    ];
    for (what, entries, part) in cases {
        refused(
            what,
            read(entries),
            &["model.onnx", "initialiser 'w'", part],
        );
    }
    let huge = [
        ("location", "weights.bin"),
        ("length", "18446744073709551615"),
    ];
    refused("a huge length", read(&huge), &["past"]);
}

/// A byte of a file belongs to one tensor, so a small file does not fill memory.
#[test]
fn a_file_is_not_read_over_and_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("weights.bin"), [0; 24]).expect("it can be written");
    let mut twice = added("w", &[("location", "weights.bin")]);
    assert!(import(folder.path(), &twice).is_ok());
    let graph = twice.graph.as_mut().expect("it has one");
    let mut again = graph.initializer[0].clone();
    again.name = "again".to_owned();
    graph.initializer.push(again);
    graph.node[0].output = vec!["z".to_owned()];
    graph.node.push(node("Add", &["z", "again"], &["y"], &[]));
    let parts = ["'again'", "more bytes of the file 'weights.bin'"];
    refused("a file read twice", import(folder.path(), &twice), &parts);
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let import = |path: &Path| Network::from_onnx(path, &OnnxOptions::default());
    refused("a folder", import(folder.path()), &["not a file"]);
    let missing = folder.path().join("missing.onnx");
    refused("nothing", import(&missing), &["missing.onnx"]);
    let text = folder.path().join("text.onnx");
    fs::write(&text, "a text").expect("it can be written");
    refused("a text", import(&text), &["text.onnx", "no ONNX model"]);
}
