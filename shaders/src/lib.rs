//! WGSL compute shaders for MORE-encrypted tensors: one file a kernel, each the twin of the CPU
//! kernel of the same name.
//!
//! A shader is a header of `enable`, `alias` and `const` lines that [`Variant`] writes, the fragments
//! that kernels share (`wgsl/shared`), and the kernel's file (`wgsl`). What it binds, how its
//! parameters lie in memory and how large its workgroups are is read back from the compiled module
//! ([`Shader`]), never repeated by hand.

mod operand;
mod reflect;
mod source;
mod variant;

pub use naga;
pub use operand::{Split, binding_name};
pub use reflect::{Access, Binding, Parameter, Shader, ShaderError, Value};
pub use source::{FAMILIES, Family};
pub use variant::{Constant, Form, Product, Stored, Tile, Variant};
