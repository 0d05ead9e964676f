//! The tensors that a session fills itself: constants and dropout masks.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::device::{Program, Source};
use crate::error::Result;
use crate::plan::{Fill, Plan, Region};
use crate::tensor::{DType, Plaintext, Shape, with_dtype};

/// What dropout draws from, and where it draws to.
pub(super) struct Masks {
    masks: Vec<Mask>,
    seed: u64,
}

struct Mask {
    rate: f64,
    region: Region,
    /// On the host, redrawn in place.
    numbers: Plaintext,
}

impl Masks {
    /// Writes the plan's constants and sets its masks up.
    ///
    /// # Errors
    /// When a constant is not finite in the plan's element type, or the device fails.
    pub(super) fn new(plan: &Plan, program: &mut dyn Program) -> Result<Self> {
        let dtype = plan.options().dtype;
        let mut masks = Vec::new();
        for filled in plan.filled() {
            let (shape, region) = (filled.shape.clone(), filled.region);
            match &filled.fill {
                Fill::Constant(values) => {
                    let numbers = constant(shape, values, dtype)?;
                    numbers.check_finite(None, || format!("a constant of the plan, in {dtype}"))?;
                    upload(program, &region, &numbers)?;
                }
                &Fill::Dropout { rate } => masks.push(Mask {
                    rate,
                    region,
                    numbers: Plaintext::zeros(shape, dtype)?,
                }),
            }
        }
        Ok(Self { masks, seed: 0 })
    }

    pub(super) fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Draws every mask for a run. What is drawn depends on the seed and the run's number alone, so
    /// that whoever goes on from a number draws what would have been drawn.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn draw(&mut self, program: &mut dyn Program, run: u64) -> Result<()> {
        let mut random = ChaCha20Rng::seed_from_u64(self.seed);
        // Orders of epochs have the even ones.
        random.set_stream(run.wrapping_mul(2) | 1);
        for mask in &mut self.masks {
            let kept = 1.0 / (1.0 - mask.rate);
            with_dtype!(mask.numbers.dtype(), T => {
                for x in mask.numbers.buffer_mut().as_mut_slice::<T>() {
                    let dropped = random.random::<f64>() < mask.rate;
                    *x = if dropped { 0.0 } else { kept as T };
                }
            });
            upload(program, &mask.region, &mask.numbers)?;
        }
        Ok(())
    }
}

fn constant(shape: Shape, values: &[f64], dtype: DType) -> Result<Plaintext> {
    Plaintext::new(shape, values)?.to_dtype(dtype)
}

fn upload(program: &mut dyn Program, region: &Region, numbers: &Plaintext) -> Result<()> {
    let source = Source {
        buffer: numbers.buffer(),
        stride: 0,
        row: numbers.shape().row_elements(),
        rows: None,
        embed: None,
    };
    program.upload(region, source)
}
