//! Gradients against finite differences and against gradients written out by hand.
//!
//! A network is built from products without transposition. Its gradients contain products with the
//! right operand transposed (by the left operand) and with the left one transposed (by the right
//! operand); both transposed at once is no gradient of these, and the kernels' own tests cover it.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::Cpu;
use furthermore::network::{Convolution, Function, Init, Network, Parameters, Pool, Value, Window};
use furthermore::plan::{CompileOptions, Plan, Role};
use furthermore::scheme::SecretKey;
use furthermore::tensor::{DType, Plaintext, Tensor};

use crate::support::{
    FUNCTIONS, Graph, Law, Loss, Mlp, More, Node, Noise, Point, REGIMES, Regime, compare, compiled,
    cpu, decrypted, devices, key, open, parameters_encrypted, tensor, write_inputs,
};

const CIPHERTEXTS: [Algebra; 4] = [
    Algebra::Compact(2),
    Algebra::Blocks(2),
    Algebra::Compact(3),
    Algebra::Blocks(3),
];

/// The network with the gradient of `loss` by each of `of` as an output `d NAME`.
fn with_gradients(network: &Network, loss: Value, of: &[(&str, Value)]) -> Network {
    let values: Vec<Value> = of.iter().map(|(_, value)| *value).collect();
    let (mut network, gradients) = network
        .gradients(loss, &values)
        .unwrap_or_else(|error| panic!("{error}"));
    for ((name, _), gradient) in of.iter().zip(gradients) {
        let declared = network.output(&format!("d {name}"), gradient);
        declared.expect("a new name");
    }
    network
}

/// A graph with its loss, and what to differentiate by.
struct Case {
    name: &'static str,
    graph: Graph,
    loss: Node,
    of: Vec<(&'static str, Node)>,
}

/// Starts a graph; `judge` ends it with a loss of what it makes.
fn case(
    name: &'static str,
    loss: Loss,
    batch: usize,
    build: impl FnOnce(&mut Graph) -> (Node, Vec<(&'static str, Node)>),
) -> Case {
    let mut graph = Graph::new(batch);
    let (y, of) = build(&mut graph);
    let sample = graph.shape(y)[1..].to_vec();
    let target = if batch == graph.shape(y)[0] {
        graph.input("target", &sample)
    } else {
        let shape = graph.shape(y).to_vec();
        graph.parameter("target", &shape)
    };
    let loss = match loss {
        Loss::CrossEntropy => graph.cross_entropy(y, target),
        Loss::SquaredError => graph.squared_error(y, target),
    };
    graph.output("loss", loss);
    Case {
        name,
        graph,
        loss,
        of,
    }
}

/// Graphs whose values are used in every way there is: twice, by themselves, through branches that
/// meet again, as rows that repeat.
fn cases(loss: Loss) -> Vec<Case> {
    let mut cases = vec![
        case("residual sums", loss, 5, |g| {
            let x = g.input("x", &[4]);
            let (w, b) = (g.parameter("w", &[4, 4]), g.parameter("b", &[4]));
            let v = g.parameter("v", &[4, 4]);
            let product = g.matmul(x, w);
            let sum = g.add(product, b);
            let h = g.map(Function::Tanh, sum);
            let s = g.add(h, x);
            let product = g.matmul(s, v);
            let t = g.map(Function::Relu, product);
            (g.add(t, s), vec![("x", x), ("w", w), ("b", b), ("v", v)])
        }),
        case("a value times itself", loss, 5, |g| {
            let (x, w) = (g.input("x", &[3]), g.parameter("w", &[3, 4]));
            let h = g.matmul(x, w);
            (g.multiply(h, h), vec![("x", x), ("w", w)])
        }),
        case("a weight in two layers", loss, 4, |g| {
            let (x, w) = (g.input("x", &[3]), g.parameter("w", &[3, 3]));
            let h = g.matmul(x, w);
            let h = g.map(Function::Sigmoid, h);
            (g.matmul(h, w), vec![("x", x), ("w", w)])
        }),
        case("a bias in two layers", loss, 4, |g| {
            let (x, w) = (g.input("x", &[3]), g.parameter("w", &[3, 3]));
            let (v, b) = (g.parameter("v", &[3, 3]), g.parameter("b", &[3]));
            let h = g.matmul(x, w);
            let h = g.add(h, b);
            let h = g.map(Function::Tanh, h);
            let y = g.matmul(h, v);
            (g.add(y, b), vec![("w", w), ("v", v), ("b", b)])
        }),
        case("multiples and differences with rows", loss, 6, |g| {
            let (x, w) = (g.input("x", &[3]), g.parameter("w", &[3, 2]));
            let b = g.parameter("b", &[2]);
            let h = g.matmul(x, w);
            let s = g.scale(h, -2.5);
            let s = g.subtract(s, b);
            (g.subtract(s, h), vec![("x", x), ("w", w), ("b", b)])
        }),
        case("sums with themselves", loss, 3, |g| {
            let (x, p) = (g.input("x", &[3]), g.parameter("p", &[3, 4]));
            let doubled = g.add(p, p);
            let h = g.matmul(x, doubled);
            let h = g.add(h, h);
            let zero = g.subtract(h, h);
            (g.add(h, zero), vec![("x", x), ("p", p)])
        }),
        case("branches that multiply", loss, 5, |g| {
            let (x, w) = (g.input("x", &[4]), g.parameter("w", &[4, 3]));
            let v = g.parameter("v", &[4, 3]);
            let (a, b) = (g.matmul(x, w), g.matmul(x, v));
            let (a, b) = (g.map(Function::Tanh, a), g.map(Function::Sigmoid, b));
            (g.multiply(a, b), vec![("x", x), ("w", w), ("v", v)])
        }),
        case("a value of three uses", loss, 5, |g| {
            let (x, w) = (g.input("x", &[3]), g.parameter("w", &[3, 3]));
            let h = g.matmul(x, w);
            let squared = g.map(Function::Square, h);
            let bent = g.map(Function::Relu, squared);
            let s = g.add(h, squared);
            let s = g.subtract(s, bent);
            let product = g.multiply(s, h);
            (g.add(product, s), vec![("x", x), ("w", w)])
        }),
        case("functions of functions", loss, 4, |g| {
            let (x, w) = (g.input("x", &[3]), g.parameter("w", &[3, 5]));
            let mut h = g.matmul(x, w);
            for function in FUNCTIONS.into_iter().rev() {
                h = g.map(function, h);
            }
            (h, vec![("x", x), ("w", w)])
        }),
        case("a product of weights", loss, 4, |g| {
            let (x, w) = (g.input("x", &[3]), g.parameter("w", &[3, 2]));
            let v = g.parameter("v", &[2, 5]);
            let product = g.matmul(w, v);
            (g.matmul(x, product), vec![("x", x), ("w", w), ("v", v)])
        }),
        case("the sample on the right", loss, 1, |g| {
            let (x, p) = (g.input("x", &[4]), g.parameter("p", &[3, 1]));
            let h = g.matmul(p, x);
            (g.map(Function::Tanh, h), vec![("x", x), ("p", p)])
        }),
    ];
    if loss == Loss::SquaredError {
        // Losses over rows of classes take matrices only; this one takes any shape.
        cases.push(case("rows of three axes", loss, 3, |g| {
            let (x, p) = (g.input("x", &[2, 4]), g.parameter("p", &[2, 4]));
            let s = g.add(x, p);
            let s = g.map(Function::Square, s);
            (g.subtract(s, p), vec![("x", x), ("p", p)])
        }));
        cases.push(case("one number for all", loss, 5, |g| {
            let (x, p) = (g.input("x", &[]), g.parameter("p", &[]));
            let s = g.add(x, p);
            let s = g.map(Function::Tanh, s);
            (g.subtract(s, p), vec![("x", x), ("p", p)])
        }));
    }
    cases
}

/// Graphs of images, whose values change their layout on the way: between convolutions and matrices,
/// in sums of what lies in tiles and what does not, as results.
fn image_cases(loss: Loss) -> Vec<Case> {
    let side = |size: usize| Window::tiling(size);
    let odd = Convolution {
        stride: [2, 1],
        padding: [[1, 2], [0, 1]],
        dilation: [1, 2],
        groups: 1,
    };
    vec![
        case("convolutions and pooling", loss, 3, |g| {
            let x = g.input("x", &[1, 8, 8]);
            let (h, [w, b]) = g.conv2d("c1", x, 3, [3, 3], Convolution::padded(1));
            let h = g.map(Function::Relu, h);
            let h = g.pool(Pool::Average, h, side(2));
            let (h, [v, d]) = g.conv2d("c2", h, 2, [3, 3], Convolution::default());
            let h = g.map(Function::Relu, h);
            let h = g.pool(Pool::Max, h, side(2));
            let h = g.reshape(h, &[2]);
            let u = g.parameter("u", &[2, 3]);
            let of = vec![
                ("x", x),
                ("c1.weight", w),
                ("c1.bias", b),
                ("c2.weight", v),
                ("c2.bias", d),
                ("u", u),
            ];
            (g.matmul(h, u), of)
        }),
        case("averages that leave pixels out", loss, 2, |g| {
            let x = g.input("x", &[1, 7, 5]);
            let (h, [w, b]) = g.conv2d("c1", x, 2, [3, 3], Convolution::padded(1));
            let h = g.map(Function::Relu, h);
            let h = g.pool(Pool::Average, h, side(2));
            let of = vec![("x", x), ("c1.weight", w), ("c1.bias", b)];
            (g.reshape(h, &[12]), of)
        }),
        case("groups, strides and dilations", loss, 2, |g| {
            let x = g.input("x", &[2, 6, 7]);
            let (h, [w, b]) = g.conv2d("c1", x, 3, [3, 2], odd);
            let h = g.map(Function::Sigmoid, h);
            let grouped = Convolution {
                groups: 3,
                ..Convolution::padded(1)
            };
            let (h, [v, _]) = g.conv2d("c2", h, 6, [2, 3], grouped);
            let over = Window {
                stride: [1, 2],
                padding: [[1, 0], [1, 1]],
                ..side(3)
            };
            let h = g.pool(Pool::AverageWithPadding, h, over);
            let size = g.shape(h)[1..].iter().product();
            let h = g.reshape(h, &[size]);
            (
                h,
                vec![("x", x), ("c1.weight", w), ("c1.bias", b), ("c2.weight", v)],
            )
        }),
        case("branches in both layouts", loss, 2, |g| {
            let x = g.input("x", &[18]);
            let image = g.reshape(x, &[2, 3, 3]);
            let (bent, [u, _]) = g.conv2d("c0", image, 2, [1, 1], Convolution::default());
            let bent = g.map(Function::Tanh, bent);
            let (h, [w, _]) = g.conv2d("c1", bent, 2, [3, 3], Convolution::padded(1));
            let sum = g.add(h, image);
            let product = g.multiply(sum, h);
            let same = Window {
                stride: [1, 1],
                padding: [[1, 1], [1, 1]],
                ..side(3)
            };
            let top = g.pool(Pool::Max, product, same);
            let left = g.subtract(top, bent);
            let left = g.scale(left, 0.5);
            let of = vec![("x", x), ("c0.weight", u), ("c1.weight", w)];
            (g.reshape(left, &[18]), of)
        }),
    ]
}

/// Numbers for everything a graph is given: from [-1, 1], targets of rows of probabilities.
fn point(case: &Case, loss: Loss, seed: u64) -> (Point, Vec<(String, Vec<usize>)>) {
    let mut noise = Noise::new(seed);
    let (mut point, mut shapes) = (Point::new(), Vec::new());
    let plan = compiled(
        &with_all_used(case),
        case.graph.batch,
        DType::F64,
        Algebra::Real,
        REGIMES[0],
    );
    for binding in plan.bindings().iter().filter(|b| b.role != Role::Output) {
        let count: usize = binding.shape.iter().product();
        let values = if binding.name == "target" && loss == Loss::CrossEntropy {
            noise.one_hot(binding.shape[0], binding.shape[1])
        } else {
            noise.either_sign(count, 0.1, 1.0)
        };
        point.insert(binding.name.clone(), values);
        shapes.push((binding.name.clone(), binding.shape.to_vec()));
    }
    (point, shapes)
}

fn with_all_used(case: &Case) -> Network {
    let of: Vec<(&str, Value)> = case
        .of
        .iter()
        .map(|(name, node)| (*name, case.graph.value(*node)))
        .collect();
    with_gradients(&case.graph.network, case.graph.value(case.loss), &of)
}

/// Runs a network at a point and reads `outputs`.
struct Run<'a> {
    device: &'a Cpu,
    key: &'a SecretKey,
    algebra: Algebra,
    regime: Regime,
}

impl Run<'_> {
    fn at(
        &self,
        network: &Network,
        batch: usize,
        point: &Point,
        shapes: &[(String, Vec<usize>)],
        outputs: &[String],
    ) -> Vec<Vec<f64>> {
        let plan = compiled(network, batch, DType::F64, self.algebra, self.regime);
        let given: Vec<(&str, Plaintext)> = shapes
            .iter()
            .map(|(name, shape)| (name.as_str(), tensor(shape, &point[name], DType::F64)))
            .collect();
        let mut weights = Parameters::default();
        for (name, values) in &given {
            weights.insert(*name, Tensor::Plaintext(values.clone()));
        }
        let mut session = open(self.device, Arc::clone(&plan), self.key, &weights);
        parameters_encrypted(&mut session, self.key, &weights, 70);
        let inputs: Vec<(&str, &Plaintext)> = given.iter().map(|(n, t)| (*n, t)).collect();
        write_inputs(&mut session, self.key, 71, &inputs);
        session.run().unwrap_or_else(|error| panic!("{error}"));
        let read = |name: &String| decrypted(&session, self.key, name);
        outputs.iter().map(read).collect()
    }
}

#[test]
fn gradients_are_finite_differences() {
    let devices = devices();
    for loss in [Loss::CrossEntropy, Loss::SquaredError] {
        for (nth, case) in cases(loss).iter().chain(&image_cases(loss)).enumerate() {
            let network = with_all_used(case);
            let (point, shapes) = point(case, loss, 900 + nth as u64);
            let mut outputs = vec!["loss".to_owned()];
            let mut expected = vec![case.graph.evaluate(&point)[case.loss].clone()];
            for (name, _) in &case.of {
                outputs.push(format!("d {name}"));
                expected.push(case.graph.difference(case.loss, name, &point));
            }
            let check = |run: &Run<'_>, expected: &[Vec<f64>], bound: f64| {
                let found = run.at(&network, case.graph.batch, &point, &shapes, &outputs);
                for ((name, found), expected) in outputs.iter().zip(&found).zip(expected) {
                    compare(found, expected, bound).unwrap_or_else(|error| {
                        let (algebra, regime) = (run.algebra, run.regime.name);
                        panic!(
                            "{}, {loss:?}, {name}, {algebra} {regime}: {error}",
                            case.name
                        )
                    });
                }
                found
            };
            let mut plain = Vec::new();
            for device in &devices {
                let (key, regime) = (key(2, 61), REGIMES[0]);
                let run = Run {
                    device,
                    key: &key,
                    algebra: Algebra::Real,
                    regime,
                };
                // The differences are off by what their own comment says.
                plain = check(&run, &expected, 1e-8);
            }
            for algebra in CIPHERTEXTS {
                let key = key(algebra.slots(), 62);
                let law = More::of(key.evaluation_key()).law(algebra, DType::F64);
                for regime in REGIMES {
                    let run = Run {
                        device: &devices[devices.len() - 1],
                        key: &key,
                        algebra,
                        regime,
                    };
                    // One of the losses comes to 7.4.
                    check(&run, &plain, law.bound(8, 8.0));
                }
            }
        }
    }
}

/// The gradient by a value on the way is the gradient by a zero added to it there.
#[test]
fn gradients_by_values_on_the_way() {
    let mut graph = Graph::new(4);
    let (x, w) = (graph.input("x", &[3]), graph.parameter("w", &[3, 2]));
    let zero = graph.input("zero", &[2]);
    let h = graph.matmul(x, w);
    let h = graph.map(Function::Tanh, h);
    let moved = graph.add(h, zero);
    let y = graph.map(Function::Square, moved);
    let target = graph.input("target", &[2]);
    let loss = graph.squared_error(y, target);
    let of = [("h", graph.value(h)), ("zero", graph.value(zero))];
    let network = with_gradients(&graph.network, graph.value(loss), &of);
    let mut noise = Noise::new(63);
    let shapes: Vec<(String, Vec<usize>)> = [
        ("x", vec![4, 3]),
        ("w", vec![3, 2]),
        ("zero", vec![4, 2]),
        ("target", vec![4, 2]),
    ]
    .map(|(name, shape)| (name.to_owned(), shape))
    .to_vec();
    let mut point = Point::new();
    for (name, shape) in &shapes {
        let count = shape.iter().product();
        let values = match name.as_str() {
            "zero" => vec![0.0; count],
            _ => noise.numbers(count, -1.0, 1.0),
        };
        point.insert(name.clone(), values);
    }
    let run = Run {
        device: &cpu(),
        key: &key(2, 64),
        algebra: Algebra::Real,
        regime: REGIMES[0],
    };
    let outputs = ["d h".to_owned(), "d zero".to_owned()];
    let found = run.at(&network, 4, &point, &shapes, &outputs);
    assert_eq!(found[0], found[1]);
    let expected = graph.difference(loss, "zero", &point);
    compare(&found[0], &expected, 1e-8).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn gradients_of_layered_networks_are_the_oracles() {
    let device = cpu();
    let rows = 7;
    for activation in FUNCTIONS {
        for loss in [Loss::CrossEntropy, Loss::SquaredError] {
            let mut mlp = Mlp::new(&[4, 6, 5, 3], activation, loss);
            let (network, value) = mlp.judged();
            let weights = network.initial_parameters(9, DType::F64).expect("weights");
            mlp.load(&weights);
            let mut noise = Noise::new(65);
            let x = noise.numbers(rows * 4, -1.0, 1.0);
            let target = match loss {
                Loss::CrossEntropy => noise.one_hot(rows, 3),
                Loss::SquaredError => noise.numbers(rows * 3, -1.0, 1.0),
            };
            let expected = mlp.gradients(&x, &target, rows);

            // The hand-written gradients have to be right themselves.
            for (name, gradient) in &expected {
                let step = 1e-5;
                let mut at = |index: usize, by: f64| {
                    mlp.nudge(name, index, by);
                    let loss = mlp.loss(&x, &target, rows);
                    mlp.nudge(name, index, -by);
                    loss
                };
                let mut one = |i: usize| (at(i, step) - at(i, -step)) / (2.0 * step);
                let differences: Vec<f64> = (0..gradient.len()).map(&mut one).collect();
                compare(gradient, &differences, 1e-8).unwrap_or_else(|error| {
                    panic!("{} {loss:?} {name}: {error}", activation.name())
                });
            }

            let names: Vec<String> = expected.keys().cloned().collect();
            let nodes = network.nodes();
            let parameters = network.parameters();
            let mut parameters_by_name = Vec::new();
            let named = nodes.iter().filter(|n| names.contains(&n.name));
            for (node, value) in named.zip(&parameters) {
                parameters_by_name.push((node.name.as_str(), *value));
            }
            let network = with_gradients(&network, value, &parameters_by_name);
            let mut algebras = vec![Algebra::Real];
            algebras.extend(CIPHERTEXTS);
            for algebra in algebras {
                let key = key(algebra.slots().max(2), 66);
                let law = match algebra {
                    Algebra::Real => Law::plain(DType::F64),
                    _ => More::of(key.evaluation_key()).law(algebra, DType::F64),
                };
                for regime in REGIMES {
                    let plan = compiled(&network, rows, DType::F64, algebra, regime);
                    let mut session = open(&device, plan, &key, &weights);
                    parameters_encrypted(&mut session, &key, &weights, 72);
                    let (x, target) = (
                        tensor(&[rows, 4], &x, DType::F64),
                        tensor(&[rows, 3], &target, DType::F64),
                    );
                    write_inputs(&mut session, &key, 73, &[("x", &x), ("target", &target)]);
                    session.run().unwrap_or_else(|error| panic!("{error}"));
                    for (name, expected) in &expected {
                        let found = decrypted(&session, &key, &format!("d {name}"));
                        compare(&found, expected, law.bound(4, 1.0)).unwrap_or_else(|error| {
                            let regime = regime.name;
                            panic!(
                                "{} {loss:?} {name} {algebra} {regime}: {error}",
                                activation.name()
                            )
                        });
                    }
                }
            }
        }
    }
}

/// A loss of operands joined along the first axis, or of one with zeros after it.
fn joined(along_batch: bool) -> (Network, Value, Vec<Value>) {
    let mut n = Network::new();
    let mut parameters = Vec::new();
    let mut parts = Vec::new();
    for name in ["x", "z"] {
        let x = n.input(name, [3]).expect("a new name");
        let b = n.parameter(&format!("b {name}"), [3], Init::Uniform { bound: 1.0 });
        let b = b.expect("a new name");
        parameters.push(b);
        parts.push(n.add(&format!("{name} b"), x, b).expect("a new name"));
    }
    let axis = usize::from(!along_batch);
    let joined = n.concat("joined", &parts, axis).expect("a new name");
    let target = n.input("target", [3]).expect("a new name");
    let target = n
        .concat("targets", &[target, target], axis)
        .expect("a new name");
    let loss = n
        .mean_squared_error("loss", joined, target)
        .expect("a new name");
    n.output("loss", loss).expect("a new name");
    (n, loss, parameters)
}

#[test]
fn a_gradient_serves_every_batch_or_is_refused() {
    let (network, loss, parameters) = joined(true);
    let refusal = network.gradients(loss, &parameters);
    let parts = ["`joined`", "axis 0 of an operand grows with the batch"];
    crate::support::refused("a gradient", refusal, &parts);

    // Differentiated once, run at several batches.
    let (network, loss, parameters) = joined(false);
    let names = ["b x", "b z"];
    let of: Vec<(&str, Value)> = names.into_iter().zip(parameters).collect();
    let with = with_gradients(&network, loss, &of);
    let key = key(2, 3);
    for batch in [1, 4, 7] {
        let run = |network: &Network, moved: Option<(&str, f64)>, read: &str| {
            let plan = Plan::compile(network, &CompileOptions::plain(batch, DType::F64));
            let mut parameters = network.initial_parameters(5, DType::F64).expect("weights");
            if let Some((name, by)) = moved {
                let Tensor::Plaintext(weight) = parameters.get(name).expect("its own") else {
                    panic!("weights start as plaintext");
                };
                let mut numbers = weight.to_f64();
                numbers[1] += by;
                let weight = tensor(&[3], &numbers, DType::F64);
                parameters.insert(name, Tensor::Plaintext(weight));
            }
            let plan = Arc::new(plan.expect("it compiles"));
            let mut session = open(&cpu(), plan, &key, &parameters);
            let mut noise = Noise::new(8);
            for name in ["x", "z", "target"] {
                let x = tensor(
                    &[batch, 3],
                    &noise.numbers(batch * 3, -1.0, 1.0),
                    DType::F64,
                );
                write_inputs(&mut session, &key, 1, &[(name, &x)]);
            }
            session.run().expect("finite");
            decrypted(&session, &key, read)
        };
        for name in names {
            let found = run(&with, None, &format!("d {name}"))[1];
            let at = |by: f64| run(&network, Some((name, by)), "loss")[0];
            let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!(
                (found - slope).abs() < 1e-8,
                "{name} at {batch}: {found} and {slope}"
            );
        }
    }
}
