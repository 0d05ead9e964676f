//! What does not fit is refused with an error that names the operand, before anything is written;
//! nothing panics.

mod block_matmul;
mod convert;
mod elementwise;
mod function_map;
mod planes;
mod poly_map;
mod reduce;
mod update;

use std::fmt::Debug;

use crate::support::{Algebra, Guarded};
use furthermore_kernels_cpu::{Exec, Isa, KernelError};

const EXEC: Exec = Exec {
    isa: Isa::PORTABLE,
    threads: 2,
};

/// Sizes of which each is small, or passes every number when multiplied by another.
const ABSURD: [usize; 7] = [
    0,
    1,
    3,
    1 << (usize::BITS / 2),
    usize::MAX / 2,
    usize::MAX / 2 + 1,
    usize::MAX,
];

/// The algebra of these tests: two planes to a ciphertext.
fn compact() -> Algebra {
    Algebra::compact2([0.75, -0.5])
}

/// An operand of ones.
fn ones(count: usize, len: usize) -> Guarded<f32> {
    Guarded::filled(&vec![vec![1.0; len]; count], 1)
}

/// An output of NaN.
fn out(count: usize, len: usize) -> Guarded<f32> {
    Guarded::poisoned(count, len, 1)
}

/// Panics unless nothing was written.
fn untouched(output: &Guarded<f32>) {
    output
        .intact()
        .expect("nothing is written beside an output that is refused");
    let all = output.planes().into_iter().flatten().all(|x| x.is_nan());
    assert!(all, "a refused kernel wrote to its output");
}

/// Panics unless the kernel was refused because of the number of planes, if `planes`, or else of the
/// length of that operand; the message has to say all of it.
fn refused<R: Debug>(
    outcome: Result<R, KernelError>,
    (kernel, operand): (&str, &str),
    planes: bool,
    (needs, has): (usize, usize),
) {
    let error = outcome.expect_err("the operands do not fit");
    let found = match error {
        KernelError::Length {
            kernel,
            operand,
            needs,
            has,
        } => (kernel, operand, false, needs, has),
        KernelError::PlaneCount {
            kernel,
            operand,
            needs,
            has,
        } => (kernel, operand, true, needs, has),
        KernelError::Shape { .. }
        | KernelError::NotFinite { .. }
        | KernelError::Parameter { .. } => panic!("{error} is of another kind"),
    };
    assert_eq!(found, (kernel, operand, planes, needs, has));
    let message = error.to_string();
    for part in [kernel, operand, &needs.to_string(), &has.to_string()] {
        assert!(message.contains(part), "'{message}' lacks {part}");
    }
}
