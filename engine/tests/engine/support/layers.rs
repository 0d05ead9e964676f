//! Layers and optimisers that `tests/fixtures/make_layers.py` has had PyTorch compute, and the same in
//! the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::Device;
use furthermore::network::{
    Convolution, Function, Init, Network, Optimizer, Parameters, Pool, Reduction, Statistics,
    Value, Window,
};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::SecretKey;
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext, Tensor};
use serde::Deserialize;

use super::{REGIMES, Regime, decrypted, key, open, parameters_encrypted, tensor, write_inputs};

#[derive(Deserialize)]
pub(crate) struct Fixture {
    pub(crate) batch: usize,
    pub(crate) layers: Vec<Case>,
    pub(crate) optimizers: Vec<Training>,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) loss: String,
    pub(crate) tensors: BTreeMap<String, Given>,
    pub(crate) output: Vec<f64>,
    pub(crate) loss_value: f64,
}

#[derive(Deserialize)]
pub(crate) struct Given {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
    pub(crate) gradient: Option<Vec<f64>>,
}

#[derive(Deserialize)]
pub(crate) struct Training {
    pub(crate) name: String,
    pub(crate) rate: f64,
    pub(crate) shapes: BTreeMap<String, Vec<usize>>,
    pub(crate) start: BTreeMap<String, Vec<f64>>,
    pub(crate) after: Vec<BTreeMap<String, Vec<f64>>>,
}

pub(crate) fn fixture() -> Fixture {
    let text = include_str!("../../fixtures/layers.json");
    serde_json::from_str(text).expect("what the script wrote")
}

type Built = furthermore::Result<Value>;

/// The network of a case, from its input and, by name, its parameters.
fn build(name: &str, n: &mut Network, x: Value, p: impl Fn(&str) -> Value) -> Built {
    match name {
        "broadcast" => {
            let sum = n.add("sum", x, p("b"))?;
            let product = n.multiply("product", sum, p("c"))?;
            n.divide("y", product, p("d"))
        }
        "repeated_input" => {
            let difference = n.subtract("difference", p("w"), x)?;
            n.divide("y", difference, x)
        }
        "reductions" => {
            let mean = n.reduce("mean", Reduction::Mean, x, &[2], true)?;
            let product = n.multiply("product", x, mean)?;
            let total = n.reduce("total", Reduction::Sum, product, &[1, 3], false)?;
            let most = n.reduce("most", Reduction::Max, x, &[3, 2], false)?;
            let most = n.reduce("most of all", Reduction::Sum, most, &[1], true)?;
            n.add("y", total, most)
        }
        "softmax" => {
            let soft = n.softmax("soft", x, 1, false)?;
            let soft = n.multiply("weighed", soft, p("w"))?;
            let product = n.multiply("product", x, p("w"))?;
            let logarithm = n.softmax("logarithm", product, 2, true)?;
            n.add("y", soft, logarithm)
        }
        "products" => {
            let first = n.matmul("first", x, p("w"))?;
            let first = n.add("shifted", p("b"), first)?;
            let first = n.tanh("bent", first)?;
            let second = n.matmul_with("second", x, p("v"), false, true)?;
            let sum = n.add("sum", first, second)?;
            n.matmul_with("y", sum, sum, false, true)
        }
        "moves" => {
            let turned = n.transpose("turned", x, &[0, 2, 3, 1])?;
            let odd = n.slice("odd", turned, 1, 1, 2, 2)?;
            let back = n.slice("back", turned, 1, 3, -1, 4)?;
            let back = n.slice("two", back, 1, 0, 1, 2)?;
            let w = n.transpose("w turned", p("w"), &[1, 2, 0])?;
            let scaled = n.multiply("scaled", back, w)?;
            let joined = n.concat("joined", &[odd, scaled], 1)?;
            n.pad("y", joined, &[[0, 0], [2, 1], [0, 0], [1, 2]])
        }
        "batch_norm_images" | "batch_norm_rows" => {
            n.batch_norm("n", x, 1e-3, Statistics::Batch { keep: 0.9 })
        }
        "conv1d" => {
            let convolution = Convolution {
                stride: [1, 2],
                padding: [[0, 0], [2, 2]],
                dilation: [1, 2],
                groups: 2,
            };
            let y = n.conv1d("c", x, [4, 6], 3, convolution)?;
            n.map("y", Function::Gelu, y)
        }
        "polynomials" => {
            let y = n.polynomial("inner", x, vec![0.5, -0.25, 0.0, 0.125])?;
            n.polynomial_of("y", y, p("c"))
        }
        "binary" => n.matmul("y", x, p("w")),
        "extremes" => {
            let larger = n.maximum("larger", x, p("w"))?;
            let product = n.multiply("product", x, p("w"))?;
            let smaller = n.minimum("smaller", product, p("w"))?;
            let y = n.subtract("difference", larger, smaller)?;
            let half = n.constant("half", [1], vec![0.5])?;
            let y = n.subtract("lowered", y, half)?;
            let slope = n.reshape_to("slopes", p("slope"), [3, 1])?;
            n.prelu("y", y, slope)
        }
        "global_pools" => {
            let mean = n.global_pool("mean", Pool::Average, x)?;
            let mean = n.multiply("weighed", mean, p("w"))?;
            let most = n.global_pool("most", Pool::Max, x)?;
            n.add("y", mean, most)
        }
        "images" => {
            let convolution = Convolution {
                stride: [2, 1],
                padding: [[1, 1], [2, 2]],
                dilation: [1, 2],
                groups: 2,
            };
            let y = n.conv2d("c", x, [4, 6], [3, 2], convolution)?;
            let y = n.relu("relu", y)?;
            let window = |stride| Window {
                kernel: [3; 2],
                stride: [stride; 2],
                padding: [[1; 2]; 2],
                ..Window::tiling(1)
            };
            let y = n.pool("mean", Pool::Average, y, window(2))?;
            let most = n.pool("most", Pool::Max, y, window(1))?;
            n.add("y", y, most)
        }
        "averaged_images" => {
            let y = n.conv2d("c", x, [2, 3], [3, 3], Convolution::padded(1))?;
            let y = n.relu("relu", y)?;
            n.pool("y", Pool::Average, y, Window::tiling(2))
        }
        "functions" => {
            let shift = n.constant("shift", [1], vec![0.0625])?;
            let x = n.add("shifted", x, shift)?;
            let offset = n.constant("offset", [1], vec![0.75])?;
            let lower = n.subtract("lower", x, offset)?;
            let negative = n.scale("negative", x, -1.0)?;
            let of = [
                (Function::Exp, x),
                (Function::Ln, x),
                (Function::Sqrt, x),
                (Function::Inverse, x),
                (Function::Abs, negative),
                (Function::Relu, lower),
                (Function::LeakyRelu { slope: 0.125 }, lower),
                (Function::Elu { alpha: 1.0 }, lower),
                (Function::Sigmoid, x),
                (
                    Function::HardSigmoid {
                        alpha: 1.0 / 6.0,
                        beta: 0.5,
                    },
                    x,
                ),
                (Function::Tanh, x),
                (Function::Softplus, x),
                (Function::Gelu, x),
                (Function::GeluTanh, x),
                (Function::Erf, x),
                (Function::Silu, x),
                (Function::Square, x),
            ];
            let mut columns = Vec::new();
            for (nth, (function, x)) in of.into_iter().enumerate() {
                let y = n.map(&format!("f{nth}"), function, x)?;
                columns.push(n.reshape(&format!("column{nth}"), y, [6, 1])?);
            }
            let all = n.concat("all", &columns, 2)?;
            n.multiply("y", all, p("w"))
        }
        "classes" => n.matmul("y", x, p("w")),
        other => panic!("no network for '{other}'"),
    }
}

/// The case's network with its output "y", its loss "loss" and, by each tensor but the target, the
/// gradient "d NAME"; and its weights.
pub(crate) fn network(case: &Case) -> (Network, Parameters) {
    let mut network = Network::new();
    let mut made = BTreeMap::new();
    // Layers bring their own parameters.
    let own = |name: &str| name.contains('.');
    for (name, given) in &case.tensors {
        let value = match name.as_str() {
            "x" | "target" => network.input(name, &given.shape[1..]),
            name if own(name) => continue,
            _ => network.parameter(name, &given.shape[..], Init::Constant(0.0)),
        };
        made.insert(name.clone(), value.expect("a new name"));
    }
    let x = made["x"];
    let y = build(&case.name, &mut network, x, |name| made[name])
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    network.output("y", y).expect("a new name");
    let loss = match case.loss.as_str() {
        "mse" => network.mean_squared_error("judged", y, made["target"]),
        "ce" => network.softmax_cross_entropy("judged", y, made["target"]),
        _ => network.binary_cross_entropy("judged", y, made["target"]),
    };
    let loss = loss.expect("a new name");
    network.output("loss", loss).expect("a new name");
    let of: Vec<Value> = std::iter::once(x).chain(network.trainable()).collect();
    let names = of
        .iter()
        .map(|v| network.name(*v).expect("its own").to_owned());
    let names: Vec<String> = names.collect();
    let (mut network, gradients) = network
        .gradients(loss, &of)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    for (name, gradient) in names.iter().zip(gradients) {
        let declared = network.output(&format!("d {name}"), gradient);
        declared.expect("a new name");
    }
    let mut parameters = network
        .initial_parameters(1, DType::F64)
        .expect("small weights");
    for name in names.iter().filter(|name| *name != "x") {
        let given = &case.tensors[name];
        let shape = parameters
            .get(name)
            .expect("its own")
            .view()
            .shape()
            .clone();
        let weight = tensor(&shape, &given.values, DType::F64);
        parameters.insert(name, Tensor::Plaintext(weight));
    }
    (network, parameters)
}

pub(crate) fn given(case: &Case, name: &str, dtype: DType) -> Plaintext {
    let given = &case.tensors[name];
    tensor(&given.shape, &given.values, dtype)
}

/// Holds numbers to expected ones within a share of the largest of these.
pub(crate) fn near(what: &str, found: &[f64], expected: &[f64], within: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1.0f64, |size, x| size.max(x.abs()));
    for (at, (f, e)) in found.iter().zip(expected).enumerate() {
        let off = (f - e).abs();
        // Also where it is no number.
        assert!(off <= within * size, "{what}, element {at}: {f} and {e}");
    }
}

pub(crate) fn check(
    case: &Case,
    session: &Session,
    key: &furthermore::scheme::SecretKey,
    within: f64,
) {
    let options = session.plan().options();
    let what = |part: &str| {
        let (algebra, dtype) = (options.algebra, options.dtype);
        format!("{} in {algebra} {dtype}: {part}", case.name)
    };
    let read = |name: &str| decrypted(session, key, name);
    near(&what("y"), &read("y"), &case.output, within);
    near(&what("loss"), &read("loss"), &[case.loss_value], within);
    for (name, given) in &case.tensors {
        if let Some(gradient) = &given.gradient {
            let found = read(&format!("d {name}"));
            near(&what(&format!("d {name}")), &found, gradient, within);
        }
    }
}

pub(crate) const PLAIN: Regime = Regime {
    name: "pt-pt",
    inputs: false,
    parameters: false,
};

/// Holds every layer and its gradients to PyTorch's, on these devices in these element types.
pub(crate) fn check_layers(devices: &[&dyn Device], dtypes: &[DType]) {
    let fixture = fixture();
    assert_eq!(fixture.layers.len(), 17);
    for case in &fixture.layers {
        let (network, parameters) = network(case);
        for (algebra, dtype, regime, within) in runs(dtypes) {
            let options = CompileOptions {
                algebra,
                encrypted_inputs: regime.inputs,
                encrypted_parameters: regime.parameters,
                ..CompileOptions::plain(fixture.batch, dtype)
            };
            let plan = Plan::compile(&network, &options);
            let plan = plan.unwrap_or_else(|e| panic!("{} {}: {e}", case.name, regime.name));
            let key = key(algebra.slots().max(2), 31);
            for device in devices {
                let mut session = open(*device, Arc::new(plan.clone()), &key, &parameters);
                parameters_encrypted(&mut session, &key, &parameters, 5);
                let [x, target] = ["x", "target"].map(|name| given(case, name, dtype));
                write_inputs(&mut session, &key, 9, &[("x", &x), ("target", &target)]);
                let ran = session.run();
                ran.unwrap_or_else(|e| panic!("{} {algebra} {}: {e}", case.name, regime.name));
                check(case, &session, &key, within);
            }
        }
    }
}

/// Holds the steps of every optimiser to PyTorch's, on a device in these element types.
pub(crate) fn check_optimizers(device: &dyn Device, dtypes: &[DType]) {
    let fixture = fixture();
    for training in &fixture.optimizers {
        let name = training.name.as_str();
        let decayed = Optimizer::Adam {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-3,
            weight_decay: 0.25,
        };
        let momentum = Optimizer::Sgd {
            momentum: 0.75,
            weight_decay: 0.25,
        };
        let (optimizer, clip) = match name {
            "sgd" => (Optimizer::sgd(0.0), None),
            "momentum" => (momentum, None),
            "adam" => (Optimizer::adam(), None),
            "adam-decay" => (decayed, None),
            "clipped" => (Optimizer::sgd(0.0), Some(0.0625)),
            other => panic!("no optimiser for '{other}'"),
        };
        let mut network = Network::new();
        let input = |n: &mut Network, name: &str| n.input(name, &training.shapes[name][1..]);
        let x = input(&mut network, "x").expect("a new name");
        let target = input(&mut network, "target").expect("a new name");
        let [w, b] = ["w", "b"].map(|name| {
            let shape = &training.shapes[name][..];
            let made = network.parameter(name, shape, Init::Constant(0.0));
            made.expect("a new name")
        });
        let y = network.matmul("product", x, w).expect("a new name");
        let y = network.add("y", y, b).expect("a new name");
        let loss = network.mean_squared_error("loss", y, target);
        let network = network
            .with_optimizer(loss.expect("a new name"), optimizer, clip)
            .expect("gradients");
        let start = |name: &str| {
            let shape = &training.shapes[name];
            tensor(shape, &training.start[name], DType::F64)
        };
        let mut parameters = Parameters::default();
        for name in ["w", "b"] {
            parameters.insert(name, Tensor::Plaintext(start(name)));
        }
        for (algebra, dtype, regime, within) in runs(dtypes) {
            if regime.inputs != regime.parameters {
                continue;
            }
            let options = CompileOptions {
                algebra,
                encrypted_inputs: regime.inputs,
                encrypted_parameters: regime.parameters,
                ..CompileOptions::plain(fixture.batch, dtype)
            };
            let plan = Plan::compile(&network, &options);
            let plan = Arc::new(plan.unwrap_or_else(|e| panic!("{name}: {e}")));
            let key = key(algebra.slots().max(2), 31);
            let mut session = open(device, plan, &key, &parameters);
            session.set_learning_rate(training.rate).expect("a rate");
            for input in ["x", "target"] {
                let messages = start(input).to_dtype(dtype).expect("small");
                write_inputs(&mut session, &key, 9, &[(input, &messages)]);
            }
            for (step, after) in training.after.iter().enumerate() {
                session
                    .run()
                    .unwrap_or_else(|e| panic!("{name} {algebra}: {e}"));
                for (parameter, expected) in after {
                    let found = decrypted(&session, &key, parameter);
                    let what = format!("{name} {algebra} {dtype}: {parameter} after {step}");
                    near(&what, &found, expected, within);
                }
            }
        }
    }
}

/// Algebras, element types and what is encrypted, with how near results have to be.
fn runs(dtypes: &[DType]) -> Vec<(Algebra, DType, Regime, f64)> {
    let mut runs = vec![
        (Algebra::Real, DType::F64, PLAIN, 1e-12),
        (Algebra::Real, DType::F32, PLAIN, 2e-5),
    ];
    for algebra in [Algebra::Compact(2), Algebra::Blocks(2), Algebra::Compact(3)] {
        for regime in REGIMES.into_iter().filter(|regime| regime.inputs) {
            runs.push((algebra, DType::F64, regime, 1e-10));
            runs.push((algebra, DType::F32, regime, 5e-4));
        }
    }
    runs.retain(|(_, dtype, ..)| dtypes.contains(dtype));
    runs
}
