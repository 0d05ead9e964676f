//! What networks models become: what is folded, and what things are called.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use furthermore::network::{Function, Network, Op};
use furthermore::onnx::{Imported, OnnxOptions};
use furthermore::plan::{CompileOptions, Kernel, Plan};
use furthermore::tensor::{DType, Plaintext, Tensor};

use super::build::{NodeProto, TensorProto, floats, import, int, integers, model, node, value};
use crate::support::{Noise, cpu, key, open};

fn imported(file: &str) -> Imported {
    let options = OnnxOptions {
        batch: 3,
        ..OnnxOptions::default()
    };
    let path = super::fixtures().join(file);
    Network::from_onnx(&path, &options).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Kernels that a plan of the network has, by name, and how many of each.
fn kernels(imported: &Imported) -> BTreeMap<&'static str, usize> {
    let plan = Plan::compile(&imported.network, &CompileOptions::plain(3, DType::F32));
    let mut counts = BTreeMap::new();
    for command in plan.unwrap_or_else(|error| panic!("{error}")).commands() {
        let name = match command.kernel {
            Kernel::Multiply { .. } => "multiply",
            Kernel::Conv2d { .. } => "conv2d",
            Kernel::FunctionMap {
                function: Function::Gelu,
            } => "gelu",
            Kernel::FunctionMap { .. } => "function",
            _ => "other",
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Names, shapes and types of all parameters.
fn parameters(imported: &Imported) -> Vec<(&str, Vec<usize>, DType)> {
    let described = |(name, tensor): (_, &Tensor)| {
        (name, tensor.view().shape().to_vec(), tensor.view().dtype())
    };
    imported.parameters.iter().map(described).collect()
}

#[test]
fn parameters_have_the_models_names_and_shapes() {
    let lenet = imported("networks/lenet_torchscript.onnx");
    let f32 = DType::F32;
    let expected = [
        ("conv1.bias", vec![4], f32),
        ("conv1.weight", vec![4, 1, 5, 5], f32),
        ("conv2.bias", vec![8], f32),
        ("conv2.weight", vec![8, 4, 5, 5], f32),
        ("fc1.bias", vec![32], f32),
        ("fc1.weight", vec![32, 128], f32),
        ("fc2.bias", vec![10], f32),
        ("fc2.weight", vec![10, 32], f32),
    ];
    assert_eq!(parameters(&lenet), expected);
    // Training may start from them.
    let names: Vec<&str> = (lenet.network.nodes().iter())
        .filter(|node| matches!(node.op, Op::Parameter { .. }))
        .map(|node| &*node.name)
        .collect();
    assert_eq!(names.len(), expected.len());
    // A weight that was moved before it is used is one parameter, under its last name.
    let moved = imported("operators/moved_weights.onnx");
    assert_eq!(parameters(&moved), [("c", vec![16, 1], f32)]);
}

#[test]
fn parameters_keep_their_precision() {
    let typed = |data_type: i32, raw_data: Vec<u8>| TensorProto {
        data_type,
        raw_data,
        ..floats("w", &[6], &[])
    };
    // A sixth is not exact in any of them.
    let wide = (1.0f64 / 6.0).to_le_bytes().repeat(6);
    let half = [0x55u8, 0x31].repeat(6);
    let bfloat = [0x2bu8, 0x3e].repeat(6);
    let cases = [
        (typed(11, wide), DType::F64, 1.0 / 6.0),
        (
            typed(10, half),
            DType::F32,
            f64::from(0x555) / f64::from(0x2000),
        ),
        (
            typed(16, bfloat),
            DType::F32,
            f64::from(0xab) / f64::from(0x400),
        ),
    ];
    for (tensor, dtype, number) in cases {
        let data_type = tensor.data_type;
        let add = node("Add", &["x", "w"], &["y"], &[]);
        let imported = import(&model(&[add], &[tensor])).expect("a model");
        let weight = imported.parameters.get("w").expect("its weight").clone();
        let weight = weight.into_plaintext().expect("a plaintext");
        assert_eq!(
            (weight.dtype(), weight.to_f64()),
            (dtype, vec![number; 6]),
            "{data_type}"
        );
    }
}

#[test]
fn batch_normalisations_are_folded_where_that_is_plain() {
    for file in [
        "conv_batch_norm",
        "conv_bare_batch_norm",
        "conv_series_batch_norm",
    ] {
        let folded = imported(&format!("operators/{file}.onnx"));
        let kernels = kernels(&folded);
        assert_eq!(
            (kernels.get("conv2d"), kernels.get("multiply")),
            (Some(&1), None),
            "{file}"
        );
        assert_eq!(folded.parameters.iter().count(), 2, "{file}");
    }
    for file in ["gemm_batch_norm", "gemm_trans_b_batch_norm"] {
        let folded = imported(&format!("operators/{file}.onnx"));
        assert_eq!(kernels(&folded).get("multiply"), None, "{file}");
        assert_eq!(folded.parameters.iter().count(), 2, "{file}");
    }
    for file in [
        "conv_read_twice_batch_norm",
        "conv_shared_batch_norm",
        "conv_alias_batch_norm",
    ] {
        let apart = imported(&format!("operators/{file}.onnx"));
        assert_eq!(kernels(&apart).get("multiply"), Some(&1), "{file}");
    }
    let residual = kernels(&imported("networks/residual_torchscript.onnx"));
    assert_eq!(
        (residual.get("conv2d"), residual.get("multiply")),
        (Some(&7), None)
    );
}

#[test]
fn gelu_is_one_function_however_it_is_written() {
    for file in [
        "gelu",
        "gelu_half_at_last",
        "gelu_half_of_x",
        "gelu_half_of_sum",
    ] {
        let kernels = kernels(&imported(&format!("operators/{file}.onnx")));
        assert_eq!(kernels.get("gelu"), Some(&1), "{file}: {kernels:?}");
        assert_eq!(
            (kernels.get("function"), kernels.get("multiply")),
            (None, None),
            "{file}"
        );
    }
    // With a factor that is another one it is not.
    let constant = |name: &str, value: f32| floats(name, &[], &[value]);
    for factor in [0.25, 1.0] {
        let nodes = [
            node("Mul", &["x", "root"], &["d"], &[]),
            node("Erf", &["d"], &["e"], &[]),
            node("Add", &["e", "one"], &["s"], &[]),
            node("Mul", &["x", "s"], &["p"], &[]),
            node("Mul", &["p", "factor"], &["y"], &[]),
        ];
        let initialisers = [
            constant("root", 0.5f32.sqrt()),
            constant("one", 1.0),
            constant("factor", factor),
        ];
        let other = kernels(&import(&model(&nodes, &initialisers)).expect("a model"));
        assert_eq!(
            (other.get("gelu"), other.get("function")),
            (None, Some(&1)),
            "{factor}"
        );
    }
}

#[test]
fn names_that_meet_are_kept_apart() {
    // Parts of what `m` becomes would be called as other values are.
    let nodes = [
        node("Max", &["x", "m.over"], &["m"], &[]),
        node("Relu", &["m"], &["m.difference"], &[]),
        node("Sum", &["m.difference", "m", "m_"], &["y"], &[]),
    ];
    let initialisers = [
        floats("m.over", &[6], &[0.5; 6]),
        floats("m_", &[6], &[0.25; 6]),
    ];
    let imported = import(&model(&nodes, &initialisers)).expect("a model");
    let names: Vec<&str> = parameters(&imported)
        .iter()
        .map(|(name, ..)| *name)
        .collect();
    assert_eq!(names, ["m.over", "m_"]);
}

#[test]
fn outputs_may_be_inputs_weights_or_one_value_twice() {
    let nodes = [
        node("Add", &["x", "w"], &["y"], &[]),
        node("Identity", &["y"], &["again"], &[]),
        node("Identity", &["x"], &["same"], &[]),
    ];
    let mut model = model(&nodes, &[floats("w", &[6], &[0.5; 6])]);
    let graph = model.graph.as_mut().expect("it has one");
    let more = ["again", "same", "w"].map(|name| value(name, &[]));
    graph.output.extend(more);
    let imported = import(&model).expect("a model");
    let outputs = imported.network.outputs().iter();
    let names: Vec<&str> = outputs.map(|(name, _)| &**name).collect();
    assert_eq!(names, ["y", "again", "same", "w"]);
    assert_eq!(parameters(&imported), []);
    Plan::compile(&imported.network, &CompileOptions::plain(3, DType::F32)).expect("a plan");
}

/// What no output needs is not looked at, so a tail that is not supported can be left off.
#[test]
fn tails_are_cut() {
    let nodes = [
        node("Relu", &["x"], &["scores"], &[]),
        node(
            "ArgMax",
            &["scores", "missing type"],
            &["y"],
            &[int("axis", 1)],
        ),
    ];
    let model = model(&nodes, &[integers("missing type", &[1], &[])]);
    let whole = import(&model);
    let refused = whole.expect_err("ArgMax is not supported").to_string();
    assert!(
        refused.contains("'missing type'") || refused.contains("ArgMax"),
        "{refused}"
    );
    let options = OnnxOptions {
        batch: 3,
        outputs: vec!["scores".to_owned()],
    };
    let bytes = prost::Message::encode_to_vec(&model);
    let cut = Network::from_onnx_bytes(&bytes, &options).expect("a model");
    assert_eq!(cut.network.outputs()[0].0, "scores");
    let sklearn = super::fixtures().join("networks/sklearn_mlp.onnx");
    let whole = Network::from_onnx(Path::new(&sklearn), &OnnxOptions::default());
    let refused = whole.expect_err("its tail is not supported").to_string();
    assert!(refused.contains("ArgMax"), "{refused}");
}

/// Groups of as many samples as a batch has are one group in it: they look apart there, and are not.
#[test]
fn groups_of_samples_are_not_cut_into_batches() {
    let nodes = [
        node("Reshape", &["x", "groups"], &["grouped"], &[]),
        node("ReduceMean", &["grouped", "first"], &["mean"], &[]),
        node("Sub", &["grouped", "mean"], &["apart"], &[]),
        node("Reshape", &["apart", "rows"], &["y"], &[]),
    ];
    let shapes = [
        integers("groups", &[4], &[-1, 3, 4, 6]),
        integers("first", &[1], &[0]),
        integers("rows", &[3], &[-1, 4, 6]),
    ];
    let predict = |nodes: &[NodeProto], samples: usize| {
        let imported = import(&model(nodes, &shapes)).expect("a model");
        let options = CompileOptions::plain(3, DType::F64);
        let plan = Plan::compile(&imported.network, &options).expect("a plan");
        let mut session = open(&cpu(), Arc::new(plan), &key(2, 6), &imported.parameters);
        let numbers = Noise::new(8).numbers(samples * 24, -1.0, 1.0);
        let x = Plaintext::new([samples, 4, 6], &numbers).expect("samples");
        session.predict(&[("x", (&x).into())], "y", |_| ())
    };
    let refused = predict(&nodes, 6).expect_err("two groups meet").to_string();
    assert!(refused.contains("samples stay apart"), "{refused}");
    predict(&nodes, 3).expect("one group is a batch");
    let apart = [node("Relu", &["x"], &["y"], &[])];
    predict(&apart, 6).expect("nothing meets");
}
