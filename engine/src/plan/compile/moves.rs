//! Commands that move elements: each is a copy between boxes of two tensors.

use furthermore_kernels_cpu::convert::{CopyAxis, Rest, StridedCopy};
use furthermore_kernels_cpu::elementwise::Broadcast;

use super::Compiler;
use crate::error::Result;
use crate::network::{Op, Value};
use crate::plan::memory::Storage;
use crate::plan::{Kernel, Region};
use crate::tensor::Shape;

/// Elements from one place of each axis of a row-major tensor to the next.
fn strides(shape: &Shape) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = shape[axis] as isize * strides[axis];
    }
    strides
}

/// Where an order of axes keeps the first ones and exchanges two runs of the others, which is a
/// matrix transposed: where the first run starts and where the second does.
fn exchange(permutation: &[usize]) -> Option<[usize; 2]> {
    let axes = permutation.iter().enumerate();
    let start = axes.take_while(|(at, axis)| at == *axis).count();
    let middle = *permutation.get(start)?;
    let exchanged = (0..start)
        .chain(middle..permutation.len())
        .chain(start..middle);
    exchanged
        .eq(permutation.iter().copied())
        .then_some([start, middle])
}

impl Compiler<'_> {
    pub(super) fn emit_moves(&mut self, value: Value, reads: &[Region]) -> Result<()> {
        let node = self.network.node(value);
        let y = self.shapes[value.0].clone();
        let x = match node.operands.first() {
            Some(first) => self.shapes[first.0].clone(),
            None => return self.refuse(value, "it has no operand"),
        };
        let (from, to) = (strides(&x), strides(&y));
        // The box of all of an operand, which goes to the result from its element `first` on.
        let all = |sizes: &[usize], from: &[isize]| -> Vec<CopyAxis> {
            let axes = sizes.iter().zip(from).zip(&to);
            axes.map(|((&size, &from), &to)| CopyAxis { size, from, to })
                .collect()
        };
        match &node.op {
            Op::Reshape { .. } => {
                self.copy(value, reads[0]);
                Ok(())
            }
            &Op::Expand { mean } => {
                let mut small = reads[0];
                if mean {
                    let share = reads[0].elements as f64 / y.iter().product::<usize>() as f64;
                    small = self.scaled(value, share, reads[0]);
                }
                // Aligned at the last axes, what is repeated has no way to go.
                let missing = y.len() - x.len();
                let from: Vec<isize> = (0..y.len())
                    .map(|axis| match axis.checked_sub(missing) {
                        Some(of) if x[of] == y[axis] => from[of],
                        _ => 0,
                    })
                    .collect();
                self.moves(value, 0, 0, &all(&y, &from), Rest::Keep, small)
            }
            Op::Transpose { permutation } if let Some([start, middle]) = exchange(permutation) => {
                let sizes = [&x[..start], &x[start..middle], &x[middle..]];
                let sizes = sizes.map(|axes| axes.iter().product());
                self.plain_call(value, Kernel::Transpose { sizes }, reads);
                Ok(())
            }
            Op::Transpose { permutation } => {
                let from: Vec<isize> = permutation.iter().map(|&axis| from[axis]).collect();
                self.moves(value, 0, 0, &all(&y, &from), Rest::Keep, reads[0])
            }
            &Op::Concat { axis } => {
                let mut first = 0;
                for (operand, &read) in node.operands.iter().zip(reads) {
                    let x = self.shapes[operand.0].clone();
                    let axes = all(&x, &strides(&x));
                    let read = match read.planes < self.planes[value.0] {
                        true => self.embedded(value, read),
                        false => read,
                    };
                    self.moves(value, 0, first, &axes, Rest::Keep, read)?;
                    first += x[axis] * to[axis] as usize;
                }
                Ok(())
            }
            &Op::Slice {
                axis, start, step, ..
            } => {
                let mut away = from.clone();
                // Of one element nothing comes after, whatever the step.
                away[axis] = away[axis].checked_mul(step).unwrap_or(0);
                let first = start * from[axis] as usize;
                self.moves(value, first, 0, &all(&y, &away), Rest::Keep, reads[0])
            }
            &Op::SliceGradient {
                axis, start, step, ..
            } => {
                let mut axes = all(&x, &from);
                axes[axis].to = axes[axis].to.checked_mul(step).unwrap_or(0);
                let first = start * to[axis] as usize;
                self.moves(value, 0, first, &axes, Rest::Zero, reads[0])
            }
            Op::Pad { padding } => {
                let before = padding.iter().zip(&to);
                let first = before.map(|(&[before, _], &to)| before * to as usize).sum();
                self.moves(value, 0, first, &all(&x, &from), Rest::Zero, reads[0])
            }
            _ => self.refuse(value, "it moves no elements"),
        }
    }

    /// Copies a box of `read` to one of `value`, which is a new tensor where this is its first.
    fn moves(
        &mut self,
        value: Value,
        from: usize,
        to: usize,
        axes: &[CopyAxis],
        rest: Rest,
        read: Region,
    ) -> Result<()> {
        let target = match self.regions[value.0] {
            Some(region) => region,
            None => self.result(value),
        };
        let copy = StridedCopy::new(read.elements, from, target.elements, to, axes)?;
        self.command(
            value,
            Kernel::StridedCopy { copy, rest },
            &[read],
            &[target],
        );
        Ok(())
    }

    /// A tensor of so many planes for something on the way.
    fn passing(&mut self, like: Region, planes: usize) -> Region {
        self.storages.push(Storage {
            elements: planes * like.stride,
            pinned: false,
        });
        Region {
            buffer: self.storages.len() - 1,
            planes,
            ..like
        }
    }

    /// Plaintext as multiples of the algebra's one, or polynomials as such of the degree that `value`
    /// has, in a tensor of its own.
    fn embedded(&mut self, value: Value, read: Region) -> Region {
        let planes = self.planes[value.0];
        let target = self.passing(read, planes);
        let matrix = if read.planes == 1 {
            self.options.algebra.with_planes(planes).one()
        } else {
            let entries = 0..planes * read.planes;
            let diagonal = |e| e / read.planes == e % read.planes;
            entries.map(|e| f64::from(u8::from(diagonal(e)))).collect()
        };
        self.command(value, Kernel::LinearMap { matrix }, &[read], &[target]);
        target
    }

    /// Tensors with the planes that `value` has, but for plaintexts: of graded polynomials those of a
    /// lower degree are embedded.
    pub(super) fn level(&mut self, value: Value, reads: Vec<Region>) -> Vec<Region> {
        let planes = self.planes[value.0];
        let level = |read: Region| match read.planes {
            1 => read,
            has if has == planes => read,
            _ => self.embedded(value, read),
        };
        reads.into_iter().map(level).collect()
    }

    /// A multiple of a region, in a tensor of its own.
    fn scaled(&mut self, value: Value, factor: f64, read: Region) -> Region {
        let target = self.passing(read, read.planes);
        let kernel = Kernel::Linear {
            broadcast: Broadcast::same(read.elements),
            alpha: factor,
            beta: 0.0,
        };
        self.command(value, kernel, &[read, read], &[target]);
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_of_neighbours_is_a_transposition() {
        assert_eq!(exchange(&[1, 0]), Some([0, 1]));
        assert_eq!(exchange(&[0, 2, 3, 1]), Some([1, 2]));
        assert_eq!(exchange(&[2, 3, 0, 1]), Some([0, 2]));
        for other in [&[0, 1, 2][..], &[2, 1, 0], &[1, 0, 2], &[]] {
            assert_eq!(exchange(other), None, "{other:?}");
        }
    }
}
