//! Functions of a tensor and their derivatives.

use furthermore_kernels_cpu::Element;
use furthermore_kernels_cpu::function_map::{
    Function, function_map, function_map_gradient, function_map_in_place,
};

use super::pass::Pass;
use super::{Case, LARGE, SMALL, Setup};

/// Every function; the common ones also by derivative and on tensors past the caches.
pub(super) fn cases<T: Element>(setup: &Setup) -> Vec<Case> {
    let mut cases = Vec::new();
    for function in Function::ALL {
        cases.push(value::<T>(setup, function, SMALL));
    }
    for function in [Function::Relu, Function::Sigmoid, Function::Tanh] {
        cases.push(gradient::<T>(setup, function, SMALL));
        cases.push(value::<T>(setup, function, LARGE));
    }
    let pass = Pass {
        y: SMALL,
        in_place: true,
        ..Pass::default()
    };
    let kernel = "function_map_in_place relu";
    cases.push(pass.case::<T, _>(setup, kernel, SMALL, |t| {
        let y = &mut t.y.view_mut()?;
        function_map_in_place(&t.exec, &t.arithmetic, Function::Relu, y)
    }));
    cases
}

fn value<T: Element>(setup: &Setup, function: Function, len: usize) -> Case {
    let pass = Pass {
        a: len,
        y: len,
        ..Pass::default()
    };
    let kernel = format!("function_map {}", function.name());
    pass.case::<T, _>(setup, &kernel, len, move |t| {
        let (x, y) = (t.a.view()?, &mut t.y.view_mut()?);
        function_map(&t.exec, &t.arithmetic, function, x, y)
    })
}

fn gradient<T: Element>(setup: &Setup, function: Function, len: usize) -> Case {
    let pass = Pass {
        a: len,
        y: len,
        in_place: true,
        ..Pass::default()
    };
    let kernel = format!("function_map_gradient {}", function.name());
    pass.case::<T, _>(setup, &kernel, len, move |t| {
        let (saved, gradient) = (t.a.view()?, &mut t.y.view_mut()?);
        function_map_gradient(&t.exec, &t.arithmetic, function, saved, gradient)
    })
}
