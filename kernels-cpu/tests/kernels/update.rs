//! Optimiser steps against f64, several in a row, so that the velocity is used too.

use crate::support::{
    Algebra, Guarded, Kind, LENGTHS, Noise, Operand, Tolerance, each_element, execs_for, joined,
    read, same_bits, single, split_error, verify, written,
};
use furthermore_kernels_cpu::update::{Adam, adam, clip, sgd};
use furthermore_kernels_cpu::{Element, Exec, Isa, KernelError};

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
    (rate, momentum, decay): (f64, f64, f64),
    e: usize,
) -> Expected {
    let sizes =
        |operand: &Operand<T>| -> Vec<f64> { operand.sizes.iter().map(|plane| plane[e]).collect() };
    // What is stored is off by one rounding; a step rounds the weight, the product and the sum, and
    // the decay's too.
    let stored = Tolerance::roundings::<T>(1).plus(form.defect);
    let rounded = Tolerance::roundings::<T>(6);
    let (mut v, mut w) = (vec![0.0; form.slots], start.element(e, form.slots));
    // Sizes and errors of each coordinate of velocity and parameter.
    let (mut v_size, mut w_size) = (vec![0.0; form.dim], sizes(start));
    let mut v_off = vec![0.0; form.dim];
    let mut w_off: Vec<f64> = w_size.iter().map(|&size| stored.of(size)).collect();
    for gradient in gradients {
        let g = gradient.element(e, form.slots);
        for k in 0..form.slots {
            v[k] = momentum * v[k] + g[k] + decay * w[k];
            w[k] -= rate * v[k];
        }
        for (p, g) in sizes(gradient).into_iter().enumerate() {
            v_size[p] = momentum * v_size[p] + g + decay * w_size[p];
            let decayed = stored.of(g) + decay * w_off[p];
            v_off[p] = momentum * v_off[p] + decayed + rounded.of(v_size[p] + v_off[p]);
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
                for rates in [(0.1, 0.9, 0.0), (1.5, 0.0, 0.0), (0.2, 0.5, 0.25)] {
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
                                rates.2,
                                gradient.view(),
                                &mut parameter.view_mut(),
                                Some((rates.1, &mut velocity.view_mut())),
                            )
                            .expect("the operands fit");
                        }
                        for (what, c, bounded) in [
                            ("velocity", &velocity, (&v[..], &v_bounds[..])),
                            ("parameter", &parameter, (&w[..], &w_bounds[..])),
                        ] {
                            verify(&form, c, bounded).unwrap_or_else(|error| {
                                let name = &algebra.name;
                                panic!("{name} {kind:?} {} {len} {exec:?} {what}: {error}", T::NAME)
                            });
                        }
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
                    0.0,
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
                0.01,
                gradient.view(),
                &mut parameter.view_mut(),
                Some((0.9, &mut velocity.view_mut())),
            )
            .expect("the operands fit");
            let mut root = velocity.clone();
            let (arithmetic, exec) = (&compact.arithmetic, Exec { isa, threads });
            let (m, u) = (&mut velocity.view_mut(), &mut root.view_mut());
            let w = &mut parameter.view_mut();
            adam(&exec, arithmetic, &ADAM, 3, gradient.view(), w, m, u).expect("they fit");
            let mut clipped = gradient.clone();
            clip(&exec, arithmetic, 0.5, &mut clipped.view_mut()).expect("it fits");
            [velocity, parameter, root, clipped]
                .map(|c| c.planes().concat())
                .concat()
        };
        let one = run(1);
        for threads in [2, 3, 5, 64] {
            assert!(same_bits(&one, &run(threads)), "{isa} {threads}");
        }
    }
}

/// PyTorch's defaults but for epsilon, and with weight decay.
const ADAM: Adam = Adam {
    learning_rate: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-6,
    weight_decay: 0.01,
};

/// What an Adam step reads: gradient, parameter, first moment and root of the second.
struct State<T> {
    g: Operand<T>,
    w: Operand<T>,
    m: Operand<T>,
    u: Operand<T>,
}

/// Value and error of each slot of an element.
type Slots = (Vec<f64>, Vec<f64>);

/// A step in f64 for element `e`: first moment, root and parameter, each with its slots' errors.
fn adam_step<T: Element>(
    form: &Algebra,
    options: &Adam,
    step: i32,
    state: &State<T>,
    e: usize,
) -> [Slots; 3] {
    let Adam {
        learning_rate,
        beta1,
        beta2,
        epsilon,
        weight_decay,
    } = *options;
    let sizes =
        |operand: &Operand<T>| -> Vec<f64> { operand.sizes.iter().map(|plane| plane[e]).collect() };
    let slots = |operand: &Operand<T>| operand.element(e, form.slots);
    let stored = Tolerance::roundings::<T>(1).plus(form.defect);
    let rounded = Tolerance::roundings::<T>(4);
    // Coordinates are stepped first, so their errors are tracked by coordinate.
    let (gs, ws, ms, us) = (
        sizes(&state.g),
        sizes(&state.w),
        sizes(&state.m),
        sizes(&state.u),
    );
    let mut errors = [gs.clone(), gs.clone(), us.clone(), ws.clone()];
    for p in 0..form.dim {
        let g_size = gs[p] + weight_decay * ws[p];
        let m_size = beta1 * ms[p] + (1.0 - beta1) * g_size;
        errors[0][p] = stored.of(g_size) + rounded.of(g_size);
        errors[1][p] = stored.of(m_size) + rounded.of(m_size) + (1.0 - beta1) * errors[0][p];
        errors[2][p] = stored.of(us[p]);
        errors[3][p] = stored.of(ws[p]);
    }
    let offs = |which: usize| form.slot_errors(&errors[which]);
    let (g, w, m, u) = (
        slots(&state.g),
        slots(&state.w),
        slots(&state.m),
        slots(&state.u),
    );
    let g: Vec<f64> = (0..form.slots)
        .map(|k| g[k] + weight_decay * w[k])
        .collect();
    let m: Vec<f64> = (0..form.slots)
        .map(|k| beta1 * m[k] + (1.0 - beta1) * g[k])
        .collect();
    let split = |slots: &[f64], which: usize| split_error::<T>(form, slots, &errors[which]);
    let (g_split, m_split, u_split) = (split(&g, 0), split(&m, 1), split(&u, 2));
    let correction = |beta: f64| 1.0 - beta.powi(step);
    let rate = learning_rate / correction(beta1);
    let (mut root, mut root_off) = (Vec::new(), Vec::new());
    let (mut moved, mut moved_off) = (Vec::new(), Vec::new());
    for k in 0..form.slots {
        let next = (beta2 * u[k] * u[k] + (1.0 - beta2) * g[k] * g[k]).sqrt();
        // The root is the length of a vector, and changes by no more than its parts.
        let off =
            beta2.sqrt() * (offs(2)[k] + u_split) + (1.0 - beta2).sqrt() * (offs(0)[k] + g_split);
        let off = off + Tolerance::roundings::<T>(8).of(next + off);
        let root_scale = 1.0 / correction(beta2).sqrt();
        let below = next * root_scale + epsilon;
        let below_off = root_scale * off + rounded.of(below + off);
        let step = m[k] / below;
        let step_off = (offs(1)[k] + m_split + step.abs() * below_off) / (below - below_off);
        moved.push(step);
        moved_off.push(step_off + rounded.of(step.abs() + step_off));
        root.push(next);
        root_off.push(off);
    }
    let reach = |x: &[f64], off: &[f64]| -> Vec<f64> {
        x.iter().zip(off).map(|(x, off)| x.abs() + off).collect()
    };
    let moved_join = joined::<T>(form, &reach(&moved, &moved_off));
    let root_join = joined::<T>(form, &reach(&root, &root_off));
    let step_sizes = form.join_sizes(&reach(&moved, &moved_off));
    let coordinates: Vec<f64> = (0..form.dim)
        .map(|p| errors[3][p] + rounded.of(ws[p] + rate * step_sizes[p]))
        .collect();
    let w_off = form.slot_errors(&coordinates);
    let all = 0..form.slots;
    let stepped = all.clone().map(|k| w[k] - rate * moved[k]).collect();
    let stepped_off = all
        .clone()
        .map(|k| w_off[k] + rate * (moved_off[k] + moved_join[k]));
    let stepped_off = stepped_off.collect();
    let root_off = all.map(|k| root_off[k] + root_join[k]).collect();
    [(m, offs(1)), (root, root_off), (stepped, stepped_off)]
}

/// One step from any state, held to bounds from the roundings that happen.
fn adam_steps<T: Element>() {
    let mut noise = Noise::new(3);
    for len in LENGTHS {
        let algebras = if len < 2000 {
            Algebra::all()
        } else {
            vec![Algebra::real(), Algebra::compact2([0.75, -0.5])]
        };
        for algebra in algebras {
            for &kind in algebra.kinds() {
                let form = algebra.of_kind(kind);
                for (step, weight_decay) in [(1, 0.0), (7, 0.25)] {
                    let options = Adam {
                        weight_decay,
                        ..ADAM
                    };
                    let mut draw = |low, high| {
                        Operand::<T>::drawn(&algebra, kind, || noise.slots(len, low, high))
                    };
                    let state = State {
                        g: draw(-1.0, 1.0),
                        w: draw(-1.0, 1.0),
                        m: draw(-0.5, 0.5),
                        u: draw(0.01, 0.5),
                    };
                    let expected = [0, 1, 2].map(|which| {
                        each_element(form.slots, len, |e| {
                            adam_step(&form, &options, step, &state, e)[which].clone()
                        })
                    });
                    for exec in execs_for(len) {
                        let mut w = state.w.buffer.clone();
                        let (mut m, mut u) = (state.m.buffer.clone(), state.u.buffer.clone());
                        let finite = adam(
                            &exec,
                            &algebra.arithmetic,
                            &options,
                            step as u64,
                            state.g.view(),
                            &mut w.view_mut(),
                            &mut m.view_mut(),
                            &mut u.view_mut(),
                        );
                        assert_eq!(finite, Ok(true));
                        for (nth, c) in [m, u, w].iter().enumerate() {
                            let (values, bounds) = &expected[nth];
                            verify(&form, c, (values, bounds)).unwrap_or_else(|error| {
                                let what = ["first moment", "root", "parameter"][nth];
                                let name = &algebra.name;
                                panic!("{name} {kind:?} {} {len} {exec:?} {what}: {error}", T::NAME)
                            });
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn adam_steps_f32() {
    adam_steps::<f32>();
}

#[test]
fn adam_steps_f64() {
    adam_steps::<f64>();
}

/// Fifty steps from zero moments follow PyTorch's Adam, which keeps the second moment itself, in
/// every slot by itself; slots of other sizes and with gradients of zero among them.
#[test]
fn adam_is_adam_in_every_slot() {
    const LEN: usize = 23;
    let mut noise = Noise::new(4);
    for algebra in Algebra::all() {
        let kind = algebra.kinds()[algebra.kinds().len() - 1];
        let start = Operand::<f64>::drawn(&algebra, kind, || noise.slots(LEN, -1.0, 1.0));
        let gradients: Vec<_> = (0..50)
            .map(|_| Operand::<f64>::drawn(&algebra, kind, || noise.slots(LEN, -1.0, 1.0)))
            .collect();
        let mut expected = start.slots.clone();
        for (k, slot) in expected.iter_mut().enumerate() {
            for (e, w) in slot.iter_mut().enumerate() {
                let (mut m, mut v) = (0.0, 0.0);
                for (t, gradient) in (1..).zip(&gradients) {
                    let g = gradient.slot(k)[e] + ADAM.weight_decay * *w;
                    m = ADAM.beta1 * m + (1.0 - ADAM.beta1) * g;
                    v = ADAM.beta2 * v + (1.0 - ADAM.beta2) * g * g;
                    let m_hat = m / (1.0 - ADAM.beta1.powi(t));
                    let v_hat = v / (1.0 - ADAM.beta2.powi(t));
                    *w -= ADAM.learning_rate * m_hat / (v_hat.sqrt() + ADAM.epsilon);
                }
            }
        }
        for exec in single() {
            let zeros = vec![vec![0.0; LEN]; algebra.dim];
            let mut w = start.buffer.clone();
            let (mut m, mut u) = (Guarded::filled(&zeros, 1), Guarded::filled(&zeros, 1));
            for (step, gradient) in (1..).zip(&gradients) {
                let (w, m, u) = (&mut w.view_mut(), &mut m.view_mut(), &mut u.view_mut());
                adam(
                    &exec,
                    &algebra.arithmetic,
                    &ADAM,
                    step,
                    gradient.view(),
                    w,
                    m,
                    u,
                )
                .expect("they fit");
            }
            // Each of fifty steps moves by at most some thousandths and is off by some 1e-13 of that
            // at the gradients of 1e-2 and more that decide the roots here.
            let bounds = vec![vec![1e-12; LEN]; algebra.slots];
            verify(&algebra, &w, (&expected, &bounds))
                .unwrap_or_else(|error| panic!("{} {exec:?}: {error}", algebra.name));
        }
    }
}

/// Numbers that are not finite, and squares past the largest number, are seen in every lane.
#[test]
fn spoilt_steps_are_seen() {
    let real = Algebra::real();
    for exec in single() {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            for at in 0..19 {
                let mut g = Guarded::filled(&[vec![0.5f32; 19]], 0);
                g.view_mut().plane_mut(0)[at] = odd;
                let make = || Guarded::filled(&[vec![0.25f32; 19]], 0);
                let (mut w, mut m, mut u) = (make(), make(), make());
                let (w, m, u) = (&mut w.view_mut(), &mut m.view_mut(), &mut u.view_mut());
                let finite = adam(&exec, &real.arithmetic, &ADAM, 1, g.view(), w, m, u);
                assert_eq!(finite, Ok(false), "{odd} at {at} {exec:?}");
                let finite = sgd(&exec, 1.0, 0.0, g.view(), w, None);
                assert_eq!(finite, Ok(odd == 1e30), "{odd} at {at} {exec:?}");
                let finite = clip(&exec, &real.arithmetic, 2.0, &mut g.view_mut());
                assert_eq!(finite, Ok(!odd.is_nan()), "{odd} at {at} {exec:?}");
                if !odd.is_nan() {
                    assert_eq!(g.planes()[0][at], 2.0f32.copysign(odd), "{exec:?}");
                }
            }
        }
    }
}

/// Slots within the limit stay, others become it, each by itself.
fn clips<T: Element>() {
    let mut noise = Noise::new(5);
    for len in LENGTHS {
        for algebra in Algebra::all() {
            if len > 2000 && algebra.dim > 2 {
                continue;
            }
            for &kind in algebra.kinds() {
                let form = algebra.of_kind(kind);
                let g = Operand::<T>::drawn(&algebra, kind, || noise.slots(len, -3.0, 3.0));
                let mut slots = read(&form, &g);
                for x in slots.iter_mut().flatten() {
                    x.0 = x.0.clamp(-1.25, 1.25);
                }
                let (expected, bounds) = written::<T>(&form, &slots);
                for exec in execs_for(len) {
                    let mut clipped = g.buffer.clone();
                    let to = &mut clipped.view_mut();
                    let finite = clip(&exec, &algebra.arithmetic, 1.25, to);
                    assert_eq!(finite, Ok(true));
                    verify(&form, &clipped, (&expected, &bounds)).unwrap_or_else(|error| {
                        panic!("{} {kind:?} {len} {exec:?}: {error}", algebra.name)
                    });
                }
            }
        }
    }
}

#[test]
fn clips_f32() {
    clips::<f32>();
}

#[test]
fn clips_f64() {
    clips::<f64>();
}

/// Numbers that no step can be made with are refused by name, before anything is written.
#[test]
fn refused_numbers() {
    let real = Algebra::real();
    let exec = Exec {
        isa: Isa::PORTABLE,
        threads: 1,
    };
    let refused = |options: Adam, step: u64, name: &str| {
        let g = Guarded::filled(&[vec![1.0f32; 3]], 0);
        let make = || Guarded::<f32>::poisoned(1, 3, 0);
        let (mut w, mut m, mut u) = (make(), make(), make());
        let error = adam(
            &exec,
            &real.arithmetic,
            &options,
            step,
            g.view(),
            &mut w.view_mut(),
            &mut m.view_mut(),
            &mut u.view_mut(),
        )
        .expect_err("no step can be made");
        let is = matches!(&error, KernelError::Parameter { kernel: "update", parameter, .. } if *parameter == name);
        assert!(is, "{error}");
        assert!(error.to_string().contains(name), "{error}");
        let all = [w, m, u].map(|c| c.planes().concat()).concat();
        assert!(all.iter().all(|x| x.is_nan()), "a refused step wrote");
    };
    refused(ADAM, 0, "step");
    for beta in [-0.1, 1.0, f64::NAN] {
        refused(
            Adam {
                beta1: beta,
                ..ADAM
            },
            1,
            "beta1",
        );
        refused(
            Adam {
                beta2: beta,
                ..ADAM
            },
            1,
            "beta2",
        );
    }
    for epsilon in [0.0, 9e-7, -1.0, f64::NAN] {
        refused(Adam { epsilon, ..ADAM }, 1, "epsilon");
    }
    for limit in [0.0, -1.0, f64::NAN] {
        let mut g = Guarded::filled(&[vec![5.0f32; 3]], 0);
        let outcome = clip(&exec, &real.arithmetic, limit, &mut g.view_mut());
        let error = outcome.expect_err("there is no such limit").to_string();
        assert!(
            error.contains("limit") && error.contains("above 0"),
            "{error}"
        );
        assert_eq!(g.planes()[0], [5.0; 3]);
    }
}
