//! The networks that are measured.

mod resident;

use furthermore::network::{Convolution, Network, Optimizer, Pool, Value, Window};

use crate::error::Result;

pub(crate) use resident::resident;

/// How a network's outputs are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Softmax cross entropy with one-hot labels.
    CrossEntropy,
    /// Mean squared error.
    SquaredError,
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
    build: fn(&mut Network, Value) -> Result<Value, furthermore::Error>,
}

impl Workload {
    /// 784-128-10 with ReLU: digits.
    pub const MLP: Workload = Workload {
        name: "mnist-mlp",
        input: &[784],
        outputs: 10,
        loss: Loss::CrossEntropy,
        build: |network, x| {
            let x = network.linear("fc1", x, 784, 128)?;
            let x = network.relu("relu1", x)?;
            network.linear("fc2", x, 128, 10)
        },
    };

    /// Two convolutions with average pooling and three linear layers: digits.
    pub const LENET: Workload = Workload {
        name: "mnist-lenet",
        input: &[1, 28, 28],
        outputs: 10,
        loss: Loss::CrossEntropy,
        build: |network, x| {
            let padded = Convolution::padded(2);
            let x = network.conv2d("conv1", x, [1, 6], [5, 5], padded)?;
            let x = network.relu("relu1", x)?;
            let x = network.pool("pool1", Pool::Average, x, Window::tiling(2))?;
            let x = network.conv2d("conv2", x, [6, 16], [5, 5], Convolution::default())?;
            let x = network.relu("relu2", x)?;
            let x = network.pool("pool2", Pool::Average, x, Window::tiling(2))?;
            let x = network.flatten("flat", x)?;
            let x = network.linear("fc1", x, 400, 120)?;
            let x = network.relu("relu3", x)?;
            let x = network.linear("fc2", x, 120, 84)?;
            let x = network.relu("relu4", x)?;
            network.linear("fc3", x, 84, 10)
        },
    };

    /// Three convolutions with average pooling and two linear layers: angiography frames of
    /// 64 x 64, left or right coronary artery.
    pub const ANGIO: Workload = Workload {
        name: "angio",
        input: &[1, 64, 64],
        outputs: 2,
        loss: Loss::CrossEntropy,
        build: |network, x| {
            let mut x = x;
            for (nth, [ins, outs]) in [[1, 8], [8, 16], [16, 32]].into_iter().enumerate() {
                let nth = nth + 1;
                let padded = Convolution::padded(1);
                x = network.conv2d(&format!("conv{nth}"), x, [ins, outs], [3, 3], padded)?;
                x = network.relu(&format!("relu{nth}"), x)?;
                x = network.pool(&format!("pool{nth}"), Pool::Average, x, Window::tiling(2))?;
            }
            let x = network.flatten("flat", x)?;
            let x = network.linear("fc1", x, 2048, 64)?;
            let x = network.relu("relu4", x)?;
            network.linear("fc2", x, 64, 2)
        },
    };

    /// 8-64-64-8 with tanh: the network for the circulation model.
    pub const WBC: Workload = Workload {
        name: "wbc",
        input: &[8],
        outputs: 8,
        loss: Loss::SquaredError,
        build: |network, x| {
            let x = network.linear("fc1", x, 8, 64)?;
            let x = network.tanh("tanh1", x)?;
            let x = network.linear("fc2", x, 64, 64)?;
            let x = network.tanh("tanh2", x)?;
            network.linear("fc3", x, 64, 8)
        },
    };

    /// The workload that peers and options call by this name.
    pub fn named(name: &str) -> Option<Workload> {
        match name {
            "mlp" => Some(Self::MLP),
            "lenet" => Some(Self::LENET),
            "angio" => Some(Self::ANGIO),
            "wbc" => Some(Self::WBC),
            _ => None,
        }
    }

    /// The network that runs.
    ///
    /// # Errors
    /// Never for the workloads here; the engine checks names.
    pub fn inference(&self) -> Result<Network> {
        let (mut network, _, y) = self.start()?;
        network.output("y", y)?;
        Ok(network)
    }

    /// The network that steps its parameters at each run, with the loss as output.
    ///
    /// # Errors
    /// When the momentum is not in [0, 1).
    pub fn training(&self, momentum: f64) -> Result<Network> {
        let (mut network, _, y) = self.start()?;
        let target = network.input("target", [self.outputs])?;
        let loss = match self.loss {
            Loss::CrossEntropy => network.softmax_cross_entropy("loss", y, target)?,
            Loss::SquaredError => network.mean_squared_error("loss", y, target)?,
        };
        network.output("loss", loss)?;
        Ok(network.with_optimizer(loss, Optimizer::sgd(momentum), None)?)
    }

    fn start(&self) -> Result<(Network, Value, Value)> {
        let mut network = Network::new();
        let x = network.input("x", self.input)?;
        let y = (self.build)(&mut network, x)?;
        Ok((network, x, y))
    }
}
