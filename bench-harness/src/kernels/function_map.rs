//! Functions of a tensor and their derivatives.

use furthermore::plan::Kernel;
use furthermore_kernels_cpu::function_map::Function;

use super::case::{Case, Setup};
use super::{LARGE, SMALL};
use crate::error::Result;

/// Every function; the common ones also by derivative and on tensors past the caches.
pub(super) fn cases(setup: &Setup) -> Result<Vec<Case>> {
    let value = |function: Function, len: usize| {
        let name = format!("function_map {}", function.name());
        let kernel = Kernel::FunctionMap { function };
        setup.one(name, len, &kernel, &[len], &[len])
    };
    let gradient = |function: Function, len: usize| {
        let name = format!("function_map_gradient {}", function.name());
        let kernel = Kernel::FunctionMapGradient { function };
        setup.one(name, len, &kernel, &[len], &[len])
    };
    let mut cases = Vec::new();
    for function in Function::ALL {
        cases.push(value(function, SMALL)?);
    }
    for function in [Function::Relu, Function::Sigmoid, Function::Tanh] {
        cases.push(gradient(function, SMALL)?);
        cases.push(value(function, LARGE)?);
    }
    let function = Function::Relu;
    let kernel = Kernel::FunctionMap { function };
    cases.push(setup.one("function_map_in_place relu", SMALL, &kernel, &[], &[SMALL])?);
    Ok(cases)
}
