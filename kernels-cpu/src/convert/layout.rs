//! Layouts: matrices transposed, planes interleaved, which is the same: planes are the rows of a
//! matrix, and interleaved elements those of its transpose.

use std::ops::Range;

use crate::element::Element;
use crate::error::KernelError;
use crate::planes::{Planes, PlanesMut};
use crate::simd::{Simd, WithSimd};
use crate::sizes::product;
use crate::threads::Exec;

use super::NAME;

/// Side of a tile: a row of it is a cache line or two, so every line is touched once.
pub(super) const TILE: usize = 16;
/// Most rows or columns of a matrix that is carried in strips instead.
pub(super) const NARROW: usize = 4;
/// Length of a strip.
pub(super) const STRIP: usize = 256;

/// Rows of a matrix, `stride` elements apart.
#[derive(Debug, Clone, Copy)]
struct Rows<T> {
    start: *mut T,
    stride: usize,
}

// SAFETY: it is an address; who reads or writes through it owns the elements.
unsafe impl<T: Send> Send for Rows<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Rows<T> {}

impl<T> Rows<T> {
    /// `len` elements of a row from a column on.
    ///
    /// # Safety
    /// They are there, and nobody writes them while the slice lives.
    #[inline(always)]
    unsafe fn read<'a>(&self, row: usize, column: usize, len: usize) -> &'a [T] {
        let at = self.start.wrapping_add(row * self.stride + column);
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(at, len) }
    }

    /// As [`Rows::read`], to write.
    ///
    /// # Safety
    /// They are there, and nobody else reads or writes them while the slice lives.
    #[inline(always)]
    unsafe fn write<'a>(&self, row: usize, column: usize, len: usize) -> &'a mut [T] {
        let at = self.start.wrapping_add(row * self.stride + column);
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(at, len) }
    }
}

/// Some tiles of the transposition of `rows` x `columns` matrices that follow each other.
#[derive(Debug, Clone)]
pub(crate) struct Transpose<T> {
    from: Rows<T>,
    to: Rows<T>,
    rows: usize,
    columns: usize,
    /// Rows and columns of a tile.
    tile: (usize, usize),
    /// Which tiles: counted along the shorter side, then the longer, then the batch.
    tiles: Range<usize>,
}

impl<T: Element> Transpose<T> {
    /// Tiles of one matrix.
    fn grid(&self) -> (usize, usize) {
        let (height, width) = self.tile;
        (self.rows.div_ceil(height), self.columns.div_ceil(width))
    }

    /// A matrix with a narrow side is cut along the other alone, where the numbers across that side
    /// follow each other without a gap.
    fn new(from: Rows<T>, to: Rows<T>, rows: usize, columns: usize) -> Self {
        let tile = if rows <= NARROW && to.stride == rows {
            (rows, STRIP)
        } else if columns <= NARROW && from.stride == columns {
            (STRIP, columns)
        } else {
            (TILE, TILE)
        };
        let tiles = 0..0;
        Self {
            from,
            to,
            rows,
            columns,
            tile,
            tiles,
        }
    }

    /// # Safety
    /// `batch` matrices are valid for reading at `from`, and their transposes for writing at `to`.
    unsafe fn carry(&self, exec: &Exec, batch: usize) {
        let (down, across) = self.grid();
        let numbers = self.tile.0.min(self.rows) * self.tile.1.min(self.columns);
        exec.spans(
            batch * down * across,
            1,
            2 * numbers * size_of::<T>(),
            |tiles| {
                T::run_transpose(
                    exec.isa,
                    Transpose {
                        tiles,
                        ..self.clone()
                    },
                )
            },
            |(), ()| (),
        );
    }
}

/// `to` holds `C` numbers for each column.
#[inline(always)]
fn merge<T: Copy, const C: usize>(from: [&[T]; C], to: &mut [T]) {
    let len = to.len() / C;
    let from: [&[T]; C] = std::array::from_fn(|i| &from[i][..len]);
    for (e, to) in to.as_chunks_mut::<C>().0.iter_mut().enumerate() {
        for i in 0..C {
            to[i] = from[i][e];
        }
    }
}

/// The inverse of [`merge`].
#[inline(always)]
fn part<T: Copy, const C: usize>(from: &[T], to: [&mut [T]; C]) {
    let len = from.len() / C;
    let to: [&mut [T]; C] = to.map(|to| &mut to[..len]);
    for (e, from) in from.as_chunks::<C>().0.iter().enumerate() {
        for i in 0..C {
            to[i][e] = from[i];
        }
    }
}

/// Carries a tile through a buffer, so that lines are read and written at once even where the rows'
/// distance makes them compete for the same places in cache. `from` and `to` say where its rows and
/// those of its transpose start.
///
/// # Safety
/// So many elements are there in each row, and those written are this thread's own.
#[inline(always)]
pub(super) unsafe fn turn<T: Element>(
    from: impl Fn(usize) -> *const T,
    to: impl Fn(usize) -> *mut T,
) {
    let mut buffer = [[T::zero(); TILE]; TILE];
    for (i, buffer) in buffer.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        buffer.copy_from_slice(unsafe { std::slice::from_raw_parts(from(i), TILE) });
    }
    for j in 0..TILE {
        // SAFETY: as above.
        let to = unsafe { std::slice::from_raw_parts_mut(to(j), TILE) };
        for i in 0..TILE {
            to[i] = buffer[i][j];
        }
    }
}

impl<T: Element> Transpose<T> {
    /// # Safety
    /// As [`Transpose::tile`], for a strip of `C` rows, the transpose's rows without a gap.
    #[inline(always)]
    unsafe fn few_rows<const C: usize>(&self, column: usize, width: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let from = std::array::from_fn(|i| self.from.read(i, column, width));
            merge::<T, C>(from, self.to.write(column, 0, width * C));
        }
    }

    /// # Safety
    /// As [`Transpose::tile`], for a strip of `C` columns, the rows without a gap.
    #[inline(always)]
    unsafe fn few_columns<const C: usize>(&self, row: usize, height: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let to = std::array::from_fn(|j| self.to.write(j, row, height));
            part::<T, C>(self.from.read(row, 0, height * C), to);
        }
    }

    /// Carries a whole tile.
    ///
    /// # Safety
    /// The tile's elements are there, and its place in the transpose is this thread's own.
    #[inline(always)]
    unsafe fn tile(&self, row: usize, column: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            turn(
                |i| self.from.read(row + i, column, TILE).as_ptr(),
                |j| self.to.write(column + j, row, TILE).as_mut_ptr(),
            );
        }
    }

    /// Carries a tile at the edge, number by number.
    ///
    /// # Safety
    /// As [`Transpose::tile`].
    #[inline(always)]
    unsafe fn edge(&self, row: usize, column: usize, height: usize, width: usize) {
        for j in 0..width {
            // SAFETY: the caller's promise.
            let to = unsafe { self.to.write(column + j, row, height) };
            for (i, to) in to.iter_mut().enumerate() {
                // SAFETY: as above.
                *to = unsafe { self.from.read(row + i, column + j, 1)[0] };
            }
        }
    }
}

impl<T: Element> WithSimd<T> for Transpose<T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(mut self) {
        let (down, across) = self.grid();
        let (from, to, size) = (self.from.start, self.to.start, self.rows * self.columns);
        for at in self.tiles.clone() {
            let (matrix, at) = (at / (down * across), at % (down * across));
            let (i, j) = if down < across {
                (at % down, at / down)
            } else {
                (at / across, at % across)
            };
            self.from.start = from.wrapping_add(matrix * size);
            self.to.start = to.wrapping_add(matrix * size);
            let (row, column) = (i * self.tile.0, j * self.tile.1);
            let height = self.tile.0.min(self.rows - row);
            let width = self.tile.1.min(self.columns - column);
            // SAFETY: the tiles lie within the matrices whose maker says that they are there, and no
            // other thread has this one.
            unsafe {
                match self.tile {
                    (1, _) => self.few_rows::<1>(column, width),
                    (2, _) => self.few_rows::<2>(column, width),
                    (3, _) => self.few_rows::<3>(column, width),
                    (4, _) => self.few_rows::<4>(column, width),
                    (_, 1) => self.few_columns::<1>(row, height),
                    (_, 2) => self.few_columns::<2>(row, height),
                    (_, 3) => self.few_columns::<3>(row, height),
                    (_, 4) => self.few_columns::<4>(row, height),
                    _ if (height, width) == (TILE, TILE) => self.tile(row, column),
                    _ => self.edge(row, column, height, width),
                }
            }
        }
    }
}

/// Writes planes as interleaved elements: `output[e * count + i]` is coordinate `i` of element `e`.
///
/// # Errors
/// When `output` does not hold every coordinate.
pub fn interleave<T: Element>(
    exec: &Exec,
    input: Planes<'_, T>,
    output: &mut [T],
) -> Result<(), KernelError> {
    let (count, len) = (input.count(), input.len());
    Planes::plain(output).expect(NAME, "output", &[1], count * len)?;
    if count * len == 0 {
        return Ok(());
    }
    let from = Rows {
        start: input.raw().plane(0),
        stride: input.stride(),
    };
    let to = Rows {
        start: output.as_mut_ptr(),
        stride: count,
    };
    // SAFETY: the lengths were checked.
    unsafe { Transpose::new(from, to, count, len).carry(exec, 1) };
    Ok(())
}

/// The inverse of [`interleave`].
///
/// # Errors
/// When `input` does not hold every coordinate.
pub fn deinterleave<T: Element>(
    exec: &Exec,
    input: &[T],
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let (count, len) = (output.count(), output.len());
    Planes::plain(input).expect(NAME, "input", &[1], count * len)?;
    if count * len == 0 {
        return Ok(());
    }
    let from = Rows {
        start: input.as_ptr().cast_mut(),
        stride: count,
    };
    let to = Rows {
        start: output.raw().plane(0),
        stride: output.as_planes().stride(),
    };
    // SAFETY: the lengths were checked. Nothing is written through `from`.
    unsafe { Transpose::new(from, to, len, count).carry(exec, 1) };
    Ok(())
}

/// Transposes every plane of `input`, `[batch, rows, columns]`, into `output`, `[batch, columns, rows]`.
///
/// # Errors
/// When planes differ, or lengths are not `batch * rows * columns`.
pub fn transpose<T: Element>(
    exec: &Exec,
    [batch, rows, columns]: [usize; 3],
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let len = product(&[batch, rows, columns]);
    input.expect(NAME, "input", &[input.count()], len)?;
    output.expect(NAME, "output", &[input.count()], len)?;
    if len == 0 {
        return Ok(());
    }
    for i in 0..input.count() {
        let from = Rows {
            start: input.raw().plane(i),
            stride: columns,
        };
        let to = Rows {
            start: output.raw().plane(i),
            stride: rows,
        };
        // SAFETY: the lengths were checked. Nothing is written through `from`.
        unsafe { Transpose::new(from, to, rows, columns).carry(exec, batch) };
    }
    Ok(())
}
