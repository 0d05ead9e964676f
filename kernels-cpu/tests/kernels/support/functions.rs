//! The functions in f64, and what rounding makes of them slot by slot.

use furthermore_kernels_cpu::Element;
use furthermore_kernels_cpu::function_map::Function;

use super::algebras::Algebra;
use super::buffers::Operand;
use super::compare::Tolerance;

/// `f(x)`.
pub(crate) fn value(function: Function, x: f64) -> f64 {
    match function {
        Function::Relu => x.max(0.0),
        Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Function::Tanh => x.tanh(),
        Function::Square => x * x,
    }
}

/// `f'(x)`.
pub(crate) fn derivative(function: Function, x: f64) -> f64 {
    match function {
        Function::Relu => f64::from(u8::from(x > 0.0)),
        Function::Sigmoid => {
            let y = value(function, x);
            y * (1.0 - y)
        }
        Function::Tanh => (1.0 - x.tanh()) * (1.0 + x.tanh()),
        Function::Square => 2.0 * x,
    }
}

/// The steepest slope within `error` of x: how much of an argument's error the value shows.
pub(crate) fn steepest(function: Function, x: f64, error: f64) -> f64 {
    match function {
        Function::Relu | Function::Tanh => 1.0,
        Function::Sigmoid => 0.25,
        Function::Square => 2.0 * (x.abs() + error),
    }
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
    // An exponential or hyperbolic tangent is within two units in the last place, which are four
    // roundings, and a division and a sum follow.
    let evaluated = Tolerance::roundings::<T>(6);
    let at: Vec<f64> = (0..algebra.slots)
        .map(|k| {
            let error = arguments[k] + split;
            steepest(function, slots[k], error) * error + evaluated.of(values[k].abs())
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
