//! The machine a report was made on.

use serde::Serialize;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What every report records of its machine and program.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    /// Processor.
    pub cpu: String,
    /// Logical cores.
    pub cores: usize,
    /// Instruction set in use.
    pub isa: String,
    /// Main memory.
    pub memory_bytes: u64,
    /// Operating system.
    pub os: String,
    /// Compiler.
    pub rustc: &'static str,
    /// Commit the program was built from; null outside a checkout.
    pub commit: Option<&'static str>,
    /// Whether the checkout had changes that were not committed.
    pub dirty: bool,
    /// Threads computing.
    pub threads: usize,
    /// When, in UTC.
    pub date: String,
    /// Graphics adapter and driver; null on the CPU.
    pub adapter: Option<String>,
}

impl Environment {
    /// Looks at this machine, whose processor computes with `isa`.
    pub fn here(isa: &str, adapter: Option<String>) -> Self {
        let wanted = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        // A system that tells nothing of itself leaves these empty; a report is still a report.
        let system = System::new_with_specifics(wanted).ok();
        let cpus = system.as_ref().map_or(&[][..], System::cpus);
        let known = |text: &'static str| (!text.is_empty()).then_some(text);
        Self {
            cpu: cpus
                .first()
                .map_or_else(String::new, |c| c.brand().trim().to_owned()),
            cores: cpus.len(),
            isa: isa.to_owned(),
            memory_bytes: system.as_ref().map_or(0, System::total_memory),
            os: System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.to_owned()),
            rustc: env!("FURTHERMORE_RUSTC"),
            commit: known(env!("FURTHERMORE_COMMIT")),
            dirty: env!("FURTHERMORE_DIRTY") == "true",
            threads: rayon::current_num_threads(),
            date: OffsetDateTime::now_utc()
                .format(&Rfc3339)
                .unwrap_or_default(),
            adapter,
        }
    }

    /// What computes, in words.
    pub fn computing(&self) -> String {
        match &self.adapter {
            Some(adapter) => adapter.clone(),
            None => format!("{}, {} threads on {}", self.isa, self.threads, self.cpu),
        }
    }
}

/// Bytes of memory that are free, in the machine and in the group that this process is held to;
/// unknown where the system does not say.
pub(crate) fn available_memory() -> Option<usize> {
    let memory = MemoryRefreshKind::nothing().with_ram();
    let system = System::new_with_specifics(RefreshKind::nothing().with_memory(memory)).ok()?;
    // Files that the system keeps in memory count as the group's, and make way.
    let group = system
        .cgroup_limits()
        .map(|limits| limits.total_memory.saturating_sub(limits.rss));
    let free = group.into_iter().fold(system.available_memory(), u64::min);
    Some(usize::try_from(free).unwrap_or(usize::MAX))
}
