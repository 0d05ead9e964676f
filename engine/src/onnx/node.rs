//! One node: its settings, and what its inputs are.

use std::rc::Rc;

use super::generated::{AttributeProto, NodeProto};
use super::tensor::{Constant, Files};
use crate::error::Error;
use crate::network::Value;

/// Why a node cannot be taken, in words. The importer adds which node it was.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) String);

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// A result that names no node yet.
pub(crate) type Step<T> = Result<T, Refusal>;

/// A value that is known when the model is read.
#[derive(Debug)]
pub(crate) struct Known {
    /// What the model calls it.
    pub(crate) name: String,
    pub(crate) constant: Constant,
    /// Whether it is an initialiser with axes, perhaps in another shape or order: a weight.
    pub(crate) weight: bool,
}

/// What a name in the model stands for.
#[derive(Debug, Clone)]
pub(crate) enum Bound {
    Known(Rc<Known>),
    /// What the network computes at each run.
    Live(Value),
}

impl Bound {
    /// The value, where it is known.
    pub(crate) fn known(&self) -> Option<&Constant> {
        match self {
            Self::Known(known) => Some(&known.constant),
            Self::Live(_) => None,
        }
    }

    /// The one real number that it is, where that is known and is no weight.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Known(known) if !known.weight => single(&known.constant),
            _ => None,
        }
    }
}

/// The only number of a tensor of real numbers.
pub(crate) fn single(constant: &Constant) -> Option<f64> {
    match constant.floats() {
        Some(&[number]) => Some(number),
        _ => None,
    }
}

/// A node of the model whose inputs have been made.
pub(crate) struct Node<'a> {
    pub(crate) proto: &'a NodeProto,
    pub(crate) opset: i64,
    pub(crate) inputs: Vec<Option<Bound>>,
}

/// Attribute types, by the format's numbers.
const FLOAT: i32 = 1;
const INT: i32 = 2;
const STRING: i32 = 3;
const TENSOR: i32 = 4;
const FLOATS: i32 = 6;
const INTS: i32 = 7;

impl<'a> Node<'a> {
    /// The name of the first value that it makes.
    pub(crate) fn name(&self) -> &'a str {
        self.proto.output.first().map_or("", |name| name)
    }

    /// An input that has to be there.
    pub(crate) fn input(&self, nth: usize) -> Step<&Bound> {
        self.optional(nth)
            .ok_or_else(|| format!("its input {nth} is missing").into())
    }

    /// An input that may be left out.
    pub(crate) fn optional(&self, nth: usize) -> Option<&Bound> {
        self.inputs.get(nth).and_then(Option::as_ref)
    }

    /// All inputs, none of which may be left out.
    pub(crate) fn all_inputs(&self) -> Step<Vec<&Bound>> {
        if self.inputs.is_empty() {
            return Err("it has no inputs".into());
        }
        (0..self.inputs.len()).map(|nth| self.input(nth)).collect()
    }

    /// An input that has to be known when the model is read.
    pub(crate) fn constant(&self, nth: usize) -> Step<&Constant> {
        let known = self.input(nth)?.known();
        known.ok_or_else(|| self.computed(nth))
    }

    fn computed(&self, nth: usize) -> Refusal {
        let name = self.proto.input.get(nth).map_or("", |name| name);
        format!("its input {nth} ('{name}') is computed from the data, and has to be known before")
            .into()
    }

    /// The integers of an input that may be left out.
    pub(crate) fn integers(&self, nth: usize) -> Step<Option<Vec<i64>>> {
        let Some(bound) = self.optional(nth) else {
            return Ok(None);
        };
        let known = bound.known().ok_or_else(|| self.computed(nth))?;
        let integers = known
            .integers()
            .ok_or_else(|| format!("its input {nth} is not of integers"))?;
        Ok(Some(integers.to_vec()))
    }

    /// The number of an input that may be left out.
    pub(crate) fn number(&self, nth: usize) -> Step<Option<f64>> {
        let Some(bound) = self.optional(nth) else {
            return Ok(None);
        };
        let known = bound.known().ok_or_else(|| self.computed(nth))?;
        match single(known) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("its input {nth} is not one real number").into()),
        }
    }

    fn attribute(&self, name: &str, kind: i32) -> Step<Option<&'a AttributeProto>> {
        let mut named = self.proto.attribute.iter().filter(|a| a.name == name);
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(format!("its attribute '{name}' is there twice").into()),
            (Some(attribute), None) if attribute.r#type == kind => Ok(Some(attribute)),
            (Some(attribute), None) => {
                let found = attribute.r#type;
                Err(format!("its attribute '{name}' is of type {found}, not {kind}").into())
            }
        }
    }

    /// Refuses attributes that the operator's code does not look at.
    pub(crate) fn check_attributes(&self, known: &[&str]) -> Step<()> {
        for attribute in &self.proto.attribute {
            let name = &attribute.name;
            if !attribute.g.is_empty() || !attribute.graphs.is_empty() {
                return Err(format!("its attribute '{name}' is a graph").into());
            }
            if !attribute.ref_attr_name.is_empty() {
                return Err(format!("its attribute '{name}' is one of a function").into());
            }
            if !known.contains(&&**name) {
                return Err(format!("its attribute '{name}' is not known").into());
            }
        }
        Ok(())
    }

    pub(crate) fn int(&self, name: &str) -> Step<Option<i64>> {
        Ok(self.attribute(name, INT)?.map(|a| a.i))
    }

    /// An integer that says yes (1) or no (0).
    pub(crate) fn flag(&self, name: &str, default: bool) -> Step<bool> {
        match self.int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(format!("its attribute '{name}' is {other}, not 0 or 1").into()),
        }
    }

    pub(crate) fn ints(&self, name: &str) -> Step<Option<&'a [i64]>> {
        Ok(self.attribute(name, INTS)?.map(|a| &*a.ints))
    }

    pub(crate) fn float(&self, name: &str) -> Step<Option<f64>> {
        Ok(self.attribute(name, FLOAT)?.map(|a| f64::from(a.f)))
    }

    pub(crate) fn floats(&self, name: &str) -> Step<Option<&'a [f32]>> {
        Ok(self.attribute(name, FLOATS)?.map(|a| &*a.floats))
    }

    pub(crate) fn string(&self, name: &str) -> Step<Option<&'a str>> {
        match self.attribute(name, STRING)? {
            None => Ok(None),
            Some(attribute) => std::str::from_utf8(&attribute.s)
                .map(Some)
                .map_err(|_| format!("its attribute '{name}' is no text").into()),
        }
    }

    /// A tensor that the node carries.
    pub(crate) fn tensor(&self, name: &str) -> Step<Option<Constant>> {
        let Some(attribute) = self.attribute(name, TENSOR)? else {
            return Ok(None);
        };
        let Some(tensor) = &attribute.t else {
            return Err(format!("its attribute '{name}' holds no tensor").into());
        };
        let read = Files::new(None).tensor(tensor);
        read.map(Some)
            .map_err(|reason| format!("in its attribute '{name}', {reason}").into())
    }

    /// Integers that older opsets have as an attribute and newer ones as an input.
    pub(crate) fn setting(&self, name: &str, nth: usize) -> Step<Option<Vec<i64>>> {
        match self.ints(name)? {
            Some(ints) => Ok(Some(ints.to_vec())),
            None => self.integers(nth),
        }
    }
}

/// An axis of `rank`, counted from the end where it is negative.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Step<usize> {
    let wide = rank as i64;
    if (-wide..wide).contains(&axis) {
        Ok(axis.rem_euclid(wide) as usize)
    } else {
        Err(format!("its axis {axis} is none of a tensor of {rank} axes").into())
    }
}

/// Axes of `rank`, ascending and without repetition.
pub(crate) fn axes_of(axes: &[i64], rank: usize) -> Step<Vec<usize>> {
    let mut found: Vec<usize> = (axes.iter())
        .map(|&axis| axis_of(axis, rank))
        .collect::<Step<_>>()?;
    found.sort_unstable();
    if found.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(format!("its axes {axes:?} name one twice").into());
    }
    Ok(found)
}
