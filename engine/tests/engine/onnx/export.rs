//! Weights that go back into their model.

use std::collections::BTreeMap;
use std::path::Path;

use furthermore::Algebra;
use furthermore::network::{Network, Parameters};
use furthermore::onnx::{Imported, OnnxOptions};
use furthermore::tensor::{DType, Plaintext, Tensor};

use prost::Message;

use super::build::{ModelProto, StringStringEntryProto, floats, int, model, node};
use crate::support::models::{BATCH, Example, examples, fixtures};
use crate::support::{REGIMES, cpu, encrypt, key, refused, tensor};

/// The weights with every number moved, each its own way.
fn moved(parameters: &Parameters) -> Parameters {
    let mut moved = Parameters::default();
    for (nth, (name, weight)) in parameters.iter().enumerate() {
        let Tensor::Plaintext(weight) = weight else {
            panic!("weights are imported as plaintext");
        };
        let numbers = weight.to_f64();
        let numbers: Vec<f64> = (numbers.iter().enumerate())
            .map(|(at, x)| x * 0.875 + 0.03125 * (((nth + at) % 5) as f64 - 2.0))
            .collect();
        let weight = tensor(weight.shape(), &numbers, weight.dtype());
        moved.insert(name, Tensor::Plaintext(weight));
    }
    moved
}

fn weights(parameters: &Parameters) -> BTreeMap<String, Vec<f64>> {
    let numbers = |(name, tensor): (&str, &Tensor)| match tensor {
        Tensor::Plaintext(weight) => (name.to_owned(), weight.to_f64()),
        Tensor::Ciphertext(_) => panic!("weights are imported as plaintext"),
    };
    parameters.iter().map(numbers).collect()
}

/// Writes weights into a model and imports that.
fn again(example: &Example, imported: &Imported, weights: &Parameters, path: &Path) -> Imported {
    let written = imported.write_onnx(example.path(), weights, path);
    written.unwrap_or_else(|error| panic!("{}: {error}", example.name));
    let options = OnnxOptions {
        batch: BATCH,
        outputs: example.outputs.keys().cloned().collect(),
    };
    Network::from_onnx(path, &options).unwrap_or_else(|error| panic!("{}: {error}", example.name))
}

#[test]
fn trained_weights_go_back_into_the_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("written.onnx");
    let real = Algebra::Real;
    let mut absorbed = 0;
    for models in ["networks", "external"] {
        for mut example in examples(models) {
            let imported = example.import().expect("it is read");
            // As it was: what is written gives what the framework gave.
            let same = again(&example, &imported, &imported.parameters, &path);
            let check = |example: &Example, imported: &Imported| {
                example.check(&cpu(), imported, BATCH, DType::F64, real, REGIMES[0], 1e-5)
            };
            assert_eq!(check(&example, &same), Ok(()), "{}", example.name);
            // With other weights: what is written gives what these give here.
            let mut other = imported.clone();
            other.parameters = moved(&imported.parameters);
            example.outputs = example.found(&cpu(), &other).expect("it runs");
            assert!(check(&example, &imported).is_err(), "the weights matter");
            let written = again(&example, &imported, &other.parameters, &path);
            assert_eq!(check(&example, &written), Ok(()), "{}", example.name);
            if example.name.contains("residual") {
                absorbed += 1;
            }
            let (found, expected) = (weights(&written.parameters), weights(&other.parameters));
            for (name, expected) in &expected {
                // Biases that folding made are addends of a normalisation again.
                let Some(found) = found.get(name) else {
                    continue;
                };
                for (f, e) in found.iter().zip(expected) {
                    assert!(
                        (f - e).abs() <= 1e-6 * e.abs().max(1.0),
                        "{name}: {f} and {e}"
                    );
                }
            }
        }
    }
    assert_eq!(absorbed, 2);
}

#[test]
fn weights_that_do_not_fit_are_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("written.onnx");
    let model = fixtures().join("networks/branches_torchscript.onnx");
    let options = OnnxOptions {
        batch: BATCH,
        outputs: Vec::new(),
    };
    let imported = Network::from_onnx(&model, &options);
    let imported = imported.unwrap_or_else(|error| panic!("{error}"));
    let write = |weights: &Parameters| imported.write_onnx(&model, weights, &path);
    let (name, _) = imported.parameters.iter().next().expect("weights");
    let with = |tensor: Tensor| {
        let mut weights = imported.parameters.clone();
        weights.insert(name, tensor);
        weights
    };
    refused("nothing", write(&Parameters::default()), &[name]);
    let odd = tensor(&[1, 1, 7], &[0.0; 7], DType::F32);
    let odd = write(&with(Tensor::Plaintext(odd)));
    refused("a shape", odd, &[name, "[1, 1, 7]"]);
    let key = key(2, 5);
    let Tensor::Plaintext(weight) = imported.parameters.get(name).expect("its own") else {
        panic!("weights are imported as plaintext");
    };
    let weight: &Plaintext = weight;
    let encrypted = encrypt(&key, Algebra::Compact(2), 1, weight);
    let encrypted = write(&with(Tensor::Ciphertext(encrypted)));
    refused("a ciphertext", encrypted, &[name]);
    let elsewhere = imported.write_onnx(&path, &imported.parameters, &path);
    refused("no model", elsewhere, &["written.onnx"]);
    assert!(!path.exists());
}

#[test]
fn tensors_keep_their_types_and_leave_their_files() {
    let folder = tempfile::tempdir().expect("a folder");
    // Weights of half precision that a node turns, and a row beside the model that is no parameter.
    let mut weight = floats("w", &[2, 6], &[]);
    weight.data_type = 10;
    weight.raw_data = (0..12u16)
        .flat_map(|i| (0x3c00 + i).to_le_bytes())
        .collect();
    let mut shift = floats("shift", &[6], &[]);
    shift.float_data = Vec::new();
    shift.data_location = 1;
    shift.external_data = vec![StringStringEntryProto {
        key: "location".to_owned(),
        value: "shift.bin".to_owned(),
    }];
    let nodes = [
        node("Transpose", &["w"], &["turned"], &[]),
        node("Cast", &["shift"], &["row"], &[int("to", 1)]),
        node("MatMul", &["x", "turned"], &["y"], &[]),
        node("Add", &["x", "row"], &["unused"], &[]),
    ];
    let shifts: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    std::fs::write(folder.path().join("shift.bin"), &shifts).expect("a file");
    let model = model(&nodes, &[weight, shift]);
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).expect("a file");
    let options = OnnxOptions {
        batch: BATCH,
        outputs: Vec::new(),
    };
    let imported = Network::from_onnx(&path, &options);
    let imported = imported.unwrap_or_else(|error| panic!("{error}"));
    let elsewhere = tempfile::tempdir().expect("a folder");
    let path = elsewhere.path().join("written.onnx");
    let other = moved(&imported.parameters);
    let model = folder.path().join("model.onnx");
    imported.write_onnx(&model, &other, &path).expect("written");
    let bytes = std::fs::read(&path).expect("a file");
    let written = ModelProto::decode(&bytes[..]).expect("a model");
    let graph = written.graph.expect("a graph");
    let named = |name: &str| {
        graph
            .initializer
            .iter()
            .find(|t| t.name == name)
            .expect("there")
    };
    assert_eq!(named("turned").data_type, 10, "half precision stays so");
    assert_eq!(named("turned").dims, [6, 2]);
    assert_eq!(
        (named("shift").data_location, &named("shift").raw_data),
        (0, &shifts)
    );
    assert!(graph.node.iter().all(|node| node.op_type != "Transpose"));
    let again = Network::from_onnx(&path, &options);
    let again = again.unwrap_or_else(|error| panic!("{error}"));
    let (found, expected) = (weights(&again.parameters), weights(&other));
    for (f, e) in found["turned"].iter().zip(&expected["turned"]) {
        assert!((f - e).abs() < 1e-3 * e.abs(), "{f} and {e}");
    }
}
