//! Which graphics processor: the best by default, one by name, a software adapter only where it is
//! asked for or nothing else exists.

use std::fmt;

use wgpu::{Backends, DeviceType, Instance, InstanceDescriptor};

use crate::error::{Error, Result};

/// The environment variable that chooses an adapter by a part of its name.
pub const ADAPTER_VARIABLE: &str = "FURTHERMORE_ADAPTER";

/// An adapter this machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterDescription {
    /// Its name.
    pub name: String,
    /// Its driver, with version where known.
    pub driver: String,
    /// The programming interface it is reached through.
    pub backend: String,
    /// It computes on the processor: its figures say nothing of a graphics processor.
    pub software: bool,
}

impl fmt::Display for AdapterDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}", self.name, self.backend, self.driver)?;
        if self.software {
            f.write_str(", software adapter")?;
        }
        f.write_str(")")
    }
}

impl AdapterDescription {
    pub(super) fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        Self {
            name: info.name,
            driver: format!("{} {}", info.driver, info.driver_info)
                .trim()
                .to_owned(),
            backend: info.backend.to_string(),
            software: info.device_type == DeviceType::Cpu,
        }
    }

    /// Lower is better.
    fn rank(kind: DeviceType) -> u8 {
        match kind {
            DeviceType::DiscreteGpu => 0,
            DeviceType::VirtualGpu => 1,
            DeviceType::IntegratedGpu => 2,
            DeviceType::Other => 3,
            DeviceType::Cpu => 4,
        }
    }
}

/// Every adapter of this machine, best first.
pub(super) async fn all() -> Vec<wgpu::Adapter> {
    let backends = Backends::VULKAN | Backends::METAL | Backends::DX12;
    let instance = Instance::new(InstanceDescriptor {
        backends,
        ..InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters = instance.enumerate_adapters(backends).await;
    adapters.sort_by_key(|adapter| AdapterDescription::rank(adapter.get_info().device_type));
    adapters
}

/// The adapter whose name holds `wanted`, in any case, or the best.
pub(super) async fn choose(wanted: Option<&str>) -> Result<wgpu::Adapter> {
    let adapters = all().await;
    let names: Vec<String> = adapters
        .iter()
        .map(|a| AdapterDescription::of(a).to_string())
        .collect();
    let refuse = |reason: String| Error::Device {
        device: "gpu".to_owned(),
        reason,
    };
    if adapters.is_empty() {
        let reason = "this machine has no adapter for Vulkan, Metal or DX12".to_owned();
        return Err(refuse(reason));
    }
    let wanted = wanted.filter(|wanted| !wanted.is_empty());
    let wanted = wanted.map(str::to_lowercase);
    let fits = |name: &String| match &wanted {
        Some(wanted) => name.to_lowercase().contains(wanted),
        None => true,
    };
    let chosen = names.iter().position(fits).ok_or_else(|| {
        let wanted = wanted.as_deref().unwrap_or_default();
        refuse(format!(
            "no adapter's name holds '{wanted}': there are {}",
            names.join(", ")
        ))
    })?;
    if wanted.is_none() && AdapterDescription::of(&adapters[chosen]).software {
        tracing::warn!(
            adapter = names[chosen],
            "there is no graphics processor: computing on a software adapter"
        );
    }
    Ok(adapters
        .into_iter()
        .nth(chosen)
        .expect("it has just been found"))
}
