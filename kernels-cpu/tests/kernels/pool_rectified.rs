//! Averages of relu(x) and their gradients, against sums over windows of each slot.

use crate::pool::shape;
use crate::support::{
    Algebra, Guarded, Noise, Operand, Tolerance, compare, formed, joined, pool_images,
    pool_windows, single,
};
use furthermore_kernels_cpu::pool::{Pool, PoolShape, rectified_pool, rectified_pool_gradient};
use furthermore_kernels_cpu::{Element, KernelError};

const AVERAGES: [Pool; 2] = [Pool::Average, Pool::AverageWithPadding];

fn shapes() -> Vec<PoolShape> {
    let with = |input, kernel, stride, padding| PoolShape {
        stride,
        padding,
        ..shape(3, 2, input, kernel)
    };
    let mut shapes = vec![
        with([6, 4], [2, 2], [2, 2], [[0, 0], [0, 0]]),
        with([7, 5], [2, 2], [2, 2], [[0, 0], [0, 0]]),
        with([5, 6], [3, 3], [1, 2], [[1, 1], [1, 0]]),
        with([4, 9], [2, 4], [3, 3], [[1, 0], [2, 2]]),
        with([1, 1], [1, 1], [1, 1], [[0, 0], [0, 0]]),
    ];
    for batch in [0, 1, 33, 64] {
        shapes.push(PoolShape { batch, ..shapes[0] });
    }
    shapes
}

/// Numbers on either side of zero, far enough for rounding not to matter.
fn sided(noise: &mut Noise, len: usize) -> Vec<f64> {
    let mut numbers = noise.slots(len, 0.05, 1.0);
    for x in &mut numbers {
        if noise.below(2) == 0 {
            *x = -*x;
        }
    }
    numbers
}

fn everywhere<T: Element>() {
    let mut noise = Noise::new(91);
    for algebra in Algebra::all() {
        for &kind in algebra.kinds() {
            let form = algebra.of_kind(kind);
            for shape in shapes() {
                for pool in AVERAGES {
                    let [elements, places] = pool_images(&shape).map(|images| images.len());
                    let x = Operand::<T>::drawn(&algebra, kind, || sided(&mut noise, elements));
                    let g = Operand::<T>::drawn(&algebra, kind, || noise.slots(places, -1.0, 1.0));
                    let windows = pool_windows(&shape, pool);
                    let depth = windows.iter().map(|w| w.elements.len()).max().unwrap_or(0);
                    // Sums of slots or coordinates and their factor, on top of what forming slots and
                    // joining them does; each is of numbers of at most 1 in every slot.
                    let tolerance = Tolerance::roundings::<T>(4 * (depth + 6));
                    let ones = vec![1.0; form.slots];
                    let slack = |k: usize| {
                        let join = joined::<T>(&form, &ones)[k];
                        4.0 * join + tolerance.of(form.split_size(&form.coordinate_sizes(&ones)))
                    };
                    let (mut mean, mut back) = (
                        vec![vec![0.0; places]; form.slots],
                        vec![vec![0.0; elements]; form.slots],
                    );
                    for k in 0..form.slots {
                        for window in &windows {
                            for &e in &window.elements {
                                let share = 1.0 / window.divisor as f64;
                                mean[k][window.place] += share * x.slot(k)[e].max(0.0);
                                if x.slot(k)[e] > 0.0 {
                                    back[k][e] += share * g.slot(k)[window.place];
                                }
                            }
                        }
                    }
                    let worst = |operand: &Operand<T>, len: usize, k: usize| {
                        (0..len)
                            .map(|e| formed::<T>(&form, operand, e).1[k])
                            .fold(0.0, f64::max)
                    };
                    let bounds = |operand: &Operand<T>, from: usize, to: usize, covers: f64| {
                        (0..form.slots)
                            .map(|k| vec![covers * (worst(operand, from, k) + slack(k)); to])
                            .collect::<Vec<_>>()
                    };
                    // An element is covered by no more windows than a window has elements.
                    let most = depth.max(1) as f64;
                    let (forward, backward) = (
                        bounds(&x, elements, places, 1.0),
                        bounds(&g, places, elements, most),
                    );
                    for exec in single() {
                        let planes = algebra.planes(kind);
                        let arithmetic = &algebra.arithmetic;
                        let check =
                            |expected: &[Vec<f64>], bounds: &[Vec<f64>], result: &Guarded<T>| {
                                result.intact().expect("nothing else was written");
                                let found = form.decrypt_planes(&result.planes());
                                compare(expected, &found, bounds).unwrap_or_else(|error| {
                                    panic!(
                                        "{} {} {exec:?} {shape:?} {pool:?}: {error}",
                                        algebra.name,
                                        T::NAME
                                    )
                                });
                                found
                            };
                        let mut y = Guarded::poisoned(planes, places, 3);
                        let to = &mut y.view_mut();
                        rectified_pool(&exec, arithmetic, &shape, pool, x.view(), to)
                            .expect("they fit");
                        let found = check(&mean, &forward, &y);
                        if places > 0 {
                            // The comparison has to see a result that is off by four bounds.
                            let mut wrong = found;
                            wrong[0][0] = mean[0][0] + 4.0 * forward[0][0];
                            compare(&mean, &wrong, &forward).expect_err("it is wrong");
                        }
                        let mut dx = Guarded::poisoned(planes, elements, 1);
                        let (x, g, to) = (x.view(), g.view(), &mut dx.view_mut());
                        rectified_pool_gradient(&exec, arithmetic, &shape, pool, x, g, to)
                            .expect("they fit");
                        check(&back, &backward, &dx);
                    }
                }
            }
        }
    }
}

#[test]
fn averages_f32() {
    everywhere::<f32>();
}

#[test]
fn averages_f64() {
    everywhere::<f64>();
}

#[test]
fn refusals() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    let shape = shape(3, 2, [4, 4], [2, 2]);
    let exec = single().pop().expect("an instruction set");
    let (x, g) = (
        Guarded::<f32>::poisoned(2, 96, 0),
        Guarded::poisoned(2, 24, 0),
    );
    let arithmetic = &algebra.arithmetic;
    let mut y = Guarded::poisoned(2, 24, 0);
    let maximum = rectified_pool(
        &exec,
        arithmetic,
        &shape,
        Pool::Max,
        x.view(),
        &mut y.view_mut(),
    );
    assert!(matches!(maximum, Err(KernelError::Shape { .. })));
    let mut short = Guarded::poisoned(2, 23, 0);
    let outcome = rectified_pool(
        &exec,
        arithmetic,
        &shape,
        Pool::Average,
        x.view(),
        &mut short.view_mut(),
    );
    let message = outcome.expect_err("an element is missing").to_string();
    assert!(
        message.contains("output") && message.contains("24"),
        "{message}"
    );
    let mut dx = Guarded::poisoned(2, 95, 0);
    let (x, g, to) = (x.view(), g.view(), &mut dx.view_mut());
    let outcome = rectified_pool_gradient(&exec, arithmetic, &shape, Pool::Average, x, g, to);
    assert!(
        outcome
            .expect_err("an element is missing")
            .to_string()
            .contains("output")
    );
    for plane in dx.planes() {
        assert!(plane.iter().all(|x| x.is_nan()), "a refused kernel wrote");
    }
}
