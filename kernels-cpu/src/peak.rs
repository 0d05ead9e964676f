//! The most fused multiply-adds an instruction set gives, to hold kernels against.

use std::hint::black_box;

use crate::element::Element;
use crate::simd::{Simd, WithSimd};
use crate::threads::Exec;

/// Independent sums: enough that their latency hides behind each other on every processor so far.
const SUMS: usize = 12;

/// Does `rounds` rounds of fused multiply-adds from registers on each thread, and returns how many
/// floating-point operations that was, a fused multiply-add counting as two.
pub fn fused_multiply_adds<T: Element>(exec: &Exec, rounds: usize) -> f64 {
    let threads = exec.threads.max(1);
    exec.pieces(
        threads,
        |_| T::run_chains(exec.isa, Chains(rounds)),
        |a, b| a + b,
    )
}

pub(crate) struct Chains(usize);

impl<T: Element> WithSimd<T> for Chains {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self) -> f64 {
        let (shrink, grow) = (S::splat(black_box(T::of(0.5))), S::splat(T::one()));
        let mut sums = [grow; SUMS];
        for _ in 0..self.0 {
            for i in 0..SUMS {
                sums[i] = sums[i].mul_add(shrink, grow);
            }
        }
        let mut total = sums[0];
        for i in 1..SUMS {
            total = total.add(sums[i]);
        }
        black_box(total.lanes());
        (2 * S::LANES * SUMS * self.0) as f64
    }
}
