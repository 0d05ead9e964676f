//! What a kernel refuses.

use thiserror::Error;

/// A kernel was handed slices that do not fit its shape, or numbers it has no result for. Nothing is
/// written then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KernelError {
    /// An operand's slice or element count is not what the shape needs.
    #[error("{kernel}: {operand} holds {has} elements where {needs} are needed")]
    Length {
        /// The kernel.
        kernel: &'static str,
        /// Which operand.
        operand: &'static str,
        /// Elements needed.
        needs: usize,
        /// Elements given.
        has: usize,
    },
    /// An operand has a number of planes that the operation does not take.
    #[error("{kernel}: {operand} has {has} planes where {needs} are needed")]
    PlaneCount {
        /// The kernel.
        kernel: &'static str,
        /// Which operand.
        operand: &'static str,
        /// Planes needed.
        needs: usize,
        /// Planes given.
        has: usize,
    },
    /// A shape describes no operation.
    #[error("{kernel}: {reason}")]
    Shape {
        /// The kernel.
        kernel: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// One of several constants is infinite or not a number in the kernel's element type.
    #[error("{kernel}: number {index} of {operand} is not finite")]
    NotFinite {
        /// The kernel.
        kernel: &'static str,
        /// Which operand.
        operand: &'static str,
        /// Which number of it, from 0.
        index: usize,
    },
    /// A single number is outside what the kernel takes.
    #[error("{kernel}: {parameter} is {has} where {needs} is needed")]
    Parameter {
        /// The kernel.
        kernel: &'static str,
        /// Which number.
        parameter: &'static str,
        /// What it has to be.
        needs: &'static str,
        /// What it is.
        has: String,
    },
}
