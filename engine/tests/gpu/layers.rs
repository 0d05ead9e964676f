//! Layers and optimisers against PyTorch's values and gradients.

use furthermore::tensor::DType;

use crate::gpu;
use crate::support::layers::{check_layers, check_optimizers};

#[test]
fn layers_and_their_gradients_are_pytorchs() {
    let Some(gpu) = gpu() else { return };
    check_layers(&[&gpu], &[DType::F32]);
}

#[test]
fn optimizers_step_as_pytorchs_do() {
    let Some(gpu) = gpu() else { return };
    check_optimizers(&gpu, &[DType::F32]);
}
