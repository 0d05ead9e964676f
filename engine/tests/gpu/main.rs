//! Plans on a graphics processor against the same plans on the CPU, and what a run asks of the device.
//!
//! Without an adapter every test says that it is skipped; with `FURTHERMORE_REQUIRE_GPU=1` a missing
//! adapter is a failure.
#![cfg(feature = "gpu")]

mod awaited;
mod bindings;
mod cuts;
mod device;
mod hybrid;
mod layers;
mod onnx;
mod runs;
#[path = "../engine/support/mod.rs"]
mod support;
mod timing;
mod training;

use std::fmt::Display;
use std::io::Write as _;
use std::sync::OnceLock;

use furthermore::device::Gpu;

/// The adapter, or `None` with a line that says why there is none.
pub(crate) fn gpu() -> Option<Gpu> {
    static FOUND: OnceLock<Result<Gpu, String>> = OnceLock::new();
    match FOUND.get_or_init(|| Gpu::new().map_err(|e| e.to_string())) {
        Ok(gpu) => Some(gpu.clone()),
        Err(reason) => {
            let required = std::env::var("FURTHERMORE_REQUIRE_GPU").is_ok_and(|v| v == "1");
            assert!(!required, "FURTHERMORE_REQUIRE_GPU=1, and {reason}");
            skipped(reason);
            None
        }
    }
}

/// Says why a test, or a part of it, is skipped, where the harness does not keep it from being read: it
/// captures what passing tests print, and not what is written to the stream itself.
pub(crate) fn skipped(reason: impl Display) {
    let test = std::thread::current();
    let test = test.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "skipped: {test}: {reason}").expect("somewhere to say so");
}
