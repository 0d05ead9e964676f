//! The CPU: each command is a call of the kernel of its name.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use furthermore_kernels_cpu::block_matmul::{self, Epilogue, block_matmul};
use furthermore_kernels_cpu::conv2d::{self, Conv2dPass, Gradient};
use furthermore_kernels_cpu::elementwise::Broadcast;
use furthermore_kernels_cpu::reduce::Axis;
use furthermore_kernels_cpu::{
    Arithmetic, Element, Exec, Isa, Planes, PlanesMut, SlotMaxima, convert, elementwise,
    function_map, pool, reduce, update,
};

use super::{Device, Program, RunOptions, Source};
use crate::error::{Error, Result};
use crate::plan::{Command, Kernel, Plan, Region, Role, Watch};
use crate::tensor::{Buffer, with_dtype};

/// The processor, with an instruction set and a rayon pool.
#[derive(Clone)]
pub struct Cpu {
    isa: Isa,
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Cpu {
    /// The processor on the rayon pool it is called from (the global one unless the embedding
    /// program says otherwise), with the best instruction set or the one that the environment
    /// variable `FURTHERMORE_ISA` forces.
    ///
    /// # Errors
    /// When that variable names an instruction set that is not here.
    pub fn new() -> Result<Self> {
        Ok(Self {
            isa: Isa::from_env()?,
            pool: None,
        })
    }

    /// The same, with an instruction set chosen by the caller.
    pub fn with_isa(isa: Isa) -> Self {
        Self { isa, pool: None }
    }

    /// The same device on a pool of the caller's.
    pub fn on_pool(mut self, pool: Arc<rayon::ThreadPool>) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Its instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Its threads.
    pub fn threads(&self) -> usize {
        self.pool
            .as_ref()
            .map_or_else(rayon::current_num_threads, |p| p.current_num_threads())
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cpu({}, {} threads)", self.isa, self.threads())
    }
}

impl Device for Cpu {
    fn name(&self) -> String {
        "cpu".to_owned()
    }

    fn load(&self, plan: Arc<Plan>, arithmetic: Arithmetic) -> Result<Box<dyn Program>> {
        let dtype = plan.options().dtype;
        let exec = Exec {
            isa: self.isa,
            threads: self.threads(),
        };
        let buffers = plan.buffers().iter().map(|&len| Buffer::zeroed(dtype, len));
        let buffers = buffers.collect::<Result<Vec<Buffer>>>()?;
        let pool = self.pool.clone();
        let warned = vec![false; plan.commands().len()];
        with_dtype!(dtype, T => {
            let mut scratch = 0;
            for command in plan.commands() {
                scratch = scratch.max(scratch_len::<T>(command, &exec, &arithmetic)?);
            }
            let scratch = Buffer::zeroed(dtype, scratch)?;
            let element = PhantomData::<T>;
            Ok(Box::new(CpuProgram { plan, arithmetic, exec, pool, buffers, scratch, warned, element }))
        })
    }
}

/// Elements of scratch that a command needs.
fn scratch_len<T: Element>(
    command: &Command,
    exec: &Exec,
    arithmetic: &Arithmetic,
) -> Result<usize> {
    let planes = |i: usize| command.reads[i].planes;
    let (shape, pass) = match &command.kernel {
        Kernel::BlockMatmul { shape, .. } => {
            return Ok(block_matmul::scratch_len::<T>(
                exec,
                arithmetic,
                shape,
                planes(0),
                planes(1),
            ));
        }
        Kernel::Conv2d { shape, .. } => (shape, Conv2dPass::Forward),
        Kernel::Conv2dPooled { shape, window, .. } => {
            return Ok(conv2d::pooled_scratch_len::<T>(
                exec,
                arithmetic,
                shape,
                *window,
                planes(0),
                planes(1),
            )?);
        }
        Kernel::Conv2dGradientInput { shape, .. } => (shape, Conv2dPass::GradientInput),
        Kernel::Conv2dGradientWeights { shape, .. } => (shape, Conv2dPass::GradientWeights),
        _ => return Ok(0),
    };
    Ok(conv2d::scratch_len::<T>(
        exec,
        arithmetic,
        shape,
        pass,
        planes(0),
        planes(1),
    )?)
}

struct CpuProgram<T> {
    plan: Arc<Plan>,
    arithmetic: Arithmetic,
    exec: Exec,
    pool: Option<Arc<rayon::ThreadPool>>,
    buffers: Vec<Buffer>,
    scratch: Buffer,
    /// By command: the guard has warned of it.
    warned: Vec<bool>,
    element: PhantomData<T>,
}

fn view<'a, T: Element>(buffers: &'a [Buffer], region: &Region) -> Result<Planes<'a, T>> {
    let data = buffers[region.buffer].as_slice::<T>();
    Ok(Planes::new(
        data,
        region.planes,
        region.stride,
        region.elements,
    )?)
}

fn view_mut<'a, T: Element>(buffer: &'a mut Buffer, region: &Region) -> Result<PlanesMut<'a, T>> {
    let data = buffer.as_mut_slice::<T>();
    Ok(PlanesMut::new(
        data,
        region.planes,
        region.stride,
        region.elements,
    )?)
}

/// Slots of a tensor.
fn slots(arithmetic: &Arithmetic, region: &Region) -> usize {
    if region.planes == 1 {
        1
    } else {
        arithmetic.slots()
    }
}

impl<T: Element> Program for CpuProgram<T> {
    fn upload(&mut self, region: &Region, source: Source<'_>) -> Result<()> {
        let mut to = view_mut::<T>(&mut self.buffers[region.buffer], region)?;
        let from = source.buffer.as_slice::<T>();
        for i in 0..region.planes {
            let plane = to.plane_mut(i);
            let Some(weight) = source.embed.map(|one| T::of(one[i])) else {
                let from = &from[i * source.stride..];
                match source.rows {
                    None => plane.copy_from_slice(&from[..region.elements]),
                    Some(rows) => {
                        for (nth, row) in rows.iter().enumerate() {
                            plane[nth * source.row..][..source.row]
                                .copy_from_slice(&from[row * source.row..][..source.row]);
                        }
                    }
                }
                continue;
            };
            for (to, from) in plane.iter_mut().zip(from) {
                *to = weight * *from;
            }
        }
        Ok(())
    }

    fn download(&self, region: &Region, target: &mut Buffer) -> Result<()> {
        let from = view::<T>(&self.buffers, region)?;
        let target = target.as_mut_slice::<T>();
        for i in 0..region.planes {
            target[i * region.stride..][..region.elements].copy_from_slice(from.plane(i));
        }
        Ok(())
    }

    fn clear(&mut self, region: &Region) -> Result<()> {
        let mut to = view_mut::<T>(&mut self.buffers[region.buffer], region)?;
        for i in 0..region.planes {
            to.plane_mut(i).fill(T::zero());
        }
        Ok(())
    }

    fn run(&mut self, options: &RunOptions<'_>) -> Result<()> {
        match self.pool.clone() {
            Some(pool) => pool.install(|| self.run_here(options)),
            // Enters the current pool once, so that no command has to.
            None => rayon::scope(|_| self.run_here(options)),
        }
    }

    fn bytes(&self) -> usize {
        self.buffers.iter().map(Buffer::bytes).sum::<usize>() + self.scratch.bytes()
    }
}

impl<T: Element> CpuProgram<T> {
    fn run_here(&mut self, options: &RunOptions<'_>) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        for (at, command) in plan.commands().iter().enumerate() {
            // Updates run all or none: a flag raised between two of them is for the next run.
            let update = matches!(command.kernel, Kernel::Sgd { .. });
            if !update && options.cancel.is_some_and(super::Cancel::is_cancelled) {
                return Err(Error::Cancelled {
                    operation: command.name.clone(),
                });
            }
            let seen = self.execute(command, options.learning_rate)?;
            if !seen.finite() {
                if update {
                    let detail = ": the step leaves the range of the element type, and what it \
                                  has stepped stays so";
                    let operation = command.name.clone();
                    return Err(Error::RunNotFinite {
                        operation,
                        detail: detail.to_owned(),
                    });
                }
                return Err(self.diagnose(at, options));
            }
            if let (Watch::Ratio, Some(ratio)) = (command.watch, seen.ratio()) {
                if ratio > options.guard.fail {
                    let operation = command.name.clone();
                    return Err(Error::MaskGuard {
                        operation,
                        ratio,
                        limit: options.guard.fail,
                    });
                }
                if ratio > options.guard.warn && !self.warned[at] {
                    self.warned[at] = true;
                    tracing::warn!(
                        operation = command.name,
                        ratio,
                        "slots grow apart: the smaller loses digits"
                    );
                }
            }
        }
        Ok(())
    }

    /// Runs the commands up to `until` again, looking at every tensor, and names the first operation
    /// that gave a number that is not finite. No update has run yet: they come after every guard.
    #[cold]
    fn diagnose(&mut self, until: usize, options: &RunOptions<'_>) -> Error {
        let plan = Arc::clone(&self.plan);
        for command in &plan.commands()[..=until] {
            let odd = |program: &Self, region: &Region| {
                let seen = view::<T>(&program.buffers, region).and_then(|planes| {
                    Ok(reduce::slot_maxima(
                        &program.exec,
                        &program.arithmetic,
                        planes,
                    )?)
                });
                seen.is_ok_and(|seen| !seen.finite())
            };
            let operation = command.name.clone();
            if let Some(region) = command.reads.iter().find(|region| odd(self, region)) {
                let source = plan
                    .bindings()
                    .iter()
                    .find(|b| b.region.buffer == region.buffer);
                let detail = match source {
                    Some(b) if b.role != Role::Output => format!(
                        ": {} '{}', which it reads, holds one already",
                        if b.role == Role::Input {
                            "input"
                        } else {
                            "parameter"
                        },
                        b.name
                    ),
                    _ => String::new(),
                };
                return Error::RunNotFinite { operation, detail };
            }
            match self.execute(command, options.learning_rate) {
                Ok(_) => {}
                Err(error) => return error,
            }
            if command.writes.iter().any(|region| odd(self, region)) {
                let detail = format!(
                    ", from operands that all are ({} in {}): a slot is outside the operation's \
                     domain or past the largest number",
                    command.kernel.family(),
                    T::NAME
                );
                return Error::RunNotFinite { operation, detail };
            }
        }
        let operation = plan.commands()[until].name.clone();
        Error::RunNotFinite {
            operation,
            detail: String::new(),
        }
    }

    fn execute(&mut self, command: &Command, learning_rate: f64) -> Result<SlotMaxima> {
        // The written buffers are taken out while the rest is read.
        let mut targets: [Buffer; 2] = Default::default();
        for (target, region) in targets.iter_mut().zip(&command.writes) {
            *target = std::mem::take(&mut self.buffers[region.buffer]);
        }
        let seen = self.call(command, &mut targets, learning_rate);
        for (target, region) in targets.into_iter().zip(&command.writes) {
            self.buffers[region.buffer] = target;
        }
        seen
    }

    fn call(
        &mut self,
        command: &Command,
        targets: &mut [Buffer; 2],
        learning_rate: f64,
    ) -> Result<SlotMaxima> {
        let (exec, arithmetic, buffers) = (&self.exec, &self.arithmetic, &self.buffers);
        let read = |i: usize| view::<T>(buffers, &command.reads[i]);
        // What a convolution's gradients read: the last region are the bits saved with averages.
        let gradient = |i: usize, pooled: Option<[usize; 2]>| -> Result<Gradient<'_, T>> {
            let planes = read(i)?;
            let (Some(window), Some(region)) = (pooled, command.reads.last()) else {
                return Ok(planes.into());
            };
            let words = bytemuck::cast_slice(buffers[region.buffer].as_slice::<T>());
            let slots = slots(arithmetic, &command.reads[i]);
            Ok(Gradient::Pooled {
                averages: planes,
                steps: Planes::new(words, slots, region.stride, region.elements)?,
                window,
            })
        };
        let [first, second] = targets;
        let Some(written) = command.writes.first() else {
            return Ok(reduce::slot_maxima(exec, arithmetic, read(0)?)?);
        };
        let target = &mut view_mut::<T>(first, written)?;
        match &command.kernel {
            Kernel::BlockMatmul {
                shape,
                bias,
                activation,
            } => {
                let bias = if *bias { Some(read(2)?) } else { None };
                let epilogue = Epilogue {
                    bias,
                    activation: *activation,
                };
                let (a, b, scratch) = (read(0)?, read(1)?, self.scratch.as_mut_slice::<T>());
                return Ok(block_matmul(
                    exec, arithmetic, shape, a, b, target, &epilogue, scratch,
                )?);
            }
            Kernel::Conv2d {
                shape,
                bias,
                activation,
            } => {
                let bias = if *bias { Some(read(2)?) } else { None };
                let (x, w, scratch) = (read(0)?, read(1)?, self.scratch.as_mut_slice::<T>());
                return Ok(conv2d::conv2d(
                    exec,
                    arithmetic,
                    shape,
                    x,
                    w,
                    bias,
                    *activation,
                    target,
                    scratch,
                )?);
            }
            Kernel::Conv2dPooled {
                shape,
                bias,
                window,
            } => {
                let bias = if *bias { Some(read(2)?) } else { None };
                let (x, w, scratch) = (read(0)?, read(1)?, self.scratch.as_mut_slice::<T>());
                let mut steps = match command.writes.get(1) {
                    Some(region) => {
                        let words = bytemuck::cast_slice_mut(second.as_mut_slice::<T>());
                        let (slots, len) = (slots(arithmetic, written), region.elements);
                        Some(PlanesMut::new(words, slots, region.stride, len)?)
                    }
                    None => None,
                };
                let steps = steps.as_mut();
                return Ok(conv2d::conv2d_pooled(
                    exec, arithmetic, shape, *window, x, w, bias, target, steps, scratch,
                )?);
            }
            Kernel::Conv2dGradientInput { shape, pooled } => {
                let (g, w) = (gradient(0, *pooled)?, read(1)?);
                let scratch = self.scratch.as_mut_slice::<T>();
                conv2d::conv2d_gradient_input(exec, arithmetic, shape, g, w, target, scratch)?;
            }
            Kernel::Conv2dGradientWeights { shape, pooled } => {
                let (x, g) = (read(0)?, gradient(1, *pooled)?);
                let scratch = self.scratch.as_mut_slice::<T>();
                conv2d::conv2d_gradient_weights(exec, arithmetic, shape, x, g, target, scratch)?;
            }
            Kernel::Conv2dGradientBias { sizes, pooled } => {
                let g = gradient(0, *pooled)?;
                conv2d::conv2d_gradient_bias(exec, arithmetic, *sizes, g, target)?;
            }
            Kernel::Pool {
                pool,
                shape,
                rectified,
            } => {
                let (kind, x) = (*pool, read(0)?);
                return Ok(if *rectified {
                    pool::rectified_pool(exec, arithmetic, shape, kind, x, target)?
                } else {
                    pool::pool(exec, arithmetic, shape, kind, x, target)?
                });
            }
            Kernel::PoolGradient {
                pool,
                shape,
                rectified,
            } => {
                let (kind, x, g) = (*pool, read(0)?, read(1)?);
                return Ok(if *rectified {
                    pool::rectified_pool_gradient(exec, arithmetic, shape, kind, x, g, target)?
                } else {
                    pool::pool_gradient(exec, arithmetic, shape, kind, x, g, target)?
                });
            }
            Kernel::Tiles { batch, into: true } => {
                convert::into_tiles(exec, *batch, read(0)?, target)?;
            }
            Kernel::Tiles { batch, into: false } => {
                convert::from_tiles(exec, *batch, read(0)?, target)?;
            }
            Kernel::FunctionMap { function } => {
                return Ok(if command.reads[0] == command.writes[0] {
                    function_map::function_map_in_place(exec, arithmetic, *function, target)?
                } else {
                    function_map::function_map(exec, arithmetic, *function, read(0)?, target)?
                });
            }
            Kernel::FunctionMapGradient { function } => {
                let saved = read(0)?;
                return Ok(function_map::function_map_gradient(
                    exec, arithmetic, *function, saved, target,
                )?);
            }
            Kernel::SoftmaxCrossEntropy { columns } => {
                let (x, y) = (read(0)?, read(1)?);
                return Ok(reduce::softmax_cross_entropy(
                    exec, arithmetic, x, y, *columns, target,
                )?);
            }
            Kernel::SoftmaxCrossEntropyGradient { columns } => {
                let (x, y) = (read(0)?, read(1)?);
                return Ok(reduce::softmax_cross_entropy_gradient(
                    exec, arithmetic, x, y, *columns, target,
                )?);
            }
            Kernel::MeanSquaredError => {
                return Ok(reduce::mean_squared_error(
                    exec,
                    arithmetic,
                    read(0)?,
                    read(1)?,
                    target,
                )?);
            }
            Kernel::SlotMaxima => {}
            Kernel::Linear { alpha, beta } => {
                let (a, b) = (read(0)?, read(1)?);
                // A shorter b is a row that repeats.
                let columns = b.len();
                let rows = a.len().checked_div(columns).unwrap_or(0);
                let broadcast = Broadcast::new(&[rows, columns], &[columns])?;
                let (a, b) = ((*alpha, a), (*beta, b));
                elementwise::linear(exec, arithmetic, &broadcast, a, b, target)?;
            }
            Kernel::Multiply => {
                let (a, b, same) = (read(0)?, read(1)?, Broadcast::same(target.len()));
                elementwise::multiply(exec, arithmetic, &same, a, b, target)?;
            }
            Kernel::SumRows => {
                let (input, columns) = (read(0)?, target.len());
                let rows = Axis {
                    outer: 1,
                    length: input.len().checked_div(columns).unwrap_or(0),
                    inner: columns,
                };
                reduce::sum(exec, &rows, input, target)?;
            }
            Kernel::Sgd { momentum } => {
                let mut velocity = match command.writes.get(1) {
                    Some(region) => Some(view_mut::<T>(second, region)?),
                    None => None,
                };
                let velocity = velocity.as_mut().map(|v| (*momentum, v));
                let finite = update::sgd(exec, learning_rate, 0.0, read(0)?, target, velocity)?;
                return Ok(SlotMaxima::of_finite(finite));
            }
        }
        Ok(SlotMaxima::NONE)
    }
}
