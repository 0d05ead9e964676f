//! The convolution's oracle: the products of its trilinear form one by one, for each slot.

use furthermore_kernels_cpu::conv2d::{
    Conv2dPass, Conv2dShape, conv2d, conv2d_gradient_input, conv2d_gradient_weights, scratch_len,
};
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::{Arithmetic, Element, Exec};

use super::algebras::{Algebra, Kind};
use super::buffers::{Guarded, Operand};
use super::compare::{Tolerance, compare};
use super::functions::{each_element, mapped, split_error};
use super::images::{Images, covered};
use super::noise::Noise;

/// Most lanes of a vector and most threads of a test: what the gradient by the weights adds up last.
const PARTIAL_SUMS: usize = 16 + 5;

/// Images, channels, rows and columns of an output.
pub(crate) fn channel_sizes(shape: &Conv2dShape) -> [usize; 4] {
    let [rows, columns] = shape.output();
    [shape.batch, shape.out_channels, rows, columns]
}

/// What a convolution is of, which of its operations, and what is done to the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conv {
    pub(crate) shape: Conv2dShape,
    pub(crate) pass: Conv2dPass,
    pub(crate) left: Kind,
    pub(crate) right: Kind,
    /// Of the forward pass alone.
    pub(crate) bias: Option<Kind>,
    pub(crate) activation: Option<Function>,
}

impl Conv {
    pub(crate) fn new(shape: Conv2dShape, pass: Conv2dPass, left: Kind, right: Kind) -> Self {
        Self {
            shape,
            pass,
            left,
            right,
            bias: None,
            activation: None,
        }
    }

    /// With an epilogue; a plaintext result takes a plaintext bias alone.
    pub(crate) fn then(mut self, bias: Option<Kind>, activation: Option<Function>) -> Self {
        self.bias = bias.map(|bias| match self.result() {
            Kind::Plain => Kind::Plain,
            Kind::Cipher => bias,
        });
        self.activation = activation;
        self
    }

    pub(crate) fn result(&self) -> Kind {
        self.left.and(self.right)
    }

    /// Which of input, weights and output are the left operand, the right one and the result.
    fn roles(&self) -> [usize; 3] {
        match self.pass {
            Conv2dPass::Forward => [0, 1, 2],
            Conv2dPass::GradientInput => [2, 1, 0],
            Conv2dPass::GradientWeights => [0, 2, 1],
        }
    }
}

/// Places of a window: `floor((input + padding - dilation (kernel - 1) - 1) / stride) + 1`, PyTorch's
/// rule, none where the window is larger than that.
pub(crate) fn places(shape: &Conv2dShape, axis: usize) -> usize {
    let [before, after] = shape.padding[axis];
    let span = shape.dilation[axis] * (shape.kernel[axis] - 1) + 1;
    let room = (shape.input[axis] + before + after) as i64 - span as i64;
    if room < 0 || shape.input[axis] == 0 {
        return 0;
    }
    room as usize / shape.stride[axis] + 1
}

/// The input's and the output's sizes.
pub(crate) fn images(shape: &Conv2dShape) -> [Images; 2] {
    let sizes = |channels, rows, columns| Images {
        batch: shape.batch,
        channels,
        rows,
        columns,
    };
    [
        sizes(shape.in_channels, shape.input[0], shape.input[1]),
        sizes(shape.out_channels, places(shape, 0), places(shape, 1)),
    ]
}

/// Elements of input, weights and output.
pub(crate) fn lens(shape: &Conv2dShape) -> [usize; 3] {
    let [input, output] = images(shape);
    let weights = shape.out_channels * (shape.in_channels / shape.groups);
    [
        input.len(),
        weights * shape.kernel[0] * shape.kernel[1],
        output.len(),
    ]
}

/// Every product of the convolution: the indices of an element of the input, of the weight it is
/// multiplied by and of the element of the output it is added to. The gradients multiply two others.
pub(crate) fn products(shape: &Conv2dShape) -> Vec<[usize; 3]> {
    let [input, output] = images(shape);
    let (ins, outs) = (
        shape.in_channels / shape.groups,
        shape.out_channels / shape.groups,
    );
    let [rows, columns] = shape.kernel;
    let along = |axis: usize| {
        (
            shape.stride[axis],
            shape.padding[axis][0],
            shape.dilation[axis],
            shape.input[axis],
        )
    };
    let mut products = Vec::new();
    for out in 0..shape.out_channels {
        for within in 0..ins {
            let channel = out / outs * ins + within;
            for tap in 0..rows * columns {
                let weight = (out * ins + within) * rows * columns + tap;
                for place in 0..output.rows * output.columns {
                    let (row, column) = (place / output.columns, place % output.columns);
                    let Some(y) = covered(row, tap / columns, along(0)) else {
                        continue;
                    };
                    let Some(x) = covered(column, tap % columns, along(1)) else {
                        continue;
                    };
                    for n in 0..shape.batch {
                        let from = input.at(n, channel, y, x);
                        products.push([from, weight, output.at(n, out, row, column)]);
                    }
                }
            }
        }
    }
    products
}

/// Operands and what the oracle makes of them, computed once for every way of running the kernel.
pub(crate) struct Convolution<'a, T> {
    pub(crate) algebra: &'a Algebra,
    pub(crate) case: Conv,
    pub(crate) left: Operand<T>,
    pub(crate) right: Operand<T>,
    pub(crate) bias: Option<Operand<T>>,
    /// `[slot][element]` of the result.
    pub(crate) expected: Vec<Vec<f64>>,
    pub(crate) bounds: Vec<Vec<f64>>,
    /// Largest magnitudes of the activation's arguments, and their bounds.
    maxima: Vec<(f64, f64)>,
    len: usize,
}

impl<'a, T: Element> Convolution<'a, T> {
    /// Random slots in -1..1.
    pub(crate) fn new(algebra: &'a Algebra, case: Conv, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let lens = lens(&case.shape);
        let [left, right, _] = case.roles();
        let mut draw =
            |kind, len: usize| Operand::drawn(algebra, kind, || noise.slots(len, -1.0, 1.0));
        let left = draw(case.left, lens[left]);
        let right = draw(case.right, lens[right]);
        let bias = case.bias.map(|kind| draw(kind, case.shape.out_channels));
        Self::of(algebra, case, left, right, bias)
    }

    /// Of operands at hand.
    pub(crate) fn of(
        algebra: &'a Algebra,
        case: Conv,
        left: Operand<T>,
        right: Operand<T>,
        bias: Option<Operand<T>>,
    ) -> Self {
        let mut made = Self {
            algebra,
            case,
            left,
            right,
            bias,
            expected: Vec::new(),
            bounds: Vec::new(),
            maxima: Vec::new(),
            len: lens(&case.shape)[case.roles()[2]],
        };
        made.answer();
        made
    }

    /// Fills in what the oracle says.
    fn answer(&mut self) {
        let result = self.algebra.of_kind(self.case.result());
        let products = products(&self.case.shape);
        let [left, right, to] = self.case.roles();
        let mut sums = vec![vec![0.0; self.len]; result.slots];
        for (slot, sums) in sums.iter_mut().enumerate() {
            let (a, b) = (self.left.slot(slot), self.right.slot(slot));
            for product in &products {
                sums[product[to]] += a[product[left]] * b[product[right]];
            }
        }
        let mut errors = self.coordinate_errors(&result, &products);
        if let Some(bias) = &self.bias {
            let output = images(&self.case.shape)[1];
            // The bias was rounded, and its weight; the sum is rounded among the product's.
            let tolerance = Tolerance::roundings::<T>(4).plus(self.algebra.defect);
            for channel in 0..output.channels {
                let element = bias.element(channel, result.slots);
                let sizes = result.coordinate_sizes(&element);
                for n in 0..output.batch {
                    for pixel in 0..output.rows * output.columns {
                        let (row, column) = (pixel / output.columns, pixel % output.columns);
                        let at = output.at(n, channel, row, column);
                        for (sums, x) in sums.iter_mut().zip(&element) {
                            sums[at] += x;
                        }
                        for (errors, size) in errors.iter_mut().zip(&sizes) {
                            errors[at] += tolerance.of(*size);
                        }
                    }
                }
            }
        }
        let mut maxima = vec![(0.0f64, 0.0f64); result.slots];
        let (expected, bounds) = each_element(result.slots, self.len, |at| {
            let slots: Vec<f64> = sums.iter().map(|sums| sums[at]).collect();
            let errors: Vec<f64> = errors.iter().map(|errors| errors[at]).collect();
            let reach = result.slot_errors(&errors);
            let Some(function) = self.case.activation else {
                return (slots, reach);
            };
            let split = split_error::<T>(&result, &slots, &errors);
            for (k, (most, bound)) in maxima.iter_mut().enumerate() {
                *most = most.max(slots[k].abs());
                *bound = bound.max(reach[k] + split);
            }
            mapped::<T>(&result, function, &slots, &errors)
        });
        if self.case.activation.is_some() {
            self.maxima = maxima;
        }
        (self.expected, self.bounds) = (expected, bounds);
    }

    /// Error bounds of the sums' coordinates, `[plane][element]`: the roundings of each real product
    /// and of the sums it goes through, relative to the sizes of what is multiplied.
    fn coordinate_errors(&self, result: &Algebra, products: &[[usize; 3]]) -> Vec<Vec<f64>> {
        let [left, right, to] = self.case.roles();
        let program = self.algebra.program_of(self.case.left, self.case.right);
        let sizes = |operand: &Operand<T>, side: &[Vec<(usize, f64)>]| -> Vec<Vec<f64>> {
            let size = |combination: &Vec<(usize, f64)>| {
                let mut total = vec![0.0; operand.buffer.len()];
                for &(plane, weight) in combination {
                    for (total, size) in total.iter_mut().zip(&operand.sizes[plane]) {
                        *total += weight.abs() * size;
                    }
                }
                total
            };
            side.iter().map(size).collect()
        };
        let (a, b) = (
            sizes(&self.left, &program.left),
            sizes(&self.right, &program.right),
        );
        let mut depths = vec![0; self.len];
        for product in products {
            depths[product[to]] += 1;
        }
        let depth = depths.into_iter().max().unwrap_or(0);
        let longest = |side: &[Vec<(usize, f64)>]| side.iter().map(Vec::len).max().unwrap_or(0);
        // The sum of products; lanes and threads added up; every term added into the result; a product
        // and a sum for each part of a combination; both operands as stored, the three weights as
        // rounded, the coefficient's product, the bias.
        let count = depth
            + 1
            + PARTIAL_SUMS
            + program.terms.len()
            + 2 * (longest(&program.left) + longest(&program.right))
            + 2
            + 3
            + 1
            + 1;
        let tolerance = Tolerance::roundings::<T>(count).plus(3.0 * self.algebra.defect);
        let mut errors = vec![vec![0.0; self.len]; result.dim];
        for term in &program.terms {
            let (a, b) = (&a[term.left], &b[term.right]);
            let mut total = vec![0.0; self.len];
            for product in products {
                total[product[to]] += a[product[left]] * b[product[right]];
            }
            for &(plane, weight) in &term.outputs {
                for (error, total) in errors[plane].iter_mut().zip(&total) {
                    *error += tolerance.of(weight.abs() * total);
                }
            }
        }
        errors
    }

    /// Scratch that the kernel asks for.
    pub(crate) fn needs(&self, exec: &Exec, arithmetic: &Arithmetic) -> usize {
        let Conv { shape, pass, .. } = &self.case;
        let (left, right) = (self.left.view().count(), self.right.view().count());
        scratch_len::<T>(exec, arithmetic, shape, *pass, left, right)
            .expect("the shape is a convolution")
    }

    /// Runs the kernel with everything it may write poisoned and guarded, and looks at the guards
    /// and at the magnitudes it returns.
    pub(crate) fn run_with(
        &self,
        exec: &Exec,
        arithmetic: &Arithmetic,
    ) -> Result<Guarded<T>, String> {
        let shape = &self.case.shape;
        let (left, right) = (self.left.view(), self.right.view());
        let mut result = Guarded::poisoned(self.algebra.planes(self.case.result()), self.len, 3);
        let mut scratch = Guarded::poisoned(1, self.needs(exec, arithmetic), 0);
        let to = &mut result.view_mut();
        let own = scratch.slice_mut();
        let seen = match self.case.pass {
            Conv2dPass::Forward => {
                let bias = self.bias.as_ref().map(Operand::view);
                let activation = self.case.activation;
                conv2d(
                    exec, arithmetic, shape, left, right, bias, activation, to, own,
                )
                .map(Some)
            }
            Conv2dPass::GradientInput => {
                conv2d_gradient_input(exec, arithmetic, shape, left, right, to, own).map(|()| None)
            }
            Conv2dPass::GradientWeights => {
                conv2d_gradient_weights(exec, arithmetic, shape, left, right, to, own)
                    .map(|()| None)
            }
        }
        .map_err(|error| error.to_string())?;
        result
            .intact()
            .map_err(|error| format!("result: {error}"))?;
        scratch
            .intact()
            .map_err(|error| format!("scratch: {error}"))?;
        if let Some(seen) = seen.filter(|_| self.len > 0) {
            let found = seen.max_abs();
            let close =
                |(&(most, bound), found): (&(f64, f64), &f64)| (most - found).abs() <= bound;
            if found.len() != self.maxima.len()
                || !self.maxima.iter().zip(found).all(close)
                || !seen.finite()
            {
                let expected = &self.maxima;
                return Err(format!(
                    "magnitudes {found:?} where {expected:?} were expected"
                ));
            }
        }
        Ok(result)
    }

    /// A result's slots, `[slot][element]`.
    pub(crate) fn decrypt(&self, result: &Guarded<T>) -> Vec<Vec<f64>> {
        let algebra = self.algebra.of_kind(self.case.result());
        algebra.decrypt_planes(&result.planes())
    }

    /// Compares a result with the oracle; the largest share of its bound that an error takes.
    pub(crate) fn compare(&self, result: &Guarded<T>) -> Result<f64, String> {
        compare(&self.expected, &self.decrypt(result), &self.bounds)
            .map_err(|mismatch| mismatch.to_string())
    }

    /// Runs and compares; panics with the whole case where they differ.
    pub(crate) fn check(&self, exec: &Exec) -> Guarded<T> {
        let outcome = self
            .run_with(exec, &self.algebra.arithmetic)
            .and_then(|result| {
                self.compare(&result)?;
                Ok(result)
            });
        outcome.unwrap_or_else(|error| {
            let (name, case) = (&self.algebra.name, &self.case);
            panic!("{name} {} {exec:?} {case:?}: {error}", T::NAME)
        })
    }
}
