//! Pooling and its gradients.

use furthermore::plan::Kernel;
use furthermore_kernels_cpu::TILE_IMAGES;
use furthermore_kernels_cpu::pool::{Pool, PoolShape};

use super::case::{Case, Setup};
use crate::error::Result;

/// The angiography network's first.
const SHAPE: PoolShape = PoolShape {
    batch: 2 * TILE_IMAGES,
    channels: 8,
    input: [64; 2],
    kernel: [2; 2],
    stride: [2; 2],
    padding: [[0; 2]; 2],
    dilation: [1; 2],
    ceil: false,
};

/// Averages, maxima and averages of relu, each with its gradient.
pub(super) fn cases(setup: &Setup) -> Result<Vec<Case>> {
    let (input, output) = (SHAPE.input_len(), SHAPE.output_len());
    let shape = format!("{}x8x64x64 by 2x2", SHAPE.batch);
    let mut cases = Vec::new();
    for (pool, rectified) in [
        (Pool::Average, false),
        (Pool::Max, false),
        (Pool::Average, true),
    ] {
        let forward = Kernel::Pool {
            pool,
            shape: SHAPE,
            rectified,
        };
        let backward = Kernel::PoolGradient {
            pool,
            shape: SHAPE,
            rectified,
        };
        let name = |kernel: &Kernel| format!("{} {}", kernel.name(), pool.name());
        cases.push(setup.one(name(&forward), &shape, &forward, &[input], &[output])?);
        let reads = [input, output];
        cases.push(setup.one(name(&backward), &shape, &backward, &reads, &[input])?);
    }
    Ok(cases)
}
