//! Any bytes as an ONNX model: they are refused, or the network that was read can be compiled or is
//! refused then.

#![no_main]

use furthermore::network::Network;
use furthermore::onnx::OnnxOptions;
use furthermore::plan::{CompileOptions, Plan};
use furthermore::tensor::DType;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let options = OnnxOptions::default();
    if let Ok(imported) = Network::from_onnx_bytes(bytes, &options) {
        let options = CompileOptions::plain(options.batch, DType::F32);
        let _ = Plan::compile(&imported.network, &options);
    }
});
