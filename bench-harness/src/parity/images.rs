//! Pooling as commands, and how images lie in tiles.

use furthermore::Error;
use furthermore::device::RunOptions;
use furthermore::network::Function;
use furthermore::plan::Kernel;
use furthermore::scheme::Guard;
use furthermore_kernels_cpu::TILE_IMAGES;
use furthermore_kernels_cpu::conv2d::Conv2dShape;
use furthermore_kernels_cpu::pool::{Pool, PoolShape};

use super::Parity;
use super::bounds::Precision;
use super::rig::{OPTIONS, Tensor};

/// Sizes of an image tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Images {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Images {
    /// Where a pixel of image `n` lies: tile after tile of images, in each its elements, an element's
    /// images innermost.
    pub(super) fn at(&self, n: usize, channel: usize, row: usize, column: usize) -> usize {
        let first = n / TILE_IMAGES * TILE_IMAGES;
        let width = (self.batch - first).min(TILE_IMAGES);
        let pixels = self.rows * self.columns;
        let element = channel * pixels + row * self.columns + column;
        first * self.channels * pixels + element * width + (n - first)
    }

    /// Rows and columns of every pixel.
    pub(super) fn pixels(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let columns = self.columns;
        (0..self.rows * columns).map(move |i| (i / columns, i % columns))
    }

    /// Calls `visit(channel, at)` for every element.
    pub(super) fn each(&self, mut visit: impl FnMut(usize, usize)) {
        for n in 0..self.batch {
            for channel in 0..self.channels {
                for (row, column) in self.pixels() {
                    visit(channel, self.at(n, channel, row, column));
                }
            }
        }
    }
}

/// The pixel along one axis that a tap of the window at `place` lies on, if it lies on one.
pub(super) fn covered(
    place: usize,
    tap: usize,
    (stride, padding, dilation, input): (usize, usize, usize, usize),
) -> Option<usize> {
    let at = (place * stride + tap * dilation).checked_sub(padding)?;
    (at < input).then_some(at)
}

const SHAPES: [PoolShape; 4] = [
    PoolShape {
        batch: 34,
        channels: 2,
        input: [4, 6],
        kernel: [2, 2],
        stride: [2, 2],
        padding: [[0, 0], [0, 0]],
        dilation: [1, 1],
        ceil: false,
    },
    PoolShape {
        batch: 2,
        channels: 3,
        input: [6, 5],
        kernel: [3, 2],
        stride: [1, 2],
        padding: [[1, 1], [1, 0]],
        dilation: [2, 1],
        ceil: true,
    },
    // Windows that overlap, and reach past all of one side.
    PoolShape {
        batch: 33,
        channels: 2,
        input: [7, 5],
        kernel: [3, 5],
        stride: [2, 1],
        padding: [[1, 1], [2, 2]],
        dilation: [1, 1],
        ceil: false,
    },
    // Steps longer than the window: elements that no window covers.
    PoolShape {
        batch: 3,
        channels: 1,
        input: [8, 7],
        kernel: [2, 2],
        stride: [3, 4],
        padding: [[0, 0], [0, 0]],
        dilation: [1, 2],
        ceil: false,
    },
];

/// Each window: its place in the output, the elements it covers in the order rows, columns, and what
/// an average divides by.
fn windows(s: &PoolShape, pool: Pool) -> Vec<(usize, Vec<usize>, f64)> {
    let image = |[rows, columns]: [usize; 2]| Images {
        batch: s.batch,
        channels: s.channels,
        rows,
        columns,
    };
    let (x, y) = (image(s.input), image(s.output()));
    let axis = |i: usize| (s.stride[i], s.padding[i][0], s.dilation[i], s.input[i]);
    // Taps that do not lie past the padding.
    let padded = |place: usize, i: usize| {
        let taps = 0..s.kernel[i];
        let end = s.input[i] + s.padding[i][0] + s.padding[i][1];
        taps.filter(|tap| place * s.stride[i] + tap * s.dilation[i] < end)
            .count()
    };
    let mut windows = Vec::new();
    for n in 0..s.batch {
        for channel in 0..s.channels {
            for (row, column) in y.pixels() {
                let mut elements = Vec::new();
                for i in 0..s.kernel[0] {
                    for j in 0..s.kernel[1] {
                        let at = (covered(row, i, axis(0)), covered(column, j, axis(1)));
                        if let (Some(r), Some(q)) = at {
                            elements.push(x.at(n, channel, r, q));
                        }
                    }
                }
                let divisor = match pool {
                    Pool::AverageWithPadding => padded(row, 0) * padded(column, 1),
                    _ => elements.len(),
                };
                windows.push((y.at(n, channel, row, column), elements, divisor as f64));
            }
        }
    }
    windows
}

/// Which element of a window a maximum takes.
fn largest(x: &[f64], elements: &[usize]) -> usize {
    let mut largest = elements[0];
    for &e in elements {
        if x[e] > x[largest] {
            largest = e;
        }
    }
    largest
}

const POOLS: [(Pool, bool); 5] = [
    (Pool::Average, false),
    (Pool::Average, true),
    (Pool::AverageWithPadding, false),
    (Pool::AverageWithPadding, true),
    (Pool::Max, false),
];

pub(super) fn pool(parity: &Parity) {
    parity.everywhere(231, |rig, noise| {
        for shape in SHAPES {
            for (pool, rectified) in POOLS {
                let kernel = Kernel::Pool {
                    pool,
                    shape,
                    rectified,
                };
                let windows = windows(&shape, pool);
                for &encrypted in rig.ways() {
                    let x = rig.tensor(encrypted, || noise.apart(shape.input_len()));
                    let y = rig.poisoned(encrypted, shape.output_len());
                    rig.check(&kernel, &[x], &[y], (16, 2.0), |read, _| {
                        let mut y = vec![0.0; shape.output_len()];
                        for (at, elements, divisor) in &windows {
                            let bent = |e: &usize| match rectified {
                                true => read[0][*e].max(0.0),
                                false => read[0][*e],
                            };
                            y[*at] = match pool {
                                Pool::Max => read[0][largest(read[0], elements)],
                                _ => elements.iter().map(bent).sum::<f64>() / divisor,
                            };
                        }
                        vec![y]
                    });
                }
            }
        }
    });
}

pub(super) fn pool_gradient(parity: &Parity) {
    parity.everywhere(232, |rig, noise| {
        for shape in SHAPES {
            for (pool, rectified) in POOLS {
                let kernel = Kernel::PoolGradient {
                    pool,
                    shape,
                    rectified,
                };
                let windows = windows(&shape, pool);
                for &encrypted in rig.ways() {
                    let x = rig.tensor(encrypted, || noise.apart(shape.input_len()));
                    let len = shape.output_len();
                    let g = rig.tensor(encrypted, || noise.numbers(len, -1.0, 1.0));
                    let y = rig.poisoned(encrypted, shape.input_len());
                    rig.check(&kernel, &[x, g], &[y], (24, 8.0), |read, _| {
                        let mut x = vec![0.0; shape.input_len()];
                        for (at, elements, divisor) in &windows {
                            if pool == Pool::Max {
                                x[largest(read[0], elements)] += read[1][*at];
                                continue;
                            }
                            for &e in elements {
                                if !rectified || read[0][e] > 0.0 {
                                    x[e] += read[1][*at] / divisor;
                                }
                            }
                        }
                        vec![x]
                    });
                }
            }
        }
    });
}

/// Of elements that are alike, the first takes a maximum's gradient.
pub(super) fn the_first_of_equal_elements_wins(parity: &Parity) {
    parity.everywhere(233, |rig, noise| {
        for shape in SHAPES {
            let kernel = Kernel::PoolGradient {
                pool: Pool::Max,
                shape,
                rectified: false,
            };
            let windows = windows(&shape, Pool::Max);
            for &encrypted in rig.ways() {
                let x = rig.tensor(encrypted, || vec![0.75; shape.input_len()]);
                let len = shape.output_len();
                let g = rig.tensor(encrypted, || noise.numbers(len, -1.0, 1.0));
                let y = rig.poisoned(encrypted, shape.input_len());
                rig.check(&kernel, &[x, g], &[y], (24, 8.0), |read, _| {
                    let mut x = vec![0.0; shape.input_len()];
                    for (at, elements, _) in &windows {
                        x[elements[0]] += read[1][*at];
                    }
                    vec![x]
                });
            }
        }
    });
}

/// Slots far apart are seen where a kernel has them in its hands, and by no other.
pub(super) fn slots_apart_are_seen(parity: &Parity) {
    let shape = SHAPES[0];
    let convolution = Conv2dShape {
        batch: 2,
        in_channels: 1,
        out_channels: 1,
        input: [3, 4],
        kernel: [2, 2],
        stride: [1, 1],
        padding: [[0, 0], [0, 0]],
        dilation: [1, 1],
        groups: 1,
    };
    let options = RunOptions {
        guard: Guard {
            warn: f64::INFINITY,
            fail: 1e2,
        },
        ..OPTIONS
    };
    let (xs, ys) = (shape.input_len(), shape.output_len());
    let mut cases = Vec::new();
    for (pool, rectified) in POOLS {
        let seen = rectified || pool == Pool::Max;
        let kernel = Kernel::Pool {
            pool,
            shape,
            rectified,
        };
        cases.push((kernel, vec![xs], ys, [seen, false]));
        let kernel = Kernel::PoolGradient {
            pool,
            shape,
            rectified,
        };
        // A maximum looks at the input, relu at the gradient.
        let seen = [pool == Pool::Max, rectified];
        cases.push((kernel, vec![xs, ys], xs, seen));
    }
    for activation in [None, Some(Function::Relu)] {
        let kernel = Kernel::Conv2d {
            shape: convolution,
            bias: false,
            activation,
        };
        let reads = vec![convolution.input_len(), convolution.weight_len()];
        let seen = activation.is_some();
        cases.push((kernel, reads, convolution.output_len(), [seen; 2]));
    }
    let window = convolution.output();
    let kernel = Kernel::Conv2dPooled {
        shape: convolution,
        bias: false,
        window,
    };
    let reads = vec![convolution.input_len(), convolution.weight_len()];
    let averages = convolution.output_len() / (window[0] * window[1]);
    cases.push((kernel, reads, averages, [true; 2]));
    parity.everywhere(234, |rig, _| {
        // Plaintext has no slots to be apart, and half precision too few digits to say how far.
        if rig.arithmetic.slots() == 1 || rig.precision != Precision::F32 {
            return;
        }
        for (kernel, reads, written, seen) in &cases {
            for (apart, &expected) in (0..reads.len()).zip(seen) {
                // Positive, so that no kernel's function makes zeros of them.
                let tensor = |nth: usize, len: usize| {
                    let mut slot = 0;
                    rig.tensor(true, || {
                        slot += 1;
                        let far = nth == apart && slot == 2;
                        vec![if far { 1e3 } else { 1.0 }; len]
                    })
                };
                let reads: Vec<Tensor> = reads
                    .iter()
                    .enumerate()
                    .map(|(nth, &len)| tensor(nth, len))
                    .collect();
                let writes = [rig.tensor(true, || vec![0.0; *written])];
                rig.judge(kernel, "slots apart", |device| {
                    match rig.run_tensors(device, kernel, &reads, &writes, &options) {
                        Ok(_) if !expected => Ok(()),
                        Err(Error::MaskGuard { ratio, .. })
                            if expected && (0.9e3..1.1e3).contains(&ratio) =>
                        {
                            Ok(())
                        }
                        other => Err(format!("operand {apart}: {other:?}")),
                    }
                });
            }
        }
    });
}
