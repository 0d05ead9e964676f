//! NumPy's arrays in `.npy` files.
//!
//! A file is a magic string, a version, a length, a header of that length (a Python dictionary of
//! element type, order and shape), and the elements
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).

mod header;

use std::io::{Read, Write};
use std::path::Path;

use furthermore_kernels_cpu::Element;

use self::header::{Header, MAGIC, MAX_AXES};
use super::{CHUNK, Place, cut_short, open, refuse, write_whole};
use crate::error::Result;
use crate::tensor::{DType, Plaintext, Shape, with_dtype};

/// Reads an array of booleans, integers or floating-point numbers of up to 64 bits, in either order
/// and byte order, and rounds it to `dtype`.
///
/// # Errors
/// When the file cannot be read, is no such array, or is cut short or goes on.
pub fn read_npy(path: &Path, dtype: DType) -> Result<Plaintext> {
    let (file, length) = open(path)?;
    read(file, length, dtype).or_else(|reason| refuse(path.display(), reason))
}

/// Writes a tensor as an array of its element type, to a file that is replaced if it is there.
///
/// # Errors
/// When it has more axes than an array may have, or the file cannot be written.
pub fn write_npy(path: &Path, tensor: &Plaintext) -> Result<()> {
    let shape = tensor.shape();
    if shape.len() > MAX_AXES {
        let reason = format!(
            "{} axes, where an array has at most {MAX_AXES}",
            shape.len()
        );
        return refuse(path.display(), reason);
    }
    let header = header::text(shape, tensor.dtype());
    write_whole(path, Place::Replace, |to| {
        to.write_all(MAGIC)?;
        to.write_all(&[1, 0])?;
        to.write_all(&(header.len() as u16).to_le_bytes())?;
        to.write_all(header.as_bytes())?;
        with_dtype!(tensor.dtype(), T => {
            let numbers = tensor.buffer().as_slice::<T>();
            numbers.iter().try_for_each(|x| to.write_all(&x.to_le_bytes()))
        })
    })
}

fn read(mut from: impl Read, length: u64, dtype: DType) -> Result<Plaintext, String> {
    let Header {
        number,
        fortran_order,
        shape,
        bytes: head,
    } = Header::read(&mut from)?;
    let shape = Shape::from(shape);
    let elements = shape.elements().map_err(|error| error.to_string())? as u64;
    let found = length.saturating_sub(head);
    let needed = elements.saturating_mul(number.bytes as u64);
    if found != needed {
        return Err(format!(
            "{found} bytes of elements, where shape {shape} needs {needed}"
        ));
    }
    let mut tensor = Plaintext::zeros(shape.clone(), dtype).map_err(|error| error.to_string())?;
    let mut places = Places::new(&shape, fortran_order);
    let mut chunk = vec![0; CHUNK];
    let mut left = needed as usize;
    with_dtype!(dtype, T => {
        let to = tensor.buffer_mut().as_mut_slice::<T>();
        while left > 0 {
            let part = &mut chunk[..left.min(CHUNK)];
            from.read_exact(part).map_err(cut_short)?;
            for element in part.chunks_exact(number.bytes) {
                to[places.next()] = T::of(number.value(element));
            }
            left -= part.len();
        }
    });
    Ok(tensor)
}

/// Where the elements of a file belong in a row-major tensor, one after another.
struct Places {
    /// Of each axis size, step in the tensor and position, the axis that moves first in front.
    axes: Vec<(usize, usize, usize)>,
    place: usize,
}

impl Places {
    fn new(shape: &[usize], fortran_order: bool) -> Self {
        let mut step = 1;
        let mut axes = Vec::with_capacity(shape.len());
        for &size in shape.iter().rev() {
            axes.push((size, step, 0));
            step *= size;
        }
        if fortran_order {
            axes.reverse();
        }
        Self { axes, place: 0 }
    }

    fn next(&mut self) -> usize {
        let place = self.place;
        for (size, step, at) in &mut self.axes {
            *at += 1;
            self.place += *step;
            if *at < *size {
                break;
            }
            self.place -= *step * *size;
            *at = 0;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_either_order() {
        let places = |shape: &[usize], fortran| {
            let mut places = Places::new(shape, fortran);
            let count = shape.iter().product();
            (0..count).map(|_| places.next()).collect::<Vec<_>>()
        };
        for shape in [&[][..], &[1], &[5], &[2, 3], &[3, 1, 7, 2]] {
            let count = shape.iter().product();
            assert!(places(shape, false).into_iter().eq(0..count), "{shape:?}");
        }
        assert_eq!(places(&[2, 3], true), [0, 3, 1, 4, 2, 5]);
        assert_eq!(places(&[2, 1, 2, 2], true), [0, 4, 2, 6, 1, 5, 3, 7]);
        assert_eq!(places(&[], true), [0]);
    }
}
