//! How a convolution is gone through: its geometry either way, and the pieces and chunks it is cut into.

use std::ops::Range;

use super::Conv2dShape;
use crate::algebra::Bilinear;
use crate::element::Element;
use crate::images::{Axis, TILE_IMAGES};
use crate::sizes::product;
use crate::threads::{Exec, MIN_PRODUCTS_PER_PIECE};

/// A convolution as the kernels see it: target channels that sum over source channels, either way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// Channels of a group.
    pub(super) sources: usize,
    pub(super) targets: usize,
    pub(super) axes: [Axis; 2],
    pub(super) kernel: [usize; 2],
    /// Where weights lie: elements from one group, target channel and source channel to the next.
    pub(super) group_weights: usize,
    pub(super) target_weights: usize,
    pub(super) source_weights: usize,
}

impl Geometry {
    /// From input to output, or `swapped` from output to input.
    pub(super) fn new(shape: &Conv2dShape, swapped: bool) -> Self {
        let [ins, outs] = [shape.in_channels, shape.out_channels].map(|c| c / shape.groups);
        let taps = shape.kernel[0] * shape.kernel[1];
        let forward = Self {
            batch: shape.batch,
            groups: shape.groups,
            sources: ins,
            targets: outs,
            axes: [shape.axis(0), shape.axis(1)],
            kernel: shape.kernel,
            group_weights: outs * ins * taps,
            target_weights: ins * taps,
            source_weights: taps,
        };
        if !swapped {
            return forward;
        }
        Self {
            sources: outs,
            targets: ins,
            axes: forward.axes.map(Axis::swap),
            target_weights: taps,
            source_weights: ins * taps,
            ..forward
        }
    }

    pub(super) fn tiles(&self) -> usize {
        self.batch.div_ceil(TILE_IMAGES)
    }

    /// Rows of results, all tiles together: what is cut into pieces.
    pub(super) fn rows(&self) -> usize {
        self.tiles() * self.axes[0].targets()
    }

    /// Elements of one image of the source, all channels.
    pub(super) fn source_image(&self) -> usize {
        self.groups * self.sources * self.axes[0].source_len() * self.axes[1].source_len()
    }

    /// Elements of one image of the result, all channels.
    pub(super) fn target_image(&self) -> usize {
        self.groups * self.targets * self.axes[0].targets() * self.axes[1].targets()
    }

    pub(super) fn weights(&self) -> usize {
        self.groups * self.group_weights
    }
}

/// How many pieces to cut `rows` rows into when all together are `products` multiplications.
pub(super) fn pieces(exec: &Exec, rows: usize, products: usize) -> usize {
    (products / MIN_PRODUCTS_PER_PIECE)
        .clamp(1, exec.threads.max(1))
        .min(rows.max(1))
}

/// Piece `i` of `pieces` of `0..len`.
pub(super) fn piece(len: usize, pieces: usize, i: usize) -> Range<usize> {
    len * i / pieces..len * (i + 1) / pieces
}

/// Elements rounded up so that what follows starts on a cache line.
pub(super) fn aligned<T>(elements: usize) -> usize {
    let rounded = elements.checked_next_multiple_of(64 / size_of::<T>());
    rounded.unwrap_or(usize::MAX)
}

/// Bytes of the rows of a source that lie packed at a time, and of the results computed from them in
/// the meantime: parts of a 1 MiB level-2 cache. Rows that windows share are packed again for the next
/// chunk, so the sources get the larger one.
const SOURCE_BYTES: usize = 384 << 10;
const RESULT_BYTES: usize = 256 << 10;

/// How a convolution is gone through: in pieces, each a chunk of rows after the other, for which one
/// combination of the source's planes is packed at a time.
///
/// Images of 2^n pixels put every channel and row of a pixel in the same few places of a cache. Packed
/// rows lie a cache line further apart than they are long.
pub(super) struct Schedule {
    pub(super) pieces: usize,
    /// Most rows of results in a chunk.
    pub(super) rows: usize,
    /// Rows of the source packed for them.
    pub(super) source_rows: usize,
    /// Rows are cut into pieces and chunks at multiples of this.
    pub(super) grain: usize,
    /// Elements from one channel of staged results to the next, where they are pooled.
    pub(super) staged_channel: usize,
    /// Elements of scratch: packed weights and biases that all pieces share, and each piece's rows.
    pub(super) weights: usize,
    pub(super) bias: usize,
    pub(super) window: usize,
    pub(super) staged: usize,
}

impl Schedule {
    pub(super) fn new<T: Element>(
        exec: &Exec,
        geometry: &Geometry,
        shape: &Conv2dShape,
        program: &Bilinear,
        planes: usize,
        pooled: Option<[usize; 2]>,
    ) -> Self {
        let products = shape
            .products::<T>(exec)
            .saturating_mul(program.terms.len());
        let grain = pooled.map_or(1, |[rows, _]| rows.max(1));
        let [rows, columns] = &geometry.axes;
        let width = geometry.batch.min(TILE_IMAGES);
        let channels = geometry.groups * geometry.sources;
        let source_row = channels * row_pitch::<T>(columns.source_len() * width);
        let target_channels = planes * geometry.groups * geometry.targets;
        let target_row = product(&[target_channels, columns.targets(), width]);
        let most = SOURCE_BYTES / size_of::<T>();
        let results = RESULT_BYTES / size_of::<T>();
        let limit = rows.targets().min(results / target_row.max(1));
        let fits = |count: usize| rows.most_sources(count).saturating_mul(source_row) <= most;
        let mut chunk = grain;
        while chunk + grain <= limit && fits(chunk + grain) {
            chunk += grain;
        }
        let source_rows = rows.most_sources(chunk);
        let staged_channel = match pooled {
            Some(_) => row_pitch::<T>(product(&[chunk, columns.targets(), width])),
            None => 0,
        };
        Self {
            pieces: pieces(exec, geometry.rows() / grain, products),
            rows: chunk,
            source_rows,
            grain,
            staged_channel,
            staged: product(&[staged_channel, target_channels]),
            weights: aligned::<T>(product(&[program.right.len(), geometry.weights()])),
            bias: aligned::<T>(target_channels),
            window: aligned::<T>(product(&[source_rows, source_row])),
        }
    }

    /// Elements of a piece's scratch.
    pub(super) fn piece(&self) -> usize {
        self.window.saturating_add(self.staged)
    }

    pub(super) fn scratch_len(&self) -> usize {
        let own = product(&[self.pieces, self.piece()]);
        own.saturating_add(self.weights).saturating_add(self.bias)
    }
}

/// Elements from one packed row to the next.
pub(super) fn row_pitch<T>(len: usize) -> usize {
    aligned::<T>(len).saturating_add(64 / size_of::<T>())
}
