//! Pooling and its gradients.

use furthermore_kernels_cpu::pool::{
    Pool, PoolShape, pool, pool_gradient, rectified_pool, rectified_pool_gradient,
};
use furthermore_kernels_cpu::{Element, TILE_IMAGES};

use super::pass::Pass;
use super::{Case, Setup};

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
pub(super) fn cases<T: Element>(setup: &Setup) -> Vec<Case> {
    let (input, output) = (SHAPE.input_len(), SHAPE.output_len());
    let shape = format!("{}x8x64x64 by 2x2", SHAPE.batch);
    let forward = Pass {
        a: input,
        y: output,
        ..Pass::default()
    };
    let backward = Pass {
        a: input,
        b: output,
        y: input,
        ..Pass::default()
    };
    let mut cases = Vec::new();
    for kind in [Pool::Average, Pool::Max] {
        let kernel = format!("pool {}", kind.name());
        cases.push(forward.case::<T, _>(setup, &kernel, &shape, move |t| {
            let (x, y) = (t.a.view()?, &mut t.y.view_mut()?);
            pool(&t.exec, &t.arithmetic, &SHAPE, kind, x, y)
        }));
        let backward = Pass {
            unread: kind == Pool::Average,
            ..backward
        };
        let kernel = format!("pool_gradient {}", kind.name());
        cases.push(backward.case::<T, _>(setup, &kernel, &shape, move |t| {
            let (x, g, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
            pool_gradient(&t.exec, &t.arithmetic, &SHAPE, kind, x, g, y)
        }));
    }
    let kernel = "rectified_pool average";
    cases.push(forward.case::<T, _>(setup, kernel, &shape, |t| {
        let (x, y) = (t.a.view()?, &mut t.y.view_mut()?);
        rectified_pool(&t.exec, &t.arithmetic, &SHAPE, Pool::Average, x, y)
    }));
    let kernel = "rectified_pool_gradient average";
    cases.push(backward.case::<T, _>(setup, kernel, &shape, |t| {
        let (x, g, y) = (t.a.view()?, t.b.view()?, &mut t.y.view_mut()?);
        rectified_pool_gradient(&t.exec, &t.arithmetic, &SHAPE, Pool::Average, x, g, y)
    }));
    cases
}
