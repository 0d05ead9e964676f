//! Whole networks on both devices.

use std::sync::Arc;

use furthermore::device::{Cpu, Device};
use furthermore::network::{Function, Network};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::SecretKey;
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext, Tensor};
use furthermore::{Algebra, Error};

use crate::gpu;

fn network() -> Network {
    let mut network = Network::new();
    let x = network.input("x", [13]).expect("a new name");
    let y = network.linear("first", x, 13, 17).expect("sizes fit");
    let y = network.relu("relu", y).expect("a new name");
    let y = network.linear("second", y, 17, 5).expect("sizes fit");
    let y = network.map("tanh", Function::Tanh, y).expect("a new name");
    network.output("y", y).expect("a new name");
    network
}

/// The numbers 0.5 sin(1), 0.5 sin(2), ...
fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|i| 0.5 * (i as f32 + 1.0).sin()).collect()
}

fn outputs(device: &dyn Device, key: &SecretKey, algebra: Algebra) -> Result<Vec<f64>, Error> {
    let network = network();
    let options = CompileOptions::encrypted_inputs(7, DType::F32, algebra);
    let plan = Arc::new(Plan::compile(&network, &options)?);
    let mut session = Session::new(device, plan, Some(key.evaluation_key()))?;
    session.load_parameters(&network.initial_parameters(1, DType::F32)?)?;
    let messages = Plaintext::new([7, 13], &wave(7 * 13))?;
    if algebra == Algebra::Real {
        session.write("x", &messages)?;
    } else {
        session.write("x", &key.encryptor(algebra)?.encrypt(&messages)?)?;
    }
    session.run()?;
    match session.read("y")? {
        Tensor::Plaintext(y) => Ok(y.to_f64()),
        Tensor::Ciphertext(y) => Ok(key.decrypt(&y)?.to_f64()),
    }
}

#[test]
fn a_network_gives_what_it_gives_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let cpu = Cpu::new().expect("its instruction set is here");
    for (algebra, slots) in [
        (Algebra::Real, 2),
        (Algebra::Compact(2), 2),
        (Algebra::Blocks(2), 2),
        (Algebra::Compact(3), 3),
        (Algebra::Blocks(3), 3),
    ] {
        let key = SecretKey::generate(slots).expect("keys of that size exist");
        let expected = outputs(&cpu, &key, algebra).expect("the CPU runs it");
        let found = outputs(&gpu, &key, algebra).expect("the GPU runs it");
        assert_eq!(expected.len(), 35);
        for (at, (e, f)) in expected.iter().zip(&found).enumerate() {
            assert!((e - f).abs() < 2e-5, "{algebra}, element {at}: {e} and {f}");
        }
    }
}
