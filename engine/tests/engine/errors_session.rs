//! What is refused when tensors meet a session.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::network::{Function, Init, Network};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::session::Session;
use furthermore::tensor::DType;

use crate::support::{
    Loss, Mlp, Noise, Training, cpu, decrypted, encrypt, key, random, refused, tensor,
};

const ALGEBRA: Algebra = Training::ALGEBRA;
const BATCH: usize = Training::BATCH;

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let Training {
        key: ours,
        mut session,
        ..
    } = Training::new(DType::F32);
    let theirs = key(2, 113);
    let draw = |shape: &[usize], dtype| random(shape, (-1.0, 1.0), dtype, &mut Noise::new(1));
    let good = draw(&[BATCH, 3], DType::F32);
    let narrow = encrypt(&ours, ALGEBRA, 1, &draw(&[BATCH, 2], DType::F32));
    let parts = ["input 'x'", "[4, 2] where [4, 3]"];
    refused("a shape", session.write("x", &narrow), &parts);
    let wide = encrypt(&ours, ALGEBRA, 1, &draw(&[BATCH, 3], DType::F64));
    refused(
        "a type",
        session.write("x", &wide),
        &["input 'x'", "f64 where f32"],
    );
    let blocks = encrypt(&ours, Algebra::Blocks(2), 1, &good);
    let parts = ["input 'x'", "blocks2 where compact2"];
    refused("an algebra", session.write("x", &blocks), &parts);
    let foreign = encrypt(&theirs, ALGEBRA, 1, &good);
    let ids = [ours.id().to_string(), theirs.id().to_string()];
    let parts = ["input 'x'", &ids[0], &ids[1]];
    refused("a key", session.write("x", &foreign), &parts);
    let parts = ["input 'x'", "a plaintext was given where a ciphertext"];
    refused("a plaintext", session.write("x", &good), &parts);
    refused(
        "a plaintext",
        session.write_rows("x", &good, &[0, 1, 2, 3]),
        &parts,
    );
    let weight = draw(&[5, 3], DType::F32);
    let parts = ["parameter 'fc1.weight'", "[5, 3] where [3, 5]"];
    refused("a weight", session.write("fc1.weight", &weight), &parts);
    let bad = tensor(&[5], &[0.0, 0.0, f64::NAN, 0.0, 0.0], DType::F32);
    let parts = ["parameter 'fc1.bias'", "element 2", "NaN"];
    refused("a weight", session.write("fc1.bias", &bad), &parts);

    let known = ["'z'", "x", "target", "fc1.weight", "fc2.bias"];
    refused("a name", session.write("z", &good), &known);
    refused(
        "a result",
        session.write("y", &good),
        &["'y'", "input or parameter"],
    );
    refused(
        "a name",
        session.write_rows("fc1.bias", &bad, &[0]),
        &["input 'fc1.bias'"],
    );
    refused("a name", session.read("z"), &["'z'", "y, loss"]);
    refused("an input", session.read("x"), &["'x'"]);

    // The plan of another regime wants the opposite.
    let network = Mlp::new(&[3, 2], Function::Relu, Loss::SquaredError).inference();
    let options = CompileOptions::encrypted_inputs(BATCH, DType::F32, ALGEBRA);
    let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
    let mut session = Session::new(&cpu(), plan, Some(ours.evaluation_key())).expect("a session");
    let weight = encrypt(&ours, ALGEBRA, 1, &draw(&[3, 2], DType::F32));
    let parts = [
        "parameter 'fc1.weight'",
        "a ciphertext was given where a plaintext",
    ];
    refused("a weight", session.write("fc1.weight", &weight), &parts);
    let parts = ["parameter 'fc1.weight'", "there are "];
    let nothing = furthermore::network::Parameters::default();
    refused("no weights", session.load_parameters(&nothing), &parts);
}

#[test]
fn rows_that_do_not_exist_are_refused() {
    let mut training = Training::new(DType::F32);
    let mut noise = Noise::new(2);
    let many = random(&[9, 3], (-1.0, 1.0), DType::F32, &mut noise);
    let many = encrypt(&training.key, ALGEBRA, 1, &many);
    let session = &mut training.session;
    let parts = ["input 'x'", "row 9", "there are 9"];
    refused(
        "a row",
        session.write_rows("x", &many, &[0, 9, 1, 2]),
        &parts,
    );
    let parts = ["input 'x'", &usize::MAX.to_string()[..]];
    refused(
        "a row",
        session.write_rows("x", &many, &[0, 1, 2, usize::MAX]),
        &parts,
    );
    let parts = ["input 'x'", "[3, 3] where [4, 3]"];
    refused(
        "few rows",
        session.write_rows("x", &many, &[0, 1, 2]),
        &parts,
    );
    let wide = random(&[9, 4], (-1.0, 1.0), DType::F32, &mut noise);
    let wide = encrypt(&training.key, ALGEBRA, 1, &wide);
    let parts = ["input 'x'", "[4, 4] where [4, 3]"];
    refused(
        "wide rows",
        session.write_rows("x", &wide, &[0, 1, 2, 3]),
        &parts,
    );
    let single = encrypt(&training.key, ALGEBRA, 1, &tensor(&[], &[1.0], DType::F32));
    refused(
        "a number",
        session.write_rows("x", &single, &[0; 4]),
        &["input 'x'", "[] where"],
    );
    session
        .write_rows("x", &many, &[8, 8, 0, 3])
        .expect("rows may repeat");
    session.run().expect("a run");
}

#[test]
fn learning_rates_are_checked() {
    for (dtype, rates) in [
        (DType::F32, &[f64::NAN, f64::INFINITY, -0.1, 1e39][..]),
        (DType::F64, &[f64::NAN, f64::NEG_INFINITY, -1e-300]),
    ] {
        let mut training = Training::new(dtype);
        for rate in rates {
            let parts = ["learning rate", &rate.to_string(), "negative or not finite"];
            refused("a rate", training.session.set_learning_rate(*rate), &parts);
        }
        training.session.run().expect("the rate from before");
    }
}

/// An input that is not written is zero, and a session says so by computing with it.
#[test]
fn sessions_start_at_zero() {
    let mut network = Network::new();
    let x = network.input("x", [2]).expect("a new name");
    let init = Init::Uniform { bound: 1.0 };
    let b = network.parameter("b", [2], init).expect("a new name");
    let y = network.add("y", x, b).expect("a new name");
    network.output("y", y).expect("a new name");
    let options = CompileOptions::encrypted(BATCH, DType::F32, ALGEBRA);
    let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
    let key = key(2, 119);
    let mut session = Session::new(&cpu(), plan, Some(key.evaluation_key())).expect("a session");
    assert!(format!("{session:?}").contains("compact2, f32, batch 4"));
    session.run().expect("a run");
    assert_eq!(decrypted(&session, &key, "y"), [0.0; 8]);
}
