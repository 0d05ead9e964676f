//! Running a session allocates nothing: every allocation of the process is counted, on every thread.
//!
//! It is one test in a crate of its own, since tests that run beside it would be counted too.

#[path = "engine/support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use furthermore::Algebra;
use furthermore::device::Cpu;
use furthermore::network::{Function, Optimizer};
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

/// Wide enough that products and passes over memory are cut into pieces for both threads.
const SIZES: [usize; 4] = [96, 192, 64, 10];

fn work(device: &Cpu, dtype: DType, algebra: Algebra, loss: Loss, training: bool) -> Work {
    let mlp = Mlp::new(&SIZES, Function::Relu, loss);
    let mut noise = Noise::new(101);
    let key = key(algebra.slots().max(2), 102);
    let (network, value) = mlp.judged();
    let network = match training {
        true => network
            .with_optimizer(value, Optimizer::sgd(0.9), None)
            .expect("gradients"),
        false => mlp.inference(),
    };
    let weights = network.initial_parameters(11, DType::F64).expect("weights");
    let options = match training {
        true => CompileOptions::encrypted(BATCH, dtype, algebra),
        false => CompileOptions::encrypted_inputs(BATCH, dtype, algebra),
    };
    let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
    let mut session = open(device, plan, &key, &weights);
    session.set_learning_rate(1e-3).expect("a rate");

    let x = random(&[SAMPLES, SIZES[0]], (-1.0, 1.0), dtype, &mut noise);
    let y = tensor(
        &[SAMPLES, SIZES[3]],
        &noise.one_hot(SAMPLES, SIZES[3]),
        dtype,
    );
    let first = x.rows(&(0..BATCH).collect::<Vec<_>>()).expect("rows");
    let given = |values: &Plaintext| match algebra {
        Algebra::Real => Tensor::Plaintext(values.clone()),
        _ => Tensor::Ciphertext(encrypt(&key, algebra, 5, values)),
    };
    let bias = Tensor::Plaintext(tensor(&[SIZES[3]], &[0.25; 10], dtype));
    Work {
        name: format!("{algebra} {dtype} {loss:?} training {training}"),
        session,
        // A plaintext weight goes into encrypted training as a multiple of one.
        whole: vec![("x", given(&first)), ("fc3.bias", bias)],
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
            for (loss, training) in [
                (Loss::CrossEntropy, false),
                (Loss::CrossEntropy, true),
                (Loss::SquaredError, true),
            ] {
                let mut work = work(device, dtype, algebra, loss, training);
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
}
