//! Criterion benches of the kernel families: `cargo bench -p furthermore-bench`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use furthermore::Algebra;
use furthermore::scheme::SecretKey;
use furthermore_kernels_cpu::block_matmul::{Epilogue, MatmulShape, block_matmul, scratch_len};
use furthermore_kernels_cpu::function_map::{Function, function_map};
use furthermore_kernels_cpu::{Arithmetic, Exec, Isa, Planes, PlanesMut};

/// The arithmetic of each algebra, with its name.
fn algebras() -> Vec<(String, Arithmetic)> {
    let key = SecretKey::from_known_seed(2, 1).expect("a key of two slots");
    let mut all = vec![("real".to_owned(), Arithmetic::real())];
    for algebra in [Algebra::Compact(2), Algebra::Blocks(2)] {
        let arithmetic = key
            .evaluation_key()
            .arithmetic(algebra)
            .expect("an algebra of the key");
        all.push((algebra.to_string(), arithmetic));
    }
    all
}

fn products(c: &mut Criterion) {
    let exec = Exec::new(Isa::from_env().expect("an instruction set of this machine"));
    let mut group = c.benchmark_group("block_matmul");
    for (m, k, n) in [(64, 784, 128), (256, 256, 256), (512, 512, 512)] {
        let shape = MatmulShape {
            m,
            k,
            n,
            transpose_a: false,
            transpose_b: false,
        };
        for (name, arithmetic) in algebras() {
            let dim = arithmetic.dim();
            for (regime, b_planes) in [("pt", 1), ("ct", dim)] {
                if regime == "ct" && dim == 1 {
                    continue;
                }
                let (a, b) = (vec![0.5f32; dim * m * k], vec![0.25f32; b_planes * k * n]);
                let mut out = vec![0.0f32; dim * m * n];
                let len = scratch_len::<f32>(&exec, &arithmetic, &shape, dim, b_planes);
                let mut scratch = vec![0.0f32; len];
                group.bench_function(format!("{m}x{k}x{n} {name} by {regime}"), |bencher| {
                    bencher.iter(|| {
                        let a = Planes::new(black_box(&a), dim, m * k, m * k)?;
                        let b = Planes::new(black_box(&b), b_planes, k * n, k * n)?;
                        let mut c = PlanesMut::new(&mut out, dim, m * n, m * n)?;
                        let none = Epilogue::NONE;
                        block_matmul(
                            &exec,
                            &arithmetic,
                            &shape,
                            a,
                            b,
                            &mut c,
                            &none,
                            &mut scratch,
                        )
                    });
                });
            }
        }
    }
    group.finish();
}

fn functions(c: &mut Criterion) {
    let exec = Exec::new(Isa::from_env().expect("an instruction set of this machine"));
    let mut group = c.benchmark_group("function_map");
    let len = 1 << 16;
    for function in Function::ALL {
        for (name, arithmetic) in algebras() {
            let dim = arithmetic.dim();
            let input = vec![0.5f32; dim * len];
            let mut output = vec![0.0f32; dim * len];
            group.bench_function(format!("{} {name}", function.name()), |bencher| {
                bencher.iter(|| {
                    let x = Planes::new(black_box(&input), dim, len, len)?;
                    let mut y = PlanesMut::new(&mut output, dim, len, len)?;
                    function_map(&exec, &arithmetic, function, x, &mut y)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, products, functions);
criterion_main!(benches);
