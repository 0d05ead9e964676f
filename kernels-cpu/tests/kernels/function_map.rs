//! Functions of a tensor and their derivatives, slot by slot against f64 formulas.

use crate::support::{
    Algebra, Guarded, Kind, LENGTHS, Noise, Operand, compare, derivative, each_element, evaluated,
    execs_for, formed, joined, mapped, same_bits, single, stored, value,
};
use furthermore_kernels_cpu::function_map::{
    Function, Saved, function_map, function_map_gradient, function_map_in_place,
};
use furthermore_kernels_cpu::{Element, Exec, Isa, Planes, PlanesMut};

/// The algebras to test at that length: three of them, one for each way of forming slots, where a
/// length is large.
fn algebras(len: usize) -> Vec<Algebra> {
    if len < 2000 {
        Algebra::all()
    } else {
        vec![
            Algebra::real(),
            Algebra::compact2([0.75, -0.5]),
            Algebra::compact(3),
        ]
    }
}

/// The functions to test at that length: where it is large, one applied in registers and two that go
/// through a strip, of which one is infinite in the lanes past the end.
fn functions(len: usize) -> Vec<Function> {
    if len < 2000 {
        Function::ALL.to_vec()
    } else {
        vec![Function::Relu, Function::Tanh, Function::Ln]
    }
}

/// Slots in the function's domain, and off its jumps, where any value is right after rounding.
fn arguments(function: Function, len: usize, noise: &mut Noise) -> Vec<f64> {
    match function {
        Function::Ln | Function::Sqrt | Function::Inverse => noise.slots(len, 0.25, 3.0),
        Function::Sign => noise.away_from_zero(len, 0.05),
        _ => noise.slots(len, -3.0, 3.0),
    }
}

fn values<T: Element>() {
    let mut noise = Noise::new(1);
    for len in LENGTHS {
        for algebra in algebras(len) {
            for &kind in algebra.kinds() {
                let form = algebra.of_kind(kind);
                for function in functions(len) {
                    let input = Operand::<T>::drawn(&algebra, kind, || {
                        arguments(function, len, &mut noise)
                    });
                    let (expected, bounds) = each_element(form.slots, len, |e| {
                        let slots = input.element(e, form.slots);
                        mapped::<T>(&form, function, &slots, &stored::<T>(&form, &slots))
                    });
                    for exec in execs_for(len) {
                        let context = || {
                            let (name, function) = (&algebra.name, function.name());
                            format!("{name} {kind:?} {} {function} {len} {exec:?}", T::NAME)
                        };
                        let mut output = Guarded::poisoned(form.dim, len, 7);
                        let seen = function_map(
                            &exec,
                            &algebra.arithmetic,
                            function,
                            input.view(),
                            &mut output.view_mut(),
                        )
                        .expect("the operands fit");
                        output
                            .intact()
                            .unwrap_or_else(|e| panic!("{}: {e}", context()));
                        assert!(seen.finite() && seen.max_abs().len() == form.slots);
                        let mut found = form.decrypt_planes(&output.planes());
                        compare(&expected, &found, &bounds)
                            .unwrap_or_else(|e| panic!("{}: {e}", context()));
                        // One value out of its bound is seen.
                        if len > 0 {
                            found[form.slots - 1][len - 1] += 3.0 * bounds[form.slots - 1][len - 1];
                            assert!(compare(&expected, &found, &bounds).is_err());
                        }

                        let mut values = input.buffer.clone();
                        let again = function_map_in_place(
                            &exec,
                            &algebra.arithmetic,
                            function,
                            &mut values.view_mut(),
                        )
                        .expect("the operand fits");
                        values
                            .intact()
                            .unwrap_or_else(|e| panic!("{}: {e}", context()));
                        assert_eq!(seen, again, "{}", context());
                        for (x, y) in output.planes().into_iter().zip(values.planes()) {
                            assert!(same_bits(x, y), "in place differs: {}", context());
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn values_f32() {
    values::<f32>();
}

#[test]
fn values_f64() {
    values::<f64>();
}

/// `f'(x) g` from what was saved, with the error bound of one slot: `saved` and `g` are off by at
/// most these errors.
fn gradient_oracle<T: Element>(
    function: Function,
    x: f64,
    (saved, saved_error): (f64, f64),
    (g, g_error): (f64, f64),
) -> (f64, f64) {
    let slope = derivative(function, x);
    let most = saved.abs() + saved_error;
    let least = saved.abs() - saved_error;
    // How the rule's result depends on what was saved, and the size of what is rounded in it.
    let (by_saved, size) = match function {
        // A step is exact. The oracle's arguments keep their distance from its place.
        Function::Abs
        | Function::Sign
        | Function::Relu
        | Function::LeakyRelu { .. }
        | Function::HardSigmoid { .. } => (0.0, slope.abs()),
        Function::Exp | Function::Sigmoid => (1.0, saved.abs()),
        Function::Tanh => (2.0 * most, (1.0 + saved.abs()).powi(2)),
        Function::Sqrt => (0.5 / (least * least), slope),
        Function::Inverse => (2.0 * most, slope.abs()),
        Function::Ln => (1.0 / (least * least), slope),
        Function::Square => (2.0, 2.0 * saved.abs()),
        // No second derivative of these passes 1 in magnitude, and no slope 1.13.
        Function::Elu { .. }
        | Function::Softplus
        | Function::Gelu
        | Function::GeluTanh
        | Function::Erf
        | Function::Silu => (1.0, 1.13 + x.abs()),
    };
    let reach = g.abs() + g_error;
    let rounded = evaluated::<T>().of(size) * reach;
    let error = by_saved * saved_error * reach + slope.abs() * g_error + rounded;
    (slope * g, error)
}

/// Arguments off every kink, where either derivative is right after rounding.
fn smooth_arguments(function: Function, len: usize, noise: &mut Noise) -> Vec<f64> {
    match function {
        Function::Ln | Function::Sqrt | Function::Inverse => noise.slots(len, 0.25, 3.0),
        _ => noise.away_from_zero(len, 0.05),
    }
}

fn gradients<T: Element>() {
    let mut noise = Noise::new(2);
    for len in LENGTHS {
        for algebra in algebras(len) {
            for &kind in algebra.kinds() {
                let form = algebra.of_kind(kind);
                let incoming = Operand::<T>::drawn(&algebra, kind, || noise.slots(len, -1.0, 1.0));
                for function in functions(len) {
                    let input = Operand::<T>::drawn(&algebra, kind, || {
                        smooth_arguments(function, len, &mut noise)
                    });
                    let saved = match function.saved() {
                        Saved::Input => input.clone(),
                        Saved::Output => {
                            let mut slots = input.slots.clone();
                            for x in slots.iter_mut().flatten() {
                                *x = value(function, *x);
                            }
                            Operand::new(&algebra, kind, slots)
                        }
                    };
                    let (expected, bounds) = each_element(form.slots, len, |e| {
                        let (saved, saved_errors) = formed(&form, &saved, e);
                        let (g, g_errors) = formed(&form, &incoming, e);
                        let x = input.element(e, form.slots);
                        let (values, errors): (Vec<f64>, Vec<f64>) = (0..form.slots)
                            .map(|k| {
                                let saved = (saved[k], saved_errors[k]);
                                gradient_oracle::<T>(function, x[k], saved, (g[k], g_errors[k]))
                            })
                            .unzip();
                        let reached = values.iter().zip(&errors).map(|(v, e)| v.abs() + e);
                        let joined = joined::<T>(&form, &reached.collect::<Vec<f64>>());
                        let bounds = joined.iter().zip(errors).map(|(j, e)| j + e);
                        (values, bounds.collect())
                    });
                    for exec in execs_for(len) {
                        let context = || {
                            let (name, function) = (&algebra.name, function.name());
                            format!("{name} {kind:?} {} {function}' {len} {exec:?}", T::NAME)
                        };
                        let mut gradient = incoming.buffer.clone();
                        let seen = function_map_gradient(
                            &exec,
                            &algebra.arithmetic,
                            function,
                            saved.view(),
                            &mut gradient.view_mut(),
                        )
                        .expect("the operands fit");
                        gradient
                            .intact()
                            .unwrap_or_else(|e| panic!("{}: {e}", context()));
                        assert!(seen.finite() && seen.max_abs().len() == form.slots);
                        let found = form.decrypt_planes(&gradient.planes());
                        compare(&expected, &found, &bounds)
                            .unwrap_or_else(|e| panic!("{}: {e}", context()));
                    }
                }
            }
        }
    }
}

#[test]
fn gradients_f32() {
    gradients::<f32>();
}

#[test]
fn gradients_f64() {
    gradients::<f64>();
}

/// A plaintext's values, and its gradients for incoming ones, from what the function saves.
fn plain<T: Element>(exec: &Exec, function: Function, x: &[T]) -> (Vec<T>, Vec<T>) {
    let real = Algebra::real();
    let (mut values, mut gradients) = (x.to_vec(), vec![T::one(); x.len()]);
    let mut to = PlanesMut::plain(&mut values);
    function_map_in_place(exec, &real.arithmetic, function, &mut to).expect("the operand fits");
    let saved = match function.saved() {
        Saved::Input => x,
        Saved::Output => &values[..],
    };
    let mut to = PlanesMut::plain(&mut gradients);
    function_map_gradient(
        exec,
        &real.arithmetic,
        function,
        Planes::plain(saved),
        &mut to,
    )
    .expect("the operands fit");
    (values, gradients)
}

/// A gradient is the slope of the values: no formula of a derivative in this.
#[test]
fn gradients_are_slopes_of_the_values() {
    let step = 1e-5;
    let mut noise = Noise::new(5);
    for exec in single() {
        for function in Function::ALL {
            let x = smooth_arguments(function, 101, &mut noise);
            let at = |by: f64| {
                let moved: Vec<f64> = x.iter().map(|x| x + by).collect();
                plain(&exec, function, &moved)
            };
            let ((high, _), (low, _), (_, slopes)) = (at(step), at(-step), at(0.0));
            for i in 0..x.len() {
                let expected = (high[i] - low[i]) / (2.0 * step);
                // The third derivative of 1 / x at 0.25 is 1536, a sixth of which meets the step's
                // square; and values are off by some 1e-15.
                let error = (slopes[i] - expected).abs();
                let name = function.name();
                assert!(error < 1e-7, "{name}'({}) {exec:?}: {error:e}", x[i]);
            }
        }
    }
}

/// At kinks and edges a derivative is what PyTorch has there, on whole vectors and past them.
#[test]
fn derivatives_at_kinks() {
    let (leaky, elu) = (
        Function::LeakyRelu { slope: 0.25 },
        Function::Elu { alpha: 2.0 },
    );
    let hard = Function::HardSigmoid {
        alpha: 0.25,
        beta: 0.5,
    };
    let tiny = f32::MIN_POSITIVE;
    let cases = [
        (Function::Abs, 0.0, 0.0),
        (Function::Abs, -tiny, -1.0),
        (Function::Sign, 0.0, 0.0),
        (Function::Sign, 3.0, 0.0),
        (Function::Relu, 0.0, 0.0),
        (Function::Relu, -1.0, 0.0),
        (Function::Relu, tiny, 1.0),
        (leaky, 0.0, 0.25),
        (leaky, tiny, 1.0),
        (elu, 0.0, 2.0),
        (elu, tiny, 1.0),
        (elu, 200.0, 1.0),
        (hard, -2.0, 0.0),
        (hard, 2.0, 0.0),
        (hard, 3.0, 0.0),
        (hard, 1.5, 0.25),
        (hard, 0.0, 0.25),
        (Function::Sqrt, 0.0, f32::INFINITY),
        (Function::Inverse, 0.0, f32::NEG_INFINITY),
        (Function::Ln, 0.0, f32::INFINITY),
        (Function::Softplus, 200.0, 1.0),
        (Function::Softplus, -200.0, 0.0),
        (Function::Gelu, -1e20, 0.0),
        (Function::Gelu, 1e20, 1.0),
        (Function::GeluTanh, -1e20, 0.0),
        (Function::GeluTanh, 1e20, 1.0),
        (Function::Silu, -1e20, 0.0),
        (Function::Silu, 1e20, 1.0),
    ];
    for exec in single() {
        for (function, x, expected) in cases {
            for found in plain(&exec, function, &[x; 19]).1 {
                assert_eq!(found, expected, "{}'({x}) {exec:?}", function.name());
            }
        }
    }
}

/// Values where functions are flat, meet their limits, or would overflow on the way.
#[test]
fn values_at_the_limits() {
    let hard = Function::HardSigmoid {
        alpha: 0.25,
        beta: 0.5,
    };
    let cases = [
        (Function::Sign, -2.0, -1.0),
        (Function::Sign, 0.0, 0.0),
        (Function::Abs, -2.0, 2.0),
        (Function::LeakyRelu { slope: 0.25 }, -2.0, -0.5),
        (Function::Elu { alpha: 2.0 }, -1e30, -2.0),
        (Function::Elu { alpha: 2.0 }, 1e30, 1e30),
        (hard, -2.0, 0.0),
        (hard, -1e30, 0.0),
        (hard, 1.0, 0.75),
        (hard, 2.0, 1.0),
        (hard, 1e30, 1.0),
        (Function::Softplus, 1e30, 1e30),
        (Function::Softplus, -1e30, 0.0),
        (Function::Gelu, 1e30, 1e30),
        (Function::Gelu, -1e30, 0.0),
        (Function::GeluTanh, 1e30, 1e30),
        (Function::GeluTanh, -1e30, 0.0),
        (Function::Silu, 1e30, 1e30),
        (Function::Silu, -1e30, 0.0),
        (Function::Erf, -1e30, -1.0),
        (Function::Inverse, -4.0, -0.25),
        (Function::Exp, 200.0, f32::INFINITY),
    ];
    for exec in single() {
        for (function, x, expected) in cases {
            for found in plain(&exec, function, &[x; 19]).0 {
                assert_eq!(found, expected, "{}({x}) {exec:?}", function.name());
            }
        }
    }
}

/// A finite slot outside a function's domain, wherever it stands and whichever slot it is, shows in
/// what the pass reports; so does an overflow, and an infinite derivative.
#[test]
fn results_that_are_not_finite_are_reported() {
    let cases = [
        (Function::Ln, 0.0),
        (Function::Ln, -1.0),
        (Function::Sqrt, -1.0),
        (Function::Inverse, 0.0),
        (Function::Exp, 200.0),
        (Function::Square, 1e30),
    ];
    let compact = Algebra::compact2([1.0, -1.0]);
    for exec in single() {
        for (function, outside) in cases {
            for len in [1, 2, 7, 16, 19, 33, 130] {
                for at in (0..len).step_by(5).chain([len - 1]) {
                    for slot in 0..2 {
                        let mut slots = vec![vec![0.5; len]; 2];
                        slots[slot][at] = outside;
                        let input = Operand::<f32>::new(&compact, Kind::Cipher, slots);
                        let mut values = input.buffer.clone();
                        let seen = function_map_in_place(
                            &exec,
                            &compact.arithmetic,
                            function,
                            &mut values.view_mut(),
                        )
                        .expect("the operand fits");
                        let name = function.name();
                        assert!(!seen.finite(), "{name} {len} {at} {slot} {exec:?}");
                        assert!(seen.max_abs().iter().all(|x| x.is_finite()));
                    }
                }
            }
        }
        let mut gradient = [1.0f32; 19];
        let mut saved = [1.0; 19];
        saved[17] = 0.0;
        let seen = function_map_gradient(
            &exec,
            &Algebra::real().arithmetic,
            Function::Sqrt,
            Planes::plain(&saved),
            &mut PlanesMut::plain(&mut gradient),
        )
        .expect("the operands fit");
        assert!(!seen.finite() && gradient[17] == f32::INFINITY, "{exec:?}");
    }
}

/// Every function is in the list of all.
#[test]
fn names_are_distinct() {
    let mut names = Function::ALL.map(Function::name).to_vec();
    names.sort_unstable();
    let all = "abs elu erf exp gelu gelu_tanh hard_sigmoid inverse leaky_relu ln relu sigmoid sign \
               silu softplus sqrt square tanh";
    assert_eq!(names.join(" "), all);
}

/// Far from zero a function is at its limit, not past it and not NaN; near zero nothing is lost.
#[test]
fn saturated_and_tiny_arguments() {
    let real = Algebra::real();
    let arguments = [
        -3e38, -1000.0, -104.0, -1e-30, -0.0, 0.0, 1e-30, 104.0, 1000.0, 3e38,
    ];
    let map = |exec, function| {
        let mut values = arguments.map(|x: f64| x as f32);
        function_map_in_place(
            &exec,
            &real.arithmetic,
            function,
            &mut PlanesMut::plain(&mut values),
        )
        .expect("the operand fits");
        values
    };
    let tiny = 1e-30f32;
    for exec in single() {
        let sigmoid = map(exec, Function::Sigmoid);
        // e^-104 is below the smallest subnormal number's half.
        let limits = [0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0];
        assert_eq!(sigmoid, limits, "{exec:?}");
        let tanh = map(exec, Function::Tanh);
        let limits = [-1.0, -1.0, -1.0, -tiny, 0.0, 0.0, tiny, 1.0, 1.0, 1.0];
        assert_eq!(tanh, limits, "{exec:?}");
        let relu = map(exec, Function::Relu);
        let limits = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, tiny, 104.0, 1000.0, 3e38];
        assert_eq!(relu, limits, "{exec:?}");
    }
}

/// Where the slots agree, as in an encrypted constant, the result is a multiple of one exactly: the
/// division by the slots' difference that the textbook formula has is nowhere.
#[test]
fn equal_slots_stay_equal() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let values = [0.01f32, 0.3, 1.0, 1.7, 5.0];
    let planes = [values.to_vec(), vec![0.0; values.len()]];
    for exec in single() {
        for function in Function::ALL {
            let mut c = Guarded::filled(&planes, 1);
            function_map_in_place(&exec, &compact.arithmetic, function, &mut c.view_mut())
                .expect("the operand fits");
            assert_eq!(c.planes()[1], [0.0; 5], "{} {exec:?}", function.name());
        }
    }
}

/// The bits depend on the instruction set and the number of pieces alone, and since every element
/// is computed by itself, not even on the pieces.
#[test]
fn same_bits_for_any_cut() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let mut noise = Noise::new(3);
    let len = 40_001;
    let input = Operand::<f32>::drawn(&compact, Kind::Cipher, || noise.slots(len, -2.0, 2.0));
    for isa in Isa::available() {
        let run = |threads| {
            let mut values = input.buffer.clone();
            let exec = Exec { isa, threads };
            function_map_in_place(
                &exec,
                &compact.arithmetic,
                Function::Tanh,
                &mut values.view_mut(),
            )
            .expect("the operand fits");
            values.planes().concat()
        };
        let one = run(1);
        for threads in [2, 3, 5, 64] {
            assert!(same_bits(&one, &run(threads)), "{isa} {threads}");
        }
    }
}
