//! AVX2 + FMA and AVX-512 vectors.

use std::arch::x86_64::*;

use super::Simd;

macro_rules! vector {
    ($name:ident, $element:ty, $raw:ty, $lanes:literal, rows $rows:literal, vectors $vectors:literal,
     $set1:ident, $loadu:ident, $storeu:ident, $add:ident, $sub:ident, $mul:ident, $div:ident,
     $fmadd:ident, $max:ident, $min:ident, $sqrt:ident, within $within:ident,
     abs |$x:ident| $abs:expr, round |$y:ident| $round:expr,
     if_above |$a:ident, $b:ident, $then:ident, $other:ident| $if_above:expr,
     positive |$s:ident| $positive:expr, keep |$t:ident, $bits:ident| $keep:expr,
     scale |$u:ident, $n:ident| $scale:expr, exponent |$v:ident| $exponent:expr
     $(, masked $mask:ty, $maskz_loadu:ident, $mask_storeu:ident)?) => {
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub struct $name($raw);

        // SAFETY of every block below: the trait's contract, that these methods run only below
        // `Isa::run`, which detected the instructions; loads and stores pass the caller's promise on.
        #[allow(
            clippy::undocumented_unsafe_blocks,
            reason = "said once above, for all of them"
        )]
        impl Simd<$element> for $name {
            const LANES: usize = $lanes;
            const TILE_ROWS: usize = $rows;
            const TILE_VECTORS: usize = $vectors;

            #[inline(always)]
            fn splat(x: $element) -> Self {
                Self(unsafe { $set1(x) })
            }
            #[inline(always)]
            unsafe fn load(p: *const $element) -> Self {
                Self(unsafe { $loadu(p) })
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $element) {
                unsafe { $storeu(p, self.0) }
            }
            #[inline(always)]
            fn add(self, o: Self) -> Self {
                Self(unsafe { $add(self.0, o.0) })
            }
            #[inline(always)]
            fn sub(self, o: Self) -> Self {
                Self(unsafe { $sub(self.0, o.0) })
            }
            #[inline(always)]
            fn mul(self, o: Self) -> Self {
                Self(unsafe { $mul(self.0, o.0) })
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                Self(unsafe { $fmadd(self.0, a.0, b.0) })
            }
            #[inline(always)]
            fn max(self, o: Self) -> Self {
                Self(unsafe { $max(self.0, o.0) })
            }
            #[inline(always)]
            fn min(self, o: Self) -> Self {
                Self(unsafe { $min(self.0, o.0) })
            }
            #[inline(always)]
            fn abs(self) -> Self {
                let $x = self.0;
                Self(unsafe { $abs })
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                Self(unsafe { $sqrt(self.0) })
            }
            #[inline(always)]
            fn if_above(self, o: Self, then: Self, other: Self) -> Self {
                let ($a, $b, $then, $other) = (self.0, o.0, then.0, other.0);
                Self(unsafe { $if_above })
            }
            #[inline(always)]
            fn positive_bits(self) -> u32 {
                let $s = self.0;
                (unsafe { $positive }) as u32
            }
            #[inline(always)]
            fn where_bits(self, bits: u32) -> Self {
                let ($t, $bits) = (self.0, bits);
                Self(unsafe { $keep })
            }
            #[inline(always)]
            fn div(self, o: Self) -> Self {
                Self(unsafe { $div(self.0, o.0) })
            }
            #[inline(always)]
            fn round(self) -> Self {
                let $y = self.0;
                Self(unsafe { $round })
            }
            #[inline(always)]
            fn scale_by_power(self, n: Self) -> Self {
                let ($u, $n) = (self.0, n.0);
                Self(unsafe { $scale })
            }
            #[inline(always)]
            fn exponent(self) -> Self {
                let $v = self.0;
                Self(unsafe { $exponent })
            }
            #[inline(always)]
            fn apart<R>(body: impl FnOnce() -> R) -> R {
                unsafe { $within(body) }
            }
            $(
                #[inline(always)]
                unsafe fn load_partial(p: *const $element, count: usize) -> Self {
                    Self(unsafe { $maskz_loadu(((1u32 << count) - 1) as $mask, p) })
                }
                #[inline(always)]
                unsafe fn store_partial(self, p: *mut $element, count: usize) {
                    unsafe { $mask_storeu(p, ((1u32 << count) - 1) as $mask, self.0) }
                }
            )?
        }
    };
}

/// Runs `body` compiled for AVX2 and FMA, if it is inlined into here.
///
/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
pub(crate) unsafe fn within_avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// Runs `body` compiled for AVX-512, if it is inlined into here.
///
/// # Safety
/// The processor has AVX-512 F, DQ, BW and VL, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
#[inline(never)]
pub(crate) unsafe fn within_avx512<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// `x 2^n` in two steps through the exponent's bits, where there is no instruction for it.
macro_rules! scale_by_bits {
    ($x:expr, $n:expr, $to_int:ident, $widen:ident, $srai:ident, $sub:ident, $add:ident, $set1:ident, $slli:ident, $bias:literal, $mantissa:literal, $cast:ident, $mul:ident) => {{
        let n = $to_int($n);
        let half = $srai::<1>(n);
        let rest = $sub(n, half);
        let power = |n| $cast($slli::<$mantissa>($add($widen(n), $set1($bias))));
        $mul($mul($x, power(half)), power(rest))
    }};
}

#[inline(always)]
fn same(x: __m256i) -> __m256i {
    x
}

/// There is no conversion of 64-bit integers: the exponent's bits become the mantissa of a number
/// that has 2^52 as its exponent.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn exponent_f64(x: __m256d) -> __m256d {
    const LIFT: f64 = (1u64 << 52) as f64;
    // SAFETY: the caller's promise.
    unsafe {
        let bits = _mm256_srli_epi64::<52>(_mm256_castpd_si256(x));
        let lifted = _mm256_or_si256(bits, _mm256_castpd_si256(_mm256_set1_pd(LIFT)));
        _mm256_sub_pd(_mm256_castsi256_pd(lifted), _mm256_set1_pd(LIFT + 1023.0))
    }
}

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

// Accumulator tiles leave room for the vectors of one row of B and a broadcast of A: 12 x 2 of
// AVX-512's 32 registers, 6 x 2 of AVX2's 16.
vector!(F32x16, f32, __m512, 16, rows 12, vectors 2,
    _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps,
    _mm512_div_ps, _mm512_fmadd_ps, _mm512_max_ps, _mm512_min_ps, _mm512_sqrt_ps,
    within within_avx512, abs |x| _mm512_abs_ps(x),
    round |x| _mm512_roundscale_ps::<NEAREST>(x),
    if_above |a, b, then, other| _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), other, then),
    positive |x| _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps()),
    keep |x, bits| _mm512_maskz_mov_ps(bits as __mmask16, x),
    scale |x, n| _mm512_scalef_ps(x, n), exponent |x| _mm512_getexp_ps(x),
    masked __mmask16, _mm512_maskz_loadu_ps, _mm512_mask_storeu_ps);
vector!(F64x8, f64, __m512d, 8, rows 12, vectors 2,
    _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd,
    _mm512_div_pd, _mm512_fmadd_pd, _mm512_max_pd, _mm512_min_pd, _mm512_sqrt_pd,
    within within_avx512, abs |x| _mm512_abs_pd(x),
    round |x| _mm512_roundscale_pd::<NEAREST>(x),
    if_above |a, b, then, other| _mm512_mask_blend_pd(_mm512_cmp_pd_mask::<_CMP_GT_OQ>(a, b), other, then),
    positive |x| _mm512_cmp_pd_mask::<_CMP_GT_OQ>(x, _mm512_setzero_pd()),
    keep |x, bits| _mm512_maskz_mov_pd(bits as __mmask8, x),
    scale |x, n| _mm512_scalef_pd(x, n), exponent |x| _mm512_getexp_pd(x),
    masked __mmask8, _mm512_maskz_loadu_pd, _mm512_mask_storeu_pd);
vector!(F32x8, f32, __m256, 8, rows 6, vectors 2,
    _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps,
    _mm256_div_ps, _mm256_fmadd_ps, _mm256_max_ps, _mm256_min_ps, _mm256_sqrt_ps,
    within within_avx2, abs |x| _mm256_andnot_ps(_mm256_set1_ps(-0.0), x),
    round |x| _mm256_round_ps::<NEAREST>(x),
    if_above |a, b, then, other| _mm256_blendv_ps(other, then, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)),
    positive |x| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_setzero_ps())),
    keep |x, bits| {
        let lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        let set = _mm256_and_si256(_mm256_set1_epi32(bits as i32), lanes);
        _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lanes)), x)
    },
    scale |x, n| scale_by_bits!(x, n, _mm256_cvtps_epi32, same, _mm256_srai_epi32, _mm256_sub_epi32,
        _mm256_add_epi32, _mm256_set1_epi32, _mm256_slli_epi32, 127, 23, _mm256_castsi256_ps, _mm256_mul_ps),
    exponent |x| _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32::<23>(_mm256_castps_si256(x)), _mm256_set1_epi32(127))));
vector!(F64x4, f64, __m256d, 4, rows 6, vectors 2,
    _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd,
    _mm256_div_pd, _mm256_fmadd_pd, _mm256_max_pd, _mm256_min_pd, _mm256_sqrt_pd,
    within within_avx2, abs |x| _mm256_andnot_pd(_mm256_set1_pd(-0.0), x),
    round |x| _mm256_round_pd::<NEAREST>(x),
    if_above |a, b, then, other| _mm256_blendv_pd(other, then, _mm256_cmp_pd::<_CMP_GT_OQ>(a, b)),
    positive |x| _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_GT_OQ>(x, _mm256_setzero_pd())),
    keep |x, bits| {
        let lanes = _mm256_setr_epi64x(1, 2, 4, 8);
        let set = _mm256_and_si256(_mm256_set1_epi64x(i64::from(bits)), lanes);
        _mm256_and_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(set, lanes)), x)
    },
    scale |x, n| scale_by_bits!(x, n, _mm256_cvtpd_epi32, _mm256_cvtepi32_epi64, _mm_srai_epi32, _mm_sub_epi32,
        _mm256_add_epi64, _mm256_set1_epi64x, _mm256_slli_epi64, 1023, 52, _mm256_castsi256_pd, _mm256_mul_pd),
    exponent |x| exponent_f64(x));
