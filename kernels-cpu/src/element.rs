//! The numbers kernels compute with.

use std::fmt::Debug;

use num_traits::Float;

use crate::block_matmul::Task;
use crate::conv2d::{
    Averages, ChannelSums, Convolve, Correlate, PackWeights, PooledSums, Unpooled,
};
use crate::convert::{Cells, Map, Transpose};
use crate::elementwise::{Divide, Linear, Multiply};
use crate::function_map::Span;
use crate::isa::Isa;
use crate::peak::Chains;
use crate::poly_map::{Compose, Evaluate, Moments, Sums};
use crate::pool::{Rectified, Windows};
use crate::reduce::{Max, Maxima, Pointwise, Softmax, SoftmaxGradient, Sum};
use crate::simd::functions::Constants;
use crate::simd::{self, Simd};
use crate::slots::SlotMaxima;
use crate::update::{AdamStep, Clip, Sgd};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// Declares [`Bodies`] and implements it for both element types.
macro_rules! bodies {
    ($($name:ident($body:ty) -> $output:ty;)*) => {
        /// Kernel bodies of one element type. Being no generic functions, they are compiled here,
        /// once, and not again in every crate that calls a kernel.
        #[doc(hidden)]
        #[allow(private_interfaces, unreachable_pub, reason = "sealed: only this crate calls them")]
        pub trait Bodies: Sized {
            $(#[doc(hidden)] fn $name(isa: Isa, body: $body) -> $output;)*
        }
        bodies!(@for f32 $($name($body) -> $output;)*);
        bodies!(@for f64 $($name($body) -> $output;)*);
    };
    (@for $float:ident $($name:ident($body:ty) -> $output:ty;)*) => {
        #[allow(private_interfaces, reason = "as above")]
        impl Bodies for $float {
            $(fn $name(isa: Isa, body: $body) -> $output {
                isa.run::<Self, _>(body)
            })*
        }
    };
}

bodies! {
    run_task(Task<'_, Self>) -> SlotMaxima;
    run_span(Span<'_, Self>) -> SlotMaxima;
    run_linear(Linear<'_, Self>) -> ();
    run_multiply(Multiply<'_, Self>) -> ();
    run_divide(Divide<'_, Self>) -> SlotMaxima;
    run_sum(Sum<Self>) -> ();
    run_max(Max<'_, Self>) -> SlotMaxima;
    run_compose(Compose<'_, Self>) -> SlotMaxima;
    run_maxima(Maxima<'_, Self>) -> SlotMaxima;
    run_softmax(Softmax<'_, Self>) -> SlotMaxima;
    run_softmax_gradient(SoftmaxGradient<'_, Self>) -> SlotMaxima;
    run_pointwise(Pointwise<'_, Self>) -> SlotMaxima;
    run_sgd(Sgd<Self>) -> bool;
    run_adam(AdamStep<'_, Self>) -> bool;
    run_clip(Clip<'_, Self>) -> bool;
    run_map(Map<'_, Self>) -> ();
    run_pack_weights(PackWeights<'_, Self>) -> ();
    run_convolve(Convolve<'_, Self>) -> SlotMaxima;
    run_correlate(Correlate<'_, Self>) -> ();
    run_channel_sums(ChannelSums<Self>) -> ();
    run_averages(Averages<'_, Self>) -> SlotMaxima;
    run_unpooled(Unpooled<'_, Self>) -> ();
    run_pooled_sums(PooledSums<'_, Self>) -> ();
    run_chains(Chains) -> f64;
    run_rectified(Rectified<'_, Self>) -> SlotMaxima;
    run_windows(Windows<'_, Self>) -> SlotMaxima;
    run_transpose(Transpose<Self>) -> ();
    run_cells(Cells<Self>) -> ();
    run_evaluate(Evaluate<'_, Self>) -> SlotMaxima;
    run_moments(Moments<'_, Self>) -> Sums;
}

/// A floating-point element: f32 or f64.
pub trait Element:
    Float + bytemuck::Pod + Default + Debug + Send + Sync + sealed::Sealed + Bodies + 'static
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
    /// `self * 2^n` for whole `n`, with gradual underflow and overflow to infinity.
    #[doc(hidden)]
    fn scale_by_power(self, n: Self) -> Self;
    /// The whole part of log2 of a positive normal number; anything for other numbers.
    #[doc(hidden)]
    fn exponent(self) -> Self;
    /// What elementary functions are computed with.
    #[doc(hidden)]
    const FUNCTIONS: Constants<Self>;
}

/// `x 2^n` in two steps, since 2^n itself may be out of range where the result is not.
macro_rules! scale_by_power {
    ($x:expr, $n:expr, $float:ty, $bits:ty, $bias:literal, $mantissa:literal) => {{
        let n = $n as i32;
        let power = |n: i32| <$float>::from_bits(((n + $bias) as $bits) << $mantissa);
        $x * power(n / 2) * power(n - n / 2)
    }};
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
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        scale_by_power!(self, n, f32, u32, 127, 23)
    }
    #[inline(always)]
    fn exponent(self) -> Self {
        ((self.to_bits() >> 23) as i32 - 127) as f32
    }
    const FUNCTIONS: Constants<f32> = simd::functions::F32;
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
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        scale_by_power!(self, n, f64, u64, 1023, 52)
    }
    #[inline(always)]
    fn exponent(self) -> Self {
        ((self.to_bits() >> 52) as i32 - 1023) as f64
    }
    const FUNCTIONS: Constants<f64> = simd::functions::F64;
}
