//! Boxes of elements carried from one tensor into another: slices, pads, parts of a concatenation,
//! axes in another order.

use std::ops::Range;

use crate::element::Element;
use crate::elementwise::MAX_AXES;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::threads::Exec;

use super::NAME;
use super::layout::{NARROW, STRIP, TILE, turn};

/// Most elements of a cell of lines.
const CELL: usize = 4096;

/// An axis of a box: how many places it has, and elements from one to the next, which run backwards
/// where they are negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyAxis {
    /// Places along it.
    pub size: usize,
    /// Elements from one place to the next where they are read; 0 where one repeats.
    pub from: isize,
    /// Those where they are written.
    pub to: isize,
}

impl CopyAxis {
    /// What an axis that is not there goes along.
    const ONE: Self = Self {
        size: 1,
        from: 1,
        to: 1,
    };
}

/// Which elements of a plane go where in another: a box of both, made once for its shape.
///
/// Two that carry the same elements to the same places are equal as far as their axes can be brought
/// to one form: they run forwards and outwards where they are written, none has one place only, and
/// neighbours that go on alike are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StridedCopy {
    /// Innermost where they are written first, those after `count` unused.
    axes: [CopyAxis; MAX_AXES],
    count: usize,
    len: usize,
    from: usize,
    to: usize,
    from_len: usize,
    to_len: usize,
}

/// What becomes of elements that are not written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rest {
    /// They stay as they were, so that several copies make up a tensor.
    Keep,
    /// They become zero.
    Zero,
}

impl StridedCopy {
    /// The elements of a plane of `from_len` that these axes reach from element `from` on, into those
    /// of a plane of `to_len` that they reach from `to` on. Without axes it is one element.
    ///
    /// # Errors
    /// When an element is outside its plane, more than [`MAX_AXES`] axes remain, or an element may be
    /// written twice: along each axis, in the order of their distances, the next place has to lie past
    /// all that the axes before reach.
    pub fn new(
        from_len: usize,
        from: usize,
        to_len: usize,
        to: usize,
        axes: &[CopyAxis],
    ) -> Result<Self, KernelError> {
        let shape = |reason| KernelError::Shape {
            kernel: NAME,
            reason,
        };
        if from_len.max(to_len) > isize::MAX as usize {
            return Err(shape("a plane is longer than memory"));
        }
        let mut made = Self {
            axes: [CopyAxis::ONE; MAX_AXES],
            count: 0,
            len: 1,
            from,
            to,
            from_len,
            to_len,
        };
        if axes.iter().any(|axis| axis.size == 0) {
            made.axes[0].size = 0;
            (made.count, made.len, made.from, made.to) = (1, 0, 0, 0);
            return Ok(made);
        }
        let reads = axes.iter().map(|axis| (axis.size, axis.from));
        within("the place of an element read", from, from_len, reads)?;
        let writes = axes.iter().map(|axis| (axis.size, axis.to));
        within("the place of an element written", to, to_len, writes)?;
        let mut axes: Vec<CopyAxis> = axes.iter().copied().filter(|axis| axis.size > 1).collect();
        for axis in axes.iter_mut().filter(|axis| axis.to < 0) {
            // From the other end they run forwards. All is within the planes, and so in range.
            let last = axis.size as isize - 1;
            made.from = made.from.wrapping_add_signed(last * axis.from);
            made.to = made.to.wrapping_add_signed(last * axis.to);
            (axis.from, axis.to) = (-axis.from, -axis.to);
        }
        axes.sort_unstable_by_key(|axis| axis.to);
        let mut extent = 1;
        for axis in axes {
            if axis.to < extent {
                return Err(shape("axes along which an element may be written twice"));
            }
            extent += (axis.size as isize - 1) * axis.to;
            made.len *= axis.size;
            made.push(axis)?;
        }
        made.count = made.count.max(1);
        Ok(made)
    }

    /// Adds an axis outside the others, or lengthens the outermost where both sides go on alike.
    fn push(&mut self, axis: CopyAxis) -> Result<(), KernelError> {
        if let Some(last) = self.axes[..self.count].last_mut() {
            let past = |stride: isize| stride.checked_mul(last.size as isize);
            if (past(last.from), past(last.to)) == (Some(axis.from), Some(axis.to)) {
                last.size *= axis.size;
                return Ok(());
            }
        }
        let Some(free) = self.axes.get_mut(self.count) else {
            return Err(KernelError::Parameter {
                kernel: NAME,
                parameter: "the number of axes that go on differently",
                needs: "at most 6",
                has: (self.count + 1).to_string(),
            });
        };
        *free = axis;
        self.count += 1;
        Ok(())
    }

    /// Elements that are carried.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The element read that goes to [`StridedCopy::to`].
    pub fn from(&self) -> usize {
        self.from
    }

    /// The first element written.
    pub fn to(&self) -> usize {
        self.to
    }

    /// Elements of a plane that is read.
    pub fn from_len(&self) -> usize {
        self.from_len
    }

    /// Elements of a plane that is written.
    pub fn to_len(&self) -> usize {
        self.to_len
    }

    /// The axes, innermost where they are written first: each runs forwards there, past all that those
    /// before it reach. There is one at least.
    pub fn axes(&self) -> &[CopyAxis] {
        &self.axes[..self.count]
    }

    /// The axis along which neighbours lie closest where they are read, in lines the first.
    fn nearest_read(&self) -> usize {
        let apart = |axis: usize| self.axes[axis].from.unsigned_abs();
        match apart(0) {
            0 | 1 => 0,
            _ => (0..self.count).min_by_key(|&k| apart(k)).unwrap_or(0),
        }
    }

    /// For each axis, the elements after all that the axes before it reach, up to its next place.
    fn gaps(&self) -> [usize; MAX_AXES] {
        let mut gaps = [0; MAX_AXES];
        let mut extent = 1;
        for (gap, axis) in gaps.iter_mut().zip(self.axes()) {
            *gap = axis.to as usize - extent;
            extent += (axis.size - 1) * axis.to as usize;
        }
        gaps
    }

    /// The place after the last element written.
    fn end(&self) -> usize {
        let reach = |axis: &CopyAxis| (axis.size - 1) * axis.to as usize;
        self.to + self.axes().iter().map(reach).sum::<usize>() + 1
    }
}

/// Whether all that axes (sizes and strides) reach from `start` lies in a plane of `len`.
fn within(
    parameter: &'static str,
    start: usize,
    len: usize,
    axes: impl Iterator<Item = (usize, isize)>,
) -> Result<(), KernelError> {
    let (mut low, mut high) = (start as i128, start as i128);
    // Looked at after each axis, so that sums stay in range.
    for (size, stride) in std::iter::once((1, 0)).chain(axes) {
        let reach = (size as i128 - 1) * stride as i128;
        low += reach.min(0);
        high += reach.max(0);
        if low < 0 || high >= len as i128 {
            let place = if low < 0 { low } else { high };
            return Err(KernelError::Parameter {
                kernel: NAME,
                parameter,
                needs: "a place in the plane",
                has: format!("{place} in a plane of {len}"),
            });
        }
    }
    Ok(())
}

/// Carries a box of every plane of `x` into that of `target`.
///
/// # Errors
/// When planes differ, or their lengths are not those of the copy.
pub fn strided_copy<T: Element>(
    exec: &Exec,
    copy: &StridedCopy,
    rest: Rest,
    x: Planes<'_, T>,
    target: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    x.expect(NAME, "input", &[x.count()], copy.from_len)?;
    target.expect(NAME, "target", &[x.count()], copy.to_len)?;
    if target.is_empty() {
        return Ok(());
    }
    let mut gaps = None;
    if rest == Rest::Zero && copy.len < copy.to_len {
        // Lines leave what is between them zero as they go.
        if !copy.is_empty() && copy.axes[0].to == 1 && copy.nearest_read() == 0 {
            gaps = Some(copy.gaps());
            zero(exec, target, 0..copy.to);
            zero(exec, target, copy.end()..copy.to_len);
        } else {
            zero(exec, target, 0..copy.to_len);
        }
    }
    if copy.is_empty() {
        return Ok(());
    }
    let cells = Cells::new(copy, gaps, x.raw(), target.raw());
    let count = cells.along.iter().product::<usize>() * x.count();
    let written = if gaps.is_some() {
        copy.to_len
    } else {
        copy.len
    };
    let moved = x.count() * (copy.len + written) * size_of::<T>();
    exec.spans(
        count,
        1,
        moved / count,
        |range| {
            T::run_cells(
                exec.isa,
                Cells {
                    range,
                    ..cells.clone()
                },
            )
        },
        |(), ()| (),
    );
    Ok(())
}

/// Fills a range of every plane with zeros.
fn zero<T: Element>(exec: &Exec, target: &mut PlanesMut<'_, T>, range: Range<usize>) {
    for i in 0..target.count() {
        let part = &mut target.plane_mut(i)[range.clone()];
        let (len, part) = (part.len(), RawPlanes::new(part.as_mut_ptr(), 1, 0));
        exec.spans(
            len,
            exec.isa.lanes::<T>(),
            size_of::<T>(),
            |range| {
                let at = part.plane(0).wrapping_add(range.start);
                // SAFETY: the range is the plane's, and every thread has its own part of it.
                unsafe { std::slice::from_raw_parts_mut(at, range.len()) }.fill(T::zero());
            },
            |(), ()| (),
        );
    }
}

/// Some cells of the boxes of all planes that follow each other. A cell is what two axes reach
/// together, so far that it stays in cache: lines that are read as they are written, or else a tile of
/// the axis along which neighbours are written and that along which they are read.
#[derive(Debug, Clone)]
pub(crate) struct Cells<T> {
    x: RawPlanes<T>,
    target: RawPlanes<T>,
    /// The box's first element in a plane of each.
    first: [isize; 2],
    /// Those of cells first.
    axes: [CopyAxis; MAX_AXES],
    /// Places of a cell along each.
    steps: [usize; MAX_AXES],
    /// Cells along each.
    along: [usize; MAX_AXES],
    /// Whether cells are tiles.
    tiles: bool,
    /// What lines leave zero after them: [`StridedCopy::gaps`].
    gaps: Option<[usize; MAX_AXES]>,
    range: Range<usize>,
}

/// Which cell.
struct Place {
    cell: [usize; MAX_AXES],
    plane: usize,
}

impl<T: Element> Cells<T> {
    /// All cells of a copy, of which none is taken yet.
    fn new(
        copy: &StridedCopy,
        gaps: Option<[usize; MAX_AXES]>,
        x: RawPlanes<T>,
        target: RawPlanes<T>,
    ) -> Self {
        let nearest = copy.nearest_read();
        let mut axes = copy.axes;
        axes[1..nearest.max(1) + 1].rotate_right(1);
        let [across, down] = [axes[0].size, axes[1].size];
        let cell = if nearest == 0 {
            let width = across.min(CELL);
            [width, CELL / width]
        } else if across <= NARROW {
            [across, STRIP]
        } else if down <= NARROW {
            [STRIP, down]
        } else {
            [TILE, TILE]
        };
        let mut steps = [1; MAX_AXES];
        steps[..2].copy_from_slice(&cell);
        Self {
            x,
            target,
            first: [copy.from as isize, copy.to as isize],
            axes,
            steps,
            along: std::array::from_fn(|k| axes[k].size.div_ceil(steps[k])),
            tiles: nearest != 0,
            gaps,
            range: 0..0,
        }
    }

    fn place(&self, mut at: usize) -> Place {
        let cell = self.along.map(|along| {
            let digit = at % along;
            at /= along;
            digit
        });
        Place { cell, plane: at }
    }

    #[inline(always)]
    fn advance(&self, place: &mut Place) {
        for (digit, &along) in place.cell.iter_mut().zip(&self.along) {
            *digit += 1;
            if *digit < along {
                return;
            }
            *digit = 0;
        }
        place.plane += 1;
    }

    /// Where a cell's line `row` reaches the end of its axis, the elements after it that belong to
    /// none.
    #[inline(always)]
    fn gap(&self, gaps: &[usize; MAX_AXES], place: &Place, row: usize) -> usize {
        let goes_on = |k: usize| {
            let row = if k == 1 { row } else { 0 };
            place.cell[k] * self.steps[k] + row + 1 < self.axes[k].size
        };
        let next = (1..MAX_AXES).find(|&k| goes_on(k));
        next.map_or(0, |k| gaps[k])
    }

    /// # Safety
    /// The place is one of the copy's, whose elements are there, and what it writes is this thread's
    /// own.
    #[inline(always)]
    unsafe fn cell(&self, place: &Place) {
        let [mut from, mut to] = self.first;
        for (k, axis) in self.axes.iter().enumerate() {
            let at = (place.cell[k] * self.steps[k]) as isize;
            from += at * axis.from;
            to += at * axis.to;
        }
        let from = self.x.plane(place.plane).wrapping_offset(from).cast_const();
        let to = self.target.plane(place.plane).wrapping_offset(to);
        let [across, down, ..] = self.axes;
        let left = |k: usize| self.axes[k].size - place.cell[k] * self.steps[k];
        let (width, height) = (self.steps[0].min(left(0)), self.steps[1].min(left(1)));
        let from_line = |k: isize, axis: CopyAxis| from.wrapping_offset(k * axis.from);
        let to_line = |k: isize, axis: CopyAxis| to.wrapping_offset(k * axis.to);
        // SAFETY: the caller's promise: all these are places of the cell.
        unsafe {
            if self.tiles && (width, height, across.to, down.from) == (TILE, TILE, 1, 1) {
                turn(
                    |i| from_line(i as isize, across),
                    |j| to_line(j as isize, down),
                );
            } else if self.tiles && width < height {
                for i in 0..width as isize {
                    line(from_line(i, across), to_line(i, across), height, down);
                }
            } else {
                for j in 0..height {
                    let to = to_line(j as isize, down);
                    line(from_line(j as isize, down), to, width, across);
                    if let (Some(gaps), true) = (&self.gaps, width == left(0)) {
                        let gap = self.gap(gaps, place, j);
                        std::slice::from_raw_parts_mut(to.wrapping_add(width), gap).fill(T::zero());
                    }
                }
            }
        }
    }
}

/// Copies `len` elements along an axis.
///
/// # Safety
/// They are there on both sides, which have none in common.
#[inline(always)]
unsafe fn line<T: Copy>(from: *const T, to: *mut T, len: usize, axis: CopyAxis) {
    let read = |i: usize| from.wrapping_offset(i as isize * axis.from);
    // SAFETY: the caller's promise.
    unsafe {
        match (axis.from, axis.to) {
            (1, 1) => to.copy_from_nonoverlapping(from, len),
            (_, 1) => {
                for (i, to) in std::slice::from_raw_parts_mut(to, len)
                    .iter_mut()
                    .enumerate()
                {
                    *to = *read(i);
                }
            }
            (_, apart) => {
                for i in 0..len {
                    *to.wrapping_offset(i as isize * apart) = *read(i);
                }
            }
        }
    }
}

impl<T: Element> WithSimd<T> for Cells<T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self) {
        let mut place = self.place(self.range.start);
        for _ in self.range.clone() {
            // SAFETY: `strided_copy` has planes of the copy's lengths, within which the copy was made,
            // and cells of which no other thread has this one. No element belongs to two of them.
            unsafe { self.cell(&place) };
            self.advance(&mut place);
        }
    }
}
