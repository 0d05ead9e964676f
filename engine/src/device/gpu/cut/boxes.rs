//! Boxes carried elsewhere: cut in two along any axis, each half of what it reads and what it writes.

use furthermore_kernels_cpu::TILE_IMAGES;
use furthermore_kernels_cpu::convert::{CopyAxis, Rest, StridedCopy};

use super::{Cutter, Part, Views};
use crate::plan::{Command, Kernel, Region};

/// The copy that a command is, where it is one that has to be cut as such.
pub(super) fn copy_of(command: &Command) -> Option<(StridedCopy, Rest)> {
    let transpose = |rows: usize, columns: usize| {
        let axis = |size, from, to| CopyAxis {
            size,
            from: from as isize,
            to: to as isize,
        };
        let (len, axes) = (
            rows * columns,
            [axis(rows, columns, 1), axis(columns, 1, rows)],
        );
        let copy = StridedCopy::new(len, 0, len, 0, &axes).ok()?;
        Some((copy, Rest::Keep))
    };
    match command.kernel {
        Kernel::StridedCopy { copy, rest } => Some((copy, rest)),
        Kernel::Transpose {
            sizes: [1, rows, columns],
        } => transpose(rows, columns),
        Kernel::Tiles { batch, into } if batch <= TILE_IMAGES => {
            let sample = command.reads[0].elements.checked_div(batch)?;
            let [rows, columns] = if into {
                [batch, sample]
            } else {
                [sample, batch]
            };
            transpose(rows, columns)
        }
        _ => None,
    }
}

/// The places that axes reach from a first one: the lowest, and the one after the highest.
fn reach(first: usize, axes: impl Iterator<Item = (usize, isize)>) -> [usize; 2] {
    axes.fold([first, first + 1], |[low, high], (size, step)| {
        let far = (size - 1) * step.unsigned_abs();
        if step < 0 {
            [low - far, high]
        } else {
            [low, high + far]
        }
    })
}

impl Cutter {
    /// What takes the place of a copy. Where what is outside the box becomes zero, that comes first; a
    /// box is bound no further than it reaches before it is cut, along the axis that goes furthest where
    /// it reads, if that is what is too large, and else where it writes.
    pub(super) fn boxes(
        self,
        part: &Part,
        views: &mut Views,
        copy: &StridedCopy,
        rest: Rest,
        reads: bool,
    ) -> Option<Vec<Part>> {
        let (x, y) = (part.command.reads[0], part.command.writes[0]);
        let of = |copy: StridedCopy, rest, x: Region, y: Region| {
            let mut part = part.clone();
            part.command.kernel = Kernel::StridedCopy { copy, rest };
            (part.command.reads[0], part.command.writes[0]) = (x, y);
            part
        };
        let none = |to_len: usize, x: Region| {
            let axis = CopyAxis {
                size: 0,
                from: 1,
                to: 1,
            };
            StridedCopy::new(x.elements, 0, to_len, 0, &[axis]).ok()
        };
        let granule = self.alignment / self.number;
        if copy.is_empty() {
            if rest == Rest::Keep {
                return Some(Vec::new());
            }
            let middle = (y.elements / 2).next_multiple_of(granule);
            // Of what is carried nothing is read.
            let least = views.range(&x, 0, x.elements.min(granule));
            if least.elements < x.elements {
                return Some(vec![of(none(y.elements, least)?, Rest::Zero, least, y)]);
            }
            if middle >= y.elements {
                return None;
            }
            let halves = [(0, middle), (middle, y.elements - middle)];
            let half = |(at, len)| {
                let y = views.range(&y, at, len);
                Some(of(none(len, least)?, Rest::Zero, least, y))
            };
            return halves.map(half).into_iter().collect();
        }
        if rest == Rest::Zero {
            let zero = of(none(y.elements, x)?, Rest::Zero, x, y);
            return Some(vec![zero, of(*copy, Rest::Keep, x, y)]);
        }
        let mut bound = |from: usize, to: usize, axes: &[CopyAxis]| {
            let read = reach(from, axes.iter().map(|axis| (axis.size, axis.from)));
            let written = reach(to, axes.iter().map(|axis| (axis.size, axis.to)));
            let mut range = |region: &Region, [low, high]: [usize; 2]| {
                let start = low / granule * granule;
                (start, views.range(region, start, high - start))
            };
            let ((x_start, x), (y_start, y)) = (range(&x, read), range(&y, written));
            let (from, to) = (from - x_start, to - y_start);
            let copy = StridedCopy::new(x.elements, from, y.elements, to, axes).ok()?;
            Some(of(copy, Rest::Keep, x, y))
        };
        let (from, to, axes) = (copy.from(), copy.to(), copy.axes());
        let whole = bound(from, to, axes)?;
        let now: usize = whole.operands().map(|region| region.elements).sum();
        if now < x.elements + y.elements {
            return Some(vec![whole]);
        }
        let step = |axis: &CopyAxis| if reads { axis.from } else { axis.to };
        let far = |axis: &CopyAxis| (axis.size - 1) * step(axis).unsigned_abs();
        let nth = (0..axes.len()).max_by_key(|&nth| far(&axes[nth]))?;
        let (axis, half) = (axes[nth], axes[nth].size / 2);
        if far(&axis) == 0 {
            return None;
        }
        let mut axes = axes.to_vec();
        axes[nth].size = half;
        let first = bound(from, to, &axes)?;
        axes[nth].size = axis.size - half;
        let from = from.wrapping_add_signed(half as isize * axis.from);
        let to = to.wrapping_add_signed(half as isize * axis.to);
        Some(vec![first, bound(from, to, &axes)?])
    }
}
