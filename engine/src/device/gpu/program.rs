//! A plan loaded on a graphics processor.

use std::sync::Arc;

use furthermore_kernels_cpu::{Arithmetic, Planes, PlanesMut};
use furthermore_shaders::{Form, Variant};
use wgpu::{
    BindGroup, BindGroupDescriptor, BindGroupEntry, Buffer, BufferUsages, CommandEncoder,
    ComputePass, ComputePassDescriptor, QuerySet, QuerySetDescriptor, QueryType,
};

use super::context::Context;
use super::done::Wait;
use super::lower::Lowered;
use super::record::{Constants, Dispatch, Recorded, Recorder};
use super::tiles::TileTable;
use super::transfer::{self, Staging};
use crate::device::diagnose::{Replay, diagnose, update_not_finite, warn_apart};
use crate::device::{Pending, Program, RunOptions, Source, words, words_mut};
use crate::error::{Error, Result};
use crate::plan::{Command, Kernel, Plan, Region, Watch};
use crate::tensor::{Buffer as HostBuffer, DType};

/// Words of the guard's record before those of the commands, and of each command.
const GUARD_HEAD: usize = 8;
const GUARD_SLOTS: usize = 8;
/// The bits of infinity: magnitudes from there on are not finite.
const INFINITY_BITS: u32 = 0x7f80_0000;

/// A plan on the device, with its buffers.
#[derive(Debug)]
pub(super) struct GpuProgram {
    context: Arc<Context>,
    plan: Arc<Plan>,
    buffers: Vec<Buffer>,
    /// What every dispatch binds beside its operands.
    shared: BindGroup,
    /// By command; the guard's verdict stands before the first update, or at the end.
    dispatches: Vec<Vec<Dispatch>>,
    verdict: Vec<Dispatch>,
    /// The first update.
    updates: usize,
    /// For the search of where numbers stopped being finite: the slots of each region there is.
    maxima: Vec<(Region, Vec<Dispatch>)>,
    guard: Buffer,
    guard_back: Buffer,
    /// What came back last: kept, so that a run has none to allocate.
    record: Vec<u32>,
    run: Buffer,
    constants: Constants,
    staging: Staging,
    warned: Vec<bool>,
    bytes: usize,
}

impl GpuProgram {
    pub(super) async fn load(
        context: Arc<Context>,
        plan: Arc<Plan>,
        arithmetic: &Arithmetic,
        tiles: TileTable,
        wait: Wait,
    ) -> Result<Self> {
        let options = plan.options();
        if options.dtype != DType::F32 {
            return Err(context.error(format!(
                "it computes in f32, and the plan is in {}",
                options.dtype
            )));
        }
        let lowering = context.lowering(&plan, arithmetic, tiles);
        let stored = transfer::size(context.stored);
        let mut buffers = Vec::new();
        for &len in plan.buffers() {
            let bytes = (len as u64).saturating_mul(stored);
            buffers.push(context.buffer(bytes, wait).await?);
        }
        let storage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let words = |count: usize| (count * 4) as u64;
        let guard_bytes = words(GUARD_HEAD + plan.commands().len() * GUARD_SLOTS);
        let guard = context
            .create(guard_bytes, storage | BufferUsages::COPY_SRC)
            .await?;
        let back = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let guard_back = context.create(guard_bytes, back).await?;
        let run = context
            .create(256, BufferUsages::UNIFORM | BufferUsages::COPY_DST)
            .await?;
        let numbers = lowering.constants();
        let algebra = context.create(words(numbers.len().max(4)), storage).await?;
        let bytes: &[u8] = bytemuck::cast_slice(numbers);
        context.queue.write_buffer(&algebra, 0, bytes);
        let watched = context
            .create(words(plan.commands().len().max(4)), storage)
            .await?;
        let watches: Vec<u32> = plan
            .commands()
            .iter()
            .map(|command| u32::from(command.watch == Watch::Ratio))
            .collect();
        context
            .queue
            .write_buffer(&watched, 0, bytemuck::cast_slice(&watches));
        let none = [
            context.create(256, storage).await?,
            context.create(256, storage).await?,
        ];

        let shared = context.device.create_bind_group(&BindGroupDescriptor {
            label: None,
            layout: &context.shared_layout,
            entries: &[entry(0, &algebra), entry(1, &guard), entry(2, &run)],
        });

        let mut recorder = Recorder::new(&context, &buffers, &watched, &none);
        let commands = plan.commands();
        let updates = commands
            .iter()
            .position(|command| command.kernel.is_step())
            .unwrap_or(commands.len());
        let mut spans = Vec::new();
        for (at, command) in commands.iter().enumerate() {
            spans.push(recorder.command(&lowering, command, at).await?);
        }
        let verdict = verdict(&context, updates)?;
        let verdict = recorder.record(verdict, 0, "verdict").await?;
        let mut regions: Vec<Region> = Vec::new();
        for region in commands
            .iter()
            .flat_map(|c| c.reads.iter().chain(&c.writes))
        {
            if !regions.contains(region) {
                regions.push(*region);
            }
        }
        let mut maxima = Vec::new();
        // Planes of another count are those of no tensor with slots.
        regions.retain(|region| arithmetic.coefficients(region.planes).is_some());
        for region in regions {
            let look = Command {
                name: "slot maxima".to_owned(),
                kernel: Kernel::SlotMaxima,
                reads: vec![region],
                writes: Vec::new(),
                watch: Watch::Finite,
            };
            maxima.push((region, recorder.command(&lowering, &look, 0).await?));
        }
        let Recorded {
            dispatches: recorded,
            constants,
            scratch,
        } = recorder.finish(wait).await?;
        // Given back with the others.
        buffers.extend(scratch);
        let mut recorded = recorded.into_iter();
        let mut take = |count: usize| recorded.by_ref().take(count).collect::<Vec<Dispatch>>();
        let dispatches = spans.into_iter().map(&mut take).collect();
        let verdict = take(verdict);
        let maxima = maxima
            .into_iter()
            .map(|(region, count)| (region, take(count)))
            .collect();
        context.check()?;
        let bytes = buffers.iter().map(|b| b.size() as usize).sum();
        let warned = vec![false; commands.len()];
        Ok(Self {
            context,
            plan,
            buffers,
            shared,
            dispatches,
            verdict,
            updates,
            maxima,
            guard,
            guard_back,
            record: Vec::new(),
            run,
            constants,
            staging: Staging::default(),
            warned,
            bytes,
        })
    }
}

/// How many times another a slot may be, as shaders take it: negative where there is no limit to it.
fn ratio_limit(options: &RunOptions<'_>) -> f32 {
    let limit = options.guard.fail.max(0.0) as f32;
    if limit.is_finite() { limit } else { -1.0 }
}

pub(super) fn entry(binding: u32, buffer: &Buffer) -> BindGroupEntry<'_> {
    BindGroupEntry {
        binding,
        resource: buffer.as_entire_binding(),
    }
}

/// The dispatch that decides whether updates may go ahead.
fn verdict(context: &Context, commands: usize) -> Result<Lowered> {
    let variant = Variant::new("guard", "verdict", context.stored, Form::Real);
    Lowered::new(variant, 1, 1).size("commands", commands)
}

impl Program for GpuProgram {
    fn upload(&mut self, region: &Region, source: Source<'_>) -> Result<()> {
        let target = self.region(region)?;
        if region.is_bits() {
            let words = words(source.buffer.as_words(), region, 1)?.plane(0);
            if !words.is_empty() {
                let bytes = bytemuck::cast_slice(words);
                self.context.write(&target, 0, bytes);
            }
            return self.context.check();
        }
        let numbers = source.planes::<f32>(region)?;
        self.staging
            .upload(&self.context, &target, region, numbers, source)?;
        self.context.check()
    }

    fn download(&self, region: &Region, target: &mut HostBuffer) -> Result<()> {
        pollster::block_on(self.download_with(region, target, Wait::Here))
    }

    fn download_async<'a>(
        &'a self,
        region: &'a Region,
        target: &'a mut HostBuffer,
    ) -> Pending<'a, ()> {
        Box::pin(self.download_with(region, target, Wait::Aside))
    }

    fn clear(&mut self, region: &Region) -> Result<()> {
        let buffer = self.region(region)?;
        let size = transfer::size(self.context.stored);
        let mut encoder = self
            .context
            .device
            .create_command_encoder(&Default::default());
        for plane in 0..region.planes {
            let start = (plane * region.stride) as u64 * size;
            let bytes = (region.elements as u64 * size).next_multiple_of(4);
            encoder.clear_buffer(&buffer, start, Some(bytes));
        }
        self.context.submit(encoder);
        self.context.check()
    }

    fn run(&mut self, options: &RunOptions<'_>) -> Result<()> {
        pollster::block_on(self.run_with(options, None, Wait::Here))
    }

    fn run_async<'a>(&'a mut self, options: &'a RunOptions<'a>) -> Pending<'a, ()> {
        Box::pin(self.run_with(options, None, Wait::Aside))
    }

    fn profile(&mut self, options: &RunOptions<'_>) -> Result<Vec<f64>> {
        pollster::block_on(self.profile_with(options, Wait::Here))
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

impl GpuProgram {
    async fn profile_with(&mut self, options: &RunOptions<'_>, wait: Wait) -> Result<Vec<f64>> {
        let commands = self.dispatches.len();
        let fits = 2 * commands <= wgpu::QUERY_SET_MAX_QUERIES as usize;
        if !self.context.times_commands() || !fits {
            return self.profile_by_submits(options, wait).await;
        }
        let count = 2 * commands as u32;
        let set = self.context.device.create_query_set(&QuerySetDescriptor {
            label: None,
            ty: QueryType::Timestamp,
            count: count.max(2),
        });
        self.run_with(options, Some(&set), wait).await?;
        let bytes = u64::from(count.max(2)) * 8;
        let resolve = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC;
        let resolved = self.context.create(bytes, resolve).await?;
        let back = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let back = self.context.create(bytes, back).await?;
        let mut encoder = self
            .context
            .device
            .create_command_encoder(&Default::default());
        encoder.resolve_query_set(&set, 0..count, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &back, 0, bytes);
        self.context.submit(encoder);
        let tick = f64::from(self.context.queue.get_timestamp_period()) * 1e-9;
        let mut times = Vec::new();
        let take = |data: &[u8]| {
            let ticks: &[u64] = bytemuck::cast_slice(data);
            let pairs = ticks.chunks(2).take(commands);
            times.extend(pairs.map(|pair| pair[1].saturating_sub(pair[0]) as f64 * tick));
        };
        transfer::read(&self.context, &back, bytes, wait, take).await?;
        Ok(times)
    }

    async fn download_with(
        &self,
        region: &Region,
        target: &mut HostBuffer,
        wait: Wait,
    ) -> Result<()> {
        let source = self.region(region)?;
        let (context, staging) = (&self.context, &self.staging);
        if region.is_bits() {
            let mut words = words_mut(target.as_mut_words(), region, 1)?;
            let words = words.plane_mut(0);
            return staging.download_words(context, &source, words, wait).await;
        }
        let (planes, stride) = (region.planes, region.stride);
        let target = target.as_mut_slice::<f32>();
        let numbers = PlanesMut::new(target, planes, stride, region.elements)?;
        staging
            .download(context, &source, region, numbers, wait)
            .await
    }

    /// The buffer that holds a region.
    ///
    /// # Errors
    /// When the region is not one of the plan's buffers.
    fn region(&self, region: &Region) -> Result<Buffer> {
        let len = self.plan.buffers().get(region.buffer).copied().unwrap_or(0);
        // Elements without a size: only whether the region lies within them is asked.
        let extent = vec![(); len];
        if region.is_bits() {
            // Of which a word takes two.
            Planes::new(&extent, 1, 0, region.elements.saturating_mul(2))?;
        } else {
            Planes::new(&extent, region.planes, region.stride, region.elements)?;
        }
        Ok(self.buffers[region.buffer].clone())
    }

    /// One submit, one pass, and the guard's record read back.
    async fn run_with(
        &mut self,
        options: &RunOptions<'_>,
        times: Option<&QuerySet>,
        wait: Wait,
    ) -> Result<()> {
        self.submit(options, times)?;
        let mut record = std::mem::take(&mut self.record);
        self.read_guard(&mut record, wait).await?;
        let judged = self.judge(&record, options, wait).await;
        self.record = record;
        judged
    }

    /// Submits a run; what the guard sees is on its way back then.
    fn submit(&mut self, options: &RunOptions<'_>, times: Option<&QuerySet>) -> Result<()> {
        if options
            .cancel
            .is_some_and(crate::device::Cancel::is_cancelled)
        {
            let first = self.plan.commands().first();
            return Err(Error::Cancelled {
                operation: first.map(|c| c.name.clone()).unwrap_or_default(),
            });
        }
        self.set_run(options);
        let mut encoder = self
            .context
            .device
            .create_command_encoder(&Default::default());
        encoder.clear_buffer(&self.guard, 0, None);
        {
            let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
            self.context.count_pass();
            pass.set_bind_group(1, &self.shared, &[]);
            for (at, dispatches) in self.dispatches.iter().enumerate() {
                if at == self.updates {
                    dispatch(&mut pass, &self.verdict);
                }
                if let Some(set) = times {
                    pass.write_timestamp(set, 2 * at as u32);
                }
                dispatch(&mut pass, dispatches);
                if let Some(set) = times {
                    pass.write_timestamp(set, 2 * at as u32 + 1);
                }
            }
            if self.updates == self.dispatches.len() {
                dispatch(&mut pass, &self.verdict);
            }
        }
        self.submit_with_guard(encoder);
        Ok(())
    }

    /// Writes what differs from run to run.
    fn set_run(&mut self, options: &RunOptions<'_>) {
        let queue = &self.context.queue;
        let limit = ratio_limit(options).to_le_bytes();
        queue.write_buffer(&self.run, 0, &limit);
        self.constants.write(queue, options);
    }

    /// Submits what was recorded and the guard's record after it.
    fn submit_with_guard(&self, mut encoder: CommandEncoder) {
        encoder.copy_buffer_to_buffer(&self.guard, 0, &self.guard_back, 0, self.guard.size());
        self.context.submit(encoder);
    }

    /// Reads the guard's record once it is there.
    async fn read_guard(&self, record: &mut Vec<u32>, wait: Wait) -> Result<()> {
        record.clear();
        let take = |data: &[u8]| record.extend_from_slice(bytemuck::cast_slice(data));
        transfer::read(
            &self.context,
            &self.guard_back,
            self.guard.size(),
            wait,
            take,
        )
        .await
    }

    /// What the guard's record means: the first command that went wrong, as on every device.
    async fn judge(&mut self, record: &[u32], options: &RunOptions<'_>, wait: Wait) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let tripped = record[0] != 0;
        let limit = ratio_limit(options);
        let apart = |command: &Command, ratio: f64| Error::MaskGuard {
            operation: command.name.clone(),
            ratio,
            limit: options.guard.fail,
        };
        let mut furthest: Option<(&Command, f64)> = None;
        for (at, command) in plan.commands().iter().enumerate() {
            let seen = &record[GUARD_HEAD + at * GUARD_SLOTS..][..GUARD_SLOTS];
            let high = seen.iter().copied().max().unwrap_or(0);
            if high >= INFINITY_BITS {
                return Err(if command.kernel.is_step() {
                    update_not_finite(&plan, command)
                } else {
                    let mut replaying = Replaying {
                        program: self,
                        wait,
                    };
                    diagnose(&plan, at, &mut replaying, options).await
                });
            }
            let low = seen
                .iter()
                .copied()
                .filter(|&bits| bits > 0)
                .min()
                .unwrap_or(0);
            if command.watch != Watch::Ratio || low == high {
                continue;
            }
            let (low, high) = (f32::from_bits(low), f32::from_bits(high));
            let ratio = f64::from(high) / f64::from(low);
            // In the arithmetic of the device, whose verdict it has to be.
            if tripped && limit >= 0.0 && high > limit * low {
                return Err(apart(command, ratio));
            }
            if at < self.updates && furthest.is_none_or(|(_, most)| ratio > most) {
                furthest = Some((command, ratio));
            }
            if ratio > options.guard.warn && !self.warned[at] {
                self.warned[at] = true;
                warn_apart(command, ratio);
            }
        }
        match furthest {
            // Some devices take the smallest numbers for zero, and their products with the limit.
            Some((command, ratio)) if tripped => Err(apart(command, ratio)),
            None if tripped => Err(self.context.error(
                "its guard held updates back, and no command shows why: what it saw was overwritten"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Times commands from submit to done, where the device cannot time them itself.
    async fn profile_by_submits(
        &mut self,
        options: &RunOptions<'_>,
        wait: Wait,
    ) -> Result<Vec<f64>> {
        self.set_run(options);
        self.submit_one(&[], true, wait).await?;
        let mut times = Vec::new();
        for (at, dispatches) in self.dispatches.iter().enumerate() {
            if at == self.updates {
                self.submit_one(&self.verdict, false, wait).await?;
            }
            let start = std::time::Instant::now();
            self.submit_one(dispatches, false, wait).await?;
            times.push(start.elapsed().as_secs_f64());
        }
        if self.updates == self.dispatches.len() {
            self.submit_one(&self.verdict, false, wait).await?;
        }
        let record = self.submit_one(&[], false, wait).await?;
        self.judge(&record, options, wait).await?;
        Ok(times)
    }

    /// Runs dispatches by themselves and returns the guard's record.
    async fn submit_one(
        &self,
        dispatches: &[Dispatch],
        clear: bool,
        wait: Wait,
    ) -> Result<Vec<u32>> {
        let mut encoder = self
            .context
            .device
            .create_command_encoder(&Default::default());
        if clear {
            encoder.clear_buffer(&self.guard, 0, None);
        }
        {
            let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
            pass.set_bind_group(1, &self.shared, &[]);
            dispatch(&mut pass, dispatches);
        }
        self.submit_with_guard(encoder);
        let mut record = Vec::new();
        self.read_guard(&mut record, wait).await?;
        Ok(record)
    }
}

/// A program that is searched for what went wrong.
struct Replaying<'a> {
    program: &'a GpuProgram,
    wait: Wait,
}

impl Replay for Replaying<'_> {
    async fn replay(&mut self, at: usize, _options: &RunOptions<'_>) -> Result<()> {
        let Self { program, wait } = *self;
        let dispatches = &program.dispatches[at];
        program.submit_one(dispatches, true, wait).await.map(|_| ())
    }

    async fn finite(&mut self, region: &Region) -> Result<bool> {
        let Self { program, wait } = *self;
        let found = program.maxima.iter().find(|(of, _)| of == region);
        let Some((_, dispatches)) = found else {
            return Ok(true);
        };
        let record = program.submit_one(dispatches, true, wait).await?;
        Ok(record[GUARD_HEAD..][..GUARD_SLOTS]
            .iter()
            .all(|&bits| bits < INFINITY_BITS))
    }
}

impl Drop for GpuProgram {
    fn drop(&mut self) {
        self.context.keep(self.buffers.drain(..));
    }
}

fn dispatch(pass: &mut ComputePass<'_>, dispatches: &[Dispatch]) {
    for one in dispatches {
        one.encode(pass);
    }
}
