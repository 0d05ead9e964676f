//! `download`: the data that experiments read.

use std::path::PathBuf;

use anstream::println;

use crate::download::{Fetcher, Outcome, Remote};
use crate::error::{Error, Result};
use crate::progress;

/// What can be downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Data {
    /// Handwritten digits: 60,000 images to train and 10,000 to test.
    Mnist,
}

/// Options of `download`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// What to download.
    pub data: Data,
    /// Where it goes: a folder, made if it is not there. Files that are there and right stay, and one
    /// that was cut short is continued.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Where it comes from, http or https: a folder with the files under their usual names [default:
    /// public mirrors].
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
}

const MNIST_MIRRORS: [&str; 2] = [
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist",
];

const MNIST: [Remote<'static>; 4] = [
    Remote {
        name: "train-images-idx3-ubyte.gz",
        bytes: 9_912_422,
        sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    },
    Remote {
        name: "train-labels-idx1-ubyte.gz",
        bytes: 28_881,
        sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    },
    Remote {
        name: "t10k-images-idx3-ubyte.gz",
        bytes: 1_648_877,
        sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    },
    Remote {
        name: "t10k-labels-idx1-ubyte.gz",
        bytes: 4_542,
        sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
];

/// Runs the command.
///
/// # Errors
/// When the mirror's address is none, no mirror gives a file as it has to be, or the folder cannot be
/// written.
pub fn run(options: &Options) -> Result<()> {
    let Data::Mnist = options.data;
    let mirrors = match options.mirror.as_deref() {
        None => MNIST_MIRRORS.to_vec(),
        Some(url) if url.starts_with("https://") || url.starts_with("http://") => vec![url],
        Some(url) => {
            return Err(Error::Option {
                option: "--mirror",
                reason: format!("'{url}' does not start with https:// or http://"),
            });
        }
    };
    std::fs::create_dir_all(&options.to).map_err(|e| Error::File {
        path: options.to.clone(),
        reason: e.to_string(),
    })?;
    let fetcher = Fetcher::new(mirrors);
    for file in &MNIST {
        let bar = progress::bytes(file.name, file.bytes);
        let outcome = fetcher.fetch(file, &options.to, |bytes| bar.set_position(bytes));
        bar.finish_and_clear();
        let how = match outcome? {
            Outcome::Present => "was there".to_owned(),
            Outcome::Fetched(bytes) if bytes < file.bytes => {
                format!("fetched, the last {bytes} of {} bytes", file.bytes)
            }
            Outcome::Fetched(_) => format!("fetched, {} bytes", file.bytes),
        };
        println!("{}: {how}", file.name);
    }
    println!("MNIST is in {}", options.to.display());
    Ok(())
}
