//! What exporters write in several nodes, and settings that operators become several operations for:
//! values against the formulas.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::plan::{CompileOptions, Plan};
use furthermore::tensor::DType;

use super::build::{ModelProto, NodeProto, TensorProto, floats, import, integers, model, node};
use crate::support::{cpu, decrypted, key, open, refused, tensor, write_inputs};

/// Numbers from -24 to 23.875 for [3, 4, 6], past every bound and threshold below.
fn x() -> Vec<f64> {
    (0..72)
        .map(|i| f64::from((i * 29) % 72) / 1.5 - 24.0)
        .collect()
}

/// What a model gives for x, on plaintext in f64 and on ciphertexts.
fn given(model: &ModelProto) -> Vec<(Algebra, Vec<f64>)> {
    let imported = import(model).unwrap_or_else(|error| panic!("{error}"));
    let key = key(2, 4);
    [Algebra::Real, Algebra::Compact(2), Algebra::Blocks(2)]
        .into_iter()
        .map(|algebra| {
            let options = CompileOptions::encrypted_inputs(3, DType::F64, algebra);
            let plan = Plan::compile(&imported.network, &options).expect("it compiles");
            let mut session = open(&cpu(), Arc::new(plan), &key, &imported.parameters);
            let x = tensor(&[3, 4, 6], &x(), DType::F64);
            write_inputs(&mut session, &key, 1, &[("x", &x)]);
            session.run().expect("finite");
            (algebra, decrypted(&session, &key, "y"))
        })
        .collect()
}

fn near(what: &str, model: &ModelProto, expected: &[f64]) {
    for (algebra, found) in given(model) {
        assert_eq!(found.len(), expected.len(), "{what}");
        for (at, (f, e)) in found.iter().zip(expected).enumerate() {
            let off = (f - e).abs();
            assert!(
                off <= 1e-7 * e.abs().max(1.0),
                "{what} in {algebra}, element {at}: {f} and {e}"
            );
        }
    }
}

fn one(name: &str, value: f32) -> TensorProto {
    floats(name, &[], &[value])
}

#[test]
fn clips_hold_numbers_between_bounds() {
    let f16 = 65504.0;
    for (low, high) in [
        (-1.0, 1.0),
        (0.0, 6.0),
        (-3.5, -1.25),
        (2.0, 19.0),
        (0.0, 1e9),
        (-f16, f16),
        (-1e9, 6.0),
        (-3.402823e38, 6.0),
        (-5.0, f64::INFINITY),
        (f64::NEG_INFINITY, 1.0),
    ] {
        let clip = [node("Clip", &["x", "low", "high"], &["y"], &[])];
        let bounds = [one("low", low as f32), one("high", high as f32)];
        let expected: Vec<f64> = x().iter().map(|x| x.clamp(low, high)).collect();
        near("a clip", &model(&clip, &bounds), &expected);
    }
    let nothing = [one("low", 2.0), one("high", 2.0)];
    let clip = [node("Clip", &["x", "low", "high"], &["y"], &[])];
    refused(
        "a clip",
        import(&model(&clip, &nothing)),
        &["from 2 to 2", "nothing"],
    );
}

#[test]
fn any_number_pads() {
    for number in [-2.5, -1e9, f64::from(f32::MIN)] {
        padded_with(number);
    }
}

fn padded_with(number: f64) {
    let pad = [node("Pad", &["x", "pads", "number"], &["y"], &[])];
    let pads = integers("pads", &[6], &[0, 1, 2, 0, 0, 1]);
    let x = x();
    let mut expected = Vec::new();
    for sample in 0..3 {
        expected.extend([number; 9]);
        for row in 0..4 {
            expected.extend([number; 2]);
            expected.extend(&x[sample * 24 + row * 6..][..6]);
            expected.push(number);
        }
    }
    let constants = [pads, one("number", number as f32)];
    near("padding", &model(&pad, &constants), &expected);
}

/// Softplus as PyTorch's exporter writes it, with its threshold and its factor.
fn softplus(beta: f32, threshold: f32) -> (Vec<NodeProto>, Vec<TensorProto>) {
    let nodes = vec![
        node("Mul", &["x", "beta"], &["of"], &[]),
        node("Softplus", &["of"], &["soft"], &[]),
        node("Div", &["soft", "beta"], &["below"], &[]),
        node("Greater", &["of", "threshold"], &["mask"], &[]),
        node("Where", &["mask", "x", "below"], &["y"], &[]),
    ];
    (nodes, vec![one("beta", beta), one("threshold", threshold)])
}

#[test]
fn softplus_is_one_function_however_it_is_written() {
    for beta in [1.0, 2.0, 0.5] {
        let (nodes, constants) = softplus(beta, 20.0);
        let beta = f64::from(beta);
        let soft = |x: &f64| (beta * x).max(0.0) + (-(beta * x).abs()).exp().ln_1p();
        let expected: Vec<f64> = x().iter().map(|x| soft(x) / beta).collect();
        near("softplus", &model(&nodes, &constants), &expected);
    }
    let plain = [
        node("Softplus", &["x"], &["soft"], &[]),
        node("Greater", &["x", "threshold"], &["mask"], &[]),
        node("Where", &["mask", "x", "soft"], &["y"], &[]),
    ];
    let expected: Vec<f64> = x()
        .iter()
        .map(|x| x.max(0.0) + (-x.abs()).exp().ln_1p())
        .collect();
    near(
        "softplus",
        &model(&plain, &[one("threshold", 20.0)]),
        &expected,
    );

    // Other choices are none of it.
    let (nodes, constants) = softplus(1.0, 3.0);
    let low = import(&model(&nodes, &constants));
    refused("a low threshold", low, &["Greater", "known before a run"]);
    let (mut nodes, constants) = softplus(1.0, 20.0);
    nodes[4].input[2] = "of".to_owned();
    let other = import(&model(&nodes, &constants));
    refused("another choice", other, &["Where", "known before a run"]);
    let (mut nodes, constants) = softplus(1.0, 20.0);
    nodes[4] = node("Add", &["mask", "below"], &["y"], &[]);
    let mask = import(&model(&nodes, &constants));
    refused(
        "a mask as a number",
        mask,
        &["Greater", "known before a run"],
    );
}
