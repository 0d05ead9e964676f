//! What a graphics processor can do at most, measured on it.

use std::sync::Arc;
use std::time::Instant;

use furthermore_shaders::{Form, Stored, Variant};
use wgpu::{BindGroupDescriptor, BufferUsages, ComputePassDescriptor};

use super::context::Context;
use super::done::Wait;
use super::lower::{Lowered, WORKGROUP};
use super::program::entry;
use super::record::Recorder;
use crate::device::Peaks;
use crate::error::Result;
use crate::plan::Region;

/// Numbers of each array that is copied, on hardware past any cache; a software adapter, which is
/// slower, copies fewer.
const COPIED: usize = 64 << 20;
const COPIED_BY_SOFTWARE: usize = 16 << 20;
/// Workgroups that occupy any device, and rounds of each.
const GROUPS: usize = 4096;
const ROUNDS: usize = 256;
/// Independent sums of four numbers each; the shader says the same.
const CHAINS: usize = 8;
/// A measurement lasts at least so long, so that the way to the device does not count.
const SECONDS: f64 = 0.05;
const REPETITIONS: usize = 5;

/// Measures both peaks.
///
/// # Errors
/// When the device fails or has no memory for it.
pub(super) fn measure(context: &Arc<Context>) -> Result<Peaks> {
    let limits = context.device.limits();
    let most = context.binder.largest.min(limits.max_buffer_size);
    let wanted = if context.adapter.software {
        COPIED_BY_SOFTWARE
    } else {
        COPIED
    };
    let len = wanted.min(most as usize / 4) / 4 * 4;
    let region = |buffer| Region {
        buffer,
        planes: 1,
        elements: len,
        stride: len,
    };
    let vectors = len / 4;
    let variant = |entry| Variant::new("peak", entry, Stored::F32, Form::Real);
    let copy = Lowered::new(variant("copy"), vectors.div_ceil(WORKGROUP), 1)
        .operand("x", region(0))
        .operand("y", region(1))
        .size("rounds", 0)?
        .size("len", vectors)?
        .factor("shrink", 0.0);
    let invocations = GROUPS * WORKGROUP;
    let fused = Lowered::new(variant("fused_multiply_adds"), GROUPS, 1)
        .operand("y", region(1))
        .size("rounds", ROUNDS)?
        .size("len", vectors)?
        .factor("shrink", 0.5);
    let flop = (invocations * ROUNDS * CHAINS * 4 * 2) as f64;
    Ok(Peaks {
        flop_per_s: flop / pollster::block_on(seconds(context, fused, len))?,
        bytes_per_s: (2 * 4 * len) as f64 / pollster::block_on(seconds(context, copy, len))?,
    })
}

/// Seconds of a dispatch, the least of a few runs of many.
async fn seconds(context: &Arc<Context>, lowered: Lowered, len: usize) -> Result<f64> {
    let buffers = [
        context.buffer(4 * len as u64, Wait::Here).await?,
        context.buffer(4 * len as u64, Wait::Here).await?,
    ];
    let storage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
    let none = [
        context.create(256, storage).await?,
        context.create(256, storage).await?,
    ];
    let guard = context.create(256, storage).await?;
    let run = context.create(256, BufferUsages::UNIFORM).await?;
    let shared = context.device.create_bind_group(&BindGroupDescriptor {
        label: None,
        layout: &context.shared_layout,
        entries: &[entry(0, &none[0]), entry(1, &guard), entry(2, &run)],
    });
    let mut recorder = Recorder::new(context, &buffers, &none[0], &none);
    recorder.record(lowered, 0, "peak").await?;
    let recorded = recorder.finish(Wait::Here).await?;
    let time = |count: usize| -> Result<f64> {
        let mut encoder = context.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
            pass.set_bind_group(1, &shared, &[]);
            for _ in 0..count {
                for dispatch in &recorded.dispatches {
                    dispatch.encode(&mut pass);
                }
            }
        }
        let start = Instant::now();
        context.submit(encoder);
        context.wait()?;
        Ok(start.elapsed().as_secs_f64())
    };
    let mut count = 1;
    time(count)?;
    while time(count)? < SECONDS {
        count *= 2;
    }
    let mut least = f64::INFINITY;
    for _ in 0..REPETITIONS {
        least = least.min(time(count)?);
    }
    Ok(least / count as f64)
}
