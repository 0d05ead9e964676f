//! The harness that reproduces the claims of encrypted deep learning with MORE: workloads, timing,
//! reports, and the commands of `furthermore-bench`.

pub mod commands;
pub mod data;
pub mod kernels;
pub mod parity;
pub mod workloads;

mod audit;
mod download;
mod drawing;
mod environment;
mod error;
mod experiment;
mod peer;
mod progress;
mod report;
mod scheme;
mod timing;

pub use environment::Environment;
pub use error::{Error, Result};
pub use peer::Peer;
pub use report::{Report, Status};
pub use scheme::Scheme;
pub use timing::Samples;
