//! Handwritten digits: a small perceptron and LeNet-5 with average pooling.

use furthermore::network::{Convolution, Optimizer, Pool};
use furthermore::tensor::DType;

use super::examples::{Examples, Judged, Task, one_hot};
use super::{Loss, Recipe, Sources, Workload};
use crate::data::{self, CLASSES, Split};
use crate::error::Result;

/// Digits drawn for training and for testing where no data is given: MNIST's test set is as large.
const DRAWN: (usize, usize) = (10_000, 10_000);

/// 784-128-10 with ReLU.
pub(super) const MLP: Workload = Workload {
    name: "mnist-mlp",
    input: &[784],
    outputs: CLASSES,
    loss: Loss::CrossEntropy,
    recipe: Recipe {
        optimizer: Optimizer::sgd(0.9),
        rate: 0.1,
        decays: false,
        epochs: 5,
        quick_epochs: 1,
    },
    degree: 2,
    build: |network, x| {
        let x = network.linear("fc1", x, 784, 128)?;
        let x = network.relu("relu1", x)?;
        network.linear("fc2", x, 128, 10)
    },
    examples: |sources, dtype| task(sources, MLP.input, dtype),
};

/// Two convolutions with average pooling and three linear layers.
pub(super) const LENET: Workload = Workload {
    name: "mnist-lenet",
    input: &[1, 28, 28],
    outputs: CLASSES,
    loss: Loss::CrossEntropy,
    recipe: Recipe {
        optimizer: Optimizer::sgd(0.9),
        rate: 0.05,
        decays: true,
        epochs: 10,
        quick_epochs: 1,
    },
    degree: 2,
    build: |network, x| {
        let padded = Convolution::padded(2);
        let x = network.conv2d("conv1", x, [1, 6], [5, 5], padded)?;
        let x = network.relu("relu1", x)?;
        let x = network.pool("pool1", Pool::Average, x, 2)?;
        let x = network.conv2d("conv2", x, [6, 16], [5, 5], Convolution::default())?;
        let x = network.relu("relu2", x)?;
        let x = network.pool("pool2", Pool::Average, x, 2)?;
        let x = network.flatten("flat", x)?;
        let x = network.linear("fc1", x, 400, 120)?;
        let x = network.relu("relu3", x)?;
        let x = network.linear("fc2", x, 120, 84)?;
        let x = network.relu("relu4", x)?;
        network.linear("fc3", x, 84, 10)
    },
    examples: |sources, dtype| task(sources, LENET.input, dtype),
};

/// Digits as images of this shape, from files or drawn.
fn task(sources: &Sources<'_>, shape: &[usize], dtype: DType) -> Result<Task> {
    let digits = match sources.digits.get() {
        Some(digits) => digits,
        None => {
            let digits = match sources.mnist {
                Some(folder) => data::load(folder)?,
                None => data::draw(sources.seed, DRAWN.0, DRAWN.1),
            };
            sources.digits.get_or_init(|| digits)
        }
    };
    let examples = |split: &Split| {
        let targets = one_hot(&split.labels, CLASSES);
        Examples::new(shape, &split.images, CLASSES, &targets, dtype)
    };
    Ok(Task {
        data: digits.name,
        train: examples(&digits.train)?,
        test: examples(&digits.test)?,
        judged: Judged::Classes,
    })
}
