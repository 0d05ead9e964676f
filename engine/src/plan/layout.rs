//! How tensors lie in memory: image tiles about what convolves and pools, rows elsewhere.

use crate::network::Op;

/// How a tensor lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Row-major, sample after sample.
    Rows,
    /// In tiles of images, as convolutions and pooling like it.
    Tiles,
}

/// How the result of an operation lies: as its operands do where it does not care, which takes `tiled`
/// operands, of the result's shape and at least one of them in tiles.
pub(super) fn result_layout(op: &Op, tiled: bool) -> Layout {
    match op {
        Op::Conv2d(_)
        | Op::Conv2dGradientInput { .. }
        | Op::Pool { .. }
        | Op::PoolGradient { .. } => Layout::Tiles,
        Op::Map { .. }
        | Op::MapGradient { .. }
        | Op::Scale { .. }
        | Op::Multiply
        | Op::Linear { .. }
        | Op::MeanSquaredErrorGradient
            if tiled =>
        {
            Layout::Tiles
        }
        _ => Layout::Rows,
    }
}

/// How an operation whose result lies in `result` takes its operands.
pub(super) fn operand_layout(op: &Op, nth: usize, result: Layout) -> Layout {
    match (op, nth) {
        (Op::Conv2dGradientWeights { .. } | Op::Conv2dGradientBias, _) => Layout::Tiles,
        (Op::Conv2d(_) | Op::Conv2dGradientInput { .. }, 1..) => Layout::Rows,
        _ => result,
    }
}
