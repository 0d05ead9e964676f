//! A small training session that several tests start from.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::network::{Function, Optimizer};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::scheme::SecretKey;
use furthermore::session::Session;
use furthermore::tensor::{Ciphertext, DType};

use super::{Loss, Mlp, Noise, cpu, decrypted, encrypt, key, open, random};

/// A training session of 3 inputs and 2 outputs with a few samples written to it.
pub(crate) struct Training {
    pub(crate) key: SecretKey,
    pub(crate) session: Session,
    pub(crate) x: Ciphertext,
    pub(crate) target: Ciphertext,
}

impl Training {
    pub(crate) const ALGEBRA: Algebra = Algebra::Compact(2);
    pub(crate) const BATCH: usize = 4;

    pub(crate) fn new(dtype: DType) -> Self {
        let mlp = Mlp::new(&[3, 5, 2], Function::Sigmoid, Loss::SquaredError);
        let (network, loss) = mlp.judged();
        let network = network
            .with_optimizer(loss, Optimizer::sgd(0.9), None)
            .expect("gradients");
        let options = CompileOptions::encrypted(Self::BATCH, dtype, Self::ALGEBRA);
        let plan = Arc::new(Plan::compile(&network, &options).expect("a plan"));
        let key = key(2, 111);
        let weights = network.initial_parameters(12, DType::F64).expect("weights");
        let mut session = open(&cpu(), plan, &key, &weights);
        let mut noise = Noise::new(112);
        let mut draw = |shape: &[usize]| {
            let messages = random(shape, (-1.0, 1.0), dtype, &mut noise);
            encrypt(&key, Self::ALGEBRA, 3, &messages)
        };
        let (x, target) = (draw(&[Self::BATCH, 3]), draw(&[Self::BATCH, 2]));
        session.write("x", &x).expect("it fits");
        session.write("target", &target).expect("it fits");
        session.set_learning_rate(0.1).expect("a rate");
        Self {
            key,
            session,
            x,
            target,
        }
    }

    /// Every parameter and every velocity, decrypted.
    pub(crate) fn state(&self) -> Vec<Vec<f64>> {
        let mut state = Vec::new();
        for layer in ["fc1", "fc2"] {
            for part in ["weight", "bias"] {
                for what in ["", ".velocity"] {
                    let name = format!("{layer}.{part}{what}");
                    state.push(decrypted(&self.session, &self.key, &name));
                }
            }
        }
        state
    }
}
