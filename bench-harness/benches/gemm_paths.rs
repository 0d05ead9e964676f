//! Which real product is faster on a shape, ours or matrixmultiply's, on one thread: the table in
//! kernels-cpu/REJECTED.md. `cargo bench -p furthermore-bench --bench gemm_paths`

use criterion::{Criterion, criterion_group, criterion_main};
use furthermore_kernels_cpu::block_matmul::{Epilogue, MatmulShape, block_matmul, scratch_len};
use furthermore_kernels_cpu::{Arithmetic, Exec, Isa, Planes, PlanesMut};

/// Rows, depth, columns; and which operand is stored transposed.
const SHAPES: [([usize; 3], bool, bool); 16] = [
    ([1, 784, 128], false, false),
    ([1, 784, 128], false, true),
    ([8, 8, 8], false, false),
    ([32, 32, 32], false, false),
    ([64, 64, 64], false, false),
    ([64, 784, 128], false, false),
    ([784, 64, 128], true, false),
    ([256, 128, 10], false, false),
    ([256, 784, 128], false, false),
    ([256, 256, 256], false, false),
    ([256, 256, 256], true, false),
    ([256, 256, 256], false, true),
    ([512, 512, 512], false, false),
    ([1024, 1024, 1024], false, false),
    ([4096, 64, 64], false, false),
    ([64, 4096, 64], false, false),
];

fn paths(c: &mut Criterion) {
    let isa = Isa::from_env().expect("an instruction set of this machine");
    let exec = Exec { isa, threads: 1 };
    let real = Arithmetic::real();
    for ([m, k, n], transpose_a, transpose_b) in SHAPES {
        let shape = MatmulShape {
            batch: 1,
            m,
            k,
            n,
            transpose_a,
            transpose_b,
        };
        let t = |transposed: bool, name: &str| {
            if transposed {
                name.to_owned()
            } else {
                String::new()
            }
        };
        let name = format!(
            "{m}x{k}x{n}{}{}",
            t(transpose_a, " A^T"),
            t(transpose_b, " B^T")
        );
        let mut group = c.benchmark_group(name);
        let (a, b) = (vec![0.5f32; m * k], vec![0.25f32; k * n]);
        let mut out = vec![0.0f32; m * n];
        let mut scratch = vec![0.0f32; scratch_len::<f32>(&exec, &real, &shape, 1, 1)];
        group.bench_function("ours", |bencher| {
            bencher.iter(|| {
                let (a, b, mut c) = (
                    Planes::plain(&a),
                    Planes::plain(&b),
                    PlanesMut::plain(&mut out),
                );
                block_matmul(
                    &exec,
                    &real,
                    &shape,
                    a,
                    b,
                    &mut c,
                    &Epilogue::NONE,
                    &mut scratch,
                )
                .expect("operands that fit")
            });
        });
        let (row_a, column_a) = if transpose_a { (1, m) } else { (k, 1) };
        let (row_b, column_b) = if transpose_b { (1, k) } else { (n, 1) };
        group.bench_function("matrixmultiply", |bencher| {
            bencher.iter(|| {
                // SAFETY: the slices hold the matrices that the sizes and strides describe.
                unsafe {
                    matrixmultiply::sgemm(
                        m,
                        k,
                        n,
                        1.0,
                        a.as_ptr(),
                        row_a as isize,
                        column_a as isize,
                        b.as_ptr(),
                        row_b as isize,
                        column_b as isize,
                        0.0,
                        out.as_mut_ptr(),
                        n as isize,
                        1,
                    );
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, paths);
criterion_main!(benches);
