//! Linear maps between planes, layouts, and boxes carried elsewhere.

use furthermore_kernels_cpu::TILE_IMAGES;
use furthermore_kernels_cpu::convert::{Rest, StridedCopy};
use furthermore_shaders::{Constant, Value, Variant};

use super::{Lowered, Lowering, WORKGROUP, too_large};
use crate::error::Result;
use crate::plan::Region;

/// Planes that an invocation of a linear map writes.
const MAP_ROWS: usize = 8;
/// Side of a square tile; narrower ones hold as many numbers.
const TILE: usize = 32;

/// Axes of what is no box.
const NO_BOX: (usize, bool) = (1, false);
/// Size and steps of the axes of a copy, innermost first.
const AXES: [[&str; 3]; 6] = [
    ["size_0", "x_0", "y_0"],
    ["size_1", "x_1", "y_1"],
    ["size_2", "x_2", "y_2"],
    ["size_3", "x_3", "y_3"],
    ["size_4", "x_4", "y_4"],
    ["size_5", "x_5", "y_5"],
];

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
    steps: [Step; 2],
}

/// From one row of a matrix to the next.
#[derive(Clone, Copy)]
struct Step {
    planes: usize,
    /// Of a plane.
    numbers: usize,
}

impl Step {
    /// Rows of a plane, so many numbers long.
    fn within(numbers: usize) -> Self {
        Self { planes: 0, numbers }
    }

    /// Rows that are planes.
    const PLANE: Self = Self {
        planes: 1,
        numbers: 0,
    };
}

impl Lowering {
    /// Kernels of numbers, whatever they are coordinates of: in tiles, or in boxes of so many axes,
    /// where all of the target is written or the box alone.
    fn convert(
        &self,
        entry: &'static str,
        tile: [usize; 2],
        (axes, whole): (usize, bool),
    ) -> Variant {
        self.variant("convert", entry, 1)
            .constant("TILE_ROWS", Constant::U32(tile[0] as u32))
            .constant("TILE_COLUMNS", Constant::U32(tile[1] as u32))
            .constant("AXES", Constant::U32(axes as u32))
            .flag("WHOLE", whole)
    }

    pub(super) fn linear_map(&self, matrix: &[f64], x: Region, y: Region) -> Result<Lowered> {
        let blocks = y.planes.div_ceil(MAP_ROWS);
        let groups = y.elements.div_ceil(WORKGROUP) * blocks;
        let work = WORKGROUP * x.planes * MAP_ROWS;
        let lowered = Lowered::new(self.convert("linear_map", [TILE; 2], NO_BOX), groups, work)
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
            steps: [columns, rows].map(Step::within),
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
        let interleaved = Step::within(planes.planes);
        let steps = if into {
            [Step::PLANE, interleaved]
        } else {
            [interleaved, Step::PLANE]
        };
        let matrices = Matrices {
            planes: 1,
            batch: 1,
            rows,
            columns,
            start: 0,
            steps,
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
                steps: [columns, rows].map(Step::within),
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
        Lowered::new(self.convert("transpose", tile, NO_BOX), groups, TILE * TILE)
            .operand("x", x)
            .operand("y", y)
            .size("planes", matrices.planes)?
            .size("batch", matrices.batch)?
            .size("rows", rows)?
            .size("columns", columns)?
            .size("start", matrices.start)?
            .size("x_plane", matrices.steps[0].planes)?
            .size("x_row", matrices.steps[0].numbers)?
            .size("y_plane", matrices.steps[1].planes)?
            .size("y_row", matrices.steps[1].numbers)
    }

    /// An invocation an element of the box or, where the rest becomes zero, of the target.
    pub(super) fn strided_copy(
        &self,
        copy: &StridedCopy,
        rest: Rest,
        x: Region,
        y: Region,
    ) -> Result<Lowered> {
        let whole = rest == Rest::Zero;
        let len = if whole { copy.to_len() } else { copy.len() };
        let axes = copy.axes();
        let variant = self.convert("strided_copy", [TILE; 2], (axes.len(), whole));
        let mut lowered = self
            .by_element(variant, len, x.planes)
            .operand("x", x)
            .operand("y", y)
            .size("len", len)?
            .size("planes", x.planes)?
            .size("x_start", copy.from())?
            .size("y_start", copy.to())?;
        for (axis, [size, x, y]) in axes.iter().zip(AXES) {
            lowered = lowered
                .size(size, axis.size)?
                .step(x, axis.from)?
                .step(y, axis.to)?;
        }
        Ok(lowered)
    }
}

impl Lowered {
    /// A step that may go backwards, as shaders count: modulo 2^32.
    fn step(mut self, name: &'static str, step: isize) -> Result<Self> {
        let size = step.unsigned_abs();
        u32::try_from(size).map_err(|_| too_large(name, size))?;
        self.parameters.push((name, Value::U32(step as u32)));
        Ok(self)
    }
}
