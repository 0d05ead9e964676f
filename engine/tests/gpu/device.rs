//! What a run asks of the device.

use std::sync::Arc;

use furthermore::network::{Function, Init, Network};
use furthermore::plan::{CompileOptions, Kernel, Operand, Plan};
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext};

use furthermore::device::Gpu;
use furthermore::device::gpu::GpuOptions;
use furthermore_kernels_cpu::Arithmetic;
use furthermore_kernels_cpu::block_matmul::MatmulShape;

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
}

#[test]
fn peaks_are_measured_and_commands_are_timed() {
    let Some(gpu) = gpu() else {
        return;
    };
    let peaks = gpu.peaks().expect("a device that computes");
    assert!(peaks.flop_per_s > 1e6 && peaks.flop_per_s.is_finite());
    assert!(peaks.bytes_per_s > 1e6 && peaks.bytes_per_s.is_finite());
    let mut network = Network::new();
    let x = network.input("x", [8]).expect("a new name");
    let y = network.tanh("tanh", x).expect("a new name");
    network.output("y", y).expect("a new name");
    let options = CompileOptions::plain(1000, DType::F32);
    let plan = Arc::new(Plan::compile(&network, &options).expect("it compiles"));
    let commands = plan.commands().len();
    let mut session = Session::new(&gpu, plan, None).expect("the device takes it");
    let times = session.profile().expect("it runs");
    assert_eq!(times.len(), commands);
    assert!(times.iter().all(|t| *t >= 0.0) && times.iter().sum::<f64>() > 0.0);
}

#[test]
fn tuned_tiles_serve_the_next_process() {
    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let options = GpuOptions {
        cache: Some(folder.path().to_owned()),
        ..GpuOptions::default()
    };
    let gpu = Gpu::with_options(&options).expect("it was there a moment ago");
    let shape = MatmulShape {
        batch: 1,
        m: 64,
        k: 40,
        n: 48,
        transpose_a: false,
        transpose_b: false,
    };
    let kernel = Kernel::BlockMatmul {
        shape,
        bias: false,
        activation: None,
    };
    let operand = |elements| Operand {
        planes: 1,
        elements,
    };
    let plan = |kernel, reads: &[usize], writes: usize| {
        let reads: Vec<Operand> = reads.iter().map(|&len| operand(len)).collect();
        let options = CompileOptions::plain(1, DType::F32);
        let plan = Plan::of_command(&options, kernel, &reads, &[operand(writes)]);
        Arc::new(plan.expect("operands that fit"))
    };
    let product = plan(kernel, &[64 * 40, 40 * 48], 64 * 48);
    let real = Arithmetic::real();
    let tuned = gpu.tune(&product, &real).expect("it runs");
    let tuned = tuned.expect("a product has tiles");
    assert!(tuned.tried > 1 && tuned.seconds <= tuned.untuned_seconds);
    gpu.keep_tuned().expect("the folder is there");
    let next = Gpu::with_options(&options).expect("it was there a moment ago");
    let again = next.tune(&product, &real).expect("it runs");
    assert_eq!(again.map(|t| t.tried), Some(tuned.tried));
    let files = std::fs::read_dir(folder.path()).expect("a folder");
    let names = files.map(|f| f.expect("an entry").file_name().into_string());
    let kept: Vec<String> = names.map(|n| n.expect("UTF-8")).collect();
    assert!(kept.iter().any(|n| n.starts_with("tiles-")), "{kept:?}");

    let tanh = Kernel::FunctionMap {
        function: Function::Tanh,
    };
    let untiled = gpu.tune(&plan(tanh, &[8], 8), &real).expect("it lowers");
    assert_eq!(untiled, None);
    let homeless = Gpu::new().expect("it was there a moment ago");
    let refused = homeless.keep_tuned().expect_err("no folder").to_string();
    assert!(refused.contains("no cache folder"), "{refused}");
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
