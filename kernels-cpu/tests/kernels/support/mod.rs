//! What the test crates share: algebras built from their keys, an oracle on slots, guarded buffers
//! and error bounds.
//!
//! The oracle never sees coordinates. It works on slots in f64, where a product of ciphertexts is a
//! product of numbers; the tests encrypt what goes into a kernel and decrypt what comes out, by
//! formulas of their own, and compare slot by slot.

#![allow(
    dead_code,
    unused_imports,
    reason = "every test crate compiles all of this and uses a part"
)]

mod algebras;
mod buffers;
mod compare;
mod conv2d;
mod functions;
mod images;
mod losses;
mod matmul;
mod noise;
mod pool;

pub(crate) use algebras::{Algebra, Kind};
pub(crate) use buffers::{Guarded, Operand, same_bits};
pub(crate) use compare::{Mismatch, Tolerance, compare};
pub(crate) use conv2d::{
    Conv, Convolution, channel_sizes, images as conv2d_images, lens as conv2d_lens,
};
pub(crate) use functions::{
    derivative, each_element, evaluated, formed, joined, mapped, read, split_error, steepest,
    stored, value, verify, written,
};
pub(crate) use images::Images;
pub(crate) use losses::Slot;
pub(crate) use matmul::{Case, Prepared};
pub(crate) use noise::Noise;
pub(crate) use pool::{Pooling, Pools, Values, images as pool_images, windows as pool_windows};

use furthermore_kernels_cpu::{Exec, Isa};

/// Pieces that tests cut large work into: one, an even and two odd numbers.
pub(crate) const THREADS: [usize; 4] = [1, 2, 3, 5];

/// Lengths about every vector's width, and one past the size from which threads share a pass.
pub(crate) const LENGTHS: [usize; 10] = [0, 1, 2, 7, 15, 16, 17, 31, 1000, 40_000];

/// Every instruction set of this machine with each number of pieces.
pub(crate) fn execs() -> Vec<Exec> {
    Isa::available()
        .into_iter()
        .flat_map(|isa| THREADS.map(|threads| Exec { isa, threads }))
        .collect()
}

/// Every instruction set of this machine, one piece.
pub(crate) fn single() -> Vec<Exec> {
    Isa::available()
        .into_iter()
        .map(|isa| Exec { isa, threads: 1 })
        .collect()
}

/// Every instruction set for lengths that stay on one thread, and every number of pieces for others.
pub(crate) fn execs_for(len: usize) -> Vec<Exec> {
    if len < 2000 { single() } else { execs() }
}
