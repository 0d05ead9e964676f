//! Training: encrypted weights follow plain ones, and both follow the oracle.

use std::collections::BTreeMap;
use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::Cpu;
use furthermore::network::{Function, Optimizer, Parameters};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::MaskPolicy;
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext, Tensor};

use crate::support::{
    DTYPES, FUNCTIONS, Loss, Mlp, Noise, Point, REGIMES, compare, compiled, cpu, decrypted,
    devices, encrypt, key, open, parameters_encrypted, tensor,
};

const STEPS: usize = 30;
/// Samples of the training set, and of a step.
const SAMPLES: usize = 24;
const BATCH: usize = 8;

/// A data set and a network to fit to it.
struct Task {
    activation: Function,
    loss: Loss,
    inputs: Vec<f64>,
    targets: Vec<f64>,
    rate: f64,
    momentum: f64,
}

const SIZES: [usize; 4] = [5, 8, 6, 3];

impl Task {
    fn new(activation: Function, loss: Loss) -> Self {
        let mut noise = Noise::new(81);
        let targets = match loss {
            Loss::CrossEntropy => noise.one_hot(SAMPLES, SIZES[3]),
            Loss::SquaredError => noise.numbers(SAMPLES * SIZES[3], -1.0, 1.0),
        };
        Self {
            activation,
            loss,
            inputs: noise.numbers(SAMPLES * SIZES[0], -1.0, 1.0),
            targets,
            rate: 0.05,
            momentum: 0.9,
        }
    }

    fn mlp(&self) -> Mlp {
        Mlp::new(&SIZES, self.activation, self.loss)
    }

    fn tensors(&self, dtype: DType) -> (Plaintext, Plaintext) {
        (
            tensor(&[SAMPLES, SIZES[0]], &self.inputs, dtype),
            tensor(&[SAMPLES, SIZES[3]], &self.targets, dtype),
        )
    }

    /// The samples of a step, all different; steps take different ones.
    fn rows(step: usize) -> Vec<usize> {
        (0..BATCH)
            .map(|i| (step * BATCH * 5 + i * 7) % SAMPLES)
            .collect()
    }

    fn initial(&self) -> Parameters {
        let (network, _) = self.mlp().judged();
        network.initial_parameters(10, DType::F64).expect("weights")
    }

    fn plan(&self, dtype: DType, algebra: Algebra) -> Arc<Plan> {
        let (network, loss) = self.mlp().judged();
        let network = network
            .with_optimizer(loss, Optimizer::sgd(self.momentum), None)
            .expect("gradients");
        let options = CompileOptions::encrypted(BATCH, dtype, algebra);
        Arc::new(Plan::compile(&network, &options).expect("a plan"))
    }

    /// Trains the oracle.
    fn oracle(&self) -> (Point, Vec<f64>) {
        let mut mlp = self.mlp();
        mlp.load(&self.initial());
        let mut losses = Vec::new();
        for step in 0..STEPS {
            let rows = Self::rows(step);
            let take = |values: &[f64], width: usize| -> Vec<f64> {
                let row = |r: &usize| values[r * width..(r + 1) * width].to_vec();
                rows.iter().flat_map(row).collect()
            };
            let (x, y) = (take(&self.inputs, SIZES[0]), take(&self.targets, SIZES[3]));
            losses.push(mlp.loss(&x, &y, BATCH));
            mlp.step(&x, &y, BATCH, self.rate, self.momentum);
        }
        (mlp.weights(), losses)
    }

    /// Trains in the engine; `masked` starts from weights with masks of their own.
    fn train(
        &self,
        device: &Cpu,
        dtype: DType,
        algebra: Algebra,
        masked: bool,
    ) -> (Point, Vec<f64>) {
        let key = key(algebra.slots().max(2), 82);
        let plan = self.plan(dtype, algebra);
        let initial = self.initial();
        let mut session = open(device, plan, &key, &initial);
        if masked {
            parameters_encrypted(&mut session, &key, &initial, 83);
        }
        session.set_learning_rate(self.rate).expect("a rate");
        let (x, y) = self.tensors(dtype);
        let (x, y) = match algebra {
            Algebra::Real => (Tensor::Plaintext(x), Tensor::Plaintext(y)),
            _ => {
                let (x, y) = key
                    .encryptor_from_known_seed(algebra, 84)
                    .expect("an algebra of the key")
                    .encrypt_training_set(&x, &y, MaskPolicy::PairedRows)
                    .expect("a training set");
                (Tensor::Ciphertext(x), Tensor::Ciphertext(y))
            }
        };
        let mut losses = Vec::new();
        for step in 0..STEPS {
            let rows = Self::rows(step);
            session.write_rows("x", &x, &rows).expect("rows");
            session.write_rows("target", &y, &rows).expect("rows");
            session
                .run()
                .unwrap_or_else(|error| panic!("step {step}: {error}"));
            losses.extend(decrypted(&session, &key, "loss"));
        }
        let mut weights = Point::new();
        for (name, tensor) in session.parameters().expect("weights").iter() {
            let plain = match tensor {
                Tensor::Plaintext(plaintext) => plaintext.to_f64(),
                Tensor::Ciphertext(ciphertext) => {
                    key.decrypt(ciphertext).expect("its own key").to_f64()
                }
            };
            weights.insert(name.to_owned(), plain);
        }
        (weights, losses)
    }
}

fn tasks() -> Vec<Task> {
    let with = |activation| {
        [Loss::CrossEntropy, Loss::SquaredError].map(|loss| Task::new(activation, loss))
    };
    let mut tasks: Vec<Task> = FUNCTIONS.into_iter().flat_map(with).collect();
    // Without momentum there are no velocities, and steps are another kernel's work.
    tasks.push(Task {
        momentum: 0.0,
        rate: 0.2,
        ..Task::new(Function::Tanh, Loss::CrossEntropy)
    });
    tasks
}

fn close(what: &str, found: &(Point, Vec<f64>), expected: &(Point, Vec<f64>), bound: f64) -> f64 {
    assert!(
        found.0.keys().eq(expected.0.keys()),
        "{what}: other weights"
    );
    let mut worst: f64 = 0.0;
    let mut check = |name: &str, found: &[f64], expected: &[f64]| {
        let share = compare(found, expected, bound);
        worst = worst.max(share.unwrap_or_else(|error| panic!("{what}, {name}: {error}")));
    };
    for (name, expected) in &expected.0 {
        check(name, &found.0[name], expected);
    }
    check("loss", &found.1, &expected.1);
    worst * bound
}

/// In f64 thirty steps leave nothing that rounding could not explain: weights are near one, and
/// each step adds some 1e-15 that the steps after it multiply by about one.
#[test]
fn thirty_steps_in_f64_are_the_oracles() {
    let devices = devices();
    for task in tasks() {
        let what = format!("{} {:?}", task.activation.name(), task.loss);
        let oracle = task.oracle();
        let moved = task.initial();
        let start = match moved.get("fc1.weight").expect("a weight") {
            Tensor::Plaintext(weight) => weight.to_f64(),
            Tensor::Ciphertext(_) => panic!("weights start as plaintext"),
        };
        // A step size of nothing would make every comparison below true.
        assert!(
            compare(&oracle.0["fc1.weight"], &start, 1e-3).is_err(),
            "{what}"
        );
        let mut plain = BTreeMap::new();
        for device in &devices {
            let trained = task.train(device, DType::F64, Algebra::Real, false);
            close(&format!("{what} plain"), &trained, &oracle, 1e-11);
            plain.insert(device.isa(), trained);
        }
        for algebra in [
            Algebra::Compact(2),
            Algebra::Blocks(2),
            Algebra::Compact(3),
            Algebra::Blocks(3),
        ] {
            for device in &devices {
                for masked in [false, true] {
                    let what = format!("{what} {algebra} masked {masked} {device:?}");
                    let trained = task.train(device, DType::F64, algebra, masked);
                    close(&what, &trained, &oracle, 1e-11);
                    close(&what, &trained, &plain[&device.isa()], 1e-11);
                }
            }
        }
    }
}

/// In f32 the same steps stay within 5e-6 of weights near one: some eighty units of rounding, where
/// each of thirty steps rounds every weight a few times, and most of that averages out.
#[test]
fn thirty_steps_in_f32_stay_near() {
    let devices = devices();
    let mut worst: f64 = 0.0;
    for task in tasks() {
        let oracle = task.oracle();
        for device in &devices {
            let plain = task.train(device, DType::F32, Algebra::Real, false);
            for algebra in [Algebra::Compact(2), Algebra::Blocks(2), Algebra::Compact(3)] {
                let what = format!(
                    "{} {:?} {algebra} {device:?}",
                    task.activation.name(),
                    task.loss
                );
                for masked in [false, true] {
                    let trained = task.train(device, DType::F32, algebra, masked);
                    worst = worst.max(close(&what, &trained, &oracle, 5e-6));
                    worst = worst.max(close(&what, &trained, &plain, 5e-6));
                }
            }
        }
    }
    println!("f32 weights after {STEPS} steps: within {worst:.1e} of the oracle");
}

/// Training brings the loss down, encrypted as plain.
#[test]
fn training_learns() {
    let task = Task {
        rate: 0.2,
        ..Task::new(Function::Tanh, Loss::CrossEntropy)
    };
    let device = cpu();
    for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Blocks(2)] {
        let (_, losses) = task.train(&device, DType::F64, algebra, false);
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&losses[..3]), mean(&losses[STEPS - 3..]));
        assert!(last < 0.8 * first, "{algebra}: {first} to {last}");
    }
}

/// A run with a step size of zero leaves weights as they are, velocities apart, and loading weights
/// again forgets those.
#[test]
fn loading_parameters_starts_afresh() {
    let task = Task::new(Function::Sigmoid, Loss::SquaredError);
    let key = key(2, 85);
    let device = cpu();
    for dtype in DTYPES {
        let algebra = Algebra::Compact(2);
        let initial = task.initial();
        let mut session = open(&device, task.plan(dtype, algebra), &key, &initial);
        let (x, y) = task.tensors(dtype);
        let (x, y) = (encrypt(&key, algebra, 1, &x), encrypt(&key, algebra, 1, &y));
        let rows: Vec<usize> = (0..BATCH).collect();
        let step = |session: &mut Session, rate: f64| {
            session.set_learning_rate(rate).expect("a rate");
            session.write_rows("x", &x, &rows).expect("rows");
            session.write_rows("target", &y, &rows).expect("rows");
            session.run().expect("a run");
            decrypted(session, &key, "fc2.weight")
        };
        let velocity = |session: &Session| decrypted(session, &key, "fc2.weight.velocity");
        assert!(velocity(&session).iter().all(|v| *v == 0.0));
        let still = step(&mut session, 0.0);
        let Tensor::Plaintext(start) = initial.get("fc2.weight").expect("a weight") else {
            panic!("weights start as plaintext");
        };
        compare(&still, &start.to_f64(), 1e-6).unwrap_or_else(|error| panic!("{error}"));
        assert!(velocity(&session).iter().any(|v| *v != 0.0));

        let mut rounded = Parameters::default();
        for (name, tensor) in initial.iter() {
            let Tensor::Plaintext(weight) = tensor else {
                panic!("weights start as plaintext");
            };
            rounded.insert(
                name,
                Tensor::Plaintext(weight.to_dtype(dtype).expect("memory for it")),
            );
        }
        session.load_parameters(&rounded).expect("weights");
        assert!(velocity(&session).iter().all(|v| *v == 0.0));
        let first = step(&mut session, 0.1);
        session.load_parameters(&rounded).expect("weights");
        assert_eq!(first, step(&mut session, 0.1));
    }
}

/// Encrypted weights that training made go into another session, and decrypt to the same results.
#[test]
fn trained_weights_move_to_inference() {
    let task = Task::new(Function::Relu, Loss::CrossEntropy);
    let key = key(2, 86);
    let device = cpu();
    let algebra = Algebra::Compact(2);
    let plan = task.plan(DType::F64, algebra);
    let mut session = open(&device, plan, &key, &task.initial());
    session.set_learning_rate(task.rate).expect("a rate");
    let (x, y) = task.tensors(DType::F64);
    let encrypted = (encrypt(&key, algebra, 2, &x), encrypt(&key, algebra, 2, &y));
    for step in 0..5 {
        let rows = Task::rows(step);
        session.write_rows("x", &encrypted.0, &rows).expect("rows");
        session
            .write_rows("target", &encrypted.1, &rows)
            .expect("rows");
        session.run().expect("a run");
    }
    let trained = session.parameters().expect("weights");
    let mut opened = Parameters::default();
    for (name, tensor) in trained.iter() {
        let Tensor::Ciphertext(weight) = tensor else {
            panic!("{name} came out as plaintext");
        };
        let weight = key.decrypt(weight).expect("its own key");
        opened.insert(name, Tensor::Plaintext(weight));
    }
    let network = task.mlp().inference();
    let ct_ct = CompileOptions::encrypted(SAMPLES, DType::F64, algebra);
    let plan = Arc::new(Plan::compile(&network, &ct_ct).expect("a plan"));
    let mut session = Session::new(&device, plan, Some(key.evaluation_key())).expect("a session");
    session.load_parameters(&trained).expect("weights");
    session.write("x", &encrypted.0).expect("it fits");
    session.run().expect("a run");
    let found = decrypted(&session, &key, "y");
    let mut mlp = task.mlp();
    mlp.load(&opened);
    let expected = mlp.forward(&task.inputs, SAMPLES);
    compare(&found, &expected, 1e-12).unwrap_or_else(|error| panic!("{error}"));

    let plan = compiled(&network, SAMPLES, DType::F64, algebra, REGIMES[0]);
    let mut session = open(&device, plan, &key, &opened);
    session.write("x", &encrypted.0).expect("it fits");
    session.run().expect("a run");
    let found = decrypted(&session, &key, "y");
    compare(&found, &expected, 1e-12).unwrap_or_else(|error| panic!("{error}"));
}
