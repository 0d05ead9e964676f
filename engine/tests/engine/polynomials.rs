//! Networks with polynomials in place of activations, and the intervals they are made for.

use std::collections::BTreeMap;
use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::Cpu;
use furthermore::network::{
    FitMethod, Function, Init, Network, Op, Optimizer, Parameters, PolynomialOptions, Pool,
    Reduction, Replacement, Statistics, Window,
};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::session::{Session, calibrate};
use furthermore::tensor::{DType, Plaintext, Tensor};

use crate::support::{key, plain};

const FITTED: Replacement = Replacement::Fitted {
    degree: 5,
    method: FitMethod::Minimax,
};

fn options(replacement: Replacement) -> PolynomialOptions {
    PolynomialOptions {
        replacement,
        margin: 0.1,
        average_pooling: false,
    }
}

/// 3-5-2 with tanh and relu, of one image row.
fn network() -> Network {
    let mut network = Network::new();
    let x = network.input("x", [3]).expect("a name");
    let y = network.linear("fc1", x, 3, 5).expect("names");
    let y = network.tanh("tanh", y).expect("a name");
    let y = network.linear("fc2", y, 5, 2).expect("names");
    let y = network.relu("relu", y).expect("a name");
    network.output("y", y).expect("a name");
    network
}

fn samples(count: usize) -> (Plaintext, Vec<f64>) {
    let number = |i: usize| ((i * 7919 + 13) % 601) as f64 / 100.0 - 3.0;
    let numbers: Vec<f64> = (0..count * 3).map(number).collect();
    (
        Plaintext::new([count, 3], &numbers).expect("numbers"),
        numbers,
    )
}

fn weight(parameters: &Parameters, name: &str) -> Vec<f64> {
    match parameters.get(name).expect("a weight") {
        Tensor::Plaintext(weight) => weight.to_f64(),
        Tensor::Ciphertext(_) => panic!("{name} is encrypted"),
    }
}

/// `x W + b` for each row.
fn linear(parameters: &Parameters, name: &str, x: &[f64]) -> Vec<f64> {
    let w = weight(parameters, &format!("{name}.weight"));
    let b = weight(parameters, &format!("{name}.bias"));
    let inputs = w.len() / b.len();
    x.chunks_exact(inputs)
        .flat_map(|row| {
            let column = |n: usize| -> f64 {
                let terms = row.iter().enumerate().map(|(k, x)| x * w[k * b.len() + n]);
                terms.sum::<f64>() + b[n]
            };
            (0..b.len()).map(column).collect::<Vec<f64>>()
        })
        .collect()
}

fn horner(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

fn predict(network: &Network, parameters: &Parameters, x: &Plaintext) -> Vec<f64> {
    let plan = Plan::compile(network, &CompileOptions::plain(4, DType::F64)).expect("a plan");
    let cpu = Cpu::new().expect("a processor");
    let mut session = Session::new(&cpu, Arc::new(plan), None).expect("a session");
    session.load_parameters(parameters).expect("its weights");
    let y = session.predict(&[("x", x.into())], "y", |_| ());
    plain(y).to_f64()
}

fn assert_close(found: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= bound, "{a} where {b} is expected");
    }
}

fn measured(
    network: &Network,
    parameters: &Parameters,
    x: &Plaintext,
) -> BTreeMap<String, [f64; 2]> {
    let cpu = Cpu::new().expect("a processor");
    let inputs = [("x", x.into())];
    calibrate(&cpu, network, parameters, &inputs, 4, |_| ()).expect("a calibration")
}

#[test]
fn intervals_are_those_of_the_samples() {
    let network = network();
    let parameters = network.initial_parameters(3, DType::F64).expect("weights");
    // The last batch is of three samples.
    let (x, numbers) = samples(11);
    let hidden = linear(&parameters, "fc1", &numbers);
    let activated: Vec<f64> = hidden.iter().map(|x| x.tanh()).collect();
    let outer = linear(&parameters, "fc2", &activated);
    let found = measured(&network, &parameters, &x);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["relu", "tanh"]);
    for (name, arguments) in [("tanh", hidden), ("relu", outer)] {
        let least = arguments.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = arguments.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert_close(&found[name], &[least, greatest], 1e-14);
    }
}

#[test]
fn fits_take_the_place_of_activations() {
    let network = network();
    let parameters = network.initial_parameters(3, DType::F64).expect("weights");
    let (x, numbers) = samples(11);
    let intervals = measured(&network, &parameters, &x);
    let made = network
        .with_polynomials(&intervals, &options(FITTED))
        .expect("a network");
    let named = made
        .activations
        .iter()
        .map(|a| (a.name.as_str(), a.function));
    let expected = [("tanh", Function::Tanh), ("relu", Function::Relu)];
    assert_eq!(named.collect::<Vec<_>>(), expected);
    let fits: Vec<_> = made
        .activations
        .iter()
        .map(|a| a.fit.as_ref().expect("a fit"))
        .collect();
    for (fit, name) in fits.iter().zip(["tanh", "relu"]) {
        let [least, greatest] = intervals[name];
        let margin = 0.1 * (greatest - least);
        assert_eq!(fit.interval, [least - margin, greatest + margin]);
    }
    let maps = |n: &Network| {
        n.nodes()
            .iter()
            .filter(|n| matches!(n.op, Op::Map { .. }))
            .count()
    };
    assert_eq!((maps(&network), maps(&made.network)), (2, 0));
    // The same weights fit.
    let hidden = linear(&parameters, "fc1", &numbers);
    let hidden: Vec<f64> = hidden
        .iter()
        .map(|x| horner(&fits[0].coefficients, *x))
        .collect();
    let outer = linear(&parameters, "fc2", &hidden);
    let outer: Vec<f64> = outer
        .iter()
        .map(|x| horner(&fits[1].coefficients, *x))
        .collect();
    assert_close(&predict(&made.network, &parameters, &x), &outer, 1e-12);
    // And it is near what the network said, as far as its fits are near.
    let before = predict(&network, &parameters, &x);
    let apart = 2.0 * fits[0].error * 5.0 + fits[1].error;
    assert_close(&outer, &before, apart);

    let square = network.with_polynomials(&BTreeMap::new(), &options(Replacement::Square));
    let square = square.expect("squares need no interval");
    assert!(square.activations.iter().all(|a| a.fit.is_none()));
    let hidden = linear(&parameters, "fc1", &numbers);
    let hidden: Vec<f64> = hidden.iter().map(|x| x * x).collect();
    let outer = linear(&parameters, "fc2", &hidden);
    let outer: Vec<f64> = outer.iter().map(|x| x * x).collect();
    assert_close(&predict(&square.network, &parameters, &x), &outer, 1e-12);
}

#[test]
fn learned_coefficients_start_as_fits_and_train() {
    let network = network();
    let weights = network.initial_parameters(3, DType::F64).expect("weights");
    let (x, _) = samples(12);
    let intervals = measured(&network, &weights, &x);
    let learned = Replacement::Learned {
        degree: 3,
        method: FitMethod::Chebyshev,
    };
    let fitted = Replacement::Fitted {
        degree: 3,
        method: FitMethod::Chebyshev,
    };
    let fitted = network
        .with_polynomials(&intervals, &options(fitted))
        .expect("a network");
    let mut made = network
        .with_polynomials(&intervals, &options(learned))
        .expect("a network");
    let parameters = made.parameters(&weights, DType::F64).expect("weights");
    assert_close(
        &predict(&made.network, &parameters, &x),
        &predict(&fitted.network, &weights, &x),
        1e-12,
    );
    let target = made.network.input("target", [2]).expect("a name");
    let y = made.network.outputs()[0].1;
    let loss = made
        .network
        .mean_squared_error("loss", y, target)
        .expect("a name");
    made.network.output("loss", loss).expect("a name");
    let training = made.network.with_optimizer(loss, Optimizer::sgd(0.0), None);
    let plan = Plan::compile(
        &training.expect("gradients"),
        &CompileOptions::plain(12, DType::F64),
    );
    let cpu = Cpu::new().expect("a processor");
    let mut session = Session::new(&cpu, Arc::new(plan.expect("a plan")), None).expect("a session");
    session.load_parameters(&parameters).expect("its weights");
    session.set_learning_rate(0.01).expect("a rate");
    let targets: Vec<f64> = (0..24).map(|i| (i % 5) as f64 / 5.0).collect();
    session
        .write(
            "target",
            &Plaintext::new([12, 2], &targets).expect("numbers"),
        )
        .expect("targets");
    session.write("x", &x).expect("samples");
    let mut losses = Vec::new();
    for _ in 0..50 {
        session.run().expect("a step");
        losses.extend(plain(session.read("loss")).to_f64());
    }
    assert!(losses[49] < 0.9 * losses[0], "{losses:?}");
    let stepped = session.parameters().expect("weights");
    for name in ["tanh.coefficients", "relu.coefficients"] {
        let (before, after) = (weight(&parameters, name), weight(&stepped, name));
        assert_eq!(before.len(), 4);
        assert!(
            before.iter().zip(&after).all(|(a, b)| a != b),
            "{name}: {after:?}"
        );
    }
}

#[test]
fn ciphertexts_go_through_them() {
    let network = network();
    let parameters = network.initial_parameters(3, DType::F64).expect("weights");
    let (x, _) = samples(4);
    let intervals = measured(&network, &parameters, &x);
    let made = network
        .with_polynomials(&intervals, &options(FITTED))
        .expect("a network");
    let (key, algebra) = (key(2, 5), Algebra::Compact(2));
    let options = CompileOptions::encrypted_inputs(4, DType::F64, algebra);
    let plan = Arc::new(Plan::compile(&made.network, &options).expect("a plan"));
    let cpu = Cpu::new().expect("a processor");
    let mut session = Session::new(&cpu, plan, Some(key.evaluation_key())).expect("a session");
    session.load_parameters(&parameters).expect("its weights");
    let encryptor = key.encryptor_from_known_seed(algebra, 7);
    let ciphertext = encryptor
        .expect("its algebra")
        .encrypt(&x)
        .expect("numbers");
    session.write("x", &ciphertext).expect("its input");
    session.run().expect("a run");
    let y = session
        .read("y")
        .expect("an output")
        .into_ciphertext()
        .expect("encrypted");
    let y = key.decrypt(&y).expect("its key").to_f64();
    assert_close(&y, &predict(&made.network, &parameters, &x), 1e-10);
}

#[test]
fn what_stays_and_what_becomes_a_product() {
    let mut network = Network::new();
    let x = network.input("x", [2, 4, 4]).expect("a name");
    let x = network.map("square", Function::Square, x).expect("a name");
    let w = network
        .parameter("w", [2, 1, 1], Init::Constant(4.0))
        .expect("a name");
    // Of weights alone: neither is an activation.
    let root = network.map("root", Function::Sqrt, w).expect("a name");
    let x = network.divide("over", x, root).expect("a name");
    let x = network
        .batch_norm("norm", x, 0.5, Statistics::Running)
        .expect("names");
    let most = network
        .pool("pool", Pool::Max, x, Window::tiling(2))
        .expect("a name");
    let y = network.flatten("y", most).expect("a name");
    network.output("y", y).expect("a name");
    // Nothing reads it.
    network.softmax("unread", y, 1, false).expect("a name");

    let refused = network.with_polynomials(&BTreeMap::new(), &options(FITTED));
    let said = refused.expect_err("a maximum").to_string();
    assert!(
        said.contains("`pool`") && said.contains("maximum"),
        "{said}"
    );
    let averages = PolynomialOptions {
        average_pooling: true,
        ..options(FITTED)
    };
    let made = network
        .with_polynomials(&BTreeMap::new(), &averages)
        .expect("a network");
    assert!(made.activations.is_empty());
    let cpu = Cpu::new().expect("a processor");
    let parameters = network.initial_parameters(3, DType::F64).expect("weights");
    let numbers: Vec<f64> = (0..96).map(|i| (i % 7) as f64 - 3.0).collect();
    let x = Plaintext::new([3, 2, 4, 4], &numbers).expect("numbers");
    let none = calibrate(
        &cpu,
        &network,
        &parameters,
        &[("x", (&x).into())],
        2,
        |_| (),
    );
    assert!(none.expect("no activation").is_empty());
    // x^2 / 2 over the root of 1.5, averaged over windows.
    let expected: Vec<f64> = (0..24)
        .map(|at| {
            let (image, row, column) = (at / 4, at / 2 % 2 * 2, at % 2 * 2);
            let of = |r: usize, c: usize| numbers[image * 16 + (row + r) * 4 + column + c].powi(2);
            (of(0, 0) + of(0, 1) + of(1, 0) + of(1, 1)) / 4.0 / 2.0 / 1.5f64.sqrt()
        })
        .collect();
    assert_close(&predict(&made.network, &parameters, &x), &expected, 1e-12);
}

#[test]
fn what_no_ring_has_is_named() {
    type Build = fn(
        &mut Network,
        furthermore::network::Value,
    ) -> furthermore::Result<furthermore::network::Value>;
    let cases: [(&str, &str, Build); 5] = [
        ("a softmax", "odd", |n, x| n.softmax("odd", x, 1, false)),
        ("a division", "odd", |n, x| n.divide("odd", x, x)),
        ("a maximum along axes", "odd", |n, x| {
            n.reduce("odd", Reduction::Max, x, &[1], true)
        }),
        ("a division", "odd", |n, x| {
            let one = n.constant("one", [1], vec![1.0])?;
            n.divide("odd", one, x)
        }),
        ("a loss", "odd", |n, x| n.mean_squared_error("odd", x, x)),
    ];
    for (what, name, build) in cases {
        let mut network = Network::new();
        let x = network.input("x", [3]).expect("a name");
        let y = build(&mut network, x).expect("an operation");
        network.output("y", y).expect("a name");
        let error = network.with_polynomials(&BTreeMap::new(), &options(FITTED));
        let said = error.expect_err(what).to_string();
        assert!(said.contains(what) && said.contains(name), "{said}");
    }
    let mut network = network();
    let y = network.outputs()[0].1;
    let target = network.input("target", [2]).expect("a name");
    let loss = network
        .mean_squared_error("loss", y, target)
        .expect("a name");
    let training = network
        .with_optimizer(loss, Optimizer::sgd(0.0), None)
        .expect("gradients");
    let error = training.with_polynomials(&BTreeMap::new(), &options(Replacement::Square));
    let said = error.expect_err("steps").to_string();
    assert!(said.contains("before training"), "{said}");
}

#[test]
fn bad_options_samples_and_intervals_are_named() {
    let network = network();
    let parameters = network.initial_parameters(3, DType::F64).expect("weights");
    let refused = |intervals: &[(&str, [f64; 2])], options: PolynomialOptions, part: &str| {
        let intervals = intervals
            .iter()
            .map(|(name, ends)| ((*name).to_owned(), *ends));
        let error = network.with_polynomials(&intervals.collect(), &options);
        let said = error.expect_err(part).to_string();
        assert!(said.contains(part), "{said}");
    };
    let fitted = options(FITTED);
    refused(&[], fitted, "interval of activation 'tanh' does not exist");
    refused(&[("tanh", [0.0, 1.0])], fitted, "'relu'");
    refused(&[("tanh", [1.0, 0.0])], fitted, "`tanh`");
    refused(&[("tanh", [f64::NAN, 0.0])], fitted, "no interval");
    for margin in [-0.1, f64::NAN, f64::INFINITY] {
        refused(&[], PolynomialOptions { margin, ..fitted }, "margin");
    }
    let degree = |degree| Replacement::Learned {
        degree,
        method: FitMethod::Minimax,
    };
    refused(&[("tanh", [0.0, 1.0])], options(degree(64)), "degree 64");
    // A point is no interval until a margin widens it.
    let point = [("tanh", [2.0; 2]), ("relu", [0.0; 2])];
    refused(
        &point,
        PolynomialOptions {
            margin: 0.0,
            ..fitted
        },
        "no interval",
    );
    let point: BTreeMap<_, _> = point.map(|(name, ends)| (name.to_owned(), ends)).into();
    let made = network
        .with_polynomials(&point, &fitted)
        .expect("a network");
    let intervals = made
        .activations
        .iter()
        .map(|a| a.fit.as_ref().map(|fit| fit.interval));
    assert_eq!(
        intervals.collect::<Vec<_>>(),
        [Some([1.8, 2.2]), Some([-0.1, 0.1])]
    );

    let cpu = Cpu::new().expect("a processor");
    let calibrated = |x: &Plaintext, name: &str, batch: usize, part: &str| {
        let inputs = [(name, x.into())];
        let error = calibrate(&cpu, &network, &parameters, &inputs, batch, |_| ());
        let said = error.expect_err(part).to_string();
        assert!(said.contains(part), "{said}");
    };
    let (x, mut numbers) = samples(4);
    calibrated(&x, "x", 0, "a batch of no samples");
    calibrated(&x, "z", 2, "'x' is not given");
    calibrated(
        &x.rows(&[]).expect("no rows"),
        "x",
        2,
        "there are no samples",
    );
    calibrated(
        &Plaintext::new([3, 4], &numbers).expect("numbers"),
        "x",
        2,
        "input 'x': shape",
    );
    numbers[7] = f64::NAN;
    calibrated(
        &Plaintext::new([4, 3], &numbers).expect("numbers"),
        "x",
        2,
        "NaN",
    );
    let single: Vec<f32> = vec![0.5; 3];
    calibrated(
        &Plaintext::new([1, 3], &single).expect("numbers"),
        "x",
        2,
        "element type",
    );
    let none = calibrate(&cpu, &network, &parameters, &[], 2, |_| ());
    assert!(
        none.expect_err("nothing")
            .to_string()
            .contains("there are no samples")
    );
}
