//! AVX2 + FMA and AVX-512 vectors.

use std::arch::x86_64::*;

use super::Simd;

macro_rules! vector {
    ($name:ident, $element:ty, $raw:ty, $lanes:literal, rows $rows:literal, vectors $vectors:literal,
     $set1:ident, $loadu:ident, $storeu:ident, $add:ident, $sub:ident, $mul:ident, $fmadd:ident, $max:ident,
     abs |$x:ident| $abs:expr, where_positive |$a:ident, $b:ident| $where_positive:expr) => {
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
            fn abs(self) -> Self {
                let $x = self.0;
                Self(unsafe { $abs })
            }
            #[inline(always)]
            fn where_positive(self, o: Self) -> Self {
                let ($a, $b) = (self.0, o.0);
                Self(unsafe { $where_positive })
            }
        }
    };
}

// Accumulator tiles leave room for the vectors of one row of B and a broadcast of A: 12 x 2 of
// AVX-512's 32 registers, 6 x 2 of AVX2's 16.
vector!(F32x16, f32, __m512, 16, rows 12, vectors 2,
    _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps,
    _mm512_fmadd_ps, _mm512_max_ps, abs |x| _mm512_abs_ps(x),
    where_positive |a, b| _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(b, _mm512_setzero_ps()), a));
vector!(F64x8, f64, __m512d, 8, rows 12, vectors 2,
    _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd,
    _mm512_fmadd_pd, _mm512_max_pd, abs |x| _mm512_abs_pd(x),
    where_positive |a, b| _mm512_maskz_mov_pd(_mm512_cmp_pd_mask::<_CMP_GT_OQ>(b, _mm512_setzero_pd()), a));
vector!(F32x8, f32, __m256, 8, rows 6, vectors 2,
    _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps,
    _mm256_fmadd_ps, _mm256_max_ps, abs |x| _mm256_andnot_ps(_mm256_set1_ps(-0.0), x),
    where_positive |a, b| _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(b, _mm256_setzero_ps()), a));
vector!(F64x4, f64, __m256d, 4, rows 6, vectors 2,
    _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd,
    _mm256_fmadd_pd, _mm256_max_pd, abs |x| _mm256_andnot_pd(_mm256_set1_pd(-0.0), x),
    where_positive |a, b| _mm256_and_pd(_mm256_cmp_pd::<_CMP_GT_OQ>(b, _mm256_setzero_pd()), a));
