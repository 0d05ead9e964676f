//! Matrix products.

use furthermore::plan::Kernel;
use furthermore_kernels_cpu::block_matmul::MatmulShape;

use super::case::{Case, Setup};
use crate::error::Result;

/// Rows, depth, columns; and which operand is stored transposed.
const SHAPES: [([usize; 3], bool, bool); 9] = [
    ([1, 784, 128], false, false),
    ([64, 784, 128], false, false),
    ([256, 784, 128], false, false),
    ([256, 256, 256], false, false),
    ([512, 512, 512], false, false),
    ([1024, 1024, 1024], false, false),
    ([784, 64, 128], true, false),
    ([512, 512, 512], true, false),
    ([512, 512, 512], false, true),
];
const LARGE: [usize; 3] = [4096, 4096, 4096];
/// Products, and rows, depth, columns of each: of many small ones and few larger ones.
const BATCHES: [(usize, [usize; 3]); 2] = [(64, [32, 32, 32]), (8, [128, 64, 128])];

/// One case a shape.
pub(super) fn cases(setup: &Setup) -> Result<Vec<Case>> {
    let large = setup.large.then_some((LARGE, false, false));
    let single = SHAPES
        .into_iter()
        .chain(large)
        .map(|([m, k, n], transpose_a, transpose_b)| {
            let t = |transposed, name| if transposed { name } else { "" };
            let (a, b) = (t(transpose_a, " A^T"), t(transpose_b, " B^T"));
            let shape = MatmulShape {
                batch: 1,
                m,
                k,
                n,
                transpose_a,
                transpose_b,
            };
            product(setup, shape, format!("{m}x{k}x{n}{a}{b}"))
        });
    let batched = BATCHES.iter().map(|&(batch, [m, k, n])| {
        let shape = MatmulShape {
            batch,
            m,
            k,
            n,
            transpose_a: false,
            transpose_b: false,
        };
        product(setup, shape, format!("{batch} of {m}x{k}x{n}"))
    });
    single.chain(batched).collect()
}

fn product(setup: &Setup, shape: MatmulShape, name: String) -> Result<Case> {
    let MatmulShape { batch, m, k, n, .. } = shape;
    let kernel = Kernel::BlockMatmul {
        shape,
        bias: false,
        activation: None,
    };
    let operands = [batch * m * k, batch * k * n];
    setup.two("block_matmul", name, &kernel, operands, batch * m * n)
}
