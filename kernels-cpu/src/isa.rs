//! Which instruction set the kernels use, chosen once by whoever owns the device.

use std::fmt;

use thiserror::Error;

use crate::element::Element;
#[cfg(target_arch = "x86_64")]
use crate::simd::x86;
use crate::simd::{Simd, WithSimd};

/// The environment variable that forces an instruction set: `avx512`, `avx2` or `portable`.
pub const ISA_VARIABLE: &str = "FURTHERMORE_ISA";

/// An instruction set this machine has. Values exist only for what was detected.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Isa(Level);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// An instruction set was asked for that does not exist or is not here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("instruction set '{asked}' is not one of those this machine has: {}", .available.join(", "))]
pub struct IsaError {
    asked: String,
    available: Vec<&'static str>,
}

impl Isa {
    /// Plain Rust that any target compiles.
    pub const PORTABLE: Isa = Isa(Level::Portable);

    /// Every instruction set of this machine, slowest first.
    pub fn available() -> Vec<Isa> {
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))]
        let mut found = vec![Isa::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Isa(Level::Avx2));
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                {
                    found.push(Isa(Level::Avx512));
                }
            }
        }
        found
    }

    /// The fastest instruction set of this machine.
    pub fn best() -> Isa {
        *Self::available()
            .last()
            .expect("the portable path is always there")
    }

    /// The instruction set of that name.
    ///
    /// # Errors
    /// When there is none of that name on this machine.
    pub fn named(name: &str) -> Result<Isa, IsaError> {
        let available = Self::available();
        available
            .iter()
            .copied()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| IsaError {
                asked: name.to_owned(),
                available: available.iter().map(|isa| isa.name()).collect(),
            })
    }

    /// The instruction set that [`ISA_VARIABLE`] forces, or the best.
    ///
    /// # Errors
    /// When the variable names an instruction set that is not here.
    pub fn from_env() -> Result<Isa, IsaError> {
        match std::env::var(ISA_VARIABLE) {
            Ok(name) if !name.is_empty() => Self::named(&name),
            _ => Ok(Self::best()),
        }
    }

    /// Its name: `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    #[inline]
    pub(crate) fn run<T: Element, K: WithSimd<T>>(self, kernel: K) -> K::Output {
        match self.0 {
            Level::Portable => kernel.run::<T::Portable>(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this level exists only where the features were detected.
            Level::Avx2 => unsafe {
                x86::within_avx2(
                    #[inline(always)]
                    || kernel.run::<T::Avx2>(),
                )
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Level::Avx512 => unsafe {
                x86::within_avx512(
                    #[inline(always)]
                    || kernel.run::<T::Avx512>(),
                )
            },
        }
    }

    /// Elements in a vector of `T`.
    pub(crate) fn lanes<T: Element>(self) -> usize {
        match self.0 {
            Level::Portable => T::Portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => T::Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => T::Avx512::LANES,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Isa({})", self.name())
    }
}
