//! What this machine can do at most, measured beside the kernels.

use std::time::Instant;

use furthermore::device::{Cpu, Gpu};
use furthermore::tensor::DType;
use furthermore_kernels_cpu::{Exec, peak};
use rayon::prelude::*;

use crate::environment::Environment;
use crate::error::Result;

/// Rates that a kernel is held against.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Peaks {
    /// Fused multiply-adds from registers, on all threads, counted as two operations each.
    pub fma_gflop_per_s: f64,
    /// Copying arrays far larger than the last-level cache, reads and writes counted.
    pub copy_gbyte_per_s: f64,
}

/// Bytes of each of the copied arrays.
const COPY_BYTES: usize = 256 << 20;
/// Fused multiply-adds of each thread in one run: some milliseconds.
const ROUNDS: usize = 1 << 20;
const REPETITIONS: usize = 7;

impl Peaks {
    /// Of a processor, in an element type; the best of a few runs.
    pub fn of_cpu(cpu: &Cpu, dtype: DType) -> Self {
        let exec = Exec {
            isa: cpu.isa(),
            threads: cpu.threads(),
        };
        let fma = best(|| match dtype {
            DType::F32 => peak::fused_multiply_adds::<f32>(&exec, ROUNDS),
            DType::F64 => peak::fused_multiply_adds::<f64>(&exec, ROUNDS),
        });
        let from = vec![1u8; COPY_BYTES];
        let mut to = vec![0u8; COPY_BYTES];
        let piece = COPY_BYTES.div_ceil(exec.threads.max(1));
        let copy = best(|| {
            let pieces = to.par_chunks_mut(piece).zip(from.par_chunks(piece));
            pieces.for_each(|(to, from)| to.copy_from_slice(from));
            2.0 * COPY_BYTES as f64
        });
        Self {
            fma_gflop_per_s: fma / 1e9,
            copy_gbyte_per_s: copy / 1e9,
        }
    }

    /// Of a graphics processor.
    ///
    /// # Errors
    /// When it fails.
    pub fn of_gpu(gpu: &Gpu) -> Result<Self> {
        let peaks = gpu.peaks()?;
        Ok(Self {
            fma_gflop_per_s: peaks.flop_per_s / 1e9,
            copy_gbyte_per_s: peaks.bytes_per_s / 1e9,
        })
    }

    /// Both, and what they are the peaks of, in words.
    pub fn describe(&self, environment: &Environment) -> String {
        format!(
            "peaks of {}: {:.0} GFLOP/s of fused multiply-adds from registers, {:.1} GB/s of copying \
             past the caches (reads and writes)",
            environment.computing(),
            self.fma_gflop_per_s,
            self.copy_gbyte_per_s
        )
    }

    /// The better of either peak: other work on the machine only ever lowers what is measured.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            fma_gflop_per_s: self.fma_gflop_per_s.max(other.fma_gflop_per_s),
            copy_gbyte_per_s: self.copy_gbyte_per_s.max(other.copy_gbyte_per_s),
        }
    }

    /// What part of the nearer peak these rates are.
    pub fn fraction(&self, gflop_per_s: Option<f64>, gbyte_per_s: Option<f64>) -> Option<f64> {
        let of = |rate: Option<f64>, peak: f64| rate.map(|rate| rate / peak);
        let parts = [
            of(gflop_per_s, self.fma_gflop_per_s),
            of(gbyte_per_s, self.copy_gbyte_per_s),
        ];
        parts.into_iter().flatten().reduce(f64::max)
    }
}

/// The best rate of `body`, which returns how much it did.
fn best(mut body: impl FnMut() -> f64) -> f64 {
    let mut best = 0.0f64;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        let done = body();
        best = best.max(done / start.elapsed().as_secs_f64());
    }
    best
}
