//! Networks: what to compute, on what, by which operations. A network knows no batch size, no
//! algebra and no device; compiling a [`Plan`](crate::plan::Plan) brings those in.
//!
//! ```
//! use furthermore::network::Network;
//!
//! let mut network = Network::new();
//! let image = network.input("image", [784])?;
//! let hidden = network.linear("fc1", image, 784, 128)?;
//! let hidden = network.relu("relu1", hidden)?;
//! let logits = network.linear("fc2", hidden, 128, 10)?;
//! network.output("logits", logits)?;
//! # Ok::<(), furthermore::Error>(())
//! ```

mod build;
mod fit;
mod gradient;
mod images;
mod infer;
mod layers;
mod moves;
mod normalization;
mod parameters;
mod polynomials;
mod samples;
mod training;

pub(crate) use images::{conv2d_shape, pool_shape};
pub(crate) use infer::{matmul_shape, reduced_axis};

pub use fit::{Fit, FitMethod};
pub use furthermore_kernels_cpu::function_map::Function;
pub use furthermore_kernels_cpu::pool::Pool;
pub use images::{Convolution, Window};
pub use normalization::Statistics;
pub use parameters::{Init, Parameters};
pub use polynomials::{PolynomialActivation, PolynomialOptions, Polynomials, Replacement};
pub use training::Optimizer;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

pub use crate::plan::Reduction;
use crate::tensor::Shape;

/// A value in a network: what one of its nodes computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) usize);

/// An operation. Operands are in the order the fields are described.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// A tensor given at each run. Its shape is that of one sample: the batch comes before it.
    Input {
        /// Shape of one sample.
        shape: Shape,
    },
    /// A tensor kept between runs: a weight.
    Parameter {
        /// Its shape.
        shape: Shape,
        /// How a new one starts.
        init: Init,
        /// Whether gradients step it; a moving average they do not.
        trained: bool,
    },
    /// A tensor kept between runs that starts at zero: an optimiser's memory.
    State {
        /// Its shape.
        shape: Shape,
    },
    /// A plaintext that stays as it is.
    Constant {
        /// Its shape.
        shape: Shape,
        /// Its elements, row-major.
        values: Arc<[f64]>,
    },
    /// A plaintext drawn anew before each run: 0 with probability `rate`, otherwise 1 / (1 - `rate`).
    DropoutMask {
        /// Shape of one sample.
        shape: Shape,
        /// What part of the elements is 0.
        rate: f64,
    },
    /// The matrix product of two operands, each transposed or not: of their last two axes where they
    /// have others, which are alike or which the right operand lacks.
    MatMul {
        /// The left operand is transposed.
        transpose_a: bool,
        /// The right operand is transposed.
        transpose_b: bool,
    },
    /// `alpha a + beta b`. Operands of this and of products and quotients are aligned at their last
    /// axes, and one of size 1 repeats along the other, as in numpy.
    Linear {
        /// Factor of the first operand.
        alpha: f64,
        /// Factor of the second.
        beta: f64,
    },
    /// A multiple of the operand.
    Scale {
        /// The factor.
        factor: f64,
    },
    /// The product of two operands, element by element, in the algebra.
    Multiply,
    /// The quotient of two operands, element by element, in the algebra.
    Divide,
    /// A function, slot by slot.
    Map {
        /// The function.
        function: Function,
    },
    /// `f'(x) g` of what [`Function::saved`] names and an incoming gradient.
    MapGradient {
        /// The function whose derivative it is.
        function: Function,
    },
    /// `sum_k c_k x^k`, element by element, in the algebra; without constants the coefficients are a
    /// second operand.
    Polynomial {
        /// The coefficients, that of x^k at index k.
        constants: Option<Arc<[f64]>>,
    },
    /// Its gradient by x: operands x, the coefficients where they are one, and the result's gradient.
    PolynomialGradient {
        /// As in [`Op::Polynomial`].
        constants: Option<Arc<[f64]>>,
    },
    /// Its gradient by the coefficients: operands the result's gradient and x.
    PolynomialCoefficientGradient {
        /// How many there are.
        terms: usize,
    },
    /// The sum, mean or maximum along neighbouring axes.
    Reduce {
        /// Which of them.
        reduction: Reduction,
        /// The axes.
        axes: Range<usize>,
        /// They stay, of size 1.
        keep: bool,
    },
    /// The gradient by the operand of a maximum along axes: operands that operand and the maximum's
    /// gradient.
    MaxGradient {
        /// The axes.
        axes: Range<usize>,
    },
    /// The first operand repeated to the shape of the second, whose elements do not matter.
    Expand {
        /// Divided by how often it is repeated.
        mean: bool,
    },
    /// The softmax along the last axis.
    Softmax {
        /// Its logarithm.
        logarithm: bool,
    },
    /// Its gradient: operands what it computed and the gradient of that.
    SoftmaxGradient {
        /// It was the logarithm.
        logarithm: bool,
    },
    /// The same elements in another shape.
    Reshape {
        /// All of the shape but its first axis.
        shape: Shape,
        /// The first axis is the batch and stays; otherwise it takes what elements there are.
        batch: bool,
    },
    /// The axes in another order.
    Transpose {
        /// Which axis of the operand each axis of the result is.
        permutation: Vec<usize>,
    },
    /// Operands one after the other.
    Concat {
        /// Along which axis.
        axis: usize,
    },
    /// Elements at even distances.
    Slice {
        /// Along which axis.
        axis: usize,
        /// The first.
        start: usize,
        /// From one to the next; negative runs backwards.
        step: isize,
        /// How many.
        len: usize,
    },
    /// Its gradient: zeros with the operand's elements where they were taken from.
    SliceGradient {
        /// Along which axis.
        axis: usize,
        /// Where the first goes.
        start: usize,
        /// From one to the next.
        step: isize,
        /// Elements along the axis there are in all.
        size: usize,
    },
    /// Zeros around the operand.
    Pad {
        /// How many before and after it, for each axis.
        padding: Vec<[usize; 2]>,
    },
    /// A convolution of images `[channels, rows, columns]` with weights `[out channels, in channels /
    /// groups, rows, columns]` and, as a third operand, a bias for each channel.
    Conv2d(Convolution),
    /// Its gradient by the images: operands the result's gradient and the weights.
    Conv2dGradientInput {
        /// How the kernel slides.
        convolution: Convolution,
        /// Rows and columns of the images.
        input: [usize; 2],
    },
    /// Its gradient by the weights: operands the images and the result's gradient.
    Conv2dGradientWeights {
        /// How the kernel slides.
        convolution: Convolution,
        /// Rows and columns of the kernel.
        kernel: [usize; 2],
    },
    /// Its gradient by the bias: the sum of the result's gradient over all but channels.
    Conv2dGradientBias,
    /// The mean or the maximum of each place of a window.
    Pool {
        /// Which of them.
        pool: Pool,
        /// How the window slides.
        window: Window,
    },
    /// Its gradient: operands the images and the result's gradient.
    PoolGradient {
        /// Which of them.
        pool: Pool,
        /// How the window slides.
        window: Window,
    },
    /// Mean over rows of the cross entropy of softmax(logits) with target rows.
    SoftmaxCrossEntropy,
    /// Its gradient by the logits.
    SoftmaxCrossEntropyGradient,
    /// Mean over all elements of (predicted - target)^2.
    MeanSquaredError,
    /// Its gradient by the predictions.
    MeanSquaredErrorGradient,
    /// Mean over all elements of the cross entropy of sigmoid(logits) with target probabilities.
    BinaryCrossEntropy,
    /// Its gradient by the logits.
    BinaryCrossEntropyGradient,
    /// The operand with its slots limited to `-limit..=limit`.
    Clip {
        /// Above zero.
        limit: f64,
    },
    /// A step of an optimiser, in place: operands gradient, parameter and what the optimiser keeps of
    /// it.
    Step(Optimizer),
    /// A moving average, in place: operands what it averages and the average, which becomes `keep`
    /// times what it was plus `1 - keep` times the other.
    MovingAverage {
        /// What part is kept.
        keep: f64,
    },
}

/// One operation with its name and operands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name, unique in its network.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// From what.
    pub operands: Vec<Value>,
}

/// A directed acyclic graph of operations, each after its operands.
#[derive(Debug, Clone, Default)]
pub struct Network {
    nodes: Vec<Node>,
    /// The names of nodes.
    names: HashSet<String>,
    /// Shapes of the first values for a batch of two, as far as they were asked for.
    sampled: Vec<Shape>,
    outputs: Vec<(String, Value)>,
    /// Outputs of an imported network in which samples meet in runs of another batch than it was
    /// imported for.
    pub(crate) meeting: Vec<Value>,
}

impl Network {
    /// The operations, each after its operands.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The name of a value's operation, where it is one of this network.
    pub fn name(&self, value: Value) -> Option<&str> {
        self.nodes.get(value.0).map(|node| node.name.as_str())
    }

    /// The named outputs.
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// Whether an operation changes a parameter.
    pub(crate) fn is_step(&self, value: Value) -> bool {
        matches!(self.node(value).op, Op::Step(_) | Op::MovingAverage { .. })
    }

    /// The node that computes `value`.
    pub(crate) fn node(&self, value: Value) -> &Node {
        &self.nodes[value.0]
    }

    /// Whether `value` is one of the named outputs.
    pub(crate) fn is_output(&self, value: Value) -> bool {
        self.outputs.iter().any(|(_, output)| *output == value)
    }

    /// All values, each after those it is computed from.
    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = Value> + use<> {
        (0..self.nodes.len()).map(Value)
    }

    /// The values of parameters.
    pub fn parameters(&self) -> Vec<Value> {
        let is_parameter = |v: &Value| matches!(self.node(*v).op, Op::Parameter { .. });
        self.values().filter(is_parameter).collect()
    }

    /// The values of parameters that gradients step: all but moving averages.
    pub fn trainable(&self) -> Vec<Value> {
        let is_trained =
            |v: &Value| matches!(self.node(*v).op, Op::Parameter { trained: true, .. });
        self.values().filter(is_trained).collect()
    }
}
