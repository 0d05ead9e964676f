//! Reductions along an axis, softmax and losses, as commands.

use furthermore::plan::{Kernel, Operand, Reduction};
use furthermore_kernels_cpu::reduce::Axis;

use super::Parity;
use super::noise::Noise;
use super::rig::Rig;

const AXES: [Axis; 8] = [
    Axis {
        outer: 3,
        length: 41,
        inner: 1,
    },
    Axis {
        outer: 1,
        length: 9,
        inner: 35,
    },
    Axis {
        outer: 4,
        length: 5,
        inner: 3,
    },
    Axis {
        outer: 2,
        length: 1,
        inner: 2,
    },
    Axis {
        outer: 0,
        length: 3,
        inner: 2,
    },
    // More elements, longer rows and wider ones than a workgroup has invocations.
    Axis {
        outer: 300,
        length: 3,
        inner: 1,
    },
    Axis {
        outer: 2,
        length: 700,
        inner: 1,
    },
    Axis {
        outer: 1,
        length: 7,
        inner: 300,
    },
];

/// The elements along an axis that become each element left.
fn along(axis: &Axis) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for outer in 0..axis.outer {
        for inner in 0..axis.inner {
            let at = |i: usize| (outer * axis.length + i) * axis.inner + inner;
            all.push((0..axis.length).map(at).collect());
        }
    }
    all
}

/// The first of the largest.
fn largest(x: &[f64], elements: &[usize]) -> usize {
    let first = |a: usize, b: usize| if x[b] > x[a] { b } else { a };
    elements.iter().copied().reduce(first).expect("an element")
}

pub(super) fn reduce(parity: &Parity) {
    parity.everywhere(241, |rig, noise| {
        for axis in AXES {
            for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
                for &encrypted in rig.ways() {
                    let x = rig.tensor(encrypted, || noise.apart(axis.full()));
                    let y = rig.poisoned(encrypted, axis.reduced());
                    let kernel = Kernel::Reduce { reduction, axis };
                    let length = axis.length as f64;
                    let bound = match reduction {
                        Reduction::Sum => (axis.length + 4, length),
                        Reduction::Mean => (axis.length + 4, 1.0),
                        // A comparison rounds nothing; a ciphertext goes to slots and back.
                        Reduction::Max if encrypted => (8, 1.0),
                        Reduction::Max => (0, 0.0),
                    };
                    rig.check(&kernel, &[x], &[y], bound, |read, _| {
                        let of = |elements: &Vec<usize>| {
                            let sum: f64 = elements.iter().map(|&e| read[0][e]).sum();
                            match reduction {
                                Reduction::Sum => sum,
                                Reduction::Mean => sum / length,
                                Reduction::Max => read[0][largest(read[0], elements)],
                            }
                        };
                        vec![along(&axis).iter().map(of).collect()]
                    });
                }
            }
        }
    });
}

/// Axes so long that several workgroups share one.
pub(super) fn long_axes(parity: &Parity) {
    let axes = [(1, 40_009, 1), (1, 9_001, 3)].map(|(outer, length, inner)| Axis {
        outer,
        length,
        inner,
    });
    parity.everywhere(246, |rig, noise| {
        for axis in axes {
            for reduction in [Reduction::Sum, Reduction::Mean] {
                let x = rig.tensor(true, || noise.numbers(axis.full(), 0.5, 1.5));
                let y = rig.poisoned(true, axis.reduced());
                let scale = match reduction {
                    Reduction::Mean => axis.length as f64,
                    _ => 1.0,
                };
                let kernel = Kernel::Reduce { reduction, axis };
                // Sums go in chunks of 200 numbers or less, and as many of those.
                let bound = (408, 1.5 * axis.length as f64 / scale);
                rig.check(&kernel, &[x], &[y], bound, |read, _| {
                    let sum = |elements: &Vec<usize>| -> f64 {
                        elements.iter().map(|&e| read[0][e]).sum::<f64>() / scale
                    };
                    vec![along(&axis).iter().map(sum).collect()]
                });
            }
        }
    });
}

/// The sum of nothing is zero, and there is no mean or maximum of it.
pub(super) fn an_axis_of_no_elements(parity: &Parity) {
    let axis = Axis {
        outer: 2,
        length: 0,
        inner: 3,
    };
    parity.everywhere(242, |rig, _| {
        let (x, y) = (rig.poisoned(true, 0), rig.poisoned(true, 6));
        let kernel = |reduction| Kernel::Reduce { reduction, axis };
        rig.check(&kernel(Reduction::Sum), &[x], &[y], (1, 1.0), |_, _| {
            vec![vec![0.0; 6]]
        });
        let operand = |elements| Operand {
            planes: rig.arithmetic.dim(),
            elements,
        };
        for reduction in [Reduction::Mean, Reduction::Max] {
            let kernel = kernel(reduction);
            rig.judge(&kernel, "of nothing", |_| {
                match rig.plan(&kernel, &[operand(0)], &[operand(6)]) {
                    Ok(_) => Err("it is taken".to_owned()),
                    Err(_) => Ok(()),
                }
            });
        }
    });
}

pub(super) fn max_gradient(parity: &Parity) {
    parity.everywhere(243, |rig, noise| {
        for axis in AXES {
            for &encrypted in rig.ways() {
                // Each number stands twice along the axis or more: the first takes the gradient.
                let x = rig.tensor(encrypted, || {
                    let some = noise.apart((axis.full() / axis.outer.max(1)).div_ceil(3));
                    some.into_iter().cycle().take(axis.full()).collect()
                });
                let g = rig.tensor(encrypted, || noise.numbers(axis.reduced(), -1.0, 1.0));
                let y = rig.poisoned(encrypted, axis.full());
                let kernel = Kernel::MaxGradient { axis };
                rig.check(&kernel, &[x, g], &[y], (8, 1.0), |read, _| {
                    let mut y = vec![0.0; axis.full()];
                    for (elements, g) in along(&axis).iter().zip(read[1]) {
                        y[largest(read[0], elements)] = *g;
                    }
                    vec![y]
                });
            }
        }
    });
}

/// Rows and columns, within a workgroup and past it.
const MATRICES: [[usize; 2]; 4] = [[6, 11], [3, 700], [300, 3], [0, 5]];

/// What softmax of numbers from -2 to 2 is at most: `e^2` by as many `e^-2` as the row has, and never
/// more than 1.
fn likeliest(columns: usize) -> f64 {
    (4f64.exp() / columns as f64).min(1.0)
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|x| x.exp()).sum();
    row.iter().map(|x| x.exp() / sum).collect()
}

/// `of` each row, one after the other.
fn by_row(x: &[f64], columns: usize, of: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    x.chunks(columns).flat_map(of).collect()
}

pub(super) fn softmax_and_its_logarithm(parity: &Parity) {
    parity.everywhere(244, |rig, noise| {
        for [rows, columns] in MATRICES {
            for logarithm in [false, true] {
                for &encrypted in rig.ways() {
                    softmax_of(rig, noise, [rows, columns], logarithm, encrypted);
                }
            }
        }
    });
}

fn softmax_of(
    rig: &Rig<'_>,
    noise: &mut Noise,
    [rows, columns]: [usize; 2],
    logarithm: bool,
    encrypted: bool,
) {
    let len = rows * columns;
    let normalised = |x: &[f64]| {
        let mut y = by_row(x, columns, softmax);
        if logarithm {
            y.iter_mut().for_each(|y| *y = y.ln());
        }
        y
    };
    let x = rig.tensor(encrypted, || noise.numbers(len, -2.0, 2.0));
    let y = rig.poisoned(encrypted, len);
    let kernel = Kernel::Softmax { columns, logarithm };
    // What a sum of exponentials is off by, relative to it, a part of it is off by too, and its
    // logarithm as it is.
    let most = likeliest(columns);
    let bound = match logarithm {
        true => (columns + 24, (columns as f64).ln() + 4.0),
        false => (columns + 24, most),
    };
    rig.check(&kernel, &[x], &[y], bound, |read, _| {
        vec![normalised(read[0])]
    });
    let y = rig.tensor(encrypted, || normalised(&noise.numbers(len, -2.0, 2.0)));
    let g = rig.tensor(encrypted, || noise.numbers(len, -1.0, 1.0));
    let to = rig.poisoned(encrypted, len);
    let kernel = Kernel::SoftmaxGradient { columns, logarithm };
    // A number times a gradient less all gradients' weighted mean, or a gradient less a number times all
    // gradients' sum.
    let bound = match logarithm {
        true => (columns + 24, most * columns as f64 + 1.0),
        false => (columns + 24, 2.0 * most),
    };
    rig.check(&kernel, &[y, g], &[to], bound, |read, _| {
        let mut x = Vec::new();
        for (y, g) in read[0].chunks(columns).zip(read[1].chunks(columns)) {
            let products = y.iter().zip(g).map(|(y, g)| y * g);
            let weighted: f64 = products.sum();
            let sum: f64 = g.iter().sum();
            let pairs = y.iter().zip(g);
            x.extend(pairs.map(|(y, g)| match logarithm {
                true => g - y.exp() * sum,
                false => y * (g - weighted),
            }));
        }
        vec![x]
    });
}

/// Predictions and targets, encrypted or not; targets may be plaintext for either.
const WAYS: [(bool, bool); 3] = [(true, true), (true, false), (false, false)];

pub(super) fn losses(parity: &Parity) {
    parity.everywhere(245, |rig, noise| {
        for sizes in [MATRICES[0], MATRICES[1]] {
            losses_of(rig, noise, sizes, false);
            losses_of(rig, noise, sizes, true);
        }
        // So many rows that several workgroups add them up, or have gradients of their own; these are
        // divided by as many, and half precision has to hold what is left.
        losses_of(rig, noise, [2300, 5], false);
        losses_of(rig, noise, [300, 5], true);
    });
}

/// The losses, or those of their gradients that are kernels, each with its bound.
fn losses_of(rig: &Rig<'_>, noise: &mut Noise, [rows, columns]: [usize; 2], gradient: bool) {
    let len = rows * columns;
    let kernels = match gradient {
        // A mean is off by the roundings of its sum, relative to the mean of the terms' sizes:
        // predictions reach 2 and targets 1, and of a row's columns each has a term of ln columns + 4.
        false => {
            let of_row = columns as f64 * ((columns as f64).ln() + 4.0);
            vec![
                (Kernel::SoftmaxCrossEntropy { columns }, (len + 24, of_row)),
                (Kernel::BinaryCrossEntropy, (len + 24, 2.2)),
                (Kernel::MeanSquaredError, (len + 24, 9.0)),
            ]
        }
        // A number of at most 1 less another, by as many rows or elements.
        true => vec![
            (
                Kernel::SoftmaxCrossEntropyGradient { columns },
                (columns + 24, 2.0 / rows as f64),
            ),
            (Kernel::BinaryCrossEntropyGradient, (24, 2.0 / len as f64)),
        ],
    };
    let mean = |terms: Vec<f64>| {
        let count = terms.len() as f64;
        vec![terms.into_iter().sum::<f64>() / count]
    };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    for (kernel, bound) in &kernels {
        for (x_encrypted, t_encrypted) in WAYS {
            let x = rig.tensor(x_encrypted, || noise.numbers(len, -2.0, 2.0));
            let t = rig.tensor(t_encrypted, || noise.numbers(len, 0.0, 1.0));
            let y = rig.poisoned(x_encrypted, if gradient { len } else { 1 });
            rig.check(kernel, &[x, t], &[y], *bound, |read, _| {
                let pairs = || read[0].iter().copied().zip(read[1].iter().copied());
                vec![match kernel {
                    Kernel::SoftmaxCrossEntropy { .. } => {
                        let y = by_row(read[0], columns, softmax);
                        let terms = y.iter().zip(read[1]).map(|(y, t)| -t * y.ln());
                        vec![terms.sum::<f64>() / rows as f64]
                    }
                    Kernel::SoftmaxCrossEntropyGradient { .. } => {
                        let y = by_row(read[0], columns, softmax);
                        let pairs = y.iter().zip(read[1]);
                        pairs.map(|(y, t)| (y - t) / rows as f64).collect()
                    }
                    Kernel::BinaryCrossEntropy => mean(
                        pairs()
                            .map(|(x, t)| {
                                let y = sigmoid(x);
                                -(t * y.ln() + (1.0 - t) * (1.0 - y).ln())
                            })
                            .collect(),
                    ),
                    Kernel::BinaryCrossEntropyGradient => {
                        let of = |(x, t)| (sigmoid(x) - t) / len as f64;
                        pairs().map(of).collect()
                    }
                    _ => mean(pairs().map(|(x, t)| (x - t) * (x - t)).collect()),
                }]
            });
        }
    }
}
