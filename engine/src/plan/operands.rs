//! What a kernel's operands have to be. Every command of a plan is held to it when the plan is made,
//! so that no device need ask again.

use furthermore_kernels_cpu::conv2d::{Conv2dShape, pooled_sizes, steps_len};
use furthermore_kernels_cpu::elementwise::Broadcast;
use furthermore_kernels_cpu::poly_map::{MAX_TERMS, composed_planes};
use furthermore_kernels_cpu::pool::Pool;
use furthermore_kernels_cpu::{KernelError, MAX_DIM, update};

use super::{Command, Kernel, Reduction, Region};
use crate::algebra::Algebra;
use crate::error::{Error, Result};

/// Most elements that the sizes of a shape may come to: what is computed of them stays in range.
const MOST: usize = 1 << (usize::BITS / 4 * 3);

fn product(sizes: &[usize]) -> usize {
    sizes.iter().copied().fold(1, usize::saturating_mul)
}

impl Command {
    /// Whether its kernel takes these operands, ciphertexts being those of an algebra.
    ///
    /// # Errors
    /// When their number, planes or lengths do not fit, or the kernel's parameters are none.
    pub(super) fn check(&self, algebra: Algebra) -> Result<()> {
        let (dim, slots) = (algebra.dim(), algebra.slots());
        let graded = matches!(algebra, Algebra::Graded(_));
        let rules = Rules {
            family: self.kernel.family(),
            dim,
            slots,
            graded,
        };
        let encrypted = |region: &Region| region.planes > 1;
        if graded && !self.kernel.is_ring() && self.reads.iter().chain(&self.writes).any(encrypted)
        {
            return Err(Error::Operation {
                operation: self.name.clone(),
                reason: "graded ciphertexts can only be added and multiplied".to_owned(),
            });
        }
        for region in self.reads.iter().chain(&self.writes) {
            let none = region.planes == 0 && !self.kernel.has_steps();
            if none || region.planes > MAX_DIM {
                return Err(rules.planes("operand", region, dim));
            }
        }
        match rules.check(&self.kernel, &self.reads, &self.writes)? {
            true => Ok(()),
            false => Err(Error::Operation {
                operation: self.name.clone(),
                reason: format!(
                    "it does not read {} and write {} tensors",
                    self.reads.len(),
                    self.writes.len()
                ),
            }),
        }
    }
}

struct Rules {
    /// The kernel family, which messages name.
    family: &'static str,
    /// Planes of a ciphertext.
    dim: usize,
    /// Its slots.
    slots: usize,
    /// Ciphertexts are polynomials of any degree.
    graded: bool,
}

impl Rules {
    fn planes(&self, operand: &'static str, region: &Region, needs: usize) -> Error {
        Error::Kernel(KernelError::PlaneCount {
            kernel: self.family,
            operand,
            needs,
            has: region.planes,
        })
    }

    /// Holds an operand to one of these plane counts and a length.
    fn is(
        &self,
        operand: &'static str,
        region: &Region,
        planes: &[usize],
        needs: usize,
    ) -> Result<()> {
        if !planes.contains(&region.planes) {
            return Err(self.planes(operand, region, planes[0]));
        }
        if region.elements != needs {
            return Err(Error::Kernel(KernelError::Length {
                kernel: self.family,
                operand,
                needs,
                has: region.elements,
            }));
        }
        Ok(())
    }

    /// An operand that is plaintext or a ciphertext.
    fn tensor(&self, operand: &'static str, region: &Region, needs: usize) -> Result<()> {
        let polynomial = region.planes > 2 && region.planes.is_multiple_of(2);
        let ciphertext = match self.graded && polynomial {
            true => region.planes,
            false => self.dim,
        };
        self.is(operand, region, &[1, ciphertext], needs)
    }

    /// An operand with the planes of another.
    fn like(
        &self,
        operand: &'static str,
        region: &Region,
        other: &Region,
        needs: usize,
    ) -> Result<()> {
        self.is(operand, region, &[other.planes], needs)
    }

    /// An operand with the planes of the larger of two.
    fn result(&self, region: &Region, of: [&Region; 2], needs: usize) -> Result<()> {
        let planes = of[0].planes.max(of[1].planes);
        self.is("the result", region, &[planes], needs)
    }

    /// Planes of the product of two operands: degrees add.
    fn product_planes(&self, of: [&Region; 2]) -> usize {
        match of.map(|operand| operand.planes) {
            [a, b] if self.graded && a > 1 && b > 1 => a + b - 2,
            [a, b] => a.max(b),
        }
    }

    /// The product of two operands.
    fn product(&self, region: &Region, of: [&Region; 2], needs: usize) -> Result<()> {
        self.is("the result", region, &[self.product_planes(of)], needs)
    }

    /// Sizes whose product has to stay in range.
    fn sizes(&self, sizes: &[usize]) -> Result<()> {
        if sizes
            .iter()
            .fold(1, |n: usize, &s| n.saturating_mul(s.max(1)))
            > MOST
        {
            return Err(Error::Kernel(KernelError::Shape {
                kernel: self.family,
                reason: "the sizes are larger than any tensor",
            }));
        }
        Ok(())
    }

    /// A matrix with rows of `columns` elements.
    fn rows(&self, operand: &'static str, region: &Region, columns: usize) -> Result<()> {
        self.sizes(&[columns])?;
        let rows = region.elements.checked_div(columns).unwrap_or(0);
        self.tensor(operand, region, rows * columns)
    }

    /// A polynomial's coefficients, as many as they are.
    fn terms(&self, has: usize) -> Result<()> {
        let needs = has.clamp(1, MAX_TERMS);
        if has != needs {
            return Err(Error::Kernel(KernelError::Length {
                kernel: self.family,
                operand: "coefficients",
                needs,
                has,
            }));
        }
        Ok(())
    }

    /// The coefficients' planes, constants or the operand after x. `None` where neither or both are.
    fn coefficients(
        &self,
        constants: Option<&Vec<f64>>,
        operands: &[Region],
    ) -> Result<Option<usize>> {
        match (constants, operands) {
            (Some(constants), []) => self.terms(constants.len()).map(|()| Some(1)),
            (None, [tensor]) => {
                self.terms(tensor.elements)?;
                self.tensor("coefficients", tensor, tensor.elements)?;
                if self.graded {
                    self.is("coefficients", tensor, &[1], tensor.elements)?;
                }
                Ok(Some(tensor.planes))
            }
            _ => Ok(None),
        }
    }

    /// What a convolution reads.
    fn convolution(
        &self,
        shape: &Conv2dShape,
        [x, w]: [&Region; 2],
        bias: &[Region],
    ) -> Result<()> {
        shape.check()?;
        self.tensor("input", x, shape.input_len())?;
        self.tensor("weights", w, shape.weight_len())?;
        let planes = self.product_planes([x, w]);
        for bias in bias {
            self.is("bias", bias, &[1, planes], shape.out_channels)?;
        }
        Ok(())
    }

    /// The gradient by a convolution's result of these sizes: as it is, or by averages over windows
    /// with the steps saved with these. Says whether these are there where they have to be.
    fn gradient(
        &self,
        sizes: [usize; 4],
        pooled: Option<[usize; 2]>,
        gradient: &Region,
        steps: &[Region],
    ) -> Result<bool> {
        match (pooled, steps) {
            (None, []) => {
                self.tensor("gradient", gradient, product(&sizes))?;
                Ok(true)
            }
            (Some(window), [steps]) => {
                let pooled = pooled_sizes(sizes, window)?;
                self.tensor("gradient", gradient, product(&pooled))?;
                self.steps(steps, gradient, sizes)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Bits for each slot of a tensor of these sizes that has the planes of another.
    fn steps(&self, steps: &Region, like: &Region, sizes: [usize; 4]) -> Result<()> {
        let slots = if like.planes == 1 { 1 } else { self.slots };
        let words = steps_len(sizes).saturating_mul(slots);
        self.is("steps", steps, &[0], words)
    }

    /// Operands that meet as a broadcast says.
    fn meeting(&self, broadcast: &Broadcast, [a, b]: [&Region; 2]) -> Result<()> {
        self.tensor("a", a, broadcast.a_len())?;
        self.tensor("b", b, broadcast.b_len())
    }

    /// Predictions and targets of a loss, and a result of so many elements.
    fn loss(&self, [x, targets, y]: [&Region; 3], elements: usize) -> Result<()> {
        self.tensor("predictions", x, x.elements)?;
        self.is("targets", targets, &[x.planes, 1], x.elements)?;
        self.like("the result", y, x, elements)
    }

    /// What a gradient steps.
    fn step(&self, gradient: &Region, stepped: &[Region]) -> Result<()> {
        self.tensor("gradient", gradient, gradient.elements)?;
        for region in stepped {
            self.like("what is stepped", region, gradient, gradient.elements)?;
        }
        Ok(())
    }

    /// Relu and an average are one kernel; relu and a maximum are not.
    fn pool(&self, pool: Pool, rectified: bool) -> Result<()> {
        if rectified && pool == Pool::Max {
            return Err(Error::Kernel(KernelError::Shape {
                kernel: self.family,
                reason: "a maximum of relu(x) is relu of a maximum",
            }));
        }
        Ok(())
    }

    /// Checks everything but the operands' number, and says whether that is right.
    fn check(&self, kernel: &Kernel, reads: &[Region], writes: &[Region]) -> Result<bool> {
        match (kernel, reads, writes) {
            (Kernel::BlockMatmul { shape: s, bias, .. }, [a, b, rest @ ..], [c])
                if rest.len() == usize::from(*bias) =>
            {
                for sizes in [[s.m, s.k], [s.k, s.n], [s.m, s.n]] {
                    self.sizes(&[s.batch, sizes[0], sizes[1]])?;
                }
                self.tensor("A", a, s.batch * s.m * s.k)?;
                self.tensor("B", b, s.batch * s.k * s.n)?;
                self.product(c, [a, b], s.batch * s.m * s.n)?;
                for bias in rest {
                    self.is("bias", bias, &[1, c.planes], s.n)?;
                }
            }
            (Kernel::Conv2d { shape, bias, .. }, [x, w, rest @ ..], [y])
                if rest.len() == usize::from(*bias) =>
            {
                self.convolution(shape, [x, w], rest)?;
                self.product(y, [x, w], shape.output_len())?;
            }
            (
                Kernel::Conv2dPooled {
                    shape,
                    bias,
                    window,
                },
                [x, w, rest @ ..],
                [y, steps @ ..],
            ) if rest.len() == usize::from(*bias) && steps.len() <= 1 => {
                self.convolution(shape, [x, w], rest)?;
                let sizes = shape.output_sizes();
                self.result(y, [x, w], product(&pooled_sizes(sizes, *window)?))?;
                for steps in steps {
                    self.steps(steps, y, sizes)?;
                }
            }
            (Kernel::Conv2dGradientInput { shape, pooled }, [g, w, steps @ ..], [x]) => {
                shape.check()?;
                if !self.gradient(shape.output_sizes(), *pooled, g, steps)? {
                    return Ok(false);
                }
                self.tensor("weights", w, shape.weight_len())?;
                self.result(x, [g, w], shape.input_len())?;
            }
            (Kernel::Conv2dGradientWeights { shape, pooled }, [x, g, steps @ ..], [w]) => {
                shape.check()?;
                self.tensor("input", x, shape.input_len())?;
                if !self.gradient(shape.output_sizes(), *pooled, g, steps)? {
                    return Ok(false);
                }
                self.result(w, [x, g], shape.weight_len())?;
            }
            (Kernel::Conv2dGradientBias { sizes, pooled }, [g, steps @ ..], [b]) => {
                self.sizes(sizes)?;
                if !self.gradient(*sizes, *pooled, g, steps)? {
                    return Ok(false);
                }
                self.like("the result", b, g, sizes[1])?;
            }
            (
                Kernel::Pool {
                    pool,
                    shape,
                    rectified,
                },
                [x],
                [y],
            ) => {
                self.pool(*pool, *rectified)?;
                shape.check()?;
                self.tensor("input", x, shape.input_len())?;
                self.like("the result", y, x, shape.output_len())?;
                shape.check_windows()?;
            }
            (
                Kernel::PoolGradient {
                    pool,
                    shape,
                    rectified,
                },
                [x, g],
                [y],
            ) => {
                self.pool(*pool, *rectified)?;
                shape.check()?;
                self.tensor("input", x, shape.input_len())?;
                self.like("gradient", g, x, shape.output_len())?;
                self.like("the result", y, x, shape.input_len())?;
                shape.check_windows()?;
            }
            (Kernel::FunctionMap { .. }, [], [x]) => self.tensor("values", x, x.elements)?,
            (Kernel::FunctionMap { .. }, [x], [y]) => {
                self.tensor("input", x, x.elements)?;
                self.like("the result", y, x, x.elements)?;
            }
            (Kernel::FunctionMapGradient { .. }, [saved], [g]) => {
                self.tensor("saved", saved, saved.elements)?;
                self.like("gradient", g, saved, saved.elements)?;
            }
            (Kernel::PolyMap { constants }, [x, rest @ ..], [y]) => {
                let Some(planes) = self.coefficients(constants.as_ref(), rest)? else {
                    return Ok(false);
                };
                self.tensor("input", x, x.elements)?;
                let terms = (constants.as_ref()).map_or_else(|| rest[0].elements, Vec::len);
                let planes = match self.graded && x.planes > 1 {
                    true => composed_planes(2, x.planes, terms),
                    false => x.planes.max(planes),
                };
                self.is("the result", y, &[planes], x.elements)?;
            }
            (Kernel::PolyMapGradient { constants }, [x, rest @ ..], [g]) => {
                let Some(planes) = self.coefficients(constants.as_ref(), rest)? else {
                    return Ok(false);
                };
                self.tensor("input", x, x.elements)?;
                let either = [x.planes.max(planes), self.dim];
                self.is("gradient", g, &either, x.elements)?;
            }
            (Kernel::PolyMapCoefficientGradient, [g, x], [c]) => {
                self.tensor("gradient", g, g.elements)?;
                self.tensor("input", x, g.elements)?;
                self.terms(c.elements)?;
                self.result(c, [g, x], c.elements)?;
            }
            (Kernel::Linear { broadcast, .. } | Kernel::Divide { broadcast }, [a, b], [c]) => {
                self.meeting(broadcast, [a, b])?;
                self.result(c, [a, b], broadcast.len())?;
                // Polynomials of one degree.
                for (operand, region) in [("a", a), ("b", b)] {
                    self.is(operand, region, &[c.planes, 1], region.elements)?;
                }
            }
            (Kernel::Multiply { broadcast }, [a, b], [c]) => {
                self.meeting(broadcast, [a, b])?;
                self.product(c, [a, b], broadcast.len())?;
            }
            (Kernel::Reduce { reduction, axis }, [x], [y]) => {
                self.sizes(&[axis.outer, axis.length, axis.inner])?;
                match reduction {
                    Reduction::Sum => {}
                    Reduction::Mean => axis.expect_elements()?,
                    Reduction::Max => {
                        axis.expect_elements()?;
                        self.tensor("input", x, axis.full())?;
                    }
                }
                self.like("input", x, x, axis.full())?;
                self.like("the result", y, x, axis.reduced())?;
            }
            (Kernel::MaxGradient { axis }, [x, g], [y]) => {
                self.sizes(&[axis.outer, axis.length, axis.inner])?;
                axis.expect_elements()?;
                self.tensor("input", x, axis.full())?;
                self.like("gradient", g, x, axis.reduced())?;
                self.like("the result", y, x, axis.full())?;
            }
            (Kernel::Softmax { columns, .. }, [x], [y]) => {
                self.rows("input", x, *columns)?;
                self.like("the result", y, x, x.elements)?;
            }
            (Kernel::SoftmaxGradient { columns, .. }, [saved, g], [x]) => {
                self.rows("saved", saved, *columns)?;
                self.like("gradient", g, saved, saved.elements)?;
                self.like("the result", x, saved, saved.elements)?;
            }
            (Kernel::SlotMaxima, [x], []) => self.tensor("values", x, x.elements)?,
            (Kernel::SoftmaxCrossEntropy { columns }, [x, targets], [y]) => {
                self.rows("predictions", x, *columns)?;
                self.loss([x, targets, y], 1)?;
            }
            (Kernel::SoftmaxCrossEntropyGradient { columns }, [x, targets], [y]) => {
                self.rows("predictions", x, *columns)?;
                self.loss([x, targets, y], x.elements)?;
            }
            (Kernel::BinaryCrossEntropy | Kernel::MeanSquaredError, [x, targets], [y]) => {
                self.loss([x, targets, y], 1)?;
            }
            (Kernel::BinaryCrossEntropyGradient, [x, targets], [y]) => {
                self.loss([x, targets, y], x.elements)?;
            }
            (Kernel::Sgd { .. }, [g], [_] | [_, _]) => self.step(g, writes)?,
            (
                &Kernel::Adam {
                    beta1,
                    beta2,
                    epsilon,
                    weight_decay,
                },
                [g],
                [_, _, _],
            ) => {
                let options = update::Adam {
                    learning_rate: 0.0,
                    beta1,
                    beta2,
                    epsilon,
                    weight_decay,
                };
                options.check()?;
                self.step(g, writes)?;
            }
            (Kernel::Clip { limit }, [], [g]) => {
                if limit.is_nan() || *limit <= 0.0 {
                    return Err(Error::Kernel(KernelError::Parameter {
                        kernel: self.family,
                        parameter: "limit",
                        needs: "a number above 0",
                        has: limit.to_string(),
                    }));
                }
                self.tensor("gradient", g, g.elements)?;
            }
            (Kernel::LinearMap { matrix }, [x], [y]) => {
                self.is("the result", y, &[y.planes], x.elements)?;
                let needs = x.planes * y.planes;
                if matrix.len() != needs {
                    return Err(Error::Kernel(KernelError::Length {
                        kernel: self.family,
                        operand: "matrix",
                        needs,
                        has: matrix.len(),
                    }));
                }
            }
            (Kernel::Transpose { sizes }, [x], [y]) => {
                self.like("input", x, x, product(sizes))?;
                self.like("the result", y, x, x.elements)?;
            }
            (Kernel::Interleave { into }, [x], [y]) => {
                let (planes, one) = if *into { (x, y) } else { (y, x) };
                let coordinates = planes.elements.saturating_mul(planes.planes);
                self.is("the single plane", one, &[1], coordinates)?;
            }
            (Kernel::StridedCopy { copy, .. }, [x], [y]) => {
                self.like("input", x, x, copy.from_len())?;
                self.like("the result", y, x, copy.to_len())?;
            }
            (Kernel::Tiles { batch, .. }, [x], [y]) => {
                let samples = x.elements.checked_div(*batch).unwrap_or(0);
                self.like("input", x, x, samples * batch)?;
                self.like("the result", y, x, x.elements)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
