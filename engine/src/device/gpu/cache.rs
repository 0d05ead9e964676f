//! Compiled pipelines on disk, so that the next process need not compile them again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use wgpu::{Adapter, Device, Features, PipelineCache, PipelineCacheDescriptor};

/// A driver's pipeline cache with the file it is kept in.
#[derive(Debug)]
pub(super) struct DiskCache {
    cache: PipelineCache,
    file: PathBuf,
    grown: AtomicBool,
}

/// Bytes of the digest that a file begins with.
const DIGEST: usize = 32;

/// What a file holds, where that is what was written to it.
fn whole(file: &[u8]) -> Option<&[u8]> {
    let (digest, data) = file.split_at_checked(DIGEST)?;
    (Sha256::digest(data)[..] == *digest).then_some(data)
}

impl DiskCache {
    /// The cache of this adapter in `folder`; `None` where the driver has none.
    pub(super) fn open(adapter: &Adapter, device: &Device, folder: &Path) -> Option<Self> {
        if !device.features().contains(Features::PIPELINE_CACHE) {
            return None;
        }
        let name = wgpu::util::pipeline_cache_key(&adapter.get_info())?;
        let file = folder.join(name);
        let kept = fs::read(&file).unwrap_or_default();
        let data = whole(&kept);
        // SAFETY: the data is what `save` wrote, to the last bit, from the cache of a driver for this
        // adapter; if it was another version of the driver, the header that wgpu compares says so, and
        // `fallback` makes an empty cache of it.
        let cache = unsafe {
            device.create_pipeline_cache(&PipelineCacheDescriptor {
                label: None,
                data,
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

    /// Writes the file under a temporary name and renames it, if there is anything new. A cache that
    /// cannot be written costs time at the next start, nothing else.
    fn save(&self) -> std::io::Result<()> {
        let Some(data) = self.cache.get_data() else {
            return Ok(());
        };
        let digest = Sha256::digest(&data);
        if fs::read(&self.file).is_ok_and(|kept| whole(&kept) == Some(&data[..])) {
            return Ok(());
        }
        let folder = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut passing = NamedTempFile::new_in(folder)?;
        passing.write_all(&digest)?;
        passing.write_all(&data)?;
        passing.persist(&self.file)?;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_cut_or_changed_is_not_taken() {
        let data = b"pipelines";
        let mut file = Sha256::digest(data).to_vec();
        file.extend_from_slice(data);
        assert_eq!(whole(&file), Some(&data[..]));
        for len in 0..file.len() {
            assert_eq!(whole(&file[..len]), None, "{len} bytes");
        }
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert_eq!(whole(&changed), None, "byte {at}");
        }
    }
}
