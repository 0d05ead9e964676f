//! How image tensors lie in memory, written out.

use furthermore_kernels_cpu::TILE_IMAGES;

/// Sizes of an image tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Images {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Images {
    pub(crate) fn len(&self) -> usize {
        self.batch * self.channels * self.rows * self.columns
    }

    /// Where a pixel of image `n` lies: tiles of images one after another, in each the channels, in
    /// each channel rows, columns, and the tile's images innermost.
    pub(crate) fn at(&self, n: usize, channel: usize, row: usize, column: usize) -> usize {
        let first = n / TILE_IMAGES * TILE_IMAGES;
        let width = (self.batch - first).min(TILE_IMAGES);
        let tile = first * self.channels * self.rows * self.columns;
        let pixel = (channel * self.rows + row) * self.columns + column;
        tile + pixel * width + (n - first)
    }
}

/// The element that tap `tap` of the window at `place` covers, where it lies on one of `input`.
pub(crate) fn covered(
    place: usize,
    tap: usize,
    (stride, padding, dilation, input): (usize, usize, usize, usize),
) -> Option<usize> {
    let at = place as i64 * stride as i64 + tap as i64 * dilation as i64 - padding as i64;
    (0..input as i64).contains(&at).then_some(at as usize)
}
