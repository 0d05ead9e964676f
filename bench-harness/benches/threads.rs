//! From what size on work is worth a second thread: the table in kernels-cpu/src/threads.rs.
//! `cargo bench -p furthermore-bench --bench threads`
//!
//! One call is held against two joined calls of half the size, which is what a kernel's cut comes to
//! and can be had on either side of the threshold. The second thread is awake where calls follow each
//! other, and asleep where the first one was busy alone for a while.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use furthermore_kernels_cpu::block_matmul::{Epilogue, MatmulShape, block_matmul, scratch_len};
use furthermore_kernels_cpu::function_map::{Function, function_map};
use furthermore_kernels_cpu::{Arithmetic, Exec, Isa, Planes, PlanesMut};

/// KiB that a pass reads and writes.
const PASSES: [usize; 7] = [64, 128, 256, 512, 1024, 2048, 4096];
/// Rows of products of depth and columns [`SIDE`]: 2^18 to 2^23 multiplications.
const ROWS: [usize; 6] = [64, 128, 256, 512, 1024, 2048];
const SIDE: usize = 64;
/// Long enough for rayon's idle threads to have given up spinning.
const ALONE: Duration = Duration::from_micros(500);

fn threads(c: &mut Criterion) {
    let isa = Isa::from_env().expect("an instruction set of this machine");
    let exec = Exec { isa, threads: 1 };
    // The thread that measures is one of the two, as a session's is.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2);
    let pool = pool.use_current_thread().build_global();
    pool.expect("no pool was made before");
    let real = Arithmetic::real();
    for kib in PASSES {
        let len = (kib << 10) / (2 * size_of::<f32>());
        let (x, mut y) = (vec![0.5f32; len], vec![0.0f32; len]);
        let pass = |x: &[f32], y: &mut [f32]| {
            let (x, mut y) = (Planes::plain(x), PlanesMut::plain(y));
            let seen = function_map(&exec, &real, Function::Relu, x, &mut y);
            black_box(seen.expect("operands that fit"));
        };
        let mut group = c.benchmark_group(format!("relu {kib} KiB"));
        group.bench_function("one thread", |b| b.iter(|| pass(&x, &mut y)));
        let (x0, x1) = x.split_at(len / 2);
        let (y0, y1) = y.split_at_mut(len / 2);
        both(&mut group, || {
            rayon::join(|| pass(x0, y0), || pass(x1, y1));
        });
        group.finish();
    }
    for rows in ROWS {
        let shape = |m| MatmulShape {
            batch: 1,
            m,
            k: SIDE,
            n: SIDE,
            transpose_a: false,
            transpose_b: false,
        };
        let len = scratch_len::<f32>(&exec, &real, &shape(rows), 1, 1);
        let mut scratch = [vec![0.0f32; len], vec![0.0f32; len]];
        let (a, b) = (vec![0.5f32; rows * SIDE], vec![0.25f32; SIDE * SIDE]);
        let mut out = vec![0.0f32; rows * SIDE];
        let product = |a: &[f32], c: &mut [f32], scratch: &mut [f32]| {
            let (shape, none) = (shape(a.len() / SIDE), Epilogue::NONE);
            let (a, b, mut c) = (Planes::plain(a), Planes::plain(&b), PlanesMut::plain(c));
            let seen = block_matmul(&exec, &real, &shape, a, b, &mut c, &none, scratch);
            black_box(seen.expect("operands that fit"));
        };
        let mut group = c.benchmark_group(format!("product {rows}x{SIDE}x{SIDE}"));
        let [s0, s1] = &mut scratch;
        group.bench_function("one thread", |b| b.iter(|| product(&a, &mut out, s0)));
        let (a0, a1) = a.split_at(a.len() / 2);
        let (c0, c1) = out.split_at_mut(a.len() / 2);
        both(&mut group, || {
            rayon::join(|| product(a0, c0, s0), || product(a1, c1, s1));
        });
        group.finish();
    }
}

/// Both threads, the second awake and asleep.
fn both(group: &mut BenchmarkGroup<'_, WallTime>, mut cut: impl FnMut()) {
    group.bench_function("two threads", |b| b.iter(&mut cut));
    group.bench_function("two threads, one asleep", |b| {
        b.iter_custom(|times| {
            let mut total = Duration::ZERO;
            for _ in 0..times {
                let alone = Instant::now();
                while alone.elapsed() < ALONE {
                    std::hint::spin_loop();
                }
                let start = Instant::now();
                cut();
                total += start.elapsed();
            }
            total
        });
    });
}

criterion_group!(benches, threads);
criterion_main!(benches);
