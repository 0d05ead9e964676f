//! Any bytes as a file of tensors: they are refused, or what was read is written and read again as it
//! was.

#![no_main]

use furthermore::io::{TensorFile, tensors_from_bytes, tensors_to_bytes};
use libfuzzer_sys::fuzz_target;

fn written(file: &TensorFile) -> Vec<u8> {
    let tensors = file.tensors().iter();
    let tensors: Vec<_> = tensors.map(|(name, t)| (&**name, t.view())).collect();
    tensors_to_bytes(&tensors).expect("what was read can be written")
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = tensors_from_bytes(bytes) {
        let again = written(&file);
        let file = tensors_from_bytes(&again).expect("what was written can be read");
        assert_eq!(written(&file), again);
    }
});
