//! Slots and coordinates, layouts and element types.

use furthermore::Algebra;
use furthermore::plan::{Kernel, Operand};
use furthermore_kernels_cpu::convert::{Cast, CopyAxis, Rest, StridedCopy, cast};
use furthermore_kernels_cpu::{Arithmetic, Exec, Isa, Planes, PlanesMut, TILE_IMAGES};
use half::{bf16, f16};

use super::case::{Call, Case, Setup, Side};
use super::{SMALL, TABLE};
use crate::error::Result;

/// Images of a batch, and elements of each.
const IMAGES: [usize; 2] = [2 * TILE_IMAGES, 28 * 28];

/// Everything of the family.
pub(super) fn cases(setup: &Setup) -> Result<Vec<Case>> {
    let mut cases = maps(setup)?;
    cases.extend(layouts(setup)?);
    cases.extend(copies(setup)?);
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
    Ok(cases)
}

/// Linear maps of planes by matrices of an algebra.
fn maps(setup: &Setup) -> Result<Vec<Case>> {
    let of = [SMALL];
    // Of a graded polynomial the lowest coefficient takes all that is drawn, the others their own.
    let encrypt = |algebra: Algebra, arithmetic: &Arithmetic| {
        let dim = algebra.dim();
        let (matrix, drawn) = match algebra {
            Algebra::Graded(_) => {
                let entry = |e: usize| {
                    let (row, column) = (e / dim / 2, e % dim / 2);
                    if row == 0 || row == column { 0.5 } else { 0.0 }
                };
                ((0..dim * dim).map(entry).collect(), dim)
            }
            _ => (arithmetic.from_slots().to_vec(), arithmetic.slots()),
        };
        (Kernel::LinearMap { matrix }, [drawn, dim])
    };
    let encrypt = setup.with_planes("convert linear_map encrypt", SMALL, &of, &of, encrypt)?;
    // One message, and the first slot as good as any.
    let decrypt = |algebra: Algebra, arithmetic: &Arithmetic| {
        let row = &arithmetic.to_slots()[..arithmetic.dim()];
        let matrix = row.iter().copied().cycle().take(algebra.dim()).collect();
        (Kernel::LinearMap { matrix }, [algebra.dim(), 1])
    };
    let decrypt = setup.with_planes("convert linear_map decrypt", SMALL, &of, &of, decrypt)?;
    Ok(vec![encrypt, decrypt])
}

/// Blocks, image tiles and transposes.
fn layouts(setup: &Setup) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for into in [true, false] {
        let kernel = Kernel::Interleave { into };
        let name = format!("convert {}", kernel.name());
        let sides = setup.of_one().map(|side| {
            let dim = side.1.dim();
            let planes = Operand {
                planes: dim,
                elements: SMALL,
            };
            let blocks = Operand {
                planes: 1,
                elements: dim * SMALL,
            };
            let (read, written) = if into {
                (planes, blocks)
            } else {
                (blocks, planes)
            };
            setup.side(side, kernel.clone(), &[read], &[written])
        });
        cases.push(Case {
            kernel: name,
            shape: SMALL.to_string(),
            sides: sides.collect::<Result<_>>()?,
        });
    }
    let ([batch, elements], [rows, columns]) = (IMAGES, TABLE);
    let (images, table) = (batch * elements, rows * columns);
    for into in [true, false] {
        let kernel = Kernel::Tiles { batch, into };
        let name = format!("convert {}", kernel.name());
        let shape = format!("{batch}x{elements}");
        cases.push(setup.one(name, shape, &kernel, &[images], &[images])?);
    }
    let kernel = Kernel::Transpose {
        sizes: [1, rows, columns],
    };
    let shape = format!("{rows}x{columns}");
    cases.push(setup.one("convert transpose", shape, &kernel, &[table], &[table])?);
    Ok(cases)
}

/// Images whose channels go last, and samples that become one half of longer ones.
fn copies(setup: &Setup) -> Result<Vec<Case>> {
    let axis = |size, from: usize, to: usize| CopyAxis {
        size,
        from: from as isize,
        to: to as isize,
    };
    let one = |name: &str, shape: String, [read, written]: [usize; 2], axes: &[CopyAxis]| {
        let kernel = Kernel::StridedCopy {
            copy: StridedCopy::new(read, 0, written, 0, axes).map_err(furthermore::Error::from)?,
            rest: Rest::Keep,
        };
        let name = format!("convert strided_copy {name}");
        setup.one(name, shape, &kernel, &[read], &[written])
    };
    let [images, channels, pixels] = [256, 16, 28 * 28];
    let len = images * channels * pixels;
    let permuted = [
        axis(images, channels * pixels, channels * pixels),
        axis(channels, pixels, 1),
        axis(pixels, 1, channels),
    ];
    let shape = format!("{images}x{channels}x28x28");
    let permutation = one("permutation", shape, [len; 2], &permuted)?;
    let [rows, columns] = TABLE;
    let (len, half) = (
        rows * columns,
        [axis(rows, columns, 2 * columns), axis(columns, 1, 1)],
    );
    let shape = format!("{rows}x{columns} of {rows}x{}", 2 * columns);
    let concatenation = one("concatenation", shape, [len, 2 * len], &half)?;
    Ok(vec![permutation, concatenation])
}

/// From one element type to another, which the kernel's name says: the other rows' type is no part of
/// it.
fn casts<A, B>(setup: &Setup, name: &str, of: fn(f64) -> A) -> Case
where
    A: Cast<B> + 'static,
    B: Copy + Default + Send + Sync + 'static,
{
    let sides = setup.of_one().map(|(regime, algebra, _)| {
        let dim = algebra.dim();
        let len = dim * SMALL;
        let bytes = len * (size_of::<A>() + size_of::<B>());
        Side::of_host(regime, algebra, bytes, move || -> Call {
            let exec = Exec::new(Isa::best());
            let x: Vec<A> = (0..len)
                .map(|i| of(0.25 + (i % 4099) as f64 / 8198.0))
                .collect();
            let mut y = vec![B::default(); len];
            Box::new(move || {
                let converted = Planes::new(&x, dim, SMALL, SMALL)
                    .and_then(|x| cast(&exec, x, &mut PlanesMut::new(&mut y, dim, SMALL, SMALL)?));
                converted.expect("planes of the lengths they were made with");
            })
        })
    });
    Case {
        kernel: format!("convert cast {name}"),
        shape: SMALL.to_string(),
        sides: sides.collect(),
    }
}
