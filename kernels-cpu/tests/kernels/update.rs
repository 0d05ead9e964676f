//! Optimiser steps against f64, several in a row, so that the velocity is used too.

use crate::support::{
    Algebra, Guarded, Kind, LENGTHS, Noise, Operand, Tolerance, compare, each_element, execs_for,
    same_bits,
};
use furthermore_kernels_cpu::update::sgd;
use furthermore_kernels_cpu::{Element, Exec, Isa};

const STEPS: usize = 3;

/// Velocity and parameter of each slot after the steps, and the coordinates' errors.
struct Expected {
    velocity: (Vec<f64>, Vec<f64>),
    parameter: (Vec<f64>, Vec<f64>),
}

/// The steps in f64 for element `e`. Errors are tracked by coordinate, because planes are stepped
/// one by one.
fn steps<T: Element>(
    form: &Algebra,
    gradients: &[Operand<T>],
    start: &Operand<T>,
    (rate, momentum): (f64, f64),
    e: usize,
) -> Expected {
    let sizes =
        |operand: &Operand<T>| -> Vec<f64> { operand.sizes.iter().map(|plane| plane[e]).collect() };
    // What is stored is off by one rounding; a step rounds the weight, the product and the sum.
    let stored = Tolerance::roundings::<T>(1).plus(form.defect);
    let rounded = Tolerance::roundings::<T>(3);
    let (mut v, mut w) = (vec![0.0; form.slots], start.element(e, form.slots));
    // Sizes and errors of each coordinate of velocity and parameter.
    let (mut v_size, mut w_size) = (vec![0.0; form.dim], sizes(start));
    let mut v_off = vec![0.0; form.dim];
    let mut w_off: Vec<f64> = w_size.iter().map(|&size| stored.of(size)).collect();
    for gradient in gradients {
        let g = gradient.element(e, form.slots);
        for k in 0..form.slots {
            v[k] = momentum * v[k] + g[k];
            w[k] -= rate * v[k];
        }
        for (p, g) in sizes(gradient).into_iter().enumerate() {
            v_size[p] = momentum * v_size[p] + g;
            v_off[p] = momentum * v_off[p] + stored.of(g) + rounded.of(v_size[p] + v_off[p]);
            w_size[p] += rate * v_size[p];
            w_off[p] += rate * v_off[p] + rounded.of(w_size[p] + w_off[p]);
        }
    }
    Expected {
        velocity: (v, form.slot_errors(&v_off)),
        parameter: (w, form.slot_errors(&w_off)),
    }
}

fn sgd_steps<T: Element>() {
    let mut noise = Noise::new(1);
    for len in LENGTHS {
        let algebras = if len < 2000 {
            Algebra::all()
        } else {
            vec![Algebra::real(), Algebra::compact2([0.75, -0.5])]
        };
        for algebra in algebras {
            for &kind in algebra.kinds() {
                let form = algebra.of_kind(kind);
                let mut draw =
                    || Operand::<T>::drawn(&algebra, kind, || noise.slots(len, -1.0, 1.0));
                let start = draw();
                let gradients: Vec<_> = (0..STEPS).map(|_| draw()).collect();
                for rates in [(0.1, 0.9), (1.5, 0.0)] {
                    let expect = |e| steps(&form, &gradients, &start, rates, e);
                    let (v, v_bounds) = each_element(form.slots, len, |e| expect(e).velocity);
                    let (w, w_bounds) = each_element(form.slots, len, |e| expect(e).parameter);
                    for exec in execs_for(len) {
                        let zeros = vec![vec![T::zero(); len]; form.dim];
                        let mut velocity = Guarded::filled(&zeros, 2);
                        let mut parameter = start.buffer.clone();
                        for gradient in &gradients {
                            sgd(
                                &exec,
                                rates.0,
                                gradient.view(),
                                &mut parameter.view_mut(),
                                Some((rates.1, &mut velocity.view_mut())),
                            )
                            .expect("the operands fit");
                        }
                        let outcome = velocity
                            .intact()
                            .and_then(|()| parameter.intact())
                            .and_then(|()| {
                                let found = form.decrypt_planes(&velocity.planes());
                                compare(&v, &found, &v_bounds).map_err(|e| format!("velocity: {e}"))
                            })
                            .and_then(|_| {
                                let found = form.decrypt_planes(&parameter.planes());
                                compare(&w, &found, &w_bounds)
                                    .map_err(|e| format!("parameter: {e}"))
                            });
                        outcome.unwrap_or_else(|error| {
                            let name = &algebra.name;
                            panic!("{name} {kind:?} {} {len} {exec:?}: {error}", T::NAME)
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn sgd_steps_f32() {
    sgd_steps::<f32>();
}

#[test]
fn sgd_steps_f64() {
    sgd_steps::<f64>();
}

/// A rate of zero moves no parameter, whatever the velocity; a gradient of zero keeps moving it.
#[test]
fn zero_rate_and_zero_gradient() {
    for exec in execs_for(19) {
        let gradient = Guarded::filled(&[vec![2.0f32; 19]], 0);
        let mut velocity = Guarded::filled(&[vec![1.0f32; 19]], 0);
        let mut parameter = Guarded::filled(&[vec![5.0f32; 19]], 0);
        let step =
            |rate, momentum, g: &Guarded<f32>, v: &mut Guarded<f32>, w: &mut Guarded<f32>| {
                sgd(
                    &exec,
                    rate,
                    g.view(),
                    &mut w.view_mut(),
                    Some((momentum, &mut v.view_mut())),
                )
                .expect("the operands fit");
            };
        step(0.0, 0.5, &gradient, &mut velocity, &mut parameter);
        assert_eq!(velocity.planes()[0], [2.5; 19], "{exec:?}");
        assert_eq!(parameter.planes()[0], [5.0; 19], "{exec:?}");
        let gradient = Guarded::filled(&[vec![0.0f32; 19]], 0);
        step(2.0, 0.5, &gradient, &mut velocity, &mut parameter);
        assert_eq!(velocity.planes()[0], [1.25; 19], "{exec:?}");
        assert_eq!(parameter.planes()[0], [2.5; 19], "{exec:?}");
    }
}

/// Every element is stepped by itself, so the cut does not show in the bits.
#[test]
fn same_bits_for_any_cut() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let mut noise = Noise::new(2);
    let len = 40_007;
    let mut draw =
        || Operand::<f32>::drawn(&compact, Kind::Cipher, || noise.slots(len, -1.0, 1.0)).buffer;
    let (gradient, start, velocity) = (draw(), draw(), draw());
    for isa in Isa::available() {
        let run = |threads| {
            let (mut velocity, mut parameter) = (velocity.clone(), start.clone());
            sgd(
                &Exec { isa, threads },
                0.1,
                gradient.view(),
                &mut parameter.view_mut(),
                Some((0.9, &mut velocity.view_mut())),
            )
            .expect("the operands fit");
            [velocity.planes().concat(), parameter.planes().concat()].concat()
        };
        let one = run(1);
        for threads in [2, 3, 5, 64] {
            assert!(same_bits(&one, &run(threads)), "{isa} {threads}");
        }
    }
}
