//! Whole networks on both devices.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use furthermore::device::gpu::GpuOptions;
use furthermore::device::{Cpu, Device, Gpu};
use furthermore::network::{Function, Network};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::SecretKey;
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext, Tensor};
use furthermore::{Algebra, Error};

use crate::gpu;

fn network() -> Network {
    let mut network = Network::new();
    let x = network.input("x", [13]).expect("a new name");
    let y = network.linear("first", x, 13, 17).expect("sizes fit");
    let y = network.relu("relu", y).expect("a new name");
    let y = network.linear("second", y, 17, 5).expect("sizes fit");
    let y = network.map("tanh", Function::Tanh, y).expect("a new name");
    network.output("y", y).expect("a new name");
    network
}

/// The numbers 0.5 sin(1), 0.5 sin(2), ...
fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|i| 0.5 * (i as f32 + 1.0).sin()).collect()
}

/// A session with messages written to it.
fn session(device: &dyn Device, key: &SecretKey, algebra: Algebra) -> Result<Session, Error> {
    let network = network();
    let options = CompileOptions::encrypted_inputs(7, DType::F32, algebra);
    let plan = Arc::new(Plan::compile(&network, &options)?);
    let mut session = Session::new(device, plan, Some(key.evaluation_key()))?;
    session.load_parameters(&network.initial_parameters(1, DType::F32)?)?;
    let messages = Plaintext::new([7, 13], &wave(7 * 13))?;
    if algebra == Algebra::Real {
        session.write("x", &messages)?;
    } else {
        session.write("x", &key.encryptor(algebra)?.encrypt(&messages)?)?;
    }
    Ok(session)
}

fn outputs(device: &dyn Device, key: &SecretKey, algebra: Algebra) -> Result<Vec<f64>, Error> {
    let mut session = session(device, key, algebra)?;
    session.run()?;
    read(&session, key)
}

fn read(session: &Session, key: &SecretKey) -> Result<Vec<f64>, Error> {
    match session.read("y")? {
        Tensor::Plaintext(y) => Ok(y.to_f64()),
        Tensor::Ciphertext(y) => Ok(key.decrypt(&y)?.to_f64()),
    }
}

#[test]
fn a_network_gives_what_it_gives_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let cpu = Cpu::new().expect("its instruction set is here");
    for (algebra, slots) in [
        (Algebra::Real, 2),
        (Algebra::Compact(2), 2),
        (Algebra::Blocks(2), 2),
        (Algebra::Compact(3), 3),
        (Algebra::Blocks(3), 3),
    ] {
        let key = SecretKey::generate(slots).expect("keys of that size exist");
        let expected = outputs(&cpu, &key, algebra).expect("the CPU runs it");
        let found = outputs(&gpu, &key, algebra).expect("the GPU runs it");
        assert_eq!(expected.len(), 35);
        for (at, (e, f)) in expected.iter().zip(&found).enumerate() {
            assert!((e - f).abs() < 2e-5, "{algebra}, element {at}: {e} and {f}");
        }
    }
}

/// Polls a future once.
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_run_that_is_awaited_gives_what_one_that_blocks_gives() {
    let Some(gpu) = gpu() else { return };
    let cpu = Cpu::new().expect("its instruction set is here");
    let key = SecretKey::generate(2).expect("keys of that size exist");
    let algebra = Algebra::Compact(2);
    for device in [&gpu as &dyn Device, &cpu] {
        let mut blocking = session(device, &key, algebra).expect("it is loaded");
        blocking.run().expect("it runs");
        let expected = read(&blocking, &key).expect("an output");
        let mut awaited = session(device, &key, algebra).expect("it is loaded");
        // One is dropped on the way; the next is none the worse for it.
        let _ = poll(pin!(awaited.run_async()));
        pollster::block_on(awaited.run_async()).expect("it runs");
        awaited.run().expect("it runs");
        pollster::block_on(awaited.run_async()).expect("it runs");
        let found = read(&awaited, &key).expect("an output");
        for (e, f) in expected.iter().zip(&found) {
            // Masks are drawn anew for each session.
            assert!((e - f).abs() < 2e-5, "{e} and {f}");
        }
    }
}

#[test]
fn a_device_out_of_patience_or_memory_says_so() {
    let Some(gpu) = gpu() else { return };
    let key = SecretKey::generate(2).expect("keys of that size exist");
    let hasty = Gpu::with_options(&GpuOptions {
        patience: Duration::ZERO,
        ..GpuOptions::default()
    });
    let hasty = hasty.expect("it was there a moment ago");
    let mut session = session(&hasty, &key, Algebra::Real).expect("it is loaded");
    // A run may be done before anyone waits for it; of these many, not all are.
    let gave_up = (0..1000).find_map(|_| session.run().err());
    let gave_up = gave_up.expect("no time at all is too little").to_string();
    assert!(
        gave_up.contains("did not finish within 0 seconds"),
        "{gave_up}"
    );
    // Nor is what comes after it spoiled, but for patience.
    for _ in 0..3 {
        let again = [
            session.run().err(),
            session.read("y").err(),
            session.profile().err(),
            pollster::block_on(session.run_async()).err(),
        ];
        for error in again.into_iter().flatten() {
            let error = error.to_string();
            assert!(error.contains("did not finish within 0"), "{error}");
        }
    }

    let mut network = Network::new();
    let x = network.input("x", [1 << 20]).expect("a new name");
    let y = network.map("tanh", Function::Tanh, x).expect("a new name");
    network.output("y", y).expect("a new name");
    let options = CompileOptions::plain(1 << 19, DType::F32);
    let plan = Arc::new(Plan::compile(&network, &options).expect("it compiles"));
    let refused = Session::new(&gpu, plan, None).expect_err("two terabytes");
    assert!(matches!(refused, Error::Device { .. }), "{refused}");
    // The device is as good as before.
    outputs(&gpu, &key, Algebra::Compact(2)).expect("it runs");
}
