//! The CPU: each command is a call of the kernel of its name.

mod call;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use furthermore_kernels_cpu::block_matmul;
use furthermore_kernels_cpu::conv2d::{self, Conv2dPass};
use furthermore_kernels_cpu::{Arithmetic, Element, Exec, Isa, Planes, PlanesMut, reduce};

use super::diagnose::{Replay, diagnose, update_not_finite, warn_apart};
use super::{Device, Program, RunOptions, Source, words, words_mut};
use crate::error::{Error, Result};
use crate::plan::{Command, Kernel, Plan, Region, Watch};
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
        let pool = self.pool.clone();
        let warned = vec![false; plan.commands().len()];
        with_dtype!(dtype, T => {
            let mut scratch = 0;
            for command in plan.commands() {
                scratch = scratch.max(scratch_len::<T>(command, &exec, &arithmetic)?);
            }
            let beside = scratch.saturating_mul(dtype.size());
            plan.options().check_memory(plan.bytes().saturating_add(beside))?;
            let buffers = plan.buffers().iter().map(|&len| Buffer::zeroed(dtype, len));
            let buffers = buffers.collect::<Result<Vec<Buffer>>>()?;
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

/// A region's planes; a buffer that is none of the plan's holds nothing.
fn view<'a, T: Element>(buffers: &'a [Buffer], region: &Region) -> Result<Planes<'a, T>> {
    let data = buffers.get(region.buffer).map_or(&[][..], Buffer::as_slice);
    let &Region {
        planes,
        stride,
        elements,
        ..
    } = region;
    Ok(Planes::new(data, planes, stride, elements)?)
}

/// As [`view`], to write, in its buffer's numbers.
fn view_mut<'a, T: Element>(data: &'a mut [T], region: &Region) -> Result<PlanesMut<'a, T>> {
    let &Region {
        planes,
        stride,
        elements,
        ..
    } = region;
    Ok(PlanesMut::new(data, planes, stride, elements)?)
}

impl<T: Element> Program for CpuProgram<T> {
    fn upload(&mut self, region: &Region, source: Source<'_>) -> Result<()> {
        if region.is_bits() {
            let from = words(source.buffer.as_words(), region, 1)?;
            let buffer = self.buffers.get_mut(region.buffer);
            let held = buffer.map_or(&mut [][..], Buffer::as_mut_words);
            let mut to = words_mut(held, region, 1)?;
            to.plane_mut(0).copy_from_slice(from.plane(0));
            return Ok(());
        }
        let mut to = self.region_mut(region)?;
        let from = source.planes::<T>(region)?;
        let row = source.row;
        for i in 0..region.planes {
            let plane = to.plane_mut(i);
            if let Some(one) = source.embed {
                let weight = T::of(one[i]);
                for (to, from) in plane.iter_mut().zip(from.plane(0)) {
                    *to = weight * *from;
                }
                continue;
            }
            let Some(rows) = source.rows else {
                plane.copy_from_slice(from.plane(i));
                continue;
            };
            for (nth, &at) in rows.iter().enumerate() {
                plane[nth * row..][..row].copy_from_slice(&from.plane(i)[at * row..][..row]);
            }
        }
        Ok(())
    }

    fn download(&self, region: &Region, target: &mut Buffer) -> Result<()> {
        if region.is_bits() {
            let held = self.buffers.get(region.buffer);
            let from = words(held.map_or(&[][..], Buffer::as_words), region, 1)?;
            let mut to = words_mut(target.as_mut_words(), region, 1)?;
            to.plane_mut(0).copy_from_slice(from.plane(0));
            return Ok(());
        }
        let from = view::<T>(&self.buffers, region)?;
        let target = target.as_mut_slice::<T>();
        let mut to = PlanesMut::new(target, region.planes, region.stride, region.elements)?;
        for i in 0..region.planes {
            to.plane_mut(i).copy_from_slice(from.plane(i));
        }
        Ok(())
    }

    fn clear(&mut self, region: &Region) -> Result<()> {
        let mut to = self.region_mut(region)?;
        for i in 0..region.planes {
            to.plane_mut(i).fill(T::zero());
        }
        Ok(())
    }

    fn run(&mut self, options: &RunOptions<'_>) -> Result<()> {
        self.run_in_pool(options, None)
    }

    fn profile(&mut self, options: &RunOptions<'_>) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(self.plan.commands().len());
        self.run_in_pool(options, Some(&mut times))?;
        Ok(times)
    }

    fn bytes(&self) -> usize {
        self.buffers.iter().map(Buffer::bytes).sum::<usize>() + self.scratch.bytes()
    }
}

impl<T: Element> Replay for CpuProgram<T> {
    async fn replay(&mut self, at: usize, options: &RunOptions<'_>) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        self.execute(&plan.commands()[at], options).map(|_| ())
    }

    async fn finite(&mut self, region: &Region) -> Result<bool> {
        let planes = view::<T>(&self.buffers, region)?;
        Ok(reduce::slot_maxima(&self.exec, &self.arithmetic, planes)?.finite())
    }
}

impl<T: Element> CpuProgram<T> {
    fn region_mut(&mut self, region: &Region) -> Result<PlanesMut<'_, T>> {
        let buffer = self.buffers.get_mut(region.buffer);
        let data = buffer.map_or(&mut [][..], Buffer::as_mut_slice);
        view_mut(data, region)
    }

    fn run_in_pool(
        &mut self,
        options: &RunOptions<'_>,
        times: Option<&mut Vec<f64>>,
    ) -> Result<()> {
        match self.pool.clone() {
            Some(pool) => pool.install(|| self.run_here(options, times)),
            // Enters the current pool once, so that no command has to.
            None => rayon::scope(|_| self.run_here(options, times)),
        }
    }

    fn run_here(
        &mut self,
        options: &RunOptions<'_>,
        mut times: Option<&mut Vec<f64>>,
    ) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        for (at, command) in plan.commands().iter().enumerate() {
            // Updates run all or none: a flag raised between two of them is for the next run.
            let step = command.kernel.is_step();
            if !step && options.cancel.is_some_and(super::Cancel::is_cancelled) {
                return Err(Error::Cancelled {
                    operation: command.name.clone(),
                });
            }
            let start = times.is_some().then(Instant::now);
            let seen = self.execute(command, options)?;
            if let (Some(times), Some(start)) = (&mut times, start) {
                times.push(start.elapsed().as_secs_f64());
            }
            if !seen.finite() {
                return Err(if step {
                    update_not_finite(&plan, command)
                } else {
                    // Nothing in it is waited for.
                    pollster::block_on(diagnose(&plan, at, self, options))
                });
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
                    warn_apart(command, ratio);
                }
            }
        }
        Ok(())
    }
}
