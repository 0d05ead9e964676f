//! The harness's error: what went wrong, and where.

use std::path::PathBuf;

use thiserror::Error;

/// A result of the harness.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What stops a command.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused something.
    #[error(transparent)]
    Engine(#[from] furthermore::Error),
    /// A data file cannot be used.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// A circulation cannot be computed.
    #[error(transparent)]
    Circulation(#[from] crate::data::circulation::CirculationError),
    /// A file cannot be written.
    #[error("{}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file could not be fetched.
    #[error("{name} cannot be fetched: {reason}")]
    Download {
        /// The file's name.
        name: String,
        /// Why not, for each mirror.
        reason: String,
    },
    /// An option's value cannot be used.
    #[error("{option}: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// Why not.
        reason: String,
    },
    /// The peer program did not do as the protocol says.
    #[error("peer `{command}`: {reason}")]
    Peer {
        /// The peer's command line.
        command: String,
        /// What it did.
        reason: String,
    },
    /// Some rows of a report failed; the report was written all the same.
    #[error("{failed} of {rows} rows failed: see their notes")]
    FailedRows {
        /// Rows that failed.
        failed: usize,
        /// All rows.
        rows: usize,
    },
}
