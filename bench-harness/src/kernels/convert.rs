//! Slots and coordinates, layouts and element types.

use furthermore_kernels_cpu::convert::{
    Cast, cast, deinterleave, from_tiles, interleave, into_tiles, linear_map, transpose,
};
use furthermore_kernels_cpu::{Arithmetic, Element, MAX_DIM, Planes, PlanesMut, TILE_IMAGES};
use half::{bf16, f16};

use super::operands::{Operand, call};
use super::pass::Pass;
use super::{Case, SMALL, Setup, Side, TABLE};

/// Images of a batch, and elements of each.
const IMAGES: [usize; 2] = [2 * TILE_IMAGES, 28 * 28];

/// Everything of the family.
pub(super) fn cases<T: Element>(setup: &Setup) -> Vec<Case> {
    let mut cases = vec![
        map::<T>(setup, "encrypt", |of| {
            ([of.slots(), of.dim()], of.from_slots())
        }),
        // The message is the first slot.
        map::<T>(setup, "decrypt", |of| {
            ([of.dim(), 1], &of.to_slots()[..of.dim()])
        }),
        blocks::<T>(setup, true),
        blocks::<T>(setup, false),
    ];
    cases.extend(transposes::<T>(setup));
    cases.extend([
        casts::<f32, f16>(setup, "f32 to f16", |x| x as f32),
        casts::<f16, f32>(setup, "f16 to f32", f16::from_f64),
        casts::<f32, bf16>(setup, "f32 to bf16", |x| x as f32),
        casts::<bf16, f32>(setup, "bf16 to f32", bf16::from_f64),
        casts::<f32, f64>(setup, "f32 to f64", |x| x as f32),
        casts::<f64, f32>(setup, "f64 to f32", |x| x),
        casts::<f64, f16>(setup, "f64 to f16", |x| x),
        casts::<f16, f64>(setup, "f16 to f64", f16::from_f64),
        casts::<f64, bf16>(setup, "f64 to bf16", |x| x),
        casts::<bf16, f64>(setup, "bf16 to f64", bf16::from_f64),
    ]);
    cases
}

/// A linear map by a matrix of an algebra, of planes `[in, out]`.
fn map<T: Element>(setup: &Setup, name: &str, of: fn(&Arithmetic) -> ([usize; 2], &[f64])) -> Case {
    let exec = setup.exec;
    let sides = setup.of_one().map(|(regime, algebra, arithmetic)| {
        let ([inputs, outputs], matrix) = of(arithmetic);
        let matrix = matrix.to_vec();
        Side {
            regime,
            algebra,
            flop: 0.0,
            bytes: ((inputs + outputs) * SMALL * size_of::<T>()) as f64,
            prepare: Box::new(move || {
                let matrix = matrix.clone();
                let x = Operand::<T>::random(inputs, SMALL);
                let mut y = Operand::<T>::zeros(outputs, SMALL);
                call(move || {
                    let x = x.view()?;
                    let mut planes: [&[T]; MAX_DIM] = [&[]; MAX_DIM];
                    for (i, plane) in planes[..inputs].iter_mut().enumerate() {
                        *plane = x.plane(i);
                    }
                    linear_map(&exec, &matrix, &planes[..inputs], &mut y.view_mut()?)
                })
            }),
        }
    });
    Case {
        kernel: format!("convert linear_map {name}"),
        shape: SMALL.to_string(),
        sides: sides.collect(),
    }
}

/// Planes to blocks, or back.
fn blocks<T: Element>(setup: &Setup, into: bool) -> Case {
    let exec = setup.exec;
    let sides = setup.of_one().map(|(regime, algebra, arithmetic)| {
        let dim = arithmetic.dim();
        Side {
            regime,
            algebra,
            flop: 0.0,
            bytes: (2 * dim * SMALL * size_of::<T>()) as f64,
            prepare: Box::new(move || {
                let mut planes = Operand::<T>::random(dim, SMALL);
                let mut blocks = Operand::<T>::random(1, dim * SMALL);
                call(move || {
                    if into {
                        let blocks = &mut blocks.view_mut()?;
                        interleave(&exec, planes.view()?, blocks.plane_mut(0))
                    } else {
                        let blocks = blocks.view()?;
                        deinterleave(&exec, blocks.plane(0), &mut planes.view_mut()?)
                    }
                })
            }),
        }
    });
    let name = if into { "interleave" } else { "deinterleave" };
    Case {
        kernel: format!("convert {name}"),
        shape: SMALL.to_string(),
        sides: sides.collect(),
    }
}

/// Image tiles and transposes of planes.
fn transposes<T: Element>(setup: &Setup) -> [Case; 3] {
    let of = |len| Pass {
        a: len,
        y: len,
        ..Pass::default()
    };
    let ([batch, elements], [rows, columns]) = (IMAGES, TABLE);
    let (images, table) = (of(batch * elements), of(rows * columns));
    let shape = format!("{batch}x{elements}");
    [
        images.case::<T, _>(setup, "convert into_tiles", &shape, move |t| {
            into_tiles(&t.exec, batch, t.a.view()?, &mut t.y.view_mut()?)
        }),
        images.case::<T, _>(setup, "convert from_tiles", &shape, move |t| {
            from_tiles(&t.exec, batch, t.a.view()?, &mut t.y.view_mut()?)
        }),
        table.case::<T, _>(
            setup,
            "convert transpose",
            format!("{rows}x{columns}"),
            move |t| {
                let (x, y) = (t.a.view()?, &mut t.y.view_mut()?);
                transpose(&t.exec, [1, rows, columns], x, y)
            },
        ),
    ]
}

/// From one element type to another, which the kernel's name says: the other rows' type is no part of
/// it.
fn casts<A, B>(setup: &Setup, name: &str, of: fn(f64) -> A) -> Case
where
    A: Cast<B> + 'static,
    B: Copy + Default + Send + Sync + 'static,
{
    let exec = setup.exec;
    let sides = setup.of_one().map(|(regime, algebra, arithmetic)| {
        let dim = arithmetic.dim();
        let len = dim * SMALL;
        Side {
            regime,
            algebra,
            flop: 0.0,
            bytes: (len * (size_of::<A>() + size_of::<B>())) as f64,
            prepare: Box::new(move || {
                let x = Operand::<f64>::random(1, len);
                let x: Vec<A> = x
                    .view()
                    .map_err(furthermore::Error::from)?
                    .plane(0)
                    .iter()
                    .map(|x| of(*x))
                    .collect();
                let mut y = vec![B::default(); len];
                call(move || {
                    let x = Planes::new(&x, dim, SMALL, SMALL)?;
                    cast(&exec, x, &mut PlanesMut::new(&mut y, dim, SMALL, SMALL)?)
                })
            }),
        }
    });
    Case {
        kernel: format!("convert cast {name}"),
        shape: SMALL.to_string(),
        sides: sides.collect(),
    }
}
