//! The one error of the engine: each message names what was wrong and where.

use furthermore_kernels_cpu::{IsaError, KernelError};
use thiserror::Error;

use crate::algebra::Algebra;
use crate::scheme::KeyId;
use crate::tensor::{DType, Shape};

/// A result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the engine refuses, and why.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No algebra has that name.
    #[error("unknown algebra '{0}': known are real, compact2 to compact8 and blocks2 to blocks8")]
    UnknownAlgebra(String),
    /// No element type has that name.
    #[error("unknown element type '{0}': known are f32 and f64")]
    UnknownDType(String),
    /// No mask policy has that name.
    #[error(
        "unknown mask policy '{0}': known are paired-rows, features, uniform, normal and positive"
    )]
    UnknownMaskPolicy(String),
    /// A key of that size cannot be made.
    #[error("a key of {0} slots was asked for: keys have 2 to 8")]
    KeySize(usize),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(String),
    /// A tensor has the wrong shape.
    #[error("{what}: shape {found} where {expected} is needed")]
    Shape {
        /// Which tensor or operation.
        what: String,
        /// The shape needed.
        expected: Shape,
        /// The shape found.
        found: Shape,
    },
    /// Shapes that do not go together in an operation.
    #[error("`{operation}`: {reason}")]
    Operation {
        /// The operation's name.
        operation: String,
        /// Why it cannot be done.
        reason: String,
    },
    /// A tensor has the wrong element type.
    #[error("{what}: element type {found} where {expected} is needed")]
    DType {
        /// Which tensor.
        what: String,
        /// The type needed.
        expected: DType,
        /// The type found.
        found: DType,
    },
    /// A ciphertext of the wrong algebra.
    #[error("{what}: algebra {found} where {expected} is needed")]
    Algebra {
        /// Which tensor.
        what: String,
        /// The algebra needed.
        expected: Algebra,
        /// The algebra found.
        found: Algebra,
    },
    /// A ciphertext under another key.
    #[error("{what}: encrypted under key {found}, not under key {expected}")]
    Key {
        /// Which tensor.
        what: String,
        /// The key in use.
        expected: KeyId,
        /// The ciphertext's key.
        found: KeyId,
    },
    /// A key in stored form cannot be used.
    #[error("{what}: {reason}")]
    StoredKey {
        /// Which kind of key.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
    /// An algebra needs a key of another size, or a key where none was given.
    #[error("{algebra} needs {needs}")]
    NoKey {
        /// The algebra.
        algebra: Algebra,
        /// What it needs.
        needs: String,
    },
    /// A graded polynomial's degree would pass what its element type or its planes bear.
    #[error(
        "{operation}: its ciphertexts would be polynomials of degree {degree}, and in {dtype} they \
         bear {limit}"
    )]
    Degree {
        /// Where.
        operation: String,
        /// The degree.
        degree: usize,
        /// The largest that goes.
        limit: usize,
        /// The element type.
        dtype: DType,
    },
    /// A plaintext where a ciphertext is needed.
    #[error("{what}: a plaintext was given where a ciphertext is needed")]
    NotEncrypted {
        /// Which tensor.
        what: String,
    },
    /// A ciphertext where a plaintext is needed.
    #[error("{what}: a ciphertext was given where a plaintext is needed")]
    Encrypted {
        /// Which tensor.
        what: String,
    },
    /// A plaintext holds NaN or infinity.
    #[error("{what}: element {index} is {value}, and only finite numbers can be encrypted")]
    NotFinite {
        /// Which tensor.
        what: String,
        /// Which element.
        index: usize,
        /// What it is.
        value: f64,
    },
    /// Masks cannot be drawn by that policy.
    #[error("mask policy {policy}: {reason}")]
    MaskPolicy {
        /// The policy.
        policy: &'static str,
        /// Why not.
        reason: String,
    },
    /// A run met numbers that are not finite.
    #[error("`{operation}` gave a number that is not finite{detail}")]
    RunNotFinite {
        /// The operation where it began.
        operation: String,
        /// More where there is more to say.
        detail: String,
    },
    /// Slots grew apart, so that rounding in one drowns the other.
    #[error(
        "`{operation}`: one slot is {ratio:.1e} times the other, past {limit:.0e}; rounding in the \
         larger drowns the smaller (masks have to stay near the messages: see the mask policies; a \
         slot of nothing but zeros looks the same, and Session::set_guard raises the limit)"
    )]
    MaskGuard {
        /// The operation where it was seen.
        operation: String,
        /// Larger over smaller magnitude.
        ratio: f64,
        /// The ratio that is refused.
        limit: f64,
    },
    /// A network names nothing of that name.
    #[error("{what} '{name}' does not exist: there are {known}")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Tensor data of the wrong length.
    #[error("{what}: {found} numbers were given for shape {shape}, which needs {expected}")]
    Length {
        /// Which tensor.
        what: String,
        /// Its shape.
        shape: Shape,
        /// Numbers needed.
        expected: usize,
        /// Numbers found.
        found: usize,
    },
    /// A shape whose element count does not fit in memory's address range.
    #[error("{what}: shape {shape} has more elements than can be addressed")]
    TooLarge {
        /// Which tensor.
        what: String,
        /// Its shape.
        shape: Shape,
    },
    /// There is not that much memory.
    #[error("{bytes} bytes of memory were asked for and are not to be had")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// A plan takes more memory than it was allowed.
    #[error("a batch of {batch} takes {needed} bytes of memory, and {allowed} are allowed")]
    MemoryLimit {
        /// Samples in a run.
        batch: usize,
        /// Bytes that the plan takes.
        needed: usize,
        /// Bytes that it may take.
        allowed: usize,
    },
    /// A row index past the end.
    #[error("{what}: row {row} was asked for, and there are {rows}")]
    Row {
        /// Which tensor.
        what: String,
        /// The row asked for.
        row: usize,
        /// Rows there are.
        rows: usize,
    },
    /// The run was cancelled.
    #[error("the run was cancelled before `{operation}`")]
    Cancelled {
        /// The operation that did not run.
        operation: String,
    },
    /// An ONNX model cannot be read.
    #[error("ONNX model '{model}': {reason}")]
    OnnxModel {
        /// The file.
        model: String,
        /// Why not.
        reason: String,
    },
    /// A node of an ONNX model cannot be computed.
    #[error("ONNX node '{node}' ({operator}, opset {opset}): {reason}")]
    Onnx {
        /// The node's name, or that of its first output where it has none.
        node: String,
        /// Its operator, with the domain where that is not ONNX's own.
        operator: String,
        /// The version of the operators that the model uses.
        opset: i64,
        /// Why it cannot.
        reason: String,
    },
    /// The device could not be set up.
    #[error("device {device}: {reason}")]
    Device {
        /// Which device.
        device: String,
        /// Why not.
        reason: String,
    },
    /// A graphics adapter without numbers in half precision, where tensors were to be stored so.
    #[error("device {device}: it does not store half precision")]
    NoHalfPrecision {
        /// Which device.
        device: String,
    },
    /// The instruction set asked for is not here.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// A kernel was handed operands that do not fit.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}
