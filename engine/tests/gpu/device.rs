//! What a run asks of the device.

use std::sync::Arc;

use furthermore::network::{Function, Init, Network};
use furthermore::plan::{CompileOptions, Kernel, Operand, Plan, Region};
use furthermore::scheme::SecretKey;
use furthermore::session::Session;
use furthermore::tensor::{Buffer, DType, Plaintext};
use furthermore::{Algebra, Error};

use furthermore::device::gpu::GpuOptions;
use furthermore::device::{Device, Gpu, Program, Source};
use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::elementwise::Broadcast;

use crate::bindings::{command, device};
use crate::cuts::options;
use crate::{gpu, skipped};

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

/// A region that lies past its buffer or in none, a source that is too short or of other planes, and a
/// target that is too short: nothing is copied.
#[test]
fn copies_that_do_not_fit_are_refused() {
    let Some(gpu) = gpu() else { return };
    let key = SecretKey::from_known_seed(2, 7).expect("a key of two slots");
    let algebra = Algebra::Compact(2);
    let arithmetic = key.evaluation_key().arithmetic(algebra).expect("its own");
    let operand = Operand {
        planes: 2,
        elements: 100,
    };
    let options = CompileOptions::encrypted(1, DType::F32, algebra);
    let kernel = Kernel::Clip { limit: 1.0 };
    let plan = Plan::of_command(&options, kernel, &[], &[operand]).expect("it fits");
    let region = plan.commands()[0].writes[0];
    let mut program = gpu.load(Arc::new(plan), arithmetic).expect("it is loaded");
    let numbers = Buffer::zeroed(DType::F32, 2 * region.stride).expect("memory");
    fn source(buffer: &Buffer) -> Source<'_> {
        Source {
            buffer,
            stride: 112,
            row: 1,
            rows: None,
            embed: None,
        }
    }
    assert_eq!(region.stride, 112);
    program
        .upload(&region, source(&numbers))
        .expect("it is the plan's");
    let beyond = [
        Region {
            buffer: 7,
            ..region
        },
        Region {
            planes: 3,
            ..region
        },
        Region {
            elements: 1 << 20,
            stride: 1 << 20,
            ..region
        },
        Region {
            stride: region.stride * 4,
            ..region
        },
        Region {
            planes: usize::MAX,
            stride: usize::MAX,
            ..region
        },
    ];
    let large = Buffer::zeroed(DType::F32, 4 << 20).expect("memory");
    for region in beyond {
        let from = Source {
            stride: region.stride,
            ..source(&large)
        };
        program.upload(&region, from).expect_err("it lies beyond");
        let mut target = Buffer::zeroed(DType::F32, 4 << 20).expect("memory");
        program
            .download(&region, &mut target)
            .expect_err("it lies beyond");
        program.clear(&region).expect_err("it lies beyond");
    }
    let mut short = Buffer::zeroed(DType::F32, region.stride + 99).expect("memory");
    program
        .upload(&region, source(&short))
        .expect_err("a number is missing");
    program
        .download(&region, &mut short)
        .expect_err("a number has no place");
    let rows = [0, 1];
    let one_short = Source {
        row: 49,
        rows: Some(&rows),
        ..source(&numbers)
    };
    program
        .upload(&region, one_short)
        .expect_err("rows have 98 numbers");
    let far = Source {
        row: 50,
        rows: Some(&[0, usize::MAX]),
        ..source(&numbers)
    };
    program
        .upload(&region, far)
        .expect_err("there is no such row");
    let narrow = Source {
        embed: Some(&[1.0]),
        ..source(&numbers)
    };
    program
        .upload(&region, narrow)
        .expect_err("one has two coordinates");
    let mut target = Buffer::zeroed(DType::F32, 2 * region.stride).expect("memory");
    program
        .download(&region, &mut target)
        .expect("what was copied first is there");
    assert!(target.as_slice::<f32>().iter().all(|&x| x == 0.0));
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

/// Writes multiples of one.
fn upload(
    program: &mut dyn Program,
    region: &Region,
    number: &dyn Fn(usize) -> f32,
) -> Result<(), Error> {
    let len = region.planes * region.stride;
    let mut buffer = Buffer::zeroed(DType::F32, len).expect("memory");
    let numbers = buffer.as_mut_slice::<f32>()[..region.elements].iter_mut();
    numbers.enumerate().for_each(|(at, x)| *x = number(at));
    let source = Source {
        buffer: &buffer,
        stride: region.stride,
        row: 1,
        rows: None,
        embed: None,
    };
    program.upload(region, source)
}

/// More than 65,535 workgroups, which are folded into rows, and more work than a dispatch of a software
/// adapter does.
#[test]
fn large_commands_are_folded_and_cut() {
    let Some(gpu) = gpu() else { return };
    let run = |kernel: Kernel, reads: &[(usize, &dyn Fn(usize) -> f32)], written: usize| {
        let operand = |elements| Operand {
            planes: 1,
            elements,
        };
        let operands: Vec<Operand> = reads.iter().map(|(len, _)| operand(*len)).collect();
        let (plan, arithmetic) = command(Algebra::Real, kernel, &operands, &[operand(written)]);
        let mut program = gpu.load(Arc::clone(&plan), arithmetic).expect("it loads");
        let command = &plan.commands()[0];
        for (region, (len, number)) in command.reads.iter().zip(reads) {
            assert_eq!(region.elements, *len);
            upload(program.as_mut(), region, number).expect("it fits");
        }
        program.run(&options()).expect("it runs");
        let region = command.writes[0];
        let mut buffer = Buffer::zeroed(DType::F32, region.stride).expect("memory");
        program.download(&region, &mut buffer).expect("it fits");
        buffer.as_slice::<f32>()[..written].to_vec()
    };
    const LEN: usize = 65_536 * 256 + 77;
    let number = |at: usize| (at % 1009) as f32 - 500.0;
    let broadcast = Broadcast::same(LEN);
    let doubled = Kernel::Linear {
        broadcast,
        alpha: 1.0,
        beta: 1.0,
    };
    let found = run(doubled, &[(LEN, &number), (LEN, &number)], LEN);
    let wrong = found
        .iter()
        .enumerate()
        .find(|(at, x)| **x != 2.0 * number(*at));
    assert_eq!(wrong, None);

    // Rows and columns of which each has one number.
    const M: usize = 600;
    const K: usize = 8192;
    const N: usize = 1100;
    let kernel = Kernel::BlockMatmul {
        shape: MatmulShape {
            batch: 1,
            m: M,
            k: K,
            n: N,
            transpose_a: false,
            transpose_b: false,
        },
        bias: false,
        activation: None,
    };
    let row = |at: usize| (at % 61) as f32 / 64.0;
    let column = |at: usize| (at % 37) as f32 / 32.0;
    let a = |at: usize| row(at / K);
    let b = |at: usize| column(at % N);
    let found = run(kernel, &[(M * K, &a), (K * N, &b)], M * N);
    for (at, x) in found.iter().enumerate() {
        let expected = K as f32 * row(at / N) * column(at % N);
        assert!(
            (x - expected).abs() <= 1e-5 * expected,
            "{at}: {x}, {expected}"
        );
    }
}

/// Half precision has no numbers past 65,504: neither written nor computed.
#[test]
fn what_half_precision_cannot_store_is_an_error() {
    if gpu().is_none() {
        return;
    }
    let half = match device(None, true) {
        Ok(half) => half,
        Err(error) => return skipped(format_args!("half precision: {error}")),
    };
    let operand = Operand {
        planes: 2,
        elements: 5,
    };
    let function = Function::Exp;
    let kernel = Kernel::FunctionMap { function };
    let (plan, arithmetic) = command(Algebra::Compact(2), kernel, &[operand], &[operand]);
    let mut program = half.load(Arc::clone(&plan), arithmetic).expect("it loads");
    let command = &plan.commands()[0];
    let region = command.reads[0];
    let mut write = |number: f32| {
        upload(program.as_mut(), &region, &|_| number)?;
        program.run(&options())
    };
    write(11.0).expect("59,874 is one of its numbers");
    let error = write(11.2).expect_err("73,130 is none");
    assert!(matches!(error, Error::RunNotFinite { .. }), "{error}");
    let error = write(70_000.0).expect_err("none of it").to_string();
    assert!(error.contains("7e4"), "{error}");
}
