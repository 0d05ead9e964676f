//! What a run asks of the device.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::network::{Init, Network};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext};

use furthermore::device::Gpu;
use furthermore::device::gpu::GpuOptions;

use crate::gpu;

#[test]
fn a_run_is_one_submit_and_one_pass() {
    if gpu().is_none() {
        return;
    }
    // A device of its own, so that nothing else is counted.
    let gpu = Gpu::new().expect("it was there a moment ago");
    let mut network = Network::new();
    let x = network.input("x", [8]).expect("a new name");
    let w = network
        .parameter("w", [8, 8], Init::Uniform { bound: 0.5 })
        .expect("a new name");
    let mut y = x;
    for layer in 0..20 {
        y = network
            .matmul(&format!("product {layer}"), y, w)
            .expect("sizes fit");
        y = network
            .relu(&format!("relu {layer}"), y)
            .expect("a new name");
    }
    network.output("y", y).expect("a new name");
    let options = CompileOptions::plain(4, DType::F32);
    let plan = Arc::new(Plan::compile(&network, &options).expect("it compiles"));
    assert!(plan.commands().len() >= 20);
    let mut session = Session::new(&gpu, plan, None).expect("the device takes it");
    let parameters = network.initial_parameters(1, DType::F32).expect("they fit");
    session.load_parameters(&parameters).expect("they fit");
    let x = Plaintext::new([4, 8], &[0.25f32; 32]).expect("32 numbers");
    session.write("x", &x).expect("it fits");
    let before = gpu.counters();
    session.run().expect("it runs");
    let after = gpu.counters();
    assert_eq!(after.submits - before.submits, 1);
    assert_eq!(after.passes - before.passes, 1);
    // The guard's record, a few bytes a command, travels with the run's own submit.
    assert_eq!(after.readbacks - before.readbacks, 1);
    session.read("y").expect("there is one");
    let read = gpu.counters();
    assert_eq!(read.readbacks - after.readbacks, 1);
    let _ = Algebra::Real;
}

#[test]
fn an_adapter_that_is_not_there_is_named() {
    let options = GpuOptions {
        adapter: Some("no such adapter".to_owned()),
        ..GpuOptions::default()
    };
    let error = Gpu::with_options(&options).expect_err("no adapter has that name");
    assert!(error.to_string().starts_with("device gpu: "), "{error}");
    let parts = ["'no such adapter'", "has no adapter"];
    assert!(
        parts.iter().any(|part| error.to_string().contains(part)),
        "{error}"
    );
}
