//! From lowered commands to dispatches that can be submitted again and again: pipelines, bindings, and
//! one buffer with everything that commands are told.

use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

use furthermore_shaders::{Access, Binding, Split, Value, binding_name};
use wgpu::{
    BindGroup, BindGroupDescriptor, BindGroupEntry, BindingResource, Buffer, BufferBinding,
    BufferUsages, ComputePass, Queue,
};

use super::bind::{Bound, Held, Span, whole_vectors};
use super::context::{Context, Pipeline};
use super::cut::{Cutter, Part, Views};
use super::done::Wait;
use super::lower::{AtRun, Lowered, Lowering};
use super::transfer;
use crate::device::RunOptions;
use crate::error::{Error, Result};
use crate::plan::{Command, Region};

/// Multiplications of one dispatch, some tenths of a second: of a slow graphics processor, and of a
/// software adapter.
const DISPATCH_WORK: [usize; 2] = [1 << 36, 1 << 32];
/// Bytes of a number of scratch.
const SCRATCH: u64 = 4;
/// The most storage buffers of a dispatch, even where a device takes more: a kernel looks for its
/// number among them at each access.
const MOST_BINDINGS: u32 = 128;
/// Most workgroups along one axis of a dispatch.
const AXIS_GROUPS: usize = 65_535;

/// One dispatch.
#[derive(Debug)]
pub(super) struct Dispatch {
    pipeline: Arc<Pipeline>,
    operands: BindGroup,
    groups: [u32; 2],
}

impl Dispatch {
    /// Adds it to a pass.
    pub(super) fn encode(&self, pass: &mut ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.operands, &[]);
        pass.dispatch_workgroups(self.groups[0], self.groups[1], 1);
    }
}

/// What commands are told, parameters and tables, all in one buffer.
#[derive(Debug)]
pub(super) struct Constants {
    bytes: Vec<u8>,
    buffer: Buffer,
    /// Those that each run writes anew, and where.
    at_run: Vec<(usize, AtRun)>,
}

impl Constants {
    /// Writes what differs from run to run.
    pub(super) fn write(&mut self, queue: &Queue, options: &RunOptions<'_>) {
        if self.at_run.is_empty() {
            return;
        }
        for (at, parameter) in &self.at_run {
            let value = parameter.value(options).to_le_bytes();
            self.bytes[*at..][..value.len()].copy_from_slice(&value);
        }
        queue.write_buffer(&self.buffer, 0, &self.bytes);
    }
}

/// All that was recorded.
pub(super) struct Recorded {
    pub(super) dispatches: Vec<Dispatch>,
    pub(super) constants: Constants,
    /// What commands leave for their own next dispatch, one command after the other.
    pub(super) scratch: Option<Buffer>,
}

/// Collects dispatches.
pub(super) struct Recorder<'a> {
    context: &'a Arc<Context>,
    buffers: &'a [Buffer],
    views: Views,
    watched: &'a Buffer,
    /// Bound where an operand is not there: to be read, and to be written, since no dispatch may do
    /// both to one buffer.
    none: &'a [Buffer; 2],
    constants: Vec<u8>,
    alignment: usize,
    at_run: Vec<(usize, AtRun)>,
    /// The most numbers that a command leaves in scratch.
    scratch: usize,
    pending: Vec<Pending>,
}

struct Pending {
    pipeline: Arc<Pipeline>,
    operands: Vec<(String, Bound)>,
    parameters: Range<usize>,
    table: Range<usize>,
    groups: [u32; 2],
}

impl<'a> Recorder<'a> {
    pub(super) fn new(
        context: &'a Arc<Context>,
        buffers: &'a [Buffer],
        watched: &'a Buffer,
        none: &'a [Buffer; 2],
    ) -> Self {
        let limits = context.device.limits();
        let alignment = limits
            .min_uniform_buffer_offset_alignment
            .max(limits.min_storage_buffer_offset_alignment);
        Self {
            context,
            buffers,
            views: Views::new(buffers.len()),
            watched,
            none,
            constants: Vec::new(),
            alignment: alignment as usize,
            at_run: Vec::new(),
            scratch: 0,
            pending: Vec::new(),
        }
    }

    /// Adds constants and returns where they lie.
    fn constants(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.constants.len().next_multiple_of(self.alignment);
        self.constants.resize(start, 0);
        self.constants.extend_from_slice(bytes);
        start..self.constants.len()
    }

    /// The planes' strides as parameters.
    fn strides(&self, operands: &[(&'static str, Region)]) -> Vec<(String, Value)> {
        let stride = |(name, region): &(&'static str, Region)| {
            // Where it passes what shaders count, planes are bound one by one, and it is not used.
            let stride = u32::try_from(region.stride).unwrap_or(u32::MAX);
            (format!("{name}_stride"), Value::U32(stride))
        };
        operands.iter().map(stride).collect()
    }

    /// Bytes of a region's number.
    fn size(&self, region: &Region) -> u64 {
        if region.is_bits() {
            size_of::<u32>() as u64
        } else {
            transfer::size(self.context.stored)
        }
    }

    /// What bindings of a region show, and how many numbers they begin before it does: bindings do not
    /// begin everywhere.
    fn span(&self, region: &Region) -> (Span, usize) {
        let (buffer, first) = self.views.resolve(region);
        let size = self.size(region);
        let first = (first as u64).saturating_mul(size);
        let before = first % self.context.binder.alignment;
        let late = (before / size) as usize;
        let span = Span {
            held: Held::Tensors(buffer),
            offset: first - before,
            size,
            planes: region.planes,
            stride: region.stride,
            numbers: late + region.elements,
        };
        (span, late)
    }

    /// The dispatches of a command or of a part of it.
    fn lowered(&self, lowering: &Lowering, part: &Part) -> Result<Vec<Lowered>> {
        let named = |error| match error {
            Error::Device { reason, .. } => {
                let name = &part.command.name;
                self.context.error(format!("'{name}': {reason}"))
            }
            other => other,
        };
        let mut lowered = lowering.lower(&part.command, &part.share).map_err(named)?;
        // Some only read what others leave there.
        let scratch = lowered.iter().map(|l| l.scratch).max().unwrap_or_default();
        for lowered in &mut lowered {
            lowered.scratch = scratch;
            part.place_steps(lowered);
        }
        Ok(lowered)
    }

    /// Adds the dispatches of a command, of its parts where it is too large for bindings, and returns
    /// how many these are.
    ///
    /// # Errors
    /// When it takes more bindings than a shader does or has planes that no binding may begin at, counts
    /// past 32 bits, or leaves more in scratch than a buffer takes, or the device refuses a shader.
    pub(super) async fn command(
        &mut self,
        lowering: &Lowering,
        command: &Command,
        at: usize,
    ) -> Result<usize> {
        let binder = self.context.binder;
        let cutter = Cutter {
            number: transfer::size(self.context.stored) as usize,
            alignment: binder.alignment as usize,
            binding: binder.largest,
        };
        let mut left = vec![Part::whole(command)];
        let mut count = 0;
        while let Some(part) = left.pop() {
            // Steps are bits, and those of all slots lie as far apart in a part: where one binding does
            // not take them, no smaller part helps.
            let too_large = |region: &Region| {
                let (span, _) = self.span(region);
                !region.is_bits() && !binder.binds(span.numbers, span.size)
            };
            let operands = part.operands().enumerate();
            let large = operands.filter(|(_, region)| too_large(region));
            let large: Vec<usize> = large.map(|(nth, _)| nth).collect();
            let mut lowered = None;
            if large.is_empty() {
                lowered = Some(self.lowered(lowering, &part)?);
            }
            let little = |lowered: &Lowered| binder.binds(lowered.scratch, SCRATCH);
            if !lowered.as_ref().is_some_and(|l| l.iter().all(little))
                && let Some(smaller) = cutter.parts(&part, &mut self.views, &large)
            {
                left.extend(smaller.into_iter().rev());
                continue;
            }
            // What is still too large is bound in segments.
            let lowered = match lowered {
                Some(lowered) => lowered,
                None => self.lowered(lowering, &part)?,
            };
            for lowered in lowered {
                count += self.record(lowered, at, &command.name).await?;
            }
        }
        Ok(count)
    }

    /// Chooses how the operands of the command `name` are bound, and names their bindings.
    fn bind(
        &self,
        lowered: &mut Lowered,
        spans: &[(&'static str, Span)],
        name: &str,
    ) -> Result<Vec<(String, Bound)>> {
        let refuse = |operand: &str, why: String| {
            let all = format!("'{name}' takes operand '{operand}', which {why}");
            Err(self.context.error(all))
        };
        let limits = self.context.device.limits();
        let mut splits = Vec::new();
        for (operand, span) in spans {
            let split = match self.context.binder.split(span) {
                Ok(split) => split,
                Err(why) => return refuse(operand, why),
            };
            splits.push(split);
            lowered
                .variant
                .split
                .extend(split.map(|split| (*operand, split)));
        }
        let of_split = |split: &Option<Split>| split.map_or(1, |split| split.bindings());
        let all = lowered.variant.declared_bindings();
        let several = spans.iter().zip(&splits);
        let several = several.max_by_key(|(_, split)| of_split(split));
        if let (true, Some(((operand, _), split))) = (all > MOST_BINDINGS, several) {
            let why = format!(
                "is {} bindings of {all} in all, and a shader takes {MOST_BINDINGS}",
                of_split(split)
            );
            return refuse(operand, why);
        }
        if whole_vectors(lowered.scratch, SCRATCH) > limits.max_buffer_size {
            let why = format!(
                "has {} numbers, and one buffer takes {} bytes",
                lowered.scratch, limits.max_buffer_size
            );
            return refuse("scratch", why);
        }
        let mut operands = Vec::new();
        for ((operand, span), split) in spans.iter().zip(splits) {
            let named = |number| match split {
                None => (*operand).to_owned(),
                Some(_) => binding_name(operand, number),
            };
            operands.extend((0..).map(named).zip(span.bindings(split)));
        }
        Ok(operands)
    }

    /// Adds a dispatch of the command `name`, several where it is long, and returns how many these are.
    pub(super) async fn record(
        &mut self,
        mut lowered: Lowered,
        command: usize,
        name: &str,
    ) -> Result<usize> {
        if lowered.groups == 0 {
            return Ok(0);
        }
        let mut spans = Vec::new();
        let mut starts = self.strides(&lowered.operands);
        for &(operand, ref region) in &lowered.operands {
            let (span, late) = self.span(region);
            spans.push((operand, span));
            if late > 0 {
                lowered.variant.late.push(operand);
                starts.push((format!("{operand}_late"), Value::U32(late as u32)));
            }
            if !late.is_multiple_of(4) {
                lowered.variant.wide.retain(|wide| *wide != operand);
            }
        }
        if lowered.scratch > 0 {
            let scratch = Span {
                held: Held::Scratch,
                offset: 0,
                size: SCRATCH,
                planes: 1,
                stride: 0,
                numbers: lowered.scratch,
            };
            spans.push(("scratch", scratch));
        }
        let operands = self.bind(&mut lowered, &spans, name)?;
        let pipeline = self.context.pipeline(name, &lowered.variant).await?;
        let of_dispatch = DISPATCH_WORK[usize::from(self.context.adapter.software)];
        let mut most = (of_dispatch / lowered.work.max(1)).clamp(1, AXIS_GROUPS * AXIS_GROUPS);
        if most > AXIS_GROUPS {
            // Whole rows, or the last would reach into the next dispatch.
            most -= most % AXIS_GROUPS;
        }
        self.scratch = self.scratch.max(lowered.scratch);
        let table = self.constants(bytemuck::cast_slice(&lowered.table));
        let unknown = Value::F32(0.0);
        let mut values: Vec<(&str, Value)> = lowered.parameters.clone();
        values.extend(starts.iter().map(|(name, stride)| (name.as_str(), *stride)));
        values.extend(lowered.at_run.iter().map(|&(name, _)| (name, unknown)));
        values.push(("command", Value::U32(command as u32)));
        values.push(("first", Value::U32(0)));
        let mut count = 0;
        let mut first = 0;
        while first < lowered.groups {
            let groups = (lowered.groups - first).min(most);
            if let Some(last) = values.last_mut() {
                last.1 = Value::U32(first as u32);
            }
            let packed = pipeline
                .shader
                .pack(&values)
                .map_err(|e| self.context.error(e.to_string()))?;
            let parameters = self.constants(&packed);
            for &(name, value) in &lowered.at_run {
                let named = pipeline.shader.parameters().iter().find(|p| p.name == name);
                let offset = named.expect("it was packed").offset as usize;
                self.at_run.push((parameters.start + offset, value));
            }
            let rows = groups.div_ceil(AXIS_GROUPS);
            self.pending.push(Pending {
                pipeline: Arc::clone(&pipeline),
                operands: operands.clone(),
                parameters,
                table: table.clone(),
                // Rows may be longer than what is left of the last: shaders look at their element.
                groups: [groups.div_ceil(rows) as u32, rows as u32],
            });
            first += groups;
            count += 1;
        }
        Ok(count)
    }

    /// Uploads the constants and binds everything.
    pub(super) async fn finish(mut self, wait: Wait) -> Result<Recorded> {
        let size = self.constants.len().next_multiple_of(256).max(256);
        self.constants.resize(size, 0);
        let usage = BufferUsages::UNIFORM | BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let constants = self.context.create(size as u64, usage).await?;
        let queue = &self.context.queue;
        queue.write_buffer(&constants, 0, &self.constants);
        let scratch = match self.scratch {
            0 => None,
            numbers => {
                let bytes = whole_vectors(numbers, SCRATCH);
                Some(self.context.buffer(bytes, wait).await?)
            }
        };
        let constant = |range: &Range<usize>| {
            BindingResource::Buffer(BufferBinding {
                buffer: &constants,
                offset: range.start as u64,
                size: NonZero::new(range.len() as u64),
            })
        };
        let bind = |pending: Pending| {
            let operand = |name: &str| pending.operands.iter().find(|(n, _)| n == name);
            let resource = |binding: &Binding| match (operand(&binding.name), &binding.name[..]) {
                (Some((_, bound)), _) => BindingResource::Buffer(BufferBinding {
                    buffer: match bound.held {
                        Held::Tensors(number) => &self.buffers[number],
                        // It is there as soon as one dispatch leaves something.
                        Held::Scratch => scratch.as_ref().unwrap_or(&self.none[1]),
                    },
                    offset: bound.offset,
                    size: NonZero::new(bound.bytes),
                }),
                (None, "watched") => self.watched.as_entire_binding(),
                (None, "params") => constant(&pending.parameters),
                (None, "table") if !pending.table.is_empty() => constant(&pending.table),
                (None, _) => {
                    let written = binding.access == Access::ReadWrite;
                    self.none[usize::from(written)].as_entire_binding()
                }
            };
            let shader = &pending.pipeline.shader;
            let entries: Vec<BindGroupEntry<'_>> = shader
                .bindings()
                .iter()
                .filter(|b| b.group == 0)
                .map(|b| BindGroupEntry {
                    binding: b.number,
                    resource: resource(b),
                })
                .collect();
            let operands = self.context.device.create_bind_group(&BindGroupDescriptor {
                label: None,
                layout: &pending.pipeline.operands,
                entries: &entries,
            });
            Dispatch {
                pipeline: Arc::clone(&pending.pipeline),
                operands,
                groups: pending.groups,
            }
        };
        let dispatches = self.pending.into_iter().map(bind).collect();
        Ok(Recorded {
            dispatches,
            constants: Constants {
                bytes: self.constants,
                buffer: constants,
                at_run: self.at_run,
            },
            scratch,
        })
    }
}
