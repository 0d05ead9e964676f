//! Networks against the oracle: plaintext, encrypted inputs, encrypted weights and both, in every
//! form of the algebra, on every instruction set of this machine.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::network::{Function, Network};
use furthermore::plan::{CompileOptions, Kernel, Plan};
use furthermore::scheme::SecretKey;
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext};

use crate::support::{
    DTYPES, FUNCTIONS, Law, Loss, Mlp, More, Noise, REGIMES, Regime, compare, compiled, cpu,
    decrypted, devices, encrypt, key, open, parameters_encrypted, random, tensor, write_inputs,
};

const ALGEBRAS: [Algebra; 5] = [
    Algebra::Real,
    Algebra::Compact(2),
    Algebra::Blocks(2),
    Algebra::Compact(3),
    Algebra::Blocks(3),
];

const LOSSES: [Loss; 2] = [Loss::CrossEntropy, Loss::SquaredError];

/// A key for `algebra` (any key for plaintext), and the error law there.
fn key_and_law(algebra: Algebra, dtype: DType, seed: u64) -> (SecretKey, Law) {
    let key = key(algebra.slots().max(2), seed);
    let law = match algebra {
        Algebra::Real => Law::plain(dtype),
        _ => More::of(key.evaluation_key()).law(algebra, dtype),
    };
    (key, law)
}

/// The regimes of `algebra`: for plaintext there is one.
fn regimes(algebra: Algebra) -> &'static [Regime] {
    if algebra == Algebra::Real {
        &REGIMES[..1]
    } else {
        &REGIMES
    }
}

/// Inputs of [-1, 1] and targets for a loss.
fn samples(mlp: &Mlp, loss: Loss, rows: usize, dtype: DType) -> (Plaintext, Plaintext) {
    let mut noise = Noise::new(rows as u64);
    let x = random(&[rows, mlp.inputs()], (-1.0, 1.0), dtype, &mut noise);
    let targets = match loss {
        Loss::CrossEntropy => noise.one_hot(rows, mlp.outputs()),
        Loss::SquaredError => noise.numbers(rows * mlp.outputs(), -1.0, 1.0),
    };
    (x, tensor(&[rows, mlp.outputs()], &targets, dtype))
}

/// What a pass through so many layers may be off by: each rounds its operands and its result, of
/// numbers that add up to about one, since weights shrink as layers widen.
fn bound(law: Law, layers: usize) -> f64 {
    law.bound(2 * layers, 1.0)
}

#[test]
fn forward_passes_are_the_oracles() {
    let devices = devices();
    let rows = 6;
    for dtype in DTYPES {
        for algebra in ALGEBRAS {
            let (key, law) = key_and_law(algebra, dtype, 51);
            for activation in FUNCTIONS {
                for loss in LOSSES {
                    let mut mlp = Mlp::new(&[5, 9, 4, 3], activation, loss);
                    let (network, _) = mlp.judged();
                    let weights = network.initial_parameters(3, DType::F64).expect("weights");
                    mlp.load(&weights);
                    let (x, target) = samples(&mlp, loss, rows, dtype);
                    let expected = mlp.forward(&x.to_f64(), rows);
                    let expected_loss = mlp.loss(&x.to_f64(), &target.to_f64(), rows);
                    for &regime in regimes(algebra) {
                        let plan = compiled(&network, rows, dtype, algebra, regime);
                        for device in &devices {
                            // Weights that anyone can read, then weights with masks of their own.
                            let mut session = open(device, Arc::clone(&plan), &key, &weights);
                            for masked in [false, true] {
                                if masked && !regime.parameters {
                                    continue;
                                }
                                if masked {
                                    parameters_encrypted(&mut session, &key, &weights, 8);
                                }
                                let inputs = [("x", &x), ("target", &target)];
                                write_inputs(&mut session, &key, 9, &inputs);
                                let context = |error: &dyn std::fmt::Display| -> f64 {
                                    panic!(
                                        "{} {loss:?} {algebra} {dtype} {} masked {masked} {device:?}: {error}",
                                        activation.name(),
                                        regime.name
                                    )
                                };
                                session.run().unwrap_or_else(|e| {
                                    context(&e);
                                });
                                let found = decrypted(&session, &key, "y");
                                compare(&found, &expected, bound(law, 3))
                                    .unwrap_or_else(|e| context(&e));
                                let found = decrypted(&session, &key, "loss");
                                compare(&found, &[expected_loss], bound(law, 4))
                                    .unwrap_or_else(|e| context(&e));
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn any_batch_and_any_width_run() {
    for dtype in DTYPES {
        for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Blocks(2)] {
            let (key, law) = key_and_law(algebra, dtype, 52);
            for sizes in [
                &[1usize, 1][..],
                &[3, 1, 2],
                &[7, 31, 5],
                &[2, 3, 3, 3, 3, 2],
            ] {
                for rows in [1, 2, 13, 64] {
                    let mut mlp = Mlp::new(sizes, Function::Tanh, Loss::SquaredError);
                    let network = mlp.inference();
                    let weights = network.initial_parameters(4, DType::F64).expect("weights");
                    mlp.load(&weights);
                    let (x, _) = samples(&mlp, Loss::SquaredError, rows, dtype);
                    let plan = compiled(&network, rows, dtype, algebra, REGIMES[0]);
                    let device = cpu();
                    let mut session = open(&device, plan, &key, &weights);
                    write_inputs(&mut session, &key, 10, &[("x", &x)]);
                    session
                        .run()
                        .unwrap_or_else(|error| panic!("{sizes:?} {rows}: {error}"));
                    let found = decrypted(&session, &key, "y");
                    let expected = mlp.forward(&x.to_f64(), rows);
                    compare(&found, &expected, bound(law, sizes.len()))
                        .unwrap_or_else(|e| panic!("{sizes:?} {rows} {algebra} {dtype}: {e}"));
                }
            }
        }
    }
}

/// A layer of nothing adds its bias to zero, and a result of nothing is empty.
#[test]
fn layers_of_no_width_run() {
    for algebra in [Algebra::Real, Algebra::Compact(2), Algebra::Blocks(3)] {
        let (key, law) = key_and_law(algebra, DType::F32, 53);
        for sizes in [[0, 3, 2], [3, 0, 2], [3, 2, 0]] {
            let mut mlp = Mlp::new(&sizes, Function::Sigmoid, Loss::SquaredError);
            let network = mlp.inference();
            let weights = network.initial_parameters(5, DType::F64).expect("weights");
            mlp.load(&weights);
            for &regime in regimes(algebra) {
                let plan = compiled(&network, 4, DType::F32, algebra, regime);
                let device = cpu();
                let mut session = open(&device, plan, &key, &weights);
                let x = random(&[4, sizes[0]], (-1.0, 1.0), DType::F32, &mut Noise::new(6));
                write_inputs(&mut session, &key, 11, &[("x", &x)]);
                session
                    .run()
                    .unwrap_or_else(|error| panic!("{sizes:?}: {error}"));
                let expected = mlp.forward(&x.to_f64(), 4);
                compare(&decrypted(&session, &key, "y"), &expected, bound(law, 3))
                    .unwrap_or_else(|error| panic!("{sizes:?} {algebra} {}: {error}", regime.name));
            }
        }
    }
}

/// Labels may stay plaintext where predictions are encrypted; weights may, one by one.
#[test]
fn single_tensors_can_stay_plaintext() {
    let rows = 5;
    for algebra in [Algebra::Compact(2), Algebra::Blocks(2), Algebra::Compact(3)] {
        for loss in LOSSES {
            let (key, law) = key_and_law(algebra, DType::F64, 54);
            let mut mlp = Mlp::new(&[4, 6, 3], Function::Sigmoid, loss);
            let (network, _) = mlp.judged();
            let weights = network.initial_parameters(6, DType::F64).expect("weights");
            mlp.load(&weights);
            let (x, target) = samples(&mlp, loss, rows, DType::F64);
            let options = CompileOptions {
                plaintext: ["target", "fc1.bias", "fc2.weight"]
                    .map(str::to_owned)
                    .to_vec(),
                ..CompileOptions::encrypted(rows, DType::F64, algebra)
            };
            let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
            let encrypted = |name: &str| {
                let bindings = plan.bindings().iter();
                let mut named = bindings.filter(|b| b.name == name);
                named.next().expect("it is bound").encrypted
            };
            assert!(encrypted("x") && encrypted("fc1.weight") && encrypted("fc2.bias"));
            assert!(!encrypted("target") && !encrypted("fc1.bias") && !encrypted("fc2.weight"));
            let device = cpu();
            let mut session = open(&device, Arc::clone(&plan), &key, &weights);
            write_inputs(&mut session, &key, 12, &[("x", &x), ("target", &target)]);
            session.run().expect("a run");
            let (x, target) = (x.to_f64(), target.to_f64());
            for (name, expected) in [
                ("y", mlp.forward(&x, rows)),
                ("loss", vec![mlp.loss(&x, &target, rows)]),
            ] {
                compare(&decrypted(&session, &key, name), &expected, bound(law, 3))
                    .unwrap_or_else(|error| panic!("{name} {loss:?} {algebra}: {error}"));
            }
        }
    }
}

/// The same network, with what lies between its operations declared as outputs: nothing is fused.
fn unfused(mlp_sizes: &[usize], activation: Function) -> Network {
    let mut network = Network::new();
    let mut x = network.input("x", [mlp_sizes[0]]).expect("a new name");
    for (i, pair) in mlp_sizes.windows(2).enumerate() {
        let name = format!("fc{}", i + 1);
        let sum = network
            .linear(&name, x, pair[0], pair[1])
            .expect("a new name");
        let product = format!("{name}.product");
        // The sum's first operand is the product.
        let node = network.nodes().iter().find(|node| node.name == name);
        let value = node.expect("the layer was added").operands[0];
        network.output(&product, value).expect("a new name");
        network.output(&name, sum).expect("a new name");
        x = sum;
        if i + 2 < mlp_sizes.len() {
            x = network
                .map(&format!("activation{}", i + 1), activation, sum)
                .expect("a new name");
        }
    }
    network.output("y", x).expect("a new name");
    network
}

#[test]
fn fused_and_unfused_plans_agree() {
    let sizes = [5, 17, 7, 3];
    let rows = 19;
    for dtype in DTYPES {
        for algebra in ALGEBRAS {
            let (key, law) = key_and_law(algebra, dtype, 55);
            for activation in FUNCTIONS {
                let mlp = Mlp::new(&sizes, activation, Loss::SquaredError);
                let network = mlp.inference();
                let weights = network.initial_parameters(7, DType::F64).expect("weights");
                let (x, _) = samples(&mlp, Loss::SquaredError, rows, dtype);
                for &regime in regimes(algebra) {
                    let run = |network: &Network| -> (Vec<f64>, Arc<Plan>) {
                        let plan = compiled(network, rows, dtype, algebra, regime);
                        let device = cpu();
                        let mut session = open(&device, Arc::clone(&plan), &key, &weights);
                        write_inputs(&mut session, &key, 13, &[("x", &x)]);
                        session.run().unwrap_or_else(|error| panic!("{error}"));
                        (decrypted(&session, &key, "y"), plan)
                    };
                    let (one, plan) = run(&network);
                    let (other, apart) = run(&unfused(&sizes, activation));
                    let fused = |plan: &Plan| {
                        let commands = plan.commands().iter();
                        let bare = commands.filter(|command| {
                            matches!(
                                command.kernel,
                                Kernel::BlockMatmul { bias: true, .. }
                                    | Kernel::BlockMatmul {
                                        activation: Some(_),
                                        ..
                                    }
                            )
                        });
                        bare.count()
                    };
                    assert_eq!((fused(&plan), fused(&apart)), (3, 0));
                    let bound = bound(law, 3);
                    compare(&one, &other, bound).unwrap_or_else(|error| {
                        panic!(
                            "{} {algebra} {dtype} {}: {error}",
                            activation.name(),
                            regime.name
                        )
                    });
                }
            }
        }
    }
}

/// Running again gives the same bits, and a new input forgets the old one.
#[test]
fn runs_repeat() {
    let mlp = Mlp::new(&[4, 8, 3], Function::Relu, Loss::CrossEntropy);
    let network = mlp.inference();
    let weights = network.initial_parameters(8, DType::F32).expect("weights");
    let key = key(2, 56);
    let plan = compiled(&network, 7, DType::F32, Algebra::Compact(2), REGIMES[0]);
    let device = cpu();
    let run = |session: &mut Session, seed: u64| {
        let x = random(&[7, 4], (-1.0, 1.0), DType::F32, &mut Noise::new(seed));
        let x = encrypt(&key, Algebra::Compact(2), seed, &x);
        session.write("x", &x).expect("it fits");
        session.run().expect("a run");
        decrypted(session, &key, "y")
    };
    let mut session = open(&device, Arc::clone(&plan), &key, &weights);
    let first = run(&mut session, 1);
    let second = run(&mut session, 2);
    assert_ne!(first, second);
    assert_eq!(first, run(&mut session, 1));
    session.run().expect("a run");
    assert_eq!(first, decrypted(&session, &key, "y"));
    assert_eq!(second, run(&mut open(&device, plan, &key, &weights), 2));
}
