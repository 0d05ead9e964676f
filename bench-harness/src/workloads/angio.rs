//! X-ray coronary angiography: which of the two coronary arteries a frame shows.

use furthermore::network::{Convolution, Optimizer, Pool};

use super::examples::{Examples, Judged, Standard, Task, one_hot};
use super::{Loss, Recipe, Workload};
use crate::data::angiograms::{self, CLASSES, SIDE};

/// Phantoms to train on and to test on.
const DRAWN: (usize, usize) = (3_000, 1_000);
/// The same where there is little time.
const QUICK: (usize, usize) = (1_536, 512);

/// Three convolutions with average pooling and two linear layers.
pub(super) const ANGIO: Workload = Workload {
    name: "angio",
    input: &[1, SIDE, SIDE],
    outputs: CLASSES,
    loss: Loss::CrossEntropy,
    recipe: Recipe {
        optimizer: Optimizer::adam(),
        rate: 1e-3,
        decays: true,
        epochs: 10,
        quick_epochs: 6,
    },
    degree: 2,
    build: |network, x| {
        let mut x = x;
        for (nth, [ins, outs]) in [[1, 8], [8, 16], [16, 32]].into_iter().enumerate() {
            let nth = nth + 1;
            let padded = Convolution::padded(1);
            x = network.conv2d(&format!("conv{nth}"), x, [ins, outs], [3, 3], padded)?;
            x = network.relu(&format!("relu{nth}"), x)?;
            x = network.pool(&format!("pool{nth}"), Pool::Average, x, 2)?;
        }
        let x = network.flatten("flat", x)?;
        let x = network.linear("fc1", x, 2048, 64)?;
        let x = network.relu("relu4", x)?;
        network.linear("fc2", x, 64, 2)
    },
    examples: |sources, dtype| {
        let (train, test) = if sources.quick { QUICK } else { DRAWN };
        let drawn = angiograms::draw(sources.seed, train, test);
        // One scale for all pixels: a network finds them around zero then.
        let scale = Standard::of(&drawn.train.images, 1);
        let examples = |split: &crate::data::Split| {
            let targets = one_hot(&split.labels, CLASSES);
            let images = scale.apply(&split.images);
            Examples::new(ANGIO.input, &images, CLASSES, &targets, dtype)
        };
        Ok(Task {
            data: "drawn-angiograms",
            train: examples(&drawn.train)?,
            test: examples(&drawn.test)?,
            judged: Judged::Classes,
        })
    },
};
