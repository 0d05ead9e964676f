//! Matrix products of planes: an algebra's bilinear program over one real packed GEMM.
//!
//! A product of ciphertext matrices is R real products between linear combinations of planes. Planes
//! are read in place where that is fast, combinations are formed while packing, and every real product
//! adds its accumulator tile straight into the result's planes, so no pass over memory is spent on
//! them; bias and activation are applied to a block of the result while it is in cache.
//!
//! The loops, outermost first, for one thread's rectangle of the result:
//!
//! | loop | step | what then stays where |
//! | --- | --- | --- |
//! | rows | `ROWS_RESIDENT` | packed A of this depth, level 3 |
//! | depth | `depth` | |
//! | columns | `columns` | packed B, level 2 |
//! | rows | `ROWS_BLOCK` | a block of A, level 2 |
//! | columns | a tile's columns | |
//! | products | the program's terms | packed B panel, level 2 |
//! | rows | a tile's rows | accumulator tile, registers |

mod micro;
mod pack;
mod task;

pub(crate) use task::Task;

use crate::algebra::{Arithmetic, Bilinear, is_plane};
use crate::element::Element;
use crate::error::KernelError;
use crate::function_map::Function;
use crate::planes::{Planes, PlanesMut};
use crate::sizes::product;
use crate::slots::SlotMaxima;
use crate::threads::{Exec, MIN_PRODUCTS_PER_PIECE};

const NAME: &str = "block_matmul";

/// Bytes of one packed panel of B, which streams from the level-2 cache as it is read from front to
/// back. A panel that fits the level-1 cache is a third as deep, and the result is fetched and written
/// back three times as often: at 1024 cubed that costs a tenth of a plain product and a fifth of one of
/// ciphertexts, whose planes are four times as many.
const PANEL_BYTES: usize = 128 << 10;
/// Bytes of the panels of all combinations of B together: as much of packed B as a strip goes through.
const STRIP_BYTES: usize = 256 << 10;
/// Bytes of packed B, all its combinations together: half of a 2 MiB level-2 cache.
const PACKED_B_BYTES: usize = 1 << 20;
/// Rows of A in a level-2 block: a multiple of every tile height.
const ROWS_BLOCK: usize = 144;
/// Rows of A packed at a time.
const ROWS_RESIDENT: usize = 5 * ROWS_BLOCK;

/// The shape of `C = op(A) op(B)`: op(A) is m x k, op(B) k x n, C m x n, all row-major; or of `batch`
/// such products, whose matrices follow each other in each plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MatmulShape {
    /// How many products.
    pub batch: usize,
    /// Rows of C.
    pub m: usize,
    /// Depth.
    pub k: usize,
    /// Columns of C.
    pub n: usize,
    /// A is stored k x m.
    pub transpose_a: bool,
    /// B is stored n x k.
    pub transpose_b: bool,
}

/// What is done to each element of the result before it leaves the cache.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a, T> {
    /// A row of n elements added to each row of C, plaintext or ciphertext.
    pub bias: Option<Planes<'a, T>>,
    /// A function applied after the bias.
    pub activation: Option<Function>,
}

impl<T> Epilogue<'_, T> {
    /// Nothing is done.
    pub const NONE: Self = Epilogue {
        bias: None,
        activation: None,
    };
}

/// How one product is cut: into `row_pieces x column_pieces` rectangles, one a thread, each with
/// its own scratch.
#[derive(Debug, Clone, Copy)]
struct Cut {
    row_pieces: usize,
    column_pieces: usize,
    rows: usize,
    columns: usize,
    /// Columns of a register tile: more where there is one row.
    tile_columns: usize,
    depth: usize,
    /// Columns of B packed at a time.
    columns_packed: usize,
    /// Every combination of B is packed, those of a single plane too.
    pack_b: bool,
    /// Elements from one packed row of A to the next: the depth, and a cache line so that rows of
    /// a power of two do not alias.
    pitch_a: usize,
    /// Elements of scratch of one piece for packed A, and for packed B.
    scratch_a: usize,
    scratch_b: usize,
}

/// Rows of A from which packing B pays: below, it is read where it is.
const MIN_ROWS_TO_PACK_B: usize = 256;

impl Cut {
    fn new<T: Element>(exec: &Exec, program: &Bilinear, shape: &MatmulShape) -> Cut {
        let (tile_rows, mut tile_columns) = micro::tile::<T>(exec.isa);
        if shape.m == 1 && shape.n > tile_columns && !shape.transpose_b {
            tile_columns = micro::FLAT_VECTORS * exec.isa.lanes::<T>();
        }
        let sizes = [shape.m, shape.n, shape.k, program.terms.len()];
        let pieces = (product(&sizes) / MIN_PRODUCTS_PER_PIECE).clamp(1, exec.threads.max(1));
        let row_tiles = shape.m.div_ceil(tile_rows).max(1);
        let column_tiles = shape.n.div_ceil(tile_columns).max(1);
        // The cut with the smallest largest rectangle; among equals the one nearest to square, which
        // packs least twice.
        let (row_pieces, column_pieces) = (1..=pieces)
            .filter(|r| pieces.is_multiple_of(*r))
            .map(|r| (r, pieces / r))
            .min_by_key(|&(r, c)| {
                let (rows, columns) = (row_tiles.div_ceil(r), column_tiles.div_ceil(c));
                let sides = [(rows, tile_rows), (columns, tile_columns)];
                let [height, width] = sides.map(|(tiles, tile)| product(&[tiles, tile]));
                (product(&[rows, columns]), height.saturating_add(width))
            })
            .expect("one piece is always a cut");
        let columns = product(&[column_tiles.div_ceil(column_pieces), tile_columns]);
        // Rows split evenly, not by tiles: tiles of any height up to the full one exist.
        let rows = shape.m.div_ceil(row_pieces).max(1);

        let pack_b = shape.transpose_b || rows >= MIN_ROWS_TO_PACK_B;
        let even = |total: usize, most: usize| total.max(1).div_ceil(total.max(1).div_ceil(most));
        let panel_bytes = PANEL_BYTES.min(STRIP_BYTES / program.right.len());
        let row_bytes = tile_columns * size_of::<T>();
        let depth = even(shape.k, (panel_bytes / row_bytes).max(1));
        let column_bytes = depth * size_of::<T>() * program.right.len();
        let most_columns = (PACKED_B_BYTES / column_bytes / tile_columns).max(1) * tile_columns;
        let columns_packed =
            even(columns / tile_columns, most_columns / tile_columns) * tile_columns;
        let line = 64 / size_of::<T>();
        let copies = program.left.iter().filter(|c| !is_plane(c)).count();
        let pitch_a = depth.next_multiple_of(line) + line;
        let scratch_a = copies * rows.min(ROWS_RESIDENT) * pitch_a;
        // Behind the packed columns one strip more, for a narrow last one.
        let scratch_b = (columns_packed + tile_columns) * depth * program.right.len();
        Cut {
            row_pieces,
            column_pieces,
            rows,
            columns,
            tile_columns,
            depth,
            columns_packed,
            pack_b,
            pitch_a,
            scratch_a: scratch_a.next_multiple_of(line),
            scratch_b: scratch_b.next_multiple_of(line),
        }
    }
}

/// How a batch of products is gone through: in pieces, each of several products on one thread, or
/// product by product, each cut into pieces.
struct Schedule {
    cut: Cut,
    /// Pieces that the batch is cut into; 1 where products are cut.
    batch_pieces: usize,
}

impl Schedule {
    fn new<T: Element>(exec: &Exec, program: &Bilinear, shape: &MatmulShape) -> Self {
        if shape.batch < exec.threads.max(2) {
            let cut = Cut::new::<T>(exec, program, shape);
            return Self {
                cut,
                batch_pieces: 1,
            };
        }
        let single = Exec {
            threads: 1,
            ..*exec
        };
        let sizes = [shape.batch, shape.m, shape.n, shape.k, program.terms.len()];
        Self {
            cut: Cut::new::<T>(&single, program, shape),
            batch_pieces: (product(&sizes) / MIN_PRODUCTS_PER_PIECE).clamp(1, exec.threads.max(1)),
        }
    }

    /// Pieces that run at a time, each with scratch of its own.
    fn pieces(&self) -> usize {
        self.batch_pieces * self.cut.row_pieces * self.cut.column_pieces
    }
}

/// Elements of scratch that [`block_matmul`] needs for operands of that many planes.
pub fn scratch_len<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &MatmulShape,
    a_planes: usize,
    b_planes: usize,
) -> usize {
    let schedule = Schedule::new::<T>(exec, arithmetic.product(a_planes, b_planes), shape);
    schedule.pieces() * (schedule.cut.scratch_a + schedule.cut.scratch_b)
}

/// Computes `C = f(op(A) op(B) + bias)` for plaintext (one plane) or ciphertext (`dim` planes)
/// operands; C has the planes of their product.
///
/// What C held before does not matter. `scratch` needs [`scratch_len`] elements of any content.
/// Returns the magnitudes of the activation's arguments, nothing where there is no activation.
///
/// # Errors
/// When planes, lengths or scratch do not fit `shape`.
pub fn block_matmul<T: Element>(
    exec: &Exec,
    arithmetic: &Arithmetic,
    shape: &MatmulShape,
    a: Planes<'_, T>,
    b: Planes<'_, T>,
    c: &mut PlanesMut<'_, T>,
    epilogue: &Epilogue<'_, T>,
    scratch: &mut [T],
) -> Result<SlotMaxima, KernelError> {
    let either = |operand: &Planes<'_, T>| [1, arithmetic.ciphertext(operand.count())];
    let lens = [(shape.m, shape.k), (shape.k, shape.n), (shape.m, shape.n)];
    let [a_len, b_len, c_len] = lens.map(|(rows, columns)| product(&[rows, columns]));
    a.expect(NAME, "A", &either(&a), product(&[shape.batch, a_len]))?;
    b.expect(NAME, "B", &either(&b), product(&[shape.batch, b_len]))?;
    let planes = arithmetic.result_planes(a.count(), b.count());
    c.expect(NAME, "C", &[planes], product(&[shape.batch, c_len]))?;
    c.expect(NAME, "C", &[1, arithmetic.ciphertext(planes)], c.len())?;
    if epilogue.activation.is_some() {
        c.expect(NAME, "C", &[1, arithmetic.dim()], c.len())?;
    }
    if let Some(bias) = &epilogue.bias {
        bias.expect(NAME, "bias", &[1, planes], shape.n)?;
    }
    let program = arithmetic.product(a.count(), b.count());
    let schedule = Schedule::new::<T>(exec, program, shape);
    let cut = &schedule.cut;
    let pieces = schedule.pieces();
    let per_piece = cut.scratch_a + cut.scratch_b;
    if scratch.len() < pieces * per_piece {
        return Err(KernelError::Length {
            kernel: NAME,
            operand: "scratch",
            needs: pieces * per_piece,
            has: scratch.len(),
        });
    }
    if c.is_empty() {
        return Ok(SlotMaxima::NONE);
    }
    let scratch = PlanesMut::new(scratch, pieces, per_piece, per_piece)?.raw();
    let target = c.raw();
    let piece = |nth: usize, i: usize, own: *mut T| {
        let (r, q) = (i / cut.column_pieces, i % cut.column_pieces);
        let rows = (r * cut.rows).min(shape.m)..((r + 1) * cut.rows).min(shape.m);
        let columns = (q * cut.columns).min(shape.n)..((q + 1) * cut.columns).min(shape.n);
        let (a, b) = (a.part(nth * a_len, a_len), b.part(nth * b_len, b_len));
        let target = target.offset(nth * c_len);
        // SAFETY: operands and scratch were checked above against the shape; the pieces' rectangles
        // and scratches are disjoint, and `c` and `scratch` are borrowed mutably until all are done.
        let task = unsafe {
            Task::new(
                exec.isa, arithmetic, program, shape, cut, &a, &b, target, epilogue, own, rows,
                columns,
            )
        };
        T::run_task(exec.isa, task)
    };
    if schedule.batch_pieces > 1 {
        let products = |i: usize| {
            let range = shape.batch * i / pieces..shape.batch * (i + 1) / pieces;
            range.fold(SlotMaxima::NONE, |seen, nth| {
                seen.merge(piece(nth, 0, scratch.plane(i)))
            })
        };
        return Ok(exec.pieces(pieces, products, SlotMaxima::merge));
    }
    Ok((0..shape.batch).fold(SlotMaxima::NONE, |seen, nth| {
        let pieces = exec.pieces(
            pieces,
            |i| piece(nth, i, scratch.plane(i)),
            SlotMaxima::merge,
        );
        seen.merge(pieces)
    }))
}
