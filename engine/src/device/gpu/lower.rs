//! From a plan's command to its dispatches: which shader in which variant, on which operands, with
//! which parameters, in how many workgroups.

mod elements;
mod images;
mod layouts;
mod polynomials;
mod products;
mod rows;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use furthermore_kernels_cpu::Arithmetic;
use furthermore_kernels_cpu::function_map::Function;
use furthermore_shaders::{Constant, Form, Product, Stored, Value, Variant};

use self::images::Gradient;
use self::products::Tiled;
use super::tiles::{Kind, TileTable};
use crate::algebra::Algebra;
use crate::device::RunOptions;
use crate::error::{Error, Result};
use crate::plan::{Command, Kernel, Plan, Region};

/// Invocations of a workgroup of the kernels that have one element for each.
pub(super) const WORKGROUP: usize = 256;

/// A parameter that every run writes anew.
#[derive(Debug, Clone, Copy)]
pub(super) enum AtRun {
    /// Minus the step size.
    SgdRate,
    /// Minus Adam's step size over the first moment's correction.
    AdamRate {
        /// Decay of the first moment.
        beta1: f64,
    },
    /// One over the correction of Adam's second moment's root.
    AdamScale {
        /// Decay of the second moment.
        beta2: f64,
    },
}

impl AtRun {
    pub(super) fn value(self, options: &RunOptions<'_>) -> f32 {
        let correction = |beta: f64| 1.0 - beta.powf(options.step as f64);
        let value = match self {
            AtRun::SgdRate => -options.learning_rate,
            AtRun::AdamRate { beta1 } => -options.learning_rate / correction(beta1),
            AtRun::AdamScale { beta2 } => 1.0 / correction(beta2).sqrt(),
        };
        value as f32
    }
}

/// A dispatch of a command as the device sees it.
#[derive(Debug)]
pub(super) struct Lowered {
    pub(super) variant: Variant,
    /// Operands by the names that the shader gives them.
    pub(super) operands: Vec<(&'static str, Region)>,
    pub(super) parameters: Vec<(&'static str, Value)>,
    pub(super) at_run: Vec<(&'static str, AtRun)>,
    /// Numbers the shader binds as `table`: constants that are too many for parameters.
    pub(super) table: Vec<f32>,
    /// How many numbers it binds as `scratch`, in f32 whatever operands are stored in, which holds
    /// them until the command's next dispatch.
    pub(super) scratch: usize,
    /// Workgroups.
    pub(super) groups: usize,
    /// Multiplications of one workgroup, about: long commands are cut by them.
    pub(super) work: usize,
    /// What its tiles were chosen for, where it has tiles.
    pub(super) kind: Option<Kind>,
}

impl Lowered {
    pub(super) fn new(variant: Variant, groups: usize, work: usize) -> Self {
        Self {
            variant,
            operands: Vec::new(),
            parameters: Vec::new(),
            at_run: Vec::new(),
            table: Vec::new(),
            scratch: 0,
            groups,
            work,
            kind: None,
        }
    }

    fn tiled(tiled: Tiled, groups: usize) -> Self {
        let mut lowered = Self::new(tiled.variant, groups, tiled.work);
        lowered.kind = Some(tiled.kind);
        lowered
    }

    pub(super) fn operand(mut self, name: &'static str, region: Region) -> Self {
        self.operands.push((name, region));
        self
    }

    fn at_run(mut self, name: &'static str, value: AtRun) -> Self {
        self.at_run.push((name, value));
        self
    }

    pub(super) fn size(mut self, name: &'static str, size: usize) -> Result<Self> {
        let fits = u32::try_from(size).map_err(|_| too_large(name, size))?;
        self.parameters.push((name, Value::U32(fits)));
        Ok(self)
    }

    pub(super) fn factor(mut self, name: &'static str, factor: f64) -> Self {
        self.parameters.push((name, Value::F32(factor as f32)));
        self
    }

    fn table(mut self, numbers: &[f64]) -> Self {
        self.table = numbers.iter().map(|&x| x as f32).collect();
        self
    }

    /// A function with its parameters.
    fn function(mut self, function: Option<Function>) -> Self {
        let (alpha, beta) = match function {
            Some(Function::LeakyRelu { slope }) => (slope, 0.0),
            Some(Function::Elu { alpha }) => (alpha, 0.0),
            Some(Function::HardSigmoid { alpha, beta }) => (alpha, beta),
            _ => (0.0, 0.0),
        };
        let name = function.map_or("identity", Function::name);
        self.variant = self.variant.constant("FUNCTION", Constant::Name(name));
        self.factor("alpha", alpha).factor("beta", beta)
    }
}

/// A combination with a number for each of so many planes.
fn dense(combination: &[(usize, f64)], len: usize) -> Vec<f64> {
    let mut row = vec![0.0; len];
    for &(at, weight) in combination {
        row[at] = weight;
    }
    row
}

/// The program of operands of so many planes, its matrices behind the constants that there are.
fn program(
    arithmetic: &Arithmetic,
    [left, right]: [usize; 2],
    constants: &mut Vec<f64>,
) -> Product {
    let start = constants.len() as u32;
    let program = arithmetic.product(left, right);
    // Each term has combinations of its own.
    for term in &program.terms {
        constants.extend(dense(&program.left[term.left], left));
    }
    for term in &program.terms {
        constants.extend(dense(&program.right[term.right], right));
    }
    let planes = arithmetic.result_planes(left, right);
    for plane in 0..planes {
        for term in &program.terms {
            constants.push(dense(&term.outputs, planes)[plane]);
        }
    }
    Product::Program {
        constants: start,
        terms: program.terms.len() as u32,
    }
}

/// What a part of a command is told of the whole; the default is the whole.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Share {
    /// It adds to the sums, or compares with the maxima, that the part before has left.
    pub(super) follows: bool,
    /// It leaves its own to the next part, and writes nothing.
    pub(super) is_followed: bool,
    /// How many terms a mean has in all parts together.
    pub(super) terms: Option<usize>,
    /// Of a product, where in their rows A, B and C have what the part takes of them.
    pub(super) starts: [usize; 3],
}

impl Share {
    /// Whether other parts have something of the same sums.
    pub(super) fn of_sums(&self) -> bool {
        self.follows || self.is_followed
    }

    /// Has a command's dispatches, of which the last finishes sums, keep `kept` numbers ahead of all
    /// else in scratch, from part to part.
    fn keep(&self, mut dispatches: Vec<Lowered>, kept: usize) -> Result<Vec<Lowered>> {
        if !self.of_sums() {
            return Ok(dispatches);
        }
        let part = u32::from(self.follows) | u32::from(self.is_followed) << 1;
        if let Some(last) = dispatches.last_mut() {
            last.parameters.push(("part", Value::U32(part)));
        }
        let keep = |mut lowered: Lowered| {
            lowered.scratch = lowered.scratch.saturating_add(kept);
            lowered.size("kept", kept)
        };
        dispatches.into_iter().map(keep).collect()
    }
}

fn too_large(what: &str, size: usize) -> Error {
    Error::Device {
        device: "gpu".to_owned(),
        reason: format!("{what} is {size}, and shaders count in 32 bits"),
    }
}

/// What commands of one plan are lowered with.
#[derive(Debug)]
pub(super) struct Lowering {
    stored: Stored,
    slots: usize,
    /// Ciphertexts are polynomials of any degree.
    graded: bool,
    product: Product,
    /// Of polynomials, by the planes of the operands.
    products: HashMap<[usize; 2], Product>,
    /// The algebra's constants as shaders read them: between coordinates and slots, then the
    /// product's.
    constants: Vec<f32>,
    /// Bytes of workgroup memory.
    workgroup_bytes: usize,
    tile_table: TileTable,
}

impl Lowering {
    /// What lowers the commands of a plan.
    pub(super) fn new(
        plan: &Plan,
        arithmetic: &Arithmetic,
        stored: Stored,
        workgroup_bytes: usize,
        tile_table: TileTable,
    ) -> Self {
        let (dim, slots) = (arithmetic.dim(), arithmetic.slots());
        let mut constants: Vec<f64> = match arithmetic.two() {
            Some(two) => [&two.mean, &two.half, &two.one, &two.span]
                .into_iter()
                .flatten()
                .copied()
                .collect(),
            None => [arithmetic.to_slots(), arithmetic.from_slots()].concat(),
        };
        let start = constants.len() as u32;
        let mut products = HashMap::new();
        let product = match plan.options().algebra {
            Algebra::Real => Product::Plain,
            Algebra::Blocks(size) => Product::Blocks { size: size as u32 },
            Algebra::Compact(2) => {
                // Of q = b1 b2 the result takes -d and t - 1.
                constants.extend(dense(&arithmetic.product(2, 2).terms[1].outputs, 2));
                Product::Compact2 { constants: start }
            }
            Algebra::Compact(_) | Algebra::Reduced(_) => {
                program(arithmetic, [dim, dim], &mut constants)
            }
            Algebra::Graded(_) => {
                let multiplied = plan.commands().iter().filter(|c| c.kernel.is_product());
                for command in multiplied {
                    let mut planes = [command.reads[0].planes, command.reads[1].planes];
                    if let Kernel::Conv2d { .. } = command.kernel {
                        // As a matrix product it has the weights on the left.
                        planes.reverse();
                    }
                    if planes.iter().all(|planes| *planes > 1) {
                        products
                            .entry(planes)
                            .or_insert_with(|| program(arithmetic, planes, &mut constants));
                    }
                }
                Product::Plain
            }
        };
        Self {
            stored,
            slots,
            graded: arithmetic.is_graded(),
            product,
            products,
            constants: constants.into_iter().map(|x| x as f32).collect(),
            workgroup_bytes,
            tile_table,
        }
    }

    pub(super) fn constants(&self) -> &[f32] {
        &self.constants
    }

    /// How elements of so many planes have slots.
    fn form(&self, planes: usize) -> Form {
        let (coordinates, slots) = (planes as u32, self.slots as u32);
        match (planes, self.slots) {
            (1, _) => Form::Real,
            _ if self.graded => Form::Polynomial { coordinates },
            (_, 2) => Form::Two { coordinates },
            _ => Form::Many { coordinates, slots },
        }
    }

    /// How elements of so many planes are multiplied.
    fn product(&self, a: usize, b: usize) -> Product {
        if a == 1 || b == 1 {
            Product::Plain
        } else {
            self.products.get(&[a, b]).copied().unwrap_or(self.product)
        }
    }

    fn variant(&self, family: &'static str, entry: &'static str, planes: usize) -> Variant {
        Variant::new(family, entry, self.stored, self.form(planes))
    }

    /// A command with one invocation an element.
    fn by_element(&self, variant: Variant, elements: usize, work: usize) -> Lowered {
        let work = WORKGROUP.saturating_mul(work);
        Lowered::new(variant, elements.div_ceil(WORKGROUP), work)
    }

    /// The dispatches of a command, or of a part of one, in order.
    ///
    /// # Errors
    /// When a size passes what shaders count, or a constant what they hold.
    pub(super) fn lower(&self, command: &Command, share: &Share) -> Result<Vec<Lowered>> {
        let (reads, writes) = (&command.reads[..], &command.writes[..]);
        let one = match &command.kernel {
            Kernel::BlockMatmul {
                shape,
                bias,
                activation,
            } => {
                let bias = bias.then(|| reads[2]);
                let operands = [reads[0], reads[1], writes[0]];
                return self.block_matmul(shape, operands, bias, *activation, share);
            }
            Kernel::Conv2d {
                shape,
                bias,
                activation,
            } => {
                let bias = bias.then(|| reads[2]);
                self.conv2d(shape, [reads[0], reads[1]], bias, *activation, writes[0])
            }
            Kernel::Conv2dPooled {
                shape,
                bias,
                window,
            } => {
                let (bias, steps) = (bias.then(|| reads[2]), writes.get(1).copied());
                let operands = [reads[0], reads[1]];
                return self.conv2d_pooled(shape, operands, bias, *window, writes[0], steps);
            }
            Kernel::Conv2dGradientInput { shape, pooled } => {
                let gradient = Gradient::new(reads[0], *pooled, reads);
                return self.conv2d_gradient_input(shape, &gradient, reads[1], writes[0], share);
            }
            Kernel::Conv2dGradientWeights { shape, pooled } => {
                let gradient = Gradient::new(reads[1], *pooled, reads);
                let images = reads[0];
                return self.conv2d_gradient_weights(shape, images, &gradient, writes[0], share);
            }
            Kernel::Conv2dGradientBias { sizes, pooled } => {
                let gradient = Gradient::new(reads[0], *pooled, reads);
                return self.conv2d_gradient_bias(*sizes, &gradient, writes[0], share);
            }
            Kernel::Pool {
                pool,
                shape,
                rectified,
            } => self.pool(*pool, *rectified, shape, reads[0], None, writes[0]),
            Kernel::PoolGradient {
                pool,
                shape,
                rectified,
            } => {
                let gradient = Some(reads[1]);
                self.pool(*pool, *rectified, shape, reads[0], gradient, writes[0])
            }
            Kernel::FunctionMap { function } => {
                self.function_map(*function, reads.first().copied(), writes[0])
            }
            Kernel::FunctionMapGradient { function } => {
                self.function_map_gradient(*function, reads[0], writes[0])
            }
            Kernel::PolyMap { constants } => {
                self.poly_map("poly_map", constants.as_deref(), reads, writes[0])
            }
            Kernel::PolyMapGradient { constants } => {
                self.poly_map("poly_map_gradient", constants.as_deref(), reads, writes[0])
            }
            Kernel::PolyMapCoefficientGradient => {
                return self.poly_map_coefficient_gradient(reads[0], reads[1], writes[0], share);
            }
            &Kernel::Linear {
                ref broadcast,
                alpha,
                beta,
            } => {
                let lowered = self.elementwise("linear", broadcast, reads, writes[0])?;
                Ok(lowered.factor("alpha", alpha).factor("beta", beta))
            }
            Kernel::Multiply { broadcast } => {
                self.elementwise("multiply", broadcast, reads, writes[0])
            }
            Kernel::Divide { broadcast } => self.elementwise("divide", broadcast, reads, writes[0]),
            Kernel::LinearMap { matrix } => self.linear_map(matrix, reads[0], writes[0]),
            Kernel::Transpose { sizes } => self.transpose(*sizes, reads[0], writes[0]),
            Kernel::Interleave { into } => self.interleave(*into, reads[0], writes[0]),
            Kernel::StridedCopy { copy, rest } => {
                self.strided_copy(copy, *rest, reads[0], writes[0])
            }
            Kernel::Tiles { batch, into } => {
                return self.tiles(*batch, *into, reads[0], writes[0]);
            }
            Kernel::Reduce { reduction, axis } => {
                return self.reduce(*reduction, axis, reads[0], writes[0], share);
            }
            Kernel::MaxGradient { axis } => self.max_gradient(axis, reads[0], reads[1], writes[0]),
            Kernel::Softmax { columns, logarithm } => {
                self.softmax(*columns, *logarithm, reads[0], writes[0])
            }
            Kernel::SoftmaxGradient { columns, logarithm } => {
                self.softmax_gradient(*columns, *logarithm, reads[0], reads[1], writes[0])
            }
            Kernel::SlotMaxima => self.slot_maxima(reads[0]),
            Kernel::SoftmaxCrossEntropy { columns } => {
                let operands = [reads[0], reads[1], writes[0]];
                return self.softmax_cross_entropy(*columns, operands, share);
            }
            Kernel::SoftmaxCrossEntropyGradient { columns } => {
                let operands = [reads[0], reads[1], writes[0]];
                self.softmax_cross_entropy_gradient(*columns, operands, share)
            }
            Kernel::BinaryCrossEntropy => {
                let operands = [reads[0], reads[1], writes[0]];
                return self.mean_loss("binary_cross_entropy", operands, share);
            }
            Kernel::BinaryCrossEntropyGradient => {
                self.binary_cross_entropy_gradient([reads[0], reads[1], writes[0]], share)
            }
            Kernel::MeanSquaredError => {
                let operands = [reads[0], reads[1], writes[0]];
                return self.mean_loss("mean_squared_error", operands, share);
            }
            &Kernel::Sgd {
                rate,
                momentum,
                weight_decay,
            } => {
                let velocity = writes.get(1).copied();
                let factors = [momentum, weight_decay];
                self.sgd(rate, factors, reads[0], writes[0], velocity)
            }
            &Kernel::Adam {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => {
                let stepped = [writes[0], writes[1], writes[2]];
                self.adam([beta1, beta2], epsilon, weight_decay, reads[0], stepped)
            }
            Kernel::Clip { limit } => self.clip(*limit, writes[0]),
        };
        Ok(vec![one?])
    }
}
