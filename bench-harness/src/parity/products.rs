//! Matrix products and convolutions with their gradients, as commands.

use furthermore::network::Function;
use furthermore::plan::Kernel;
use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::conv2d::Conv2dShape;

use super::Parity;
use super::formulas::value;
use super::images::{Images, covered};

/// `f(op(A) op(B) + bias)`.
fn matmul(s: &MatmulShape, f: Option<Function>, read: &[&[f64]]) -> Vec<f64> {
    let mut c = Vec::new();
    for nth in 0..s.batch {
        let (a, b) = (&read[0][nth * s.m * s.k..], &read[1][nth * s.k * s.n..]);
        for i in 0..s.m {
            for j in 0..s.n {
                let mut sum = read.get(2).map_or(0.0, |bias| bias[j]);
                for l in 0..s.k {
                    let x = if s.transpose_a {
                        a[l * s.m + i]
                    } else {
                        a[i * s.k + l]
                    };
                    let y = if s.transpose_b {
                        b[j * s.k + l]
                    } else {
                        b[l * s.n + j]
                    };
                    sum += x * y;
                }
                c.push(f.map_or(sum, |f| value(f, sum)));
            }
        }
    }
    c
}

/// Which operands are transposed, and sizes m, k and n: multiples of 4 along both operands' rows in
/// memory, along those of the left alone, and of the right alone. Shaders read such rows four numbers at
/// a time.
const RUNS: [([bool; 2], [usize; 3]); 10] = [
    ([false, false], [20, 12, 36]),
    ([true, false], [20, 12, 36]),
    ([false, true], [20, 12, 36]),
    ([true, true], [20, 12, 36]),
    ([false, false], [6, 12, 5]),
    ([true, false], [20, 7, 5]),
    ([true, true], [20, 7, 36]),
    ([false, false], [20, 7, 36]),
    ([true, false], [6, 12, 36]),
    ([true, true], [6, 12, 5]),
];

/// Results of several of the largest tiles, and a narrow rest along either side, with rows of either kind.
const LARGE: [([bool; 2], [usize; 3]); 4] = [
    ([false, false], [131, 37, 259]),
    ([true, false], [132, 36, 260]),
    ([false, true], [132, 36, 260]),
    ([true, true], [131, 37, 259]),
];

pub(super) fn block_matmul(parity: &Parity) {
    let shape = |batch, m, k, n| MatmulShape {
        batch,
        m,
        k,
        n,
        transpose_a: false,
        transpose_b: false,
    };
    let shapes = [
        (shape(1, 5, 7, 3), true, None),
        (shape(3, 4, 5, 6), false, Some(Function::Tanh)),
        (shape(1, 13, 4, 33), true, Some(Function::Sigmoid)),
        (
            MatmulShape {
                transpose_a: true,
                ..shape(1, 6, 9, 5)
            },
            false,
            None,
        ),
        (
            MatmulShape {
                transpose_b: true,
                ..shape(2, 1, 8, 17)
            },
            true,
            None,
        ),
        (shape(1, 3, 0, 2), true, None),
        (shape(1, 0, 4, 2), false, None),
    ];
    let turned = |batch, [transpose_a, transpose_b]: [bool; 2], [m, k, n]: [usize; 3]| {
        let shape = MatmulShape {
            transpose_a,
            transpose_b,
            ..shape(batch, m, k, n)
        };
        (shape, false, None)
    };
    let runs = RUNS.map(|(turns, sizes)| turned(2, turns, sizes));
    let large = LARGE.map(|(turns, sizes)| turned(1, turns, sizes));
    parity.everywhere(221, |rig, noise| {
        for (shape, bias, activation) in shapes.into_iter().chain(runs).chain(large) {
            for &(a_encrypted, b_encrypted) in rig.pairs() {
                let mut draw =
                    |encrypted, len| rig.tensor(encrypted, || noise.numbers(len, -1.0, 1.0));
                let mut reads = vec![
                    draw(a_encrypted, shape.batch * shape.m * shape.k),
                    draw(b_encrypted, shape.batch * shape.k * shape.n),
                ];
                if bias {
                    reads.push(draw(a_encrypted, shape.n));
                }
                let c = rig.poisoned(a_encrypted || b_encrypted, shape.batch * shape.m * shape.n);
                let kernel = Kernel::BlockMatmul {
                    shape,
                    bias,
                    activation,
                };
                // Products of coordinates, which may be the amplification times the slots.
                let bound = (shape.k + 24, 4.0 * (shape.k + 1) as f64);
                rig.check(&kernel, &reads, &[c], bound, |read, _| {
                    vec![matmul(&shape, activation, read)]
                });
            }
        }
    });
}

/// Nothing around images, nothing left out between places and taps, one group.
pub(super) const STEADY: Conv2dShape = Conv2dShape {
    batch: 0,
    in_channels: 0,
    out_channels: 0,
    input: [0, 0],
    kernel: [0, 0],
    stride: [1, 1],
    padding: [[0, 0], [0, 0]],
    dilation: [1, 1],
    groups: 1,
};

/// A whole and a narrow tile of images.
pub(super) const NARROW: Conv2dShape = Conv2dShape {
    batch: 35,
    in_channels: 2,
    out_channels: 3,
    input: [4, 5],
    kernel: [3, 2],
    padding: [[1, 1], [0, 0]],
    ..STEADY
};

/// Everything at once.
pub(super) const ODD: Conv2dShape = Conv2dShape {
    batch: 3,
    in_channels: 4,
    out_channels: 2,
    input: [7, 6],
    kernel: [2, 3],
    stride: [2, 1],
    padding: [[0, 1], [2, 1]],
    dilation: [2, 1],
    groups: 2,
};

/// Past what a workgroup computes at a time in every direction.
pub(super) const WIDE: Conv2dShape = Conv2dShape {
    batch: 33,
    in_channels: 6,
    out_channels: 18,
    input: [6, 5],
    kernel: [3, 3],
    padding: [[1, 1], [1, 1]],
    ..STEADY
};

/// Without a place for the window.
pub(super) const EMPTY: Conv2dShape = Conv2dShape {
    batch: 2,
    in_channels: 1,
    out_channels: 3,
    input: [2, 3],
    kernel: [3, 1],
    ..STEADY
};

/// These, then batches of a multiple of 4 images, which shaders read four at a time: with weights that
/// are no such multiple beside a narrow tile, and that are one, in less than a tile and in a whole one.
/// The last takes the largest tiles of products, of either kind of channels and of places.
const SHAPES: [Conv2dShape; 8] = [
    NARROW,
    ODD,
    WIDE,
    EMPTY,
    Conv2dShape {
        batch: 36,
        in_channels: 3,
        out_channels: 5,
        input: [4, 5],
        kernel: [3, 3],
        padding: [[1, 1], [1, 1]],
        ..STEADY
    },
    Conv2dShape {
        batch: 4,
        in_channels: 4,
        out_channels: 6,
        input: [7, 6],
        kernel: [2, 3],
        stride: [2, 1],
        padding: [[0, 1], [2, 1]],
        dilation: [2, 1],
        groups: 2,
    },
    Conv2dShape {
        batch: 32,
        in_channels: 8,
        out_channels: 18,
        input: [4, 3],
        kernel: [1, 2],
        padding: [[0, 0], [0, 1]],
        ..STEADY
    },
    Conv2dShape {
        batch: 37,
        in_channels: 66,
        out_channels: 70,
        input: [3, 3],
        kernel: [1, 2],
        ..STEADY
    },
];

pub(super) fn input(s: &Conv2dShape) -> Images {
    Images {
        batch: s.batch,
        channels: s.in_channels,
        rows: s.input[0],
        columns: s.input[1],
    }
}

pub(super) fn output(s: &Conv2dShape) -> Images {
    let [rows, columns] = s.output();
    Images {
        batch: s.batch,
        channels: s.out_channels,
        rows,
        columns,
    }
}

/// Every product of a convolution: an element of the input, a weight, an element of the output.
pub(super) fn products(s: &Conv2dShape, mut visit: impl FnMut(usize, usize, usize)) {
    let (x, y) = (input(s), output(s));
    let (depth, outs) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let axis = |i: usize| (s.stride[i], s.padding[i][0], s.dilation[i], s.input[i]);
    for n in 0..s.batch {
        for out in 0..s.out_channels {
            for (row, column) in y.pixels() {
                for c in 0..depth {
                    for (i, j) in
                        (0..s.kernel[0]).flat_map(|i| (0..s.kernel[1]).map(move |j| (i, j)))
                    {
                        let at = (covered(row, i, axis(0)), covered(column, j, axis(1)));
                        if let (Some(r), Some(q)) = at {
                            let weight = ((out * depth + c) * s.kernel[0] + i) * s.kernel[1] + j;
                            let from = x.at(n, out / outs * depth + c, r, q);
                            visit(from, weight, y.at(n, out, row, column));
                        }
                    }
                }
            }
        }
    }
}

/// Roundings of one number that so many products add up to, and a bound on the sum of their sizes: of
/// coordinates, which may be several times their slots.
pub(super) fn bound(terms: usize) -> (usize, f64) {
    (terms + 24, 4.0 * terms as f64)
}

/// Products of weights and gradients that add up to one number of the input's gradient.
pub(super) fn taps(s: &Conv2dShape) -> usize {
    s.out_channels / s.groups * s.kernel[0] * s.kernel[1]
}

/// Places whose gradients add up to one number of the weights' gradient or of the bias's.
pub(super) fn places(s: &Conv2dShape) -> usize {
    s.output_len() / s.out_channels
}

pub(super) fn conv2d(parity: &Parity) {
    parity.everywhere(222, |rig, noise| {
        for shape in SHAPES {
            for (bias, activation) in [(false, None), (true, Some(Function::Tanh))] {
                for &(x_encrypted, w_encrypted) in rig.pairs() {
                    let mut draw =
                        |encrypted, len| rig.tensor(encrypted, || noise.numbers(len, -1.0, 1.0));
                    let mut reads = vec![
                        draw(x_encrypted, shape.input_len()),
                        draw(w_encrypted, shape.weight_len()),
                    ];
                    if bias {
                        reads.push(draw(false, shape.out_channels));
                    }
                    let y = rig.poisoned(x_encrypted || w_encrypted, shape.output_len());
                    let kernel = Kernel::Conv2d {
                        shape,
                        bias,
                        activation,
                    };
                    let terms = shape.weight_len() / shape.out_channels + 1;
                    rig.check(&kernel, &reads, &[y], bound(terms), |read, _| {
                        let mut y = vec![0.0; shape.output_len()];
                        products(&shape, |x, w, to| y[to] += read[0][x] * read[1][w]);
                        if bias {
                            output(&shape).each(|channel, at| y[at] += read[2][channel]);
                        }
                        if let Some(f) = activation {
                            y.iter_mut().for_each(|y| *y = value(f, *y));
                        }
                        vec![y]
                    });
                }
            }
        }
    });
}

pub(super) fn conv2d_gradients(parity: &Parity) {
    parity.everywhere(223, |rig, noise| {
        for shape in SHAPES {
            let (x_len, w_len) = (shape.input_len(), shape.weight_len());
            let y_len = shape.output_len();
            for &(first, second) in rig.pairs() {
                let mut draw =
                    |encrypted, len| rig.tensor(encrypted, || noise.numbers(len, -1.0, 1.0));
                let reads = [draw(first, y_len), draw(second, w_len)];
                let x = rig.poisoned(first || second, x_len);
                let kernel = Kernel::Conv2dGradientInput {
                    shape,
                    pooled: None,
                };
                rig.check(&kernel, &reads, &[x], bound(taps(&shape)), |read, _| {
                    let mut x = vec![0.0; x_len];
                    products(&shape, |to, w, y| x[to] += read[0][y] * read[1][w]);
                    vec![x]
                });
                let reads = [draw(first, x_len), draw(second, y_len)];
                let w = rig.poisoned(first || second, w_len);
                let kernel = Kernel::Conv2dGradientWeights {
                    shape,
                    pooled: None,
                };
                rig.check(&kernel, &reads, &[w], bound(places(&shape)), |read, _| {
                    let mut w = vec![0.0; w_len];
                    products(&shape, |x, to, y| w[to] += read[0][x] * read[1][y]);
                    vec![w]
                });
            }
            let kernel = Kernel::Conv2dGradientBias {
                sizes: shape.output_sizes(),
                pooled: None,
            };
            for &encrypted in rig.ways() {
                let g = rig.tensor(encrypted, || noise.numbers(y_len, -1.0, 1.0));
                let b = rig.poisoned(encrypted, shape.out_channels);
                let places = places(&shape);
                let terms = (places + 4, places as f64);
                rig.check(&kernel, &[g], &[b], terms, |read, _| {
                    let mut b = vec![0.0; shape.out_channels];
                    output(&shape).each(|channel, at| b[channel] += read[0][at]);
                    vec![b]
                });
            }
        }
    });
}
