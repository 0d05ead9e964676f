//! Linear maps between planes, and layouts.

use furthermore_kernels_cpu::TILE_IMAGES;
use furthermore_shaders::{Constant, Variant};

use super::{Lowered, Lowering, WORKGROUP};
use crate::error::Result;
use crate::plan::Region;

/// Planes that an invocation of a linear map writes.
const MAP_ROWS: usize = 8;
/// Side of a square tile; narrower ones hold as many numbers.
const TILE: usize = 32;

/// Matrices to transpose.
#[derive(Clone, Copy)]
struct Matrices {
    planes: usize,
    /// Matrices of a plane.
    batch: usize,
    rows: usize,
    columns: usize,
    /// Where in a plane they begin.
    start: usize,
    /// From one row to the next, where they are read and where they are written.
    strides: [usize; 2],
}

impl Lowering {
    /// Kernels of numbers, whatever they are coordinates of.
    fn convert(&self, entry: &'static str, tile: [usize; 2]) -> Variant {
        self.variant("convert", entry, 1)
            .constant("TILE_ROWS", Constant::U32(tile[0] as u32))
            .constant("TILE_COLUMNS", Constant::U32(tile[1] as u32))
    }

    pub(super) fn linear_map(&self, matrix: &[f64], x: Region, y: Region) -> Result<Lowered> {
        let blocks = y.planes.div_ceil(MAP_ROWS);
        let groups = y.elements.div_ceil(WORKGROUP) * blocks;
        let work = WORKGROUP * x.planes * MAP_ROWS;
        let lowered = Lowered::new(self.convert("linear_map", [TILE; 2]), groups, work)
            .table(matrix)
            .operand("x", x)
            .operand("y", y);
        lowered
            .size("len", y.elements)?
            .size("rows", y.planes)?
            .size("columns", x.planes)
    }

    pub(super) fn transpose(
        &self,
        [batch, rows, columns]: [usize; 3],
        x: Region,
        y: Region,
    ) -> Result<Lowered> {
        let matrices = Matrices {
            planes: x.planes,
            batch,
            rows,
            columns,
            start: 0,
            strides: [columns, rows],
        };
        self.matrices(matrices, x, y)
    }

    /// Planes are the rows of a matrix, and interleaved elements those of its transpose.
    pub(super) fn interleave(&self, into: bool, x: Region, y: Region) -> Result<Lowered> {
        let (planes, rows, columns) = if into {
            (x, x.planes, x.elements)
        } else {
            (y, y.elements, y.planes)
        };
        let strides = if into {
            [planes.stride, planes.planes]
        } else {
            [planes.planes, planes.stride]
        };
        let matrices = Matrices {
            planes: 1,
            batch: 1,
            rows,
            columns,
            start: 0,
            strides,
        };
        self.matrices(matrices, x, y)
    }

    /// A tile is the transpose of its samples: all whole tiles in one dispatch, the narrow one in
    /// another.
    pub(super) fn tiles(
        &self,
        batch: usize,
        into: bool,
        x: Region,
        y: Region,
    ) -> Result<Vec<Lowered>> {
        let elements = y.elements.checked_div(batch).unwrap_or(0);
        let (whole, rest) = (batch / TILE_IMAGES, batch % TILE_IMAGES);
        let parts = [(0, whole, TILE_IMAGES), (batch - rest, 1, rest)];
        let part = |(first, tiles, width): (usize, usize, usize)| {
            let (rows, columns) = if into {
                (width, elements)
            } else {
                (elements, width)
            };
            let matrices = Matrices {
                planes: x.planes,
                batch: tiles,
                rows,
                columns,
                start: first * elements,
                strides: [columns, rows],
            };
            self.matrices(matrices, x, y)
        };
        parts.into_iter().map(part).collect()
    }

    fn matrices(&self, matrices: Matrices, x: Region, y: Region) -> Result<Lowered> {
        let Matrices { rows, columns, .. } = matrices;
        let narrow = |size: usize| size.clamp(1, TILE).next_power_of_two();
        let tile = if rows <= TILE {
            [narrow(rows), TILE * TILE / narrow(rows)]
        } else {
            [TILE * TILE / narrow(columns), narrow(columns)]
        };
        let groups =
            matrices.planes * matrices.batch * rows.div_ceil(tile[0]) * columns.div_ceil(tile[1]);
        Lowered::new(self.convert("transpose", tile), groups, TILE * TILE)
            .operand("x", x)
            .operand("y", y)
            .size("planes", matrices.planes)?
            .size("batch", matrices.batch)?
            .size("rows", rows)?
            .size("columns", columns)?
            .size("start", matrices.start)?
            .size("x_row", matrices.strides[0])?
            .size("y_row", matrices.strides[1])
    }
}
