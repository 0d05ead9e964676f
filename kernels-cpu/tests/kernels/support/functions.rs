//! The functions in f64, and what rounding makes of them slot by slot.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

use furthermore_kernels_cpu::Element;
use furthermore_kernels_cpu::function_map::Function;

use super::algebras::Algebra;
use super::buffers::{Guarded, Operand};
use super::compare::{Tolerance, compare};

/// The error function: its series of positive terms up to 2, the continued fraction of its
/// complement past it.
fn erf(x: f64) -> f64 {
    let (size, square) = (x.abs(), x * x);
    let scale = FRAC_2_SQRT_PI * (-square).exp();
    let value = if size < 2.0 {
        let (mut term, mut sum) = (size, size);
        for n in 1..60 {
            term *= 2.0 * square / f64::from(2 * n + 1);
            sum += term;
        }
        scale * sum
    } else {
        let tail = (1..80)
            .rev()
            .fold(size, |tail, n| size + f64::from(n) / 2.0 / tail);
        1.0 - scale / 2.0 / tail
    };
    value.copysign(x)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The tanh approximation's argument, and its slope.
fn gelu_inner(x: f64) -> (f64, f64) {
    let scale = (2.0 / PI).sqrt();
    (
        scale * (x + 0.044715 * x * x * x),
        scale * (1.0 + 3.0 * 0.044715 * x * x),
    )
}

/// `f(x)`.
pub(crate) fn value(function: Function, x: f64) -> f64 {
    match function {
        Function::Exp => x.exp(),
        Function::Ln => x.ln(),
        Function::Sqrt => x.sqrt(),
        Function::Inverse => 1.0 / x,
        Function::Abs => x.abs(),
        Function::Sign => f64::from(i8::from(x > 0.0) - i8::from(x < 0.0)),
        Function::Relu => x.max(0.0),
        Function::LeakyRelu { .. } if x > 0.0 => x,
        Function::LeakyRelu { slope } => slope * x,
        Function::Elu { .. } if x > 0.0 => x,
        Function::Elu { alpha } => alpha * x.exp_m1(),
        Function::Sigmoid => sigmoid(x),
        Function::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
        Function::Tanh => x.tanh(),
        Function::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Function::Gelu => 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2)),
        Function::GeluTanh => 0.5 * x * (1.0 + gelu_inner(x).0.tanh()),
        Function::Erf => erf(x),
        Function::Silu => x * sigmoid(x),
        Function::Square => x * x,
    }
}

/// `f'(x)`, as PyTorch defines it where there is none.
pub(crate) fn derivative(function: Function, x: f64) -> f64 {
    let step = |below: f64| if x > 0.0 { 1.0 } else { below };
    match function {
        Function::Exp => x.exp(),
        Function::Ln => 1.0 / x,
        Function::Sqrt => 0.5 / x.sqrt(),
        Function::Inverse => -1.0 / (x * x),
        Function::Abs => value(Function::Sign, x),
        Function::Sign => 0.0,
        Function::Relu => step(0.0),
        Function::LeakyRelu { slope } => step(slope),
        Function::Elu { alpha } => step(alpha * x.exp()),
        Function::Sigmoid => sigmoid(x) * (1.0 - sigmoid(x)),
        Function::HardSigmoid { alpha, beta } => {
            let y = alpha * x + beta;
            if y > 0.0 && y < 1.0 { alpha } else { 0.0 }
        }
        Function::Tanh => (1.0 - x.tanh()) * (1.0 + x.tanh()),
        Function::Softplus => sigmoid(x),
        Function::Gelu => {
            let density = (-x * x / 2.0).exp() / (2.0 * PI).sqrt();
            0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)) + x * density
        }
        Function::GeluTanh => {
            let (inner, slope) = gelu_inner(x);
            let t = inner.tanh();
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope
        }
        Function::Erf => FRAC_2_SQRT_PI * (-x * x).exp(),
        Function::Silu => sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))),
        Function::Square => 2.0 * x,
    }
}

/// The steepest slope within `error` of x: how much of an argument's error the value shows.
pub(crate) fn steepest(function: Function, x: f64, error: f64) -> f64 {
    match function {
        Function::Exp => (x + error).exp(),
        Function::Ln | Function::Sqrt | Function::Inverse => derivative(function, x - error).abs(),
        // Arguments keep their distance from zero.
        Function::Sign => 0.0,
        Function::Abs | Function::Relu | Function::Tanh | Function::Softplus => 1.0,
        Function::LeakyRelu { slope: steep } | Function::Elu { alpha: steep } => steep.max(1.0),
        Function::HardSigmoid { alpha, .. } => alpha,
        Function::Sigmoid => 0.25,
        Function::Gelu | Function::GeluTanh | Function::Silu | Function::Erf => 1.13,
        Function::Square => 2.0 * (x.abs() + error),
    }
}

/// The largest of what is rounded on the way to `f(x)`: its value but where terms cancel.
fn rounded(function: Function, x: f64) -> f64 {
    match function {
        Function::HardSigmoid { alpha, beta } => (alpha * x).abs() + beta,
        Function::Gelu | Function::GeluTanh => x.abs(),
        _ => value(function, x).abs(),
    }
}

/// The relative error of evaluating a function: two and a half units in the last place in f32 are
/// five roundings, three in f64 six; the functions made of several steps round a few times more. The
/// oracle's series is off by up to a dozen units in f64.
pub(crate) fn evaluated<T: Element>() -> Tolerance {
    Tolerance::roundings::<T>(12).plus(12.0 * f64::EPSILON)
}

/// The slots of `f(C)` for one element, and their error bounds, where the coordinates of C are off
/// by at most `errors`: slots are formed, the function is applied, coordinates are formed.
pub(crate) fn mapped<T: Element>(
    algebra: &Algebra,
    function: Function,
    slots: &[f64],
    errors: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let split = split_error::<T>(algebra, slots, errors);
    let arguments = algebra.slot_errors(errors);
    let values: Vec<f64> = slots.iter().map(|&x| value(function, x)).collect();
    let evaluated = evaluated::<T>();
    let at: Vec<f64> = (0..algebra.slots)
        .map(|k| {
            let error = arguments[k] + split;
            steepest(function, slots[k], error) * error + evaluated.of(rounded(function, slots[k]))
        })
        .collect();
    let reached: Vec<f64> = values.iter().zip(&at).map(|(v, e)| v.abs() + e).collect();
    let bounds = joined::<T>(algebra, &reached);
    let bounds = bounds.iter().zip(at).map(|(b, e)| b + e).collect();
    (values, bounds)
}

/// What forming coordinates from slots of at most these sizes adds to the slots' errors. Below the
/// smallest normal number roundings are absolute, hence the last term.
pub(crate) fn joined<T: Element>(algebra: &Algebra, slots: &[f64]) -> Vec<f64> {
    // Sum and difference, halves, the constant's rounding, and a product and a sum for each slot.
    let join = Tolerance::roundings::<T>(algebra.slots + 4).plus(algebra.defect);
    let sizes = algebra.join_sizes(slots);
    let errors: Vec<f64> = sizes
        .iter()
        .map(|&size| join.of(size) + T::min_positive_value().wide())
        .collect();
    algebra.slot_errors(&errors)
}

/// What storing an element of these slots does to its coordinates.
pub(crate) fn stored<T: Element>(algebra: &Algebra, slots: &[f64]) -> Vec<f64> {
    let tolerance = Tolerance::roundings::<T>(1).plus(algebra.defect);
    let sizes = algebra.coordinate_sizes(slots);
    sizes.into_iter().map(|size| tolerance.of(size)).collect()
}

/// `[slot][element]` of an oracle that works element by element and returns values and bounds.
pub(crate) fn each_element(
    slots: usize,
    len: usize,
    mut oracle: impl FnMut(usize) -> (Vec<f64>, Vec<f64>),
) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let mut expected = vec![Vec::with_capacity(len); slots];
    let mut bounds = expected.clone();
    for e in 0..len {
        let (values, errors) = oracle(e);
        for k in 0..slots {
            expected[k].push(values[k]);
            bounds[k].push(errors[k]);
        }
    }
    (expected, bounds)
}

/// The slots of element `e`, and how far off they are once a kernel has formed them from stored
/// coordinates.
pub(crate) fn formed<T: Element>(
    algebra: &Algebra,
    operand: &Operand<T>,
    e: usize,
) -> (Vec<f64>, Vec<f64>) {
    let slots = operand.element(e, algebra.slots);
    let errors = stored::<T>(algebra, &slots);
    let split = split_error::<T>(algebra, &slots, &errors);
    let errors = algebra.slot_errors(&errors);
    (slots, errors.iter().map(|error| error + split).collect())
}

/// What forming slots adds to the errors of coordinates that are off by at most `errors`.
///
/// A slot takes a product and a sum for each coordinate, the constant's own rounding, and one sum of
/// the mean and the half difference.
pub(crate) fn split_error<T: Element>(algebra: &Algebra, slots: &[f64], errors: &[f64]) -> f64 {
    let mut sizes = algebra.coordinate_sizes(slots);
    for (size, error) in sizes.iter_mut().zip(errors) {
        *size += error;
    }
    let tolerance = Tolerance::roundings::<T>(algebra.dim + 3).plus(algebra.defect);
    tolerance.of(algebra.split_size(&sizes))
}

/// `[slot]` of an operand as a kernel forms them, each element with its error.
pub(crate) fn read<T: Element>(form: &Algebra, operand: &Operand<T>) -> Vec<Vec<(f64, f64)>> {
    // A plaintext beside ciphertexts is read as it is, without forming slots.
    let plain = operand.buffer.count() != form.dim;
    let mut read = vec![Vec::new(); form.slots];
    for e in 0..operand.buffer.len() {
        let (slots, errors) = if plain {
            (operand.element(e, form.slots), vec![0.0; form.slots])
        } else {
            formed::<T>(form, operand, e)
        };
        for (k, read) in read.iter_mut().enumerate() {
            read.push((slots[k], errors[k]));
        }
    }
    read
}

/// Values of each slot with their errors, as what a kernel writes: joined into coordinates.
pub(crate) fn written<T: Element>(
    form: &Algebra,
    slots: &[Vec<(f64, f64)>],
) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let len = slots.first().map_or(0, Vec::len);
    each_element(form.slots, len, |e| {
        let reached: Vec<f64> = slots
            .iter()
            .map(|slot| slot[e].0.abs() + slot[e].1)
            .collect();
        let joined = joined::<T>(form, &reached);
        let values = slots.iter().map(|slot| slot[e].0).collect();
        let errors = slots
            .iter()
            .zip(joined)
            .map(|(slot, j)| slot[e].1 + j)
            .collect();
        (values, errors)
    })
}

/// Whether an output, guards included, is what the oracle expects; and whether the comparison would
/// have noticed an element of it off by four times its bound.
pub(crate) fn verify<T: Element>(
    form: &Algebra,
    output: &Guarded<T>,
    (expected, bounds): (&[Vec<f64>], &[Vec<f64>]),
) -> Result<f64, String> {
    output.intact()?;
    let compared = |output: &Guarded<T>| {
        let found = form.decrypt_planes(&output.planes());
        compare(expected, &found, bounds).map_err(|mismatch| mismatch.to_string())
    };
    let worst = compared(output)?;
    let len = output.len();
    if (1..100).contains(&len) {
        let (at, plane) = (len * 2 / 3, len % form.dim);
        // The slot that shows this coordinate most.
        let shown = (0..form.slots)
            .map(|k| form.to[k * form.dim + plane].abs())
            .fold(0.0, f64::max);
        let bound = bounds.iter().fold(0.0f64, |most, slot| most.max(slot[at]));
        let mut spoilt = output.clone();
        let mut view = spoilt.view_mut();
        let x = &mut view.plane_mut(plane)[at];
        let least = (x.abs() * T::epsilon()).max(T::min_positive_value());
        *x = *x + T::of(4.0 * bound / shown).max(least);
        if compared(&spoilt).is_ok() {
            return Err(format!("element {at} spoilt by {bound:e} went unnoticed"));
        }
    }
    Ok(worst)
}
