//! One thread's rectangle of the result, through the loops that the module describes.

use std::ops::Range;

use super::micro::{self, Left, Right, Target};
use super::pack::{self, Stored};
use super::{Cut, Epilogue, MatmulShape, ROWS_BLOCK, ROWS_RESIDENT};
use crate::algebra::{Arithmetic, Bilinear, is_plane};
use crate::element::Element;
use crate::function_map;
use crate::isa::Isa;
use crate::planes::{Planes, RawPlanes};
use crate::simd::{Simd, WithSimd};
use crate::slots::{self, SlotMaxima};

pub(crate) struct Task<'a, T> {
    isa: Isa,
    arithmetic: &'a Arithmetic,
    program: &'a Bilinear,
    shape: &'a MatmulShape,
    cut: &'a Cut,
    a: Stored<'a, T>,
    b: Stored<'a, T>,
    c: RawPlanes<T>,
    epilogue: &'a Epilogue<'a, T>,
    scratch: *mut T,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<'a, T: Element> Task<'a, T> {
    /// # Safety
    /// `a`, `b` and `c` have the elements and planes that `shape` and `program` need; `scratch` is
    /// writable for `cut.scratch_a + cut.scratch_b` elements; until the task is done nothing else
    /// touches `scratch` or the rectangle `rows` x `columns` of `c`.
    pub(super) unsafe fn new(
        isa: Isa,
        arithmetic: &'a Arithmetic,
        program: &'a Bilinear,
        shape: &'a MatmulShape,
        cut: &'a Cut,
        a: &Planes<'a, T>,
        b: &Planes<'a, T>,
        c: RawPlanes<T>,
        epilogue: &'a Epilogue<'a, T>,
        scratch: *mut T,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Self {
        let stored = |planes: &Planes<'a, T>, transposed: bool, rows: usize, columns: usize| {
            let (row_stride, column_stride) = if transposed { (1, rows) } else { (columns, 1) };
            Stored {
                planes: *planes,
                row_stride,
                column_stride,
            }
        };
        Self {
            isa,
            arithmetic,
            program,
            shape,
            cut,
            a: stored(a, shape.transpose_a, shape.m, shape.k),
            b: stored(b, shape.transpose_b, shape.k, shape.n),
            c,
            epilogue,
            scratch,
            rows,
            columns,
        }
    }
}

/// Cuts `len` into the fewest parts of at most `most`, as even as they come.
fn parts(start: usize, len: usize, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let count = len.div_ceil(most);
    (0..count).map(move |i| start + len * i / count..start + len * (i + 1) / count)
}

/// Cuts `len` into parts of exactly `step`, but for the last.
fn steps(range: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let end = range.end;
    range
        .step_by(step)
        .map(move |start| start..(start + step).min(end))
}

impl<T: Element> WithSimd<T> for Task<'_, T> {
    type Output = SlotMaxima;

    #[inline(always)]
    fn run<S: Simd<T>>(self) -> SlotMaxima {
        let mut seen = SlotMaxima::NONE;
        let packed_a = self.scratch;
        let packed_b = self.scratch.wrapping_add(self.cut.scratch_a);
        for resident in steps(self.rows.clone(), ROWS_RESIDENT) {
            // A product of depth 0 still writes its zeros: one empty step.
            let depths = self.shape.k.div_ceil(self.cut.depth).max(1);
            for nth in 0..depths {
                let deep = nth * self.cut.depth..((nth + 1) * self.cut.depth).min(self.shape.k);
                self.pack_a::<S>(&resident, &deep, packed_a);
                for across in steps(self.columns.clone(), self.cut.columns_packed) {
                    self.pack_b::<S>(&across, &deep, packed_b, self.cut.pack_b);
                    for block in steps(resident.clone(), ROWS_BLOCK) {
                        self.block::<S>(&resident, &block, &across, &deep, packed_a, packed_b);
                        if nth + 1 == depths {
                            seen = seen.merge(self.finish::<S>(&block, &across));
                        }
                    }
                }
            }
        }
        seen
    }
}

impl<T: Element> Task<'_, T> {
    /// Packs the combinations of A that are no plane as it is, one after another: row-major A in
    /// rows `pitch_a` apart, transposed A in rows of depth as it is stored.
    #[inline(always)]
    fn pack_a<S: Simd<T>>(&self, rows: &Range<usize>, deep: &Range<usize>, to: *mut T) {
        let packed = self.program.left.iter().filter(|c| !is_plane(c));
        for (nth, combination) in packed.enumerate() {
            let to = to.wrapping_add(nth * rows.len() * self.cut.pitch_a);
            let (lines, part, pitch) = if self.shape.transpose_a {
                (deep.clone(), (rows.start, rows.len()), rows.len())
            } else {
                (rows.clone(), (deep.start, deep.len()), self.cut.pitch_a)
            };
            // SAFETY: rows and depth lie in A; the scratch holds rows x pitch_a for each combination
            // that is packed, and pitch_a is more than the depth.
            unsafe { pack::along::<T, S>(&self.a, combination, lines, part, to, pitch, part.1) };
        }
    }

    /// The left operand of a tile at `resident`'s first row: in place, or where [`Task::pack_a`] put
    /// its combination.
    #[inline(always)]
    fn left(
        &self,
        nth: usize,
        resident: &Range<usize>,
        deep: &Range<usize>,
        packed_a: *const T,
    ) -> Left<T> {
        let combination = &self.program.left[nth];
        if is_plane(combination) {
            let start = self.a.at(combination[0].0, resident.start, deep.start);
            return Left {
                start,
                row: self.a.row_stride,
                step: self.a.column_stride,
            };
        }
        let before = self.program.left[..nth]
            .iter()
            .filter(|c| !is_plane(c))
            .count();
        let start = packed_a.wrapping_add(before * resident.len() * self.cut.pitch_a);
        if self.shape.transpose_a {
            Left {
                start,
                row: 1,
                step: resident.len(),
            }
        } else {
            Left {
                start,
                row: self.cut.pitch_a,
                step: 1,
            }
        }
    }

    /// Packs the combinations of B's columns that are not read in place, in strips of a tile's
    /// columns, zeros past the last. With `all`, those that are planes too.
    #[inline(always)]
    fn pack_b<S: Simd<T>>(
        &self,
        columns: &Range<usize>,
        deep: &Range<usize>,
        to: *mut T,
        all: bool,
    ) {
        let width = self.cut.tile_columns;
        let padded = columns.len().next_multiple_of(width);
        for (i, combination) in self.program.right.iter().enumerate() {
            if !all && is_plane(combination) {
                continue;
            }
            let base = to.wrapping_add(i * padded * deep.len());
            for strip in steps(columns.clone(), width) {
                let to = base.wrapping_add((strip.start - columns.start) * deep.len());
                // SAFETY: the strip lies in B; the scratch holds `columns_packed` whole strips.
                unsafe {
                    if self.shape.transpose_b {
                        let part = (deep.start, deep.len());
                        pack::across::<T>(&self.b, combination, strip, part, to, width);
                    } else {
                        let (lines, part) = (deep.clone(), (strip.start, strip.len()));
                        pack::along::<T, S>(&self.b, combination, lines, part, to, width, width);
                    }
                }
            }
        }
    }

    /// All products of one block of rows and one range of columns over one range of depth.
    #[inline(always)]
    fn block<S: Simd<T>>(
        &self,
        resident: &Range<usize>,
        block: &Range<usize>,
        across: &Range<usize>,
        deep: &Range<usize>,
        packed_a: *mut T,
        packed_b: *mut T,
    ) {
        let width = self.cut.tile_columns;
        let padded = across.len().next_multiple_of(width);
        // Vectors of a narrow last strip would leave the matrix, so it is packed in any case, behind
        // what is packed already.
        let narrow = packed_b.wrapping_add(self.program.right.len() * padded * deep.len());
        for strip in steps(across.clone(), width) {
            let pack_strip = !self.cut.pack_b && strip.len() < width;
            if pack_strip {
                self.pack_b::<S>(&strip, deep, narrow, true);
            }
            // A plane's first term overwrites what the result held; one bit a plane.
            let mut written: u64 = if deep.start == 0 { 0 } else { u64::MAX };
            for term in &self.program.terms {
                let combination = &self.program.right[term.right];
                let packed = |base: *const T, padded: usize, at: usize| Right {
                    start: base.wrapping_add((term.right * padded + at) * deep.len()),
                    step: width,
                };
                let right = if pack_strip {
                    packed(narrow, width, 0)
                } else if self.cut.pack_b || !is_plane(combination) {
                    packed(packed_b, padded, strip.start - across.start)
                } else {
                    let start = self.b.at(combination[0].0, deep.start, strip.start);
                    Right {
                        start,
                        step: self.b.row_stride,
                    }
                };
                let left = self.left(term.left, resident, deep, packed_a);
                for tile in parts(block.start, block.len(), S::TILE_ROWS) {
                    let start = left
                        .start
                        .wrapping_add((tile.start - resident.start) * left.row);
                    let at = tile.start * self.shape.n + strip.start;
                    let targets = term.outputs.iter().map(|&(plane, coefficient)| Target {
                        start: self.c.plane(plane).wrapping_add(at),
                        coefficient: T::of(coefficient),
                        first: written & (1 << plane) == 0,
                    });
                    // SAFETY: the tile lies in the task's rectangle, its operands in their matrices
                    // or in panels packed for it.
                    unsafe {
                        micro::tile_product::<T, S>(
                            tile.len(),
                            strip.len(),
                            deep.len(),
                            Left { start, ..left },
                            right,
                            targets,
                            self.shape.n,
                        );
                    }
                }
                written |= term
                    .outputs
                    .iter()
                    .fold(0, |bits, &(plane, _)| bits | 1 << plane);
            }
        }
    }

    /// Bias and activation on finished rows.
    #[inline(always)]
    fn finish<S: Simd<T>>(&self, rows: &Range<usize>, columns: &Range<usize>) -> SlotMaxima {
        let mut seen = SlotMaxima::NONE;
        if let Some(bias) = &self.epilogue.bias {
            for row in rows.clone() {
                self.add_bias::<S>(bias, row * self.shape.n + columns.start, columns);
            }
        }
        if let Some(function) = self.epilogue.activation {
            // Whole rows follow each other, parts of rows do not.
            let whole = columns.len() == self.shape.n;
            let (spans, len) = if whole {
                (rows.start..rows.start + 1, rows.len())
            } else {
                (rows.clone(), 1)
            };
            for row in spans {
                let (at, len) = (row * self.shape.n + columns.start, len * columns.len());
                // SAFETY: these elements lie in the task's rectangle.
                let span =
                    unsafe { function_map::in_place(self.arithmetic, function, self.c, at, len) };
                // A call, not inlined: the product's code would hold every function once more.
                seen = seen.merge(T::run_span(self.isa, span));
            }
        }
        seen
    }

    #[inline(always)]
    fn add_bias<S: Simd<T>>(&self, bias: &Planes<'_, T>, at: usize, columns: &Range<usize>) {
        let one = self.arithmetic.one();
        for i in 0..self.c.count {
            // A plaintext bias is a multiple of the algebra's one.
            let (plane, weight) = if bias.count() == self.c.count {
                (i, 1.0)
            } else {
                (0, one[i])
            };
            if weight == 0.0 {
                continue;
            }
            let from = bias.plane(plane).as_ptr().wrapping_add(columns.start);
            let to = self.c.plane(i).wrapping_add(at);
            let weight = S::splat(T::of(weight));
            slots::sweep(
                columns.len(),
                S::LANES,
                #[inline(always)]
                |j, count| {
                    // SAFETY: the row lies in the task's rectangle, and the bias has n elements.
                    unsafe {
                        let (from, to) = (from.add(j), to.add(j));
                        let sum =
                            weight.mul_add(S::load_some(from, count), S::load_some(to, count));
                        sum.store_some(to, count);
                    }
                },
            );
        }
    }
}
