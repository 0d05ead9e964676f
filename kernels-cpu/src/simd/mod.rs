//! One vector interface, thin per instruction set: kernels are written once over [`Simd`].

#![allow(
    unreachable_pub,
    missing_docs,
    reason = "associated types of a public trait have to be public, but nothing outside can name these"
)]

pub(crate) mod functions;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use crate::element::Element;

/// Vectors with more lanes than this do not exist here.
pub(crate) const MAX_LANES: usize = 16;

/// A vector of `LANES` elements.
///
/// Methods of the x86 vectors are safe to call only below [`Isa::run`](crate::isa::Isa::run), which
/// holds proof that the processor has the instructions; nothing else in the crate names them.
pub trait Simd<T: Element>: Copy {
    const LANES: usize;
    /// Rows and vectors of the product micro-kernel's accumulator tile.
    const TILE_ROWS: usize;
    const TILE_VECTORS: usize;

    fn splat(x: T) -> Self;
    /// # Safety
    /// `p` is valid for reading `LANES` elements.
    unsafe fn load(p: *const T) -> Self;
    /// # Safety
    /// `p` is valid for writing `LANES` elements.
    unsafe fn store(self, p: *mut T);
    fn add(self, o: Self) -> Self;
    fn sub(self, o: Self) -> Self;
    fn mul(self, o: Self) -> Self;
    /// `self * a + b`, fused where the instruction set fuses.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Lane by lane `if self > o { self } else { o }`, so NaN in `self` gives `o`.
    fn max(self, o: Self) -> Self;
    /// Lane by lane `if self < o { self } else { o }`, so NaN in `self` gives `o`.
    fn min(self, o: Self) -> Self;
    fn abs(self) -> Self;
    fn div(self, o: Self) -> Self;
    fn sqrt(self) -> Self;
    /// Lane by lane `if self > o { then } else { other }`, so NaN on either side gives `other`.
    fn if_above(self, o: Self, then: Self, other: Self) -> Self;
    /// One bit a lane, the first lane's the lowest: whether it is above zero.
    fn positive_bits(self) -> u32;
    /// The lanes whose bit is set, zero elsewhere; bits past the lanes do not count.
    fn where_bits(self, bits: u32) -> Self;
    /// The nearest whole number, even at ties, of one that has less than half the mantissa's range.
    fn round(self) -> Self;
    /// `self * 2^n` for whole `n`, with gradual underflow and overflow to infinity.
    fn scale_by_power(self, n: Self) -> Self;
    /// The whole part of log2 of a positive normal number; anything for other numbers.
    fn exponent(self) -> Self;
    /// Runs `body` in a function of its own that is compiled for these vectors: where several kernels
    /// share a body, its code is there once and not in each of them.
    fn apart<R>(body: impl FnOnce() -> R) -> R;

    /// `self` where `o` is above zero, zero elsewhere.
    #[inline(always)]
    fn where_positive(self, o: Self) -> Self {
        let zero = Self::splat(T::zero());
        o.if_above(zero, self, zero)
    }

    #[inline(always)]
    fn neg(self) -> Self {
        Self::splat(T::neg_zero()).sub(self)
    }

    /// The first `count` lanes, and zero past them.
    #[inline(always)]
    fn first(self, count: usize) -> Self {
        if count >= Self::LANES {
            return self;
        }
        // SAFETY: the lanes hold more than `count` elements.
        unsafe { Self::load_partial(self.lanes().as_ptr(), count) }
    }

    /// # Safety
    /// `p` is valid for reading `count <= LANES` elements. Lanes past them are zero.
    #[inline(always)]
    unsafe fn load_partial(p: *const T, count: usize) -> Self {
        let mut lanes = [T::zero(); MAX_LANES];
        // SAFETY: the caller's promise, and `lanes` holds at least `LANES` elements.
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), count);
            Self::load(lanes.as_ptr())
        }
    }

    /// # Safety
    /// `p` is valid for writing `count <= LANES` elements.
    #[inline(always)]
    unsafe fn store_partial(self, p: *mut T, count: usize) {
        let lanes = self.lanes();
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, count) }
    }

    /// # Safety
    /// `p` is valid for reading `count <= LANES` elements. Lanes past them are zero.
    #[inline(always)]
    unsafe fn load_some(p: *const T, count: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            if count == Self::LANES {
                Self::load(p)
            } else {
                Self::load_partial(p, count)
            }
        }
    }

    /// # Safety
    /// `p` is valid for writing `count <= LANES` elements.
    #[inline(always)]
    unsafe fn store_some(self, p: *mut T, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if count == Self::LANES {
                self.store(p)
            } else {
                self.store_partial(p, count)
            }
        }
    }

    /// The lanes, those past `LANES` zero.
    #[inline(always)]
    fn lanes(self) -> [T; MAX_LANES] {
        let mut lanes = [T::zero(); MAX_LANES];
        // SAFETY: `lanes` holds at least `LANES` elements.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }
}

/// A kernel body, compiled once for each instruction set.
pub(crate) trait WithSimd<T: Element> {
    type Output;
    fn run<S: Simd<T>>(self) -> Self::Output;
}
