//! The circulation of the whole body: a network that stands for the model, and one that turns it round.

use furthermore::network::{Optimizer, Value};
use furthermore::tensor::DType;

use super::examples::{Examples, Judged, Standard, Task};
use super::layers::Layers;
use super::{Loss, Recipe, Sources, Workload};
use crate::data::circulation::{self, Cases, MEASUREMENTS, PARAMETERS};
use crate::error::Result;

/// Cases to train on and to test on.
const CASES: (usize, usize) = (5_000, 1_000);

/// From the eight parameters to the eight measurements: 8-64-64-8 with tanh.
pub(super) const FORWARD: Workload = Workload {
    name: "wbc-forward",
    input: &[PARAMETERS.len()],
    outputs: MEASUREMENTS.len(),
    loss: Loss::SquaredError,
    recipe: RECIPE,
    degree: 3,
    build: |network, x| perceptron(network, x, [PARAMETERS.len(), MEASUREMENTS.len()]),
    examples: |sources, dtype| {
        let quantities: Vec<_> = MEASUREMENTS.iter().collect();
        task(sources, dtype, &quantities, |cases| {
            (cases.parameters.clone(), cases.measurements.clone())
        })
    },
};

/// Parameters that can be told from the measurements, by their place: maximal elastance of the left
/// ventricle, resistance and compliance of the systemic arteries. The heart rate is measured.
const TOLD: [usize; 3] = [1, 3, 4];
const RATE: usize = 0;

/// From the heart rate and the eight measurements to three parameters: 9-64-64-3 with tanh.
pub(super) const INVERSE: Workload = Workload {
    name: "wbc-inverse",
    input: &[MEASUREMENTS.len() + 1],
    outputs: TOLD.len(),
    loss: Loss::SquaredError,
    recipe: RECIPE,
    degree: 3,
    build: |network, x| perceptron(network, x, [MEASUREMENTS.len() + 1, TOLD.len()]),
    examples: |sources, dtype| {
        let quantities: Vec<_> = TOLD.iter().map(|&nth| &PARAMETERS[nth]).collect();
        task(sources, dtype, &quantities, |cases| {
            let rows = cases.parameters.chunks_exact(PARAMETERS.len());
            let measured = cases.measurements.chunks_exact(MEASUREMENTS.len());
            let inputs = rows.clone().zip(measured);
            (
                inputs
                    .flat_map(|(row, measured)| [&row[RATE..=RATE], measured].concat())
                    .collect(),
                rows.flat_map(|row| TOLD.map(|nth| row[nth])).collect(),
            )
        })
    },
};

const RECIPE: Recipe = Recipe {
    optimizer: Optimizer::adam(),
    rate: 2e-3,
    decays: true,
    epochs: 150,
    quick_epochs: 20,
};

fn perceptron(
    network: &mut Layers<'_>,
    x: Value,
    [inputs, outputs]: [usize; 2],
) -> Result<Value, furthermore::Error> {
    let x = network.linear("fc1", x, inputs, 64)?;
    let x = network.tanh("tanh1", x)?;
    let x = network.linear("fc2", x, 64, 64)?;
    let x = network.tanh("tanh2", x)?;
    network.linear("fc3", x, 64, outputs)
}

/// Inputs and targets picked from the cases, all standardised over the training set.
fn task(
    sources: &Sources<'_>,
    dtype: DType,
    quantities: &[&circulation::Quantity],
    pick: impl Fn(&Cases) -> (Vec<f32>, Vec<f32>),
) -> Result<Task> {
    let [train, test] = match sources.cases.get() {
        Some(cases) => cases,
        None => {
            let (train, test) = circulation::draw(sources.seed, CASES.0, CASES.1)?;
            sources.cases.get_or_init(|| [train, test])
        }
    };
    let [(inputs, targets), test] = [train, test].map(pick);
    let width = inputs.len() / CASES.0;
    let scales = [
        Standard::of(&inputs, width),
        Standard::of(&targets, quantities.len()),
    ];
    let examples = |(inputs, targets): &(Vec<f32>, Vec<f32>)| {
        let (x, y) = (scales[0].apply(inputs), scales[1].apply(targets));
        Examples::new(&[width], &x, quantities.len(), &y, dtype)
    };
    let named = quantities.iter().map(|q| (q.name, q.unit));
    Ok(Task {
        data: "circulation-model",
        judged: Judged::Quantities(scales[1].quantities(named, &test.1)),
        test: examples(&test)?,
        train: examples(&(inputs, targets))?,
    })
}
