//! CPU kernels for MORE-encrypted tensors: slices in, slices out.
//!
//! A kernel here knows numbers and shapes only: no key, no tensor type, no file and no network.
//! What it has to know of a ciphertext algebra is in [`Arithmetic`], public constants all.
//! Each kernel family is one file or folder, and its name is the name used in plans, tests and reports:
//!
//! | family | file | covers |
//! | --- | --- | --- |
//! | [`block_matmul`] | `block_matmul/` | matrix products of planes, plain or encrypted on either side |
//! | [`conv2d`] | `conv2d/` | convolutions of images, plain or encrypted on either side, and their gradients |
//! | [`function_map`] | `function_map/` | functions of a ciphertext, slot by slot, and their derivatives |
//! | [`poly_map`] | `poly_map.rs` | polynomials, plain or encrypted coefficients, and their gradients |
//! | [`elementwise`] | `elementwise/` | sums, multiples, products, quotients; broadcasting |
//! | [`pool`] | `pool/` | averages and maxima of sliding windows, and their gradients |
//! | [`reduce`] | `reduce/` | sums, means and maxima along an axis; softmax; losses |
//! | [`update`] | `update.rs` | optimiser steps, gradient clipping |
//! | [`convert`] | `convert/` | linear maps between slots, planes and blocks; layouts; strided copies; element types |
//!
//! Tensors are *planes*: coordinate `i` of every element, contiguous, at a fixed stride
//! ([`Planes`], [`PlanesMut`]). Plaintext is a tensor of one plane.

mod algebra;
mod element;
mod error;
mod images;
mod isa;
mod planes;
mod polynomials;
mod simd;
mod sizes;
mod slots;
mod threads;

pub mod block_matmul;
pub mod conv2d;
pub mod convert;
pub mod elementwise;
pub mod function_map;
pub mod peak;
pub mod poly_map;
pub mod pool;
pub mod reduce;
pub mod update;

pub use algebra::{Arithmetic, Bilinear, Combination, MAX_DIM, MAX_SLOTS, Term, TwoSlots};
pub use element::Element;
pub use error::KernelError;
pub use images::TILE_IMAGES;
pub use isa::{ISA_VARIABLE, Isa, IsaError};
pub use planes::{Planes, PlanesMut};
pub use slots::SlotMaxima;
pub use threads::Exec;
