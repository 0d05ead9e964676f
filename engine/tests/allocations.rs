//! Running a session allocates nothing: every allocation of the process is counted, on every thread.
//!
//! It is one test in a crate of its own, since tests that run beside it would be counted too.

#[path = "engine/support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use furthermore::Algebra;
use furthermore::device::Cpu;
use furthermore::network::{
    Convolution, Function, Network, Optimizer, Pool, Reduction, Statistics, Value, Window,
};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext, Tensor};
use support::{Loss, Mlp, Noise, cpu, encrypt, key, open, random, tensor};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting what is asked of it.
struct Counting;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.realloc(p, layout, size) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the system's.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SAMPLES: usize = 96;
const BATCH: usize = 64;
const WARM_UP: usize = 3;
const RUNS: usize = 50;

/// How many allocations the process makes while `body` runs.
fn allocations(body: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    body();
    ALLOCATIONS.load(Ordering::SeqCst) - before
}

/// Has each of the pool's two threads steal a job from the other.
///
/// A thread's first theft registers it with crossbeam-epoch, which allocates: once in the life of a
/// thread, at a moment that depends on when the other one has work to spare.
fn acquaint() {
    let both = |second: &(dyn Fn() + Sync)| {
        let stolen = AtomicBool::new(false);
        let first = || {
            while !stolen.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
        };
        // The thread that runs the first half is busy until another has taken the second.
        rayon::join(first, || {
            stolen.store(true, Ordering::SeqCst);
            second();
        });
    };
    both(&|| both(&|| ()));
}

/// Waits until nothing has been allocated for a while: the test harness still books this test in when
/// it has begun to run.
fn settle() {
    loop {
        let quiet = allocations(|| std::thread::sleep(Duration::from_millis(100)));
        if quiet == 0 {
            break;
        }
    }
}

/// A session with the tensors written to it at each run.
struct Work {
    name: String,
    session: Session,
    whole: Vec<(&'static str, Tensor)>,
    by_rows: Vec<(&'static str, Tensor)>,
    rows: Vec<usize>,
}

impl Work {
    fn step(&mut self) {
        for (name, tensor) in &self.whole {
            self.session.write(name, tensor).expect("it fits");
        }
        for (name, tensor) in &self.by_rows {
            let written = self.session.write_rows(name, tensor, &self.rows);
            written.expect("rows of it fit");
        }
        self.session.run().expect("a run");
    }
}

/// What a session is made of.
struct Case {
    name: &'static str,
    network: Network,
    /// What is minimised; without it there is inference.
    loss: Option<(Value, Optimizer)>,
    /// The shape of a sample.
    sample: &'static [usize],
    /// The bias of the last layer, which is written as a plaintext.
    bias: &'static str,
}

/// Wide enough that products and passes over memory are cut into pieces for both threads.
const SIZES: [usize; 4] = [96, 192, 64, CLASSES];
const CLASSES: usize = 10;

fn mlp(name: &'static str, loss: Loss, training: bool) -> Case {
    let mlp = Mlp::new(&SIZES, Function::Relu, loss);
    let (network, loss) = match training {
        true => {
            let (network, loss) = mlp.judged();
            (network, Some((loss, Optimizer::sgd(0.9))))
        }
        false => (mlp.inference(), None),
    };
    Case {
        name,
        network,
        loss,
        sample: &SIZES[..1],
        bias: "fc3.bias",
    }
}

/// What is before the last layer, a row a sample.
type Layers = fn(&mut Network, Value) -> furthermore::Result<Value>;

/// A network with a fully connected layer last.
fn layered(
    name: &'static str,
    sample: &'static [usize],
    layers: Layers,
    optimizer: Option<Optimizer>,
) -> Case {
    let mut network = Network::new();
    let mut made = || -> furthermore::Result<Option<(Value, Optimizer)>> {
        let x = network.input("x", sample)?;
        let rows = layers(&mut network, x)?;
        let width = network.shapes(2)?.pop().map_or(0, |shape| shape[1]);
        let y = network.linear("last", rows, width, CLASSES)?;
        network.output("y", y)?;
        let Some(optimizer) = optimizer else {
            return Ok(None);
        };
        let target = network.input("target", [CLASSES])?;
        let loss = network.softmax_cross_entropy("loss", y, target)?;
        Ok(Some((loss, optimizer)))
    };
    let loss = made().unwrap_or_else(|error| panic!("{name}: {error}"));
    Case {
        name,
        network,
        loss,
        sample,
        bias: "last.bias",
    }
}

fn dropout(n: &mut Network, x: Value) -> furthermore::Result<Value> {
    let y = n.linear("first", x, 96, 64)?;
    let y = n.map("gelu", Function::Gelu, y)?;
    n.dropout("dropout", y, 0.25)
}

/// Two convolutions with a pooling each: one that is fused with its average, and one that is not.
fn convolutions(n: &mut Network, x: Value) -> furthermore::Result<Value> {
    let y = n.conv2d("conv1", x, [1, 4], [5, 5], Convolution::default())?;
    let y = n.relu("relu1", y)?;
    let y = n.pool("pool1", Pool::Average, y, Window::tiling(2))?;
    let y = n.conv2d("conv2", y, [4, 6], [3, 3], Convolution::padded(1))?;
    let y = n.tanh("tanh2", y)?;
    let y = n.pool("pool2", Pool::Max, y, Window::tiling(2))?;
    n.flatten("flat", y)
}

fn moves(n: &mut Network, x: Value) -> furthermore::Result<Value> {
    let rows = n.linear("first", x, 12, 12)?;
    let turned = n.transpose("turned", rows, &[0, 2, 1])?;
    let padded = n.pad("padded", turned, &[[0, 0], [1, 2], [0, 1]])?;
    let back = n.slice("back", padded, 1, 10, -2, 4)?;
    let ahead = n.slice("ahead", padded, 1, 1, 1, 3)?;
    let both = n.concat("both", &[back, ahead], 1)?;
    let soft = n.softmax("soft", both, 1, false)?;
    let apart = n.reshape("apart", soft, [7, 3, 3])?;
    let mean = n.reduce("mean", Reduction::Mean, apart, &[2], true)?;
    let less = n.subtract("less", apart, mean)?;
    n.flatten("flat", less)
}

fn batch_norm(n: &mut Network, x: Value) -> furthermore::Result<Value> {
    let y = n.conv2d("conv", x, [1, 4], [3, 3], Convolution::default())?;
    let y = n.batch_norm("norm", y, 1e-3, Statistics::Batch { keep: 0.9 })?;
    let y = n.relu("relu", y)?;
    n.flatten("flat", y)
}

/// What these networks are there for.
const KERNELS: [&str; 17] = [
    "adam",
    "clip",
    "conv2d",
    "conv2d_gradient_bias",
    "conv2d_gradient_input",
    "conv2d_gradient_weights",
    "conv2d_pooled",
    "divide",
    "from_tiles",
    "into_tiles",
    "mean",
    "pool",
    "pool_gradient",
    "softmax",
    "softmax_gradient",
    "strided_copy",
    "transpose",
];

fn cases() -> Vec<Case> {
    let image = &[1, 12, 12];
    let (adam, sgd) = (Optimizer::adam(), Optimizer::sgd(0.9));
    vec![
        mlp("mlp", Loss::CrossEntropy, false),
        mlp("mlp", Loss::CrossEntropy, true),
        mlp("mlp of squared error", Loss::SquaredError, true),
        layered("dropout", &[96], dropout, None),
        layered("dropout", &[96], dropout, Some(adam)),
        layered("convolutions", image, convolutions, None),
        layered("convolutions", image, convolutions, Some(adam)),
        layered("moves", &[8, 12], moves, None),
        layered("moves", &[8, 12], moves, Some(sgd)),
        layered("batch normalisation", image, batch_norm, Some(sgd)),
    ]
}

fn work(device: &Cpu, dtype: DType, algebra: Algebra, case: Case) -> Work {
    let Case {
        name,
        network,
        loss,
        sample,
        bias,
    } = case;
    let mut noise = Noise::new(101);
    let key = key(algebra.slots().max(2), 102);
    let training = loss.is_some();
    let (network, options) = match loss {
        Some((loss, optimizer)) => (
            network
                .with_optimizer(loss, optimizer, Some(1.0))
                .expect("gradients"),
            CompileOptions::encrypted(BATCH, dtype, algebra),
        ),
        None => (
            network,
            CompileOptions::encrypted_inputs(BATCH, dtype, algebra),
        ),
    };
    let weights = network.initial_parameters(11, DType::F64).expect("weights");
    let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
    let mut session = open(device, plan, &key, &weights);
    session.set_learning_rate(1e-3).expect("a rate");

    let shape: Vec<usize> = [SAMPLES].iter().chain(sample).copied().collect();
    let x = random(&shape, (-1.0, 1.0), dtype, &mut noise);
    let y = noise.one_hot(SAMPLES, CLASSES);
    let y = tensor(&[SAMPLES, CLASSES], &y, dtype);
    let first = x.rows(&(0..BATCH).collect::<Vec<_>>()).expect("rows");
    let given = |values: &Plaintext| match algebra {
        Algebra::Real => Tensor::Plaintext(values.clone()),
        _ => Tensor::Ciphertext(encrypt(&key, algebra, 5, values)),
    };
    let plain = Tensor::Plaintext(tensor(&[CLASSES], &[0.25; CLASSES], dtype));
    Work {
        name: format!("{algebra} {dtype} {name} training {training}"),
        session,
        // A plaintext weight goes into encrypted training as a multiple of one.
        whole: vec![("x", given(&first)), (bias, plain)],
        by_rows: match training {
            true => vec![("x", given(&x)), ("target", given(&y))],
            false => vec![("x", given(&x))],
        },
        rows: (0..BATCH).map(|i| (i * 5) % SAMPLES).collect(),
    }
}

#[test]
fn runs_allocate_nothing() {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .expect("two threads");
    let pool = Arc::new(pool);
    let lent = cpu();
    let owned = lent.clone().on_pool(Arc::clone(&pool));
    // The measure itself has to work.
    assert!(allocations(|| drop(std::hint::black_box(vec![1u8; 100]))) > 0);

    // Rayon's queue for jobs from outside a pool is a list that grows by a block every 63 jobs, so
    // both the set-up and the runs are inside: a program that owns its pool does the same.
    let mut kernels = BTreeSet::new();
    let counts: Vec<(String, usize)> = pool.install(|| {
        acquaint();
        settle();
        let mut counts = Vec::new();
        for (device, dtype, algebra) in [
            (&owned, DType::F32, Algebra::Real),
            (&owned, DType::F32, Algebra::Compact(2)),
            (&owned, DType::F32, Algebra::Blocks(2)),
            (&owned, DType::F32, Algebra::Compact(3)),
            (&owned, DType::F64, Algebra::Compact(2)),
            (&lent, DType::F32, Algebra::Compact(2)),
        ] {
            for case in cases() {
                let mut work = work(device, dtype, algebra, case);
                let commands = work.session.plan().commands().iter();
                kernels.extend(commands.map(|command| command.kernel.name()));
                (0..WARM_UP).for_each(|_| work.step());
                let count = allocations(|| (0..RUNS).for_each(|_| work.step()));
                counts.push((work.name, count));
            }
        }
        counts
    });
    for (name, count) in &counts {
        println!("{name}: {count} allocations in {RUNS} runs");
    }
    assert!(counts.iter().all(|(_, count)| *count == 0), "{counts:?}");
    for kernel in KERNELS {
        assert!(kernels.contains(kernel), "no plan has {kernel}");
    }
}
