//! Plans: a network compiled for a batch, an algebra and an element type, into a list of commands
//! and a memory map of whole buffers. A plan is data; every device runs the same one.

mod averaged;
mod compile;
mod memory;

use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::conv2d::Conv2dShape;
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::pool::{Pool, PoolShape};

use crate::algebra::Algebra;
use crate::error::{Error, Result};
use crate::tensor::{DType, Shape};

/// What a network is compiled for.
#[derive(Debug, Clone)]
pub struct CompileOptions {
    /// Samples in a run.
    pub batch: usize,
    /// The algebra of what is encrypted; [`Algebra::Real`] compiles a plaintext run.
    pub algebra: Algebra,
    /// Element type.
    pub dtype: DType,
    /// Whether inputs are encrypted.
    pub encrypted_inputs: bool,
    /// Whether parameters are encrypted: they have to be to train on encrypted inputs.
    pub encrypted_parameters: bool,
    /// Inputs and parameters that stay plaintext all the same, by name.
    pub plaintext: Vec<String>,
}

impl CompileOptions {
    /// Everything plain.
    pub fn plain(batch: usize, dtype: DType) -> Self {
        Self {
            batch,
            algebra: Algebra::Real,
            dtype,
            encrypted_inputs: false,
            encrypted_parameters: false,
            plaintext: Vec::new(),
        }
    }

    /// Encrypted inputs and plaintext weights: ct-pt.
    pub fn encrypted_inputs(batch: usize, dtype: DType, algebra: Algebra) -> Self {
        Self {
            algebra,
            encrypted_inputs: algebra != Algebra::Real,
            ..Self::plain(batch, dtype)
        }
    }

    /// Encrypted inputs and encrypted weights: ct-ct.
    pub fn encrypted(batch: usize, dtype: DType, algebra: Algebra) -> Self {
        let encrypted_parameters = algebra != Algebra::Real;
        Self {
            encrypted_parameters,
            ..Self::encrypted_inputs(batch, dtype, algebra)
        }
    }
}

/// A tensor in a plan: planes of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Which buffer.
    pub buffer: usize,
    /// Planes: 1 for plaintext, the algebra's dimension for ciphertexts, 0 for bits, which are no
    /// tensor.
    pub planes: usize,
    /// Elements of a plane.
    pub elements: usize,
    /// Elements from one plane to the next.
    pub stride: usize,
}

/// A kernel with its parameters. Its family is the name of its file in every crate.
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
    /// Reads what [`Kernel::Conv2d`] does; writes the averages of relu of the convolution over windows
    /// side by side and, to a second region, the bits that its gradients need.
    Conv2dPooled {
        /// Sizes.
        shape: Conv2dShape,
        /// A third operand is added to every pixel.
        bias: bool,
        /// Rows and columns of the window.
        window: [usize; 2],
    },
    /// Reads the result's gradient and the weights, writes the images' gradient.
    Conv2dGradientInput {
        /// Sizes of the convolution.
        shape: Conv2dShape,
        /// The gradient is by averages over such windows, and the last region read the bits that were
        /// saved with them; so below.
        pooled: Option<[usize; 2]>,
    },
    /// Reads the images and the result's gradient, writes the weights' gradient.
    Conv2dGradientWeights {
        /// Sizes of the convolution.
        shape: Conv2dShape,
        /// The gradient is by averages.
        pooled: Option<[usize; 2]>,
    },
    /// Reads the result's gradient, writes the bias's: the sum of each channel.
    Conv2dGradientBias {
        /// Images, channels, rows and columns.
        sizes: [usize; 4],
        /// The gradient is by averages.
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
    /// Reads a tensor, writes it in image tiles, or the other way.
    Tiles {
        /// Images.
        batch: usize,
        /// Into tiles, otherwise out of them.
        into: bool,
    },
    /// Reads x, writes f(x); in place where both are one region.
    FunctionMap {
        /// The function.
        function: Function,
    },
    /// Reads what the function saved and multiplies the written gradient by the derivative.
    FunctionMapGradient {
        /// The function.
        function: Function,
    },
    /// Reads a and b, writes `alpha a + beta b`.
    Linear {
        /// Factor of a.
        alpha: f64,
        /// Factor of b.
        beta: f64,
    },
    /// Reads a and b, writes their product element by element.
    Multiply,
    /// Reads a matrix, writes the sum of its rows.
    SumRows,
    /// Reads a tensor and writes nothing: the guard looks at its slots.
    SlotMaxima,
    /// Reads logits and targets, writes the loss.
    SoftmaxCrossEntropy {
        /// Classes.
        columns: usize,
    },
    /// Reads logits and targets, writes the gradient by the logits.
    SoftmaxCrossEntropyGradient {
        /// Classes.
        columns: usize,
    },
    /// Reads predictions and targets, writes the loss.
    MeanSquaredError,
    /// Reads a gradient, steps a parameter and, with momentum, its velocity.
    Sgd {
        /// What part of the velocity is kept.
        momentum: f64,
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
            Kernel::Tiles { .. } => "convert",
            Kernel::FunctionMap { .. } | Kernel::FunctionMapGradient { .. } => "function_map",
            Kernel::Linear { .. } | Kernel::Multiply => "elementwise",
            Kernel::SumRows
            | Kernel::SlotMaxima
            | Kernel::SoftmaxCrossEntropy { .. }
            | Kernel::SoftmaxCrossEntropyGradient { .. }
            | Kernel::MeanSquaredError => "reduce",
            Kernel::Sgd { .. } => "update",
        }
    }
}

/// What the guard does with the slots a command has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// They have to be finite.
    Finite,
    /// They have to be finite and of similar magnitude.
    Ratio,
}

/// One kernel call.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The operation it computes, for errors and profiles.
    pub name: String,
    /// The kernel.
    pub kernel: Kernel,
    /// Regions it reads, in the kernel's order.
    pub reads: Vec<Region>,
    /// Regions it writes.
    pub writes: Vec<Region>,
    /// What the guard does with the slots it sees.
    pub watch: Watch,
}

/// What a named tensor is to its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Given at each run.
    Input,
    /// Kept between runs.
    Parameter,
    /// Kept between runs, starts at zero.
    State,
    /// A result.
    Output,
}

/// A named tensor that enters or leaves a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// Its name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its shape.
    pub shape: Shape,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Where it lives.
    pub region: Region,
}

/// A compiled network.
#[derive(Debug, Clone)]
pub struct Plan {
    options: CompileOptions,
    commands: Vec<Command>,
    bindings: Vec<Binding>,
    /// Elements of each buffer.
    buffers: Vec<usize>,
}

impl Plan {
    /// What it was compiled for.
    pub fn options(&self) -> &CompileOptions {
        &self.options
    }

    /// The commands, in the order they run.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// The named tensors.
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// Elements of each buffer of the memory map.
    pub fn buffers(&self) -> &[usize] {
        &self.buffers
    }

    /// Bytes of all buffers together.
    pub fn bytes(&self) -> usize {
        let elements = self
            .buffers
            .iter()
            .fold(0usize, |sum, &b| sum.saturating_add(b));
        elements.saturating_mul(self.options.dtype.size())
    }

    /// The named tensor with one of these roles.
    ///
    /// # Errors
    /// When there is none.
    pub fn binding(&self, what: &'static str, name: &str, roles: &[Role]) -> Result<&Binding> {
        let fits = |b: &&Binding| roles.contains(&b.role);
        self.bindings
            .iter()
            .filter(fits)
            .find(|b| b.name == name)
            .ok_or_else(|| Error::Unknown {
                what,
                name: name.to_owned(),
                known: self
                    .bindings
                    .iter()
                    .filter(fits)
                    .map(|b| b.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }
}
