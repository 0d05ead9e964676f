//! The functions in f64, and what rounding makes of them slot by slot.

use furthermore_kernels_cpu::Element;
use furthermore_kernels_cpu::function_map::Function;

use super::algebras::Algebra;
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
    let mut sizes = algebra.coordinate_sizes(slots);
    for (size, error) in sizes.iter_mut().zip(errors) {
        *size += error;
    }
    // A slot takes a product and a sum for each coordinate, the constant's own rounding, and one
    // sum of the mean and the half difference.
    let split = Tolerance::roundings::<T>(algebra.dim + 3).plus(algebra.defect);
    let split = split.of(algebra.split_size(&sizes));
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
