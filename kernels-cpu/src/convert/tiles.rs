//! Image tensors between sample-major order and tiles.

use super::{NAME, transpose};
use crate::element::Element;
use crate::error::KernelError;
use crate::images::TILE_IMAGES;
use crate::planes::{Planes, PlanesMut};
use crate::threads::Exec;

/// Writes samples `[batch, elements]`, row-major, as tiles `[tile][element][sample]` of
/// [`TILE_IMAGES`] samples, the last as narrow as what is left.
///
/// # Errors
/// When planes or lengths differ, or the batch does not divide them.
pub fn into_tiles<T: Element>(
    exec: &Exec,
    batch: usize,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    tiles(exec, batch, true, input, output)
}

/// The inverse of [`into_tiles`].
///
/// # Errors
/// As [`into_tiles`].
pub fn from_tiles<T: Element>(
    exec: &Exec,
    batch: usize,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    tiles(exec, batch, false, input, output)
}

/// A tile is the transpose of its samples: all whole tiles together, then the narrow one.
fn tiles<T: Element>(
    exec: &Exec,
    batch: usize,
    into: bool,
    input: Planes<'_, T>,
    output: &mut PlanesMut<'_, T>,
) -> Result<(), KernelError> {
    let elements = output.len().checked_div(batch).unwrap_or(0);
    let len = elements * batch;
    input.expect(NAME, "input", &[output.count()], len)?;
    output.expect(NAME, "output", &[input.count()], len)?;
    let whole = batch / TILE_IMAGES;
    let rest = batch % TILE_IMAGES;
    for (at, tiles, width) in [(0, whole, TILE_IMAGES), (batch - rest, 1, rest)] {
        let (start, len) = (at * elements, tiles * width * elements);
        let sizes = if into {
            [tiles, width, elements]
        } else {
            [tiles, elements, width]
        };
        transpose(
            exec,
            sizes,
            input.part(start, len),
            &mut output.part_mut(start, len),
        )?;
    }
    Ok(())
}
