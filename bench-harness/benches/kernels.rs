//! Criterion benches of every kernel that `furthermore-bench kernels` measures:
//! `cargo bench -p furthermore-bench --bench kernels -- FILTER`.

use criterion::{Criterion, criterion_group, criterion_main};
use furthermore::Algebra;
use furthermore_bench::kernels::cases;
use furthermore_kernels_cpu::{Exec, Isa};

fn kernels(c: &mut Criterion) {
    let exec = Exec::new(Isa::from_env().expect("an instruction set of this machine"));
    let algebras = [Algebra::Compact(2), Algebra::Blocks(2)];
    for case in cases::<f32>(exec, &algebras).expect("algebras that have keys") {
        let mut group = c.benchmark_group(&case.kernel);
        for side in &case.sides {
            let name = format!("{} {} {}", case.shape, side.regime.name(), side.algebra);
            // Operands are set up only for what a filter lets through.
            let mut call = None;
            group.bench_function(name, |bencher| {
                let call = call.get_or_insert_with(|| (side.prepare)().expect("operands that fit"));
                bencher.iter(call);
            });
        }
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
