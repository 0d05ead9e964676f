//! Arithmetic of known numbers. Integers that pass 64 bits are an error; real numbers are in f64.

use super::{Walk, allowed, broadcast, repeating, strides};
use crate::onnx::import::reductions;
use crate::onnx::node::{Node, Refusal, Step, single};
use crate::onnx::tensor::{Constant, Element, Numbers, elements};
use crate::tensor::DType;

const TWO_TYPES: &str = "its inputs are of two types";

fn overflow() -> Refusal {
    "an integer passes 64 bits".into()
}

/// Pairs of elements of two operands where they meet, by a function for each type.
fn pairs(
    node: &Node<'_>,
    a: &Constant,
    b: &Constant,
    integers: impl Fn(i64, i64) -> Option<i64>,
    floats: impl Fn(f64, f64) -> f64,
) -> Step<Constant> {
    let shape = broadcast(&[&a.shape, &b.shape])?;
    allowed(node, &shape)?;
    let steps = [a, b].map(|operand| repeating(&operand.shape, shape.len()));
    let places = Walk::new(&shape, &steps[0], 0).zip(Walk::new(&shape, &steps[1], 0));
    let numbers = match (&a.numbers, &b.numbers) {
        (Numbers::Integers(a), Numbers::Integers(b)) => {
            let results = places.map(|(i, j)| integers(a[i], b[j]).ok_or_else(overflow));
            Numbers::Integers(results.collect::<Step<_>>()?)
        }
        (Numbers::Floats(a, dtype), Numbers::Floats(b, _)) => {
            Numbers::Floats(places.map(|(i, j)| floats(a[i], b[j])).collect(), *dtype)
        }
        _ => return Err(TWO_TYPES.into()),
    };
    Ok(Constant { shape, numbers })
}

fn binary(
    node: &Node<'_>,
    integers: impl Fn(i64, i64) -> Option<i64>,
    floats: impl Fn(f64, f64) -> f64,
) -> Step<Constant> {
    pairs(node, node.constant(0)?, node.constant(1)?, integers, floats)
}

pub(crate) fn add(node: &Node<'_>) -> Step<Constant> {
    binary(node, i64::checked_add, |a, b| a + b)
}

pub(crate) fn subtract(node: &Node<'_>) -> Step<Constant> {
    binary(node, i64::checked_sub, |a, b| a - b)
}

pub(crate) fn multiply(node: &Node<'_>) -> Step<Constant> {
    binary(node, i64::checked_mul, |a, b| a * b)
}

/// Quotients; those of integers are cut towards zero.
pub(crate) fn divide(node: &Node<'_>) -> Step<Constant> {
    let by = node.constant(1)?.integers();
    if by.is_some_and(|by| by.contains(&0)) {
        return Err("an integer is divided by 0".into());
    }
    binary(node, i64::checked_div, |a, b| a / b)
}

/// Remainders: of the divisor's sign, or with `fmod` of the dividend's.
pub(crate) fn modulo(node: &Node<'_>) -> Step<Constant> {
    let fmod = node.flag("fmod", false)?;
    let by = node.constant(1)?;
    match by.integers() {
        Some(by) if by.contains(&0) => return Err("an integer is divided by 0".into()),
        None if !fmod => return Err("remainders of real numbers need fmod".into()),
        _ => {}
    }
    let integers = |a: i64, b: i64| {
        let rest = a.checked_rem(b)?;
        let other_sign = rest != 0 && (rest < 0) != (b < 0);
        Some(if other_sign && !fmod { rest + b } else { rest })
    };
    binary(node, integers, |a, b| a % b)
}

pub(crate) fn power(node: &Node<'_>) -> Step<Constant> {
    let (base, exponent) = (node.constant(0)?, node.constant(1)?);
    // The exponent may be of another type than the base.
    let exponent = match (&base.numbers, &exponent.numbers) {
        (Numbers::Floats(_, dtype), Numbers::Integers(values)) => Constant {
            shape: exponent.shape.clone(),
            numbers: Numbers::Floats(values.iter().map(|x| *x as f64).collect(), *dtype),
        },
        _ => exponent.clone(),
    };
    let integers = |a: i64, b: i64| a.checked_pow(u32::try_from(b).ok()?);
    pairs(node, base, &exponent, integers, f64::powf)
}

/// The result of taking inputs two by two, from the first on.
fn through(
    node: &Node<'_>,
    integers: impl Fn(i64, i64) -> i64 + Copy,
    floats: impl Fn(f64, f64) -> f64 + Copy,
) -> Step<Constant> {
    let mut all = node.constant(0)?.clone();
    for nth in 1..node.inputs.len() {
        let next = node.constant(nth)?;
        all = pairs(node, &all, next, |a, b| Some(integers(a, b)), floats)?;
    }
    Ok(all)
}

pub(crate) fn maximum(node: &Node<'_>) -> Step<Constant> {
    through(node, i64::max, f64::max)
}

pub(crate) fn minimum(node: &Node<'_>) -> Step<Constant> {
    through(node, i64::min, f64::min)
}

/// What a comparison of each pair says.
fn compared(
    node: &Node<'_>,
    integers: impl Fn(i64, i64) -> bool,
    floats: impl Fn(f64, f64) -> bool,
) -> Step<Constant> {
    let said = |yes: bool| i64::from(yes);
    let mut result = binary(
        node,
        |a, b| Some(said(integers(a, b))),
        |a, b| said(floats(a, b)) as f64,
    )?;
    if let Numbers::Floats(values, _) = &result.numbers {
        result.numbers = Numbers::Integers(values.iter().map(|x| *x as i64).collect());
    }
    Ok(result)
}

pub(crate) fn equal(node: &Node<'_>) -> Step<Constant> {
    compared(node, |a, b| a == b, |a, b| a == b)
}

pub(crate) fn less(node: &Node<'_>) -> Step<Constant> {
    compared(node, |a, b| a < b, |a, b| a < b)
}

pub(crate) fn greater(node: &Node<'_>) -> Step<Constant> {
    compared(node, |a, b| a > b, |a, b| a > b)
}

/// Combines truth values, which are integers here.
fn logic(node: &Node<'_>, combine: impl Fn(bool, bool) -> bool) -> Step<Constant> {
    let (a, b) = (node.constant(0)?, node.constant(1)?);
    if a.integers().is_none() || b.integers().is_none() {
        return Err("its inputs are no truth values".into());
    }
    let combine = |a: i64, b: i64| Some(i64::from(combine(a != 0, b != 0)));
    pairs(node, a, b, combine, |_, _| 0.0)
}

pub(crate) fn and(node: &Node<'_>) -> Step<Constant> {
    logic(node, |a, b| a && b)
}

pub(crate) fn or(node: &Node<'_>) -> Step<Constant> {
    logic(node, |a, b| a || b)
}

/// A function of each element.
fn each(
    node: &Node<'_>,
    integers: impl Fn(i64) -> Option<i64>,
    floats: impl Fn(f64) -> f64,
) -> Step<Constant> {
    let from = node.constant(0)?;
    let numbers = match &from.numbers {
        Numbers::Integers(values) => {
            let results = values.iter().map(|&x| integers(x).ok_or_else(overflow));
            Numbers::Integers(results.collect::<Step<_>>()?)
        }
        Numbers::Floats(values, dtype) => {
            Numbers::Floats(values.iter().map(|&x| floats(x)).collect(), *dtype)
        }
    };
    Ok(Constant {
        shape: from.shape.clone(),
        numbers,
    })
}

/// A function of real numbers.
fn real(node: &Node<'_>, floats: impl Fn(f64) -> f64) -> Step<Constant> {
    if node.constant(0)?.floats().is_none() {
        return Err("its input is not of real numbers".into());
    }
    each(node, Some, floats)
}

pub(crate) fn not(node: &Node<'_>) -> Step<Constant> {
    if node.constant(0)?.integers().is_none() {
        return Err("its input is no truth value".into());
    }
    each(node, |x| Some(i64::from(x == 0)), |x| x)
}

pub(crate) fn negate(node: &Node<'_>) -> Step<Constant> {
    each(node, i64::checked_neg, |x| -x)
}

pub(crate) fn absolute(node: &Node<'_>) -> Step<Constant> {
    each(node, i64::checked_abs, f64::abs)
}

pub(crate) fn floor(node: &Node<'_>) -> Step<Constant> {
    real(node, f64::floor)
}

pub(crate) fn ceil(node: &Node<'_>) -> Step<Constant> {
    real(node, f64::ceil)
}

pub(crate) fn sqrt(node: &Node<'_>) -> Step<Constant> {
    real(node, f64::sqrt)
}

pub(crate) fn exp(node: &Node<'_>) -> Step<Constant> {
    real(node, f64::exp)
}

pub(crate) fn ln(node: &Node<'_>) -> Step<Constant> {
    real(node, f64::ln)
}

pub(crate) fn reciprocal(node: &Node<'_>) -> Step<Constant> {
    real(node, f64::recip)
}

/// The same numbers in another type: real ones are cut towards zero where they become integers.
pub(crate) fn cast(node: &Node<'_>) -> Step<Constant> {
    let to = node.int("to")?.ok_or("it does not say to which type")?;
    let to = Element::of(i32::try_from(to).unwrap_or(0))?;
    let from = node.constant(0)?;
    let integer = |x: f64| {
        // 2^63 is the first number past them, and exact.
        let whole = x.trunc();
        if (-(2f64.powi(63))..2f64.powi(63)).contains(&whole) {
            Ok(whole as i64)
        } else {
            Err(Refusal(format!("{x} is no integer of 64 bits")))
        }
    };
    let rounded = |x: f64| match to {
        Element::F64 => x,
        Element::F16 => half::f16::from_f64(x).to_f64(),
        Element::Bf16 => half::bf16::from_f64(x).to_f64(),
        _ => f64::from(x as f32),
    };
    let numbers = match (&from.numbers, to.float()) {
        (Numbers::Floats(values, _), Some(dtype)) => {
            Numbers::Floats(values.iter().map(|&x| rounded(x)).collect(), dtype)
        }
        (Numbers::Integers(values), Some(dtype)) => {
            Numbers::Floats(values.iter().map(|&x| rounded(x as f64)).collect(), dtype)
        }
        (Numbers::Floats(values, _), None) if to == Element::Bool => {
            Numbers::Integers(values.iter().map(|&x| i64::from(x != 0.0)).collect())
        }
        (Numbers::Floats(values, _), None) => {
            Numbers::Integers(values.iter().map(|&x| integer(x)).collect::<Step<_>>()?)
        }
        (Numbers::Integers(values), None) if to == Element::Bool => {
            Numbers::Integers(values.iter().map(|&x| i64::from(x != 0)).collect())
        }
        (Numbers::Integers(values), None) => Numbers::Integers(values.clone()),
    };
    Ok(Constant {
        shape: from.shape.clone(),
        numbers,
    })
}

/// Elements of one tensor or of another, as a third says.
pub(crate) fn where_(node: &Node<'_>) -> Step<Constant> {
    let [which, yes, no] = [node.constant(0)?, node.constant(1)?, node.constant(2)?];
    let which_way = which.integers().ok_or("its condition is no truth value")?;
    let shape = broadcast(&[&which.shape, &yes.shape, &no.shape])?;
    allowed(node, &shape)?;
    let steps = [which, yes, no].map(|operand| repeating(&operand.shape, shape.len()));
    let places = Walk::new(&shape, &steps[0], 0)
        .zip(Walk::new(&shape, &steps[1], 0).zip(Walk::new(&shape, &steps[2], 0)));
    let numbers = match (&yes.numbers, &no.numbers) {
        (Numbers::Integers(a), Numbers::Integers(b)) => Numbers::Integers(
            places
                .map(|(w, (i, j))| if which_way[w] != 0 { a[i] } else { b[j] })
                .collect(),
        ),
        (Numbers::Floats(a, dtype), Numbers::Floats(b, _)) => Numbers::Floats(
            places
                .map(|(w, (i, j))| if which_way[w] != 0 { a[i] } else { b[j] })
                .collect(),
            *dtype,
        ),
        _ => return Err(TWO_TYPES.into()),
    };
    Ok(Constant { shape, numbers })
}

/// Numbers from a first one up to a limit, a step apart.
pub(crate) fn range(node: &Node<'_>) -> Step<Constant> {
    let operands = [node.constant(0)?, node.constant(1)?, node.constant(2)?];
    let whole = operands.map(|operand| match operand.integers() {
        Some(&[number]) => Some(i128::from(number)),
        _ => None,
    });
    if let [Some(start), Some(limit), Some(step)] = whole {
        if step == 0 {
            return Err("its step is 0".into());
        }
        // As many steps as begin before the limit.
        let count = (limit - start + step - step.signum()) / step;
        let count = allowed(node, &[usize::try_from(count.max(0)).unwrap_or(usize::MAX)])?;
        let numbers = (0..count as i128).map(|nth| (start + nth * step) as i64);
        return Ok(Constant::row(numbers.collect()));
    }
    let [Some(start), Some(limit), Some(step)] = operands.map(single) else {
        return Err("start, limit and step are not three numbers of one type".into());
    };
    let count = ((limit - start) / step).ceil();
    if !count.is_finite() {
        return Err(format!("from {start} to {limit} there is no end of steps of {step}").into());
    }
    // A count past any size becomes the largest, and is refused.
    let count = allowed(node, &[count.max(0.0) as usize])?;
    let numbers = (0..count).map(|nth| start + nth as f64 * step);
    Ok(Constant {
        shape: vec![count],
        numbers: Numbers::Floats(numbers.collect(), DType::F32),
    })
}

/// Combines elements along the axes that a node names; `empty` is what nothing makes.
fn reduce(
    node: &Node<'_>,
    empty: Option<i64>,
    integers: impl Fn(i64, i64) -> Option<i64>,
    floats: impl Fn(f64, f64) -> f64,
) -> Step<Constant> {
    let from = node.constant(0)?;
    let Some((axes, keep)) = reductions::axes(node, from.shape.len())? else {
        return Ok(from.clone());
    };
    let own = strides(&from.shape);
    let part = |inside: bool| -> (Vec<usize>, Vec<isize>) {
        let axes = (0..from.shape.len()).filter(|axis| axes.contains(axis) == inside);
        axes.map(|axis| (from.shape[axis], own[axis])).unzip()
    };
    let ((shape, steps), (inner, inner_steps)) = (part(false), part(true));
    let count = allowed(node, &shape)?;
    let nothing = elements(&inner)? == 0 && count > 0;
    if nothing && empty.is_none() {
        return Err("it reduces an axis of no elements".into());
    }
    let empty = empty.unwrap_or_default();
    let rows = Walk::new(&shape, &steps, 0).map(|row| Walk::new(&inner, &inner_steps, row));
    let numbers = match &from.numbers {
        Numbers::Integers(values) => {
            let combined = |mut row: Walk<'_>| match row.next() {
                None => Ok(empty),
                Some(first) => row
                    .try_fold(values[first], |all, at| integers(all, values[at]))
                    .ok_or_else(overflow),
            };
            Numbers::Integers(rows.map(combined).collect::<Step<_>>()?)
        }
        Numbers::Floats(values, dtype) => {
            let combined = |mut row: Walk<'_>| match row.next() {
                None => empty as f64,
                Some(first) => row.fold(values[first], |all, at| floats(all, values[at])),
            };
            Numbers::Floats(rows.map(combined).collect(), *dtype)
        }
    };
    let shape = reductions::reduced(&from.shape, &axes, keep);
    Ok(Constant { shape, numbers })
}

pub(crate) fn reduce_sum(node: &Node<'_>) -> Step<Constant> {
    reduce(node, Some(0), i64::checked_add, |a, b| a + b)
}

pub(crate) fn reduce_product(node: &Node<'_>) -> Step<Constant> {
    reduce(node, Some(1), i64::checked_mul, |a, b| a * b)
}

pub(crate) fn reduce_max(node: &Node<'_>) -> Step<Constant> {
    reduce(node, None, |a, b| Some(a.max(b)), f64::max)
}

pub(crate) fn reduce_min(node: &Node<'_>) -> Step<Constant> {
    reduce(node, None, |a, b| Some(a.min(b)), f64::min)
}

/// Means of real numbers.
pub(crate) fn reduce_mean(node: &Node<'_>) -> Step<Constant> {
    if node.constant(0)?.floats().is_none() {
        return Err("its input is not of real numbers".into());
    }
    let mut means = reduce(node, None, |_, _| None, |a, b| a + b)?;
    let of_each = node.constant(0)?.len() / means.len().max(1);
    if let Numbers::Floats(values, _) = &mut means.numbers {
        values.iter_mut().for_each(|value| *value /= of_each as f64);
    }
    Ok(means)
}
