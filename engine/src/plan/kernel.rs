//! Which kernels a command can call, and with what parameters.

use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::conv2d::Conv2dShape;
use furthermore_kernels_cpu::convert::{Rest, StridedCopy};
use furthermore_kernels_cpu::elementwise::Broadcast;
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::pool::{Pool, PoolShape};
use furthermore_kernels_cpu::reduce::Axis;

/// What an axis is reduced to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The sum of its elements; 0 where there are none.
    Sum,
    /// Their mean.
    Mean,
    /// The largest, slot by slot.
    Max,
}

/// A kernel with its parameters. Its family is the name of its file in every crate.
///
/// Each says what a command reads and writes, in order. A tensor is plaintext (1 plane) or
/// ciphertexts (the algebra's dimension) unless another count is named. What a command is said to
/// step, limit or multiply is read and written in place: it is named among the written tensors only.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Kernel {
    /// Reads a, b and, with `bias`, a row; writes their product.
    BlockMatmul {
        /// Sizes and transpositions.
        shape: MatmulShape,
        /// A third operand is added to every row.
        bias: bool,
        /// Applied last.
        activation: Option<Function>,
    },
    /// Reads images, weights and, with `bias`, a number for each channel; writes the convolution.
    Conv2d {
        /// Sizes.
        shape: Conv2dShape,
        /// A third operand is added to every pixel.
        bias: bool,
        /// Applied last.
        activation: Option<Function>,
    },
    /// Reads what [`Kernel::Conv2d`] does; writes the average of relu of the convolution over each of
    /// the windows that tile it and, where a second tensor is written, the steps that its gradients
    /// need: bits, [`steps_len`](furthermore_kernels_cpu::conv2d::steps_len) words for each slot of
    /// the result.
    Conv2dPooled {
        /// Sizes.
        shape: Conv2dShape,
        /// A third operand is added to every pixel.
        bias: bool,
        /// Rows and columns of a window.
        window: [usize; 2],
    },
    /// Reads the result's gradient and the weights, writes the images' gradient.
    Conv2dGradientInput {
        /// Sizes of the convolution.
        shape: Conv2dShape,
        /// The gradient is that by averages over such windows, and the steps that were saved with
        /// these are read last. So it is below.
        pooled: Option<[usize; 2]>,
    },
    /// Reads the images and the result's gradient, writes the weights' gradient.
    Conv2dGradientWeights {
        /// Sizes of the convolution.
        shape: Conv2dShape,
        /// Windows of the averages.
        pooled: Option<[usize; 2]>,
    },
    /// Reads the result's gradient, writes the bias's: the sum of each channel.
    Conv2dGradientBias {
        /// Images, channels, rows and columns.
        sizes: [usize; 4],
        /// Windows of the averages.
        pooled: Option<[usize; 2]>,
    },
    /// Reads images, writes the mean or maximum of each window.
    Pool {
        /// Which.
        pool: Pool,
        /// Sizes.
        shape: PoolShape,
        /// The mean is that of relu(x).
        rectified: bool,
    },
    /// Reads images and the result's gradient, writes the images' gradient.
    PoolGradient {
        /// Which.
        pool: Pool,
        /// Sizes of the pooling.
        shape: PoolShape,
        /// The mean was that of relu(x).
        rectified: bool,
    },
    /// Reads x, writes f(x). Reads nothing where it works in place on what it writes.
    FunctionMap {
        /// The function.
        function: Function,
    },
    /// Reads what the function saved and multiplies the written gradient by the derivative.
    FunctionMapGradient {
        /// The function.
        function: Function,
    },
    /// Reads x and, without constants, as many coefficients as there are; writes the sum of c_k x^k.
    PolyMap {
        /// The coefficients, that of x^k at index k, where they are known numbers.
        constants: Option<Vec<f64>>,
    },
    /// Reads x and, without constants, the coefficients; multiplies the written gradient by the
    /// derivative by x.
    PolyMapGradient {
        /// As in [`Kernel::PolyMap`].
        constants: Option<Vec<f64>>,
    },
    /// Reads the result's gradient and x, writes the gradient by as many coefficients as there are
    /// elements to write.
    PolyMapCoefficientGradient,
    /// Reads a and b, writes `alpha a + beta b`.
    Linear {
        /// Which elements meet.
        broadcast: Broadcast,
        /// Factor of a.
        alpha: f64,
        /// Factor of b.
        beta: f64,
    },
    /// Reads a and b, writes their product element by element.
    Multiply {
        /// Which elements meet.
        broadcast: Broadcast,
    },
    /// Reads a and b, writes a / b element by element.
    Divide {
        /// Which elements meet.
        broadcast: Broadcast,
    },
    /// Reads a tensor (any planes for sums and means), writes its sum, mean or maximum along an axis.
    Reduce {
        /// Which.
        reduction: Reduction,
        /// The axis.
        axis: Axis,
    },
    /// Reads a tensor and its maximum's gradient, writes the tensor's gradient.
    MaxGradient {
        /// The axis along which the maximum was taken.
        axis: Axis,
    },
    /// Reads a matrix, writes the softmax of its rows.
    Softmax {
        /// Elements of a row.
        columns: usize,
        /// The logarithm of the softmax.
        logarithm: bool,
    },
    /// Reads what [`Kernel::Softmax`] wrote and its gradient, writes the gradient by its input.
    SoftmaxGradient {
        /// Elements of a row.
        columns: usize,
        /// It was the logarithm.
        logarithm: bool,
    },
    /// Reads a tensor and writes nothing: the guard looks at its slots.
    SlotMaxima,
    /// Reads logits and targets, writes the loss. Targets of every loss may be plaintext.
    SoftmaxCrossEntropy {
        /// Classes.
        columns: usize,
    },
    /// Reads logits and targets, writes the gradient by the logits.
    SoftmaxCrossEntropyGradient {
        /// Classes.
        columns: usize,
    },
    /// Reads logits and targets, writes the loss.
    BinaryCrossEntropy,
    /// Reads logits and targets, writes the gradient by the logits.
    BinaryCrossEntropyGradient,
    /// Reads predictions and targets, writes the loss.
    MeanSquaredError,
    /// Reads a gradient, steps a parameter and, where there is one, its velocity. With a rate of
    /// `keep - 1` and a weight decay of -1 it is a moving average of what is read: `w <- keep w + (1 -
    /// keep) g`.
    Sgd {
        /// The step's length; the run's learning rate without.
        rate: Option<f64>,
        /// What part of the velocity is kept.
        momentum: f64,
        /// Multiple of the parameter that is added to its gradient.
        weight_decay: f64,
    },
    /// Reads a gradient, steps a parameter, its first moment and the root of its second. The step's
    /// length and number are the run's.
    Adam {
        /// Decay of the first moment, in 0..1.
        beta1: f64,
        /// Decay of the second moment, in 0..1.
        beta2: f64,
        /// Added to the second moment's root; at least 1e-6.
        epsilon: f64,
        /// Multiple of the parameter that is added to its gradient.
        weight_decay: f64,
    },
    /// Reads nothing, limits the slots of the written tensor to `-limit..=limit`.
    Clip {
        /// Above zero.
        limit: f64,
    },
    /// Reads planes, writes planes of as many elements: plane i is the sum of
    /// `matrix[i][j] inputs[j]`, formed in f64. Planes may be of any count.
    LinearMap {
        /// Row-major, a row for each plane written, a column for each plane read.
        matrix: Vec<f64>,
    },
    /// Reads planes of any count, `[batch, rows, columns]`; writes each, `[batch, columns, rows]`.
    Transpose {
        /// Batch, rows and columns.
        sizes: [usize; 3],
    },
    /// Reads a tensor of any planes, writes one plane of its elements' coordinates, those of an
    /// element side by side, or the other way.
    Interleave {
        /// Into one plane, otherwise out of it.
        into: bool,
    },
    /// Reads a tensor of any planes, carries a box of each into one that it writes. That is no work in
    /// place: with [`Rest::Keep`] the rest of it is neither read nor written.
    StridedCopy {
        /// Which elements go where.
        copy: StridedCopy,
        /// What becomes of the others.
        rest: Rest,
    },
    /// Reads a tensor of any planes, writes it in image tiles, or the other way.
    Tiles {
        /// Images.
        batch: usize,
        /// Into tiles, otherwise out of them.
        into: bool,
    },
}

impl Kernel {
    /// The kernel family, as files, tests and reports name it.
    pub fn family(&self) -> &'static str {
        match self {
            Kernel::BlockMatmul { .. } => "block_matmul",
            Kernel::Conv2d { .. }
            | Kernel::Conv2dPooled { .. }
            | Kernel::Conv2dGradientInput { .. }
            | Kernel::Conv2dGradientWeights { .. }
            | Kernel::Conv2dGradientBias { .. } => "conv2d",
            Kernel::Pool { .. } | Kernel::PoolGradient { .. } => "pool",
            Kernel::FunctionMap { .. } | Kernel::FunctionMapGradient { .. } => "function_map",
            Kernel::PolyMap { .. }
            | Kernel::PolyMapGradient { .. }
            | Kernel::PolyMapCoefficientGradient => "poly_map",
            Kernel::Linear { .. } | Kernel::Multiply { .. } | Kernel::Divide { .. } => {
                "elementwise"
            }
            Kernel::Reduce { .. }
            | Kernel::MaxGradient { .. }
            | Kernel::Softmax { .. }
            | Kernel::SoftmaxGradient { .. }
            | Kernel::SlotMaxima
            | Kernel::SoftmaxCrossEntropy { .. }
            | Kernel::SoftmaxCrossEntropyGradient { .. }
            | Kernel::BinaryCrossEntropy
            | Kernel::BinaryCrossEntropyGradient
            | Kernel::MeanSquaredError => "reduce",
            Kernel::Sgd { .. } | Kernel::Adam { .. } | Kernel::Clip { .. } => "update",
            Kernel::LinearMap { .. }
            | Kernel::Transpose { .. }
            | Kernel::Interleave { .. }
            | Kernel::StridedCopy { .. }
            | Kernel::Tiles { .. } => "convert",
        }
    }

    /// The kernel's name: that of its function on the CPU and of its entry point on a GPU.
    pub fn name(&self) -> &'static str {
        match self {
            Kernel::BlockMatmul { .. } => "block_matmul",
            Kernel::Conv2d { .. } => "conv2d",
            Kernel::Conv2dPooled { .. } => "conv2d_pooled",
            Kernel::Conv2dGradientInput { .. } => "conv2d_gradient_input",
            Kernel::Conv2dGradientWeights { .. } => "conv2d_gradient_weights",
            Kernel::Conv2dGradientBias { .. } => "conv2d_gradient_bias",
            Kernel::Pool { rectified, .. } => {
                if *rectified {
                    "rectified_pool"
                } else {
                    "pool"
                }
            }
            Kernel::PoolGradient { rectified, .. } => {
                if *rectified {
                    "rectified_pool_gradient"
                } else {
                    "pool_gradient"
                }
            }
            Kernel::FunctionMap { .. } => "function_map",
            Kernel::FunctionMapGradient { .. } => "function_map_gradient",
            Kernel::PolyMap { .. } => "poly_map",
            Kernel::PolyMapGradient { .. } => "poly_map_gradient",
            Kernel::PolyMapCoefficientGradient => "poly_map_coefficient_gradient",
            Kernel::Linear { .. } => "linear",
            Kernel::Multiply { .. } => "multiply",
            Kernel::Divide { .. } => "divide",
            Kernel::Reduce { reduction, .. } => match reduction {
                Reduction::Sum => "sum",
                Reduction::Mean => "mean",
                Reduction::Max => "max",
            },
            Kernel::MaxGradient { .. } => "max_gradient",
            Kernel::Softmax { logarithm, .. } => {
                if *logarithm {
                    "log_softmax"
                } else {
                    "softmax"
                }
            }
            Kernel::SoftmaxGradient { logarithm, .. } => {
                if *logarithm {
                    "log_softmax_gradient"
                } else {
                    "softmax_gradient"
                }
            }
            Kernel::SlotMaxima => "slot_maxima",
            Kernel::SoftmaxCrossEntropy { .. } => "softmax_cross_entropy",
            Kernel::SoftmaxCrossEntropyGradient { .. } => "softmax_cross_entropy_gradient",
            Kernel::BinaryCrossEntropy => "binary_cross_entropy",
            Kernel::BinaryCrossEntropyGradient => "binary_cross_entropy_gradient",
            Kernel::MeanSquaredError => "mean_squared_error",
            Kernel::Sgd { .. } => "sgd",
            Kernel::Adam { .. } => "adam",
            Kernel::Clip { .. } => "clip",
            Kernel::LinearMap { .. } => "linear_map",
            Kernel::Transpose { .. } => "transpose",
            Kernel::Interleave { into } => {
                if *into {
                    "interleave"
                } else {
                    "deinterleave"
                }
            }
            Kernel::StridedCopy { .. } => "strided_copy",
            Kernel::Tiles { into, .. } => {
                if *into {
                    "into_tiles"
                } else {
                    "from_tiles"
                }
            }
        }
    }

    /// Whether it only adds and multiplies, or moves elements: what polynomials of any degree can take.
    pub fn is_ring(&self) -> bool {
        match self {
            Kernel::BlockMatmul { activation, .. } | Kernel::Conv2d { activation, .. } => {
                activation.is_none()
            }
            Kernel::Pool {
                pool, rectified, ..
            } => *pool != Pool::Max && !rectified,
            Kernel::Reduce { reduction, .. } => *reduction != Reduction::Max,
            Kernel::Linear { .. }
            | Kernel::Multiply { .. }
            | Kernel::PolyMap { .. }
            | Kernel::LinearMap { .. }
            | Kernel::SlotMaxima
            | Kernel::Transpose { .. }
            | Kernel::Interleave { .. }
            | Kernel::StridedCopy { .. }
            | Kernel::Tiles { .. } => true,
            _ => false,
        }
    }

    /// Whether it multiplies the first two tensors that it reads.
    pub(crate) fn is_product(&self) -> bool {
        matches!(
            self,
            Kernel::BlockMatmul { .. } | Kernel::Conv2d { .. } | Kernel::Multiply { .. }
        )
    }

    /// Whether it writes or reads the steps of a convolution's slots, which are bits.
    pub(crate) fn has_steps(&self) -> bool {
        match self {
            Kernel::Conv2dPooled { .. } => true,
            Kernel::Conv2dGradientInput { pooled, .. }
            | Kernel::Conv2dGradientWeights { pooled, .. }
            | Kernel::Conv2dGradientBias { pooled, .. } => pooled.is_some(),
            _ => false,
        }
    }

    /// Whether it reads predictions and targets.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(
            self,
            Kernel::SoftmaxCrossEntropy { .. }
                | Kernel::SoftmaxCrossEntropyGradient { .. }
                | Kernel::BinaryCrossEntropy
                | Kernel::BinaryCrossEntropyGradient
                | Kernel::MeanSquaredError
        )
    }

    /// Whether it steps a parameter. In a network's plan such commands come last, and all run or none.
    pub fn is_step(&self) -> bool {
        matches!(self, Kernel::Sgd { .. } | Kernel::Adam { .. })
    }
}
