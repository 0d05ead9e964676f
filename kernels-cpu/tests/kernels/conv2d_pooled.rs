//! Convolutions with averages of relu in their epilogue, and the gradients by them from the saved
//! steps, against the convolution's own oracle.

use crate::conv2d::{kinds, shape};
use crate::support::{
    Algebra, Conv, Convolution, Guarded, Images, Kind, Noise, Operand, Tolerance, channel_sizes,
    compare, conv2d_images, conv2d_lens, execs, joined, single,
};
use furthermore_kernels_cpu::conv2d::{
    Conv2dPass, Conv2dShape, Gradient, conv2d_gradient_bias, conv2d_gradient_input,
    conv2d_gradient_weights, conv2d_pooled, pooled_scratch_len, steps_len,
};
use furthermore_kernels_cpu::{Element, Exec, KernelError, Planes, PlanesMut, TILE_IMAGES};

/// Sizes, windows that tile the result, and whether the oracle's work is worth every thread count.
fn shapes() -> Vec<(Conv2dShape, [usize; 2], bool)> {
    let padded = |shape| Conv2dShape {
        padding: [[1, 1], [1, 1]],
        ..shape
    };
    let tall = Conv2dShape {
        padding: [[1, 1], [0, 0]],
        ..shape(64, [1, 16], [20, 8], [3, 1])
    };
    let strided = Conv2dShape {
        stride: [2, 1],
        ..shape(2, [2, 3], [8, 4], [2, 2])
    };
    let grouped = Conv2dShape {
        groups: 2,
        ..padded(shape(5, [4, 6], [6, 3], [3, 3]))
    };
    vec![
        (padded(shape(3, [2, 3], [4, 6], [3, 3])), [2, 2], false),
        (padded(shape(35, [2, 9], [4, 4], [3, 3])), [2, 2], false),
        (shape(48, [1, 2], [3, 4], [1, 1]), [3, 2], false),
        (grouped, [2, 3], false),
        (strided, [4, 3], false),
        (strided, [1, 1], false),
        (padded(shape(0, [2, 3], [4, 4], [3, 3])), [2, 2], false),
        (shape(2, [2, 3], [2, 2], [3, 3]), [2, 2], false),
        // Several chunks of rows, and pieces for threads.
        (tall, [2, 2], true),
        (tall, [4, 1], true),
    ]
}

/// Words of steps amid guard words.
struct Steps {
    words: Vec<u32>,
    count: usize,
    len: usize,
}

const GUARD: u32 = 0x5eed_1234;

impl Steps {
    fn poisoned(count: usize, len: usize) -> Self {
        let mut words = vec![GUARD; count * len + 2];
        words[1..=count * len].fill(!0);
        Self { words, count, len }
    }

    fn drawn(noise: &mut Noise, count: usize, len: usize) -> Self {
        let mut made = Self::poisoned(count, len);
        let inside = 1..=count * len;
        made.words[inside].fill_with(|| noise.next() as u32);
        made
    }

    fn view(&self) -> Planes<'_, u32> {
        let inside = &self.words[1..=self.count * self.len];
        Planes::new(inside, self.count, self.len, self.len).expect("made to fit")
    }

    fn view_mut(&mut self) -> PlanesMut<'_, u32> {
        let inside = &mut self.words[1..=self.count * self.len];
        PlanesMut::new(inside, self.count, self.len, self.len).expect("made to fit")
    }

    /// Where the bit of a slot lies.
    fn place(
        &self,
        images: &Images,
        slot: usize,
        [n, channel, row, column]: [usize; 4],
    ) -> (usize, u32) {
        let tile = n / TILE_IMAGES * images.channels + channel;
        let pixel = (tile * images.rows + row) * images.columns + column;
        (1 + slot * self.len + pixel, 1 << (n % TILE_IMAGES))
    }

    fn bit(&self, images: &Images, slot: usize, at: [usize; 4]) -> bool {
        let (word, bit) = self.place(images, slot, at);
        self.words[word] & bit != 0
    }
}

/// Every element of a result, with the place of the window it lies in.
fn each(images: &Images, window: [usize; 2], mut see: impl FnMut([usize; 4], usize, usize)) {
    let pooled = pooled(images, window);
    for n in 0..images.batch {
        for channel in 0..images.channels {
            for row in 0..images.rows {
                for column in 0..images.columns {
                    let place = pooled.at(n, channel, row / window[0], column / window[1]);
                    let element = images.at(n, channel, row, column);
                    see([n, channel, row, column], element, place);
                }
            }
        }
    }
}

fn pooled(images: &Images, window: [usize; 2]) -> Images {
    Images {
        rows: images.rows / window[0],
        columns: images.columns / window[1],
        ..*images
    }
}

/// Rounding of what forms slots of at most `most` and joins them again, a few operations between.
fn slack<T: Element>(form: &Algebra, most: f64, operations: usize) -> Vec<f64> {
    let sizes = vec![most; form.slots];
    let split = form.split_size(&form.coordinate_sizes(&sizes));
    let split = Tolerance::roundings::<T>(4 * (operations + 6)).of(split);
    let join = joined::<T>(form, &sizes);
    join.iter().map(|join| 4.0 * join + split).collect()
}

fn instruction_sets(every: bool) -> Vec<Exec> {
    if every { execs() } else { single() }
}

fn averages<T: Element>() {
    let mut noise = Noise::new(17);
    for algebra in Algebra::all() {
        for (left, right) in kinds(&algebra) {
            for (shape, window, every) in shapes() {
                if every && algebra.arithmetic.dim() > 2 {
                    continue;
                }
                let bias = noise.pick(&[None, Some(Kind::Plain), Some(Kind::Cipher)]);
                let case = Conv::new(shape, Conv2dPass::Forward, left, right).then(bias, None);
                let oracle = Convolution::<T>::new(&algebra, case, noise.next());
                let form = algebra.of_kind(case.result());
                let images = conv2d_images(&shape)[1];
                let places = pooled(&images, window).len();
                let most = oracle
                    .expected
                    .iter()
                    .flatten()
                    .fold(0.0f64, |m, x| m.max(x.abs()));
                let slack = slack::<T>(&form, most.max(1.0), window[0] * window[1]);
                let share = 1.0 / (window[0] * window[1]) as f64;
                let mut expected = vec![vec![0.0; places]; form.slots];
                let mut bounds: Vec<_> = slack.iter().map(|s| vec![*s; places]).collect();
                each(&images, window, |_, element, place| {
                    for k in 0..form.slots {
                        expected[k][place] += share * oracle.expected[k][element].max(0.0);
                        bounds[k][place] += share * (oracle.bounds[k][element] + slack[k]);
                    }
                });
                for exec in instruction_sets(every) {
                    let context =
                        format!("{} {} {exec:?} {case:?} {window:?}", algebra.name, T::NAME);
                    let (a, b) = (oracle.left.view(), oracle.right.view());
                    let (arithmetic, planes) = (&algebra.arithmetic, [a.count(), b.count()]);
                    let needs = pooled_scratch_len::<T>(
                        &exec, arithmetic, &shape, window, planes[0], planes[1],
                    )
                    .expect("it is a convolution");
                    for saves in [true, false] {
                        let mut scratch = Guarded::<T>::poisoned(1, needs, 0);
                        let mut result = Guarded::<T>::poisoned(form.dim, places, 3);
                        let mut steps =
                            Steps::poisoned(form.slots, steps_len(shape.output_sizes()));
                        let seen = conv2d_pooled(
                            &exec,
                            &algebra.arithmetic,
                            &shape,
                            window,
                            a,
                            b,
                            oracle.bias.as_ref().map(Operand::view),
                            &mut result.view_mut(),
                            saves.then_some(&mut steps.view_mut()),
                            scratch.slice_mut(),
                        )
                        .expect("they fit");
                        result.intact().expect("nothing else was written");
                        scratch
                            .intact()
                            .expect("nothing past the scratch was written");
                        let found = form.decrypt_planes(&result.planes());
                        if let Err(error) = compare(&expected, &found, &bounds) {
                            panic!("{context}: {error}");
                        }
                        for (k, seen) in seen.max_abs().iter().enumerate() {
                            let slots = oracle.expected[k].iter();
                            let most = slots.fold(0.0f64, |m, x| m.max(x.abs()));
                            let reach = oracle.bounds[k].iter().fold(0.0f64, |m, x| m.max(*x));
                            assert!((seen - most).abs() <= reach + slack[k], "{context}: {seen}");
                        }
                        assert_eq!(
                            [steps.words[0], steps.words[steps.words.len() - 1]],
                            [GUARD; 2]
                        );
                        if !saves {
                            continue;
                        }
                        each(&images, window, |at, element, _| {
                            for k in 0..form.slots {
                                let x = oracle.expected[k][element];
                                if x.abs() > oracle.bounds[k][element] + slack[k] {
                                    let bit = steps.bit(&images, k, at);
                                    assert_eq!(bit, x > 0.0, "{context} slot {k} at {at:?}");
                                }
                            }
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn averages_f32() {
    averages::<f32>();
}

#[test]
fn averages_f64() {
    averages::<f64>();
}

/// A gradient that lies pooled, and the one it stands for.
struct Unpooled<T> {
    averages: Operand<T>,
    steps: Steps,
    window: [usize; 2],
    dense: Operand<T>,
    /// With every slot as large as one may be that the steps leave out, for bounds.
    whole: Operand<T>,
}

impl<T: Element> Unpooled<T> {
    fn drawn(
        algebra: &Algebra,
        kind: Kind,
        shape: &Conv2dShape,
        window: [usize; 2],
        noise: &mut Noise,
    ) -> Self {
        let (images, form) = (conv2d_images(shape)[1], algebra.of_kind(kind));
        let places = pooled(&images, window).len();
        // Away from zero, so that each bit shows.
        let averages = Operand::<T>::drawn(algebra, kind, || noise.slots(places, 0.5, 1.0));
        let steps = Steps::drawn(noise, form.slots, steps_len(shape.output_sizes()));
        let share = 1.0 / (window[0] * window[1]) as f64;
        let mut dense = vec![vec![0.0; images.len()]; form.slots];
        let mut whole = dense.clone();
        each(&images, window, |at, element, place| {
            for k in 0..form.slots {
                whole[k][element] = share;
                if steps.bit(&images, k, at) {
                    dense[k][element] = share * averages.slot(k)[place];
                }
            }
        });
        Self {
            averages,
            steps,
            window,
            dense: Operand::new(algebra, kind, dense),
            whole: Operand::new(algebra, kind, whole),
        }
    }

    fn view(&self) -> Gradient<'_, T> {
        Gradient::Pooled {
            averages: self.averages.view(),
            steps: self.steps.view(),
            window: self.window,
        }
    }
}

fn gradients<T: Element>() {
    let mut noise = Noise::new(18);
    for algebra in Algebra::all() {
        for (left, right) in kinds(&algebra) {
            for (shape, window, every) in shapes() {
                if every && algebra.arithmetic.dim() > 2 {
                    continue;
                }
                for pass in [Conv2dPass::GradientInput, Conv2dPass::GradientWeights] {
                    let case = Conv::new(shape, pass, left, right);
                    let by_input = pass == Conv2dPass::GradientInput;
                    let kind = if by_input { left } else { right };
                    let g = Unpooled::<T>::drawn(&algebra, kind, &shape, window, &mut noise);
                    let [input, weights, _] = conv2d_lens(&shape);
                    let (other, len) = if by_input {
                        (weights, input)
                    } else {
                        (input, weights)
                    };
                    let other_kind = if by_input { right } else { left };
                    let other =
                        Operand::<T>::drawn(&algebra, other_kind, || noise.slots(other, -1.0, 1.0));
                    let of = |g: &Operand<T>| {
                        let (g, other) = (g.clone(), other.clone());
                        let (left, right) = if by_input { (g, other) } else { (other, g) };
                        Convolution::of(&algebra, case, left, right, None)
                    };
                    let (oracle, whole) = (of(&g.dense), of(&g.whole));
                    let form = algebra.of_kind(case.result());
                    let bounds: Vec<Vec<f64>> = (oracle.bounds.iter().zip(&whole.bounds))
                        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + 2.0 * b).collect())
                        .collect();
                    for exec in instruction_sets(every) {
                        let mut scratch =
                            Guarded::<T>::poisoned(1, oracle.needs(&exec, &algebra.arithmetic), 0);
                        let mut result = Guarded::<T>::poisoned(form.dim, len, 3);
                        let (arithmetic, to) = (&algebra.arithmetic, &mut result.view_mut());
                        let (g, x, own) = (g.view(), other.view(), scratch.slice_mut());
                        if by_input {
                            conv2d_gradient_input(&exec, arithmetic, &shape, g, x, to, own)
                        } else {
                            conv2d_gradient_weights(&exec, arithmetic, &shape, x, g, to, own)
                        }
                        .expect("they fit");
                        result.intact().expect("nothing else was written");
                        scratch
                            .intact()
                            .expect("nothing past the scratch was written");
                        let found = form.decrypt_planes(&result.planes());
                        if let Err(error) = compare(&oracle.expected, &found, &bounds) {
                            let name = &algebra.name;
                            panic!("{name} {} {exec:?} {case:?} {window:?}: {error}", T::NAME);
                        }
                    }
                }
                biases::<T>(&algebra, right, &shape, window, &mut noise);
            }
        }
    }
}

fn biases<T: Element>(
    algebra: &Algebra,
    kind: Kind,
    shape: &Conv2dShape,
    window: [usize; 2],
    noise: &mut Noise,
) {
    let form = algebra.of_kind(kind);
    let g = Unpooled::<T>::drawn(algebra, kind, shape, window, noise);
    let images = conv2d_images(shape)[1];
    let mut expected = vec![vec![0.0; images.channels]; form.slots];
    each(&images, window, |[_, channel, ..], element, _| {
        for k in 0..form.slots {
            expected[k][channel] += g.dense.slot(k)[element];
        }
    });
    let terms = images.len() / images.channels;
    let slack = slack::<T>(&form, terms as f64, terms + 16);
    let bounds: Vec<_> = slack.iter().map(|s| vec![*s; images.channels]).collect();
    for exec in execs() {
        let mut result = Guarded::<T>::poisoned(form.dim, images.channels, 3);
        let (sizes, to) = (channel_sizes(shape), &mut result.view_mut());
        conv2d_gradient_bias(&exec, &algebra.arithmetic, sizes, g.view(), to).expect("they fit");
        result.intact().expect("nothing else was written");
        let found = form.decrypt_planes(&result.planes());
        if let Err(error) = compare(&expected, &found, &bounds) {
            panic!(
                "{} {} {exec:?} {shape:?} {window:?}: {error}",
                algebra.name,
                T::NAME
            );
        }
    }
}

#[test]
fn gradients_f32() {
    gradients::<f32>();
}

#[test]
fn gradients_f64() {
    gradients::<f64>();
}

/// One wrong bit shows in the gradient: the comparison above would see it.
#[test]
fn a_wrong_step_shows() {
    let (algebra, mut noise) = (Algebra::compact2([0.75, -0.5]), Noise::new(19));
    let shape = shape(3, [2, 3], [4, 6], [1, 1]);
    let kind = Kind::Cipher;
    let mut g = Unpooled::<f32>::drawn(&algebra, kind, &shape, [2, 2], &mut noise);
    let form = algebra.of_kind(kind);
    let images = conv2d_images(&shape)[1];
    let sums = |g: &Unpooled<f32>| {
        let mut result = Guarded::<f32>::poisoned(form.dim, images.channels, 0);
        let exec = single().pop().expect("an instruction set");
        let (sizes, to) = (channel_sizes(&shape), &mut result.view_mut());
        conv2d_gradient_bias(&exec, &algebra.arithmetic, sizes, g.view(), to).expect("they fit");
        form.decrypt_planes(&result.planes())
    };
    let right = sums(&g);
    let (word, bit) = g.steps.place(&images, 1, [2, 1, 3, 5]);
    g.steps.words[word] ^= bit;
    let wrong = sums(&g);
    let bounds = vec![vec![1e-3; images.channels]; form.slots];
    compare(&right, &wrong, &bounds).expect_err("a slot's gradient is there or not");
}

#[test]
fn refusals() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    let exec = single().pop().expect("an instruction set");
    let shape = shape(2, [1, 2], [4, 4], [1, 1]);
    let run = |window, output: usize, steps: usize, scratch: usize| {
        let (x, w) = (
            Guarded::<f32>::poisoned(2, 32, 0),
            Guarded::poisoned(2, 2, 0),
        );
        let mut y = Guarded::poisoned(2, output, 0);
        let (mut words, mut own) = (Steps::poisoned(2, steps), vec![0.0; scratch]);
        conv2d_pooled(
            &exec,
            &algebra.arithmetic,
            &shape,
            window,
            x.view(),
            w.view(),
            None,
            &mut y.view_mut(),
            Some(&mut words.view_mut()),
            &mut own,
        )
        .map(drop)
    };
    let enough = 1 << 16;
    assert_eq!(run([2, 2], 16, 32, enough), Ok(()));
    for window in [[0, 2], [2, 0], [3, 2], [2, 3], [5, 1], [usize::MAX, 1]] {
        let outcome = run(window, 16, 32, enough);
        assert!(
            matches!(outcome, Err(KernelError::Shape { .. })),
            "{window:?}: {outcome:?}"
        );
    }
    for (output, steps, scratch, operand) in [
        (15, 32, enough, "output"),
        (16, 31, enough, "steps"),
        (16, 32, 0, "scratch"),
    ] {
        match run([2, 2], output, steps, scratch) {
            Err(KernelError::Length { operand: found, .. }) => assert_eq!(found, operand),
            other => panic!("{operand}: {other:?}"),
        }
    }
    let (g, steps) = (Guarded::<f32>::poisoned(2, 16, 0), Steps::poisoned(1, 32));
    let gradient = Gradient::Pooled {
        averages: g.view(),
        steps: steps.view(),
        window: [2, 2],
    };
    let mut sums = Guarded::poisoned(2, 2, 0);
    let to = &mut sums.view_mut();
    let outcome = conv2d_gradient_bias(&exec, &algebra.arithmetic, [2, 2, 4, 4], gradient, to);
    assert!(
        matches!(
            outcome,
            Err(KernelError::PlaneCount {
                operand: "steps",
                ..
            })
        ),
        "{outcome:?}"
    );
}
