//! Convolutions cut into pieces: right, the same in every run, and where nothing is summed across
//! pieces the same whatever the pieces.

use crate::conv2d::{PASSES, shape};
use crate::support::{Algebra, Conv, Convolution, Guarded, Kind, channel_sizes, same_bits};
use furthermore_kernels_cpu::conv2d::{Conv2dPass, Conv2dShape, conv2d_gradient_bias};
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::{Element, Exec, Isa};

fn equal<T: Element>(a: &Guarded<T>, b: &Guarded<T>) -> bool {
    let pairs = a.planes().into_iter().zip(b.planes());
    a.count() == b.count() && pairs.into_iter().all(|(a, b)| same_bits(a, b))
}

/// Work for five threads and more: rows that pieces cut within a tile, tiles that they cut between.
fn large() -> Vec<(Algebra, Kind, Kind, Conv2dShape)> {
    let (plain, cipher) = (Kind::Plain, Kind::Cipher);
    let compact = || Algebra::compact2([0.75, -0.5]);
    let border = Conv2dShape {
        padding: [[1, 2], [0, 1]],
        stride: [2, 1],
        ..shape(33, [5, 7], [19, 12], [4, 3])
    };
    let groups = Conv2dShape {
        padding: [[2, 2], [2, 2]],
        dilation: [2, 1],
        groups: 2,
        ..shape(64 + 17, [8, 6], [13, 9], [3, 5])
    };
    vec![
        // Three rows of one tile for five threads.
        (
            Algebra::real(),
            plain,
            plain,
            shape(32, [16, 16], [3, 32], [1, 5]),
        ),
        (Algebra::real(), plain, plain, groups),
        (compact(), cipher, cipher, border),
        (compact(), cipher, plain, groups),
        (compact(), plain, cipher, border),
    ]
}

fn any_number_of_threads<T: Element>() {
    for (algebra, left, right, shape) in large() {
        for pass in PASSES {
            let mut case = Conv::new(shape, pass, left, right);
            if pass == Conv2dPass::Forward {
                case = case.then(Some(Kind::Cipher), Some(Function::Relu));
            }
            let prepared = Convolution::<T>::new(&algebra, case, 1);
            for isa in Isa::available() {
                let one = Exec { isa, threads: 1 };
                let alone = prepared.check(&one);
                let own = |threads| {
                    let exec = Exec { isa, threads };
                    prepared.needs(&exec, &algebra.arithmetic)
                };
                // The weights' gradient sums in pieces: more scratch shows that there are as many.
                if pass == Conv2dPass::GradientWeights {
                    let rows = shape.batch.div_ceil(32) * shape.output()[0];
                    for threads in 2..=5 {
                        assert_eq!(own(threads), threads.min(rows) * own(1), "{shape:?}");
                    }
                }
                for threads in 2..=5 {
                    let exec = Exec { isa, threads };
                    let first = prepared.check(&exec);
                    let second = prepared.check(&exec);
                    assert!(equal(&first, &second), "{exec:?} {case:?}: two runs differ");
                    if pass != Conv2dPass::GradientWeights {
                        let same = equal(&first, &alone);
                        assert!(same, "{exec:?} {case:?}: threads change the bits");
                    }
                }
            }
        }
    }
}

#[test]
fn any_number_of_threads_f32() {
    any_number_of_threads::<f32>();
}

#[test]
fn any_number_of_threads_f64() {
    any_number_of_threads::<f64>();
}

/// Each channel's sum is one task's, so threads do not change it.
#[test]
fn gradients_by_the_bias() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    let shape = shape(64 + 17, [1, 6], [20, 21], [1, 1]);
    // Small whole numbers, whose sums are exact in any order.
    let planes: Vec<Vec<f32>> = (0..2)
        .map(|plane| {
            let element = |at: usize| ((at * 7 + plane * 3) % 9) as f32 - 4.0;
            (0..shape.output_len()).map(element).collect()
        })
        .collect();
    let gradient = Guarded::filled(&planes, 3);
    let output = crate::support::conv2d_images(&shape)[1];
    for isa in Isa::available() {
        for threads in 1..=5 {
            let exec = Exec { isa, threads };
            let mut found = Guarded::<f32>::poisoned(2, 6, 3);
            conv2d_gradient_bias(
                &exec,
                &algebra.arithmetic,
                channel_sizes(&shape),
                gradient.view(),
                &mut found.view_mut(),
            )
            .expect("the operands fit");
            found.intact().expect("nothing is written beside");
            for plane in 0..algebra.dim {
                for channel in 0..6 {
                    let mut sum = 0.0;
                    for n in 0..output.batch {
                        for pixel in 0..output.rows * output.columns {
                            let (row, column) = (pixel / output.columns, pixel % output.columns);
                            sum += planes[plane][output.at(n, channel, row, column)];
                        }
                    }
                    assert_eq!(found.planes()[plane][channel], sum, "{exec:?}");
                }
            }
        }
    }
}

/// No number of pieces is refused: zero counts as one.
#[test]
fn zero_threads_are_one() {
    let algebra = Algebra::real();
    for pass in PASSES {
        let case = Conv::new(
            shape(40, [4, 4], [8, 8], [3, 3]),
            pass,
            Kind::Plain,
            Kind::Plain,
        );
        let prepared = Convolution::<f32>::new(&algebra, case, 2);
        let run = |threads| {
            prepared.check(&Exec {
                isa: Isa::best(),
                threads,
            })
        };
        assert!(equal(&run(0), &run(1)));
    }
}
