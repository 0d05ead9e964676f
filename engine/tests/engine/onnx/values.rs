//! What imported networks compute, against the values stored beside the models.

use furthermore::Algebra;
use furthermore::tensor::DType;

use crate::support::models::{BATCH, Example, all, check_encrypted, check_predicted, examples};
use crate::support::{REGIMES, cpu};

fn plain(example: &Example) -> Result<(), String> {
    let (real, regime) = (Algebra::Real, REGIMES[0]);
    example.check(
        &cpu(),
        &example.import()?,
        BATCH,
        DType::F64,
        real,
        regime,
        1e-5,
    )
}

#[test]
fn operators_give_the_reference_evaluators_values() {
    all("operators", plain);
}

#[test]
fn operators_give_them_on_ciphertexts() {
    all("operators", |example| check_encrypted(&cpu(), example));
}

#[test]
fn networks_give_their_frameworks_values() {
    all("networks", plain);
    all("external", plain);
}

#[test]
fn networks_give_them_on_ciphertexts() {
    all("networks", |example| check_encrypted(&cpu(), example));
}

/// Weights that are encrypted too: those that a batch normalisation was folded into among them.
#[test]
fn networks_give_them_on_encrypted_weights() {
    all("networks", |example| {
        let imported = example.import()?;
        let (algebra, regime) = (Algebra::Compact(2), REGIMES[2]);
        assert!(regime.inputs && regime.parameters);
        example.check(&cpu(), &imported, BATCH, DType::F32, algebra, regime, 1e-3)
    });
}

/// The batch for which a model is imported decides only what the model computes from it.
#[test]
fn networks_serve_other_batches() {
    all("networks", |example| {
        let imported = example.import()?;
        for rows in [1, 2, 7] {
            let (real, regime) = (Algebra::Real, REGIMES[0]);
            example.check(&cpu(), &imported, rows, DType::F64, real, regime, 1e-5)?;
        }
        Ok(())
    });
}

/// Seven samples by batches of three, though attention moves the batch to and fro.
#[test]
fn attention_takes_any_number_of_samples() {
    for algebra in [Algebra::Real, Algebra::Compact(2)] {
        all("attention", |example| {
            check_predicted(&cpu(), example, algebra)
        });
    }
}

/// A number off by three tolerances is seen.
#[test]
fn a_wrong_number_is_noticed() {
    let mut examples = examples("networks");
    let example = (examples
        .iter_mut()
        .find(|example| example.name == "lenet_dynamo"))
    .expect("it is stored");
    assert_eq!(plain(example), Ok(()));
    let (_, values) = example.outputs.get_mut("output").expect("its output");
    let size = values.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
    values[17] += 3e-5 * size;
    let said = plain(example).expect_err("a wrong number");
    assert!(said.contains("1 of 30 wrong, the first at 17"), "{said}");
}
