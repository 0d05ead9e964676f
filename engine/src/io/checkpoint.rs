//! Checkpoints: a trainer's parameters and optimiser states as they lie on the device, encrypted or
//! not, with how far it has come.

use std::path::Path;

use super::refuse;
use super::tensors::{read_kind, write_kind};
use crate::error::Result;
use crate::session::Trainer;
use crate::tensor::TensorView;

const KIND: &str = "checkpoint";

/// Writes a trainer's checkpoint to a file, which is replaced if it is there.
///
/// # Errors
/// When the device fails, a number is not finite, or the file cannot be written.
pub fn write_checkpoint(path: &Path, trainer: &Trainer) -> Result<()> {
    let tensors = trainer.resident()?;
    let views: Vec<(&str, TensorView<'_>)> = (tensors.iter())
        .map(|(name, tensor)| (name.as_str(), tensor.view()))
        .collect();
    write_kind(path, KIND, Some(trainer.progress()), &views)
}

/// Puts a trainer where another was when it wrote a checkpoint: one of the same network, optimiser,
/// batch, algebra, element type and key. From there on it does what that one did, bit for bit on the
/// same instruction set and number of threads. The numbers of the optimiser, the schedule and dropout are
/// not in the file: they are the trainer's own.
///
/// # Errors
/// When the file cannot be read, is no checkpoint or is cut short, or holds what does not fit the
/// trainer, which is then as it was.
pub fn read_checkpoint(path: &Path, trainer: &mut Trainer) -> Result<()> {
    let key = trainer.session().key().cloned();
    let (file, progress) = read_kind(path, KIND, key.as_deref())?;
    let Some(progress) = progress else {
        return refuse(path.display(), "it does not say how far training has come");
    };
    trainer.restore(&file.into_tensors(), progress)
}
