//! `furthermore-bench`: the command line of the harness.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use furthermore_bench::commands::{
    audit, decrypt, download, encrypt, infer, kernels, keygen, parity, polynomials, profile,
    reproduce, run, show, tune, versus,
};

/// Neural networks on MORE-encrypted tensors: reproduce the claims and measure their cost.
///
/// MORE over real numbers hides nothing from someone who analyses the data: everything here is for
/// studying computation on encrypted data, not for keeping secrets.
#[derive(Parser)]
#[command(name = "furthermore-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train and run the papers' networks on ciphertexts beside plaintexts, and print what it costs.
    Reproduce(reproduce::Options),
    /// Time every kernel by itself, plain and encrypted, against what the machine can do.
    Kernels(kernels::Options),
    /// Hold every kernel on every device to an oracle in f64.
    Parity(parity::Options),
    /// Put polynomials in place of a network's activations, and print what that costs in plaintext.
    Polynomials(polynomials::Options),
    /// Time every command of a network, against what the machine can do.
    Profile(profile::Options),
    /// Find the fastest tiles of a graphics adapter, and keep them.
    Tune(tune::Options),
    /// Alternate with another program on the same workloads, and print our time over its.
    Versus(versus::Options),
    /// Run an ONNX model on samples that it encrypts, and decrypt what comes out.
    Infer(infer::Options),
    /// Make a secret key.
    Keygen(keygen::Options),
    /// Encrypt an array into a file of ciphertexts.
    Encrypt(encrypt::Options),
    /// Run an ONNX model on a file of ciphertexts, without a secret key.
    Run(run::Options),
    /// Decrypt a tensor of a file of ciphertexts into an array.
    Decrypt(decrypt::Options),
    /// Draw a picture of the data that networks learn from.
    Show(show::Options),
    /// Run the known attacks on ciphertexts, with no secret key, and print what they recover.
    Audit(audit::Options),
    /// Fetch the data that experiments read.
    Download(download::Options),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
    let result = match Cli::parse().command {
        Command::Reproduce(options) => reproduce::run(&options),
        Command::Kernels(options) => kernels::run(&options),
        Command::Parity(options) => parity::run(&options),
        Command::Polynomials(options) => polynomials::run(&options),
        Command::Profile(options) => profile::run(&options),
        Command::Tune(options) => tune::run(&options),
        Command::Versus(options) => versus::run(&options),
        Command::Keygen(options) => keygen::run(&options),
        Command::Encrypt(options) => encrypt::run(&options),
        Command::Infer(options) => infer::run(&options),
        Command::Run(options) => run::run(&options),
        Command::Decrypt(options) => decrypt::run(&options),
        Command::Audit(options) => audit::run(&options),
        Command::Show(options) => show::run(&options),
        Command::Download(options) => download::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
