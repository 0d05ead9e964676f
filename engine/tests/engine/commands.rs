//! What makes no command, and regions that are not the plan's. Operands that do not fit are tried
//! with every kernel by the bench harness's parity.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::{Device, RunOptions, Source};
use furthermore::plan::{CompileOptions, Kernel, Operand, Plan, Reduction, Region};
use furthermore::scheme::Guard;
use furthermore::tensor::{Buffer, DType};
use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::convert::{CopyAxis, Rest, StridedCopy};
use furthermore_kernels_cpu::elementwise::Broadcast;
use furthermore_kernels_cpu::pool::{Pool, PoolShape};
use furthermore_kernels_cpu::reduce::Axis;

use crate::support::{cpu, key, refused};

const ALGEBRA: Algebra = Algebra::Compact(2);

fn plan(
    dtype: DType,
    kernel: &Kernel,
    reads: &[Operand],
    writes: &[Operand],
) -> furthermore::Result<Plan> {
    let options = CompileOptions::encrypted(1, dtype, ALGEBRA);
    Plan::of_command(&options, kernel.clone(), reads, writes)
}

fn operand(planes: usize, elements: usize) -> Operand {
    Operand { planes, elements }
}

#[test]
fn parameters_that_describe_nothing() {
    let dtype = DType::F32;
    let tensor = operand(2, 12);
    let huge = 1 << 60;
    let adam = |beta1, epsilon| Kernel::Adam {
        beta1,
        beta2: 0.999,
        epsilon,
        weight_decay: 0.0,
    };
    let shape = MatmulShape {
        batch: 0,
        m: huge,
        k: huge,
        n: huge,
        transpose_a: false,
        transpose_b: false,
    };
    let matmul = Kernel::BlockMatmul {
        shape,
        bias: false,
        activation: None,
    };
    let pool = Kernel::Pool {
        pool: Pool::Max,
        shape: PoolShape {
            batch: 1,
            channels: 3,
            input: [2, 2],
            kernel: [1, 1],
            stride: [1, 1],
            padding: [[0, 0], [0, 0]],
            dilation: [1, 1],
            ceil: false,
        },
        rectified: true,
    };
    let axis = Axis {
        outer: 0,
        length: huge,
        inner: huge,
    };
    let sum = Kernel::Reduce {
        reduction: Reduction::Sum,
        axis,
    };
    let softmax = Kernel::Softmax {
        columns: huge,
        logarithm: false,
    };
    let many = Kernel::PolyMap {
        constants: Some(vec![0.5; 65]),
    };
    let none = Kernel::PolyMap {
        constants: Some(Vec::new()),
    };
    let nothing = operand(2, 0);
    let map = |numbers| Kernel::LinearMap {
        matrix: vec![1.0; numbers],
    };
    let sizes = [2, 3, 4];
    let (transpose, tiles) = (
        Kernel::Transpose { sizes },
        Kernel::Tiles {
            batch: 5,
            into: true,
        },
    );
    let interleave = |into| Kernel::Interleave { into };
    let part = |rest| {
        let axis = CopyAxis {
            size: 12,
            from: 1,
            to: 1,
        };
        let copy = StridedCopy::new(12, 0, 25, 7, &[axis]).expect("it lies in both");
        Kernel::StridedCopy { copy, rest }
    };
    let refuses = |kernel: Kernel, reads: &[Operand], writes: &[Operand], parts: &[&str]| {
        let what = format!("{kernel:?}");
        refused(&what, plan(dtype, &kernel, reads, writes), parts);
    };
    refuses(
        matmul,
        &[nothing; 2],
        &[nothing],
        &["block_matmul", "larger than any tensor"],
    );
    refuses(pool, &[tensor], &[tensor], &["pool", "maximum of relu"]);
    refuses(
        sum,
        &[nothing],
        &[nothing],
        &["reduce", "larger than any tensor"],
    );
    refuses(
        softmax,
        &[nothing],
        &[nothing],
        &["reduce", "larger than any tensor"],
    );
    refuses(many, &[tensor], &[tensor], &["poly_map", "65", "64"]);
    refuses(none, &[tensor], &[tensor], &["poly_map", "coefficients"]);
    refuses(
        adam(1.0, 1e-6),
        &[tensor],
        &[tensor; 3],
        &["update", "beta1"],
    );
    refuses(
        adam(0.9, 1e-9),
        &[tensor],
        &[tensor; 3],
        &["update", "epsilon"],
    );
    refuses(
        Kernel::Clip { limit: 0.0 },
        &[],
        &[tensor],
        &["update", "limit"],
    );
    refuses(
        Kernel::Clip { limit: f64::NAN },
        &[],
        &[tensor],
        &["update", "limit"],
    );
    refuses(Kernel::SlotMaxima, &[operand(65, 1)], &[], &["65 planes"]);
    refuses(Kernel::SlotMaxima, &[operand(2, 1 << 62)], &[], &["bytes"]);
    refuses(
        Kernel::MeanSquaredError,
        &[tensor],
        &[tensor],
        &["1 and write 1"],
    );
    refuses(map(5), &[tensor], &[tensor], &["convert", "matrix", "5"]);
    refuses(map(4), &[tensor], &[operand(2, 11)], &["convert", "11"]);
    refuses(transpose, &[tensor], &[tensor], &["convert", "12", "24"]);
    refuses(tiles, &[tensor], &[tensor], &["convert", "12", "10"]);
    refuses(
        interleave(true),
        &[tensor],
        &[operand(1, 23)],
        &["convert", "23", "24"],
    );
    refuses(
        interleave(true),
        &[tensor],
        &[tensor],
        &["convert", "2 planes"],
    );
    refuses(
        interleave(false),
        &[operand(1, 25)],
        &[tensor],
        &["convert", "25", "24"],
    );
    let (whole, short) = (operand(2, 25), operand(2, 11));
    for rest in [Rest::Keep, Rest::Zero] {
        refuses(part(rest), &[short], &[whole], &["convert", "11", "12"]);
        refuses(part(rest), &[tensor], &[tensor], &["convert", "25", "12"]);
        refuses(part(rest), &[tensor], &[operand(1, 25)], &["1 planes"]);
        refuses(part(rest), &[], &[whole], &["read 0 and write 1"]);
        refuses(part(rest), &[tensor; 2], &[whole], &["read 2 and write 1"]);
    }
    let options = CompileOptions::encrypted(1, DType::F32, Algebra::Compact(9));
    let plan = Plan::of_command(&options, Kernel::SlotMaxima, &[operand(9, 1)], &[]);
    refused("compact9", plan, &["compact9"]);
}

/// A loaded program of `c = a + b` on 5 elements.
#[test]
fn uploads_and_downloads_that_do_not_fit() {
    for dtype in [DType::F32, DType::F64] {
        let kernel = Kernel::Linear {
            broadcast: Broadcast::same(5),
            alpha: 1.0,
            beta: 1.0,
        };
        let tensor = operand(2, 5);
        let plan = plan(dtype, &kernel, &[tensor; 2], &[tensor]).expect("a plan");
        let arithmetic = key(2, 201)
            .evaluation_key()
            .arithmetic(ALGEBRA)
            .expect("two slots");
        let plan = Arc::new(plan);
        let region = plan.commands()[0].reads[0];
        let mut program = cpu()
            .load(Arc::clone(&plan), arithmetic)
            .expect("a program");
        let buffer = Buffer::zeroed(dtype, 10).expect("memory");
        let source = Source {
            buffer: &buffer,
            stride: 5,
            row: 1,
            rows: None,
            embed: None,
        };
        program.upload(&region, source).expect("it fits");
        let past = Source {
            stride: 6,
            ..source
        };
        refused(
            "a stride past the end",
            program.upload(&region, past),
            &["10"],
        );
        let one = &[1.0][..];
        let short = Source {
            embed: Some(one),
            ..source
        };
        refused(
            "half an embedding",
            program.upload(&region, short),
            &["embedding"],
        );
        let rows = Source {
            rows: Some(&[0, 1]),
            ..source
        };
        refused("2 rows of 1", program.upload(&region, rows), &["rows"]);
        let rows = Source {
            rows: Some(&[0, 1, 2, 3, usize::MAX]),
            ..source
        };
        refused("a row past the end", program.upload(&region, rows), &[]);
        let wrong = [
            Region {
                buffer: 3,
                ..region
            },
            Region {
                stride: 1 << 40,
                ..region
            },
            Region {
                elements: 1000,
                stride: 1000,
                ..region
            },
        ];
        let mut target = Buffer::zeroed(dtype, 2048).expect("memory");
        for region in wrong {
            refused("an upload", program.upload(&region, source), &[]);
            refused("a download", program.download(&region, &mut target), &[]);
            refused("clearing", program.clear(&region), &[]);
        }
        let mut short = Buffer::zeroed(dtype, 9).expect("memory");
        refused(
            "a short target",
            program.download(&region, &mut short),
            &["9"],
        );
        let options = RunOptions {
            learning_rate: 0.0,
            step: 1,
            guard: Guard::for_dtype(dtype),
            cancel: None,
        };
        program.run(&options).expect("it still runs");
    }
}
