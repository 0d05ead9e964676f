//! Matrix products.

use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::function_map::Function;
use furthermore_shaders::{Stored, Tile, Variant};

use super::super::tiles::{Kind, Program};
use super::{Lowered, Lowering};
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

impl Lowering {
    /// A variant with the product of `a` and `b` and its tiles for a result of `rows x columns`.
    pub(super) fn tiled(
        &self,
        mut variant: Variant,
        [a, b]: [Region; 2],
        [rows, depth, columns]: [usize; 3],
    ) -> Tiled {
        let product = self.product(a.planes, b.planes);
        let program = Program::new(product, a.planes, b.planes);
        let half = self.stored == Stored::F16;
        let kind = Kind::new(variant.family, half, program, [rows, columns]);
        let tile = self.tile_table.tile(&kind, self.workgroup_bytes);
        let ciphertext = a.planes.max(b.planes);
        variant.product = Some(product);
        variant.tile = Some(tile);
        let variant = variant
            .plaintext("a", a.planes < ciphertext)
            .plaintext("b", b.planes < ciphertext);
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
        a: Region,
        b: Region,
        bias: Option<Region>,
        activation: Option<Function>,
        c: Region,
    ) -> Result<Lowered> {
        let variant = self
            .variant("block_matmul", "block_matmul", c.planes)
            .flag("TRANSPOSE_A", shape.transpose_a)
            .flag("TRANSPOSE_B", shape.transpose_b)
            .flag("HAS_BIAS", bias.is_some())
            .plaintext("bias", bias.is_some_and(|bias| bias.planes < c.planes));
        let tiled = self.tiled(variant, [a, b], [shape.m, shape.k, shape.n]);
        let groups = shape.batch * tiled.tile.count(shape.m, shape.n);
        let mut lowered = Lowered::tiled(tiled, groups)
            .function(activation)
            .operand("a", a)
            .operand("b", b)
            .operand("c", c);
        if let Some(bias) = bias {
            lowered = lowered.operand("bias", bias);
        }
        lowered
            .size("batch", shape.batch)?
            .size("m", shape.m)?
            .size("k", shape.k)?
            .size("n", shape.n)
    }
}
