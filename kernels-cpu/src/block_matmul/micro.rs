//! The register tile: MR x (NV vectors) of one real product, added into the result's planes.

use crate::element::Element;
use crate::isa::Isa;
use crate::simd::Simd;

/// Rows and columns of the full accumulator tile on `isa`.
pub(super) fn tile<T: Element>(isa: Isa) -> (usize, usize) {
    struct Sizes;
    impl<T: Element> crate::simd::WithSimd<T> for Sizes {
        type Output = (usize, usize);
        #[inline(always)]
        fn run<S: Simd<T>>(self) -> (usize, usize) {
            (S::TILE_ROWS, S::TILE_VECTORS * S::LANES)
        }
    }
    isa.run::<T, Sizes>(Sizes)
}

/// A tile's left operand: element (i, p) at `start[i * row + p * step]`. One of the two strides is
/// 1: rows of a row-major matrix (`step`), or a packed panel or transposed matrix (`row`).
#[derive(Clone, Copy)]
pub(super) struct Left<T> {
    pub(super) start: *const T,
    pub(super) row: usize,
    pub(super) step: usize,
}

/// A tile's right operand: vectors of row p at `start + p * step`.
#[derive(Clone, Copy)]
pub(super) struct Right<T> {
    pub(super) start: *const T,
    pub(super) step: usize,
}

/// Vectors of a tile of one row: so many sums in flight hide the latency of adding to each.
pub(super) const FLAT_VECTORS: usize = 8;

/// Where an accumulator goes: `target = coefficient * tile`, plus what is there unless `first`.
#[derive(Clone, Copy)]
pub(super) struct Target<T> {
    pub(super) start: *mut T,
    pub(super) coefficient: T,
    pub(super) first: bool,
}

/// Computes a tile of `rows` x `columns` over `depth` and adds it into `targets`, whose rows are
/// `stride` apart.
///
/// # Safety
/// `left` is readable for `rows` x `depth`, `right` for `depth` rows of as many whole vectors as
/// `columns` needs (a tile's, or of one row [`FLAT_VECTORS`]), each target writable for `rows` x
/// `columns`; `rows` is at most the tile's.
#[inline(always)]
pub(super) unsafe fn tile_product<T: Element, S: Simd<T>>(
    rows: usize,
    columns: usize,
    depth: usize,
    left: Left<T>,
    right: Right<T>,
    targets: impl Iterator<Item = Target<T>>,
    stride: usize,
) {
    debug_assert!(rows <= S::TILE_ROWS);
    if columns > S::TILE_VECTORS * S::LANES {
        debug_assert!(rows == 1 && columns <= FLAT_VECTORS * S::LANES);
        // SAFETY: the caller's promise.
        unsafe { product::<T, S, 1, FLAT_VECTORS>(columns, depth, left, right, targets, stride) };
        return;
    }
    macro_rules! heights {
        ($($rows:literal)*) => {
            match rows {
                // SAFETY: the caller's promise; the heights past an instruction set's own are never
                // reached there, and the test lets the compiler drop them.
                $($rows if $rows <= S::TILE_ROWS => unsafe {
                    if columns > S::LANES {
                        product::<T, S, $rows, 2>(columns, depth, left, right, targets, stride)
                    } else {
                        product::<T, S, $rows, 1>(columns, depth, left, right, targets, stride)
                    }
                },)*
                _ => {}
            }
        };
    }
    heights!(12 11 10 9 8 7 6 5 4 3 2 1);
}

/// # Safety
/// As [`tile_product`], for exactly `MR` rows.
#[inline(always)]
unsafe fn product<T: Element, S: Simd<T>, const MR: usize, const NV: usize>(
    columns: usize,
    depth: usize,
    left: Left<T>,
    right: Right<T>,
    targets: impl Iterator<Item = Target<T>>,
    stride: usize,
) {
    // SAFETY: the caller's promise.
    let tile = unsafe {
        if left.row == 1 {
            accumulate::<T, S, MR, NV, true>(depth, left, right)
        } else {
            accumulate::<T, S, MR, NV, false>(depth, left, right)
        }
    };
    let whole = columns == NV * S::LANES;
    for target in targets {
        let coefficient = S::splat(target.coefficient);
        for i in 0..MR {
            for v in 0..NV {
                let at = target.start.wrapping_add(i * stride + v * S::LANES);
                let count = if whole {
                    S::LANES
                } else {
                    columns.saturating_sub(v * S::LANES).min(S::LANES)
                };
                let x = tile[i][v];
                // SAFETY: within the target's `rows` x `columns`.
                unsafe {
                    if target.first {
                        x.mul(coefficient).store_some(at, count);
                    } else {
                        x.mul_add(coefficient, S::load_some(at, count))
                            .store_some(at, count);
                    }
                }
            }
        }
    }
}

/// # Safety
/// As [`tile_product`]. `UNIT_ROWS` says that `left.row` is 1.
#[inline(always)]
unsafe fn accumulate<
    T: Element,
    S: Simd<T>,
    const MR: usize,
    const NV: usize,
    const UNIT_ROWS: bool,
>(
    depth: usize,
    left: Left<T>,
    right: Right<T>,
) -> [[S; NV]; MR] {
    let zero = S::splat(T::zero());
    let mut tile = [[zero; NV]; MR];
    let (mut a, mut b) = (left.start, right.start);
    for _ in 0..depth {
        // SAFETY: row p of both operands, which the caller promised.
        unsafe {
            let mut row = [zero; NV];
            for v in 0..NV {
                row[v] = S::load(b.add(v * S::LANES));
            }
            for i in 0..MR {
                let x = S::splat(*a.add(if UNIT_ROWS { i } else { i * left.row }));
                for v in 0..NV {
                    tile[i][v] = x.mul_add(row[v], tile[i][v]);
                }
            }
        }
        a = a.wrapping_add(if UNIT_ROWS { left.step } else { 1 });
        b = b.wrapping_add(right.step);
    }
    tile
}
