//! Finding the fastest tiles by trying them.

use std::sync::Arc;

use furthermore_kernels_cpu::Arithmetic;

use super::Gpu;
use super::done::Wait;
use super::lower::Share;
use super::program::GpuProgram;
use super::tiles::numbers;
use crate::device::{Program, RunOptions};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::scheme::Guard;

/// What came of tuning a command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuned {
    /// The fastest tile: rows and columns of an invocation, rows and columns of a workgroup in
    /// invocations, and the depth that is staged at a time.
    pub tile: [u32; 5],
    /// Seconds of the command with it.
    pub seconds: f64,
    /// Seconds with the tile it would have taken untuned.
    pub untuned_seconds: f64,
    /// How many tiles were tried.
    pub tried: usize,
}

/// Runs of which the fastest counts.
const REPETITIONS: usize = 5;

impl Gpu {
    /// Times a plan's one command, a matrix product or a convolution, with every tile that fits, and
    /// from now on takes the fastest for commands like it: of the same kernel and algebra, with a
    /// result of about the same size, whatever they sum over: the last tuned decides for all of these. `None` where the command has no tiles.
    ///
    /// # Errors
    /// When the device cannot run the plan.
    pub fn tune(&self, plan: &Arc<Plan>, arithmetic: &Arithmetic) -> Result<Option<Tuned>> {
        let context = &self.context;
        let tiles = context.tiles().clone();
        let lowering = context.lowering(plan, arithmetic, tiles.clone());
        let mut kind = None;
        for command in plan.commands() {
            for lowered in lowering.lower(command, &Share::default())? {
                kind = kind.or(lowered.kind);
            }
        }
        let Some(kind) = kind else {
            return Ok(None);
        };
        let options = RunOptions {
            learning_rate: 0.0,
            step: 1,
            guard: Guard {
                warn: f64::INFINITY,
                fail: f64::INFINITY,
            },
            cancel: None,
        };
        let candidates = kind.candidates(context.workgroup_bytes());
        let mut times = Vec::new();
        for tile in &candidates {
            let mut tiles = tiles.clone();
            tiles.choose(kind.clone(), tile);
            let (context, plan) = (Arc::clone(context), Arc::clone(plan));
            let load = GpuProgram::load(context, plan, arithmetic, tiles, Wait::Here);
            let mut program = pollster::block_on(load)?;
            let mut least = f64::INFINITY;
            // The first run finds buffers and caches cold.
            for _ in 0..=REPETITIONS {
                least = least.min(program.profile(&options)?.iter().sum());
            }
            times.push(least);
        }
        let fastest = (0..times.len()).min_by(|&a, &b| times[a].total_cmp(&times[b]));
        let fastest = fastest.expect("at least one tile fits every product");
        let tile = &candidates[fastest];
        context.tiles().choose(kind, tile);
        Ok(Some(Tuned {
            tile: numbers(tile),
            seconds: times[fastest],
            untuned_seconds: times[0],
            tried: times.len(),
        }))
    }

    /// Keeps what was tuned for later processes, in the cache folder, by adapter and driver.
    ///
    /// # Errors
    /// When there is no cache folder or it cannot be written.
    pub fn keep_tuned(&self) -> Result<()> {
        let refuse = |reason: String| Error::Device {
            device: self.context.adapter.to_string(),
            reason: format!("what was tuned cannot be kept: {reason}"),
        };
        let folder = self.folder.as_deref();
        let folder = folder.ok_or_else(|| refuse("there is no cache folder".to_owned()))?;
        let tiles = self.context.tiles().clone();
        tiles
            .save(folder, &self.context.adapter)
            .map_err(|error| refuse(format!("{}: {error}", folder.display())))
    }
}
