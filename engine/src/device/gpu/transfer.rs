//! Numbers to the device and back.

use std::sync::{Arc, Mutex};

use furthermore_kernels_cpu::{Planes, PlanesMut};
use furthermore_shaders::Stored;
use half::f16;
use half::slice::HalfFloatSliceExt;
use wgpu::{Buffer, BufferUsages, MapMode};

use super::context::{Context, locked};
use super::done::Wait;
use crate::device::Source;
use crate::error::Result;
use crate::plan::Region;

/// Bytes of a stored number.
pub(super) fn size(stored: Stored) -> u64 {
    match stored {
        Stored::F32 => 4,
        Stored::F16 => 2,
    }
}

/// Copies happen in units of so many bytes. Planes start on cache lines, so what a copy takes more
/// than its plane holds is padding.
const UNIT: u64 = wgpu::COPY_BUFFER_ALIGNMENT;

/// Host memory by way of which tensors come and go, kept from one transfer to the next.
#[derive(Debug, Default)]
pub(super) struct Staging {
    numbers: Vec<f32>,
    halves: Vec<f16>,
    /// Mapped to read from, while no download is under way.
    back: Mutex<Option<Buffer>>,
}

impl Staging {
    /// Writes a region from the planes that `source` has of it.
    ///
    /// # Errors
    /// When numbers are past what the device stores: then none is written.
    pub(super) fn upload(
        &mut self,
        context: &Context,
        target: &Buffer,
        region: &Region,
        from: Planes<'_, f32>,
        source: Source<'_>,
    ) -> Result<()> {
        /// Half precision rounds it to infinity, and what is smaller to a finite number.
        const PAST_HALF: f32 = 65520.0;
        if context.stored == Stored::F16 {
            for plane in 0..region.planes {
                self.gather(plane, from, source);
                let past = |x: &&f32| x.is_finite() && x.abs() >= PAST_HALF;
                if let Some(past) = self.numbers.iter().find(past) {
                    return Err(context.error(format!(
                        "{past:e} was to be written, past what half precision stores"
                    )));
                }
            }
        }
        for plane in 0..region.planes {
            self.gather(plane, from, source);
            self.write(context, target, plane * region.stride);
        }
        Ok(())
    }

    /// The numbers of a plane in single precision.
    fn gather(&mut self, plane: usize, from: Planes<'_, f32>, source: Source<'_>) {
        self.numbers.clear();
        match (source.embed, source.rows) {
            (Some(one), _) => {
                let weight = one[plane] as f32;
                let multiples = from.plane(0).iter().map(|x| weight * x);
                self.numbers.extend(multiples);
            }
            (None, None) => self.numbers.extend_from_slice(from.plane(plane)),
            (None, Some(rows)) => {
                for row in rows {
                    let row = &from.plane(plane)[row * source.row..][..source.row];
                    self.numbers.extend_from_slice(row);
                }
            }
        }
    }

    /// Writes the numbers gathered to `target` from element `at` on.
    fn write(&mut self, context: &Context, target: &Buffer, at: usize) {
        let per_unit = (UNIT / size(context.stored)) as usize;
        let padded = self.numbers.len().next_multiple_of(per_unit);
        self.numbers.resize(padded, 0.0);
        let bytes: &[u8] = match context.stored {
            Stored::F32 => bytemuck::cast_slice(&self.numbers),
            Stored::F16 => {
                self.halves.resize(padded, f16::ZERO);
                self.halves.convert_from_f32_slice(&self.numbers);
                bytemuck::cast_slice(&self.halves)
            }
        };
        if bytes.is_empty() {
            return;
        }
        let offset = at as u64 * size(context.stored);
        context.write(target, offset, bytes);
    }

    /// Reads a region's planes into `numbers`.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) async fn download(
        &self,
        context: &Arc<Context>,
        source: &Buffer,
        region: &Region,
        mut numbers: PlanesMut<'_, f32>,
        wait: Wait,
    ) -> Result<()> {
        if region.elements == 0 || region.planes == 0 {
            return Ok(());
        }
        let stored = size(context.stored);
        let span = (region.planes - 1) * region.stride + region.elements;
        let take = |data: &[u8]| {
            for plane in 0..region.planes {
                let at = plane * region.stride;
                let to = numbers.plane_mut(plane);
                match context.stored {
                    Stored::F32 => {
                        let from: &[f32] = bytemuck::cast_slice(data);
                        to.copy_from_slice(&from[at..][..region.elements]);
                    }
                    Stored::F16 => {
                        let from: &[f16] = bytemuck::cast_slice(data);
                        from[at..][..region.elements].convert_to_f32_slice(to);
                    }
                }
            }
        };
        self.fetch(context, source, span as u64 * stored, wait, take)
            .await
    }

    /// Reads a region of bits into `words`.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) async fn download_words(
        &self,
        context: &Arc<Context>,
        source: &Buffer,
        words: &mut [u32],
        wait: Wait,
    ) -> Result<()> {
        if words.is_empty() {
            return Ok(());
        }
        let bytes = size_of_val(words) as u64;
        let take = |data: &[u8]| {
            words.copy_from_slice(&bytemuck::cast_slice(data)[..words.len()]);
        };
        self.fetch(context, source, bytes, wait, take).await
    }

    /// Hands the first `bytes` of a buffer to `take`.
    ///
    /// # Errors
    /// When the device fails.
    async fn fetch(
        &self,
        context: &Arc<Context>,
        source: &Buffer,
        bytes: u64,
        wait: Wait,
        take: impl FnOnce(&[u8]),
    ) -> Result<()> {
        let bytes = bytes.next_multiple_of(UNIT);
        // Taken out, so that another download at the same time has one of its own.
        let kept = locked(&self.back).take();
        let back = match kept.filter(|buffer| buffer.size() >= bytes) {
            Some(buffer) => buffer,
            None => {
                let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
                let most = context.device.limits().max_buffer_size;
                let size = bytes.next_power_of_two().min(most);
                context.create(size, usage).await?
            }
        };
        let mut encoder = context.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(source, 0, &back, 0, bytes);
        context.submit(encoder);
        read(context, &back, bytes, wait, take).await?;
        *locked(&self.back) = Some(back);
        Ok(())
    }
}

/// Maps the first `bytes` of a staging buffer once what fills it is done, and hands them to `take`.
///
/// # Errors
/// When the device fails.
pub(super) async fn read(
    context: &Arc<Context>,
    buffer: &Buffer,
    bytes: u64,
    wait: Wait,
    take: impl FnOnce(&[u8]),
) -> Result<()> {
    let mapping = Mapping::start(context, buffer, bytes);
    context.idle(wait).await?;
    mapping.take(take)
}

/// A buffer that is mapped or about to be, until this is dropped: a wait that is given up leaves the
/// buffer as usable as before.
struct Mapping<'a> {
    context: &'a Context,
    buffer: &'a Buffer,
    bytes: u64,
}

impl<'a> Mapping<'a> {
    fn start(context: &'a Context, buffer: &'a Buffer, bytes: u64) -> Self {
        buffer.slice(..bytes).map_async(MapMode::Read, |_| ());
        context.count_readback();
        Self {
            context,
            buffer,
            bytes,
        }
    }

    fn take(&self, take: impl FnOnce(&[u8])) -> Result<()> {
        let view = self
            .buffer
            .slice(..self.bytes)
            .get_mapped_range()
            .map_err(|e| self.context.error(e.to_string()))?;
        take(&view);
        Ok(())
    }
}

impl Drop for Mapping<'_> {
    fn drop(&mut self) {
        self.buffer.unmap();
    }
}
