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
mod gradient;
mod images;
mod infer;
mod parameters;

pub(crate) use images::{conv2d_shape, pool_shape};
pub(crate) use infer::matmul_shape;

pub use furthermore_kernels_cpu::function_map::Function;
pub use furthermore_kernels_cpu::pool::Pool;
pub use images::{Convolution, Window};
pub use parameters::{Init, Parameters};

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
    },
    /// A tensor kept between runs that starts at zero: an optimiser's memory.
    State {
        /// Its shape.
        shape: Shape,
    },
    /// The matrix product of two operands, each transposed or not.
    MatMul {
        /// The left operand is transposed.
        transpose_a: bool,
        /// The right operand is transposed.
        transpose_b: bool,
    },
    /// `alpha a + beta b`; `b` may be a row that is added to every row of `a`.
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
    /// The sum of a matrix's rows.
    SumRows,
    /// The same elements in another shape; the batch stays.
    Reshape {
        /// Shape of one sample.
        shape: Shape,
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
    /// A step of gradient descent, in place: operands gradient, parameter and, with momentum, its
    /// velocity.
    Sgd {
        /// What part of the velocity is kept.
        momentum: f64,
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
    outputs: Vec<(String, Value)>,
}

impl Network {
    /// The operations, each after its operands.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The named outputs.
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
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
}
