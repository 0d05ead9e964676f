//! Buffers that show what a kernel did beside its work.

use furthermore_kernels_cpu::{Element, Planes, PlanesMut};

use super::algebras::{Algebra, Kind};

/// What lies before and after every buffer. A finite number that no computation here gives.
const SENTINEL: f64 = 1234.5625;
/// Sentinels on each side; odd, so that buffers start off every alignment but their element's. Under
/// AddressSanitizer (`--cfg asan`) there are none: it finds reads too, where an allocation ends.
const GUARD: usize = if cfg!(asan) { 0 } else { 37 };

/// Whether two elements are the same bits, NaN included.
pub(crate) fn same_bits<T: Element>(a: &[T], b: &[T]) -> bool {
    bytemuck::cast_slice::<T, u8>(a) == bytemuck::cast_slice::<T, u8>(b)
}

/// Planes amid guard words, with padding between them where the stride passes the length.
#[derive(Debug, Clone)]
pub(crate) struct Guarded<T> {
    buffer: Vec<T>,
    count: usize,
    stride: usize,
    len: usize,
}

impl<T: Element> Guarded<T> {
    /// Everything between the guards is NaN.
    pub(crate) fn poisoned(count: usize, len: usize, padding: usize) -> Self {
        let stride = len + padding;
        // The last plane is not padded: nothing but its guard follows.
        let inside = if count == 0 {
            0
        } else {
            (count - 1) * stride + len
        };
        let mut buffer = vec![T::of(SENTINEL); inside + 2 * GUARD];
        buffer[GUARD..GUARD + inside].fill(T::nan());
        Self {
            buffer,
            count,
            stride,
            len,
        }
    }

    /// Planes of this content, padded with NaN.
    pub(crate) fn filled(planes: &[Vec<T>], padding: usize) -> Self {
        let len = planes.first().map_or(0, Vec::len);
        let mut made = Self::poisoned(planes.len(), len, padding);
        for (i, plane) in planes.iter().enumerate() {
            made.view_mut().plane_mut(i).copy_from_slice(plane);
        }
        made
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The elements between the guards.
    fn inside(&self) -> std::ops::Range<usize> {
        GUARD..self.buffer.len() - GUARD
    }

    /// All between the guards, as a kernel's plain slice.
    pub(crate) fn slice_mut(&mut self) -> &mut [T] {
        let inside = self.inside();
        &mut self.buffer[inside]
    }

    pub(crate) fn view(&self) -> Planes<'_, T> {
        let data = &self.buffer[self.inside()];
        Planes::new(data, self.count, self.stride, self.len).expect("the buffer was made to fit")
    }

    pub(crate) fn view_mut(&mut self) -> PlanesMut<'_, T> {
        let inside = self.inside();
        let data = &mut self.buffer[inside];
        PlanesMut::new(data, self.count, self.stride, self.len).expect("the buffer was made to fit")
    }

    pub(crate) fn planes(&self) -> Vec<&[T]> {
        let view = self.view();
        (0..self.count).map(|i| view.plane(i)).collect()
    }

    /// Whether the guards and the padding are as they were made.
    pub(crate) fn intact(&self) -> Result<(), String> {
        let inside = self.inside();
        let (sentinel, poison) = ([T::of(SENTINEL)], [T::nan()]);
        for (at, x) in self.buffer.iter().enumerate() {
            let offset = at.wrapping_sub(inside.start);
            let expected = if !inside.contains(&at) {
                &sentinel
            } else if offset % self.stride.max(1) >= self.len {
                &poison
            } else {
                continue;
            };
            if !same_bits(&[*x], expected) {
                let (count, stride, len) = (self.count, self.stride, self.len);
                let offset = at as isize - inside.start as isize;
                return Err(format!(
                    "{x:?} was written at offset {offset} of {count} planes of {len} at stride {stride}"
                ));
            }
        }
        Ok(())
    }

    /// Writes one element anywhere, guards included: for the negative control.
    pub(crate) fn tamper(&mut self, offset: isize, x: T) {
        let at = GUARD as isize + offset;
        self.buffer[at as usize] = x;
    }
}

/// A tensor for a kernel to read: the slots it stands for and the planes that hold them.
#[derive(Debug, Clone)]
pub(crate) struct Operand<T> {
    pub(crate) kind: Kind,
    /// `[slot][element]`; a plaintext has one slot.
    pub(crate) slots: Vec<Vec<f64>>,
    /// `[plane][element]`: what each coordinate is added up from.
    pub(crate) sizes: Vec<Vec<f64>>,
    pub(crate) buffer: Guarded<T>,
}

impl<T: Element> Operand<T> {
    /// Encrypts slots, or rounds a plaintext, whose slots then are what it was rounded to.
    pub(crate) fn new(algebra: &Algebra, kind: Kind, mut slots: Vec<Vec<f64>>) -> Self {
        if kind == Kind::Plain {
            slots.truncate(1);
            for x in &mut slots[0] {
                *x = T::of(*x).wide();
            }
        }
        let analysed = algebra.of_kind(kind);
        let len = slots[0].len();
        let mut planes = vec![Vec::with_capacity(len); analysed.dim];
        let mut sizes = vec![Vec::with_capacity(len); analysed.dim];
        for e in 0..len {
            let element: Vec<f64> = slots.iter().map(|slot| slot[e]).collect();
            let coordinates = analysed.encrypt(&element);
            let size = analysed.coordinate_sizes(&element);
            for p in 0..analysed.dim {
                planes[p].push(T::of(coordinates[p]));
                sizes[p].push(size[p]);
            }
        }
        Self {
            kind,
            slots,
            sizes,
            buffer: Guarded::filled(&planes, 5),
        }
    }

    /// Random slots, by `draw` for each slot; a plaintext draws one.
    pub(crate) fn drawn(algebra: &Algebra, kind: Kind, mut draw: impl FnMut() -> Vec<f64>) -> Self {
        let slots = algebra.of_kind(kind).slots;
        Self::new(algebra, kind, (0..slots).map(|_| draw()).collect())
    }

    pub(crate) fn view(&self) -> Planes<'_, T> {
        self.buffer.view()
    }

    /// Slot `k`; a plaintext has its value in every one.
    pub(crate) fn slot(&self, k: usize) -> &[f64] {
        &self.slots[if self.kind == Kind::Plain { 0 } else { k }]
    }

    /// The slots of element `e`, as many as a result of `slots` slots asks for.
    pub(crate) fn element(&self, e: usize, slots: usize) -> Vec<f64> {
        (0..slots).map(|k| self.slot(k)[e]).collect()
    }
}
