//! What is refused when tensors meet a session and when it runs, and that a run that fails leaves the
//! parameters as they were.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use furthermore::device::{Cancel, Cpu};
use furthermore::network::{Function, Init, Network};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::{Guard, MaskPolicy, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{Ciphertext, DType, Plaintext, Tensor};
use furthermore::{Algebra, Error};
use support::{Loss, Mlp, Noise, decrypted, encrypt, from_coordinates, key, open, random, tensor};
use tracing::span;

fn refused<T>(what: &str, result: Result<T, Error>, parts: &[&str]) {
    let Err(error) = result else {
        panic!("{what} was accepted");
    };
    let message = error.to_string();
    for part in parts {
        assert!(
            message.contains(part),
            "{what}: '{part}' is not in '{message}'"
        );
    }
}

fn cpu() -> Cpu {
    Cpu::new().expect("an instruction set of this machine")
}

const ALGEBRA: Algebra = Algebra::Compact(2);
const BATCH: usize = 4;
/// Moments at which a run is cancelled.
const ROUNDS: u32 = 80;

/// A training session of 3 inputs and 2 outputs with a few samples written to it.
struct Training {
    key: SecretKey,
    session: Session,
    x: Ciphertext,
    target: Ciphertext,
}

impl Training {
    fn new(dtype: DType) -> Self {
        let mlp = Mlp::new(&[3, 5, 2], Function::Sigmoid, Loss::SquaredError);
        let (network, loss) = mlp.judged();
        let network = network.with_sgd(loss, 0.9).expect("gradients");
        let options = CompileOptions::encrypted(BATCH, dtype, ALGEBRA);
        let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
        let key = key(2, 111);
        let weights = network.initial_parameters(12, DType::F64).expect("weights");
        let mut session = open(&cpu(), plan, &key, &weights);
        let mut noise = Noise::new(112);
        let mut draw = |shape: &[usize]| {
            let messages = random(shape, (-1.0, 1.0), dtype, &mut noise);
            encrypt(&key, ALGEBRA, 3, &messages)
        };
        let (x, target) = (draw(&[BATCH, 3]), draw(&[BATCH, 2]));
        session.write("x", &x).expect("it fits");
        session.write("target", &target).expect("it fits");
        session.set_learning_rate(0.1).expect("a rate");
        Self {
            key,
            session,
            x,
            target,
        }
    }

    /// Every parameter and every velocity, decrypted.
    fn state(&self) -> Vec<Vec<f64>> {
        let mut state = Vec::new();
        for layer in ["fc1", "fc2"] {
            for part in ["weight", "bias"] {
                for what in ["", ".velocity"] {
                    let name = format!("{layer}.{part}{what}");
                    state.push(decrypted(&self.session, &self.key, &name));
                }
            }
        }
        state
    }
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let Training {
        key: ours,
        mut session,
        ..
    } = Training::new(DType::F32);
    let theirs = key(2, 113);
    let draw = |shape: &[usize], dtype| random(shape, (-1.0, 1.0), dtype, &mut Noise::new(1));
    let good = draw(&[BATCH, 3], DType::F32);
    let narrow = encrypt(&ours, ALGEBRA, 1, &draw(&[BATCH, 2], DType::F32));
    let parts = ["input 'x'", "[4, 2] where [4, 3]"];
    refused("a shape", session.write("x", &narrow), &parts);
    let wide = encrypt(&ours, ALGEBRA, 1, &draw(&[BATCH, 3], DType::F64));
    refused(
        "a type",
        session.write("x", &wide),
        &["input 'x'", "f64 where f32"],
    );
    let blocks = encrypt(&ours, Algebra::Blocks(2), 1, &good);
    let parts = ["input 'x'", "blocks2 where compact2"];
    refused("an algebra", session.write("x", &blocks), &parts);
    let foreign = encrypt(&theirs, ALGEBRA, 1, &good);
    let ids = [ours.id().to_string(), theirs.id().to_string()];
    let parts = ["input 'x'", &ids[0], &ids[1]];
    refused("a key", session.write("x", &foreign), &parts);
    let parts = ["input 'x'", "a plaintext was given where a ciphertext"];
    refused("a plaintext", session.write("x", &good), &parts);
    refused(
        "a plaintext",
        session.write_rows("x", &good, &[0, 1, 2, 3]),
        &parts,
    );
    let weight = draw(&[5, 3], DType::F32);
    let parts = ["parameter 'fc1.weight'", "[5, 3] where [3, 5]"];
    refused("a weight", session.write("fc1.weight", &weight), &parts);
    let bad = tensor(&[5], &[0.0, 0.0, f64::NAN, 0.0, 0.0], DType::F32);
    let parts = ["parameter 'fc1.bias'", "element 2", "NaN"];
    refused("a weight", session.write("fc1.bias", &bad), &parts);

    let known = ["'z'", "x", "target", "fc1.weight", "fc2.bias"];
    refused("a name", session.write("z", &good), &known);
    refused(
        "a result",
        session.write("y", &good),
        &["'y'", "input or parameter"],
    );
    refused(
        "a name",
        session.write_rows("fc1.bias", &bad, &[0]),
        &["input 'fc1.bias'"],
    );
    refused("a name", session.read("z"), &["'z'", "y, loss"]);
    refused("an input", session.read("x"), &["'x'"]);

    // The plan of another regime wants the opposite.
    let network = Mlp::new(&[3, 2], Function::Relu, Loss::SquaredError).inference();
    let options = CompileOptions::encrypted_inputs(BATCH, DType::F32, ALGEBRA);
    let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
    let mut session = Session::new(&cpu(), plan, Some(ours.evaluation_key())).expect("a session");
    let weight = encrypt(&ours, ALGEBRA, 1, &draw(&[3, 2], DType::F32));
    let parts = [
        "parameter 'fc1.weight'",
        "a ciphertext was given where a plaintext",
    ];
    refused("a weight", session.write("fc1.weight", &weight), &parts);
    let parts = ["parameter 'fc1.weight'", "there are "];
    let nothing = furthermore::network::Parameters::default();
    refused("no weights", session.load_parameters(&nothing), &parts);
}

#[test]
fn rows_that_do_not_exist_are_refused() {
    let mut training = Training::new(DType::F32);
    let mut noise = Noise::new(2);
    let many = random(&[9, 3], (-1.0, 1.0), DType::F32, &mut noise);
    let many = encrypt(&training.key, ALGEBRA, 1, &many);
    let session = &mut training.session;
    let parts = ["input 'x'", "row 9", "there are 9"];
    refused(
        "a row",
        session.write_rows("x", &many, &[0, 9, 1, 2]),
        &parts,
    );
    let parts = ["input 'x'", &usize::MAX.to_string()[..]];
    refused(
        "a row",
        session.write_rows("x", &many, &[0, 1, 2, usize::MAX]),
        &parts,
    );
    let parts = ["input 'x'", "[3, 3] where [4, 3]"];
    refused(
        "few rows",
        session.write_rows("x", &many, &[0, 1, 2]),
        &parts,
    );
    let wide = random(&[9, 4], (-1.0, 1.0), DType::F32, &mut noise);
    let wide = encrypt(&training.key, ALGEBRA, 1, &wide);
    let parts = ["input 'x'", "[4, 4] where [4, 3]"];
    refused(
        "wide rows",
        session.write_rows("x", &wide, &[0, 1, 2, 3]),
        &parts,
    );
    let single = encrypt(&training.key, ALGEBRA, 1, &tensor(&[], &[1.0], DType::F32));
    refused(
        "a number",
        session.write_rows("x", &single, &[0; 4]),
        &["input 'x'", "[] where"],
    );
    session
        .write_rows("x", &many, &[8, 8, 0, 3])
        .expect("rows may repeat");
    session.run().expect("a run");
}

#[test]
fn learning_rates_are_checked() {
    for (dtype, rates) in [
        (DType::F32, &[f64::NAN, f64::INFINITY, -0.1, 1e39][..]),
        (DType::F64, &[f64::NAN, f64::NEG_INFINITY, -1e-300]),
    ] {
        let mut training = Training::new(dtype);
        for rate in rates {
            let parts = ["learning rate", &rate.to_string(), "negative or not finite"];
            refused("a rate", training.session.set_learning_rate(*rate), &parts);
        }
        training.session.run().expect("the rate from before");
    }
}

#[test]
fn a_run_that_overflows_names_where_and_steps_nothing() {
    for dtype in support::DTYPES {
        let mut training = Training::new(dtype);
        training.session.run().expect("a run");
        let before = training.state();
        // Large enough that a product of two overflows, and the masks with it.
        let size = match dtype {
            DType::F32 => 1e38,
            DType::F64 => 1e308,
        };
        let weight = tensor(&[3, 5], &[size; 15], dtype);
        training
            .session
            .write("fc1.weight", &weight)
            .expect("it fits");
        let x = tensor(&[BATCH, 3], &[9.0; 12], dtype);
        let x = encrypt(&training.key, ALGEBRA, 1, &x);
        training.session.write("x", &x).expect("it fits");
        let loaded = training.state();
        let found = training.session.run();
        let parts = [
            "`activation1`",
            "not finite",
            "past the largest number",
            "block_matmul",
        ];
        refused("a run", found, &parts);
        // fc1.weight is what was written to it, and everything else is what it was.
        assert_eq!(training.state(), loaded);
        assert_eq!(loaded[1..], before[1..]);

        // With numbers back in range it runs on.
        let weight = tensor(&[3, 5], &[0.1; 15], dtype);
        training
            .session
            .write("fc1.weight", &weight)
            .expect("it fits");
        training.session.write("x", &training.x).expect("it fits");
        training.session.run().expect("a run");
    }
}

#[test]
fn a_step_too_large_fails_the_next_run() {
    for (dtype, rate) in [(DType::F32, 1e30), (DType::F64, 1e200)] {
        let mlp = Mlp::new(&[3, 5, 2], Function::Square, Loss::SquaredError);
        let (network, loss) = mlp.judged();
        let network = network.with_sgd(loss, 0.0).expect("gradients");
        let options = CompileOptions::encrypted(BATCH, dtype, ALGEBRA);
        let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
        let training = Training::new(dtype);
        let weights = network.initial_parameters(12, DType::F64).expect("weights");
        let mut session = open(&cpu(), plan, &training.key, &weights);
        session.write("x", &training.x).expect("it fits");
        session.write("target", &training.target).expect("it fits");
        session.set_learning_rate(rate).expect("a finite rate");
        let first = session.run();
        first.unwrap_or_else(|error| panic!("{dtype}: the first step: {error}"));
        let read = |session: &Session| decrypted(session, &training.key, "fc1.weight");
        let thrown = read(&session);
        assert!(thrown.iter().any(|w| w.abs() > rate / 1e6), "{thrown:?}");
        refused(
            "the second step",
            session.run(),
            &["`", "not finite", "largest number"],
        );
        assert_eq!(thrown, read(&session));
    }
}

/// A ciphertext cannot be looked into when it is written, so a run finds what is wrong with it.
#[test]
fn a_ciphertext_that_is_not_finite_is_named() {
    for algebra in [Algebra::Compact(2), Algebra::Blocks(3)] {
        let key = key(algebra.slots(), 114);
        let mlp = Mlp::new(&[3, 4, 2], Function::Relu, Loss::SquaredError);
        let network = mlp.inference();
        let options = CompileOptions::encrypted(BATCH, DType::F32, algebra);
        let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
        let weights = network.initial_parameters(13, DType::F64).expect("weights");
        let mut session = open(&cpu(), plan, &key, &weights);
        for bad in [f64::NAN, f64::INFINITY] {
            let mut elements = vec![vec![0.5; algebra.dim()]; BATCH * 3];
            elements[7][1] = bad;
            let evaluation = key.evaluation_key();
            let x = from_coordinates(&[BATCH, 3], algebra, evaluation, &elements, DType::F32);
            session.write("x", &x).expect("it fits");
            let parts = ["not finite", "input 'x'", "holds one already"];
            refused("a run", session.run(), &parts);
        }
        let elements = vec![vec![f64::NAN; algebra.dim()]; 3 * 4];
        let evaluation = key.evaluation_key();
        let weight = from_coordinates(&[3, 4], algebra, evaluation, &elements, DType::F32);
        session.write("fc1.weight", &weight).expect("it fits");
        let x = random(&[BATCH, 3], (-1.0, 1.0), DType::F32, &mut Noise::new(3));
        session
            .write("x", &encrypt(&key, algebra, 1, &x))
            .expect("it fits");
        let parts = ["not finite", "parameter 'fc1.weight'", "holds one already"];
        refused("a run", session.run(), &parts);
    }
}

#[test]
fn single_operations_are_watched_too() {
    let big = tensor(&[3], &[1e30, -1e30, 1.0], DType::F32);
    refused(
        "a product",
        cpu().multiply(&big, &big),
        &["`multiply`", "not finite", "f32"],
    );
    let found = cpu().map(Function::Square, &big);
    refused("a square", found, &["`square`", "not finite"]);
    refused(
        "a multiple",
        cpu().scale(&big, 1e30),
        &["`scale`", "not finite"],
    );
    let key = key(2, 115);
    let c = encrypt(&key, ALGEBRA, 1, &big);
    refused(
        "a product",
        cpu().multiply(&c, &c),
        &["`multiply`", "not finite"],
    );
    let wide = tensor(&[1], &[1e200], DType::F64);
    refused(
        "a sum",
        cpu().multiply(&wide, &wide),
        &["`multiply`", "f64"],
    );
}

/// Messages of about one under masks of about `ratio`.
fn apart(key: &SecretKey, ratio: f64, dtype: DType) -> (Plaintext, Ciphertext) {
    let mut noise = Noise::new(4);
    let messages = tensor(&[BATCH, 3], &noise.either_sign(12, 0.5, 1.0), dtype);
    let masks = noise.either_sign(12, 0.5 * ratio, ratio);
    let masks = tensor(&[BATCH, 3], &masks, dtype);
    let ciphertext = key
        .encryptor_from_known_seed(ALGEBRA, 5)
        .expect("its algebra")
        .encrypt_with(&messages, MaskPolicy::From(&masks))
        .expect("finite messages");
    (messages, ciphertext)
}

fn guarded(key: &SecretKey, dtype: DType) -> Session {
    let mut network = Network::new();
    let x = network.input("x", [3]).expect("a new name");
    let y = network.relu("first function", x).expect("a new name");
    let y = network.sigmoid("second function", y).expect("a new name");
    network.output("y", y).expect("a new name");
    let options = CompileOptions::encrypted_inputs(BATCH, dtype, ALGEBRA);
    let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
    Session::new(&cpu(), plan, Some(key.evaluation_key())).expect("a session")
}

#[test]
fn masks_far_from_messages_trip_the_guard() {
    let key = key(2, 116);
    for (dtype, ratio) in [(DType::F32, 1e6), (DType::F64, 1e15)] {
        let mut session = guarded(&key, dtype);
        let (_, x) = apart(&key, ratio, dtype);
        session.write("x", &x).expect("it fits");
        let limit = Guard::for_dtype(dtype).fail;
        let parts = [
            "`first function`",
            "times the other",
            &format!("past {limit:.0e}"),
        ];
        let found = session.run();
        let Err(Error::MaskGuard { ratio: seen, .. }) = &found else {
            panic!("{found:?}");
        };
        assert!(
            (0.3 * ratio..3.0 * ratio).contains(seen),
            "{seen:e} of {ratio:e}"
        );
        refused("a run", found, &parts);
        refused(
            "an operation",
            cpu().map(Function::Relu, &x),
            &["`relu`", "times the other"],
        );
        refused(
            "a result",
            cpu().scale(&x, 2.0),
            &["`scale`", "times the other"],
        );
        // Whoever knows better may say so.
        let (warn, fail) = (1e16, 1e17);
        session.set_guard(Guard { warn, fail });
        session.run().expect("a guard that lets it through");
    }
}

/// Counts events of the level of warnings.
#[derive(Default)]
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Past the first limit a run says so, once for each operation, and goes on.
#[test]
fn a_ratio_between_the_limits_only_warns() {
    let key = key(2, 117);
    let count = Arc::new(AtomicUsize::new(0));
    let warnings = Warnings(Arc::clone(&count));
    // Events go to the thread that runs the plan, so it has to be the one that listens.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("a thread").install(|| {
        tracing::subscriber::with_default(warnings, || {
            for (ratio, expected) in [(1.0, 0), (1e4, 1)] {
                count.store(0, Ordering::SeqCst);
                let mut session = guarded(&key, DType::F32);
                let (messages, x) = apart(&key, ratio, DType::F32);
                session.write("x", &x).expect("it fits");
                for _ in 0..3 {
                    session.run().expect("a run");
                }
                // Sigmoid's arguments are as far apart as the first function's.
                let seen = count.load(Ordering::SeqCst);
                assert_eq!(seen, 2 * expected, "ratio {ratio:e}");
                let found = decrypted(&session, &key, "y");
                let of = |x: &f64| support::value(Function::Sigmoid, x.max(0.0));
                let wanted: Vec<f64> = messages.to_f64().iter().map(of).collect();
                support::compare(&found, &wanted, 4.0 * 6e-8 * ratio.max(4.0))
                    .unwrap_or_else(|error| panic!("ratio {ratio:e}: {error}"));
            }
        });
    });
}

#[test]
fn a_raised_flag_stops_a_run() {
    let mut training = Training::new(DType::F64);
    let cancel = Cancel::default();
    training.session.set_cancel(Some(cancel.clone()));
    training.session.run().expect("a run");
    let before = training.state();
    cancel.cancel();
    assert!(cancel.is_cancelled());
    refused("a run", training.session.run(), &["cancelled before `"]);
    assert_eq!(training.state(), before);
    training.session.set_cancel(None);
    training.session.run().expect("a run");
    assert_ne!(training.state(), before);
}

/// Whenever the flag comes up, a run either steps every parameter or none.
#[test]
fn a_run_is_not_stopped_half_way_through_its_updates() {
    // Wide layers and a single sample: a good part of a run is its updates.
    let mlp = Mlp::new(&[256; 6], Function::Tanh, Loss::SquaredError);
    let (network, loss) = mlp.judged();
    let network = network.with_sgd(loss, 0.0).expect("gradients");
    let plan = Plan::compile(&network, &CompileOptions::plain(1, DType::F64)).expect("a plan");
    let weights = network.initial_parameters(14, DType::F64).expect("weights");
    let mut session = open(&cpu(), Arc::new(plan), &key(2, 118), &weights);
    session.set_learning_rate(0.01).expect("a rate");
    for (name, seed) in [("x", 6), ("target", 7)] {
        let values = random(&[1, 256], (-1.0, 1.0), DType::F64, &mut Noise::new(seed));
        session.write(name, &values).expect("it fits");
    }
    let state = |session: &Session| -> Vec<Vec<f64>> {
        let weights = session.parameters().expect("weights");
        let each = weights.iter().map(|(_, tensor)| match tensor {
            Tensor::Plaintext(plaintext) => plaintext.to_f64(),
            Tensor::Ciphertext(_) => panic!("all is plain here"),
        });
        each.collect()
    };
    session.run().expect("a run");
    let start = Instant::now();
    session.run().expect("a run");
    let duration = start.elapsed();
    let (mut cancelled, mut finished) = (0, 0);
    let mut before = state(&session);
    for round in 0..ROUNDS {
        let cancel = Cancel::default();
        session.set_cancel(Some(cancel.clone()));
        // From the start of a run to a little past its end.
        let delay = duration.mul_f64(1.2 * f64::from(round) / f64::from(ROUNDS));
        let started = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !started.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                let start = Instant::now();
                while start.elapsed() < delay {
                    std::hint::spin_loop();
                }
                cancel.cancel();
            });
            started.store(true, Ordering::Release);
            session.run()
        });
        let after = state(&session);
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        match result {
            Ok(()) => {
                finished += 1;
                assert_eq!(moved, after.len(), "a run that finished");
            }
            Err(Error::Cancelled { operation }) => {
                cancelled += 1;
                assert_eq!(moved, 0, "a run that was cancelled before {operation}");
            }
            Err(error) => panic!("{error}"),
        }
        before = after;
    }
    println!("{cancelled} runs were cancelled and {finished} finished, of {duration:?} each");
}

/// An input that is not written is zero, and a session says so by computing with it.
#[test]
fn sessions_start_at_zero() {
    let mut network = Network::new();
    let x = network.input("x", [2]).expect("a new name");
    let init = Init::Uniform { bound: 1.0 };
    let b = network.parameter("b", [2], init).expect("a new name");
    let y = network.add("y", x, b).expect("a new name");
    network.output("y", y).expect("a new name");
    let options = CompileOptions::encrypted(BATCH, DType::F32, ALGEBRA);
    let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
    let key = key(2, 119);
    let mut session = Session::new(&cpu(), plan, Some(key.evaluation_key())).expect("a session");
    assert!(format!("{session:?}").contains("compact2, f32, batch 4"));
    session.run().expect("a run");
    assert_eq!(decrypted(&session, &key, "y"), [0.0; 8]);
}
