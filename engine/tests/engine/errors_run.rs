//! Runs that fail or are stopped: the message names the operation where it began, and the parameters
//! are left as they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use furthermore::device::Cancel;
use furthermore::network::{Function, Optimizer};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::session::Session;
use furthermore::tensor::{DType, Tensor};
use furthermore::{Algebra, Error};

use crate::support::{
    DTYPES, Loss, Mlp, Noise, Training, cpu, decrypted, encrypt, from_coordinates, key, open,
    random, refused, tensor,
};

const ALGEBRA: Algebra = Training::ALGEBRA;
const BATCH: usize = Training::BATCH;

/// Moments at which a run is cancelled.
const ROUNDS: u32 = 80;

#[test]
fn a_run_that_overflows_names_where_and_steps_nothing() {
    for dtype in DTYPES {
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
        let network = network
            .with_optimizer(loss, Optimizer::sgd(0.0), None)
            .expect("gradients");
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
    let network = network
        .with_optimizer(loss, Optimizer::sgd(0.0), None)
        .expect("gradients");
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
