//! What all programs on one graphics processor share: device and queue, compiled pipelines, spare
//! buffers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use furthermore_kernels_cpu::Arithmetic;
use furthermore_shaders::{Access, Binding, Shader, Stored, Variant};
use wgpu::{
    BindGroupLayout, BindGroupLayoutDescriptor, BindGroupLayoutEntry, BindingType, Buffer,
    BufferBindingType, BufferDescriptor, BufferUsages, CommandEncoder, ComputePipeline,
    ComputePipelineDescriptor, Device, Features, PipelineCompilationOptions,
    PipelineLayoutDescriptor, PollError, PollType, Queue, ShaderModuleDescriptor,
    ShaderRuntimeChecks, ShaderSource, ShaderStages,
};

use super::GpuOptions;
use super::adapter::AdapterDescription;
use super::bind::Binder;
use super::cache::DiskCache;
use super::done::Wait;
use super::lower::Lowering;
use super::tiles::TileTable;
use crate::error::{Error, Result};
use crate::plan::Plan;

/// A compiled shader, ready to run.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) shader: Shader,
    pub(super) pipeline: ComputePipeline,
    pub(super) operands: BindGroupLayout,
}

/// The device and what is kept on it from program to program.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) device: Device,
    pub(super) queue: Queue,
    pub(super) adapter: AdapterDescription,
    pub(super) stored: Stored,
    /// How long a wait for the device may take.
    pub(super) patience: Duration,
    /// How operands are bound.
    pub(super) binder: Binder,
    pub(super) shared_layout: BindGroupLayout,
    pipelines: Mutex<HashMap<Variant, Arc<Pipeline>>>,
    spare: Mutex<HashMap<u64, Vec<Buffer>>>,
    trouble: Arc<Mutex<Trouble>>,
    cache: Option<DiskCache>,
    tiles: Mutex<TileTable>,
    counters: [AtomicUsize; 3],
    /// Bytes handed over that no submit has sent off yet, at most.
    unsent: AtomicU64,
}

/// What went wrong outside any call that could have said so.
#[derive(Debug, Default)]
struct Trouble {
    /// Once a device is lost it stays so.
    lost: Option<String>,
    /// The first complaint since one was last asked for.
    complaint: Option<String>,
}

impl Trouble {
    fn take(&mut self) -> Option<String> {
        let complaint = self.complaint.take();
        self.lost.clone().or(complaint)
    }
}

/// What a device was asked to do, all programs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Submits of recorded commands.
    pub submits: usize,
    /// Compute passes of runs.
    pub passes: usize,
    /// Buffers read back.
    pub readbacks: usize,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept is whole whenever the lock is let go, also by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn layout_entry(binding: u32, access: Access) -> BindGroupLayoutEntry {
    let ty = match access {
        Access::Uniform => BufferBindingType::Uniform,
        Access::Read => BufferBindingType::Storage { read_only: true },
        Access::ReadWrite => BufferBindingType::Storage { read_only: false },
    };
    BindGroupLayoutEntry {
        binding,
        visibility: ShaderStages::COMPUTE,
        ty: BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}

impl Context {
    pub(super) fn new(
        device: Device,
        queue: Queue,
        adapter: AdapterDescription,
        stored: Stored,
        options: &GpuOptions,
        cache: Option<DiskCache>,
        tiles: TileTable,
    ) -> Self {
        let trouble = Arc::new(Mutex::new(Trouble::default()));
        let (lost, odd) = (Arc::clone(&trouble), Arc::clone(&trouble));
        device.set_device_lost_callback(move |reason, message| {
            let what = format!("the device is lost ({reason:?}): {message}");
            locked(&lost).lost.get_or_insert(what);
        });
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            locked(&odd).complaint.get_or_insert(error.to_string());
        }));
        let entries = [
            layout_entry(0, Access::Read),
            layout_entry(1, Access::ReadWrite),
            layout_entry(2, Access::Uniform),
        ];
        let shared_layout = device.create_bind_group_layout(&BindGroupLayoutDescriptor {
            label: Some("what all commands share"),
            entries: &entries,
        });
        let most = device.limits().max_storage_buffer_binding_size;
        Self {
            binder: Binder::new(
                options
                    .largest_binding
                    .map_or(most, |wanted| wanted.min(most)),
                device.limits().min_storage_buffer_offset_alignment,
            ),
            device,
            queue,
            adapter,
            stored,
            patience: options.patience,
            shared_layout,
            pipelines: Mutex::default(),
            spare: Mutex::default(),
            trouble,
            cache,
            tiles: Mutex::new(tiles),
            counters: Default::default(),
            unsent: AtomicU64::new(0),
        }
    }

    /// The tiles that were found fastest so far.
    pub(super) fn tiles(&self) -> MutexGuard<'_, TileTable> {
        locked(&self.tiles)
    }

    /// What lowers a plan's commands for this device.
    pub(super) fn lowering(
        &self,
        plan: &Plan,
        arithmetic: &Arithmetic,
        tiles: TileTable,
    ) -> Lowering {
        let bytes = self.workgroup_bytes();
        Lowering::new(plan, arithmetic, self.stored, bytes, tiles)
    }

    /// Bytes of workgroup memory, apart from what the guard keeps there.
    pub(super) fn workgroup_bytes(&self) -> usize {
        /// A magnitude of four bytes for each slot of the largest algebra.
        const GUARD: usize = 32;
        let bytes = self.device.limits().max_compute_workgroup_storage_size as usize;
        bytes.saturating_sub(GUARD)
    }

    /// Submits what was recorded.
    pub(super) fn submit(&self, encoder: CommandEncoder) {
        self.counters[0].fetch_add(1, Ordering::Relaxed);
        self.queue.submit([encoder.finish()]);
    }

    /// Hands bytes over to be written, and sends off what has gathered before it takes much memory: the
    /// device needs them with the next submit, and until then there are two of each.
    pub(super) fn write(&self, target: &Buffer, offset: u64, bytes: &[u8]) {
        const MOST: u64 = 64 << 20;
        self.queue.write_buffer(target, offset, bytes);
        let len = bytes.len() as u64;
        if self.unsent.fetch_add(len, Ordering::Relaxed) + len >= MOST {
            self.unsent.store(0, Ordering::Relaxed);
            self.queue.submit([]);
            // Frees what is written by now. What goes wrong is told to whoever waits next.
            let _ = self.device.poll(PollType::Poll);
        }
    }

    pub(super) fn count_pass(&self) {
        self.counters[1].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_readback(&self) {
        self.counters[2].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counters(&self) -> Counters {
        let [submits, passes, readbacks] =
            [0, 1, 2].map(|i| self.counters[i].load(Ordering::Relaxed));
        Counters {
            submits,
            passes,
            readbacks,
        }
    }

    pub(super) fn error(&self, reason: String) -> Error {
        Error::Device {
            device: self.adapter.to_string(),
            reason,
        }
    }

    /// Whatever the device has complained of since it was last asked.
    ///
    /// # Errors
    /// When it has.
    pub(super) fn check(&self) -> Result<()> {
        match locked(&self.trouble).take() {
            None => Ok(()),
            Some(reason) => Err(self.error(reason)),
        }
    }

    /// Runs `make` and returns what the device had against it.
    async fn scoped<T>(&self, make: impl FnOnce() -> T) -> Result<T> {
        // Scopes are a thread's, and are closed before there is anything to await.
        let (made, complaints) = {
            let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
            let made = make();
            (made, [validation, memory].map(wgpu::ErrorScopeGuard::pop))
        };
        for complaint in complaints {
            if let Some(error) = complaint.await {
                return Err(self.error(error.to_string()));
            }
        }
        self.check()?;
        Ok(made)
    }

    /// The pipeline of a variant for the command `name`, compiled at first use.
    ///
    /// # Errors
    /// When the shader or the device refuses it.
    pub(super) async fn pipeline(&self, name: &str, variant: &Variant) -> Result<Arc<Pipeline>> {
        if let Some(found) = locked(&self.pipelines).get(variant) {
            return Ok(Arc::clone(found));
        }
        let shader = variant.compile().map_err(|e| self.error(e.to_string()))?;
        let storage = |b: &&Binding| b.access != Access::Uniform;
        let bound = shader.bindings().iter().filter(storage).count();
        let most = self.device.limits().max_storage_buffers_per_shader_stage as usize;
        if bound > most {
            return Err(self.error(format!(
                "'{name}' takes {bound} bindings, and a shader {most}"
            )));
        }
        let label = Some(variant.entry);
        let entries: Vec<BindGroupLayoutEntry> = shader
            .bindings()
            .iter()
            .filter(|b| b.group == 0)
            .map(|b| layout_entry(b.number, b.access))
            .collect();
        let made = self.scoped(|| {
            let operands = self
                .device
                .create_bind_group_layout(&BindGroupLayoutDescriptor {
                    label,
                    entries: &entries,
                });
            let layout = self
                .device
                .create_pipeline_layout(&PipelineLayoutDescriptor {
                    label,
                    bind_group_layouts: &[Some(&operands), Some(&self.shared_layout)],
                    immediate_size: 0,
                });
            let source = ShaderSource::Naga(std::borrow::Cow::Owned(shader.module().clone()));
            let descriptor = ShaderModuleDescriptor { label, source };
            // SAFETY: the shaders are this project's own. Each compares its element with the sizes
            // it is given before it reads or writes, `Lowered` takes these sizes from regions that
            // lie in the buffers bound, `Span::bindings` holds each number where the functions of its
            // split look for it (tested there, and on devices), and no loop is unbounded.
            let module = unsafe {
                self.device
                    .create_shader_module_trusted(descriptor, ShaderRuntimeChecks::unchecked())
            };
            let pipeline = self
                .device
                .create_compute_pipeline(&ComputePipelineDescriptor {
                    label,
                    layout: Some(&layout),
                    module: &module,
                    entry_point: label,
                    compilation_options: PipelineCompilationOptions {
                        zero_initialize_workgroup_memory: false,
                        ..PipelineCompilationOptions::default()
                    },
                    cache: self.cache.as_ref().map(DiskCache::pipelines),
                });
            (operands, pipeline)
        });
        let (operands, pipeline) = made.await?;
        if let Some(cache) = &self.cache {
            cache.grown();
        }
        let made = Arc::new(Pipeline {
            shader,
            pipeline,
            operands,
        });
        locked(&self.pipelines).insert(variant.clone(), Arc::clone(&made));
        Ok(made)
    }

    /// A zeroed buffer of at least `bytes`, from the spare ones where one is of that size class.
    ///
    /// # Errors
    /// When one buffer cannot be so large, or there is not that much memory.
    pub(super) async fn buffer(self: &Arc<Self>, bytes: u64, wait: Wait) -> Result<Buffer> {
        // Whole vectors, as copies and clears take them.
        let most = self.device.limits().max_buffer_size / 256 * 256;
        if bytes > most {
            return Err(self.error(format!(
                "a tensor of {bytes} bytes was asked for, and one buffer takes {most}"
            )));
        }
        let class = size_class(bytes).min(most);
        let spare = locked(&self.spare).get_mut(&class).and_then(Vec::pop);
        if let Some(buffer) = spare {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            encoder.clear_buffer(&buffer, 0, None);
            self.submit(encoder);
            return Ok(buffer);
        }
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        match self.create(class, usage).await {
            Err(_) if self.drop_spare() => {
                // Memory is free again once what used it is done.
                self.idle(wait).await?;
                self.create(class, usage).await
            }
            made => made,
        }
    }

    /// Gives spare buffers back to the device; whether there were any.
    fn drop_spare(&self) -> bool {
        let spare = std::mem::take(&mut *locked(&self.spare));
        spare.values().any(|buffers| !buffers.is_empty())
    }

    /// A buffer for another use, not pooled.
    ///
    /// # Errors
    /// When there is not that much memory.
    pub(super) async fn create(&self, size: u64, usage: BufferUsages) -> Result<Buffer> {
        self.scoped(|| {
            self.device.create_buffer(&BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation: false,
            })
        })
        .await
    }

    /// Keeps buffers for the next program.
    pub(super) fn keep(&self, buffers: impl IntoIterator<Item = Buffer>) {
        let mut spare = locked(&self.spare);
        for buffer in buffers {
            spare.entry(buffer.size()).or_default().push(buffer);
        }
    }

    /// Waits until all that was submitted is done.
    ///
    /// # Errors
    /// When that takes longer than the context's patience, or the device is lost.
    pub(super) fn wait(&self) -> Result<()> {
        let waited = self.device.poll(PollType::Wait {
            submission_index: None,
            timeout: Some(self.patience),
        });
        self.check()?;
        match waited {
            Ok(_) => Ok(()),
            Err(PollError::Timeout) => Err(self.error(format!(
                "it did not finish within {} seconds",
                self.patience.as_secs()
            ))),
            Err(error) => Err(self.error(error.to_string())),
        }
    }

    /// Whether commands can be timed one by one within a pass.
    pub(super) fn times_commands(&self) -> bool {
        self.device
            .features()
            .contains(Features::TIMESTAMP_QUERY | Features::TIMESTAMP_QUERY_INSIDE_PASSES)
    }
}

/// Rounds up so that tensors of similar size can share buffers: an eighth of a power of two.
fn size_class(bytes: u64) -> u64 {
    let step = (bytes.max(256).next_power_of_two() / 8).max(256);
    bytes.max(1).next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_told_once_and_a_loss_for_good() {
        let mut trouble = Trouble {
            lost: None,
            complaint: Some("a copy past the end".to_owned()),
        };
        assert_eq!(trouble.take().as_deref(), Some("a copy past the end"));
        assert_eq!(trouble.take(), None);
        trouble.lost = Some("unplugged".to_owned());
        trouble.complaint = Some("a copy past the end".to_owned());
        assert_eq!(trouble.take().as_deref(), Some("unplugged"));
        assert_eq!(trouble.take().as_deref(), Some("unplugged"));
    }
}
