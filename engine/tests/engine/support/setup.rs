//! Tensors, keys, devices and sessions for tests.

use std::sync::Arc;

use furthermore::Algebra;
use furthermore::device::{Cpu, Device};
use furthermore::network::{Network, Parameters};
use furthermore::plan::{CompileOptions, Plan, Role};
use furthermore::scheme::{EvaluationKey, MaskPolicy, SecretKey};
use furthermore::session::Session;
use furthermore::tensor::{Ciphertext, DType, Plaintext, Tensor};
use furthermore_kernels_cpu::Isa;

use super::Noise;

pub(crate) const DTYPES: [DType; 2] = [DType::F32, DType::F64];

/// Every ciphertext algebra.
pub(crate) fn ciphertext_algebras() -> Vec<Algebra> {
    let both = |n| [Algebra::Blocks(n), Algebra::Compact(n)];
    (2..=8).flat_map(both).collect()
}

/// A processor with each instruction set there is, naming those this machine lacks.
pub(crate) fn devices() -> Vec<Cpu> {
    let mut devices = Vec::new();
    for name in ["portable", "avx2", "avx512"] {
        match Isa::named(name) {
            Ok(isa) => devices.push(Cpu::with_isa(isa)),
            Err(error) => println!("skipped: {error}"),
        }
    }
    // Nothing this machine has may be left out for want of a name above.
    assert_eq!(devices.len(), Isa::available().len());
    devices
}

/// A processor as a program would set it up.
pub(crate) fn cpu() -> Cpu {
    Cpu::new().expect("an instruction set of this machine")
}

pub(crate) fn key(slots: usize, seed: u64) -> SecretKey {
    SecretKey::from_known_seed(slots, seed).expect("keys have 2 to 8 slots")
}

/// A plaintext of these numbers, rounded to `dtype`.
pub(crate) fn tensor(shape: &[usize], values: &[f64], dtype: DType) -> Plaintext {
    let wide = Plaintext::new(shape, values).expect("as many numbers as the shape has");
    wide.to_dtype(dtype).expect("memory for it")
}

/// A plaintext of ones, in f32.
pub(crate) fn ones(shape: &[usize]) -> Plaintext {
    tensor(shape, &vec![1.0; shape.iter().product()], DType::F32)
}

/// A plaintext of numbers of `low..high`.
pub(crate) fn random(
    shape: &[usize],
    (low, high): (f64, f64),
    dtype: DType,
    noise: &mut Noise,
) -> Plaintext {
    let values = noise.numbers(shape.iter().product(), low, high);
    tensor(shape, &values, dtype)
}

/// Encrypts with rows exchanged for masks where there are rows to exchange, and with masks in the
/// tensor's range otherwise.
pub(crate) fn encrypt(
    key: &SecretKey,
    algebra: Algebra,
    seed: u64,
    messages: &Plaintext,
) -> Ciphertext {
    let policy = if messages.shape().rows() < 2 {
        MaskPolicy::Uniform
    } else {
        MaskPolicy::PairedRows
    };
    let mut encryptor = key
        .encryptor_from_known_seed(algebra, seed)
        .expect("an algebra of the key");
    encryptor
        .encrypt_with(messages, policy)
        .expect("finite messages")
}

/// The ciphertext that `tensor` has to be.
pub(crate) fn cipher(tensor: furthermore::Result<Tensor>) -> Ciphertext {
    let tensor = tensor.unwrap_or_else(|error| panic!("{error}"));
    tensor.into_ciphertext().expect("a ciphertext")
}

/// The plaintext that `tensor` has to be.
pub(crate) fn plain(tensor: furthermore::Result<Tensor>) -> Plaintext {
    let tensor = tensor.unwrap_or_else(|error| panic!("{error}"));
    tensor.into_plaintext().expect("a plaintext")
}

/// Each element's coordinates.
pub(crate) fn coordinates(ciphertext: &Ciphertext) -> Vec<Vec<f64>> {
    let planes: Vec<Vec<f64>> = match ciphertext.dtype() {
        DType::F32 => {
            let planes = ciphertext.planes::<f32>().expect("its element type");
            let wide = |i| planes.plane(i).iter().map(|x| f64::from(*x)).collect();
            (0..planes.count()).map(wide).collect()
        }
        DType::F64 => {
            let planes = ciphertext.planes::<f64>().expect("its element type");
            (0..planes.count())
                .map(|i| planes.plane(i).to_vec())
                .collect()
        }
    };
    let elements = ciphertext.shape().iter().product();
    (0..elements)
        .map(|e| planes.iter().map(|plane| plane[e]).collect())
        .collect()
}

/// A ciphertext of these elements, coordinates innermost.
pub(crate) fn from_coordinates(
    shape: &[usize],
    algebra: Algebra,
    key: &Arc<EvaluationKey>,
    elements: &[Vec<f64>],
    dtype: DType,
) -> Ciphertext {
    let numbers: Vec<f64> = elements.concat();
    let made = match dtype {
        DType::F32 => {
            let narrow: Vec<f32> = numbers.iter().map(|x| *x as f32).collect();
            Ciphertext::from_interleaved(shape, algebra, key, &narrow)
        }
        DType::F64 => Ciphertext::from_interleaved(shape, algebra, key, &numbers),
    };
    made.expect("as many numbers as the shape has")
}

/// What is encrypted in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Regime {
    pub(crate) name: &'static str,
    pub(crate) inputs: bool,
    pub(crate) parameters: bool,
}

/// Every way to encrypt something.
pub(crate) const REGIMES: [Regime; 3] = [
    Regime {
        name: "ct-pt",
        inputs: true,
        parameters: false,
    },
    Regime {
        name: "pt-ct",
        inputs: false,
        parameters: true,
    },
    Regime {
        name: "ct-ct",
        inputs: true,
        parameters: true,
    },
];

pub(crate) fn compiled(
    network: &Network,
    batch: usize,
    dtype: DType,
    algebra: Algebra,
    regime: Regime,
) -> Arc<Plan> {
    let encrypted = algebra != Algebra::Real;
    let options = CompileOptions {
        algebra,
        encrypted_inputs: encrypted && regime.inputs,
        encrypted_parameters: encrypted && regime.parameters,
        ..CompileOptions::plain(batch, dtype)
    };
    let plan = Plan::compile(network, &options).unwrap_or_else(|error| panic!("{error}"));
    Arc::new(plan)
}

/// A session with plaintext weights written as they are, those of encrypted parameters too.
pub(crate) fn open(
    device: &dyn Device,
    plan: Arc<Plan>,
    key: &SecretKey,
    parameters: &Parameters,
) -> Session {
    let dtype = plan.options().dtype;
    let mut session =
        Session::new(device, plan, Some(key.evaluation_key())).expect("a key of the algebra");
    let mut rounded = Parameters::default();
    for (name, tensor) in parameters.iter() {
        let Tensor::Plaintext(weight) = tensor else {
            panic!("weights start as plaintext");
        };
        rounded.insert(
            name,
            Tensor::Plaintext(weight.to_dtype(dtype).expect("memory for it")),
        );
    }
    session
        .load_parameters(&rounded)
        .expect("a weight for every parameter");
    session
}

/// Encrypts the weights of encrypted parameters, masks and all.
pub(crate) fn parameters_encrypted(
    session: &mut Session,
    key: &SecretKey,
    parameters: &Parameters,
    seed: u64,
) {
    let plan = Arc::clone(session.plan());
    let (algebra, dtype) = (plan.options().algebra, plan.options().dtype);
    for (nth, binding) in plan.bindings().iter().enumerate() {
        if binding.role != Role::Parameter || !binding.encrypted {
            continue;
        }
        let Tensor::Plaintext(weight) = parameters.get(&binding.name).expect("a weight") else {
            panic!("weights start as plaintext");
        };
        let mut encryptor = key
            .encryptor_from_known_seed(algebra, seed + nth as u64)
            .expect("an algebra of the key");
        let weight = encryptor
            .encrypt(&weight.to_dtype(dtype).expect("memory for it"))
            .expect("finite weights");
        session.write(&binding.name, &weight).expect("it fits");
    }
}

/// Writes every input that the plan reads, encrypted where it wants them so. Rows of masks keep
/// together across inputs.
pub(crate) fn write_inputs(
    session: &mut Session,
    key: &SecretKey,
    seed: u64,
    inputs: &[(&str, &Plaintext)],
) {
    let plan = Arc::clone(session.plan());
    for (name, tensor) in inputs {
        let found = plan.binding("input", name, &[Role::Input]);
        let Ok(binding) = found else {
            continue;
        };
        let written = if binding.encrypted {
            // One seed for all of them gives all of them one order of rows.
            let ciphertext = encrypt(key, plan.options().algebra, seed, tensor);
            session.write(name, &ciphertext)
        } else {
            session.write(name, *tensor)
        };
        written.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Reads a result and decrypts it where it is encrypted.
pub(crate) fn decrypted(session: &Session, key: &SecretKey, name: &str) -> Vec<f64> {
    let tensor = session.read(name).unwrap_or_else(|error| panic!("{error}"));
    match tensor {
        Tensor::Plaintext(plaintext) => plaintext.to_f64(),
        Tensor::Ciphertext(ciphertext) => {
            let messages = key.decrypt(&ciphertext).expect("its own key");
            messages.to_f64()
        }
    }
}
