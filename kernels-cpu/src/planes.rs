//! Views of tensors stored as planes.

use crate::error::KernelError;

/// A tensor to read: `count` planes of `len` elements, plane `i` starting at `i * stride`.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a, T> {
    data: &'a [T],
    count: usize,
    stride: usize,
    len: usize,
}

/// A tensor to write, laid out as [`Planes`].
#[derive(Debug)]
pub struct PlanesMut<'a, T> {
    data: &'a mut [T],
    count: usize,
    stride: usize,
    len: usize,
}

fn fits(has: usize, count: usize, stride: usize, len: usize) -> Result<(), KernelError> {
    let needs = if count == 0 || len == 0 {
        0
    } else {
        (count - 1).saturating_mul(stride).saturating_add(len)
    };
    if has < needs || (count > 1 && stride < len) {
        return Err(KernelError::Length {
            kernel: "planes",
            operand: "data",
            needs,
            has,
        });
    }
    Ok(())
}

impl<'a, T> Planes<'a, T> {
    /// Views `data` as `count` planes.
    ///
    /// # Errors
    /// When `data` is too short, or planes would overlap.
    pub fn new(
        data: &'a [T],
        count: usize,
        stride: usize,
        len: usize,
    ) -> Result<Self, KernelError> {
        fits(data.len(), count, stride, len)?;
        Ok(Self {
            data,
            count,
            stride,
            len,
        })
    }

    /// One plane: a plaintext tensor.
    pub fn plain(data: &'a [T]) -> Self {
        Self {
            data,
            count: 1,
            stride: data.len(),
            len: data.len(),
        }
    }

    /// Number of planes.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Elements in a plane.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element: no plane, whatever its length, or planes of none.
    pub fn is_empty(&self) -> bool {
        self.count == 0 || self.len == 0
    }

    /// Elements from one plane's start to the next's.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Plane `i`.
    pub fn plane(&self, i: usize) -> &'a [T] {
        assert!(i < self.count, "plane {i} of {}", self.count);
        if self.len == 0 {
            &[]
        } else {
            &self.data[i * self.stride..][..self.len]
        }
    }

    /// Elements `start..start + len` of every plane.
    pub(crate) fn part(&self, start: usize, len: usize) -> Self {
        assert!(start + len <= self.len);
        Self {
            data: if self.count == 0 || len == 0 {
                &[]
            } else {
                &self.data[start..]
            },
            len,
            ..*self
        }
    }

    /// Addresses of the planes; nothing may be written through them.
    pub(crate) fn raw(&self) -> RawPlanes<T> {
        let start = self.data.as_ptr().cast_mut();
        RawPlanes {
            start,
            count: self.count,
            stride: self.stride,
        }
    }

    pub(crate) fn expect(
        &self,
        kernel: &'static str,
        operand: &'static str,
        planes: &[usize],
        len: usize,
    ) -> Result<(), KernelError> {
        expect(kernel, operand, planes, len, self.count, self.len)
    }
}

impl<'a, T> PlanesMut<'a, T> {
    /// Views `data` as `count` planes.
    ///
    /// # Errors
    /// When `data` is too short, or planes would overlap.
    pub fn new(
        data: &'a mut [T],
        count: usize,
        stride: usize,
        len: usize,
    ) -> Result<Self, KernelError> {
        fits(data.len(), count, stride, len)?;
        Ok(Self {
            data,
            count,
            stride,
            len,
        })
    }

    /// One plane: a plaintext tensor.
    pub fn plain(data: &'a mut [T]) -> Self {
        let len = data.len();
        Self {
            data,
            count: 1,
            stride: len,
            len,
        }
    }

    /// Number of planes.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Elements in a plane.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element: no plane, whatever its length, or planes of none.
    pub fn is_empty(&self) -> bool {
        self.count == 0 || self.len == 0
    }

    /// Plane `i`.
    pub fn plane_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.count, "plane {i} of {}", self.count);
        if self.len == 0 {
            &mut []
        } else {
            &mut self.data[i * self.stride..][..self.len]
        }
    }

    /// Elements `start..start + len` of every plane.
    pub(crate) fn part_mut(&mut self, start: usize, len: usize) -> PlanesMut<'_, T> {
        assert!(start + len <= self.len);
        PlanesMut {
            data: if self.count == 0 || len == 0 {
                &mut []
            } else {
                &mut self.data[start..]
            },
            count: self.count,
            stride: self.stride,
            len,
        }
    }

    /// The same planes, to read.
    pub fn as_planes(&self) -> Planes<'_, T> {
        Planes {
            data: self.data,
            count: self.count,
            stride: self.stride,
            len: self.len,
        }
    }

    pub(crate) fn raw(&mut self) -> RawPlanes<T> {
        RawPlanes {
            start: self.data.as_mut_ptr(),
            count: self.count,
            stride: self.stride,
        }
    }

    pub(crate) fn expect(
        &self,
        kernel: &'static str,
        operand: &'static str,
        planes: &[usize],
        len: usize,
    ) -> Result<(), KernelError> {
        expect(kernel, operand, planes, len, self.count, self.len)
    }
}

fn expect(
    kernel: &'static str,
    operand: &'static str,
    planes: &[usize],
    len: usize,
    has_planes: usize,
    has_len: usize,
) -> Result<(), KernelError> {
    if !planes.contains(&has_planes) {
        let needs = planes.first().copied().unwrap_or(0);
        return Err(KernelError::PlaneCount {
            kernel,
            operand,
            needs,
            has: has_planes,
        });
    }
    if len != has_len {
        return Err(KernelError::Length {
            kernel,
            operand,
            needs: len,
            has: has_len,
        });
    }
    Ok(())
}

/// Planes handed to several threads, each of which writes elements no other touches.
///
/// Holding one promises nothing by itself: the functions that read or write through it are unsafe
/// and say which elements they touch.
#[derive(Debug)]
pub(crate) struct RawPlanes<T> {
    start: *mut T,
    pub(crate) count: usize,
    stride: usize,
}

impl<T> Clone for RawPlanes<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for RawPlanes<T> {}

// SAFETY: it is an address; every access through it is in an unsafe block whose caller owns the
// elements it names.
unsafe impl<T: Send> Send for RawPlanes<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for RawPlanes<T> {}

impl<T> RawPlanes<T> {
    /// `count` planes, the first at `start`, `stride` elements apart.
    pub(crate) fn new(start: *mut T, count: usize, stride: usize) -> Self {
        Self {
            start,
            count,
            stride,
        }
    }

    /// Plane `i` alone.
    pub(crate) fn only(&self, i: usize) -> Self {
        self.some(i, 1)
    }

    /// `count` planes from plane `i` on.
    pub(crate) fn some(&self, i: usize, count: usize) -> Self {
        Self {
            start: self.plane(i),
            count,
            stride: self.stride,
        }
    }

    /// The same planes from element `at` on.
    pub(crate) fn offset(&self, at: usize) -> Self {
        Self {
            start: self.start.wrapping_add(at),
            ..*self
        }
    }

    /// Where plane `i` starts; a stride without elements may be any number.
    pub(crate) fn plane(&self, i: usize) -> *mut T {
        debug_assert!(i < self.count);
        self.start.wrapping_add(i.wrapping_mul(self.stride))
    }
}
