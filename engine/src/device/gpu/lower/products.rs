//! Matrix products.

use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::function_map::Function;
use furthermore_shaders::{Stored, Tile, Variant};

use super::super::tiles::{Kind, Program};
use super::{Lowered, Lowering, Share};
use crate::error::Result;
use crate::plan::Region;

/// A product in tiles.
pub(super) struct Tiled {
    pub(super) variant: Variant,
    pub(super) tile: Tile,
    /// What its tiles were chosen for.
    pub(super) kind: Kind,
    /// Multiplications of one workgroup.
    pub(super) work: usize,
}

/// How an operand of a product lies in memory: in runs of numbers side by side.
#[derive(Clone, Copy)]
pub(super) struct Runs {
    /// Where 4 divides it, it divides every run.
    pub(super) length: usize,
    /// The product sums over a run; else it is rows of the left operand or columns of the right.
    pub(super) along_depth: bool,
}

impl Runs {
    /// Not in runs where something is done to each number that is read.
    pub(super) fn unless(mut self, each: bool) -> Self {
        if each {
            self.length = 1;
        }
        self
    }

    /// Whether a tile may be filled with four numbers at a time.
    fn wide(self, operand: Region, tile: &Tile) -> bool {
        self.length.is_multiple_of(4)
            && (operand.planes == 1 || operand.stride.is_multiple_of(4))
            && (!self.along_depth || tile.depth.is_multiple_of(4))
    }
}

impl Lowering {
    /// A variant with the product of `a` and `b`, which lie in `runs`, and its tiles for a result of
    /// `rows x columns`.
    pub(super) fn tiled(
        &self,
        mut variant: Variant,
        [a, b]: [Region; 2],
        runs: [Runs; 2],
        [rows, depth, columns]: [usize; 3],
    ) -> Tiled {
        let product = self.product(a.planes, b.planes);
        let program = Program::new(product, a.planes, b.planes);
        let half = self.stored == Stored::F16;
        let kind = Kind::new(variant.family, half, program, [rows, columns]);
        let tile = self.tile_table.tile(&kind, self.workgroup_bytes);
        variant.product = Some(product);
        variant.tile = Some(tile);
        let variant = variant
            .with_planes("a", a.planes as u32)
            .with_planes("b", b.planes as u32)
            .wide("a", runs[0].wide(a, &tile))
            .wide("b", runs[1].wide(b, &tile));
        let work = (tile.rows() * tile.columns() * program.terms) as usize;
        Tiled {
            variant,
            tile,
            kind,
            work: work.saturating_mul(depth),
        }
    }

    pub(super) fn block_matmul(
        &self,
        shape: &MatmulShape,
        [a, b, c]: [Region; 3],
        bias: Option<Region>,
        activation: Option<Function>,
        share: &Share,
    ) -> Result<Vec<Lowered>> {
        let variant = self
            .variant("block_matmul", "block_matmul", c.planes)
            .flag("TRANSPOSE_A", shape.transpose_a)
            .flag("TRANSPOSE_B", shape.transpose_b)
            .flag("HAS_BIAS", bias.is_some())
            .plaintext("bias", bias.is_some_and(|bias| bias.planes < c.planes));
        let turned = |transposed, [rows, columns]: [usize; 2]| {
            if transposed {
                [columns, rows]
            } else {
                [rows, columns]
            }
        };
        let sizes = [
            turned(shape.transpose_a, [shape.m, shape.k]),
            turned(shape.transpose_b, [shape.k, shape.n]),
            [shape.m, shape.n],
        ];
        // Elements from one row in memory to the next, of which a part may take some.
        let row = |region: Region, [rows, _]: [usize; 2]| {
            let rows = shape.batch.saturating_mul(rows);
            region.elements.checked_div(rows).unwrap_or(0)
        };
        let steps = [row(a, sizes[0]), row(b, sizes[1]), row(c, sizes[2])];
        let runs = |nth: usize, along_depth| {
            let all = [sizes[nth][1], steps[nth], share.starts[nth]];
            let fours = all.iter().all(|size| size.is_multiple_of(4));
            Runs {
                length: if fours { sizes[nth][1] } else { 1 },
                along_depth,
            }
        };
        let runs = [runs(0, !shape.transpose_a), runs(1, shape.transpose_b)];
        let tiled = self.tiled(variant, [a, b], runs, [shape.m, shape.k, shape.n]);
        let groups = shape.batch * tiled.tile.count(shape.m, shape.n);
        let mut lowered = Lowered::tiled(tiled, groups)
            .function(activation)
            .operand("a", a)
            .operand("b", b)
            .operand("c", c);
        if let Some(bias) = bias {
            lowered = lowered.operand("bias", bias);
        }
        let lowered = lowered
            .size("batch", shape.batch)?
            .size("m", shape.m)?
            .size("k", shape.k)?
            .size("n", shape.n)?
            .size("a_row", steps[0])?
            .size("a_start", share.starts[0])?
            .size("b_row", steps[1])?
            .size("b_start", share.starts[1])?
            .size("c_row", steps[2])?
            .size("c_start", share.starts[2])?;
        share.keep(vec![lowered], c.planes * c.elements)
    }
}
