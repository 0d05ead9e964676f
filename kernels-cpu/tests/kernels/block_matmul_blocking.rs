//! Matrix products past every blocking constant and thread threshold, against the oracle and against
//! another library, and the promise that the same cut gives the same bits.

use crate::support::{
    Algebra, Case, Guarded, Kind, Noise, Prepared, THREADS, Tolerance, compare, execs, same_bits,
    single,
};
use furthermore_kernels_cpu::block_matmul::{Epilogue, block_matmul, scratch_len};
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::{Element, Exec, Isa};

/// One case on every instruction set with every number of pieces.
fn every_cut<T: Element>(algebra: &Algebra, case: Case, seed: u64) {
    let prepared = Prepared::<T>::new(algebra, case, seed);
    for exec in execs() {
        prepared.check(&exec);
    }
}

/// Products big enough to be cut into five pieces (each is worth 2^19 real multiplications), at
/// sizes that no cut divides.
fn cut_into_pieces<T: Element>() {
    let relu = (Some(Kind::Cipher), Some(Function::Relu));
    let tanh = (Some(Kind::Plain), Some(Function::Tanh));
    for algebra in [
        Algebra::real(),
        Algebra::compact2([0.75, -0.5]),
        Algebra::blocks(2),
        Algebra::compact(3),
        Algebra::blocks(3),
    ] {
        let kind = algebra.kinds()[algebra.kinds().len() - 1];
        let products = algebra.program.terms.len();
        let depth = 2_700_000usize.div_ceil(101 * 97 * products);
        for (m, n) in [(101, 97), (97 * 101 / 13, 13), (13, 101 * 97 / 13)] {
            let (bias, activation) = if m > n { relu } else { tanh };
            let case = Case::plain(m, depth, n, kind, kind)
                .transposed(m < n, m > n)
                .then(bias, activation);
            every_cut::<T>(&algebra, case, m as u64);
        }
    }
}

#[test]
fn cut_into_pieces_f32() {
    cut_into_pieces::<f32>();
}

#[test]
fn cut_into_pieces_f64() {
    cut_into_pieces::<f64>();
}

/// Plaintext on one side: the program has as many products as planes, and packs nothing it need not.
#[test]
fn mixed_kinds_cut_into_pieces() {
    for algebra in [Algebra::compact2([0.75, -0.5]), Algebra::blocks(2)] {
        for (a, b) in [(Kind::Cipher, Kind::Plain), (Kind::Plain, Kind::Cipher)] {
            for (transpose_a, transpose_b) in [(false, false), (true, true)] {
                let case = Case::plain(113, 83, 211, a, b)
                    .transposed(transpose_a, transpose_b)
                    .then(Some(Kind::Cipher), Some(Function::Relu));
                every_cut::<f32>(&algebra, case, 7);
            }
        }
    }
}

/// More pieces than there are rows, columns or tiles: some pieces are then empty.
#[test]
fn more_pieces_than_rows() {
    let algebra = Algebra::real();
    for (m, k, n) in [
        (1, 40_000, 67),
        (2, 30_000, 50),
        (67, 40_000, 1),
        (3, 300_000, 3),
    ] {
        let case = Case::plain(m, k, n, Kind::Plain, Kind::Plain)
            .transposed(false, n < m)
            .then(Some(Kind::Plain), Some(Function::Relu));
        let prepared = Prepared::<f64>::new(&algebra, case, 8);
        for isa in Isa::available() {
            for threads in [1, 4, 5, 16, 31] {
                prepared.check(&Exec { isa, threads });
            }
        }
    }
}

/// Sizes about the height of a block (144 rows), the rows from which B is packed (256), and whole
/// numbers of tiles.
#[test]
fn about_the_packing_thresholds() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    let mut noise = Noise::new(9);
    for m in [11, 12, 13, 143, 144, 145, 255, 256, 257, 289] {
        for n in [31, 159, 160, 161, 191, 192, 193] {
            let case = Case::plain(m, 9, n, Kind::Cipher, noise.pick(&Kind::ALL))
                .transposed(noise.below(2) == 0, noise.below(2) == 0);
            let prepared = Prepared::<f32>::new(&algebra, case, noise.next());
            for exec in single() {
                prepared.check(&exec);
            }
        }
    }
}

/// Programs whose combinations are all packed, over several blocks of rows with a narrow last strip of
/// columns: what one block packs has to be there still for the next.
#[test]
fn packed_combinations_outlast_a_block() {
    for algebra in [
        Algebra::compact(3),
        Algebra::compact2_weighted([-0.625, 0.875]),
    ] {
        for (m, n) in [(145, 9), (200, 47), (255, 101), (300, 69)] {
            for (transpose_a, transpose_b) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                let case = Case::plain(m, 7, n, Kind::Cipher, Kind::Cipher)
                    .transposed(transpose_a, transpose_b)
                    .then(Some(Kind::Cipher), Some(Function::Relu));
                let prepared = Prepared::<f32>::new(&algebra, case, m as u64);
                for exec in single() {
                    prepared.check(&exec);
                }
            }
        }
    }
}

/// Depths about one, two and four panels of every tile width: 40 KiB over 32, 16 or 8 f32 columns
/// and 16, 8 or 4 f64 columns are 320, 640 or 1280 steps.
fn about_the_depth_panels<T: Element>() {
    let algebra = Algebra::real();
    for k in [319, 320, 321, 639, 641, 1279, 1280, 1281, 2563] {
        let case = Case::plain(13, k, 35, Kind::Plain, Kind::Plain)
            .transposed(k % 2 == 0, k % 3 == 0)
            .then(Some(Kind::Plain), Some(Function::Tanh));
        let prepared = Prepared::<T>::new(&algebra, case, k as u64);
        for exec in single() {
            prepared.check(&exec);
        }
    }
    // With ciphertexts, several products are added into each plane at each panel.
    let algebra = Algebra::compact2([-0.25, 0.875]);
    for k in [330, 700, 1300] {
        let case = Case::plain(14, k, 37, Kind::Cipher, Kind::Cipher)
            .then(Some(Kind::Cipher), Some(Function::Relu));
        let prepared = Prepared::<T>::new(&algebra, case, k as u64);
        for exec in single() {
            prepared.check(&exec);
        }
    }
}

#[test]
fn about_the_depth_panels_f32() {
    about_the_depth_panels::<f32>();
}

#[test]
fn about_the_depth_panels_f64() {
    about_the_depth_panels::<f64>();
}

/// Past the rows that are packed at a time (720), past packed B (1 MiB: 205, 410 or 820 columns at
/// a whole panel's depth) and past a depth panel of every instruction set, all at once.
#[test]
fn past_every_block_plain() {
    let algebra = Algebra::real();
    for (m, k, n) in [(733, 331, 847), (739, 1291, 211), (1451, 331, 61)] {
        let case = Case::plain(m, k, n, Kind::Plain, Kind::Plain)
            .transposed(m == 739, m == 733)
            .then(Some(Kind::Plain), Some(Function::Relu));
        let prepared = Prepared::<f32>::new(&algebra, case, 10);
        for isa in Isa::available() {
            for threads in [1, 2] {
                prepared.check(&Exec { isa, threads });
            }
        }
    }
}

/// The same with three combinations of each operand packed beside each other.
#[test]
fn past_every_block_encrypted() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    let case = Case::plain(733, 331, 283, Kind::Cipher, Kind::Cipher)
        .then(Some(Kind::Cipher), Some(Function::Relu));
    let prepared = Prepared::<f32>::new(&algebra, case, 11);
    for isa in Isa::available() {
        for threads in [1, 3] {
            prepared.check(&Exec { isa, threads });
        }
    }
}

/// A real matrix product by another library.
trait Reference: Element {
    fn reference(a: &[Self], b: &[Self], m: usize, k: usize, n: usize) -> Vec<Self>;
}

macro_rules! reference {
    ($element:ty, $gemm:path) => {
        impl Reference for $element {
            fn reference(a: &[Self], b: &[Self], m: usize, k: usize, n: usize) -> Vec<Self> {
                let mut c = vec![0.0; m * n];
                assert!(a.len() == m * k && b.len() == k * n);
                let (rows, columns) = (k as isize, n as isize);
                // SAFETY: the three slices are row-major m x k, k x n and m x n, as asserted.
                unsafe {
                    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
                    $gemm(m, k, n, 1.0, a, rows, 1, b, columns, 1, 0.0, c, columns, 1);
                }
                c
            }
        }
    };
}
reference!(f32, matrixmultiply::sgemm);
reference!(f64, matrixmultiply::dgemm);

/// Both libraries are within their rounding of the oracle, hence within twice that of each other.
fn agrees_with_matrixmultiply<T: Reference>() {
    let algebra = Algebra::real();
    for (m, k, n) in [(1, 784, 128), (64, 100, 10), (97, 331, 65), (256, 256, 256)] {
        let case = Case::plain(m, k, n, Kind::Plain, Kind::Plain);
        let prepared = Prepared::<T>::new(&algebra, case, 12);
        let (a, b) = (prepared.a.view(), prepared.b.view());
        let reference = T::reference(a.plane(0), b.plane(0), m, k, n);
        let reference = [reference.iter().map(|x| x.wide()).collect::<Vec<f64>>()];
        compare(&prepared.expected, &reference, &prepared.bounds)
            .unwrap_or_else(|error| panic!("the reference itself at {m}x{k}x{n}: {error}"));
        let twice = [prepared.bounds[0]
            .iter()
            .map(|b| 2.0 * b)
            .collect::<Vec<f64>>()];
        for exec in execs() {
            let c = prepared.check(&exec);
            let found = algebra.decrypt_planes(&c.planes());
            compare(&reference, &found, &twice)
                .unwrap_or_else(|error| panic!("{exec:?} {m}x{k}x{n}: {error}"));
        }
    }
}

#[test]
fn agrees_with_matrixmultiply_f32() {
    agrees_with_matrixmultiply::<f32>();
}

#[test]
fn agrees_with_matrixmultiply_f64() {
    agrees_with_matrixmultiply::<f64>();
}

/// The bits depend on the instruction set and the number of pieces alone: not on the pool the
/// kernel runs in, nor on the run.
#[test]
fn same_bits_in_any_pool() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let case = Case::plain(150, 90, 130, Kind::Cipher, Kind::Cipher)
        .then(Some(Kind::Plain), Some(Function::Tanh));
    let prepared = Prepared::<f32>::new(&compact, case, 13);
    let pools: Vec<_> = [1, 2, 3, 4]
        .map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build())
        .into_iter()
        .map(|pool| pool.expect("a pool of a few threads"))
        .collect();
    for isa in Isa::available() {
        for threads in THREADS {
            let exec = Exec { isa, threads };
            let first = prepared.check(&exec);
            for pool in &pools {
                for _ in 0..2 {
                    let again = pool.install(|| prepared.check(&exec));
                    for (x, y) in first.planes().into_iter().zip(again.planes()) {
                        assert!(
                            same_bits(x, y),
                            "{exec:?} in {} threads",
                            pool.current_num_threads()
                        );
                    }
                }
            }
            assert_eq!(pools[2].install(|| Exec::new(isa)).threads, 3);
        }
    }
}

/// A plaintext result is the same whether it is computed in Real or as the plaintext of an algebra:
/// the baseline of every overhead is this same code.
#[test]
fn plaintext_is_real_in_every_algebra() {
    let real = Algebra::real();
    let case = Case::plain(40, 50, 60, Kind::Plain, Kind::Plain)
        .then(Some(Kind::Plain), Some(Function::Sigmoid));
    let prepared = Prepared::<f32>::new(&real, case, 14);
    for exec in single() {
        let expected = prepared.check(&exec);
        for algebra in Algebra::all() {
            let found = prepared
                .run_with(&exec, &algebra.arithmetic)
                .unwrap_or_else(|error| panic!("{}: {error}", algebra.name));
            assert!(
                same_bits(expected.planes()[0], found.planes()[0]),
                "{}",
                algebra.name
            );
        }
    }
}

/// Encrypted columns are independent: the product with each column of B alone is that column of the
/// product, within both bounds.
#[test]
fn columns_alone_give_the_columns() {
    let algebra = Algebra::blocks(2);
    let (m, k, n) = (33, 29, 41);
    let case = Case::plain(m, k, n, Kind::Cipher, Kind::Cipher);
    let prepared = Prepared::<f32>::new(&algebra, case, 15);
    let exec = Exec {
        isa: Isa::best(),
        threads: 1,
    };
    let whole = prepared.check(&exec);
    let alone = Case::plain(m, k, 1, Kind::Cipher, Kind::Cipher).shape;
    for j in [0, 1, 31, 32, 40] {
        let column: Vec<Vec<f32>> = (0..algebra.dim)
            .map(|p| {
                (0..k)
                    .map(|i| prepared.b.view().plane(p)[i * n + j])
                    .collect()
            })
            .collect();
        let column = Guarded::filled(&column, 1);
        let mut c = Guarded::<f32>::poisoned(algebra.dim, m, 1);
        let needs =
            scratch_len::<f32>(&exec, &algebra.arithmetic, &alone, algebra.dim, algebra.dim);
        block_matmul(
            &exec,
            &algebra.arithmetic,
            &alone,
            prepared.a.view(),
            column.view(),
            &mut c.view_mut(),
            &Epilogue::NONE,
            &mut vec![f32::NAN; needs],
        )
        .expect("the operands fit");
        for p in 0..algebra.dim {
            for i in 0..m {
                let (x, y) = (whole.planes()[p][i * n + j], c.planes()[p][i]);
                // 2 x 29 products of coordinates below 2 in size.
                let bound = Tolerance::roundings::<f32>(2 * (k + 8)).of(2.0 * k as f64 * 4.0);
                assert!(f64::from((x - y).abs()) <= bound, "{x} and {y} at {i} {j}");
            }
        }
    }
}
