//! Compiled pipelines on disk, so that the next process need not compile them again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use wgpu::{Adapter, Device, Features, PipelineCache, PipelineCacheDescriptor};

/// A driver's pipeline cache with the file it is kept in.
#[derive(Debug)]
pub(super) struct DiskCache {
    cache: PipelineCache,
    file: PathBuf,
    grown: AtomicBool,
}

impl DiskCache {
    /// The cache of this adapter in `folder`; `None` where the driver has none.
    pub(super) fn open(adapter: &Adapter, device: &Device, folder: &Path) -> Option<Self> {
        if !device.features().contains(Features::PIPELINE_CACHE) {
            return None;
        }
        let name = wgpu::util::pipeline_cache_key(&adapter.get_info())?;
        let file = folder.join(name);
        let data = fs::read(&file).ok();
        // SAFETY: the data was written by `save` from this driver's cache for this adapter, whose
        // identity and version the driver's header repeats; anything else in the file is refused by
        // it, and `fallback` makes an empty cache of it.
        let cache = unsafe {
            device.create_pipeline_cache(&PipelineCacheDescriptor {
                label: None,
                data: data.as_deref(),
                fallback: true,
            })
        };
        Some(Self {
            cache,
            file,
            grown: AtomicBool::new(false),
        })
    }

    pub(super) fn pipelines(&self) -> &PipelineCache {
        &self.cache
    }

    /// Something was compiled that the file has not.
    pub(super) fn grown(&self) {
        self.grown.store(true, Ordering::Relaxed);
    }

    /// Writes the file under a temporary name and renames it. A cache that cannot be written costs
    /// time at the next start, nothing else.
    fn save(&self) -> std::io::Result<()> {
        let Some(data) = self.cache.get_data() else {
            return Ok(());
        };
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        let passing = self.file.with_extension(std::process::id().to_string());
        fs::write(&passing, data)?;
        fs::rename(&passing, &self.file)
    }
}

impl Drop for DiskCache {
    fn drop(&mut self) {
        if self.grown.load(Ordering::Relaxed)
            && let Err(error) = self.save()
        {
            tracing::warn!(file = %self.file.display(), %error, "the pipeline cache is not kept");
        }
    }
}
