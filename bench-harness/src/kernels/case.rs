//! A kernel at one shape in every regime, as plans of one command that any device runs.

use std::sync::Arc;
use std::time::Instant;

use furthermore::Algebra;
use furthermore::device::{Device, Program, RunOptions, Source};
use furthermore::plan::{CompileOptions, Kernel, Operand, Plan, Region, Work};
use furthermore::scheme::{Guard, SecretKey};
use furthermore::tensor::{Buffer, DType};
use furthermore_kernels_cpu::poly_map::composed_planes;
use furthermore_kernels_cpu::{Arithmetic, Element};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::Result;

/// Who is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// Nothing.
    Plain,
    /// The left operand, or the only one.
    CtPt,
    /// Both operands.
    CtCt,
}

impl Regime {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Regime::Plain => "pt-pt",
            Regime::CtPt => "ct-pt",
            Regime::CtCt => "ct-ct",
        }
    }
}

/// A call on the host that can be repeated, with operands of its own.
pub(super) type Call = Box<dyn FnMut()>;

/// One way to call a kernel.
pub struct Side {
    /// Who is encrypted.
    pub regime: Regime,
    /// Under which algebra; `Real` for plaintext.
    pub algebra: Algebra,
    /// What a call does.
    pub work: Work,
    task: Task,
}

enum Task {
    Command(Arc<Plan>, Box<Arithmetic>),
    /// A conversion between element types, which no plan has.
    Host(Box<dyn Fn() -> Call>),
}

impl Side {
    /// A side that only the host can run.
    pub(super) fn of_host(
        regime: Regime,
        algebra: Algebra,
        bytes: usize,
        prepare: impl Fn() -> Call + 'static,
    ) -> Self {
        Self {
            regime,
            algebra,
            work: Work {
                flop: 0.0,
                bytes: bytes as f64,
            },
            task: Task::Host(Box::new(prepare)),
        }
    }

    /// The plan of one command that it is, where it is one, and the algebra's arithmetic.
    pub fn plan(&self) -> Option<(&Arc<Plan>, &Arithmetic)> {
        match &self.task {
            Task::Command(plan, arithmetic) => Some((plan, arithmetic)),
            Task::Host(_) => None,
        }
    }

    /// Sets up operands and whatever else the call needs. What is read holds random numbers, what is
    /// written zeros, so that what is multiplied in place does not become subnormal.
    ///
    /// # Errors
    /// When the device cannot hold or run it.
    pub fn prepare(&self, device: &dyn Device) -> Result<Ready> {
        let (plan, arithmetic) = match &self.task {
            Task::Command(plan, arithmetic) => (plan, arithmetic),
            Task::Host(prepare) => return Ok(Ready::Host(prepare())),
        };
        let mut program = device.load(Arc::clone(plan), arithmetic.as_ref().clone())?;
        let dtype = plan.options().dtype;
        for region in &plan.commands()[0].reads {
            let mut buffer = Buffer::zeroed(dtype, region.planes.max(1) * region.stride)?;
            match dtype {
                // Every other bit.
                _ if region.planes == 0 => buffer.as_mut_words().fill(u32::MAX / 3),
                DType::F32 => fill(buffer.as_mut_slice::<f32>(), region, arithmetic),
                DType::F64 => fill(buffer.as_mut_slice::<f64>(), region, arithmetic),
            }
            let source = Source {
                buffer: &buffer,
                stride: region.stride,
                row: region.elements,
                rows: None,
                embed: None,
            };
            program.upload(region, source)?;
        }
        Ok(Ready::Program(program))
    }
}

/// Random slots between 0.35 and 0.65, in coordinates where planes are those of a ciphertext.
fn fill<T: Element>(numbers: &mut [T], region: &Region, arithmetic: &Arithmetic) {
    let mut rng = ChaCha8Rng::seed_from_u64(region.elements as u64);
    let encrypted = region.planes > 1 && region.planes == arithmetic.dim();
    let count = if encrypted {
        arithmetic.slots()
    } else {
        region.planes
    };
    // A block of numbers over and over: drawing them all would take longer than measuring.
    let slots: Vec<Vec<f64>> = (0..count)
        .map(|_| {
            (0..4099)
                .map(|_| 0.35 + 0.3 * rng.random::<f64>())
                .collect()
        })
        .collect();
    for plane in 0..region.planes {
        let block: Vec<T> = (0..4099)
            .map(|i| {
                let number = if encrypted {
                    let weights = &arithmetic.from_slots()[plane * count..];
                    slots.iter().zip(weights).map(|(s, w)| s[i] * w).sum()
                } else {
                    slots[plane][i]
                };
                T::of(number)
            })
            .collect();
        let target = &mut numbers[plane * region.stride..][..region.elements];
        for (to, x) in target.iter_mut().zip(block.iter().cycle()) {
            *to = *x;
        }
    }
}

/// Whether a kernel takes ciphertexts of an algebra: graded polynomials are only added and multiplied,
/// and have plaintext coefficients.
pub(super) fn takes(algebra: Algebra, kernel: &Kernel) -> bool {
    let graded = matches!(algebra, Algebra::Graded(_));
    let coefficients = matches!(kernel, Kernel::PolyMap { constants: None });
    !graded || (kernel.is_ring() && !coefficients)
}

/// A side set up on a device.
pub enum Ready {
    /// A plan of one command.
    Program(Box<dyn Program>),
    /// A call on the host.
    Host(Box<dyn FnMut()>),
}

/// Steps so small that any number of them changes nothing, and a guard that lets all pass.
const OPTIONS: RunOptions<'static> = RunOptions {
    learning_rate: 1e-6,
    step: 1,
    guard: Guard {
        warn: f64::INFINITY,
        fail: f64::INFINITY,
    },
    cancel: None,
};

impl Ready {
    /// Runs it once and returns the seconds it took where it ran.
    ///
    /// # Errors
    /// When a result is not finite or the device fails.
    pub fn seconds(&mut self) -> Result<f64> {
        match self {
            Ready::Program(program) => Ok(program.profile(&OPTIONS)?.iter().sum()),
            Ready::Host(call) => {
                let start = Instant::now();
                call();
                Ok(start.elapsed().as_secs_f64())
            }
        }
    }
}

/// One kernel at one shape, in every regime; the plain side comes first.
pub struct Case {
    /// The kernel's function in kernels-cpu, after its family where it does not name that itself, and
    /// what it is called for where it does several things: "conv2d_gradient_input", "reduce sum",
    /// "function_map relu", "convert cast f32 to f16".
    pub kernel: String,
    /// The shape, as "512x512x512" for products.
    pub shape: String,
    /// Ways to call it.
    pub sides: Vec<Side>,
}

/// What every case runs on: the plain algebra and each encrypted one with the constants of a key.
pub(super) struct Setup {
    dtype: DType,
    algebras: Vec<(Algebra, Arithmetic)>,
    /// Whether large cases are wanted.
    pub(super) large: bool,
}

impl Setup {
    pub(super) fn new(dtype: DType, encrypted: &[Algebra], large: bool) -> Result<Self> {
        let mut algebras = vec![(Algebra::Real, Arithmetic::real())];
        for &algebra in encrypted {
            let key = SecretKey::from_known_seed(algebra, 1)?;
            algebras.push((algebra, key.evaluation_key().arithmetic(algebra)?));
        }
        Ok(Self {
            dtype,
            algebras,
            large,
        })
    }

    /// The sides of a kernel with two operands that may be plaintext or ciphertext.
    pub(super) fn of_two(&self) -> impl Iterator<Item = (Regime, Algebra, &Arithmetic)> {
        self.algebras.iter().flat_map(|(algebra, arithmetic)| {
            let regimes: &[Regime] = match algebra {
                Algebra::Real => &[Regime::Plain],
                _ => &[Regime::CtPt, Regime::CtCt],
            };
            regimes.iter().map(move |r| (*r, *algebra, arithmetic))
        })
    }

    /// The sides of a kernel whose tensors are all plaintext or all ciphertext.
    pub(super) fn of_one(&self) -> impl Iterator<Item = (Regime, Algebra, &Arithmetic)> {
        self.of_two().filter(|(regime, ..)| *regime != Regime::CtPt)
    }

    /// One side: a kernel on these operands.
    pub(super) fn side(
        &self,
        (regime, algebra, arithmetic): (Regime, Algebra, &Arithmetic),
        kernel: Kernel,
        reads: &[Operand],
        writes: &[Operand],
    ) -> Result<Side> {
        let options = CompileOptions::encrypted(1, self.dtype, algebra);
        let plan = Plan::of_command(&options, kernel, reads, writes)?;
        Ok(Side {
            regime,
            algebra,
            work: plan.work(arithmetic)[0],
            task: Task::Command(Arc::new(plan), Box::new(arithmetic.clone())),
        })
    }

    /// A kernel on tensors of these lengths, all plaintext or all ciphertext.
    pub(super) fn one(
        &self,
        name: impl ToString,
        shape: impl ToString,
        kernel: &Kernel,
        reads: &[usize],
        writes: &[usize],
    ) -> Result<Case> {
        self.with_planes(name, shape, reads, writes, |algebra, _| {
            let dim = algebra.dim();
            let written = match (algebra, kernel) {
                (Algebra::Graded(_), Kernel::PolyMap { constants }) => {
                    composed_planes(2, dim, constants.as_ref().map_or(1, Vec::len))
                }
                _ => dim,
            };
            (kernel.clone(), [dim, written])
        })
    }

    /// As [`Setup::one`], with a kernel of the algebra's own and the planes it reads and writes.
    pub(super) fn with_planes(
        &self,
        name: impl ToString,
        shape: impl ToString,
        reads: &[usize],
        writes: &[usize],
        of: impl Fn(Algebra, &Arithmetic) -> (Kernel, [usize; 2]),
    ) -> Result<Case> {
        let sides = self
            .of_one()
            .filter(|side| takes(side.1, &of(side.1, side.2).0));
        let sides = sides.map(|side| {
            let (kernel, [read, written]) = of(side.1, side.2);
            let operands = |lens: &[usize], planes| -> Vec<Operand> {
                let operand = |&elements| Operand { planes, elements };
                lens.iter().map(operand).collect()
            };
            self.side(
                side,
                kernel,
                &operands(reads, read),
                &operands(writes, written),
            )
        });
        Ok(Case {
            kernel: name.to_string(),
            shape: shape.to_string(),
            sides: sides.collect::<Result<_>>()?,
        })
    }

    /// A kernel whose second operand may be plaintext while the others are ciphertexts.
    pub(super) fn two(
        &self,
        name: impl ToString,
        shape: impl ToString,
        kernel: &Kernel,
        [a, b]: [usize; 2],
        y: usize,
    ) -> Result<Case> {
        let sides = self.of_two().filter(|side| takes(side.1, kernel));
        let sides = sides.map(|side| {
            let dim = side.1.dim();
            let right = if side.0 == Regime::CtPt { 1 } else { dim };
            // Degrees of polynomials add in a product.
            let result = match kernel {
                Kernel::Linear { .. } | Kernel::Divide { .. } => dim,
                _ => side.2.result_planes(dim, right),
            };
            let of = |planes, elements| Operand { planes, elements };
            self.side(
                side,
                kernel.clone(),
                &[of(dim, a), of(right, b)],
                &[of(result, y)],
            )
        });
        Ok(Case {
            kernel: name.to_string(),
            shape: shape.to_string(),
            sides: sides.collect::<Result<_>>()?,
        })
    }
}
