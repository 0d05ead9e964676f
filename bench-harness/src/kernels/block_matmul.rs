//! Matrix products.

use furthermore_kernels_cpu::Element;
use furthermore_kernels_cpu::block_matmul::{Epilogue, MatmulShape, block_matmul, scratch_len};

use super::operands::{Operand, call};
use super::{Case, Regime, Setup, Side};

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
/// Products, and rows, depth, columns of each: of many small ones and few larger ones.
const BATCHES: [(usize, [usize; 3]); 2] = [(64, [32, 32, 32]), (8, [128, 64, 128])];

/// One case a shape.
pub(super) fn cases<T: Element>(setup: &Setup) -> Vec<Case> {
    let single = SHAPES.iter().map(|&([m, k, n], transpose_a, transpose_b)| {
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
        product::<T>(setup, shape, format!("{m}x{k}x{n}{a}{b}"))
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
        product::<T>(setup, shape, format!("{batch} of {m}x{k}x{n}"))
    });
    single.chain(batched).collect()
}

fn product<T: Element>(setup: &Setup, shape: MatmulShape, name: String) -> Case {
    let exec = setup.exec;
    let MatmulShape { batch, m, k, n, .. } = shape;
    let [a_len, b_len, c_len] = [batch * m * k, batch * k * n, batch * m * n];
    let sides = setup.of_two().map(|(regime, algebra, arithmetic)| {
        let dim = arithmetic.dim();
        let right = if regime == Regime::CtPt { 1 } else { dim };
        let products = arithmetic.product(dim, right).terms.len();
        let elements = dim * a_len + right * b_len + dim * c_len;
        let arithmetic = arithmetic.clone();
        Side {
            regime,
            algebra,
            flop: (2 * batch * m * k * n * products) as f64,
            bytes: (elements * size_of::<T>()) as f64,
            prepare: Box::new(move || {
                let arithmetic = arithmetic.clone();
                let a = Operand::<T>::random(dim, a_len);
                let b = Operand::<T>::random(right, b_len);
                let mut c = Operand::<T>::zeros(dim, c_len);
                let len = scratch_len::<T>(&exec, &arithmetic, &shape, dim, right);
                let mut scratch = Operand::<T>::zeros(1, len);
                call(move || {
                    let (a, b, none) = (a.view()?, b.view()?, Epilogue::NONE);
                    let (c, scratch) = (&mut c.view_mut()?, &mut scratch.view_mut()?);
                    let scratch = scratch.plane_mut(0);
                    block_matmul(&exec, &arithmetic, &shape, a, b, c, &none, scratch).map(drop)
                })
            }),
        }
    });
    Case {
        kernel: "block_matmul".to_owned(),
        shape: name,
        sides: sides.collect(),
    }
}
