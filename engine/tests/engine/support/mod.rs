//! What the test programs share: oracles that know nothing of the engine's code, and the comparison
//! with them.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `more.rs` | the scheme on n x n matrices, straight from its definition |
//! | `mlp.rs` | a trainer of fully connected networks, with gradients written out by hand |
//! | `graph.rs` | an evaluator of any graph of operations, with gradients by finite differences |
//! | `compare.rs` | the one comparison, and the error law behind its bounds |
//! | `setup.rs` | tensors, keys, devices and sessions for tests |
//! | `fixture.rs` | a training session that several tests start from |
//! | `models.rs` | ONNX models and the values stored beside them |
//! | `hybrid.rs` | hybrid ciphertexts, and networks on them |
//! | `layers.rs` | what PyTorch computes of layers and optimisers, and the engine's networks for it |
//!
//! All oracles compute in f64 with plain loops.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test program compiles all of this, and one of them uses a part"
)]

mod compare;
mod fixture;
mod graph;
pub(crate) mod hybrid;
pub(crate) mod layers;
mod mlp;
pub(crate) mod models;
mod more;
mod noise;
mod setup;

pub(crate) use compare::{Law, Mismatch, compare};
pub(crate) use fixture::Training;
pub(crate) use graph::{Graph, Node, Point};
pub(crate) use mlp::{Loss, Mlp};
pub(crate) use more::{Matrix, More};
pub(crate) use noise::Noise;
pub(crate) use setup::{
    DTYPES, REGIMES, Regime, cipher, ciphertext_algebras, compiled, coordinates, cpu, decrypted,
    devices, encrypt, from_coordinates, key, ones, open, parameters_encrypted, plain, random,
    tensor, write_inputs,
};

use furthermore::network::Function;

/// Checks that it is refused, in words that hold every one of `parts`.
pub(crate) fn refused<T>(what: &str, result: furthermore::Result<T>, parts: &[&str]) {
    let Err(error) = result else {
        panic!("{what} was accepted");
    };
    let message = error.to_string();
    for part in parts {
        assert!(
            message.contains(part),
            "{what}: '{part}' is not in '{message}'"
        );
    }
}

/// The functions these tests have formulas for, defined everywhere; the kernels' own tests hold every
/// function to a formula.
pub(crate) const FUNCTIONS: [Function; 4] = [
    Function::Relu,
    Function::Sigmoid,
    Function::Tanh,
    Function::Square,
];

/// A function's value, from its textbook formula.
pub(crate) fn value(function: Function, x: f64) -> f64 {
    match function {
        Function::Relu => {
            if x > 0.0 {
                x
            } else {
                0.0
            }
        }
        Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Function::Tanh => x.tanh(),
        Function::Square => x * x,
        other => panic!("no formula for {}", other.name()),
    }
}

/// A function's derivative at its argument.
pub(crate) fn derivative(function: Function, x: f64) -> f64 {
    match function {
        Function::Relu => {
            if x > 0.0 {
                1.0
            } else {
                0.0
            }
        }
        Function::Sigmoid => value(function, x) * (1.0 - value(function, x)),
        Function::Tanh => 1.0 - x.tanh() * x.tanh(),
        Function::Square => 2.0 * x,
        other => panic!("no formula for {}", other.name()),
    }
}
