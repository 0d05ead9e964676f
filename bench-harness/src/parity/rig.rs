//! One command on given slots, on each device, beside a function on plain arrays.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use furthermore::device::{Device, Program, RunOptions, Source};
use furthermore::plan::{CompileOptions, Kernel, Operand, Plan, Region};
use furthermore::scheme::{Guard, SecretKey};
use furthermore::tensor::{Buffer, DType};
use furthermore::{Algebra, Error};
use furthermore_kernels_cpu::Arithmetic;

use super::Row;
use super::bounds::{Law, Precision, distance};
use super::control::{Control, Ran, Subject};
use super::names::{name, shape};
use crate::report::Status;

/// Numbers `[plane][element]`, or `[slot][element]`.
pub(super) type Planes = Vec<Vec<f64>>;

/// A tensor of one command: plaintext with one value in every slot, or ciphertexts; or the bits of
/// each slot of such a tensor, by words.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    encrypted: bool,
    bits: bool,
    slots: Planes,
}

/// A tensor as a device has it.
#[derive(Debug, Clone)]
pub(super) enum Stored {
    Numbers(Planes),
    Bits(Vec<u32>),
}

impl Stored {
    pub(super) fn operand(&self) -> Operand {
        match self {
            Stored::Numbers(planes) => Operand {
                planes: planes.len(),
                elements: planes.first().map_or(0, Vec::len),
            },
            Stored::Bits(words) => Operand {
                planes: 0,
                elements: words.len(),
            },
        }
    }
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
    control: &'a RefCell<Control>,
    /// Runs that the guard ended count as if they had gone through.
    deaf: Cell<bool>,
}

impl<'a> Rig<'a> {
    pub(super) fn new(
        algebra: Algebra,
        precision: Precision,
        devices: Vec<&'a dyn Device>,
        rows: &'a RefCell<Vec<Row>>,
        control: &'a RefCell<Control>,
    ) -> Self {
        let arithmetic = match algebra {
            Algebra::Real => Arithmetic::real(),
            _ => SecretKey::from_known_seed(algebra, 201)
                .and_then(|key| key.evaluation_key().arithmetic(algebra))
                .expect("a key for the algebra"),
        };
        let law = Law::of(&arithmetic, precision);
        Self {
            algebra,
            precision,
            arithmetic,
            law,
            devices,
            rows,
            control,
            deaf: Cell::new(false),
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
        Tensor {
            encrypted,
            bits: false,
            slots,
        }
    }

    /// Bits of every slot, whose words are drawn one slot after the other.
    pub(super) fn bits(&self, encrypted: bool, draw: impl FnMut() -> Vec<f64>) -> Tensor {
        Tensor {
            bits: true,
            ..self.tensor(encrypted, draw)
        }
    }

    /// A tensor to write that holds no number yet.
    pub(super) fn poisoned(&self, encrypted: bool, elements: usize) -> Tensor {
        self.tensor(encrypted, || vec![f64::NAN; elements])
    }

    pub(super) fn stored(&self, tensor: &Tensor) -> Stored {
        let slots = &tensor.slots;
        if tensor.bits {
            let kept = if tensor.encrypted { slots.len() } else { 1 };
            let words = slots[..kept].iter().flatten().map(|word| *word as u32);
            return Stored::Bits(words.collect());
        }
        let mut planes = if tensor.encrypted {
            apply(self.arithmetic.from_slots(), slots)
        } else {
            slots[..1].to_vec()
        };
        for x in planes.iter_mut().flatten() {
            *x = self.precision.round(*x);
        }
        Stored::Numbers(planes)
    }

    /// The slots of what is stored, as many as ciphertexts have.
    fn slots(&self, encrypted: bool, stored: &Stored) -> Planes {
        let slots = self.arithmetic.slots();
        match stored {
            Stored::Numbers(planes) if encrypted => apply(self.arithmetic.to_slots(), planes),
            Stored::Numbers(planes) => vec![planes[0].clone(); slots],
            Stored::Bits(words) => {
                let words: Vec<f64> = words.iter().map(|word| f64::from(*word)).collect();
                let len = words.len() / if encrypted { slots } else { 1 };
                let start = |slot: usize| if encrypted { slot * len } else { 0 };
                (0..slots)
                    .map(|slot| words[start(slot)..][..len].to_vec())
                    .collect()
            }
        }
    }

    /// Runs a command on each device and compares each slot of what it writes with `oracle` of that
    /// slot of what it reads and of what it finds where it writes. The terms of one number, how often
    /// they are rounded on the way and what their sizes add up to at most, say how far it may be off.
    /// Operands that do not fit have to be refused.
    pub(super) fn check(
        &self,
        kernel: &Kernel,
        reads: &[Tensor],
        writes: &[Tensor],
        terms: (usize, f64),
        oracle: impl Fn(&[&[f64]], &[&[f64]]) -> Vec<Vec<f64>>,
    ) {
        let split = |tensors: &[Tensor], stored: &[Stored]| -> Vec<Planes> {
            let pairs = tensors.iter().zip(stored);
            pairs
                .map(|(tensor, stored)| self.slots(tensor.encrypted, stored))
                .collect()
        };
        let regime: Vec<&str> = reads
            .iter()
            .chain(writes)
            .map(|tensor| if tensor.encrypted { "ct" } else { "pt" })
            .collect();
        let (read, found) = (self.all_stored(reads), self.all_stored(writes));
        let slots = (split(reads, &read), split(writes, &found));
        let mut expected: Vec<Planes> = Vec::new();
        for slot in 0..self.arithmetic.slots() {
            let of_slot = oracle(&arrays(&slots.0, slot), &arrays(&slots.1, slot));
            expected.resize_with(of_slot.len(), Vec::new);
            let pairs = expected.iter_mut().zip(of_slot);
            pairs.for_each(|(slots, tensor)| slots.push(tensor));
        }
        let law = if regime.contains(&"ct") {
            self.law
        } else {
            Law::plain(self.precision)
        };
        let numbers = writes
            .iter()
            .zip(&expected)
            .filter(|(write, _)| !write.bits)
            .map(|(_, slots)| largest(slots));
        let bound = law.bound(terms, numbers.fold(0.0, f64::max));
        self.on_each(
            kernel,
            &regime.join(","),
            (&read, &found),
            (bound, &expected),
            |written| split(writes, written),
        );
        self.refuses_others(kernel, reads, writes);
    }

    /// As [`Rig::check`], plane by plane, for kernels that know nothing of slots, and the `oracle` of
    /// what is read and of what is found. Without `terms` the result has to be the same in every bit.
    pub(super) fn check_planes(
        &self,
        kernel: &Kernel,
        read: &Planes,
        found: &Planes,
        terms: Option<(usize, f64)>,
        oracle: impl Fn(&Planes, &Planes) -> Planes,
    ) {
        let rounded = |planes: &Planes| -> Planes {
            let plane = |plane: &Vec<f64>| plane.iter().map(|x| self.precision.round(*x)).collect();
            planes.iter().map(plane).collect()
        };
        let (read, found) = (rounded(read), rounded(found));
        let expected = oracle(&read, &found);
        let law = Law::plain(self.precision);
        let bound = terms.map_or(0.0, |terms| law.bound(terms, largest(&expected)));
        let stored = ([Stored::Numbers(read)], [Stored::Numbers(found)]);
        self.on_each(
            kernel,
            "planes",
            (&stored.0, &stored.1),
            (bound, &[expected]),
            |written| {
                let planes = |stored: &Stored| match stored {
                    Stored::Numbers(planes) => planes.clone(),
                    Stored::Bits(_) => Vec::new(),
                };
                written.iter().map(planes).collect()
            },
        );
    }

    /// Runs a command on each device and adds a row with how far what `view` makes of its tensors is
    /// from what is `expected`. The first result of its kind is then made wrong in every way there is,
    /// and every result all zeros, which the comparison has to find too.
    fn on_each(
        &self,
        kernel: &Kernel,
        regime: &str,
        (read, found): (&[Stored], &[Stored]),
        (bound, expected): (f64, &[Planes]),
        view: impl Fn(&[Stored]) -> Vec<Planes>,
    ) {
        let compare = |written: &[Stored]| -> Result<f64, String> {
            let mut largest: f64 = 0.0;
            for (written, expected) in view(written).iter().zip(expected) {
                if written.len() != expected.len() {
                    let (written, expected) = (written.len(), expected.len());
                    return Err(format!("{written} planes where {expected} belong"));
                }
                for (written, expected) in written.iter().zip(expected) {
                    largest = largest.max(distance(written, expected)?);
                }
            }
            Ok(largest)
        };
        let judge = |ran: &Ran| match ran.stray() {
            Some(stray) => Err(stray),
            None => match compare(&ran.written)? {
                error if error <= bound && bound.is_finite() => Ok((error, Ok(()))),
                error => Ok((error, Err("outside the bound".to_owned()))),
            },
        };
        for device in &self.devices {
            let ran = self.run(*device, kernel, read, found, &OPTIONS);
            let ran = ran.map_err(|e| e.to_string());
            let judged = ran.as_ref().map_err(String::clone).and_then(judge);
            let (max_abs_error, outcome) = match judged {
                Ok((error, outcome)) => (Some(error), outcome),
                Err(note) => (None, Err(note)),
            };
            if let (Ok(ran), Some(error), Ok(())) = (&ran, max_abs_error, &outcome) {
                let subject = self.subject(kernel, regime, *device);
                let off = (bound + error) / self.least_weight();
                let right = |wrong: &Ran| matches!(judge(wrong), Ok((_, Ok(()))));
                let mut control = self.control.borrow_mut();
                for nth in (0..expected.len()).filter(|nth| largest(&expected[*nth]) > 0.0) {
                    let right =
                        compare(&zeros(&ran.written, nth)).is_ok_and(|error| error <= bound);
                    control.zeros(&subject, &shape(kernel, read, found), nth, right);
                }
                control.results(subject, ran, off, right);
            }
            self.add(Row {
                kernel: name(kernel),
                algebra: self.algebra.to_string(),
                regime: regime.to_owned(),
                dtype: self.precision.name(),
                shape: shape(kernel, read, found),
                device: device.name(),
                max_abs_error,
                bound: Some(bound),
                status: status(&outcome),
                note: outcome.err().unwrap_or_default(),
            });
        }
    }

    fn subject(&self, kernel: &Kernel, regime: &str, device: &dyn Device) -> Subject {
        Subject {
            kernel: name(kernel),
            algebra: self.algebra.to_string(),
            regime: regime.to_owned(),
            dtype: self.precision.name(),
            device: device.name(),
        }
    }

    /// What of a change in the first coordinate is seen in some slot at least, at most all of it.
    fn least_weight(&self) -> f64 {
        let rows = self.arithmetic.to_slots().chunks(self.arithmetic.dim());
        let most = rows.map(|row| row[0].abs()).fold(0.0, f64::max);
        most.min(1.0)
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
                status: status(&judged),
                note: judged.err().unwrap_or_default(),
            });
        }
    }

    /// As [`Rig::judge`], for what the guard has to see: a guard that is deaf has to be judged wrong.
    pub(super) fn judge_guard(
        &self,
        kernel: &Kernel,
        what: &str,
        judge: impl Fn(&dyn Device) -> Result<(), String>,
    ) {
        self.judge(kernel, what, &judge);
        self.deaf.set(true);
        for device in &self.devices {
            let subject = self.subject(kernel, what, *device);
            let right = judge(*device).is_ok();
            self.control.borrow_mut().guard(subject, right);
        }
        self.deaf.set(false);
    }

    fn add(&self, row: Row) {
        self.rows.borrow_mut().push(row);
    }

    /// Runs one command on planes, between words that are no operand's.
    ///
    /// # Errors
    /// When the device refuses.
    fn run(
        &self,
        device: &dyn Device,
        kernel: &Kernel,
        reads: &[Stored],
        writes: &[Stored],
        options: &RunOptions<'_>,
    ) -> furthermore::Result<Ran> {
        let operands =
            |all: &[Stored]| -> Vec<Operand> { all.iter().map(Stored::operand).collect() };
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
                &Stored::Numbers(vec![vec![GUARD_WORD; len]]),
            )?;
        }
        let command = &plan.commands()[0];
        let regions: Vec<Region> = command
            .reads
            .iter()
            .chain(&command.writes)
            .copied()
            .collect();
        for (region, stored) in regions.iter().zip(reads.iter().chain(writes)) {
            self.upload(program.as_mut(), region, stored)?;
        }
        let contents = |program: &dyn Program| -> furthermore::Result<Planes> {
            let one = |buffer| Ok(self.numbers(program, &whole(buffer))?.remove(0));
            (0..plan.buffers().len()).map(one).collect()
        };
        let before = contents(program.as_ref())?;
        program.run(options)?;
        let after = contents(program.as_ref())?;
        let mut own: Vec<Vec<bool>> = after.iter().map(|words| vec![false; words.len()]).collect();
        for region in &command.writes {
            for (at, own) in own[region.buffer].iter_mut().enumerate() {
                let (plane, element) = (at / region.stride.max(1), at % region.stride.max(1));
                *own |= if region.planes == 0 {
                    at * self.precision.bytes() < region.elements * size_of::<u32>()
                } else {
                    plane < region.planes && element < region.elements
                };
            }
        }
        let written = command.writes.iter();
        let written = written.map(|region| self.download(program.as_ref(), region));
        Ok(Ran {
            written: written.collect::<furthermore::Result<_>>()?,
            before,
            after,
            own,
        })
    }

    /// Runs one command on planes; returns those of what it writes.
    ///
    /// # Errors
    /// When the device refuses, or a word beside an operand is not what it was before the run.
    pub(super) fn run_planes(
        &self,
        device: &dyn Device,
        kernel: &Kernel,
        reads: &[Stored],
        writes: &[Stored],
        options: &RunOptions<'_>,
    ) -> furthermore::Result<Vec<Stored>> {
        let ran = match self.run(device, kernel, reads, writes, options) {
            Err(Error::MaskGuard { .. } | Error::RunNotFinite { .. }) if self.deaf.get() => {
                return Ok(Vec::new());
            }
            ran => ran?,
        };
        match ran.stray() {
            None => Ok(ran.written),
            Some(reason) => Err(Error::Device {
                device: device.name(),
                reason,
            }),
        }
    }

    /// As [`Rig::run_planes`], on tensors.
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
    ) -> furthermore::Result<Vec<Stored>> {
        let (reads, writes) = (self.all_stored(reads), self.all_stored(writes));
        self.run_planes(device, kernel, &reads, &writes, options)
    }

    fn all_stored(&self, tensors: &[Tensor]) -> Vec<Stored> {
        tensors.iter().map(|tensor| self.stored(tensor)).collect()
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
        stored: &Stored,
    ) -> furthermore::Result<()> {
        let dtype = self.precision.dtype();
        let (buffer, stride) = match stored {
            Stored::Numbers(planes) => {
                let numbers = planes.concat();
                let mut buffer = Buffer::zeroed(dtype, numbers.len())?;
                match dtype {
                    DType::F32 => {
                        for (to, from) in buffer.as_mut_slice::<f32>().iter_mut().zip(&numbers) {
                            *to = *from as f32;
                        }
                    }
                    DType::F64 => buffer.as_mut_slice::<f64>().copy_from_slice(&numbers),
                }
                (buffer, planes.first().map_or(0, Vec::len))
            }
            Stored::Bits(words) => {
                let mut buffer = Buffer::zeroed(DType::F32, words.len())?;
                buffer.as_mut_words().copy_from_slice(words);
                (buffer, 0)
            }
        };
        let source = Source {
            buffer: &buffer,
            stride,
            row: 1,
            rows: None,
            embed: None,
        };
        program.upload(region, source)
    }

    fn download(&self, program: &dyn Program, region: &Region) -> furthermore::Result<Stored> {
        if region.planes > 0 {
            return Ok(Stored::Numbers(self.numbers(program, region)?));
        }
        let mut buffer = Buffer::zeroed(DType::F32, region.elements)?;
        program.download(region, &mut buffer)?;
        Ok(Stored::Bits(buffer.as_words().to_vec()))
    }

    fn numbers(&self, program: &dyn Program, region: &Region) -> furthermore::Result<Planes> {
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
}

/// What a command wrote, one tensor of it all zeros.
fn zeros(written: &[Stored], nth: usize) -> Vec<Stored> {
    let mut written = written.to_vec();
    match &mut written[nth] {
        Stored::Numbers(planes) => planes.iter_mut().for_each(|plane| plane.fill(0.0)),
        Stored::Bits(words) => words.fill(0),
    }
    written
}

/// The largest magnitude of any number.
fn largest(planes: &Planes) -> f64 {
    let numbers = planes.iter().flatten();
    numbers.fold(0.0, |largest, x| largest.max(x.abs()))
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

fn status(outcome: &Result<(), String>) -> Status {
    if outcome.is_ok() {
        Status::Ok
    } else {
        Status::Failed
    }
}
