//! Batch normalisation by running statistics: how they run, and what takes them in.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::network::{Convolution, Network, Optimizer, Parameters, Statistics, Value};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::tensor::{DType, Tensor};

use crate::support::{Noise, cpu, decrypted, key, open, random, refused, write_inputs};

const BATCH: usize = 5;
const EPSILON: f64 = 1e-3;

/// What normalises a convolution or a linear layer, with something between them or not.
fn normalized(images: bool, between: bool, statistics: Statistics) -> (Network, Value) {
    let mut n = Network::new();
    let y = if images {
        let x = n.input("x", [3, 6, 7]).expect("a new name");
        n.conv2d("layer", x, [3, 4], [3, 2], Convolution::padded(1))
    } else {
        let x = n.input("x", [126]).expect("a new name");
        n.linear("layer", x, 126, 4)
    };
    let mut y = y.expect("new names");
    if between {
        y = n.scale("between", y, 1.0).expect("a new name");
    }
    let y = n
        .batch_norm("norm", y, EPSILON, statistics)
        .expect("channels");
    n.output("y", y).expect("a new name");
    (n, y)
}

/// Weights drawn at random, those under a root above zero.
fn drawn(network: &Network, seed: u64) -> Parameters {
    let mut noise = Noise::new(seed);
    let mut parameters = network.initial_parameters(1, DType::F64).expect("weights");
    let names: Vec<String> = parameters.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let shape = parameters
            .get(&name)
            .expect("its own")
            .view()
            .shape()
            .clone();
        let low = if name.ends_with("var") { 0.5 } else { -1.0 };
        let weight = random(&shape, (low, 1.5), DType::F64, &mut noise);
        parameters.insert(name, Tensor::Plaintext(weight));
    }
    parameters
}

#[test]
fn running_statistics_go_into_the_layer_before() {
    let key = key(2, 8);
    for images in [true, false] {
        let (apart, _) = normalized(images, true, Statistics::Running);
        let (folded, _) = normalized(images, false, Statistics::Running);
        let parameters = drawn(&apart, 9);
        let shape: &[usize] = if images {
            &[BATCH, 3, 6, 7]
        } else {
            &[BATCH, 126]
        };
        let x = random(shape, (-1.0, 1.0), DType::F64, &mut Noise::new(3));
        let run = |network: &Network, options: &CompileOptions| {
            let plan = Arc::new(Plan::compile(network, options).expect("it compiles"));
            let mut session = open(&cpu(), Arc::clone(&plan), &key, &parameters);
            write_inputs(&mut session, &key, 4, &[("x", &x)]);
            session.run().expect("finite");
            (decrypted(&session, &key, "y"), plan)
        };
        let (expected, plan) = run(&apart, &CompileOptions::plain(BATCH, DType::F64));
        let multiplies = |plan: &Plan| {
            let mut of = plan
                .commands()
                .iter()
                .filter(|c| c.kernel.name() == "multiply");
            of.any(|c| c.writes[0].elements == expected.len())
        };
        assert!(multiplies(&plan));
        for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Blocks(2)] {
            for options in [
                CompileOptions::encrypted_inputs(BATCH, DType::F64, algebra),
                CompileOptions::encrypted(BATCH, DType::F64, algebra),
            ] {
                let (found, plan) = run(&folded, &options);
                assert!(!multiplies(&plan));
                for (e, f) in expected.iter().zip(&found) {
                    assert!((e - f).abs() < 1e-11, "{algebra}: {e} and {f}");
                }
            }
        }
    }
}

#[test]
fn training_moves_running_statistics_and_steps_only_the_others() {
    let keep = 0.75;
    let (mut network, y) = normalized(true, false, Statistics::Batch { keep });
    let target = network.input("target", [4, 6, 8]);
    let target = target.expect("a new name");
    let loss = network
        .mean_squared_error("loss", y, target)
        .expect("a new name");
    let names = |values: Vec<Value>| -> Vec<String> {
        let name = |v| network.name(v).expect("its own").to_owned();
        values.into_iter().map(name).collect()
    };
    let trained = ["layer.weight", "layer.bias", "norm.weight", "norm.bias"];
    assert_eq!(names(network.trainable()), trained);
    assert_eq!(names(network.parameters()).len(), 6);
    let trained = network
        .with_optimizer(loss, Optimizer::sgd(0.0), None)
        .expect("gradients");
    let parameters = drawn(&network, 9);
    let mut noise = Noise::new(3);
    let x = random(&[BATCH, 3, 6, 7], (-1.0, 1.0), DType::F64, &mut noise);
    let target = random(&[BATCH, 4, 6, 8], (-1.0, 1.0), DType::F64, &mut noise);

    // The statistics of what is normalised, by hand from the convolution alone.
    let mut plain = Network::new();
    let given = plain.input("x", [3, 6, 7]).expect("a new name");
    let y = plain
        .conv2d("layer", given, [3, 4], [3, 2], Convolution::padded(1))
        .expect("new names");
    plain.output("y", y).expect("a new name");
    let key = key(2, 8);
    let plan = Plan::compile(&plain, &CompileOptions::plain(BATCH, DType::F64));
    let mut session = open(
        &cpu(),
        Arc::new(plan.expect("it compiles")),
        &key,
        &parameters,
    );
    write_inputs(&mut session, &key, 4, &[("x", &x)]);
    session.run().expect("finite");
    let y = decrypted(&session, &key, "y");
    let pixels = 6 * 8;
    let statistics = |channel: usize| {
        let of = |b: usize| y[(b * 4 + channel) * pixels..][..pixels].iter();
        let count = (BATCH * pixels) as f64;
        let mean = (0..BATCH).flat_map(of).sum::<f64>() / count;
        let squares = (0..BATCH).flat_map(of).map(|y| (y - mean).powi(2));
        (mean, squares.sum::<f64>() / count)
    };
    for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Blocks(2)] {
        let options = CompileOptions::encrypted(BATCH, DType::F64, algebra);
        let plan = Arc::new(Plan::compile(&trained, &options).expect("it compiles"));
        let mut session = open(&cpu(), plan, &key, &parameters);
        // Without a step's length the layer stays as it is, and averages move all the same.
        write_inputs(&mut session, &key, 4, &[("x", &x), ("target", &target)]);
        let before = |name: &str| match parameters.get(name).expect("a weight") {
            Tensor::Plaintext(weight) => weight.to_f64(),
            Tensor::Ciphertext(_) => unreachable!("weights start as plaintext"),
        };
        let (means, variances) = (before("norm.running_mean"), before("norm.running_var"));
        for run in 1..=3 {
            session.run().expect("finite");
            let kept = f64::powi(keep, run);
            let [found_means, found_variances] = ["norm.running_mean", "norm.running_var"]
                .map(|name| decrypted(&session, &key, name));
            for channel in 0..4 {
                let (mean, variance) = statistics(channel);
                let off = |found: f64, start: f64, to: f64| {
                    (found - (kept * start + (1.0 - kept) * to)).abs()
                };
                let by = off(found_means[channel], means[channel], mean);
                assert!(by < 1e-12, "{algebra}, mean {channel} after {run}: {by}");
                let by = off(found_variances[channel], variances[channel], variance);
                assert!(
                    by < 1e-12,
                    "{algebra}, variance {channel} after {run}: {by}"
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_normalised_is_refused() {
    let mut n = Network::new();
    let x = n.input("x", [3]).expect("a new name");
    let odd = Statistics::Batch { keep: 1.5 };
    let refusals = [
        (n.batch_norm("a", x, 0.0, Statistics::Running), "epsilon 0"),
        (n.batch_norm("b", x, f64::NAN, Statistics::Running), "NaN"),
        (n.batch_norm("c", x, EPSILON, odd), "1.5 is no part"),
    ];
    for (refusal, part) in refusals {
        refused("a normalisation", refusal, &[part]);
    }
    let row = n.parameter("row", [3], furthermore::network::Init::Constant(1.0));
    let row = row.expect("a new name");
    let none = n.batch_norm("d", row, EPSILON, Statistics::Running);
    refused("a normalisation", none, &["`d`", "no channels"]);
}

#[test]
fn a_layer_along_another_axis_keeps_its_weights() {
    let run = |between: bool| {
        let mut n = Network::new();
        let x = n.input("x", [4, 3]).expect("a new name");
        let mut y = n.linear("layer", x, 3, 4).expect("new names");
        if between {
            y = n.scale("between", y, 1.0).expect("a new name");
        }
        let y = n.batch_norm("norm", y, EPSILON, Statistics::Running);
        n.output("y", y.expect("channels")).expect("a new name");
        let plan = Plan::compile(&n, &CompileOptions::plain(BATCH, DType::F64));
        let key = key(2, 8);
        let plan = Arc::new(plan.expect("it compiles"));
        let mut session = open(&cpu(), plan, &key, &drawn(&n, 9));
        let x = random(&[BATCH, 4, 3], (-1.0, 1.0), DType::F64, &mut Noise::new(3));
        write_inputs(&mut session, &key, 4, &[("x", &x)]);
        session.run().expect("finite");
        decrypted(&session, &key, "y")
    };
    for (a, b) in run(false).iter().zip(run(true)) {
        assert!((a - b).abs() < 1e-12, "{a} and {b}");
    }
}

#[test]
fn running_statistics_are_never_stepped_and_stay_as_they_are_encrypted() {
    let (mut n, y) = normalized(true, false, Statistics::Running);
    let target = n.input("target", [4, 6, 8]).expect("a new name");
    let loss = n.mean_squared_error("loss", y, target).expect("a new name");
    assert_eq!(n.trainable().len(), 4);
    let trained = n
        .with_optimizer(loss, Optimizer::adam(), None)
        .expect("gradients");
    let stepped = trained
        .nodes()
        .iter()
        .filter(|node| node.name.ends_with(".step"));
    assert_eq!(stepped.count(), 4);

    let (n, _) = normalized(true, false, Statistics::Batch { keep: 0.5 });
    let options = CompileOptions {
        plaintext: vec!["norm.running_mean".to_owned()],
        ..CompileOptions::encrypted(BATCH, DType::F64, Algebra::Compact(2))
    };
    let refusal = Plan::compile(&n, &options);
    refused(
        "a plaintext average",
        refusal,
        &["`norm.running_mean`", "average of ciphertexts"],
    );
}
