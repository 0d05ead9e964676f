//! Secret keys in files. What their bytes mean is the scheme's affair.

use std::io::{Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use super::{Place, open, refuse, write_whole};
use crate::error::Result;
use crate::scheme::SecretKey;

/// No key is longer.
const LONGEST: u64 = 4096;

/// Writes a secret key to a new file that only its owner may read.
///
/// # Errors
/// When there is a file already (a key that is overwritten is lost, and with it whatever is encrypted
/// under it), or the file cannot be written.
pub fn write_secret_key(path: &Path, key: &SecretKey) -> Result<()> {
    let bytes = key.to_bytes();
    // Straight to the file, past a writer's buffer that nobody would wipe.
    write_whole(path, Place::Keep, |writer| {
        writer.get_mut().write_all(&bytes)
    })
}

/// Reads a secret key; warns where others than the owner may read the file.
///
/// # Errors
/// When the file cannot be read or holds no key.
pub fn read_secret_key(path: &Path) -> Result<SecretKey> {
    let (mut file, length) = open(path)?;
    if length > LONGEST {
        return refuse(path.display(), "too long for the file of a secret key");
    }
    #[cfg(unix)]
    if let Ok(metadata) = file.metadata() {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        if mode & 0o077 != 0 {
            tracing::warn!(
                file = %path.display(),
                "others than the owner have permissions on this secret key (mode {:o})",
                mode & 0o777
            );
        }
    }
    let mut bytes = Zeroizing::new(vec![0; length as usize]);
    file.read_exact(&mut bytes)
        .or_else(|error| refuse(path.display(), format!("cannot be read: {error}")))?;
    SecretKey::from_bytes(&bytes).or_else(|error| refuse(path.display(), error))
}
