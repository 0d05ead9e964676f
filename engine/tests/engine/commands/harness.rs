//! One command on given slots, beside a function on plain arrays.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::{Device, Program, RunOptions, Source};
use furthermore::plan::{CompileOptions, Kernel, Operand, Plan, Region};
use furthermore::scheme::Guard;
use furthermore::tensor::{Buffer, DType};
use furthermore_kernels_cpu::Arithmetic;

use crate::support::{DTYPES, Law, Mismatch, More, Noise, compare, cpu, gpu, key};

/// Numbers `[plane][element]`, or `[slot][element]`.
pub(super) type Planes = Vec<Vec<f64>>;

/// A tensor of one command: plaintext with one value in every slot, or ciphertexts.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    encrypted: bool,
    slots: Planes,
}

/// What a run is given when a test does not say: a step, and a guard that lets everything pass.
pub(super) const OPTIONS: RunOptions<'static> = RunOptions {
    learning_rate: 0.1,
    step: 3,
    guard: Guard {
        warn: f64::INFINITY,
        fail: f64::INFINITY,
    },
    cancel: None,
};

/// An algebra under some key, and an element type.
pub(super) struct Rig {
    pub(super) algebra: Algebra,
    pub(super) dtype: DType,
    pub(super) arithmetic: Arithmetic,
    law: Law,
}

/// Calls `body` for every algebra and element type these tests run in.
pub(super) fn everywhere(seed: u64, mut body: impl FnMut(&Rig, &mut Noise)) {
    for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Blocks(2)] {
        for dtype in DTYPES {
            body(&Rig::new(algebra, dtype), &mut Noise::new(seed));
        }
    }
}

impl Rig {
    pub(super) fn new(algebra: Algebra, dtype: DType) -> Self {
        let key = key(2, 201);
        let key = key.evaluation_key();
        let (arithmetic, law) = match algebra {
            Algebra::Real => (Arithmetic::real(), Law::plain(dtype)),
            _ => (
                key.arithmetic(algebra).expect("a key of two slots"),
                More::of(key).law(algebra, dtype),
            ),
        };
        Self {
            algebra,
            dtype,
            arithmetic,
            law,
        }
    }

    /// Whether one operand is encrypted, in every way there is.
    pub(super) fn ways(&self) -> &'static [bool] {
        match self.algebra {
            Algebra::Real => &[false],
            _ => &[true, false],
        }
    }

    /// Whether each of two operands is encrypted, in every way that involves the algebra.
    pub(super) fn pairs(&self) -> &'static [(bool, bool)] {
        match self.algebra {
            Algebra::Real => &[(false, false)],
            _ => &[(true, true), (true, false), (false, true), (false, false)],
        }
    }

    /// A tensor whose slots are drawn one after the other.
    pub(super) fn tensor(&self, encrypted: bool, mut draw: impl FnMut() -> Vec<f64>) -> Tensor {
        let slots = if encrypted {
            (0..self.arithmetic.slots()).map(|_| draw()).collect()
        } else {
            vec![draw(); self.arithmetic.slots()]
        };
        Tensor { encrypted, slots }
    }

    /// A tensor to write that holds no number yet.
    pub(super) fn poisoned(&self, encrypted: bool, elements: usize) -> Tensor {
        self.tensor(encrypted, || vec![f64::NAN; elements])
    }

    /// The planes that hold a tensor, rounded to the element type.
    pub(super) fn planes(&self, tensor: &Tensor) -> Planes {
        let round = |x: f64| match self.dtype {
            DType::F32 => f64::from(x as f32),
            DType::F64 => x,
        };
        if !tensor.encrypted {
            return vec![tensor.slots[0].iter().copied().map(round).collect()];
        }
        let mut planes = apply(self.arithmetic.from_slots(), &tensor.slots);
        planes.iter_mut().flatten().for_each(|x| *x = round(*x));
        planes
    }

    /// The slots that planes hold, as many as ciphertexts have.
    fn slots(&self, encrypted: bool, planes: &Planes) -> Planes {
        if encrypted {
            apply(self.arithmetic.to_slots(), planes)
        } else {
            vec![planes[0].clone(); self.arithmetic.slots()]
        }
    }

    /// The devices that compute in this element type: the processor, and a graphics processor where
    /// there is one.
    pub(super) fn devices(&self) -> Vec<Box<dyn Device>> {
        let mut devices: Vec<Box<dyn Device>> = vec![Box::new(cpu())];
        if self.dtype == DType::F32
            && let Some(gpu) = gpu()
        {
            devices.push(Box::new(gpu));
        }
        devices
    }

    /// Runs one command on planes on the processor; returns those of what it writes.
    pub(super) fn run(
        &self,
        kernel: &Kernel,
        reads: &[Planes],
        writes: &[Planes],
        options: &RunOptions<'_>,
    ) -> furthermore::Result<Vec<Planes>> {
        self.run_on(&cpu(), kernel, reads, writes, options)
    }

    /// Runs one command on planes; returns those of what it writes.
    pub(super) fn run_on(
        &self,
        device: &dyn Device,
        kernel: &Kernel,
        reads: &[Planes],
        writes: &[Planes],
        options: &RunOptions<'_>,
    ) -> furthermore::Result<Vec<Planes>> {
        let plan = Arc::new(self.plan(kernel, &operands(reads), &operands(writes))?);
        let mut program = device.load(Arc::clone(&plan), self.arithmetic.clone())?;
        let command = &plan.commands()[0];
        let regions = command.reads.iter().chain(&command.writes);
        for (region, planes) in regions.zip(reads.iter().chain(writes)) {
            self.upload(program.as_mut(), region, planes)?;
        }
        program.run(options)?;
        let written = command.writes.iter();
        written
            .map(|region| self.download(program.as_ref(), region))
            .collect()
    }

    pub(super) fn plan(
        &self,
        kernel: &Kernel,
        reads: &[Operand],
        writes: &[Operand],
    ) -> furthermore::Result<Plan> {
        let options = CompileOptions::encrypted(1, self.dtype, self.algebra);
        Plan::of_command(&options, kernel.clone(), reads, writes)
    }

    pub(super) fn upload(
        &self,
        program: &mut dyn Program,
        region: &Region,
        planes: &Planes,
    ) -> furthermore::Result<()> {
        let numbers = planes.concat();
        let mut buffer = Buffer::zeroed(self.dtype, numbers.len())?;
        match self.dtype {
            DType::F32 => {
                for (to, from) in buffer.as_mut_slice::<f32>().iter_mut().zip(&numbers) {
                    *to = *from as f32;
                }
            }
            DType::F64 => buffer.as_mut_slice::<f64>().copy_from_slice(&numbers),
        }
        let source = Source {
            buffer: &buffer,
            stride: planes.first().map_or(0, Vec::len),
            row: 1,
            rows: None,
            embed: None,
        };
        program.upload(region, source)
    }

    pub(super) fn download(
        &self,
        program: &dyn Program,
        region: &Region,
    ) -> furthermore::Result<Planes> {
        let mut buffer = Buffer::zeroed(self.dtype, region.planes * region.stride)?;
        program.download(region, &mut buffer)?;
        let numbers: Vec<f64> = match self.dtype {
            DType::F32 => {
                let narrow = buffer.as_slice::<f32>();
                narrow.iter().map(|x| f64::from(*x)).collect()
            }
            DType::F64 => buffer.as_slice().to_vec(),
        };
        let plane = |i: usize| numbers[i * region.stride..][..region.elements].to_vec();
        Ok((0..region.planes).map(plane).collect())
    }

    /// Runs a command and compares each slot of what it writes with `oracle` of that slot of what it
    /// reads and of what it finds where it writes. Numbers of up to `size` are rounded `roundings`
    /// times on the way. Commands with operands that do not fit have to be refused.
    pub(super) fn check(
        &self,
        kernel: &Kernel,
        reads: &[Tensor],
        writes: &[Tensor],
        bound: (usize, f64),
        oracle: impl Fn(&[&[f64]], &[&[f64]]) -> Vec<Vec<f64>>,
    ) {
        let what = || format!("{kernel:?} in {} {}", self.algebra, self.dtype);
        self.compare(kernel, reads, writes, bound, oracle)
            .unwrap_or_else(|mismatch| panic!("{}: {mismatch}", what()));
        self.refuses_others(kernel, reads, writes);
    }

    /// As [`Rig::check`], for one who wants to see the mismatch.
    pub(super) fn compare(
        &self,
        kernel: &Kernel,
        reads: &[Tensor],
        writes: &[Tensor],
        bound: (usize, f64),
        oracle: impl Fn(&[&[f64]], &[&[f64]]) -> Vec<Vec<f64>>,
    ) -> Result<(), Mismatch> {
        let stored = |tensors: &[Tensor]| -> Vec<Planes> {
            tensors.iter().map(|tensor| self.planes(tensor)).collect()
        };
        let (read, found) = (stored(reads), stored(writes));
        for device in self.devices() {
            self.compare_on(
                device.as_ref(),
                kernel,
                (reads, &read),
                (writes, &found),
                bound,
                &oracle,
            )?;
        }
        Ok(())
    }

    fn compare_on(
        &self,
        device: &dyn Device,
        kernel: &Kernel,
        (reads, read): (&[Tensor], &[Planes]),
        (writes, found): (&[Tensor], &[Planes]),
        (roundings, size): (usize, f64),
        oracle: &impl Fn(&[&[f64]], &[&[f64]]) -> Vec<Vec<f64>>,
    ) -> Result<(), Mismatch> {
        let written = self
            .run_on(device, kernel, read, found, &OPTIONS)
            .unwrap_or_else(|e| panic!("{kernel:?} on {}: {e}", device.name()));
        let split = |tensors: &[Tensor], planes: &[Planes]| -> Vec<Planes> {
            let pairs = tensors.iter().zip(planes);
            pairs
                .map(|(tensor, planes)| self.slots(tensor.encrypted, planes))
                .collect()
        };
        let (read, found) = (split(reads, read), split(writes, found));
        let written = split(writes, &written);
        for slot in 0..self.arithmetic.slots() {
            let expected = oracle(&arrays(&read, slot), &arrays(&found, slot));
            assert_eq!(expected.len(), written.len());
            for (written, expected) in written.iter().zip(&expected) {
                compare(&written[slot], expected, self.law.bound(roundings, size))?;
            }
        }
        Ok(())
    }

    /// Operands one more, one less, longer or of other planes than these make no plan, unless they are
    /// those of another use of the same kernel.
    fn refuses_others(&self, kernel: &Kernel, reads: &[Tensor], writes: &[Tensor]) {
        let operand = |tensor: &Tensor| Operand {
            planes: if tensor.encrypted {
                self.arithmetic.dim()
            } else {
                1
            },
            elements: tensor.slots[0].len(),
        };
        let both: Vec<Operand> = reads.iter().chain(writes).map(operand).collect();
        let refused = |how: &str, operands: &[Operand], reads: usize| {
            let (reads, writes) = operands.split_at(reads);
            assert!(
                self.plan(kernel, reads, writes).is_err(),
                "{kernel:?} takes an operand {how}: {reads:?}, {writes:?}"
            );
        };
        // Kernels whose last operand need not be there.
        let optional = matches!(kernel, Kernel::FunctionMap { .. } | Kernel::Sgd { .. });
        // Kernels of one operand, and coefficients, of which there may be any number.
        let any_length = |nth: usize| match kernel {
            Kernel::PolyMap { constants: None } | Kernel::PolyMapGradient { constants: None } => {
                nth == 1
            }
            Kernel::PolyMapCoefficientGradient => nth == 2,
            _ => both.len() == 1,
        };
        for nth in 0..both.len() {
            let mut operands = both.clone();
            operands[nth].planes = 3;
            refused("of 3 planes", &operands, reads.len());
            operands[nth].planes = 0;
            refused("without planes", &operands, reads.len());
            operands[nth] = both[nth];
            operands[nth].elements += 1;
            if !any_length(nth) {
                refused("too long", &operands, reads.len());
            }
            operands[nth].elements = usize::MAX;
            refused("past memory", &operands, reads.len());
            if !optional {
                let read = nth < reads.len();
                operands.remove(nth);
                refused("too few", &operands, reads.len() - usize::from(read));
            }
        }
        if !optional {
            let mut operands = both.clone();
            operands.insert(reads.len(), both[0]);
            refused("read too many", &operands, reads.len() + 1);
            refused("written too many", &operands, reads.len());
        }
    }
}

/// One slot of each tensor.
fn arrays(tensors: &[Planes], slot: usize) -> Vec<&[f64]> {
    tensors.iter().map(|slots| &slots[slot][..]).collect()
}

/// The planes of `matrix` applied to each element.
fn apply(matrix: &[f64], planes: &Planes) -> Planes {
    let elements = planes[0].len();
    let row = |row: &[f64]| {
        let sum = |e: usize| row.iter().zip(planes).map(|(w, plane)| w * plane[e]).sum();
        (0..elements).map(sum).collect()
    };
    matrix.chunks(planes.len()).map(row).collect()
}

/// What a plan of one command is told of its tensors.
fn operands(tensors: &[Planes]) -> Vec<Operand> {
    let operand = |planes: &Planes| Operand {
        planes: planes.len(),
        elements: planes.first().map_or(0, Vec::len),
    };
    tensors.iter().map(operand).collect()
}

/// Numbers of -1..1, shuffled, that keep a distance from each other and from zero: comparisons
/// between them come out alike however they are rounded.
pub(super) fn apart(count: usize, noise: &mut Noise) -> Vec<f64> {
    // A quarter of a step aside, so that no number is zero.
    let number = |i: usize| (2.0 * i as f64 + 0.75) / count as f64 - 1.0;
    let mut numbers: Vec<f64> = (0..count).map(number).collect();
    for i in (1..count).rev() {
        numbers.swap(i, noise.below(i + 1));
    }
    numbers
}
