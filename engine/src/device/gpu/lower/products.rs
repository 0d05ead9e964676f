//! Matrix products.

use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::function_map::Function;
use furthermore_shaders::{Product, Tile, Variant};

use super::{Lowered, Lowering};
use crate::error::Result;
use crate::plan::Region;

/// How many combinations of coordinates a product takes of either side, real products between them,
/// and sums these go to.
struct Program {
    left: u32,
    right: u32,
    terms: u32,
    sums: u32,
}

impl Lowering {
    fn program(&self, product: Product, a: usize, b: usize) -> Program {
        let (left, right) = (a as u32, b as u32);
        match product {
            Product::Plain => {
                let terms = left.max(right);
                let sums = terms;
                Program {
                    left,
                    right,
                    terms,
                    sums,
                }
            }
            Product::Compact2 { .. } | Product::Compact { .. } => {
                let terms = 2 * left - 1;
                Program {
                    left: terms,
                    right: terms,
                    terms,
                    sums: terms,
                }
            }
            Product::Blocks { size } => Program {
                left,
                right,
                terms: size.pow(3),
                sums: size.pow(2),
            },
        }
    }

    /// Tiles for a product of `rows x columns`: the largest that leave the sums in registers and the
    /// operands in workgroup memory, and that the result fills.
    fn tile(&self, program: &Program, rows: usize, columns: usize) -> Tile {
        /// Of an invocation and of a workgroup.
        const SIZES: [[u32; 4]; 9] = [
            [8, 8, 16, 16],
            [8, 4, 16, 16],
            [4, 4, 16, 16],
            // Few rows or few columns, as convolutions of few channels have.
            [4, 4, 4, 32],
            [4, 4, 8, 16],
            [4, 4, 32, 4],
            [4, 4, 16, 8],
            [4, 4, 8, 8],
            [4, 4, 4, 4],
        ];
        /// Sums that one invocation keeps in registers.
        const SUMS: u32 = 128;
        let tiles = SIZES.into_iter().flat_map(
            |[thread_rows, thread_columns, group_rows, group_columns]| {
                [8, 4, 2, 1].map(|depth| Tile {
                    thread_rows,
                    thread_columns,
                    group_rows,
                    group_columns,
                    depth,
                })
            },
        );
        let fits = |tile: &Tile| {
            let sums = program.sums * tile.thread_rows * tile.thread_columns;
            let bytes = tile.bytes(program.left, program.right) as usize;
            let filled = |tile: u32, size: usize| tile as usize <= size.next_power_of_two().max(16);
            bytes <= self.workgroup_bytes
                && (sums <= SUMS || tile.group_rows * tile.group_columns == 16)
                && filled(tile.rows(), rows)
                && filled(tile.columns(), columns)
        };
        let least = Tile {
            thread_rows: 4,
            thread_columns: 4,
            group_rows: 4,
            group_columns: 4,
            depth: 1,
        };
        tiles.into_iter().find(fits).unwrap_or(least)
    }

    /// The variant with the product of `a` and `b`, its tiles for a result of `rows x columns`, and
    /// the multiplications of one workgroup.
    pub(super) fn tiled(
        &self,
        mut variant: Variant,
        [a, b]: [Region; 2],
        [rows, depth, columns]: [usize; 3],
    ) -> (Variant, Tile, usize) {
        let product = self.product(a.planes, b.planes);
        let program = self.program(product, a.planes, b.planes);
        let tile = self.tile(&program, rows, columns);
        let ciphertext = a.planes.max(b.planes);
        variant.product = Some(product);
        variant.tile = Some(tile);
        let variant = variant
            .plaintext("a", a.planes < ciphertext)
            .plaintext("b", b.planes < ciphertext);
        let work = (tile.rows() * tile.columns() * program.terms) as usize;
        (variant, tile, work.saturating_mul(depth))
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
        let (variant, tile, work) = self.tiled(variant, [a, b], [shape.m, shape.k, shape.n]);
        let groups = shape.batch * tile.count(shape.m, shape.n);
        let mut lowered = Lowered::new(variant, groups, work)
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
