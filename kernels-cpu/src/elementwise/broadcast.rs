//! Which elements of two operands meet, by numpy's rules.

use std::ops::Range;

use super::NAME;
use crate::error::KernelError;
use crate::planes::RawPlanes;
use crate::simd::Simd;
use crate::{Element, Planes};

/// Axes that a broadcast can have once neighbours that behave alike are one.
pub const MAX_AXES: usize = 6;

/// How two operands are broadcast to an output, computed once for their shapes.
///
/// Shapes are aligned at their last axes; along each, sizes agree or one of them is 1, whose element
/// then repeats. Operands are row-major in each plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broadcast {
    /// Innermost first, those after `count` unused.
    axes: [BroadcastAxis; MAX_AXES],
    count: usize,
    len: usize,
    a_len: usize,
    b_len: usize,
}

/// An axis along which two operands go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BroadcastAxis {
    /// Places along it.
    pub size: usize,
    /// Elements of a from one place to the next, 0 where one repeats.
    pub a: usize,
    /// Those of b.
    pub b: usize,
}

impl Broadcast {
    /// Operands of the same shape.
    pub fn same(len: usize) -> Self {
        let mut axes = [BroadcastAxis::default(); MAX_AXES];
        axes[0] = BroadcastAxis {
            size: len,
            a: 1,
            b: 1,
        };
        Self {
            axes,
            count: 1,
            len,
            a_len: len,
            b_len: len,
        }
    }

    /// Operands of these shapes.
    ///
    /// # Errors
    /// When sizes along an axis differ and neither is 1, or more than [`MAX_AXES`] axes remain.
    pub fn new(a: &[usize], b: &[usize]) -> Result<Self, KernelError> {
        let mut made = Self {
            count: 0,
            len: 1,
            ..Self::same(1)
        };
        for back in 1..=a.len().max(b.len()) {
            let size = |shape: &[usize]| shape.len().checked_sub(back).map_or(1, |i| shape[i]);
            let (x, y) = (size(a), size(b));
            if x != y && x != 1 && y != 1 {
                return Err(KernelError::Length {
                    kernel: NAME,
                    operand: "an axis of b",
                    needs: x,
                    has: y,
                });
            }
            let axis = BroadcastAxis {
                size: if x == 1 { y } else { x },
                a: if x == 1 { 0 } else { made.a_len },
                b: if y == 1 { 0 } else { made.b_len },
            };
            made.a_len = made.a_len.saturating_mul(x);
            made.b_len = made.b_len.saturating_mul(y);
            made.len = made.len.saturating_mul(axis.size);
            if axis.size != 1 {
                made.push(axis)?;
            }
        }
        if made.count == 0 {
            made.count = 1;
        }
        Ok(made)
    }

    /// Adds an axis outside the others, or lengthens the outermost where both operands go on alike.
    fn push(&mut self, axis: BroadcastAxis) -> Result<(), KernelError> {
        if let Some(last) = self.axes[..self.count].last_mut() {
            let past = |stride: usize| stride.saturating_mul(last.size);
            if (axis.a, axis.b) == (past(last.a), past(last.b)) {
                last.size = last.size.saturating_mul(axis.size);
                return Ok(());
            }
        }
        let Some(free) = self.axes.get_mut(self.count) else {
            return Err(KernelError::Parameter {
                kernel: NAME,
                parameter: "the number of axes that broadcast differently",
                needs: "at most 6",
                has: (self.count + 1).to_string(),
            });
        };
        *free = axis;
        self.count += 1;
        Ok(())
    }

    /// Elements of the output.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the output has no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Elements of a plane of a.
    pub fn a_len(&self) -> usize {
        self.a_len
    }

    /// Elements of a plane of b.
    pub fn b_len(&self) -> usize {
        self.b_len
    }

    /// The axes, innermost first: output element `i` takes the operands' elements whose places along
    /// them are the digits of `i` to the bases of their sizes. There is one at least.
    pub fn axes(&self) -> &[BroadcastAxis] {
        &self.axes[..self.count]
    }

    /// Checks both operands' planes, which are one or what `ciphertext` says of their count, and
    /// lengths.
    pub(super) fn expect<T: Element>(
        &self,
        ciphertext: impl Fn(usize) -> usize,
        a: &Planes<'_, T>,
        b: &Planes<'_, T>,
    ) -> Result<(), KernelError> {
        a.expect(NAME, "a", &[1, ciphertext(a.count())], self.a_len)?;
        b.expect(NAME, "b", &[1, ciphertext(b.count())], self.b_len)
    }

    /// The operands as [`Broadcast::runs`] goes through them.
    pub(super) fn sides<T: Element>(
        &self,
        a: &Planes<'_, T>,
        b: &Planes<'_, T>,
    ) -> (Side<T>, Side<T>) {
        let side = |planes: &Planes<'_, T>, step| Side {
            planes: planes.raw(),
            repeats: step == 0,
        };
        (side(a, self.axes[0].a), side(b, self.axes[0].b))
    }

    /// Calls `body(at, a, b, len)` for runs of elements `range` of the output: `len` of them from
    /// `at` on, which meet those from `a` and `b` on.
    #[inline(always)]
    pub(super) fn runs(
        &self,
        range: Range<usize>,
        mut body: impl FnMut(usize, usize, usize, usize),
    ) {
        let axes = self.axes();
        let mut index = [0; MAX_AXES];
        let (mut at, mut a, mut b, mut rest) = (range.start, 0, 0, range.start);
        if range.is_empty() {
            return;
        }
        for (index, axis) in index.iter_mut().zip(axes) {
            *index = rest % axis.size;
            rest /= axis.size;
            a += *index * axis.a;
            b += *index * axis.b;
        }
        loop {
            let run = (axes[0].size - index[0]).min(range.end - at);
            body(at, a, b, run);
            at += run;
            if at == range.end {
                return;
            }
            // The run ended where the innermost axis does.
            a -= index[0] * axes[0].a;
            b -= index[0] * axes[0].b;
            index[0] = 0;
            for (index, axis) in index.iter_mut().zip(axes).skip(1) {
                *index += 1;
                a += axis.a;
                b += axis.b;
                if *index < axis.size {
                    break;
                }
                *index = 0;
                a -= axis.size * axis.a;
                b -= axis.size * axis.b;
            }
        }
    }
}

/// An operand of which, along a run, either every element or one repeated is meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<T> {
    pub(super) planes: RawPlanes<T>,
    repeats: bool,
}

impl<T: Element> Side<T> {
    /// The same of plane `i` alone.
    pub(super) fn only(&self, i: usize) -> Self {
        Self {
            planes: self.planes.only(i),
            ..*self
        }
    }

    /// `count` elements of a plane, from the run's `i`th on, the run starting at `start`.
    ///
    /// # Safety
    /// The plane has them.
    #[inline(always)]
    pub(super) unsafe fn vector<S: Simd<T>>(
        &self,
        plane: usize,
        start: usize,
        i: usize,
        count: usize,
    ) -> S {
        let p = self.planes.plane(plane).wrapping_add(start);
        // SAFETY: the caller's promise.
        unsafe {
            if self.repeats {
                S::splat(*p)
            } else {
                S::load_some(p.add(i), count)
            }
        }
    }

    /// That of the first `dim` planes.
    ///
    /// # Safety
    /// They are there and have the elements.
    #[inline(always)]
    pub(super) unsafe fn vectors<S: Simd<T>, const D: usize>(
        &self,
        dim: usize,
        start: usize,
        i: usize,
        count: usize,
    ) -> [S; D] {
        let mut c = [S::splat(T::zero()); D];
        for (plane, c) in c.iter_mut().enumerate().take(dim) {
            // SAFETY: the caller's promise.
            *c = unsafe { self.vector(plane, start, i, count) };
        }
        c
    }
}
