//! Devices: what runs a plan.

mod cpu;
mod diagnose;
mod eager;
#[cfg(feature = "gpu")]
pub mod gpu;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use furthermore_kernels_cpu::{Arithmetic, Element, KernelError, Planes, PlanesMut};

pub use cpu::Cpu;
#[cfg(feature = "gpu")]
pub use gpu::Gpu;

use crate::error::{Error, Result};
use crate::plan::{Plan, Region};
use crate::scheme::Guard;
use crate::tensor::Buffer;

/// Something that runs plans.
pub trait Device: Send + Sync {
    /// Its name in reports.
    fn name(&self) -> String;

    /// Sets up everything a plan needs to run: buffers, scratch, compiled kernels.
    ///
    /// # Errors
    /// When the device cannot hold or run the plan.
    fn load(&self, plan: Arc<Plan>, arithmetic: Arithmetic) -> Result<Box<dyn Program>>;

    /// As [`Device::load`], without blocking the thread that awaits it where the device is waited for.
    /// Kernels are compiled in that thread.
    fn load_async(&self, plan: Arc<Plan>, arithmetic: Arithmetic) -> Pending<'_, Box<dyn Program>> {
        Box::pin(async move { self.load(plan, arithmetic) })
    }
}

/// Raises a flag that a run looks at: on the processor between commands, on a graphics processor before it
/// is submitted.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks runs that hold this flag to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether they were asked to.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The most that a device was seen to do, to hold kernels against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Operations a second of fused multiply-adds from registers, counted as two each.
    pub flop_per_s: f64,
    /// Bytes a second of copying arrays past any cache, reads and writes counted.
    pub bytes_per_s: f64,
}

/// What may differ from run to run.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions<'a> {
    /// Step size of updates.
    pub learning_rate: f64,
    /// Which step of its parameters' this run takes, from 1; Adam's bias correction counts on it.
    pub step: u64,
    /// Limits on how far slots grow apart.
    pub guard: Guard,
    /// Looked at between commands, or before all are submitted.
    pub cancel: Option<&'a Cancel>,
}

/// Where a tensor to upload lies: planes at `stride` in `buffer`, one or as many as the region has. For a
/// region of bits, `buffer` starts with its words and the rest is without meaning.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The numbers.
    pub buffer: &'a Buffer,
    /// Elements from one plane to the next.
    pub stride: usize,
    /// Elements of a row.
    pub row: usize,
    /// The rows to take, or all of them as they are.
    pub rows: Option<&'a [usize]>,
    /// For a plaintext that goes into an encrypted region: coordinates of the algebra's one.
    pub embed: Option<&'a [f64]>,
}

impl<'a> Source<'a> {
    /// The numbers by plane, long enough for what `region` takes of them.
    ///
    /// # Errors
    /// When they do not fit it.
    fn planes<T: Element>(&self, region: &Region) -> Result<Planes<'a, T>> {
        let reach = match self.rows {
            None => region.elements,
            Some(rows) => {
                let most = rows.iter().max().map_or(0, |row| row.saturating_add(1));
                fits("rows", rows.len().saturating_mul(self.row), region.elements)?;
                most.saturating_mul(self.row)
            }
        };
        let planes = match self.embed {
            Some(one) => {
                fits("the embedding", one.len(), region.planes)?;
                1
            }
            None => region.planes,
        };
        let numbers = self.buffer.as_slice::<T>();
        Ok(Planes::new(numbers, planes, self.stride, reach)?)
    }
}

/// The words of a region of bits as so many planes, in what holds them from its start.
///
/// # Errors
/// When there are fewer.
fn words<'a>(held: &'a [u32], region: &Region, planes: usize) -> Result<Planes<'a, u32>> {
    let len = region.elements / planes.max(1);
    Ok(Planes::new(held, planes, len, len)?)
}

/// As [`words`], to write.
///
/// # Errors
/// As there.
fn words_mut<'a>(
    held: &'a mut [u32],
    region: &Region,
    planes: usize,
) -> Result<PlanesMut<'a, u32>> {
    let len = region.elements / planes.max(1);
    Ok(PlanesMut::new(held, planes, len, len)?)
}

/// Holds what a caller gave to the number that is needed.
fn fits(operand: &'static str, has: usize, needs: usize) -> Result<()> {
    if has == needs {
        return Ok(());
    }
    Err(Error::Kernel(KernelError::Length {
        kernel: "upload",
        operand,
        needs,
        has,
    }))
}

/// What a device has begun. On the processor it is done when it is first polled.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A plan loaded on a device, with its buffers.
pub trait Program: Send + Sync {
    /// Copies a tensor into a region. It is handed over, and the device is not waited for.
    ///
    /// # Errors
    /// When the source does not hold the region's elements, the region is none of the plan's, or the
    /// device fails.
    fn upload(&mut self, region: &Region, source: Source<'_>) -> Result<()>;

    /// Copies a region's planes out, `region.stride` apart, or the words of one of bits.
    ///
    /// # Errors
    /// When the target is too short, the region is none of the plan's, or the device fails.
    fn download(&self, region: &Region, target: &mut Buffer) -> Result<()>;

    /// As [`Program::download`], without blocking the thread that awaits it where the device is another
    /// than the processor. Given up half-way, it leaves the target as it was.
    fn download_async<'a>(&'a self, region: &'a Region, target: &'a mut Buffer) -> Pending<'a, ()> {
        Box::pin(async move { self.download(region, target) })
    }

    /// Fills a region with zeros. The device is not waited for.
    ///
    /// # Errors
    /// When the device fails.
    fn clear(&mut self, region: &Region) -> Result<()>;

    /// Runs every command once.
    ///
    /// # Errors
    /// When a result is not finite or trips the guard, naming the operation where it began; when
    /// cancelled. Parameters are then as they were before the run, unless it is an update itself that
    /// left the range of numbers. When the device fails or does not answer in time: whether parameters
    /// have been stepped is not known then.
    fn run(&mut self, options: &RunOptions<'_>) -> Result<()>;

    /// As [`Program::run`], without blocking the thread that awaits it where the device is another
    /// than the processor. The run has to be awaited to its end.
    fn run_async<'a>(&'a mut self, options: &'a RunOptions<'a>) -> Pending<'a, ()> {
        Box::pin(async move { self.run(options) })
    }

    /// Runs every command once and returns the seconds that each took.
    ///
    /// # Errors
    /// See [`Program::run`].
    fn profile(&mut self, options: &RunOptions<'_>) -> Result<Vec<f64>>;

    /// Bytes it holds: buffers and scratch.
    fn bytes(&self) -> usize;
}
