//! The papers' use cases: networks, the data that they learn and how they learn it.

mod angio;
mod examples;
mod layers;
mod mnist;
mod resident;
mod wbc;

use std::cell::OnceCell;
use std::path::Path;

use furthermore::Algebra;
use furthermore::network::{Network, Optimizer, Value};
use furthermore::tensor::DType;

use crate::data::{Digits, circulation};
use crate::error::{Error, Result};
use crate::scheme::Scheme;

pub use examples::{Examples, Judged, Task, Told};
pub(crate) use resident::resident;

use layers::Layers;

/// How a network's outputs are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Softmax cross entropy with one-hot labels.
    CrossEntropy,
    /// Mean squared error.
    SquaredError,
}

/// How a network is trained: batches of 64, from weights and in an order that a seed gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// How parameters are stepped.
    pub optimizer: Optimizer,
    /// The learning rate, at first.
    pub rate: f64,
    /// Whether it falls to zero, along half a cosine.
    pub decays: bool,
    /// Passes over the training set.
    pub epochs: usize,
    /// Passes where there is little time.
    pub quick_epochs: usize,
}

/// A network to measure: its inputs are "x", its outputs "y", its targets "target".
#[derive(Debug, Clone)]
pub struct Workload {
    /// Its name in reports.
    pub name: &'static str,
    /// Shape of a sample.
    pub input: &'static [usize],
    /// Numbers of a result.
    pub outputs: usize,
    /// How results are judged.
    pub loss: Loss,
    /// How it learns.
    pub recipe: Recipe,
    /// Degree of the polynomials that take its activations' places where only sums and products go.
    pub degree: usize,
    build: fn(&mut Layers<'_>, Value) -> Result<Value, furthermore::Error>,
    examples: fn(&Sources<'_>, DType) -> Result<Task>,
}

impl Workload {
    /// Every use case.
    pub const ALL: [Workload; 5] = [
        mnist::MLP,
        mnist::LENET,
        wbc::FORWARD,
        wbc::INVERSE,
        angio::ANGIO,
    ];

    /// The workload of this name, whole or as peers call it: mlp, lenet, wbc, angio.
    pub fn named(name: &str) -> Option<Workload> {
        let whole = match name {
            "mlp" => "mnist-mlp",
            "lenet" => "mnist-lenet",
            "wbc" => "wbc-forward",
            other => other,
        };
        Self::ALL
            .into_iter()
            .find(|workload| workload.name == whole)
    }

    /// The workload that an option names.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(crate) fn of_option(name: &str) -> Result<Workload> {
        Self::named(name).ok_or_else(|| Error::Option {
            option: "--workload",
            reason: format!(
                "'{name}' is not known: there are mlp, lenet, angio, wbc and wbc-inverse"
            ),
        })
    }

    /// The schemes that it is measured with where none are named.
    pub(crate) fn schemes(&self) -> Vec<Scheme> {
        let mut schemes: Vec<Scheme> = [Algebra::Compact(2), Algebra::Blocks(2)]
            .map(Scheme::from)
            .into();
        schemes.push(Scheme {
            algebra: Algebra::Compact(4),
            messages: 3,
        });
        schemes.push(Algebra::Graded(1).into());
        if self.name == mnist::MLP.name {
            schemes.push(Algebra::Reduced(1).into());
        }
        schemes
    }

    /// The same judged and trained by the mean squared error, which is a sum of products: as long steps
    /// as before, since it is a mean over the outputs too.
    pub(crate) fn with_squared_error(mut self) -> Self {
        if self.loss != Loss::SquaredError {
            self.loss = Loss::SquaredError;
            self.recipe.rate *= self.outputs as f64 / 2.0;
        }
        self
    }

    /// Its data, in an element type.
    ///
    /// # Errors
    /// When data files cannot be read.
    pub fn task(&self, sources: &Sources<'_>, dtype: DType) -> Result<Task> {
        (self.examples)(sources, dtype)
    }

    /// The network that runs.
    ///
    /// # Errors
    /// Never for the workloads here; the engine checks names.
    pub fn inference(&self) -> Result<Network> {
        self.inference_without(None)
    }

    /// The same without a function, or with a pooling that takes the first number of each window: a
    /// network that has gone wrong.
    ///
    /// # Errors
    /// As [`Workload::inference`].
    pub(crate) fn inference_without(&self, layer: Option<&str>) -> Result<Network> {
        let (mut network, y) = self.start(layer)?;
        network.output("y", y)?;
        Ok(network)
    }

    /// The network that steps its parameters at each run, with the loss as output.
    ///
    /// # Errors
    /// When a number of the optimizer's is out of range.
    pub fn training(&self, optimizer: Optimizer) -> Result<Network> {
        let (network, y) = self.start(None)?;
        self.stepping(network, y, optimizer, None)
    }

    /// The same of another network with this one's inputs and outputs, the slots of its gradients
    /// limited to `-clip..=clip`.
    ///
    /// # Errors
    /// When it has no output "y" or no gradient, or a number is out of range.
    pub(crate) fn training_of(
        &self,
        network: &Network,
        optimizer: Optimizer,
        clip: f64,
    ) -> Result<Network> {
        let outputs = network.outputs().iter();
        let Some(&(_, y)) = outputs.clone().find(|(name, _)| name == "y") else {
            let names: Vec<&str> = outputs.map(|(name, _)| name.as_str()).collect();
            return Err(Error::from(furthermore::Error::Unknown {
                what: "output",
                name: "y".to_owned(),
                known: names.join(", "),
            }));
        };
        self.stepping(network.clone(), y, optimizer, Some(clip))
    }

    fn stepping(
        &self,
        mut network: Network,
        y: Value,
        optimizer: Optimizer,
        clip: Option<f64>,
    ) -> Result<Network> {
        let target = network.input("target", [self.outputs])?;
        let loss = match self.loss {
            Loss::CrossEntropy => network.softmax_cross_entropy("loss", y, target)?,
            Loss::SquaredError => network.mean_squared_error("loss", y, target)?,
        };
        network.output("loss", loss)?;
        Ok(network.with_optimizer(loss, optimizer, clip)?)
    }

    fn start(&self, left_out: Option<&str>) -> Result<(Network, Value)> {
        let mut network = Network::new();
        let x = network.input("x", self.input)?;
        let mut layers = Layers::new(&mut network, left_out);
        let y = (self.build)(&mut layers, x)?;
        Ok((network, y))
    }
}

/// Where the use cases' data comes from; what several of them share is made once.
#[derive(Debug)]
pub struct Sources<'a> {
    /// Folder with MNIST; digits are drawn where there is none.
    pub mnist: Option<&'a Path>,
    /// Seed of what is drawn.
    pub seed: u64,
    /// Fewer samples, where there is little time.
    pub quick: bool,
    digits: OnceCell<Digits>,
    cases: OnceCell<[circulation::Cases; 2]>,
}

impl<'a> Sources<'a> {
    /// Nothing is read or drawn yet.
    pub fn new(mnist: Option<&'a Path>, seed: u64, quick: bool) -> Self {
        Self {
            mnist,
            seed,
            quick,
            digits: OnceCell::new(),
            cases: OnceCell::new(),
        }
    }
}
