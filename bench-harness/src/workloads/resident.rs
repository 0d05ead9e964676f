//! Sessions with everything in place, to be run again and again.

use std::sync::Arc;

use furthermore::device::Device;
use furthermore::network::{Network, Parameters};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::{MaskPolicy, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{Plaintext, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::error::Result;
use crate::scheme::{PLAINTEXT, Scheme};

/// A session with random inputs and targets and these weights written to it, of any element type; each
/// message of a ciphertext is the same. Its learning rate is tiny, so that any number of steps stays finite.
///
/// # Errors
/// When the network cannot be compiled or the device cannot hold it.
pub(crate) fn resident(
    network: &Network,
    weights: &Parameters,
    scheme: Scheme,
    compile: &CompileOptions,
    seed: u64,
    one_hot: bool,
    device: &dyn Device,
) -> Result<Session> {
    let plan = Arc::new(Plan::compile(network, compile)?);
    let key = match scheme {
        PLAINTEXT => None,
        _ => Some(scheme.key(seed)?),
    };
    let public = key.as_ref().map(SecretKey::evaluation_key);
    let mut session = Session::new(device, Arc::clone(&plan), public)?;
    let weights = weights.to_dtype(compile.dtype)?;
    session.load_parameters(&weights)?;
    session.set_learning_rate(1e-6)?;
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let inputs: Vec<_> = plan
        .bindings()
        .iter()
        .filter(|b| b.role == furthermore::plan::Role::Input)
        .collect();
    let mut plaintexts = Vec::new();
    for binding in &inputs {
        let count = binding.shape.elements()?;
        let width = binding.shape.row_elements();
        let mut values: Vec<f32> = (0..count).map(|_| rng.random::<f32>()).collect();
        if binding.name == "target" && one_hot {
            values.fill(0.0);
            for row in values.chunks_mut(width) {
                row[rng.random_range(0..width)] = 1.0;
            }
        }
        plaintexts.push(Plaintext::new(binding.shape.clone(), &values)?.to_dtype(compile.dtype)?);
    }
    let Some(key) = &key else {
        for (binding, plaintext) in inputs.iter().zip(&plaintexts) {
            session.write(&binding.name, plaintext)?;
        }
        return Ok(session);
    };
    let mut encryptor = key.encryptor_from_known_seed(scheme.algebra, seed)?;
    if let ([x, target], [images, labels]) = (&inputs[..], &plaintexts[..]) {
        let (images, labels) =
            encryptor.encrypt_training_set(images, labels, MaskPolicy::PairedRows)?;
        session.write(&x.name, &images)?;
        session.write(&target.name, &labels)?;
    } else {
        for (binding, plaintext) in inputs.iter().zip(&plaintexts) {
            let messages = vec![plaintext; scheme.messages];
            let ciphertext = encryptor.encrypt_packed(&messages, MaskPolicy::Uniform)?;
            session.write(&binding.name, &ciphertext)?;
        }
    }
    if compile.encrypted_parameters {
        // Weights with masks of their own, as training leaves them.
        for (weight, tensor) in weights.iter() {
            if let Tensor::Plaintext(plaintext) = tensor {
                let messages = vec![plaintext; scheme.messages];
                let ciphertext = encryptor.encrypt_packed(&messages, MaskPolicy::Uniform)?;
                session.write(weight, &ciphertext)?;
            }
        }
    }
    Ok(session)
}
