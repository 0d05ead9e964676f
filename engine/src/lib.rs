//! Furthermore: neural networks on MORE-encrypted tensors.
//!
//! **MORE over real numbers hides nothing from someone who analyses the data**; see [`scheme`]. It
//! is for studying computation on encrypted data, at a cost near plaintext.
//!
//! Data moves one way through these modules:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`scheme`] | keys, masks, encryption and decryption: the only module that sees a secret key |
//! | [`tensor`] | shapes, element types, plaintexts and ciphertexts |
//! | [`network`] | what to compute; gradients are network to network |
//! | [`onnx`] | networks from ONNX files |
//! | [`plan`] | a network compiled for shapes, algebra and element type |
//! | [`device`] | what runs a plan |
//! | [`session`] | a plan bound to a device, with its weights resident |
//! | [`io`] | key files, files of tensors, NumPy's arrays |
//!
//! ```
//! use std::sync::Arc;
//! use furthermore::device::Cpu;
//! use furthermore::network::Network;
//! use furthermore::plan::{CompileOptions, Plan};
//! use furthermore::scheme::SecretKey;
//! use furthermore::session::Session;
//! use furthermore::tensor::{DType, Plaintext};
//! use furthermore::Algebra;
//!
//! let mut network = Network::new();
//! let x = network.input("x", [3])?;
//! let y = network.linear("fc", x, 3, 2)?;
//! let y = network.relu("relu", y)?;
//! network.output("y", y)?;
//!
//! let key = SecretKey::generate(2)?;
//! let algebra = Algebra::Compact(2);
//! let messages = Plaintext::new([4, 3], &[0.5f32; 12])?;
//! let ciphertext = key.encryptor(algebra)?.encrypt(&messages)?;
//!
//! let options = CompileOptions::encrypted_inputs(4, DType::F32, algebra);
//! let plan = Arc::new(Plan::compile(&network, &options)?);
//! let mut session = Session::new(&Cpu::new()?, plan, Some(key.evaluation_key()))?;
//! session.load_parameters(&network.initial_parameters(1, DType::F32)?)?;
//! session.write("x", &ciphertext)?;
//! session.run()?;
//! let result = session.read("y")?.into_ciphertext().expect("encrypted in, encrypted out");
//! println!("{:?}", key.decrypt(&result)?.to_f64());
//! # Ok::<(), furthermore::Error>(())
//! ```

mod algebra;
mod error;
mod linalg;

pub mod device;
pub mod io;
pub mod network;
pub mod onnx;
pub mod plan;
pub mod scheme;
pub mod session;
pub mod tensor;

pub use algebra::Algebra;
pub use error::{Error, Result};
