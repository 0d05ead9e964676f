//! Numbers of a type known at run time, aligned to 64 bytes.

use std::fmt;
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};
use furthermore_kernels_cpu::Element;

use crate::error::{Error, Result};

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
}

impl DType {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F64 => 8,
        }
    }

    /// The type of the elements `T`.
    pub fn of<T: Element>() -> DType {
        if size_of::<T>() == 4 {
            DType::F32
        } else {
            DType::F64
        }
    }

    /// The distance from 1 to the next number, halved: the relative error of one rounding.
    pub fn unit_roundoff(self) -> f64 {
        match self {
            DType::F32 => f64::from(f32::EPSILON) / 2.0,
            DType::F64 => f64::EPSILON / 2.0,
        }
    }

    /// Elements from one plane's start to the next's: planes start on cache lines, large ones where
    /// every graphics processor can bind one by itself, stored in half precision too.
    pub(crate) fn plane_stride(self, elements: usize) -> usize {
        /// Far from this many elements, a tensor of 64 planes is one binding everywhere.
        const LARGE: usize = 1 << 18;
        /// 256 bytes in half precision.
        const BOUND: usize = 128;
        let step = if elements < LARGE {
            LINE / self.size()
        } else {
            BOUND
        };
        elements.next_multiple_of(step)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => f32::NAME,
            DType::F64 => f64::NAME,
        })
    }
}

impl FromStr for DType {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "f32" => Ok(DType::F32),
            "f64" => Ok(DType::F64),
            _ => Err(Error::UnknownDType(name.to_owned())),
        }
    }
}

/// Runs `$body` with `$t` naming the element type that a [`DType`] stands for.
macro_rules! with_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::tensor::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::tensor::DType::F64 => {
                type $t = f64;
                $body
            }
        }
    };
}
pub(crate) use with_dtype;

/// Bytes of a cache line, and the alignment of every buffer.
const LINE: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// Zeroed numbers of one type, aligned to 64 bytes.
#[derive(Clone, Default)]
pub struct Buffer {
    lines: Vec<Line>,
    bytes: usize,
}

impl Buffer {
    /// `len` zeros of type `dtype`.
    ///
    /// # Errors
    /// When there is not that much memory.
    pub fn zeroed(dtype: DType, len: usize) -> Result<Self> {
        let bytes = len.saturating_mul(dtype.size());
        let count = bytes.div_ceil(LINE);
        let mut lines = Vec::new();
        lines
            .try_reserve_exact(count)
            .map_err(|_| Error::Memory { bytes })?;
        lines.resize(count, Line::zeroed());
        Ok(Self { lines, bytes })
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its numbers. Reading them as another type than they were written reads nonsense, safely.
    pub fn as_slice<T: Element>(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.bytes / size_of::<T>()]
    }

    /// Its numbers, to write.
    pub fn as_mut_slice<T: Element>(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.bytes / size_of::<T>()]
    }

    /// Its bytes as words of 32 bits, which hold no numbers.
    pub fn as_words(&self) -> &[u32] {
        &bytemuck::cast_slice(&self.lines)[..self.bytes / size_of::<u32>()]
    }

    /// Its words, to write.
    pub fn as_mut_words(&mut self) -> &mut [u32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.bytes / size_of::<u32>()]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes)
    }
}
