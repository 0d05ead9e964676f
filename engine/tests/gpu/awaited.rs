//! Whole inferences in an event loop: loaded, written, run and read without blocking its thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use furthermore::device::{Cpu, Device};
use furthermore::network::{Function, Network};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::{EvaluationKey, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{Ciphertext, DType, Plaintext, Tensor};
use furthermore::{Algebra, Error};

use crate::gpu;

const BATCH: usize = 3;
const SIZE: usize = 11;

/// A future of the event loop, raised again when it is woken.
struct Woken {
    raised: AtomicBool,
    thread: Thread,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.raised.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Polls futures in one thread, each when it was woken; what they give, and how often each was polled.
fn event_loop<'a, T: 'a>(futures: impl IntoIterator<Item = Task<'a, T>>) -> Vec<(T, usize)> {
    let mut tasks: Vec<_> = futures
        .into_iter()
        .map(|future| {
            let woken = Arc::new(Woken {
                raised: AtomicBool::new(true),
                thread: thread::current(),
            });
            (future, woken, 0, None)
        })
        .collect();
    while tasks.iter().any(|(.., output)| output.is_none()) {
        let mut idle = true;
        for (future, woken, polls, output) in &mut tasks {
            if output.is_some() || !woken.raised.swap(false, Ordering::SeqCst) {
                continue;
            }
            idle = false;
            *polls += 1;
            let waker = Waker::from(Arc::clone(woken));
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                *output = Some(value);
            }
        }
        if idle {
            thread::park();
        }
    }
    let done = |(_, _, polls, output): (_, _, usize, Option<T>)| {
        (output.expect("all of them are done"), polls)
    };
    tasks.into_iter().map(done).collect()
}

fn plan(function: Function) -> Arc<Plan> {
    let mut network = Network::new();
    let x = network.input("x", [SIZE]).expect("a new name");
    let y = network.map("map", function, x).expect("a new name");
    network.output("y", y).expect("a new name");
    let options = CompileOptions::encrypted_inputs(BATCH, DType::F32, Algebra::Compact(2));
    Arc::new(Plan::compile(&network, &options).expect("it compiles"))
}

fn encrypted(key: &SecretKey, numbers: impl Fn(usize) -> f32) -> Ciphertext {
    let numbers: Vec<f32> = (0..BATCH * SIZE).map(numbers).collect();
    let messages = Plaintext::new([BATCH, SIZE], &numbers).expect("as many");
    let mut encryptor = key.encryptor(Algebra::Compact(2)).expect("of two slots");
    encryptor.encrypt(&messages).expect("it encrypts")
}

async fn infer(
    device: &dyn Device,
    function: Function,
    key: &Arc<EvaluationKey>,
    x: &Ciphertext,
) -> Result<Tensor, Error> {
    let mut session = Session::new_async(device, plan(function), Some(key)).await?;
    session.write("x", x)?;
    session.run_async().await?;
    session.read_async("y").await
}

#[test]
fn an_event_loop_drives_inferences_side_by_side() {
    let Some(gpu) = gpu() else { return };
    let cpu = Cpu::new().expect("its instruction set is here");
    let key = SecretKey::generate(2).expect("keys of that size exist");
    let inputs = [0.1f32, 0.2].map(|step| encrypted(&key, |i| (i as f32 * step).sin()));
    for (device, waits) in [(&gpu as &dyn Device, true), (&cpu, false)] {
        let both = inputs.iter().map(|x| {
            let inference = infer(device, Function::Tanh, key.evaluation_key(), x);
            Box::pin(inference) as Task<'_, Result<Tensor, Error>>
        });
        for ((y, polls), step) in event_loop(both).into_iter().zip([0.1, 0.2]) {
            let y = y.expect("it runs").into_ciphertext().expect("encrypted");
            let y = key.decrypt(&y).expect("its key").to_f64();
            for (i, y) in y.iter().enumerate() {
                let expected = (i as f64 * step).sin().tanh();
                assert!((y - expected).abs() < 1e-5, "{i}: {y} and {expected}");
            }
            // The processor is done when it is first polled; for another device there are waits for the
            // run and for what is read.
            assert_eq!(polls > 1, waits, "{polls} polls on {}", device.name());
        }
    }
}

/// What went wrong is looked for without blocking as well, and found as it is by a run that blocks.
#[test]
fn an_event_loop_is_told_where_a_run_went_wrong() {
    let Some(gpu) = gpu() else { return };
    let key = SecretKey::generate(2).expect("keys of that size exist");
    let x = encrypted(&key, |i| i as f32 - 1.0);
    let plan = plan(Function::Ln);
    let mut session = Session::new(&gpu, plan, Some(key.evaluation_key())).expect("it is loaded");
    session.write("x", &x).expect("it fits");
    let expected = session.run().expect_err("of a negative number").to_string();
    assert!(expected.contains("`map`"), "{expected}");
    let inference = infer(&gpu, Function::Ln, key.evaluation_key(), &x);
    let told = event_loop([Box::pin(inference) as Task<'_, Result<Tensor, Error>>]);
    let (told, polls) = told.into_iter().next().expect("one");
    assert_eq!(told.expect_err("as well").to_string(), expected);
    // The run, the operands looked at, the command replayed, its result looked at.
    assert!(polls > 1, "{polls} polls");
}
