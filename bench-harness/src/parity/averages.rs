//! Convolutions of which averages of relu are kept, and the gradients by these.

use furthermore::Error;
use furthermore::plan::Kernel;
use furthermore_kernels_cpu::TILE_IMAGES;
use furthermore_kernels_cpu::conv2d::{Conv2dShape, steps_len};

use super::Parity;
use super::images::Images;
use super::noise::Noise;
use super::products::{EMPTY, NARROW, ODD, WIDE, bound, input, output, places, products, taps};
use super::rig::OPTIONS;

/// Shapes with windows that tile their results: a whole and a narrow tile of images; past what a
/// workgroup computes at a time; everything at once, a window a pixel and one window an image; and
/// no result to average.
const SHAPES: [(Conv2dShape, [usize; 2]); 6] = [
    (NARROW, [2, 2]),
    (WIDE, [3, 5]),
    (WIDE, [2, 1]),
    (ODD, [1, 1]),
    (ODD, [3, 7]),
    (EMPTY, [2, 3]),
];

/// Every pixel of a convolution's result: where it lies, where its average does, and the word and bit
/// of its step.
fn pixels(s: &Conv2dShape, window: [usize; 2]) -> Vec<(usize, usize, usize, u32)> {
    let from = output(s);
    let to = Images {
        rows: from.rows / window[0],
        columns: from.columns / window[1],
        ..from
    };
    let mut pixels = Vec::new();
    for n in 0..from.batch {
        for channel in 0..from.channels {
            for (row, column) in from.pixels() {
                let average = to.at(n, channel, row / window[0], column / window[1]);
                let corner = (n / TILE_IMAGES * from.channels + channel) * from.rows;
                let word = (corner + row) * from.columns + column;
                let bit = 1 << (n % TILE_IMAGES);
                pixels.push((from.at(n, channel, row, column), average, word, bit));
            }
        }
    }
    pixels
}

/// Odd quarters: their products are odd sixteenths, however many are added up.
fn odd_quarters(noise: &mut Noise, count: usize) -> Vec<f64> {
    (0..count)
        .map(|_| (noise.below(4) as f64 - 1.5) / 2.0)
        .collect()
}

/// What holds of gradients by each pixel, where each is its average's by so many: one rounding more, of
/// terms as much smaller.
fn spread_bound((roundings, size): (usize, f64), window: [usize; 2]) -> (usize, f64) {
    (roundings + 1, size / (window[0] * window[1]) as f64)
}

fn words(noise: &mut Noise, count: usize) -> Vec<f64> {
    (0..count).map(|_| noise.below(1 << 32) as f64).collect()
}

pub(super) fn conv2d_pooled(parity: &Parity) {
    parity.everywhere(224, |rig, noise| {
        for (shape, window) in SHAPES {
            let pixels = pixels(&shape, window);
            let taps = window[0] * window[1];
            for saved in [true, false] {
                for &(x_encrypted, w_encrypted) in rig.pairs() {
                    let mut draw =
                        |encrypted, len| rig.tensor(encrypted, || odd_quarters(noise, len));
                    let mut reads = vec![
                        draw(x_encrypted, shape.input_len()),
                        draw(w_encrypted, shape.weight_len()),
                    ];
                    let encrypted = x_encrypted || w_encrypted;
                    let mut writes = vec![rig.poisoned(encrypted, shape.output_len() / taps)];
                    if saved {
                        // A thirty-second keeps every sum of sixteenths away from zero, where
                        // rounding would decide which step it takes.
                        let bias = 1.0 / 32.0;
                        reads.push(rig.tensor(false, || vec![bias; shape.out_channels]));
                        let len = steps_len(shape.output_sizes());
                        writes.push(rig.bits(encrypted, || words(noise, len)));
                    }
                    let kernel = Kernel::Conv2dPooled {
                        shape,
                        bias: saved,
                        window,
                    };
                    let terms = shape.weight_len() / shape.out_channels + 1;
                    rig.check(&kernel, &reads, &writes, bound(terms), |read, found| {
                        let mut y = vec![0.0; shape.output_len()];
                        products(&shape, |x, w, to| y[to] += read[0][x] * read[1][w]);
                        if saved {
                            output(&shape).each(|channel, at| y[at] += read[2][channel]);
                        }
                        let mut averages = vec![0.0; found[0].len()];
                        let mut steps = vec![0.0; found.get(1).map_or(0, |steps| steps.len())];
                        for &(at, average, word, bit) in &pixels {
                            averages[average] += y[at].max(0.0) / taps as f64;
                            if saved && y[at] > 0.0 {
                                steps[word] += f64::from(bit);
                            }
                        }
                        let all = [averages, steps];
                        all.into_iter().take(found.len()).collect()
                    });
                }
            }
        }
    });
}

pub(super) fn conv2d_pooled_gradients(parity: &Parity) {
    parity.everywhere(225, |rig, noise| {
        for (shape, window) in SHAPES {
            let pixels = pixels(&shape, window);
            let averaged = window[0] * window[1];
            let (x_len, w_len) = (shape.input_len(), shape.weight_len());
            let (y_len, pooled) = (shape.output_len(), Some(window));
            let len = steps_len(shape.output_sizes());
            // The gradient by the convolution's result, of one slot.
            let spread = |averages: &[f64], steps: &[f64]| {
                let mut gradient = vec![0.0; y_len];
                for &(at, average, word, bit) in &pixels {
                    if steps[word] as u32 & bit != 0 {
                        gradient[at] = averages[average] / averaged as f64;
                    }
                }
                gradient
            };
            for &(first, second) in rig.pairs() {
                let mut draw =
                    |encrypted, len| rig.tensor(encrypted, || noise.numbers(len, -1.0, 1.0));
                let (g, w) = (draw(first, y_len / averaged), draw(second, w_len));
                let (x, other) = (draw(first, x_len), draw(second, y_len / averaged));
                let steps = rig.bits(first, || words(noise, len));
                let by_input = rig.poisoned(first || second, x_len);
                let kernel = Kernel::Conv2dGradientInput { shape, pooled };
                let reads = [g, w, steps];
                let terms = spread_bound(bound(taps(&shape)), window);
                rig.check(&kernel, &reads, &[by_input], terms, |read, _| {
                    let (g, mut x) = (spread(read[0], read[2]), vec![0.0; x_len]);
                    products(&shape, |to, w, y| x[to] += g[y] * read[1][w]);
                    vec![x]
                });
                let steps = rig.bits(second, || words(noise, len));
                let by_weights = rig.poisoned(first || second, w_len);
                let kernel = Kernel::Conv2dGradientWeights { shape, pooled };
                let reads = [x, other, steps];
                let terms = spread_bound(bound(places(&shape)), window);
                rig.check(&kernel, &reads, &[by_weights], terms, |read, _| {
                    let (g, mut w) = (spread(read[1], read[2]), vec![0.0; w_len]);
                    products(&shape, |x, to, y| w[to] += read[0][x] * g[y]);
                    vec![w]
                });
            }
            let kernel = Kernel::Conv2dGradientBias {
                sizes: shape.output_sizes(),
                pooled,
            };
            for &encrypted in rig.ways() {
                let g = rig.tensor(encrypted, || noise.numbers(y_len / averaged, -1.0, 1.0));
                let steps = rig.bits(encrypted, || words(noise, len));
                let b = rig.poisoned(encrypted, shape.out_channels);
                let places = places(&shape);
                let terms = spread_bound((places + 4, places as f64), window);
                rig.check(&kernel, &[g, steps], &[b], terms, |read, _| {
                    let (g, mut b) = (spread(read[0], read[1]), vec![0.0; shape.out_channels]);
                    output(&shape).each(|channel, at| b[channel] += g[at]);
                    vec![b]
                });
            }
        }
    });
}

/// What relu would make zero of is looked at before: minus infinity is no zero.
pub(super) fn what_relu_hides_is_seen(parity: &Parity) {
    parity.everywhere(226, |rig, _| {
        let (shape, window) = SHAPES[0];
        let kernel = Kernel::Conv2dPooled {
            shape,
            bias: false,
            window,
        };
        let mut images = vec![1.0; shape.input_len()];
        images[input(&shape).at(34, 1, 2, 3)] = f64::NEG_INFINITY;
        let x = rig.tensor(false, || images.clone());
        let w = rig.tensor(false, || vec![1.0; shape.weight_len()]);
        let y = rig.poisoned(false, shape.output_len() / (window[0] * window[1]));
        let (reads, writes) = ([x, w], [y]);
        rig.judge(&kernel, "minus infinity", |device| {
            match rig.run_tensors(device, &kernel, &reads, &writes, &OPTIONS) {
                Err(Error::RunNotFinite { .. }) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    });
}
