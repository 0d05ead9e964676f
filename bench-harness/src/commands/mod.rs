//! The commands, one a file, and what they share.

pub mod audit;
pub mod decrypt;
pub mod download;
pub mod encrypt;
pub mod execute;
pub mod infer;
pub mod kernels;
pub mod keygen;
pub mod parity;
pub mod polynomials;
pub mod profile;
pub mod reproduce;
pub mod run;
pub mod show;
pub mod tune;
pub mod versus;

use furthermore::Algebra;
use furthermore::device::gpu::{ADAPTER_VARIABLE, GpuOptions};
use furthermore::device::{Cpu, Device, Gpu};
use furthermore::tensor::DType;

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::kernels::Peaks;
use crate::scheme::Scheme;

/// What every command says that has computed on ciphertexts.
const WARNING: &str = "MORE over real numbers hides nothing from someone who analyses the data.";

/// Options that choose a device.
#[derive(clap::Args, Debug, Clone)]
pub struct Engine {
    /// Device: cpu or gpu.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// A part of the graphics adapter's name, backend or driver [default: FURTHERMORE_ADAPTER, or else the
    /// best adapter].
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// Threads to compute with [default: all cores].
    #[arg(long)]
    pub threads: Option<usize>,
}

/// The device that the options of [`Engine`] chose.
#[derive(Debug)]
pub struct Opened {
    /// The processor, which computes where there is no other device.
    pub cpu: Cpu,
    /// The graphics processor, where it was asked for.
    pub gpu: Option<Gpu>,
}

impl Engine {
    /// Sets up the thread pool, which the calling thread joins, and the device, to compute in an
    /// element type.
    ///
    /// # Errors
    /// When an option's value is unknown.
    pub fn open(&self, dtype: DType) -> Result<Opened> {
        let refuse = |option, reason: String| Err(Error::Option { option, reason });
        let gpu = match self.device.as_str() {
            "cpu" if self.adapter.is_some() => {
                return refuse("--adapter", "it goes with --device gpu".to_owned());
            }
            "cpu" => None,
            "gpu" if dtype != DType::F32 => {
                return refuse("--dtype", "graphics processors compute in f32".to_owned());
            }
            "gpu" => Some(gpu(self.adapter.as_deref(), false)?),
            other => {
                let reason = format!("'{other}' is not known: there are cpu and gpu");
                return refuse("--device", reason);
            }
        };
        let cpu = Cpu::new()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or(cores);
        if !(1..=1024).contains(&threads) {
            return refuse("--threads", format!("{threads} is not between 1 and 1024"));
        }
        // A pool that exists already belongs to a caller in the same process, such as a test.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .use_current_thread()
            .build_global();
        Ok(Opened { cpu, gpu })
    }
}

impl Opened {
    /// What computes.
    pub fn device(&self) -> &dyn Device {
        match &self.gpu {
            Some(gpu) => gpu,
            None => &self.cpu,
        }
    }

    /// The instruction set, or the interface that the graphics processor is reached through.
    pub fn instructions(&self) -> String {
        match &self.gpu {
            Some(gpu) => gpu.adapter().backend.clone(),
            None => self.cpu.isa().to_string(),
        }
    }

    /// The machine with the device in use.
    pub fn environment(&self) -> Environment {
        let adapter = self.gpu.as_ref().map(|gpu| gpu.adapter().to_string());
        Environment::here(self.cpu.isa().name(), adapter)
    }
}

/// Options that choose what to compute with.
#[derive(clap::Args, Debug, Clone)]
pub struct Compute {
    #[command(flatten)]
    #[allow(missing_docs, reason = "described where it is defined")]
    pub engine: Engine,
    /// How ciphertexts are made, comma-separated: compact2 to compact8, blocks2 to blocks8; packed3 to
    /// packed8, compact with 2 to 7 messages in a ciphertext; hybrid polynomials, graded1 and up or
    /// reduced1 to reduced3 [default: compact2,blocks2; reproduce takes packed4 and graded1 too, and
    /// for mnist-mlp reduced1].
    #[arg(long, value_delimiter = ',')]
    pub algebra: Vec<Scheme>,
    /// Element type: f32 or f64.
    #[arg(long, default_value = "f32")]
    pub dtype: DType,
}

/// What the options of [`Compute`] chose.
#[derive(Debug)]
pub struct Chosen {
    /// The device.
    pub engine: Opened,
    /// How ciphertexts are made.
    pub schemes: Vec<Scheme>,
    /// The element type.
    pub dtype: DType,
}

impl Chosen {
    /// What the device in use can do at most, as it is seen now.
    ///
    /// # Errors
    /// When it fails.
    pub fn peaks(&self) -> Result<Peaks> {
        match &self.engine.gpu {
            Some(gpu) => Peaks::of_gpu(gpu),
            None => Ok(Peaks::of_cpu(&self.engine.cpu, self.dtype)),
        }
    }
}

/// The graphics processor that an option or else the environment names, or the best; what it compiles
/// is kept between runs.
///
/// # Errors
/// When there is none of that name, or it refuses to be used.
fn gpu(adapter: Option<&str>, half: bool) -> Result<Gpu> {
    let named = || std::env::var(ADAPTER_VARIABLE).ok();
    Ok(Gpu::with_options(&GpuOptions {
        adapter: adapter.map(str::to_owned).or_else(named),
        half,
        cache: dirs::cache_dir().map(|folder| folder.join("furthermore")),
        ..GpuOptions::default()
    })?)
}

impl Compute {
    /// Sets up the thread pool, which the calling thread joins, and the device.
    ///
    /// # Errors
    /// When an option's value is unknown.
    pub fn choose(&self) -> Result<Chosen> {
        let refuse = |option, reason: String| Err(Error::Option { option, reason });
        let (mut schemes, dtype) = (self.algebra.clone(), self.dtype);
        if schemes.is_empty() {
            schemes = [Algebra::Compact(2), Algebra::Blocks(2)]
                .map(Scheme::from)
                .into();
        }
        if let Some(twice) = schemes
            .iter()
            .enumerate()
            .find(|(i, scheme)| schemes[..*i].contains(scheme))
        {
            return refuse("--algebra", format!("{} is named twice", twice.1));
        }
        if schemes.contains(&Algebra::Real.into()) {
            return refuse(
                "--algebra",
                "real is plaintext, which every row is compared with".into(),
            );
        }
        let engine = self.engine.open(dtype)?;
        Ok(Chosen {
            engine,
            schemes,
            dtype,
        })
    }
}
