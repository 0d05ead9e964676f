//! Imported networks against the values stored beside the models.

use crate::gpu;
use crate::support::models::{all, check_encrypted};

#[test]
fn networks_give_their_frameworks_values_on_ciphertexts() {
    let Some(gpu) = gpu() else { return };
    all("networks", |example| check_encrypted(&gpu, example));
}

#[test]
fn operators_give_the_reference_evaluators_values_on_ciphertexts() {
    let Some(gpu) = gpu() else { return };
    all("operators", |example| check_encrypted(&gpu, example));
}
