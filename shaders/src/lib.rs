//! WGSL compute shaders for MORE-encrypted tensors: one file a kernel, each the twin of the CPU
//! kernel of the same name.
//!
//! The room is reserved: no shader has been written yet, and plans run on the CPU.
