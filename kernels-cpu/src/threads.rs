//! How work is cut into pieces for the caller's rayon pool.

use std::ops::Range;

use crate::isa::Isa;

/// What a kernel runs on: an instruction set, and how many pieces to cut large work into.
///
/// Kernels run on the rayon pool they are called from. The cut depends on `threads` alone, so the
/// same instruction set and thread count give the same bits.
#[derive(Debug, Clone, Copy)]
pub struct Exec {
    /// Instruction set.
    pub isa: Isa,
    /// Pieces to cut large work into: normally the pool's number of threads.
    pub threads: usize,
}

/// Bytes of a pass over memory that are worth a thread. Measured on two AVX-512 cores, microseconds of
/// relu by one thread, by two, and by two of which one sleeps at first
/// (`cargo bench -p furthermore-bench --bench threads`):
///
/// | KiB | one | two | one asleep |
/// | --- | --- | --- | --- |
/// | 64 | 0.6 | 0.6 | 3 |
/// | 256 | 2.2 | 2.0 | 11 |
/// | 512 | 4.3 | 4.2 | 20 |
/// | 1024 | 8.3 | 4.6 | 19 |
/// | 4096 | 46 | 22 | 66 |
///
/// Two pieces cost no more than one from 256 KiB on where calls follow each other, as a plan's do. The
/// 10 to 20 microseconds of a thread that has to be woken are paid once a run at any size.
const MIN_BYTES_PER_PIECE: usize = 128 << 10;

/// Real multiplications that are worth a thread, likewise: a product of 2^20 takes 10, 5 and 18
/// microseconds, one of 2^19 takes 4.6, 4.0 and 12.
pub(crate) const MIN_PRODUCTS_PER_PIECE: usize = 1 << 19;

impl Exec {
    /// The current rayon pool's thread count with instruction set `isa`.
    pub fn new(isa: Isa) -> Self {
        Self {
            isa,
            threads: rayon::current_num_threads(),
        }
    }

    /// Runs `body(piece)` for each piece, in parallel, and combines what they return in order.
    pub(crate) fn pieces<R: Send>(
        &self,
        pieces: usize,
        body: impl Fn(usize) -> R + Sync,
        combine: impl Fn(R, R) -> R + Sync,
    ) -> R {
        halves(0..pieces, pieces, 1, &|range| body(range.start), &combine)
    }

    /// Cuts `0..len` into pieces (multiples of `grain` but for the last) worth a thread each when an
    /// element moves `bytes` bytes, runs `body` on each and combines what they return in order.
    pub(crate) fn spans<R: Send>(
        &self,
        len: usize,
        grain: usize,
        bytes: usize,
        body: impl Fn(Range<usize>) -> R + Sync,
        combine: impl Fn(R, R) -> R + Sync,
    ) -> R {
        let worth = len.saturating_mul(bytes) / MIN_BYTES_PER_PIECE;
        let worth = worth.clamp(1, self.threads.max(1));
        halves(0..len, worth, grain, &body, &combine)
    }
}

/// Recursive halving keeps the order of combination fixed and needs no heap.
fn halves<R: Send>(
    range: Range<usize>,
    pieces: usize,
    grain: usize,
    body: &(impl Fn(Range<usize>) -> R + Sync),
    combine: &(impl Fn(R, R) -> R + Sync),
) -> R {
    if pieces <= 1 || range.len() <= grain {
        return body(range);
    }
    let left = pieces / 2;
    let cut = (range.len() * left / pieces).div_ceil(grain) * grain;
    let middle = (range.start + cut).min(range.end);
    let (a, b) = rayon::join(
        || halves(range.start..middle, left, grain, body, combine),
        || halves(middle..range.end, pieces - left, grain, body, combine),
    );
    combine(a, b)
}
