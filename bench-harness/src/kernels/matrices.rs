//! Matrix products.

use furthermore_kernels_cpu::block_matmul::{Epilogue, MatmulShape, block_matmul, scratch_len};
use furthermore_kernels_cpu::{Element, Exec};

use super::operands::{Operand, call};
use super::{Algebras, Case, Regime, Side};

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

/// One case a shape.
pub(super) fn cases<T: Element>(exec: Exec, algebras: &Algebras) -> Vec<Case> {
    let case = |&([m, k, n], transpose_a, transpose_b): &([usize; 3], bool, bool)| {
        let shape = MatmulShape {
            batch: 1,
            m,
            k,
            n,
            transpose_a,
            transpose_b,
        };
        let sides = algebras.of_two().map(|(regime, algebra, arithmetic)| {
            let dim = arithmetic.dim();
            let right = if regime == Regime::CtPt { 1 } else { dim };
            let products = arithmetic.product(dim, right).terms.len();
            let elements = dim * m * k + right * k * n + dim * m * n;
            let arithmetic = arithmetic.clone();
            Side {
                regime,
                algebra,
                flop: (2 * m * k * n * products) as f64,
                bytes: (elements * size_of::<T>()) as f64,
                prepare: Box::new(move || {
                    let arithmetic = arithmetic.clone();
                    let a = Operand::<T>::random(dim, m * k);
                    let b = Operand::<T>::random(right, k * n);
                    let mut c = Operand::<T>::zeros(dim, m * n);
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
        let t = |transposed: bool, name: &str| {
            if transposed {
                format!(" {name}^T")
            } else {
                String::new()
            }
        };
        Case {
            kernel: "block_matmul".to_owned(),
            shape: format!("{m}x{k}x{n}{}{}", t(transpose_a, "A"), t(transpose_b, "B")),
            sides: sides.collect(),
        }
    };
    SHAPES.iter().map(case).collect()
}
