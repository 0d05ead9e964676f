//! The pooling's oracle: every window's elements, one by one, for each slot.

use furthermore_kernels_cpu::pool::{Pool, PoolShape, pool, pool_gradient};
use furthermore_kernels_cpu::{Element, Exec, SlotMaxima};

use super::algebras::{Algebra, Kind};
use super::buffers::{Guarded, Operand};
use super::compare::{Tolerance, compare};
use super::functions::{formed, joined};
use super::images::{Images, covered};
use super::noise::Noise;

/// What the elements of a pooled tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// Of one channel of one image no two are near each other, so that rounding changes no maximum.
    Distinct,
    /// One of five elements that differ in every slot, so that most windows have a tie.
    Few,
}

/// A pooling or its gradient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pooling {
    pub(crate) shape: PoolShape,
    pub(crate) pool: Pool,
    pub(crate) gradient: bool,
    pub(crate) kind: Kind,
    pub(crate) values: Values,
}

/// Places of a window by PyTorch's rule: `floor((input + padding - dilation (kernel - 1) - 1 + up) /
/// stride) + 1` where `up` is `stride - 1` in ceil mode, and one less where the last window would
/// start past the image and the padding before it.
pub(crate) fn places(shape: &PoolShape, axis: usize) -> usize {
    let [before, after] = shape.padding[axis].map(|p| p as i64);
    let (input, stride) = (shape.input[axis] as i64, shape.stride[axis] as i64);
    let span = shape.dilation[axis] as i64 * (shape.kernel[axis] as i64 - 1) + 1;
    let up = if shape.ceil { stride - 1 } else { 0 };
    let mut places = (input + before + after - span + up).div_euclid(stride) + 1;
    if shape.ceil && (places - 1) * stride >= input + before {
        places -= 1;
    }
    if input == 0 {
        0
    } else {
        places.max(0) as usize
    }
}

/// The input's and the output's sizes.
pub(crate) fn images(shape: &PoolShape) -> [Images; 2] {
    let sizes = |rows, columns| Images {
        batch: shape.batch,
        channels: shape.channels,
        rows,
        columns,
    };
    [
        sizes(shape.input[0], shape.input[1]),
        sizes(places(shape, 0), places(shape, 1)),
    ]
}

/// The elements that one place's window covers, rows first, and what an average divides by.
pub(crate) struct Window {
    pub(crate) place: usize,
    pub(crate) elements: Vec<usize>,
    pub(crate) divisor: usize,
}

pub(crate) fn windows(shape: &PoolShape, pool: Pool) -> Vec<Window> {
    let [input, output] = images(shape);
    let mut windows = Vec::new();
    // Taps along an axis, each with the element it lies on, and how many of them are no further than
    // the padding.
    let taps = |axis: usize, place: usize| {
        let [before, after] = shape.padding[axis];
        let (stride, dilation) = (shape.stride[axis], shape.dilation[axis]);
        let size = shape.input[axis];
        let taps = 0..shape.kernel[axis];
        let padded = (stride, 0, dilation, before + size + after);
        let inside = taps
            .clone()
            .filter(|&tap| covered(place, tap, padded).is_some());
        let elements = taps.filter_map(|tap| covered(place, tap, (stride, before, dilation, size)));
        (elements.collect::<Vec<_>>(), inside.count())
    };
    for row in 0..output.rows {
        for column in 0..output.columns {
            let ((rows, high), (columns, wide)) = (taps(0, row), taps(1, column));
            for n in 0..shape.batch {
                for channel in 0..shape.channels {
                    let elements: Vec<usize> = rows
                        .iter()
                        .flat_map(|&y| columns.iter().map(move |&x| input.at(n, channel, y, x)))
                        .collect();
                    windows.push(Window {
                        place: output.at(n, channel, row, column),
                        divisor: match pool {
                            Pool::AverageWithPadding => high * wide,
                            _ => elements.len(),
                        },
                        elements,
                    });
                }
            }
        }
    }
    windows
}

/// The operands of a pooling and what the oracle makes of them.
pub(crate) struct Pools<'a, T> {
    pub(crate) algebra: &'a Algebra,
    pub(crate) case: Pooling,
    pub(crate) input: Operand<T>,
    pub(crate) gradient: Option<Operand<T>>,
    pub(crate) expected: Vec<Vec<f64>>,
    pub(crate) bounds: Vec<Vec<f64>>,
    /// Largest magnitudes of the slots that a maximum is taken over, and their bounds.
    maxima: Vec<(f64, f64)>,
    len: usize,
}

/// Slots of an input of which the maxima are known in spite of rounding.
fn draw(case: &Pooling, slots: usize, noise: &mut Noise) -> Vec<Vec<f64>> {
    const MANY: usize = 1009;
    let images = images(&case.shape)[0];
    assert!(images.rows * images.columns < MANY, "not enough values");
    let mut drawn = vec![vec![0.0; images.len()]; slots];
    for n in 0..images.batch {
        for channel in 0..images.channels {
            // Multiples of a number modulo a prime are all different.
            let steps: Vec<usize> = (0..slots).map(|_| 1 + noise.below(MANY - 1)).collect();
            let starts: Vec<usize> = (0..slots).map(|_| noise.below(MANY)).collect();
            for pixel in 0..images.rows * images.columns {
                let at = images.at(n, channel, pixel / images.columns, pixel % images.columns);
                let few = noise.below(5);
                for (k, slot) in drawn.iter_mut().enumerate() {
                    slot[at] = match case.values {
                        Values::Distinct => {
                            let x = (starts[k] + pixel * steps[k]) % MANY;
                            2.0 * x as f64 / MANY as f64 - 1.0
                        }
                        Values::Few => (few * (k + 1) % 5) as f64 / 4.0 - 0.5,
                    };
                }
            }
        }
    }
    drawn
}

impl<'a, T: Element> Pools<'a, T> {
    pub(crate) fn new(algebra: &'a Algebra, case: Pooling, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let form = algebra.of_kind(case.kind);
        let drawn = draw(&case, form.slots, &mut noise);
        let [elements, places] = images(&case.shape).map(|images| images.len());
        let gradient = case
            .gradient
            .then(|| Operand::drawn(algebra, case.kind, || noise.slots(places, -1.0, 1.0)));
        let mut made = Self {
            algebra,
            case,
            input: Operand::new(algebra, case.kind, drawn),
            gradient,
            expected: Vec::new(),
            bounds: Vec::new(),
            maxima: Vec::new(),
            len: if case.gradient { elements } else { places },
        };
        made.expected = vec![vec![0.0; made.len]; form.slots];
        made.bounds = made.expected.clone();
        match case.pool {
            Pool::Max => made.answer_maximum(&form),
            _ => made.answer_average(&form),
        }
        made
    }

    /// Averages are linear, so coordinate by coordinate: a sum, its weights as they are rounded, a
    /// product, and the element as stored.
    fn answer_average(&mut self, form: &Algebra) {
        let windows = windows(&self.case.shape, self.case.pool);
        let mut shares = Vec::new();
        for window in &windows {
            let share = 1.0 / window.divisor as f64;
            for &element in &window.elements {
                shares.push(match self.case.gradient {
                    false => (element, window.place, share),
                    true => (window.place, element, share),
                });
            }
        }
        let source = self.gradient.as_ref().unwrap_or(&self.input);
        let mut depths = vec![0; self.len];
        for &(_, to, _) in &shares {
            depths[to] += 1;
        }
        let depth = depths.into_iter().max().unwrap_or(0);
        let tolerance = Tolerance::roundings::<T>(depth + 5).plus(2.0 * self.algebra.defect);
        let sum = |values: &[f64]| {
            let mut sums = vec![0.0; self.len];
            for &(from, to, share) in &shares {
                sums[to] += share * values[from];
            }
            sums
        };
        self.expected = source.slots.iter().map(|slot| sum(slot)).collect();
        let sizes: Vec<Vec<f64>> = source.sizes.iter().map(|sizes| sum(sizes)).collect();
        for at in 0..self.len {
            let errors: Vec<f64> = sizes.iter().map(|sizes| tolerance.of(sizes[at])).collect();
            for (bounds, error) in self.bounds.iter_mut().zip(form.slot_errors(&errors)) {
                bounds[at] = error;
            }
        }
    }

    /// The first largest element of a window in slot `k`, and its error; the oracle has to be sure of
    /// it.
    fn winner(&self, form: &Algebra, window: &Window, k: usize) -> (usize, f64) {
        let slot = self.input.slot(k);
        let largest = window.elements.iter().map(|&e| slot[e]);
        let largest = largest.fold(f64::NEG_INFINITY, f64::max);
        let error = |e: usize| formed(form, &self.input, e).1[k];
        let (mut first, mut most) = (None, 0.0f64);
        for &e in &window.elements {
            most = most.max(error(e));
            if slot[e] == largest {
                first.get_or_insert(e);
            } else {
                let gap = largest - slot[e];
                assert!(
                    gap > 4.0 * error(e),
                    "two elements are too near to tell apart"
                );
            }
        }
        (first.expect("a window has an element"), most)
    }

    fn answer_maximum(&mut self, form: &Algebra) {
        let slots = form.slots;
        let mut maxima = vec![(0.0f64, 0.0f64); slots];
        // What has been added to each element, for the roundings of those sums.
        let mut added = vec![vec![0.0; self.len]; slots];
        let mut times = vec![0; self.len];
        for window in windows(&self.case.shape, self.case.pool) {
            for &e in &window.elements {
                let (values, errors) = formed(form, &self.input, e);
                for (k, (most, bound)) in maxima.iter_mut().enumerate() {
                    *most = most.max(values[k].abs());
                    *bound = bound.max(errors[k]);
                }
            }
            let winners: Vec<_> = (0..slots).map(|k| self.winner(form, &window, k)).collect();
            let Some(gradient) = &self.gradient else {
                let value = |k: usize| self.input.slot(k)[winners[k].0];
                let reached: Vec<f64> = (0..slots).map(|k| value(k).abs() + winners[k].1).collect();
                let joined = joined::<T>(form, &reached);
                for k in 0..slots {
                    self.expected[k][window.place] = value(k);
                    self.bounds[k][window.place] = joined[k] + winners[k].1;
                }
                continue;
            };
            let (values, errors) = formed(form, gradient, window.place);
            for &e in &window.elements {
                let won: Vec<bool> = winners.iter().map(|&(winner, _)| winner == e).collect();
                times[e] += 1;
                if !won.contains(&true) {
                    continue;
                }
                let part: Vec<f64> = (0..slots)
                    .map(|k| {
                        if won[k] {
                            values[k].abs() + errors[k]
                        } else {
                            0.0
                        }
                    })
                    .collect();
                let joined = joined::<T>(form, &part);
                let size = form.slot_errors(&form.join_sizes(&part));
                for k in 0..slots {
                    if won[k] {
                        self.expected[k][e] += values[k];
                        self.bounds[k][e] += errors[k];
                    }
                    self.bounds[k][e] += joined[k];
                    added[k][e] += size[k];
                }
            }
        }
        for k in 0..slots {
            for e in 0..self.len {
                let sums = Tolerance::roundings::<T>(times[e] + 1);
                self.bounds[k][e] += sums.of(added[k][e]);
            }
        }
        self.maxima = maxima;
    }

    /// Runs the kernel with a poisoned, guarded result, and looks at the guards and the magnitudes.
    pub(crate) fn run(&self, exec: &Exec) -> Result<Guarded<T>, String> {
        let mut result = Guarded::poisoned(self.algebra.planes(self.case.kind), self.len, 3);
        let (shape, arithmetic) = (&self.case.shape, &self.algebra.arithmetic);
        let (input, to) = (self.input.view(), &mut result.view_mut());
        let seen: SlotMaxima = match &self.gradient {
            None => pool(exec, arithmetic, shape, self.case.pool, input, to),
            Some(gradient) => pool_gradient(
                exec,
                arithmetic,
                shape,
                self.case.pool,
                input,
                gradient.view(),
                to,
            ),
        }
        .map_err(|error| error.to_string())?;
        result
            .intact()
            .map_err(|error| format!("result: {error}"))?;
        let found = seen.max_abs();
        let close = |(&(most, bound), found): (&(f64, f64), &f64)| (most - found).abs() <= bound;
        if found.len() != self.maxima.len()
            || !self.maxima.iter().zip(found).all(close)
            || !seen.finite()
        {
            let expected = &self.maxima;
            return Err(format!(
                "magnitudes {found:?} where {expected:?} were expected"
            ));
        }
        Ok(result)
    }

    pub(crate) fn compare(&self, result: &Guarded<T>) -> Result<f64, String> {
        let form = self.algebra.of_kind(self.case.kind);
        let found = form.decrypt_planes(&result.planes());
        compare(&self.expected, &found, &self.bounds).map_err(|mismatch| mismatch.to_string())
    }

    /// Runs and compares; panics with the whole case where they differ.
    pub(crate) fn check(&self, exec: &Exec) -> Guarded<T> {
        let outcome = self.run(exec).and_then(|result| {
            self.compare(&result)?;
            Ok(result)
        });
        outcome.unwrap_or_else(|error| {
            let (name, case) = (&self.algebra.name, &self.case);
            panic!("{name} {} {exec:?} {case:?}: {error}", T::NAME)
        })
    }
}
