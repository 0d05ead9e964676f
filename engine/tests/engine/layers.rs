//! Layers and optimisers against PyTorch's values and gradients, and gradients against finite
//! differences.

use std::collections::BTreeMap;
use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::Device;
use furthermore::network::{Init, Network, Parameters};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::tensor::{DType, Tensor};

use crate::support::layers::{
    Case, PLAIN, check_layers, check_optimizers, fixture, given, near, network,
};
use crate::support::{DTYPES, REGIMES, cpu, decrypted, devices, key, open, tensor, write_inputs};

#[test]
fn layers_and_their_gradients_are_pytorchs() {
    let devices = devices();
    let devices: Vec<&dyn Device> = devices.iter().map(|cpu| cpu as &dyn Device).collect();
    check_layers(&devices, &DTYPES);
}

#[test]
fn optimizers_step_as_pytorchs_do() {
    check_optimizers(&cpu(), &DTYPES);
}

/// The case's loss by itself with one element of one tensor moved.
fn loss_at(case: &Case, network: &Network, parameters: &Parameters, point: &Point) -> f64 {
    let batch = case.tensors["x"].shape[0];
    let plan = Plan::compile(network, &CompileOptions::plain(batch, DType::F64));
    let plan = Arc::new(plan.expect("it compiled before"));
    let (key, mut moved) = (key(2, 1), parameters.clone());
    for (name, values) in point.iter().filter(|(name, _)| *name != "x") {
        let shape = parameters
            .get(name)
            .expect("a weight")
            .view()
            .shape()
            .clone();
        let weight = tensor(&shape, values, DType::F64);
        moved.insert(name, Tensor::Plaintext(weight));
    }
    let mut session = open(&cpu(), plan, &key, &moved);
    let x = tensor(&case.tensors["x"].shape, &point["x"], DType::F64);
    let target = given(case, "target", DType::F64);
    write_inputs(&mut session, &key, 1, &[("x", &x), ("target", &target)]);
    session.run().expect("finite");
    decrypted(&session, &key, "loss")[0]
}

type Point = BTreeMap<String, Vec<f64>>;

#[test]
fn gradients_are_finite_differences() {
    const STEP: f64 = 1e-6;
    for case in fixture().layers {
        let (network, parameters) = network(&case);
        let start: Point = (case.tensors.iter())
            .filter(|(name, _)| *name != "target")
            .map(|(name, given)| (name.clone(), given.values.clone()))
            .collect();
        for (name, given) in &case.tensors {
            let Some(gradient) = &given.gradient else {
                continue;
            };
            // Every element of small tensors, and every seventh of large ones.
            let every = if gradient.len() > 40 { 7 } else { 1 };
            for at in (0..gradient.len()).step_by(every) {
                let at_distance = |distance: f64| {
                    let mut point = start.clone();
                    point.get_mut(name).expect("a tensor")[at] += distance;
                    loss_at(&case, &network, &parameters, &point)
                };
                let slope = (at_distance(STEP) - at_distance(-STEP)) / (2.0 * STEP);
                let what = format!("{}: d {name}[{at}]", case.name);
                near(&what, &[slope], &gradient[at..=at], 1e-7);
            }
        }
    }
}

#[test]
fn dropout_keeps_what_is_expected_and_draws_anew() {
    let (batch, width, rate) = (64, 127, 0.25);
    let mut network = Network::new();
    let x = network.input("x", [width]).expect("a new name");
    let y = network.dropout("dropped", x, rate).expect("a new name");
    network.output("y", y).expect("a new name");
    let key = key(2, 3);
    for (algebra, regime) in [(Algebra::Real, PLAIN), (Algebra::Compact(2), REGIMES[0])] {
        let options = CompileOptions {
            algebra,
            encrypted_inputs: regime.inputs,
            ..CompileOptions::plain(batch, DType::F64)
        };
        let plan = Arc::new(Plan::compile(&network, &options).expect("it compiles"));
        let mut session = open(&cpu(), plan, &key, &Parameters::default());
        let ones = tensor(&[batch, width], &vec![1.0; batch * width], DType::F64);
        write_inputs(&mut session, &key, 1, &[("x", &ones)]);
        let mut draw = |seed: Option<u64>| {
            if let Some(seed) = seed {
                session.set_dropout_seed(seed);
                // Runs are counted from here.
                let none = session.load_parameters(&Parameters::default());
                none.expect("there are none");
            }
            session.run().expect("finite");
            decrypted(&session, &key, "y")
        };
        let (first, second) = (draw(Some(7)), draw(None));
        assert_ne!(first, second, "drawn anew");
        assert_eq!(first, draw(Some(7)), "the same from the same seed");
        for drawn in [first, second] {
            let kept = drawn.iter().filter(|y| y.abs() > 0.5).count();
            let off = |y: &f64| y.abs().min((y - 4.0 / 3.0).abs());
            assert!(drawn.iter().all(|y| off(y) < 1e-12));
            let share = kept as f64 / drawn.len() as f64;
            // Six standard deviations.
            assert!((share - 0.75).abs() < 0.03, "{share}");
        }
    }
}

#[test]
fn plaintext_beside_ciphertexts_is_joined_to_them() {
    let mut n = Network::new();
    let x = n.input("x", [2, 3]).expect("a new name");
    let c = n.constant("c", [5, 1, 3], (0..15).map(f64::from).collect());
    let c = c.expect("as many");
    let y = n.concat("y", &[c, x, c], 1).expect("a new name");
    n.output("out", y).expect("a new name");
    let values: Vec<f64> = (0..30).map(|i| f64::from(i) / 8.0 - 2.0).collect();
    for algebra in [
        Algebra::Compact(2),
        Algebra::Blocks(2),
        Algebra::Compact(3),
        Algebra::Blocks(3),
    ] {
        let key = key(algebra.slots(), 3);
        let options = CompileOptions::encrypted_inputs(5, DType::F64, algebra);
        let plan = Arc::new(Plan::compile(&n, &options).expect("it compiles"));
        let mut session = open(&cpu(), plan, &key, &Parameters::default());
        let x = tensor(&[5, 2, 3], &values, DType::F64);
        write_inputs(&mut session, &key, 1, &[("x", &x)]);
        session.run().expect("finite");
        let found = decrypted(&session, &key, "out");
        for row in 0..5 {
            let constant = || (0..3).map(|at| f64::from(row as u8 * 3 + at));
            let own = values[row * 6..][..6].iter().copied();
            let expected = constant().chain(own).chain(constant());
            for (e, f) in expected.zip(&found[row * 12..]) {
                assert!((e - f).abs() < 1e-12, "{algebra}: {f} and {e}");
            }
        }
    }
}

#[test]
fn the_gradient_through_dropout_is_that_of_its_mask() {
    let (batch, width) = (3, 5);
    let mut n = Network::new();
    let x = n.input("x", [width]).expect("a new name");
    let w = n
        .parameter("w", [width], Init::Uniform { bound: 1.0 })
        .expect("a new name");
    let y = n.multiply("product", x, w).expect("a new name");
    let y = n.dropout("dropped", y, 0.5).expect("a rate");
    let y = n.tanh("y", y).expect("a new name");
    let target = n.input("target", [width]).expect("a new name");
    let loss = n.mean_squared_error("loss", y, target).expect("a new name");
    n.output("loss", loss).expect("a new name");
    let (mut n, gradients) = n.gradients(loss, &[w]).expect("gradients");
    n.output("d w", gradients[0]).expect("a new name");
    let key = key(2, 3);
    // Every session draws the same mask at its first run.
    let run = |at: usize, by: f64, read: &str| {
        let mut numbers = vec![0.5, -0.25, 0.75, 1.0, -1.5];
        numbers[at] += by;
        let mut parameters = Parameters::default();
        let w = tensor(&[width], &numbers, DType::F64);
        parameters.insert("w", Tensor::Plaintext(w));
        let plan = Plan::compile(&n, &CompileOptions::plain(batch, DType::F64));
        let plan = Arc::new(plan.expect("it compiles"));
        let mut session = open(&cpu(), plan, &key, &parameters);
        let values: Vec<f64> = (0..15).map(|i| f64::from(i) / 7.0 - 1.0).collect();
        for name in ["x", "target"] {
            let given = tensor(&[batch, width], &values, DType::F64);
            write_inputs(&mut session, &key, 1, &[(name, &given)]);
        }
        session.run().expect("finite");
        decrypted(&session, &key, read)
    };
    for at in 0..width {
        let slope = (run(at, 1e-6, "loss")[0] - run(at, -1e-6, "loss")[0]) / 2e-6;
        let found = run(at, 0.0, "d w")[at];
        assert!((found - slope).abs() < 1e-8, "{found} and {slope}");
    }
}
