//! Functions of a tensor and their derivatives, slot by slot against f64 formulas.

use crate::support::{
    Algebra, Guarded, Kind, LENGTHS, Noise, Operand, Tolerance, compare, derivative, each_element,
    execs_for, formed, joined, mapped, same_bits, single, stored, value,
};
use furthermore_kernels_cpu::function_map::{
    Function, Saved, function_map, function_map_gradient, function_map_in_place,
};
use furthermore_kernels_cpu::{Element, Isa, PlanesMut};

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

fn values<T: Element>() {
    let mut noise = Noise::new(1);
    for len in LENGTHS {
        for algebra in algebras(len) {
            for &kind in algebra.kinds() {
                let form = algebra.of_kind(kind);
                let input = Operand::<T>::drawn(&algebra, kind, || noise.slots(len, -3.0, 3.0));
                for function in Function::ALL {
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
                        let found = form.decrypt_planes(&output.planes());
                        compare(&expected, &found, &bounds)
                            .unwrap_or_else(|e| panic!("{}: {e}", context()));

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
    // How the rule's result depends on what was saved, and the size of what is rounded in it.
    let (by_saved, size) = match function {
        // A step is exact. The oracle's arguments keep their distance from its place.
        Function::Relu => (0.0, 0.0),
        Function::Sigmoid => (1.0, saved.abs()),
        Function::Tanh => (
            2.0 * (saved.abs() + saved_error),
            (1.0 + saved.abs()).powi(2),
        ),
        Function::Square => (2.0, 2.0 * saved.abs()),
    };
    let reach = g.abs() + g_error;
    let rounded = Tolerance::roundings::<T>(5).of(size) * reach;
    let error = by_saved * saved_error * reach + slope.abs() * g_error + rounded;
    (slope * g, error)
}

fn gradients<T: Element>(functions: &[Function]) {
    let mut noise = Noise::new(2);
    for len in LENGTHS {
        for algebra in algebras(len) {
            for &kind in algebra.kinds() {
                let form = algebra.of_kind(kind);
                // At a kink either derivative is right after rounding, so arguments keep away.
                let input = Operand::<T>::drawn(&algebra, kind, || noise.away_from_zero(len, 0.05));
                let incoming = Operand::<T>::drawn(&algebra, kind, || noise.slots(len, -1.0, 1.0));
                for &function in functions {
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

const SMOOTH: [Function; 3] = [Function::Sigmoid, Function::Tanh, Function::Square];

#[test]
fn smooth_gradients_f32() {
    gradients::<f32>(&SMOOTH);
}

#[test]
fn smooth_gradients_f64() {
    gradients::<f64>(&SMOOTH);
}

#[test]
fn relu_gradient_f32() {
    gradients::<f32>(&[Function::Relu]);
}

#[test]
fn relu_gradient_f64() {
    gradients::<f64>(&[Function::Relu]);
}

/// Every function is in the list of all.
#[test]
fn names_are_distinct() {
    let mut names = Function::ALL.map(Function::name).to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["relu", "sigmoid", "square", "tanh"]);
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

/// The step is at zero: above it the gradient passes, at zero and below it does not.
#[test]
fn relu_passes_nothing_at_zero() {
    let real = Algebra::real();
    let saved = [-1.0, -0.0, 0.0, f32::MIN_POSITIVE, 1.0];
    for exec in single() {
        let mut gradient = [2.0; 5];
        function_map_gradient(
            &exec,
            &real.arithmetic,
            Function::Relu,
            furthermore_kernels_cpu::Planes::plain(&saved),
            &mut PlanesMut::plain(&mut gradient),
        )
        .expect("the operands fit");
        assert_eq!(gradient, [0.0, 0.0, 0.0, 2.0, 2.0], "{exec:?}");
    }
}

/// Where the slots agree, as in an encrypted constant, the result is a multiple of one exactly: the
/// division by the slots' difference that the textbook formula has is nowhere.
#[test]
fn equal_slots_stay_equal() {
    let compact = Algebra::compact2([0.75, -0.5]);
    let values = [-2.0f32, -0.3, 0.0, 0.7, 5.0];
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
            let exec = furthermore_kernels_cpu::Exec { isa, threads };
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
