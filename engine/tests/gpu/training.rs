//! Training on both devices: the same steps, and none where the guard has tripped.

use std::sync::Arc;

use furthermore::device::{Cpu, Device};
use furthermore::network::{Convolution, Network, Optimizer, Parameters, Pool, Value, Window};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::{MaskPolicy, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext, Tensor};
use furthermore::{Algebra, Error};

use crate::gpu;

const BATCH: usize = 9;
const INPUTS: usize = 16;
const CLASSES: usize = 5;
const STEPS: usize = 6;

/// Two linear layers.
pub(crate) fn linear() -> Network {
    classifier(|network, x| {
        let y = network.linear("first", x, INPUTS, 11).expect("sizes fit");
        let y = network.tanh("tanh", y).expect("a new name");
        (y, 11)
    })
}

/// Two convolutions of which only averages of relu are written, and a linear layer.
fn averages() -> Network {
    classifier(|network, x| {
        let mut y = network.reshape("image", x, [1, 4, 4]).expect("sizes fit");
        for (name, channels) in [("first", [1, 4]), ("next", [4, 6])] {
            let padded = Convolution::padded(1);
            y = network
                .conv2d(name, y, channels, [3, 3], padded)
                .expect("sizes fit");
            y = network.relu(&format!("{name} relu"), y).expect("new");
            let (average, window) = (Pool::Average, Window::tiling(2));
            y = network
                .pool(&format!("{name} average"), average, y, window)
                .expect("new");
        }
        (network.flatten("flat", y).expect("a new name"), 6)
    })
}

fn classifier(body: impl FnOnce(&mut Network, Value) -> (Value, usize)) -> Network {
    let mut network = Network::new();
    let x = network.input("x", [INPUTS]).expect("a new name");
    let target = network.input("target", [CLASSES]).expect("a new name");
    let (y, width) = body(&mut network, x);
    let y = network
        .linear("last", y, width, CLASSES)
        .expect("sizes fit");
    let loss = network
        .softmax_cross_entropy("loss", y, target)
        .expect("shapes fit");
    network.output("loss", loss).expect("a new name");
    network
        .with_optimizer(loss, Optimizer::sgd(0.9), None)
        .expect("gradients")
}

pub(crate) fn plan(network: &Network, algebra: Algebra) -> Plan {
    let options = CompileOptions::encrypted(BATCH, DType::F32, algebra);
    Plan::compile(network, &options).expect("a plan")
}

/// A session on the sines of 1, 2, .. and their labels, inputs and initial weights scaled.
pub(crate) fn session(
    device: &dyn Device,
    network: &Network,
    key: &SecretKey,
    algebra: Algebra,
    (inputs, weights): (f32, f32),
) -> Session {
    let plan = Arc::new(plan(network, algebra));
    let mut session =
        Session::new(device, plan, Some(key.evaluation_key())).expect("it runs the plan");
    let mut initial = network.initial_parameters(1, DType::F32).expect("weights");
    let Tensor::Plaintext(first) = initial.get("first.weight").expect("a weight") else {
        panic!("weights start as plaintext");
    };
    let scaled: Vec<f32> = first.to_f64().iter().map(|w| weights * *w as f32).collect();
    let scaled = Plaintext::new(first.shape().clone(), &scaled).expect("a tensor");
    initial.insert("first.weight", Tensor::Plaintext(scaled));
    session.load_parameters(&initial).expect("they fit");
    let x: Vec<f32> = (0..BATCH * INPUTS)
        .map(|i| inputs * (i as f32 + 1.0).sin())
        .collect();
    let mut labels = vec![0.0f32; BATCH * CLASSES];
    for row in 0..BATCH {
        labels[row * CLASSES + row * 3 % CLASSES] = 1.0;
    }
    let x = Plaintext::new([BATCH, INPUTS], &x).expect("a tensor");
    let y = Plaintext::new([BATCH, CLASSES], &labels).expect("a tensor");
    if algebra == Algebra::Real {
        session.write("x", &x).expect("it fits");
        session.write("target", &y).expect("it fits");
    } else {
        let (x, y) = key
            .encryptor_from_known_seed(algebra, 4)
            .expect("an algebra of the key")
            .encrypt_training_set(&x, &y, MaskPolicy::PairedRows)
            .expect("a training set");
        session.write("x", &x).expect("it fits");
        session.write("target", &y).expect("it fits");
    }
    session.set_learning_rate(0.4).expect("a rate");
    session
}

fn decrypted(key: &SecretKey, tensor: &Tensor) -> Vec<f64> {
    match tensor {
        Tensor::Plaintext(numbers) => numbers.to_f64(),
        Tensor::Ciphertext(numbers) => key.decrypt(numbers).expect("its own key").to_f64(),
    }
}

pub(crate) fn weights(key: &SecretKey, parameters: &Parameters) -> Vec<f64> {
    let all = parameters.iter();
    all.flat_map(|(_, tensor)| decrypted(key, tensor)).collect()
}

#[test]
fn steps_are_those_of_the_cpu() {
    for algebra in [
        Algebra::Real,
        Algebra::Compact(2),
        Algebra::Blocks(2),
        Algebra::Compact(3),
    ] {
        steps_agree(&linear(), algebra, 0.95);
    }
}

#[test]
fn steps_of_averaged_convolutions_are_those_of_the_cpu() {
    for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Compact(3)] {
        steps_agree(&averages(), algebra, 0.99);
    }
}

/// Trains on either device; the loss ends at less than `learned` of what it was.
fn steps_agree(network: &Network, algebra: Algebra, learned: f64) {
    let Some(gpu) = gpu() else { return };
    let cpu = Cpu::new().expect("its instruction set is here");
    // Known, so that no slot of relu ever happens to lie within rounding of zero.
    let key =
        SecretKey::from_known_seed(algebra.slots().max(2), 5).expect("keys of that size exist");
    let train = |device: &dyn Device| {
        let mut session = session(device, network, &key, algebra, (0.5, 1.0));
        let mut losses = Vec::new();
        for _ in 0..STEPS {
            session.run().expect("a step");
            losses.extend(decrypted(&key, &session.read("loss").expect("an output")));
        }
        let found = weights(&key, &session.parameters().expect("weights"));
        (losses, found)
    };
    let (expected, found) = (train(&cpu), train(&gpu));
    assert!(
        expected.0[STEPS - 1] < learned * expected.0[0],
        "{algebra}: nothing is learned: {:?}",
        expected.0
    );
    for (e, f) in [(&expected.0, &found.0), (&expected.1, &found.1)] {
        assert_eq!(e.len(), f.len());
        for (at, (e, f)) in e.iter().zip(f).enumerate() {
            assert!((e - f).abs() < 5e-5, "{algebra}, number {at}: {e} and {f}");
        }
    }
}

/// Sums past the largest number in the first product: the run says so, and weights stay, to the bit.
#[test]
fn a_run_that_fails_steps_nothing() {
    let Some(gpu) = gpu() else { return };
    for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Compact(3)] {
        let slots = algebra.slots().max(2);
        let key = SecretKey::generate(slots).expect("keys of that size exist");
        let mut session = session(&gpu, &linear(), &key, algebra, (1e36, 1e4));
        let before = weights(&key, &session.parameters().expect("weights"));
        let found = session.run();
        assert!(
            matches!(found, Err(Error::RunNotFinite { .. })),
            "{algebra}: {found:?}"
        );
        let after = weights(&key, &session.parameters().expect("weights"));
        assert_eq!(before, after, "{algebra}");
        assert!(after.iter().all(|w| w.is_finite()), "{algebra}");
    }
}
