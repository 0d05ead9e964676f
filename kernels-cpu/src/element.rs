//! The numbers kernels compute with.

use std::fmt::Debug;

use num_traits::Float;

use crate::simd::{self, Simd};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A floating-point element: f32 or f64.
pub trait Element:
    Float + bytemuck::Pod + Default + Debug + Send + Sync + sealed::Sealed + 'static
{
    /// Its name in plans and reports.
    const NAME: &'static str;
    /// Vector of plain Rust.
    #[doc(hidden)]
    type Portable: Simd<Self>;
    /// 256-bit vector.
    #[doc(hidden)]
    #[cfg(target_arch = "x86_64")]
    type Avx2: Simd<Self>;
    /// 512-bit vector.
    #[doc(hidden)]
    #[cfg(target_arch = "x86_64")]
    type Avx512: Simd<Self>;

    /// Rounds to the nearest element.
    fn of(x: f64) -> Self;
    /// The exact value.
    fn wide(self) -> f64;
}

impl Element for f32 {
    const NAME: &'static str = "f32";
    type Portable = simd::portable::Vector<f32, 4>;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = simd::x86::F32x8;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = simd::x86::F32x16;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Element for f64 {
    const NAME: &'static str = "f64";
    type Portable = simd::portable::Vector<f64, 2>;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = simd::x86::F64x4;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = simd::x86::F64x8;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}
