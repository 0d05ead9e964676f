//! The commands, one a file, and what they share.

pub mod kernels;
pub mod parity;
pub mod reproduce;
pub mod versus;

use furthermore::Algebra;
use furthermore::device::Cpu;
use furthermore::tensor::DType;

use crate::error::{Error, Result};

/// Options that choose what to compute with.
#[derive(clap::Args, Debug, Clone)]
pub struct Compute {
    /// Device: cpu.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Algebras of the ciphertexts, comma-separated: compact2 to compact8, blocks2 to blocks8.
    #[arg(long, value_delimiter = ',', default_value = "compact2,blocks2")]
    pub algebra: Vec<String>,
    /// Element type: f32 or f64.
    #[arg(long, default_value = "f32")]
    pub dtype: String,
    /// Threads to compute with [default: all cores].
    #[arg(long)]
    pub threads: Option<usize>,
}

/// What the options of [`Compute`] chose.
#[derive(Debug)]
pub struct Chosen {
    /// The device.
    pub device: Cpu,
    /// The algebras.
    pub algebras: Vec<Algebra>,
    /// The element type.
    pub dtype: DType,
}

impl Compute {
    /// Sets up the thread pool, which the calling thread joins, and the device.
    ///
    /// # Errors
    /// When an option's value is unknown.
    pub fn choose(&self) -> Result<Chosen> {
        let refuse = |option, reason: String| Err(Error::Option { option, reason });
        let algebras = self
            .algebra
            .iter()
            .map(|name| name.parse())
            .collect::<Result<Vec<Algebra>, _>>()?;
        if let Some(twice) = algebras
            .iter()
            .enumerate()
            .find(|(i, a)| algebras[..*i].contains(a))
        {
            return refuse("--algebra", format!("{} is named twice", twice.1));
        }
        if algebras.contains(&Algebra::Real) {
            return refuse(
                "--algebra",
                "real is plaintext, which every row is compared with".into(),
            );
        }
        let dtype = self.dtype.parse()?;
        if self.device != "cpu" {
            return refuse(
                "--device",
                format!("'{}' is not known: there is cpu", self.device),
            );
        }
        let device = Cpu::new()?;
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
        Ok(Chosen {
            device,
            algebras,
            dtype,
        })
    }
}
