//! Networks that only add and multiply: polynomials in place of activations.

use std::collections::BTreeMap;

use super::{
    Fit, FitMethod, Function, Init, Network, Node, Op, Parameters, Pool, Reduction, Value,
};
use crate::error::{Error, Result};
use crate::tensor::{DType, Plaintext, Tensor};

/// What takes an activation's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// `x^2`, whatever the function was (Gilad-Bachrach and others, 2016): for networks that are
    /// trained with it.
    Square,
    /// A polynomial that stands for the function.
    Fitted {
        /// Its degree.
        degree: usize,
        /// How it is chosen.
        method: FitMethod,
    },
    /// A polynomial whose coefficients are a parameter `{name}.coefficients` of the network, which
    /// starts as such a fit. They are those of powers of x over the interval's larger end, by which
    /// `{name}.scaled` divides: powers stay near 1, and gradients by all of them alike.
    Learned {
        /// Its degree.
        degree: usize,
        /// How its start is chosen.
        method: FitMethod,
    },
}

/// How [`Network::with_polynomials`] goes about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolynomialOptions {
    /// What takes activations' places.
    pub replacement: Replacement,
    /// By what part of its length an interval grows at either end: what else than the samples it was
    /// measured on a network meets, and what other activations' errors add.
    pub margin: f64,
    /// Averages take the place of maxima over the same windows; otherwise maxima are refused.
    pub average_pooling: bool,
}

/// A network with polynomials in place of its activations.
#[derive(Debug, Clone)]
pub struct Polynomials {
    /// The network. Inputs, outputs and parameters have the names that they had.
    pub network: Network,
    /// The activations that were replaced, in the network's order.
    pub activations: Vec<PolynomialActivation>,
    /// What learned coefficients start from, by their parameter, in f64.
    pub learned: Parameters,
}

/// An activation that a polynomial has taken the place of.
#[derive(Debug, Clone, PartialEq)]
pub struct PolynomialActivation {
    /// Its name.
    pub name: String,
    /// The function it was.
    pub function: Function,
    /// What took its place.
    pub replacement: Replacement,
    /// The polynomial, on its widened interval: of a learned one the start; none of a square, which
    /// stands for no function.
    pub fit: Option<Fit>,
}

impl Polynomials {
    /// Weights for the network in an element type: these, and with them what learned coefficients start
    /// from.
    ///
    /// # Errors
    /// When one is a ciphertext of another element type, or there is not enough memory.
    pub fn parameters(&self, weights: &Parameters, dtype: DType) -> Result<Parameters> {
        let mut all = weights.to_dtype(dtype)?;
        for (name, start) in self.learned.to_dtype(dtype)?.iter() {
            all.insert(name, start.clone());
        }
        Ok(all)
    }
}

impl Network {
    /// This network with a polynomial in place of each activation, for schemes that can only add and
    /// multiply. It is for inference networks; the result can be trained as any network.
    ///
    /// `intervals` has the least and the greatest argument of each activation, by its name, as
    /// [`calibrate`](crate::session::calibrate) measures them; squares need none. Only what depends on
    /// an input and an output depends on is looked at: what is computed from plaintext weights alone
    /// stays as it is, and a quotient by it becomes a product with its inverse. Functions that are
    /// polynomials themselves become these and count as no activation.
    ///
    /// # Errors
    /// When an operation is none that a ring has, naming it; when an activation's interval is missing or
    /// its function cannot be fitted there; when an option is out of range, or a name is taken.
    pub fn with_polynomials(
        &self,
        intervals: &BTreeMap<String, [f64; 2]>,
        options: &PolynomialOptions,
    ) -> Result<Polynomials> {
        if !(options.margin >= 0.0 && options.margin.is_finite()) {
            return Err(Error::Operation {
                operation: "polynomials".to_owned(),
                reason: format!("margin {} is not a number from 0 on", options.margin),
            });
        }
        let concerned = self.concerned();
        let mut made = Polynomials {
            network: Network::new(),
            activations: Vec::new(),
            learned: Parameters::default(),
        };
        let mut places: Vec<Value> = Vec::with_capacity(self.nodes.len());
        for (node, &is_concerned) in self.nodes.iter().zip(&concerned) {
            let refuse = |reason: &str| Error::Operation {
                operation: node.name.clone(),
                reason: reason.to_owned(),
            };
            let operands: Vec<Value> = node.operands.iter().map(|v| places[v.0]).collect();
            let place = match (&node.op, &operands[..]) {
                (Op::Step(_) | Op::MovingAverage { .. }, _) => {
                    return Err(refuse(
                        "it steps a parameter: polynomials come before training",
                    ));
                }
                (op, operands) if !is_concerned || is_ring(op) => {
                    made.network.push(&node.name, op.clone(), operands)?
                }
                (Op::Map { function }, &[x]) => {
                    made.replace(&node.name, *function, x, intervals, options)?
                }
                (
                    &Op::Pool {
                        pool: Pool::Max,
                        window,
                    },
                    &[x],
                ) if options.average_pooling => {
                    made.network.pool(&node.name, Pool::Average, x, window)?
                }
                (Op::Pool { .. }, _) => {
                    return Err(refuse(
                        "a maximum is no polynomial, and averages were not asked for in its place",
                    ));
                }
                (Op::Divide, &[x, y]) if !concerned[node.operands[1].0] => {
                    let inverse = format!("{}.inverse", node.name);
                    let inverse = made.network.map(&inverse, Function::Inverse, y)?;
                    made.network.multiply(&node.name, x, inverse)?
                }
                (op, _) => {
                    let what = operation(op);
                    return Err(refuse(&format!(
                        "{what} is neither sum nor product, and no activation"
                    )));
                }
            };
            places.push(place);
        }
        for (name, value) in &self.outputs {
            made.network.output(name, places[value.0])?;
        }
        made.network.meeting = self.meeting.iter().map(|v| places[v.0]).collect();
        Ok(made)
    }

    /// A network whose outputs are the arguments of this one's activations, and of each activation its
    /// name and that of the output.
    pub(crate) fn with_arguments(&self) -> Result<(Network, Vec<(String, String)>)> {
        let mut network = self.clone();
        network.outputs.clear();
        let mut named: BTreeMap<Value, String> = BTreeMap::new();
        let mut activations = Vec::new();
        for (node, _) in self
            .nodes
            .iter()
            .zip(self.concerned())
            .filter(|(_, is)| *is)
        {
            let (Op::Map { function }, &[x]) = (&node.op, &node.operands[..]) else {
                continue;
            };
            if polynomial_of(*function).is_some() {
                continue;
            }
            let output = match named.get(&x) {
                Some(output) => output.clone(),
                None => {
                    let output = format!("argument of {}", node.name);
                    network.output(&output, x)?;
                    named.insert(x, output.clone());
                    output
                }
            };
            activations.push((node.name.clone(), output));
        }
        Ok((network, activations))
    }

    /// For each value, whether it depends on an input, and an output on it.
    fn concerned(&self) -> Vec<bool> {
        let mut concerned: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for Node { op, operands, .. } in &self.nodes {
            let is_input = matches!(op, Op::Input { .. });
            concerned.push(is_input || operands.iter().any(|v| concerned[v.0]));
        }
        let mut read = vec![false; self.nodes.len()];
        for value in self.values().rev() {
            read[value.0] |= self.is_output(value);
            if read[value.0] {
                for operand in &self.node(value).operands {
                    read[operand.0] = true;
                }
            }
        }
        concerned
            .into_iter()
            .zip(read)
            .map(|(a, b)| a && b)
            .collect()
    }
}

impl Polynomials {
    /// Adds what takes an activation's place.
    fn replace(
        &mut self,
        name: &str,
        function: Function,
        x: Value,
        intervals: &BTreeMap<String, [f64; 2]>,
        options: &PolynomialOptions,
    ) -> Result<Value> {
        if let Some(coefficients) = polynomial_of(function) {
            return self.network.polynomial(name, x, coefficients);
        }
        let fitted = |degree: usize, method: FitMethod| {
            let measured = intervals.get(name).ok_or_else(|| Error::Unknown {
                what: "interval of activation",
                name: name.to_owned(),
                known: intervals.keys().cloned().collect::<Vec<_>>().join(", "),
            })?;
            let interval = widened(*measured, options.margin);
            Fit::new(function, interval, degree, method).map_err(|error| Error::Operation {
                operation: name.to_owned(),
                reason: error.to_string(),
            })
        };
        let (value, fit) = match options.replacement {
            Replacement::Square => {
                let square = vec![0.0, 0.0, 1.0];
                (self.network.polynomial(name, x, square)?, None)
            }
            Replacement::Fitted { degree, method } => {
                let fit = fitted(degree, method)?;
                let coefficients = fit.coefficients.clone();
                (self.network.polynomial(name, x, coefficients)?, Some(fit))
            }
            Replacement::Learned { degree, method } => {
                let fit = fitted(degree, method)?;
                (self.learned(name, x, &fit)?, Some(fit))
            }
        };
        self.activations.push(PolynomialActivation {
            name: name.to_owned(),
            function,
            replacement: options.replacement,
            fit,
        });
        Ok(value)
    }

    /// A polynomial with coefficients of its own, which starts as a fit.
    fn learned(&mut self, name: &str, x: Value, fit: &Fit) -> Result<Value> {
        let [least, greatest] = fit.interval;
        let size = least.abs().max(greatest.abs());
        let scaled = self
            .network
            .scale(&format!("{name}.scaled"), x, 1.0 / size)?;
        let starts: Vec<f64> = fit
            .coefficients
            .iter()
            .enumerate()
            .map(|(k, c)| c * size.powi(k as i32))
            .collect();
        let terms = starts.len();
        let parameter = format!("{name}.coefficients");
        let start = Plaintext::new([terms], &starts)?;
        self.learned.insert(&parameter, Tensor::Plaintext(start));
        let coefficients = self
            .network
            .parameter(&parameter, [terms], Init::Constant(0.0))?;
        self.network.polynomial_of(name, scaled, coefficients)
    }
}

/// The interval with a part of its length more at either end; a single point counts as one as long as
/// it is far from zero, and at least 1.
fn widened([least, greatest]: [f64; 2], margin: f64) -> [f64; 2] {
    let length = match greatest - least {
        0.0 => least.abs().max(1.0),
        length => length,
    };
    [least - margin * length, greatest + margin * length]
}

/// The coefficients of a function that is a polynomial itself.
fn polynomial_of(function: Function) -> Option<Vec<f64>> {
    match function {
        Function::Square => Some(vec![0.0, 0.0, 1.0]),
        Function::LeakyRelu { slope: 1.0 } => Some(vec![0.0, 1.0]),
        _ => None,
    }
}

/// Whether an operation only adds and multiplies, or moves elements.
fn is_ring(op: &Op) -> bool {
    match op {
        Op::Input { .. }
        | Op::MatMul { .. }
        | Op::Linear { .. }
        | Op::Scale { .. }
        | Op::Multiply
        | Op::Polynomial { .. }
        | Op::Expand { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::SliceGradient { .. }
        | Op::Pad { .. }
        | Op::Conv2d(_) => true,
        Op::Reduce { reduction, .. } => *reduction != Reduction::Max,
        Op::Pool { pool, .. } => *pool != Pool::Max,
        _ => false,
    }
}

/// What an operation that no ring has is called in errors.
fn operation(op: &Op) -> &'static str {
    match op {
        Op::Divide => "a division",
        Op::Reduce { .. } | Op::MaxGradient { .. } => "a maximum along axes",
        Op::Softmax { .. } => "a softmax",
        Op::Clip { .. } => "a limit",
        Op::SoftmaxCrossEntropy | Op::MeanSquaredError | Op::BinaryCrossEntropy => {
            "a loss (which comes with training, after polynomials)"
        }
        _ => "an operation of training",
    }
}
