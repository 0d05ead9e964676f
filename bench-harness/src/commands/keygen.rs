//! `keygen`: a secret key in a new file.

use std::path::PathBuf;

use anstream::println;
use furthermore::scheme::{KeyShape, SecretKey};
use furthermore::{Algebra, io};

use super::WARNING;
use crate::error::Result;

/// Options of `keygen`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Where the key goes: a new file, which only its owner may read. A file that is there is not
    /// written over.
    #[arg(long, value_name = "KEY")]
    pub output: PathBuf,
    /// Slots of a ciphertext, 2 to 8: messages, the rest masks.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub slots: usize,
    /// Messages of a ciphertext, which share its masks: one slot less than there are at most.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub messages: usize,
    /// With a public polynomial for reduced hybrid ciphertexts of this degree, 1 to 3.
    #[arg(long, value_name = "K", conflicts_with_all = ["slots", "messages"])]
    pub reduced: Option<usize>,
}

/// Runs the command.
///
/// # Errors
/// When there are no such keys, the system gives no randomness, or the file is there already
/// or cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let shape = match options.reduced {
        Some(degree) => Algebra::Reduced(degree).into(),
        None => KeyShape::packed(options.slots, options.messages),
    };
    let key = SecretKey::generate(shape)?;
    io::write_secret_key(&options.output, &key)?;
    println!(
        "key {} of {} slots, {} of them {}: {}",
        key.id(),
        key.evaluation_key().slots(),
        key.messages(),
        if key.messages() == 1 {
            "a message"
        } else {
            "messages"
        },
        options.output.display()
    );
    println!("{WARNING}");
    Ok(())
}
