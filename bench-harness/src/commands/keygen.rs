//! `keygen`: a secret key in a new file.

use std::path::PathBuf;

use furthermore::io;
use furthermore::scheme::SecretKey;

use super::WARNING;
use crate::error::Result;

/// Options of `keygen`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Where the key goes: a new file, which only its owner may read. A file that is there is not
    /// written over.
    #[arg(long, value_name = "KEY")]
    pub output: PathBuf,
    /// Slots of a ciphertext, 2 to 8: one message, the rest masks.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub slots: usize,
}

/// Runs the command.
///
/// # Errors
/// When keys have not that many slots, the system gives no randomness, or the file is there already
/// or cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let key = SecretKey::generate(options.slots)?;
    io::write_secret_key(&options.output, &key)?;
    println!(
        "key {} of {} slots: {}",
        key.id(),
        options.slots,
        options.output.display()
    );
    println!("{WARNING}");
    Ok(())
}
