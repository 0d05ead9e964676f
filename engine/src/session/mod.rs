//! Sessions: a plan bound to a device and a key, with its weights resident.

mod calibrate;
mod fill;
mod predict;
mod schedule;
mod trainer;

pub use calibrate::calibrate;
pub use schedule::{Decay, Schedule};
pub use trainer::{Progress, Step, Trainer, TrainingOptions};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use furthermore_kernels_cpu::Arithmetic;

use self::fill::Masks;
use crate::algebra::Algebra;
use crate::device::{Cancel, Device, Program, RunOptions, Source};
use crate::error::{Error, Result};
use crate::network::Parameters;
use crate::plan::{Binding, Plan, Role, Work};
use crate::scheme::{EvaluationKey, Guard};
use crate::tensor::{Ciphertext, DType, Plaintext, Shape, Tensor, TensorView};

/// A plan ready to run: write inputs, run, read outputs. A run allocates no tensor and no scratch, and
/// on the processor nothing at all.
pub struct Session {
    plan: Arc<Plan>,
    program: Box<dyn Program>,
    key: Option<Arc<EvaluationKey>>,
    masks: Masks,
    /// Coordinates of the algebra's one.
    one: Vec<f64>,
    learning_rate: f64,
    /// Runs since optimiser states were zero.
    steps: u64,
    guard: Guard,
    cancel: Option<Cancel>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = self.plan.options();
        write!(
            f,
            "Session({}, {}, batch {})",
            options.algebra, options.dtype, options.batch
        )
    }
}

const WRITABLE: &[Role] = &[Role::Input, Role::Parameter, Role::State];
const READABLE: &[Role] = &[Role::Output, Role::Parameter, Role::State];

impl Session {
    /// Loads `plan` on `device`. A plan with ciphertexts needs the evaluation key they are under.
    ///
    /// # Errors
    /// When the key is missing or does not fit the plan's algebra, or the device cannot hold it.
    pub fn new(
        device: &dyn Device,
        plan: Arc<Plan>,
        key: Option<&Arc<EvaluationKey>>,
    ) -> Result<Self> {
        let arithmetic = arithmetic(&plan, key)?;
        let program = device.load(Arc::clone(&plan), arithmetic.clone())?;
        Self::loaded(program, plan, key, &arithmetic)
    }

    /// As [`Session::new`], for event loops: the thread that awaits it compiles kernels, but is not
    /// blocked while a graphics processor is waited for.
    ///
    /// # Errors
    /// See [`Session::new`].
    pub async fn new_async(
        device: &dyn Device,
        plan: Arc<Plan>,
        key: Option<&Arc<EvaluationKey>>,
    ) -> Result<Self> {
        let arithmetic = arithmetic(&plan, key)?;
        let loading = device.load_async(Arc::clone(&plan), arithmetic.clone());
        Self::loaded(loading.await?, plan, key, &arithmetic)
    }

    fn loaded(
        mut program: Box<dyn Program>,
        plan: Arc<Plan>,
        key: Option<&Arc<EvaluationKey>>,
        arithmetic: &Arithmetic,
    ) -> Result<Self> {
        let masks = Masks::new(&plan, program.as_mut())?;
        let options = plan.options();
        let guard = Guard::for_dtype(options.dtype);
        let key = key.filter(|_| options.algebra != Algebra::Real).cloned();
        Ok(Self {
            plan,
            program,
            key,
            masks,
            one: arithmetic.one().to_vec(),
            learning_rate: 0.0,
            steps: 0,
            guard,
            cancel: None,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Bytes it holds on the device.
    pub fn bytes(&self) -> usize {
        self.program.bytes()
    }

    /// Sets the step size of updates. It starts at 0.
    ///
    /// # Errors
    /// When it is negative or not finite in the plan's element type.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        let dtype = self.plan.options().dtype;
        let finite = match dtype {
            DType::F32 => (learning_rate as f32).is_finite(),
            DType::F64 => learning_rate.is_finite(),
        };
        if !(finite && learning_rate >= 0.0) {
            let reason =
                format!("learning rate {learning_rate} is negative or not finite in {dtype}");
            return Err(Error::Operation {
                operation: "update".to_owned(),
                reason,
            });
        }
        self.learning_rate = learning_rate;
        Ok(())
    }

    /// Sets the limits of the mask guard.
    pub fn set_guard(&mut self, guard: Guard) {
        self.guard = guard;
    }

    /// Sets the seed of dropout, which is 0 at first. A run's masks depend on it and the run's number.
    pub fn set_dropout_seed(&mut self, seed: u64) {
        self.masks.set_seed(seed);
    }

    /// Runs since parameters were loaded.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Sets a flag that runs look at: see [`Cancel`].
    pub fn set_cancel(&mut self, cancel: Option<Cancel>) {
        self.cancel = cancel;
    }

    /// Writes an input or a parameter: it is handed over, and no device is waited for. A plaintext written to an encrypted parameter becomes a
    /// multiple of the algebra's one, which anyone can read: such weights are public until training
    /// has moved them.
    ///
    /// # Errors
    /// When there is no such tensor, or shape, element type, algebra, key or encryption differ.
    pub fn write<'a>(&mut self, name: &str, tensor: impl Into<TensorView<'a>>) -> Result<()> {
        let (plan, tensor) = (Arc::clone(&self.plan), tensor.into());
        let binding = plan.binding("input or parameter", name, WRITABLE)?;
        if tensor.shape() != &binding.shape {
            return Err(self.wrong_shape(binding, tensor.shape()));
        }
        self.upload(binding, tensor, None)
    }

    /// Writes an input from rows of a larger tensor, in that order.
    ///
    /// # Errors
    /// As [`Session::write`], or when a row is past the end.
    pub fn write_rows<'a>(
        &mut self,
        name: &str,
        tensor: impl Into<TensorView<'a>>,
        rows: &[usize],
    ) -> Result<()> {
        let (plan, tensor) = (Arc::clone(&self.plan), tensor.into());
        let binding = plan.binding("input", name, &[Role::Input])?;
        let shape = tensor.shape();
        if shape.get(1..) != binding.shape.get(1..) || rows.len() != binding.shape.rows() {
            let mut taken = shape.to_vec();
            if let Some(first) = taken.first_mut() {
                *first = rows.len();
            }
            return Err(self.wrong_shape(binding, &taken.into()));
        }
        if let Some(&row) = rows.iter().find(|&&row| row >= shape.rows()) {
            let what = format!("input '{name}'");
            return Err(Error::Row {
                what,
                row,
                rows: shape.rows(),
            });
        }
        self.upload(binding, tensor, Some(rows))
    }

    fn wrong_shape(&self, binding: &Binding, found: &Shape) -> Error {
        let what = describe(binding);
        Error::Shape {
            what,
            expected: binding.shape.clone(),
            found: found.clone(),
        }
    }

    fn upload(
        &mut self,
        binding: &Binding,
        tensor: TensorView<'_>,
        rows: Option<&[usize]>,
    ) -> Result<()> {
        self.check(binding, tensor, rows)?;
        let embed = match tensor {
            TensorView::Plaintext(_) if binding.encrypted => Some(&self.one[..]),
            _ => None,
        };
        let (buffer, elements) = match tensor {
            TensorView::Plaintext(plaintext) => (plaintext.buffer(), 0),
            TensorView::Ciphertext(ciphertext) => {
                (ciphertext.buffer(), ciphertext.shape().iter().product())
            }
        };
        let stride = self.plan.options().dtype.plane_stride(elements);
        let row = tensor.shape().row_elements();
        let source = Source {
            buffer,
            stride,
            row,
            rows,
            embed,
        };
        self.program.upload(&binding.region, source)
    }

    /// Whether a tensor may be written there, its shape apart.
    fn check(
        &self,
        binding: &Binding,
        tensor: TensorView<'_>,
        rows: Option<&[usize]>,
    ) -> Result<()> {
        let what = || describe(binding);
        let options = self.plan.options();
        if tensor.dtype() != options.dtype {
            let (expected, found) = (options.dtype, tensor.dtype());
            return Err(Error::DType {
                what: what(),
                expected,
                found,
            });
        }
        match tensor {
            TensorView::Plaintext(plaintext) => {
                if binding.encrypted && binding.role == Role::Input {
                    return Err(Error::NotEncrypted { what: what() });
                }
                plaintext.check_finite(rows, what)
            }
            TensorView::Ciphertext(ciphertext) => {
                if !binding.encrypted {
                    return Err(Error::Encrypted { what: what() });
                }
                if ciphertext.algebra() != options.algebra {
                    let (expected, found) = (options.algebra, ciphertext.algebra());
                    return Err(Error::Algebra {
                        what: what(),
                        expected,
                        found,
                    });
                }
                match &self.key {
                    Some(key) if key.id() != ciphertext.key().id() => {
                        let (expected, found) = (key.id(), ciphertext.key().id());
                        Err(Error::Key {
                            what: what(),
                            expected,
                            found,
                        })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Runs the plan once on what has been written.
    ///
    /// # Errors
    /// When a result is not finite or slots have grown apart, naming the operation where it began;
    /// when cancelled. Parameters are then as they were before the run, unless it is an update
    /// itself that left the range of numbers: what it has stepped stays so. When a graphics processor
    /// fails or outlasts its patience: whether parameters have been stepped is not known then.
    pub fn run(&mut self) -> Result<()> {
        self.step(|program, options| program.run(options))
    }

    /// As [`Session::run`], for event loops: the thread that awaits it is not blocked while a graphics
    /// processor computes, nor in the search for the command that went wrong where one did. The CPU
    /// computes in the thread that awaits. The run has to be awaited to its end: one that was dropped half-way is still computed
    /// and counts as a step, without a word on whether its guard held updates back.
    ///
    /// # Errors
    /// See [`Session::run`].
    pub async fn run_async(&mut self) -> Result<()> {
        let before = self.steps;
        let options = RunOptions {
            learning_rate: self.learning_rate,
            step: before.saturating_add(1),
            guard: self.guard,
            cancel: self.cancel.as_ref(),
        };
        self.masks.draw(self.program.as_mut(), options.step)?;
        self.steps = options.step;
        let ran = self.program.run_async(&options).await;
        if ran.is_err() {
            self.steps = before;
        }
        ran
    }

    /// Runs the plan once and returns the seconds that each of its commands took on the device.
    ///
    /// # Errors
    /// See [`Session::run`].
    pub fn profile(&mut self) -> Result<Vec<f64>> {
        self.step(|program, options| program.profile(options))
    }

    /// The work of each of its plan's commands.
    ///
    /// # Errors
    /// When the key does not fit the plan's algebra.
    pub fn work(&self) -> Result<Vec<Work>> {
        let arithmetic = arithmetic(&self.plan, self.key.as_ref())?;
        Ok(self.plan.work(&arithmetic))
    }

    fn step<R>(
        &mut self,
        run: impl FnOnce(&mut dyn Program, &RunOptions<'_>) -> Result<R>,
    ) -> Result<R> {
        let options = RunOptions {
            learning_rate: self.learning_rate,
            step: self.steps.saturating_add(1),
            guard: self.guard,
            cancel: self.cancel.as_ref(),
        };
        self.masks.draw(self.program.as_mut(), options.step)?;
        let done = run(self.program.as_mut(), &options)?;
        self.steps = options.step;
        Ok(done)
    }

    /// Reads an output, a parameter or an optimiser's state.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn read(&self, name: &str) -> Result<Tensor> {
        let (binding, mut tensor) = self.readable(name)?;
        self.program
            .download(&binding.region, tensor.buffer_mut())?;
        Ok(tensor)
    }

    /// As [`Session::read`], for event loops: the thread that awaits it is not blocked while a graphics
    /// processor is waited for.
    ///
    /// # Errors
    /// See [`Session::read`].
    pub async fn read_async(&self, name: &str) -> Result<Tensor> {
        let (binding, mut tensor) = self.readable(name)?;
        let reading = self
            .program
            .download_async(&binding.region, tensor.buffer_mut());
        reading.await?;
        Ok(tensor)
    }

    /// What may be read under a name, and a tensor of zeros for it.
    fn readable(&self, name: &str) -> Result<(&Binding, Tensor)> {
        let binding = self.plan.binding("output or parameter", name, READABLE)?;
        let options = self.plan.options();
        let shape = binding.shape.clone();
        let tensor = match &self.key {
            Some(key) if binding.encrypted => {
                let algebra = binding.algebra(options.algebra);
                Tensor::Ciphertext(Ciphertext::zeros(shape, options.dtype, algebra, key)?)
            }
            _ => Tensor::Plaintext(Plaintext::zeros(shape, options.dtype)?),
        };
        Ok((binding, tensor))
    }

    /// Writes every parameter of the plan and sets optimiser states to zero. No device is waited for.
    ///
    /// # Errors
    /// When a parameter is missing or does not fit; nothing is written then.
    pub fn load_parameters(&mut self, parameters: &Parameters) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let of_role = |role: Role| plan.bindings().iter().filter(move |b| b.role == role);
        for binding in of_role(Role::Parameter) {
            let tensor = parameters.get(&binding.name)?.view();
            if tensor.shape() != &binding.shape {
                return Err(self.wrong_shape(binding, tensor.shape()));
            }
            self.check(binding, tensor, None)?;
        }
        for binding in of_role(Role::Parameter) {
            self.upload(binding, parameters.get(&binding.name)?.view(), None)?;
        }
        for binding in of_role(Role::State) {
            self.program.clear(&binding.region)?;
        }
        self.steps = 0;
        Ok(())
    }

    /// Whether a set names every input of the plan, and each once.
    fn check_inputs(&self, operation: &str, set: &[(&str, TensorView<'_>)]) -> Result<()> {
        let inputs = self
            .plan
            .bindings()
            .iter()
            .filter(|b| b.role == Role::Input);
        let refuse = |reason: String| {
            Err(Error::Operation {
                operation: operation.to_owned(),
                reason,
            })
        };
        for input in inputs {
            match set.iter().filter(|(name, _)| *name == input.name).count() {
                0 => return refuse(format!("input '{}' is not given", input.name)),
                1 => {}
                _ => return refuse(format!("input '{}' is given twice", input.name)),
            }
        }
        Ok(())
    }

    /// The evaluation key that its ciphertexts are under.
    pub fn key(&self) -> Option<&Arc<EvaluationKey>> {
        self.key.as_ref()
    }

    /// What it keeps between runs, parameters and optimiser states.
    fn kept(&self) -> impl Iterator<Item = &Binding> {
        let kept = |b: &&Binding| matches!(b.role, Role::Parameter | Role::State);
        self.plan.bindings().iter().filter(kept)
    }

    /// Reads everything that it keeps between runs.
    pub(crate) fn resident(&self) -> Result<Vec<(String, Tensor)>> {
        self.kept()
            .map(|binding| Ok((binding.name.clone(), self.read(&binding.name)?)))
            .collect()
    }

    /// Writes everything that it keeps between runs, as it was after so many of these.
    ///
    /// # Errors
    /// When a tensor is missing, too many or does not fit; nothing is written then.
    pub(crate) fn restore(&mut self, tensors: &[(String, Tensor)], steps: u64) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let named: BTreeMap<&str, &Tensor> =
            tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
        if let Some((name, _)) = tensors
            .iter()
            .find(|(name, _)| !self.kept().any(|b| b.name == *name))
        {
            let known = self
                .kept()
                .map(|b| b.name.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            return Err(Error::Unknown {
                what: "parameter or state",
                name: name.clone(),
                known,
            });
        }
        let mut written = Vec::new();
        for binding in plan
            .bindings()
            .iter()
            .filter(|b| matches!(b.role, Role::Parameter | Role::State))
        {
            let Some(tensor) = named.get(binding.name.as_str()) else {
                return Err(Error::Unknown {
                    what: "parameter or state",
                    name: binding.name.clone(),
                    known: named.keys().copied().collect::<Vec<_>>().join(", "),
                });
            };
            let tensor = tensor.view();
            if tensor.shape() != &binding.shape {
                return Err(self.wrong_shape(binding, tensor.shape()));
            }
            if binding.encrypted && matches!(tensor, TensorView::Plaintext(_)) {
                return Err(Error::NotEncrypted {
                    what: describe(binding),
                });
            }
            self.check(binding, tensor, None)?;
            written.push((binding, tensor));
        }
        for (binding, tensor) in written {
            self.upload(binding, tensor, None)?;
        }
        self.steps = steps;
        Ok(())
    }

    /// Reads every parameter of the plan.
    ///
    /// # Errors
    /// When the device fails.
    pub fn parameters(&self) -> Result<Parameters> {
        let mut parameters = Parameters::default();
        for binding in self
            .plan
            .bindings()
            .iter()
            .filter(|b| b.role == Role::Parameter)
        {
            parameters.insert(&binding.name, self.read(&binding.name)?);
        }
        Ok(parameters)
    }
}

/// The arithmetic that a plan computes with under a key.
///
/// # Errors
/// When the key is missing or does not fit the plan's algebra.
fn arithmetic(plan: &Plan, key: Option<&Arc<EvaluationKey>>) -> Result<Arithmetic> {
    match (plan.options().algebra, key) {
        (Algebra::Real, _) => Ok(Arithmetic::real()),
        (algebra, None) => Err(Error::NoKey {
            algebra,
            needs: "the evaluation key of the ciphertexts it computes on".to_owned(),
        }),
        (algebra, Some(key)) => key.arithmetic(algebra),
    }
}

/// How many samples tensors have, which have a row a sample.
fn samples(operation: &str, set: &[(&str, TensorView<'_>)]) -> Result<usize> {
    let samples = set.first().map_or(0, |(_, tensor)| tensor.shape().rows());
    match set.iter().find(|(_, t)| t.shape().rows() != samples) {
        None => Ok(samples),
        Some((name, other)) => {
            let rows = other.shape().rows();
            Err(Error::Operation {
                operation: operation.to_owned(),
                reason: format!("'{name}' has {rows} samples where others have {samples}"),
            })
        }
    }
}

fn describe(binding: &Binding) -> String {
    let kind = if binding.role == Role::Input {
        "input"
    } else {
        "parameter"
    };
    format!("{kind} '{}'", binding.name)
}
