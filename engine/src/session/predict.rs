//! Any number of samples through a plan of one batch size.

use super::{Session, samples};
use crate::error::{Error, Result};
use crate::plan::Role;
use crate::tensor::{Ciphertext, Plaintext, Tensor, TensorView, with_dtype};

impl Session {
    /// Runs all samples of `inputs`, which have a row a sample, through the plan, a batch at a time,
    /// and gives an output's rows for them. The last batch is filled up with its last sample.
    /// `done` is told the samples so far after each batch. An output into which several samples go, as
    /// into a mean over the batch, or of which that is not certain, takes exactly a batch.
    ///
    /// # Errors
    /// When an input is missing, inputs differ in samples or do not fit, the output has no row a sample or mixes them, or a
    /// run fails.
    pub fn predict(
        &mut self,
        inputs: &[(&str, TensorView<'_>)],
        output: &str,
        mut done: impl FnMut(usize),
    ) -> Result<Tensor> {
        let batch = self.plan.options().batch;
        self.check_inputs("predict", inputs)?;
        let samples = samples("predict", inputs)?;
        let binding = self.plan.binding("output", output, &[Role::Output])?;
        let Some((_, sample)) = binding
            .shape
            .split_first()
            .filter(|(rows, _)| **rows == batch)
        else {
            return Err(Error::Operation {
                operation: "predict".to_owned(),
                reason: format!(
                    "output '{output}' of shape {} has no row a sample",
                    binding.shape
                ),
            });
        };
        if !binding.by_sample && samples != batch {
            return Err(Error::Operation {
                operation: "predict".to_owned(),
                reason: format!(
                    "it is not certain that samples stay apart in output '{output}': {samples} \
                     samples need a batch of {samples}, and it is {batch}"
                ),
            });
        }
        let shape: Vec<usize> = std::iter::once(samples)
            .chain(sample.iter().copied())
            .collect();
        let dtype = self.plan.options().dtype;
        let mut all = match &self.key {
            Some(key) if binding.encrypted => {
                let algebra = binding.algebra(self.plan.options().algebra);
                Tensor::Ciphertext(Ciphertext::zeros(shape, dtype, algebra, key)?)
            }
            _ => Tensor::Plaintext(Plaintext::zeros(shape, dtype)?),
        };
        for first in (0..samples).step_by(batch) {
            let last = samples.min(first + batch) - 1;
            let rows: Vec<usize> = (first..first + batch).map(|row| row.min(last)).collect();
            for (name, tensor) in inputs {
                self.write_rows(name, *tensor, &rows)?;
            }
            self.run()?;
            copy_rows(&self.read(output)?, &mut all, first, last + 1 - first)?;
            done(last + 1);
        }
        Ok(all)
    }
}

/// Copies the first `count` rows of one tensor to those of another from `at` on, both of a kind.
fn copy_rows(from: &Tensor, to: &mut Tensor, at: usize, count: usize) -> Result<()> {
    let width = from.view().shape().row_elements();
    let (at, len) = (at * width, count * width);
    match (from, to) {
        (Tensor::Plaintext(from), Tensor::Plaintext(to)) => with_dtype!(from.dtype(), T => {
            let numbers = &from.as_slice::<T>()?[..len];
            to.buffer_mut().as_mut_slice::<T>()[at..][..len].copy_from_slice(numbers);
        }),
        (Tensor::Ciphertext(from), Tensor::Ciphertext(to)) => with_dtype!(from.dtype(), T => {
            let (from, mut to) = (from.planes::<T>()?, to.planes_mut::<T>()?);
            for plane in 0..from.count() {
                to.plane_mut(plane)[at..][..len].copy_from_slice(&from.plane(plane)[..len]);
            }
        }),
        _ => unreachable!("both are of the kind that the plan's output is"),
    }
    Ok(())
}
