//! Plans: a network compiled for a batch, an algebra and an element type, into a list of commands
//! and a memory map of whole buffers. A plan is data; every device runs the same one.

mod compile;
mod fuse;
mod kernel;
mod layout;
mod memory;
mod operands;
mod work;

pub use kernel::{Kernel, Reduction};
pub use work::Work;

use std::sync::Arc;

use memory::Storage;

use crate::algebra::Algebra;
use crate::error::{Error, Result};
use crate::tensor::{DType, Shape};

/// What a network is compiled for.
#[derive(Debug, Clone)]
pub struct CompileOptions {
    /// Samples in a run.
    pub batch: usize,
    /// The algebra of what is encrypted; [`Algebra::Real`] compiles a plaintext run. Of graded
    /// polynomials it is that of fresh ones: degrees grow from operation to operation.
    pub algebra: Algebra,
    /// Element type.
    pub dtype: DType,
    /// Whether inputs are encrypted.
    pub encrypted_inputs: bool,
    /// Whether parameters are encrypted: they have to be to train on encrypted inputs.
    pub encrypted_parameters: bool,
    /// Inputs and parameters that stay plaintext all the same, by name.
    pub plaintext: Vec<String>,
    /// Bytes that a plan may take at most: its buffers, and on the processor what kernels need beside
    /// them. Systems that hand out memory without having it end a program that uses it; with a limit
    /// there is an error instead, before anything is taken.
    pub memory_limit: Option<usize>,
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
            memory_limit: None,
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

impl CompileOptions {
    /// Whether keys of the algebra's size exist.
    fn check_algebra(&self) -> Result<()> {
        if self.algebra.exists() {
            return Ok(());
        }
        Err(Error::UnknownAlgebra(self.algebra.to_string()))
    }

    /// Holds bytes that are about to be taken to the limit.
    pub(crate) fn check_memory(&self, needed: usize) -> Result<()> {
        match self.memory_limit {
            Some(allowed) if needed > allowed => Err(Error::MemoryLimit {
                batch: self.batch,
                needed,
                allowed,
            }),
            _ => Ok(()),
        }
    }
}

/// What a tensor of a single command's plan holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// Planes: 1 for plaintext, the algebra's dimension for ciphertexts, 0 for bits.
    pub planes: usize,
    /// Elements of a plane, or words of 32 bits.
    pub elements: usize,
}

/// A tensor in a plan: planes of a buffer, or bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Which buffer.
    pub buffer: usize,
    /// Planes: 1 for plaintext, the algebra's dimension for ciphertexts, 0 for bits.
    pub planes: usize,
    /// Elements of a plane, or words of 32 bits.
    pub elements: usize,
    /// Elements from one plane to the next; of the buffer, those that bits take.
    pub stride: usize,
}

impl Region {
    /// Planes as the engine lays them out: each starts on a cache line.
    ///
    /// # Errors
    /// When their bytes cannot be addressed.
    fn new(buffer: usize, planes: usize, elements: usize, dtype: DType) -> Result<Region> {
        // A device may store elements in half precision, of which a word takes two.
        let taken = if planes == 0 {
            elements.saturating_mul(2)
        } else {
            elements
        };
        let addressable = isize::MAX as usize / dtype.size() / 2;
        if taken > addressable || planes > addressable / dtype.plane_stride(taken).max(1) {
            let elements = planes.max(1).saturating_mul(taken);
            return Err(Error::Memory {
                bytes: elements.saturating_mul(dtype.size()),
            });
        }
        Ok(Region {
            buffer,
            planes,
            elements,
            stride: dtype.plane_stride(taken),
        })
    }

    /// Elements of its buffer.
    fn storage(&self) -> usize {
        self.planes.max(1) * self.stride
    }

    /// Whether it holds bits, which no element type counts.
    pub(crate) fn is_bits(&self) -> bool {
        self.planes == 0
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
    /// Whether its rows are those of the samples, and nothing of another sample goes into one: samples
    /// may come in several runs then.
    pub by_sample: bool,
    /// Where it lives.
    pub region: Region,
}

impl Binding {
    /// The algebra of its ciphertexts in a plan for `algebra`: that, but for graded polynomials whose
    /// degree has grown.
    pub fn algebra(&self, algebra: Algebra) -> Algebra {
        algebra.with_planes(self.region.planes)
    }
}

/// What a session fills a tensor with.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Fill {
    /// Once, with these numbers.
    Constant(Arc<[f64]>),
    /// Before each run: 0 with probability `rate`, otherwise 1 / (1 - `rate`).
    Dropout {
        /// What part of the elements is 0.
        rate: f64,
    },
}

/// A plaintext that the session fills itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Filled {
    /// Its shape.
    pub shape: Shape,
    /// Where it lives.
    pub region: Region,
    /// What with.
    pub fill: Fill,
}

/// A compiled network.
#[derive(Debug, Clone)]
pub struct Plan {
    options: CompileOptions,
    commands: Vec<Command>,
    bindings: Vec<Binding>,
    filled: Vec<Filled>,
    /// Elements of each buffer.
    buffers: Vec<usize>,
}

impl Plan {
    /// A plan of one command, each operand in a buffer of its own, in the kernel's order; of the
    /// options, algebra and element type count. Its regions are written and read through
    /// [`Program::upload`](crate::device::Program::upload) and
    /// [`Program::download`](crate::device::Program::download). The guard looks at what the command
    /// sees, within the limits of each run.
    ///
    /// # Errors
    /// When the kernel does not take operands of that number, those planes or those lengths, or they
    /// are larger than memory can address.
    pub fn of_command(
        options: &CompileOptions,
        kernel: Kernel,
        reads: &[Operand],
        writes: &[Operand],
    ) -> Result<Plan> {
        options.check_algebra()?;
        let mut storages = Vec::new();
        let mut regions = |operands: &[Operand]| -> Result<Vec<Region>> {
            let region = |operand: &Operand| {
                let &Operand { planes, elements } = operand;
                let region = Region::new(storages.len(), planes, elements, options.dtype)?;
                storages.push(Storage {
                    elements: region.storage(),
                    pinned: true,
                });
                Ok(region)
            };
            operands.iter().map(region).collect()
        };
        let command = Command {
            name: kernel.family().to_owned(),
            reads: regions(reads)?,
            writes: regions(writes)?,
            kernel,
            watch: Watch::Ratio,
        };
        command.check(options.algebra)?;
        let mut commands = vec![command];
        let buffers = memory::assign(&storages, &mut commands, std::iter::empty());
        let plan = Plan {
            options: options.clone(),
            commands,
            bindings: Vec::new(),
            filled: Vec::new(),
            buffers,
        };
        options.check_memory(plan.bytes())?;
        Ok(plan)
    }

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

    /// The tensors that a session fills itself.
    pub fn filled(&self) -> &[Filled] {
        &self.filled
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
