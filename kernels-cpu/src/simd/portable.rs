//! Vectors of plain Rust, which the compiler maps to whatever the target has.

use super::Simd;
use crate::element::Element;

#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Vector<T, const N: usize>([T; N]);

impl<T: Element, const N: usize> Vector<T, N> {
    #[inline(always)]
    fn zip(self, o: Self, f: impl Fn(T, T) -> T) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], o.0[i])))
    }
}

impl<T: Element, const N: usize> Simd<T> for Vector<T, N> {
    const LANES: usize = N;
    const TILE_ROWS: usize = 4;
    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    fn splat(x: T) -> Self {
        Self([x; N])
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> Self {
        // SAFETY: the caller's promise; an array has its element's alignment.
        Self(unsafe { p.cast::<[T; N]>().read() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut T) {
        // SAFETY: as above.
        unsafe { p.cast::<[T; N]>().write(self.0) }
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        self.zip(o, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        self.zip(o, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        self.zip(o, |a, b| a * b)
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        // Without a fused instruction `f32::mul_add` is a library call, so the product is rounded.
        self.mul(a).add(b)
    }
    #[inline(always)]
    fn max(self, o: Self) -> Self {
        self.zip(o, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, o: Self) -> Self {
        self.zip(o, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(|x| x.abs()))
    }
    #[inline(always)]
    fn div(self, o: Self) -> Self {
        self.zip(o, |a, b| a / b)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.map(|x| x.sqrt()))
    }
    #[inline(always)]
    fn if_above(self, o: Self, then: Self, other: Self) -> Self {
        let pick = |i: usize| {
            if self.0[i] > o.0[i] {
                then.0[i]
            } else {
                other.0[i]
            }
        };
        Self(std::array::from_fn(pick))
    }
    #[inline(always)]
    fn positive_bits(self) -> u32 {
        let bit = |i: usize| u32::from(self.0[i] > T::zero()) << i;
        (0..N).map(bit).sum()
    }
    #[inline(always)]
    fn where_bits(self, bits: u32) -> Self {
        let pick = |i: usize| {
            if bits & (1 << i) == 0 {
                T::zero()
            } else {
                self.0[i]
            }
        };
        Self(std::array::from_fn(pick))
    }
    #[inline(always)]
    fn round(self) -> Self {
        // `round` is a library call here. A number this large has no fraction, so the sum drops it.
        let large = Self::splat(T::of(1.5) / T::epsilon());
        self.add(large).sub(large)
    }
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        self.zip(n, T::scale_by_power)
    }
    #[inline(always)]
    fn exponent(self) -> Self {
        Self(self.0.map(T::exponent))
    }
    #[inline(never)]
    fn apart<R>(body: impl FnOnce() -> R) -> R {
        body()
    }
}
