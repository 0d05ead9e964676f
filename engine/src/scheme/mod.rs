//! MORE: keys, masks, encryption and decryption. The only module that sees a secret key.
//!
//! A message m and random masks r become `C = S diag(m, r, ..) S^-1` (Kipnis and Hibshoosh, ePrint
//! 2012/637), over floating-point numbers. All ciphertexts under one key commute and share
//! eigenvectors, so sums, products and functions of ciphertexts are those of the messages.
//!
//! **Over the reals this hides nothing from someone who analyses the data**: a ciphertext's
//! eigenvalues are its message and its masks, and the evaluation key names the eigenvectors. It is
//! an obfuscation, and good for studying computation on encrypted data.

mod encrypt;
mod evaluation;
mod key;
mod mask;
mod stored;
mod verify;

pub(crate) use stored::MAGIC as KEY_MAGIC;

pub use encrypt::Encryptor;
pub use evaluation::{EvaluationKey, KeyId};
pub use key::{KeyShape, SecretKey};
pub use mask::{Guard, MaskPolicy};
pub use verify::{Receipt, Verified, Verifier};
