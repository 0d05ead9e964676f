//! ONNX models from the command line, against the values that their frameworks gave.

use std::path::{Path, PathBuf};

use furthermore::io::write_npy;
use furthermore::tensor::{DType, Plaintext};
use serde_json::Value;

use super::{Files, numbers};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/onnx")
}

/// A stored model with an example: its inputs go into files of their names, over and over up to so
/// many samples; what comes back is its path and what it has to give for them.
fn example(files: &Files, model: &str, samples: usize) -> (String, Vec<f64>) {
    let path = fixtures().join(format!("{model}.onnx"));
    let (folder, name) = model.split_once('/').expect("a folder and a name");
    let text = std::fs::read_to_string(fixtures().join(folder).join("expected.json"));
    let all: Value = serde_json::from_str(&text.expect("stored values")).expect("JSON");
    let tensor = |stored: &Value| -> (Vec<usize>, Vec<f64>) {
        let list = |key: &str| stored[key].as_array().expect("a list").iter();
        let shape: Vec<usize> = list("shape")
            .map(|x| x.as_u64().expect("a size") as usize)
            .collect();
        let values: Vec<f64> = list("values")
            .map(|x| x.as_f64().expect("a number"))
            .collect();
        let width = values.len() / shape[0];
        let rows = (0..samples).flat_map(|row| values[row % shape[0] * width..][..width].to_vec());
        let sizes = std::iter::once(samples).chain(shape[1..].iter().copied());
        (sizes.collect(), rows.collect())
    };
    for (input, stored) in all[name]["inputs"].as_object().expect("inputs") {
        let (shape, values) = tensor(stored);
        let array = Plaintext::new(shape, &values).expect("as many numbers");
        write_npy(&files.path(&format!("{input}.npy")), &array).expect("a file");
    }
    let outputs = all[name]["outputs"].as_object().expect("outputs");
    let (_, stored) = outputs.iter().next().expect("one output");
    (path.display().to_string(), tensor(stored).1)
}

fn near(found: &Path, expected: &[f64], within: f64) {
    let (_, found) = numbers(found, DType::F64);
    assert_eq!(found.len(), expected.len());
    for (at, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f - e).abs() <= within * e.abs().max(1.0),
            "element {at}: {f} and {e}"
        );
    }
}

#[test]
fn models_run_on_what_is_encrypted() {
    let files = Files::new();
    for (model, input) in [
        ("networks/residual_dynamo", "input"),
        ("networks/series_torchscript", "input"),
        ("networks/tensorflow", "x"),
    ] {
        // An odd number of samples, by whole batches and what is left.
        let (path, expected) = example(&files, model, 7);
        for options in [
            "--algebra real --dtype f64",
            "--algebra compact2 --dtype f64 --batch 3",
            "--algebra blocks2 --batch 4 --encrypt-weights",
            "--algebra compact3 --mask normal",
        ] {
            let line =
                format!("infer --model {path} --input @{input}.npy --output @y.npy {options}");
            let said = files.success(&line);
            assert!(said.contains("7 samples"), "{said}");
            assert_eq!(
                said.contains("hides nothing"),
                !options.contains("real"),
                "{said}"
            );
            let within = if options.contains("f64") { 1e-5 } else { 1e-3 };
            near(&files.path("y.npy"), &expected, within);
        }
    }
    let (path, expected) = example(&files, "operators/concat", 3);
    let line = format!(
        "infer --model {path} --input a=@a.npy --input b=@b.npy --output @y.npy --json @r.json"
    );
    // Within a word the folder's files are not looked for.
    let line = line.replace("=@", &format!("={}/", files.path("").display()));
    files.success(&line);
    near(&files.path("y.npy"), &expected, 1e-3);
    let report = std::fs::read_to_string(files.path("r.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let row = &report["rows"][0];
    assert_eq!(
        (&row["samples"], &row["regime"]),
        (&3.into(), &"ct-pt".into())
    );
    assert!(row["run_seconds"].as_f64().is_some_and(|s| s > 0.0));
    assert!(row["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
}

#[test]
fn the_machine_that_runs_holds_no_key() {
    let files = Files::new();
    files.success("keygen --output @key");
    let (path, expected) = example(&files, "networks/lenet_torchscript", 5);
    files.success("encrypt --key @key --input @input.npy --output @x.safetensors");
    let run =
        format!("run --model {path} --input @x.safetensors --output @y.safetensors --batch 2");
    assert!(files.success(&run).contains("5 samples"));
    files.success("decrypt --key @key --input @y.safetensors --output @y.npy");
    near(&files.path("y.npy"), &expected, 1e-3);
    // Two inputs, each in a file of its own.
    let (path, expected) = example(&files, "operators/sub", 3);
    for name in ["b", "a"] {
        files.success(&format!(
            "encrypt --key @key --input @{name}.npy --output @{name}.safetensors --name {name}"
        ));
    }
    files.success(&format!(
        "run --model {path} --input @b.safetensors --input @a.safetensors --output @y.safetensors"
    ));
    files.success("decrypt --key @key --input @y.safetensors --output @y.npy");
    near(&files.path("y.npy"), &expected, 1e-3);
}

#[test]
fn what_does_not_fit_is_told_and_no_key_is_lost() {
    let files = Files::new();
    let (path, _) = example(&files, "networks/branches_dynamo", 4);
    let infer = |rest: &str| format!("infer --model {path} --output @y.npy {rest}");
    files.refused(&infer("--input @none.npy"), &["none.npy"]);
    files.refused(
        &infer("--input @input.npy --input @input.npy"),
        &["one more", "input"],
    );
    files.refused(&infer("--input @input.npy --batch 0"), &["--batch"]);
    files.refused(&infer("--input @input.npy --device tpu"), &["'tpu'"]);
    files.refused(
        &infer("--input @input.npy --json @y.npy"),
        &["--json", "replace"],
    );
    files.refused(
        &infer("--input @input.npy --output-name zz"),
        &["'zz'", "output"],
    );
    files.refused(
        &infer("--input @input.npy --algebra real --encrypt-weights"),
        &["--encrypt-weights"],
    );
    files.array("wide.npy", &[4, 9]);
    files.refused(&infer("--input @wide.npy"), &["input", "[4, 9]", "[4, 6]"]);
    files.refused(
        &infer("--input @input.npy").replace(".onnx", ".no"),
        &["branches_dynamo.no"],
    );
    let model = "infer --model @input.npy --input @input.npy --output @y.npy";
    files.refused(model, &["input.npy", "ONNX"]);

    files.success("keygen --output @key");
    let key = std::fs::read(files.path("key")).expect("a key");
    let over = infer("--input @input.npy").replace("@y.npy", "@key");
    files.refused(&over, &["secret key", "stays"]);
    files.refused(
        "encrypt --key @key --input @input.npy --output @key",
        &["secret key", "stays"],
    );
    files.refused(
        &infer("--input @input.npy --json @key"),
        &["secret key", "stays"],
    );
    assert_eq!(std::fs::read(files.path("key")).expect("a key"), key);
    files.success("keygen --output @other");
    for (key, file) in [("key", "a"), ("other", "b")] {
        files.success(&format!(
            "encrypt --key @{key} --input @input.npy --output @{file} --name {file}"
        ));
    }
    let run = format!("run --model {path} --output @y --input @a --input @b");
    files.refused(&run, &["key"]);
}
