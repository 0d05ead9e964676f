//! Models that are broken, hostile or past what is supported: each is an error that says what and
//! where, within bounded memory and time.

use std::fs;
use std::path::Path;

use furthermore::network::Network;
use furthermore::onnx::OnnxOptions;
use furthermore::plan::{CompileOptions, Plan};
use furthermore::tensor::DType;
use prost::Message;

use super::build::{
    GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, floats, import, import_bytes,
    integers, model, node, text, value,
};
use crate::support::refused;

/// The bytes of a small network that is read.
fn good() -> Vec<u8> {
    stored("branches_torchscript")
}

fn stored(network: &str) -> Vec<u8> {
    let path = super::fixtures().join(format!("networks/{network}.onnx"));
    fs::read(path).expect("a stored model")
}

/// A model with its graph changed.
fn with(change: impl FnOnce(&mut GraphProto)) -> ModelProto {
    let mut changed = model(&[node("Relu", &["x"], &["y"], &[])], &[]);
    change(changed.graph.as_mut().expect("it has one"));
    changed
}

#[test]
fn what_is_not_a_model_is_refused() {
    assert!(import_bytes(&good()).is_ok());
    refused("nothing", import_bytes(&[]), &["in memory", "version 0"]);
    refused("a text", import_bytes(b"not a model"), &["no ONNX model"]);
    for cut in 0..good().len() {
        assert!(import_bytes(&good()[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_changed_byte_never_panics() {
    for network in ["branches_torchscript", "series_torchscript", "tensorflow"] {
        let good = stored(network);
        assert!(import_bytes(&good).is_ok(), "{network}");
        for at in 0..good.len() {
            for bits in [1, 0x80, 0xff] {
                let mut changed = good.clone();
                changed[at] ^= bits;
                // Some are models still; what counts is that each call returns.
                let _ = import_bytes(&changed);
            }
        }
    }
}

#[test]
fn versions_that_are_not_read_are_refused() {
    let relu = || model(&[node("Relu", &["x"], &["y"], &[])], &[]);
    assert!(import(&relu()).is_ok());
    for version in [6, 26, -1, i64::MAX] {
        let mut other = relu();
        other.opset_import[0].version = version;
        let parts = [&*format!("opset {version}"), "7 to 25"];
        refused("another opset", import(&other), &parts);
    }
    for version in [2, 15] {
        let mut other = relu();
        other.ir_version = version;
        let parts = [&*format!("version {version} of the format"), "3 to 14"];
        refused("another format", import(&other), &parts);
    }
    let mut other = relu();
    other.opset_import[0].domain = "ai.onnx.ml".to_owned();
    refused("no opset", import(&other), &["does not say which opset"]);
    other.graph = None;
    other.opset_import[0].domain = "ai.onnx".to_owned();
    refused("no graph", import(&other), &["no graph"]);
}

/// A field of the wire format with these bytes.
fn field(tag: u64, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    prost::encoding::encode_varint(tag << 3 | 2, &mut encoded);
    prost::encoding::encode_varint(bytes.len() as u64, &mut encoded);
    encoded.extend(bytes);
    encoded
}

#[test]
fn nesting_and_counts_are_bounded() {
    // A graph in an attribute in a node, over and over.
    let mut graph = Vec::new();
    for _ in 0..10_000 {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    assert!(import_bytes(&field(7, &graph)).is_err());
    // Groups, which only the decoder's own limit ends.
    let groups = vec![0x0b; 1 << 20];
    refused("groups", import_bytes(&groups), &["no ONNX model"]);
    let groups = field(7, &groups);
    refused(
        "groups in a graph",
        import_bytes(&groups),
        &["no ONNX model"],
    );
    // Nodes of two bytes each.
    let nodes = field(7, &[0x0a, 0].repeat(1 << 21));
    refused("nodes", import_bytes(&nodes), &["messages and strings"]);
    let relu = node("Relu", &["x"], &["y"], &[]);
    let many = with(|graph| graph.node = vec![relu.clone(); 40_000]);
    refused("nodes", import(&many), &["40000 nodes", "32768"]);
    let many = with(|graph| graph.output = vec![value("y", &[]); 2000]);
    refused("outputs", import(&many), &["2000 outputs", "1024"]);
    let wide = node("Sum", &["x"; 2000], &["y"], &[]);
    refused(
        "inputs",
        import(&model(&[wide], &[])),
        &["Sum", "1024 inputs"],
    );
    // Bounds on operations count those that a node becomes.
    let sum = |nth: usize| {
        let (from, to) = (format!("x{nth}"), format!("x{}", nth + 1));
        node("Sum", &[&*from; 1000], &[&to], &[])
    };
    let mut nodes: Vec<NodeProto> = (0..200).map(sum).collect();
    nodes[0].input = vec!["x".to_owned(); 1000];
    nodes.push(node("Relu", &["x200"], &["y"], &[]));
    refused(
        "operations",
        import(&model(&nodes, &[])),
        &["131072 operations"],
    );
}

#[test]
fn names_are_made_once_and_before_they_are_read() {
    let relu = |from: &str, to: &str| node("Relu", &[from], &[to], &[]);
    let cycle = model(&[relu("z", "y"), relu("y", "z")], &[]);
    refused(
        "a cycle",
        import(&cycle),
        &["'y' (Relu, opset 18)", "'z'", "cycle"],
    );
    let own = model(&[relu("y", "y")], &[]);
    refused("a node on itself", import(&own), &["cycle"]);
    let missing = model(&[relu("w", "y")], &[]);
    refused(
        "a missing name",
        import(&missing),
        &["'w'", "no input, initialiser"],
    );
    let twice = model(&[relu("x", "y"), relu("x", "y")], &[]);
    refused(
        "a name made twice",
        import(&twice),
        &["'y', which there is already"],
    );
    let input = model(&[relu("x", "x")], &[]);
    refused(
        "an input made",
        import(&input),
        &["'x', which there is already"],
    );
    let weight = floats("w", &[1], &[1.0]);
    let twice = with(|graph| graph.initializer = vec![weight.clone(); 2]);
    refused(
        "two initialisers",
        import(&twice),
        &["two initialisers 'w'"],
    );
    let twice = with(|graph| graph.input.push(value("x", &[0, 1])));
    refused("two inputs", import(&twice), &["two inputs 'x'"]);
    let output = with(|graph| graph.output = vec![value("q", &[])]);
    refused("an output", import(&output), &["output 'q'"]);
    let none = with(|graph| graph.output.clear());
    refused("no output", import(&none), &["no outputs"]);
    let mut named = relu("w", "y");
    named.name = "the node".to_owned();
    let named = model(&[named], &[]);
    refused(
        "a named node",
        import(&named),
        &["'the node' (Relu, opset 18)"],
    );
}

#[test]
fn inputs_that_are_no_samples_are_refused() {
    let with_input = |input: ValueInfoProto| import(&with(|graph| graph.input = vec![input]));
    assert!(with_input(value("x", &[3, 4])).is_ok());
    let parts = [
        "input 'x'",
        "size 8",
        "batch asked for is 3",
        "dynamic batch axis",
    ];
    refused("another batch", with_input(value("x", &[8, 4])), &parts);
    let parts = ["input 'x'", "axis 2", "'open'"];
    refused("an open axis", with_input(value("x", &[0, 4, 0])), &parts);
    refused(
        "no axes",
        with_input(value("x", &[])),
        &["input 'x'", "no axes"],
    );
    refused(
        "a negative size",
        with_input(value("x", &[0, -4])),
        &["size -4"],
    );
    let huge = with_input(value("x", &[0, i64::MAX, i64::MAX]));
    refused(
        "a huge input",
        huge,
        &["more elements than can be addressed"],
    );
    let mut typed = value("x", &[0, 4]);
    let kind = typed.r#type.as_mut().expect("its type");
    kind.tensor_type.as_mut().expect("a tensor").elem_type = 7;
    refused(
        "integers",
        with_input(typed.clone()),
        &["input 'x'", "number 7"],
    );
    let kind = typed.r#type.as_mut().expect("its type");
    let tensor = kind.tensor_type.as_mut().expect("a tensor");
    (tensor.elem_type, tensor.shape) = (1, None);
    refused(
        "no shape",
        with_input(typed.clone()),
        &["input 'x'", "no shape"],
    );
    typed.r#type = None;
    refused("no type", with_input(typed), &["input 'x'", "no tensor"]);
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let bytes = with(|_| {}).encode_to_vec();
    let import = |batch: usize, outputs: &[&str]| {
        let outputs = outputs.iter().map(|name| (*name).to_owned()).collect();
        Network::from_onnx_bytes(&bytes, &OnnxOptions { batch, outputs })
    };
    refused("no samples", import(0, &[]), &["batch of 0"]);
    refused("an output", import(1, &["z"]), &["'z'", "there are y"]);
    refused("an output twice", import(1, &["y", "y"]), &["`y`", "taken"]);
    assert!(import(1, &["x"]).is_ok());
}

#[test]
fn tensors_that_do_not_hold_what_they_say_are_refused() {
    let add = node("Add", &["x", "w"], &["y"], &[]);
    let with = |tensor: TensorProto| import(&model(std::slice::from_ref(&add), &[tensor]));
    let raw = |dims: &[i64], data_type: i32, bytes: usize| TensorProto {
        raw_data: vec![0; bytes],
        data_type,
        ..floats("w", dims, &[])
    };
    assert!(with(floats("w", &[6], &[0.5; 6])).is_ok());
    assert!(with(raw(&[6], 1, 24)).is_ok());
    let cases = [
        ("too few", floats("w", &[6], &[0.5; 5]), "5 elements for 6"),
        ("too few bytes", raw(&[6], 1, 23), "23 bytes"),
        ("too many bytes", raw(&[6], 11, 49), "49 bytes"),
        ("a negative size", floats("w", &[-6], &[]), "size -6"),
        (
            "a huge size",
            floats("w", &[1 << 40, 1 << 40], &[]),
            "addressed",
        ),
        (
            "one around none",
            floats("w", &[0, 1 << 40, 1 << 40], &[]),
            "addressed",
        ),
        (
            "a large size",
            floats("w", &[1 << 40], &[]),
            "0 elements for 1099511627776",
        ),
        ("many axes", floats("w", &[1; 17], &[1.0]), "17 axes"),
        ("texts", raw(&[6], 8, 24), "string"),
        ("nothing", raw(&[6], 0, 24), "undefined"),
        ("small floats", raw(&[6], 17, 6), "8-bit float"),
        ("an unknown type", raw(&[6], 99, 6), "number 99"),
        ("integers", integers("w", &[6], &[1; 6]), "integers"),
        ("another shape", floats("w", &[5], &[0.5; 5]), "[5]"),
    ];
    for (what, tensor, part) in cases {
        refused(
            what,
            with(tensor),
            &["'w'", part][usize::from(what == "another shape")..],
        );
    }
    let far = TensorProto {
        data_location: 2,
        ..raw(&[6], 1, 24)
    };
    refused("another place", with(far), &["'w'", "data location 2"]);
    let away = TensorProto {
        data_location: 1,
        ..raw(&[6], 1, 0)
    };
    refused(
        "a file",
        with(away),
        &["'w'", "only initialisers of a model file"],
    );
    let large = TensorProto {
        data_type: 13,
        uint64_data: vec![u64::MAX],
        ..integers("w", &[1], &[])
    };
    refused(
        "a large integer",
        with(large),
        &["'w'", "18446744073709551615"],
    );
}

/// What the fuzz target starts from, and whatever it has found: read or refused, and no more.
#[test]
fn the_corpus_of_the_fuzz_target_never_panics() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/onnx");
    let (mut models, mut read) = (0, 0);
    for entry in fs::read_dir(corpus).expect("the corpus") {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a file");
        models += 1;
        for batch in [1, 3] {
            let options = OnnxOptions {
                batch,
                outputs: Vec::new(),
            };
            let Ok(imported) = Network::from_onnx_bytes(&bytes, &options) else {
                continue;
            };
            let options = CompileOptions::plain(batch, DType::F32);
            read += usize::from(Plan::compile(&imported.network, &options).is_ok());
        }
    }
    assert!(models >= 16 && read >= 10, "{read} of {models}");
}

/// A few bytes a node ask for more and more numbers: in all they have a limit.
#[test]
fn pads_that_grow_without_end_are_refused() {
    let amount = 1 << 23;
    let pads = integers("pads", &[6], &[0, 0, 0, 0, 0, amount]);
    let nodes: Vec<NodeProto> = (0..64)
        .map(|nth| {
            let [from, to] = [nth, nth + 1].map(|nth| match nth {
                0 => "x".to_owned(),
                64 => "y".to_owned(),
                nth => format!("padded{nth}"),
            });
            node("Pad", &[&from, "pads"], &[&to], &[text("mode", "edge")])
        })
        .collect();
    refused(
        "pads",
        import(&model(&nodes, &[pads])),
        &["Pad", "too many numbers"],
    );
}
