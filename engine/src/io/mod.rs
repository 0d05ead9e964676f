//! Files: keys, tensors, checkpoints, and NumPy's arrays.
//!
//! What is written stands under a temporary name beside its place until it is whole, so a file is
//! there or it is not. What is read may be anything: sizes are held against the file's length before
//! anything is allocated for them, and errors name the file.

mod checkpoint;
mod keys;
mod npy;
mod tensors;

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

pub use checkpoint::{read_checkpoint, write_checkpoint};
pub use keys::{read_secret_key, write_secret_key};
pub use npy::{read_npy, write_npy};
pub use tensors::{
    TensorFile, read_tensors, read_tensors_under, tensors_from_bytes, tensors_to_bytes,
    write_tensors,
};

use crate::error::{Error, Result};
use crate::scheme::KEY_MAGIC;

/// Bytes that go between a file and a tensor at a time.
const CHUNK: usize = 1 << 16;

/// Refuses a file.
fn refuse<T>(file: impl ToString, reason: impl ToString) -> Result<T> {
    let (file, reason) = (file.to_string(), reason.to_string());
    Err(Error::File { file, reason })
}

/// Opens a file to read, with its length. What has no length, such as a pipe, is refused unopened.
fn open(path: &Path) -> Result<(File, u64)> {
    let opened = fs::metadata(path).and_then(|metadata| {
        if !metadata.is_file() {
            return Err(io::Error::other("not a file"));
        }
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    });
    opened.or_else(|error| refuse(path.display(), format!("cannot be read: {error}")))
}

/// Why reading ended before it should.
fn cut_short(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "cut short".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// Whether a file holds a secret key, which nothing is ever put over: a lost key is lost data.
pub fn is_secret_key(path: &Path) -> bool {
    let mut start = [0; KEY_MAGIC.len()];
    // What has no length is not opened, and what cannot be read is none of ours.
    open(path).is_ok_and(|(mut file, _)| file.read_exact(&mut start).is_ok() && start == *KEY_MAGIC)
}

/// What happens to a file that stands where another is put, and who may read it.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// It is replaced; who may read it is up to the process's mask of permissions.
    Replace,
    /// It stays, and putting another there fails; none but the owner may read either.
    Keep,
}

/// Writes bytes to a file that is replaced if it is there.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, Place::Replace, |to| to.write_all(bytes))
}

/// Writes a file under a temporary name in the same folder, waits until it is stored, and gives it
/// its name.
fn write_whole(
    path: &Path,
    place: Place,
    write: impl FnOnce(&mut BufWriter<&File>) -> Result<(), io::Error>,
) -> Result<()> {
    if path.is_dir() {
        return refuse(path.display(), "it is a folder");
    }
    if place == Place::Replace && is_secret_key(path) {
        return refuse(path.display(), "there is a secret key, and it stays");
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let written = || {
        // Made for the owner alone unless told otherwise.
        let mut builder = tempfile::Builder::new();
        builder.prefix(".furthermore-");
        #[cfg(unix)]
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        #[cfg(unix)]
        if place == Place::Replace {
            builder.permissions(everyone);
        }
        let file = builder.tempfile_in(folder)?;
        let mut writer = BufWriter::with_capacity(CHUNK, file.as_file());
        write(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.as_file().sync_all()?;
        Ok::<_, io::Error>(file)
    };
    let fail = |error: io::Error| Error::File {
        file: path.display().to_string(),
        reason: match error.kind() {
            io::ErrorKind::AlreadyExists => "there is a file already, and it stays".to_owned(),
            _ => format!("cannot be written: {error}"),
        },
    };
    let file = written().map_err(fail)?;
    let placed = match place {
        Place::Replace => file.persist(path),
        Place::Keep => file.persist_noclobber(path),
    };
    placed.map(drop).map_err(|error| fail(error.error))
}
