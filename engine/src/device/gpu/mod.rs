//! Graphics processors: each command of a plan is a dispatch of the shader of its name.
//!
//! A whole plan is recorded into one submit and one pass. Tensors stay on the device; a run reads
//! back only what the guard has seen, a few bytes a command, and outputs when they are asked for.

mod adapter;
mod bind;
mod cache;
mod context;
mod cut;
mod done;
mod lower;
mod peaks;
mod program;
mod record;
mod tiles;
mod transfer;
mod tune;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use furthermore_kernels_cpu::Arithmetic;
use furthermore_shaders::Stored;
use wgpu::{DeviceDescriptor, Features};

pub use adapter::{ADAPTER_VARIABLE, AdapterDescription};
pub use context::Counters;
pub use tune::Tuned;

use self::cache::DiskCache;
use self::context::Context;
use self::done::Wait;
use self::program::GpuProgram;
use self::tiles::TileTable;
use super::{Device, Peaks, Pending, Program};
use crate::error::{Error, Result};
use crate::plan::Plan;

/// How a graphics processor is chosen and used.
#[derive(Debug, Clone)]
pub struct GpuOptions {
    /// A part of the adapter's name; the best adapter without.
    pub adapter: Option<String>,
    /// Tensors are stored in half precision, and computed with in single precision. What that does not
    /// hold is an error where it is written, and where functions and updates make it; what sums and
    /// products make is not looked at, as in any precision.
    pub half: bool,
    /// How long a wait for the device may take before it is given up.
    pub patience: Duration,
    /// Where compiled pipelines and tuned tiles are kept between processes.
    pub cache: Option<PathBuf>,
    /// The most bytes that are bound as one, 256 or more: larger tensors are bound as groups of planes,
    /// commands on larger planes go through them in parts, and what no part can be made of is bound in
    /// segments. The adapter's limit without.
    pub largest_binding: Option<u64>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            adapter: None,
            half: false,
            patience: Duration::from_secs(120),
            cache: None,
            largest_binding: None,
        }
    }
}

/// What bindings may have to be aligned to.
const LEAST_BINDING: u64 = 256;

/// A graphics processor, through Vulkan, Metal or DX12.
#[derive(Clone)]
pub struct Gpu {
    context: Arc<Context>,
    /// Where what was compiled and tuned is kept.
    folder: Option<PathBuf>,
}

impl Gpu {
    /// The adapters of this machine, best first.
    pub fn adapters() -> Vec<AdapterDescription> {
        let all = pollster::block_on(adapter::all());
        all.iter().map(AdapterDescription::of).collect()
    }

    /// The best adapter, or the one that the environment variable `FURTHERMORE_ADAPTER` names.
    ///
    /// # Errors
    /// When there is none, or it refuses to be used.
    pub fn new() -> Result<Self> {
        let adapter = std::env::var(ADAPTER_VARIABLE).ok();
        Self::with_options(&GpuOptions {
            adapter,
            ..GpuOptions::default()
        })
    }

    /// As `options` say.
    ///
    /// # Errors
    /// See [`Gpu::new`].
    pub fn with_options(options: &GpuOptions) -> Result<Self> {
        pollster::block_on(Self::request(options))
    }

    /// As `options` say, without blocking.
    ///
    /// # Errors
    /// See [`Gpu::new`].
    pub async fn request(options: &GpuOptions) -> Result<Self> {
        let adapter = adapter::choose(options.adapter.as_deref()).await?;
        let description = AdapterDescription::of(&adapter);
        let refuse = |reason: String| Error::Device {
            device: description.to_string(),
            reason,
        };
        let invocations = adapter.limits().max_compute_invocations_per_workgroup;
        if (invocations as usize) < lower::WORKGROUP {
            return Err(refuse(format!(
                "its workgroups have {invocations} invocations at most, and kernels {}",
                lower::WORKGROUP
            )));
        }
        if let Some(bytes) = options.largest_binding.filter(|b| *b < LEAST_BINDING) {
            return Err(refuse(format!(
                "bindings of at most {bytes} bytes were asked for, and {LEAST_BINDING} are the least"
            )));
        }
        let wanted = Features::TIMESTAMP_QUERY
            | Features::TIMESTAMP_QUERY_INSIDE_ENCODERS
            | Features::TIMESTAMP_QUERY_INSIDE_PASSES
            | Features::PIPELINE_CACHE
            | Features::SHADER_F16;
        let features = adapter.features() & wanted;
        if options.half && !features.contains(Features::SHADER_F16) {
            return Err(Error::NoHalfPrecision {
                device: description.to_string(),
            });
        }
        let requested = adapter.request_device(&DeviceDescriptor {
            label: Some("furthermore"),
            required_features: features,
            required_limits: adapter.limits(),
            ..DeviceDescriptor::default()
        });
        let (device, queue) = requested.await.map_err(|e| refuse(e.to_string()))?;
        let folder = options.cache.as_deref();
        let cache = folder.and_then(|folder| DiskCache::open(&adapter, &device, folder));
        let stored = if options.half {
            Stored::F16
        } else {
            Stored::F32
        };
        let tiles = folder.map(|folder| TileTable::load(folder, &description));
        let context = Context::new(
            device,
            queue,
            description,
            stored,
            options,
            cache,
            tiles.unwrap_or_default(),
        );
        Ok(Self {
            context: Arc::new(context),
            folder: options.cache.clone(),
        })
    }

    async fn load_with(
        &self,
        plan: Arc<Plan>,
        arithmetic: Arithmetic,
        wait: Wait,
    ) -> Result<Box<dyn Program>> {
        let (context, tiles) = (Arc::clone(&self.context), self.context.tiles().clone());
        let program = GpuProgram::load(context, plan, &arithmetic, tiles, wait).await?;
        Ok(Box::new(program))
    }

    /// Which adapter it is.
    pub fn adapter(&self) -> &AdapterDescription {
        &self.context.adapter
    }

    /// Whether tensors are stored in half precision.
    pub fn half(&self) -> bool {
        self.context.stored == Stored::F16
    }

    /// What this device was asked to do so far.
    pub fn counters(&self) -> Counters {
        self.context.counters()
    }

    /// Measures what the device can do at most, which takes about a second.
    ///
    /// # Errors
    /// When it fails.
    pub fn peaks(&self) -> Result<Peaks> {
        peaks::measure(&self.context)
    }

    /// Whether commands can be timed on the device one by one.
    pub fn times_commands(&self) -> bool {
        self.context.times_commands()
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({})", self.context.adapter)
    }
}

impl Device for Gpu {
    fn name(&self) -> String {
        "gpu".to_owned()
    }

    fn load(&self, plan: Arc<Plan>, arithmetic: Arithmetic) -> Result<Box<dyn Program>> {
        pollster::block_on(self.load_with(plan, arithmetic, Wait::Here))
    }

    fn load_async(&self, plan: Arc<Plan>, arithmetic: Arithmetic) -> Pending<'_, Box<dyn Program>> {
        Box::pin(self.load_with(plan, arithmetic, Wait::Aside))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::network::{Function, Network};
    use crate::plan::CompileOptions;
    use crate::session::Session;
    use crate::tensor::{DType, Plaintext};

    #[test]
    fn a_lost_device_is_an_error_from_then_on() {
        let gpu = match Gpu::new() {
            Ok(gpu) => gpu,
            Err(error) => {
                let required = std::env::var("FURTHERMORE_REQUIRE_GPU").is_ok_and(|v| v == "1");
                assert!(!required, "FURTHERMORE_REQUIRE_GPU=1, and {error}");
                // Not by `println`: the harness keeps what passing tests print.
                writeln!(std::io::stderr(), "skipped: {error}").expect("somewhere to say so");
                return;
            }
        };
        let mut network = Network::new();
        let x = network.input("x", [5]).expect("a new name");
        let y = network.map("tanh", Function::Tanh, x).expect("a new name");
        network.output("y", y).expect("a new name");
        let options = CompileOptions::plain(3, DType::F32);
        let plan = Arc::new(Plan::compile(&network, &options).expect("it compiles"));
        let mut session = Session::new(&gpu, Arc::clone(&plan), None).expect("it is loaded");
        let x = Plaintext::new([3, 5], &[0.5f32; 15]).expect("as many");
        session.write("x", &x).expect("it fits");
        session.run().expect("it runs");
        gpu.context.device.destroy();
        for _ in 0..2 {
            let errors = [
                session.run().err(),
                session.write("x", &x).err(),
                session.read("y").err(),
                session.profile().err(),
                pollster::block_on(session.run_async()).err(),
                pollster::block_on(session.read_async("y")).err(),
                Session::new(&gpu, Arc::clone(&plan), None).err(),
                pollster::block_on(Session::new_async(&gpu, Arc::clone(&plan), None)).err(),
            ];
            for (at, error) in errors.into_iter().enumerate() {
                let error = error
                    .unwrap_or_else(|| panic!("{at} went through"))
                    .to_string();
                assert!(error.contains("lost"), "{at}: {error}");
            }
        }
    }
}
