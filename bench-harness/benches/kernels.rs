//! Criterion benches of every kernel that `furthermore-bench kernels` measures:
//! `cargo bench -p furthermore-bench --bench kernels -- FILTER`.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use furthermore::Algebra;
use furthermore::device::Cpu;
use furthermore::tensor::DType;
use furthermore_bench::kernels::{Ready, cases};

fn kernels(c: &mut Criterion) {
    let cpu = Cpu::new().expect("an instruction set of this machine");
    let algebras = [Algebra::Compact(2), Algebra::Blocks(2)];
    for case in cases(DType::F32, &algebras, false).expect("algebras that have keys") {
        let mut group = c.benchmark_group(&case.kernel);
        for side in &case.sides {
            let name = format!("{} {} {}", case.shape, side.regime.name(), side.algebra);
            // Operands are set up only for what a filter lets through.
            let mut ready = None;
            group.bench_function(name, |bencher| {
                let ready: &mut Ready =
                    ready.get_or_insert_with(|| side.prepare(&cpu).expect("operands that fit"));
                bencher.iter_custom(|count| {
                    let seconds = (0..count).map(|_| ready.seconds().expect("finite numbers"));
                    Duration::from_secs_f64(seconds.sum())
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
