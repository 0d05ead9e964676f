//! One command on given slots, on each device, beside a function on plain arrays.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::{Device, Program, RunOptions, Source};
use furthermore::plan::{CompileOptions, Kernel, Operand, Plan, Region};
use furthermore::scheme::{Guard, SecretKey};
use furthermore::tensor::{Buffer, DType};
use furthermore_kernels_cpu::Arithmetic;

use super::Row;
use super::bounds::{Law, Precision, distance};
use crate::report::Status;

/// Numbers `[plane][element]`, or `[slot][element]`.
pub(super) type Planes = Vec<Vec<f64>>;

/// A tensor of one command: plaintext with one value in every slot, or ciphertexts.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    encrypted: bool,
    slots: Planes,
}

/// What a run is given: a step, and a guard that lets everything finite pass.
pub(super) const OPTIONS: RunOptions<'static> = RunOptions {
    learning_rate: 0.1,
    step: 3,
    guard: Guard {
        warn: f64::INFINITY,
        fail: f64::INFINITY,
    },
    cancel: None,
};

/// What lies in buffers around operands before a run. Half precision holds it exactly.
const GUARD_WORD: f64 = -7.5e3;

/// An algebra under some key, a precision, and the devices that compute in it.
pub(super) struct Rig<'a> {
    algebra: Algebra,
    pub(super) precision: Precision,
    pub(super) arithmetic: Arithmetic,
    law: Law,
    devices: Vec<&'a dyn Device>,
    rows: &'a RefCell<Vec<Row>>,
    corrupted: Cell<bool>,
}

impl<'a> Rig<'a> {
    pub(super) fn new(
        algebra: Algebra,
        precision: Precision,
        devices: Vec<&'a dyn Device>,
        rows: &'a RefCell<Vec<Row>>,
    ) -> Self {
        let arithmetic = match algebra {
            Algebra::Real => Arithmetic::real(),
            _ => SecretKey::from_known_seed(algebra.slots(), 201)
                .and_then(|key| key.evaluation_key().arithmetic(algebra))
                .expect("a key of as many slots as the algebra has"),
        };
        let law = Law::of(&arithmetic, precision);
        Self {
            algebra,
            precision,
            arithmetic,
            law,
            devices,
            rows,
            corrupted: Cell::new(false),
        }
    }

    /// From now on, one number of every result is made wrong before it is compared, or no longer.
    pub(super) fn corrupted(&self, corrupted: bool) {
        self.corrupted.set(corrupted);
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

    /// The planes that hold a tensor, as stored.
    fn planes(&self, tensor: &Tensor) -> Planes {
        let mut planes = if tensor.encrypted {
            apply(self.arithmetic.from_slots(), &tensor.slots)
        } else {
            tensor.slots[..1].to_vec()
        };
        for x in planes.iter_mut().flatten() {
            *x = self.precision.round(*x);
        }
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

    /// Runs a command on each device and compares each slot of what it writes with `oracle` of that
    /// slot of what it reads and of what it finds where it writes. Numbers of up to `size` are rounded
    /// `roundings` times on the way. Operands that do not fit have to be refused.
    pub(super) fn check(
        &self,
        kernel: &Kernel,
        reads: &[Tensor],
        writes: &[Tensor],
        (roundings, size): (usize, f64),
        oracle: impl Fn(&[&[f64]], &[&[f64]]) -> Vec<Vec<f64>>,
    ) {
        let stored = |tensors: &[Tensor]| -> Vec<Planes> {
            tensors.iter().map(|tensor| self.planes(tensor)).collect()
        };
        let split = |tensors: &[Tensor], planes: &[Planes]| -> Vec<Planes> {
            let pairs = tensors.iter().zip(planes);
            pairs
                .map(|(tensor, planes)| self.slots(tensor.encrypted, planes))
                .collect()
        };
        let regime: Vec<&str> = reads
            .iter()
            .chain(writes)
            .map(|tensor| if tensor.encrypted { "ct" } else { "pt" })
            .collect();
        let (read, found) = (stored(reads), stored(writes));
        let slots = (split(reads, &read), split(writes, &found));
        let bound = self.law.bound(roundings, size);
        self.on_each(
            kernel,
            &regime.join(","),
            (&read, &found),
            bound,
            |written| {
                let written = split(writes, written);
                let mut largest: f64 = 0.0;
                for slot in 0..self.arithmetic.slots() {
                    let expected = oracle(&arrays(&slots.0, slot), &arrays(&slots.1, slot));
                    for (written, expected) in written.iter().zip(&expected) {
                        largest = largest.max(distance(&written[slot], expected)?);
                    }
                }
                Ok(largest)
            },
        );
        self.refuses_others(kernel, reads, writes);
    }

    /// As [`Rig::check`], plane by plane, for kernels that know nothing of slots.
    pub(super) fn check_planes(
        &self,
        kernel: &Kernel,
        read: &Planes,
        found: &Planes,
        bound: f64,
        oracle: impl Fn(&Planes) -> Planes,
    ) {
        let rounded = |planes: &Planes| -> Planes {
            let plane = |plane: &Vec<f64>| plane.iter().map(|x| self.precision.round(*x)).collect();
            planes.iter().map(plane).collect()
        };
        let (read, found) = ([rounded(read)], [rounded(found)]);
        let expected = oracle(&read[0]);
        self.on_each(kernel, "planes", (&read, &found), bound, |written| {
            let pairs = written[0].iter().zip(&expected);
            pairs
                .map(|(written, expected)| distance(written, expected))
                .try_fold(0.0, |largest: f64, next| Ok(largest.max(next?)))
        });
    }

    /// Runs a command on each device and adds a row with what `compare` finds.
    fn on_each(
        &self,
        kernel: &Kernel,
        regime: &str,
        (read, found): (&[Planes], &[Planes]),
        bound: f64,
        compare: impl Fn(&[Planes]) -> Result<f64, String>,
    ) {
        for device in &self.devices {
            let ran = self.run(*device, kernel, read, found, &OPTIONS);
            let compared = ran.map_err(|e| e.to_string()).and_then(|mut written| {
                if self.corrupted.get() {
                    let plane = &mut written[0][0];
                    let middle = plane.len() / 2;
                    plane[middle] += 0.5;
                }
                compare(&written)
            });
            let (max_abs_error, status, note) = match compared {
                Ok(error) if error <= bound && bound.is_finite() => {
                    (Some(error), Status::Ok, String::new())
                }
                Ok(error) => (Some(error), Status::Failed, "outside the bound".to_owned()),
                Err(note) => (None, Status::Failed, note),
            };
            self.add(Row {
                kernel: name(kernel),
                algebra: self.algebra.to_string(),
                regime: regime.to_owned(),
                dtype: self.precision.name(),
                shape: shape(kernel, read, found),
                device: device.name(),
                max_abs_error,
                bound: Some(bound),
                status,
                note,
            });
        }
    }

    /// A row for what was found of a command in another way than by comparing numbers.
    pub(super) fn judge(
        &self,
        kernel: &Kernel,
        what: &str,
        judge: impl Fn(&dyn Device) -> Result<(), String>,
    ) {
        for device in &self.devices {
            let judged = judge(*device);
            self.add(Row {
                kernel: name(kernel),
                algebra: self.algebra.to_string(),
                regime: String::new(),
                dtype: self.precision.name(),
                shape: what.to_owned(),
                device: device.name(),
                max_abs_error: None,
                bound: None,
                status: if judged.is_ok() {
                    Status::Ok
                } else {
                    Status::Failed
                },
                note: judged.err().unwrap_or_default(),
            });
        }
    }

    fn add(&self, row: Row) {
        self.rows.borrow_mut().push(row);
    }

    /// Runs one command on planes; returns those of what it writes.
    ///
    /// # Errors
    /// When the device refuses, or a word beside an operand is not what it was before the run.
    pub(super) fn run(
        &self,
        device: &dyn Device,
        kernel: &Kernel,
        reads: &[Planes],
        writes: &[Planes],
        options: &RunOptions<'_>,
    ) -> Result<Vec<Planes>, furthermore::Error> {
        let plan = Arc::new(self.plan(kernel, &operands(reads), &operands(writes))?);
        let mut program = device.load(Arc::clone(&plan), self.arithmetic.clone())?;
        let whole = |buffer: usize| Region {
            buffer,
            planes: 1,
            elements: plan.buffers()[buffer],
            stride: plan.buffers()[buffer],
        };
        for (buffer, &len) in plan.buffers().iter().enumerate() {
            self.upload(
                program.as_mut(),
                &whole(buffer),
                &vec![vec![GUARD_WORD; len]],
            )?;
        }
        let command = &plan.commands()[0];
        let regions: Vec<Region> = command
            .reads
            .iter()
            .chain(&command.writes)
            .copied()
            .collect();
        for (region, planes) in regions.iter().zip(reads.iter().chain(writes)) {
            self.upload(program.as_mut(), region, planes)?;
        }
        let contents = |program: &dyn Program| -> Result<Planes, furthermore::Error> {
            let one = |buffer| Ok(self.download(program, &whole(buffer))?.remove(0));
            (0..plan.buffers().len()).map(one).collect()
        };
        let before = contents(program.as_ref())?;
        program.run(options)?;
        let after = contents(program.as_ref())?;
        for region in &regions {
            let (before, after) = (&before[region.buffer], &after[region.buffer]);
            let written = command.writes.contains(region);
            for (at, (before, after)) in before.iter().zip(after).enumerate() {
                let (plane, element) = (at / region.stride.max(1), at % region.stride.max(1));
                let own = plane < region.planes && element < region.elements;
                if !(own && written) && before.to_bits() != after.to_bits() {
                    return Err(furthermore::Error::Device {
                        device: device.name(),
                        reason: format!("word {at} of buffer {} was written", region.buffer),
                    });
                }
            }
        }
        let written = command.writes.iter();
        written
            .map(|region| self.download(program.as_ref(), region))
            .collect()
    }

    /// As [`Rig::run`], on tensors.
    ///
    /// # Errors
    /// As there.
    pub(super) fn run_tensors(
        &self,
        device: &dyn Device,
        kernel: &Kernel,
        reads: &[Tensor],
        writes: &[Tensor],
        options: &RunOptions<'_>,
    ) -> Result<Vec<Planes>, furthermore::Error> {
        let stored = |tensors: &[Tensor]| -> Vec<Planes> {
            tensors.iter().map(|tensor| self.planes(tensor)).collect()
        };
        self.run(device, kernel, &stored(reads), &stored(writes), options)
    }

    pub(super) fn plan(
        &self,
        kernel: &Kernel,
        reads: &[Operand],
        writes: &[Operand],
    ) -> furthermore::Result<Plan> {
        let options = CompileOptions::encrypted(1, self.precision.dtype(), self.algebra);
        Plan::of_command(&options, kernel.clone(), reads, writes)
    }

    fn upload(
        &self,
        program: &mut dyn Program,
        region: &Region,
        planes: &Planes,
    ) -> furthermore::Result<()> {
        let numbers = planes.concat();
        let dtype = self.precision.dtype();
        let mut buffer = Buffer::zeroed(dtype, numbers.len())?;
        match dtype {
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

    fn download(&self, program: &dyn Program, region: &Region) -> furthermore::Result<Planes> {
        let dtype = self.precision.dtype();
        let mut buffer = Buffer::zeroed(dtype, region.planes * region.stride)?;
        program.download(region, &mut buffer)?;
        let numbers: Vec<f64> = match dtype {
            DType::F32 => {
                let narrow = buffer.as_slice::<f32>();
                narrow.iter().map(|x| f64::from(*x)).collect()
            }
            DType::F64 => buffer.as_slice().to_vec(),
        };
        let plane = |i: usize| numbers[i * region.stride..][..region.elements].to_vec();
        Ok((0..region.planes).map(plane).collect())
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
            if self.plan(kernel, reads, writes).is_ok() {
                self.judge(kernel, "operands that do not fit", |_| {
                    Err(format!("an operand {how} is taken: {reads:?}, {writes:?}"))
                });
            }
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

/// The kernel's name, with the function it applies.
fn name(kernel: &Kernel) -> String {
    match kernel {
        Kernel::FunctionMap { function } | Kernel::FunctionMapGradient { function } => {
            format!("{} {}", kernel.name(), function.name())
        }
        _ => kernel.name().to_owned(),
    }
}

/// The sizes that say most of a command.
fn shape(kernel: &Kernel, reads: &[Planes], writes: &[Planes]) -> String {
    match kernel {
        Kernel::BlockMatmul { shape, .. } => {
            let t = |transposed| if transposed { "t" } else { "" };
            format!(
                "{}*{}x{}{}x{}{}",
                shape.batch,
                shape.m,
                shape.k,
                t(shape.transpose_a),
                shape.n,
                t(shape.transpose_b)
            )
        }
        Kernel::Reduce { axis, .. } | Kernel::MaxGradient { axis } => {
            format!("{}x{}x{}", axis.outer, axis.length, axis.inner)
        }
        _ => {
            let lens = |tensors: &[Planes]| -> String {
                let lens: Vec<String> = tensors
                    .iter()
                    .map(|planes| planes.first().map_or(0, Vec::len).to_string())
                    .collect();
                lens.join(",")
            };
            format!("{}->{}", lens(reads), lens(writes))
        }
    }
}
