//! Which outputs can be had of any number of samples, a batch at a time: those of which nothing of one
//! sample goes into another's, wherever the samples lie in between.

use std::sync::Arc;

use furthermore::Error;
use furthermore::network::{Function, Init, Network, Optimizer, Reduction, Statistics, Value};
use furthermore::plan::{CompileOptions, Plan};
use furthermore::session::Session;
use furthermore::tensor::{DType, Plaintext, Tensor};

use crate::support::{Noise, cpu, key, open, refused, tensor};

const SAMPLES: usize = 21;
const BATCH: usize = 8;

/// Makes an output of samples of 4 x 6, for a batch.
type Make = fn(&mut Network, Value, usize) -> Result<Value, Error>;

fn session(make: Make, batch: usize) -> Session {
    let mut network = Network::new();
    let x = network.input("x", [4, 6]).expect("a new name");
    let y = make(&mut network, x, batch).expect("a network");
    network.output("out", y).expect("a new name");
    let options = CompileOptions::plain(batch, DType::F64);
    let plan = Plan::compile(&network, &options).expect("it compiles");
    let start = network.initial_parameters(1, DType::F64).expect("weights");
    open(&cpu(), Arc::new(plan), &key(2, 6), &start)
}

fn predicted(make: Make, batch: usize, x: &Plaintext) -> Result<Vec<f64>, Error> {
    let all = session(make, batch).predict(&[("x", x.into())], "out", |_| ());
    all.map(|all| match all {
        Tensor::Plaintext(all) => all.to_f64(),
        Tensor::Ciphertext(_) => panic!("nothing is encrypted"),
    })
}

fn samples(count: usize) -> Plaintext {
    let numbers = Noise::new(8).numbers(count * 24, -1.0, 1.0);
    tensor(&[count, 4, 6], &numbers, DType::F64)
}

/// Attention with two heads as PyTorch exports it: samples go to the second axis, are merged with heads
/// there, come to the front with them, go back, and are merged with the places before them.
fn attention(n: &mut Network, x: Value, batch: usize) -> Result<Value, Error> {
    let x = n.transpose("places", x, &[1, 0, 2])?;
    let x = n.reshape_to("heads", x, [4, 2 * batch, 3])?;
    let x = n.transpose("heads.first", x, &[1, 0, 2])?;
    let scores = n.matmul_with("scores", x, x, false, true)?;
    let bias = n.constant(
        "bias",
        [2 * batch, 1, 4],
        [0.3, 0.1, 0.4, 0.2].repeat(2 * batch),
    )?;
    let scores = n.add("biased", scores, bias)?;
    let weights = n.map("exp", Function::Exp, scores)?;
    let sums = n.reduce("sums", Reduction::Sum, weights, &[2], true)?;
    let weights = n.divide("weights", weights, sums)?;
    let x = n.matmul("attended", weights, x)?;
    let x = n.transpose("heads.back", x, &[1, 0, 2])?;
    let x = n.reshape_to("rows", x, [4 * batch, 6])?;
    let x = n.linear("out.rows", x, 6, 6)?;
    let x = n.reshape_to("places.back", x, [4, batch, 6])?;
    n.transpose("y", x, &[1, 0, 2])
}

#[test]
fn samples_that_stay_apart_are_cut_into_batches() {
    let cases: [(&str, Make); 15] = [
        ("a function", |n, x, _| n.tanh("y", x)),
        ("a softmax of a sample", |n, x, _| {
            n.softmax("y", x, 1, false)
        }),
        ("a sum of a sample", |n, x, _| {
            n.reduce("y", Reduction::Sum, x, &[1, 2], true)
        }),
        ("products of a sample with itself", |n, x, _| {
            n.matmul_with("y", x, x, false, true)
        }),
        ("rows apart and together again", |n, x, batch| {
            let rows = n.reshape_to("rows", x, [batch * 4, 6])?;
            let rows = n.softmax("soft", rows, 1, false)?;
            n.reshape_to("y", rows, [batch, 24])
        }),
        ("axes exchanged", |n, x, _| n.transpose("y", x, &[0, 2, 1])),
        ("a sample beside itself", |n, x, _| {
            n.concat("y", &[x, x], 2)
        }),
        ("one row for all samples", |n, x, batch| {
            let rows = n.constant("rows", [batch, 1, 6], vec![0.5; batch * 6])?;
            n.concat("y", &[rows, x], 1)
        }),
        ("samples as columns", |n, x, batch| {
            let rows = n.reshape("rows", x, [24])?;
            let columns = n.transpose("columns", rows, &[1, 0])?;
            let top = n.slice("top", columns, 0, 1, 2, 7)?;
            let padded = n.pad("padded", top, &[[1, 0], [0, 0]])?;
            let ones = n.constant("ones", [1, batch], vec![1.0; batch])?;
            let more = n.concat("more", &[padded, ones], 0)?;
            let weights = n.parameter("weights", [9, 5], Init::Uniform { bound: 1.0 })?;
            n.matmul_with("y", more, weights, true, false)
        }),
        ("a matrix from the left", |n, x, _| {
            let rows = n.reshape("rows", x, [24])?;
            let weights = n.parameter("weights", [5, 24], Init::Uniform { bound: 1.0 })?;
            let columns = n.matmul_with("columns", weights, rows, false, true)?;
            let more = n.matmul_with("more", weights, columns, true, false)?;
            n.transpose("y", more, &[1, 0])
        }),
        ("a mean before the samples", |n, x, _| {
            let places = n.transpose("places", x, &[1, 0, 2])?;
            n.reduce("y", Reduction::Mean, places, &[0], false)
        }),
        ("a maximum behind them, kept", |n, x, _| {
            let places = n.transpose("places", x, &[1, 0, 2])?;
            let most = n.reduce("most", Reduction::Max, places, &[2], true)?;
            let less = n.subtract("less", places, most)?;
            n.transpose("y", less, &[1, 2, 0])
        }),
        ("a number for each place, over and over", |n, x, batch| {
            let places = n.transpose("places", x, &[1, 0, 2])?;
            let rows = n.reshape_to("rows", places, [4 * batch, 6])?;
            let numbers = (0..4 * batch).map(|row| (row / batch) as f64).collect();
            let numbers = n.constant("numbers", [4 * batch, 1], numbers)?;
            let rows = n.add("sum", rows, numbers)?;
            let places = n.reshape_to("places.back", rows, [4, batch, 6])?;
            n.transpose("y", places, &[1, 0, 2])
        }),
        ("attention", attention),
        ("a sum of two ways to move", |n, x, batch| {
            let moved = attention(n, x, batch)?;
            n.add("sum", moved, x)
        }),
    ];
    let x = samples(SAMPLES);
    for (what, make) in cases {
        let found = |batch| {
            let found = predicted(make, batch, &x);
            found.unwrap_or_else(|error| panic!("{what} by {batch}: {error}"))
        };
        let whole = found(SAMPLES);
        for batch in [1, 2, 5, BATCH, 34] {
            for (found, whole) in found(batch).iter().zip(&whole) {
                let error = (found - whole).abs();
                assert!(error < 1e-13, "{what} by {batch}: {found} and {whole}");
            }
        }
    }
}

#[test]
fn samples_that_meet_are_not_cut_into_batches() {
    let cases: [(&str, Make); 14] = [
        ("a softmax of the batch", |n, x, _| {
            n.softmax("y", x, 0, false)
        }),
        ("a mean of the batch taken off", |n, x, _| {
            let mean = n.reduce("mean", Reduction::Mean, x, &[0], true)?;
            n.subtract("y", x, mean)
        }),
        ("batch normalisation in training", |n, x, _| {
            n.batch_norm("y", x, 1e-3, Statistics::Batch { keep: 0.9 })
        }),
        ("samples backwards", |n, x, batch| {
            n.slice("y", x, 0, batch - 1, -1, batch)
        }),
        ("a number for each sample added", |n, x, batch| {
            let rows = (0..batch).map(|row| row as f64).collect();
            let rows = n.constant("rows", [batch, 1, 1], rows)?;
            n.add("y", x, rows)
        }),
        ("a softmax of the batch on the last axis", |n, x, _| {
            let last = n.transpose("last", x, &[1, 2, 0])?;
            let soft = n.softmax("soft", last, 2, false)?;
            n.transpose("y", soft, &[2, 0, 1])
        }),
        ("a mean of samples and places", |n, x, batch| {
            let places = n.transpose("places", x, &[1, 0, 2])?;
            let rows = n.reshape_to("rows", places, [4 * batch, 6])?;
            let mean = n.reduce("mean", Reduction::Mean, rows, &[0], true)?;
            n.add("y", x, mean)
        }),
        ("products of samples", |n, x, _| {
            let rows = n.reshape("rows", x, [24])?;
            n.matmul_with("y", rows, rows, false, true)
        }),
        ("attention among samples", |n, x, _| {
            let places = n.transpose("places", x, &[1, 0, 2])?;
            let scores = n.matmul_with("scores", places, places, false, true)?;
            let weights = n.softmax("weights", scores, 2, false)?;
            let attended = n.matmul("attended", weights, places)?;
            n.transpose("y", attended, &[1, 0, 2])
        }),
        ("a sum over samples inside a product", |n, x, batch| {
            let rows = n.reshape("rows", x, [24])?;
            let squares = n.matmul_with("squares", rows, rows, true, false)?;
            let part = n.slice("part", squares, 0, 0, 1, batch)?;
            n.scale("y", part, 0.5)
        }),
        ("axes merged in another order", |n, x, batch| {
            let places = n.transpose("places", x, &[1, 0, 2])?;
            n.reshape_to("y", places, [batch, 24])
        }),
        ("samples cut in two axes", |n, x, batch| {
            let halves = n.reshape_to("halves", x, [batch / 2, 2, 24])?;
            let turned = n.transpose("turned", halves, &[1, 0, 2])?;
            n.reshape_to("y", turned, [batch, 24])
        }),
        (
            "a number for each sample among the places",
            |n, x, batch| {
                let places = n.transpose("places", x, &[1, 0, 2])?;
                let rows = n.reshape_to("rows", places, [4 * batch, 6])?;
                let numbers = (0..4 * batch).map(|row| (row % batch) as f64).collect();
                let numbers = n.constant("numbers", [4 * batch, 1], numbers)?;
                let rows = n.add("sum", rows, numbers)?;
                let places = n.reshape_to("places.back", rows, [4, batch, 6])?;
                n.transpose("y", places, &[1, 0, 2])
            },
        ),
        ("samples beside places of others", |n, x, batch| {
            let places = n.transpose("places", x, &[1, 0, 2])?;
            let other = n.reshape_to("other", places, [batch, 4, 6])?;
            n.add("y", x, other)
        }),
    ];
    let (x, fitting) = (samples(SAMPLES), samples(BATCH));
    for (what, make) in cases {
        let parts = ["samples stay apart", "21"];
        refused(what, predicted(make, BATCH, &x), &parts);
        let one = predicted(make, BATCH, &fitting);
        one.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

/// A batch of one does not hide that samples would meet in a larger one.
#[test]
fn one_sample_is_a_batch_too() {
    let meet: [(&str, Make); 3] = [
        ("a mean of the batch taken off", |n, x, _| {
            let mean = n.reduce("mean", Reduction::Mean, x, &[0], true)?;
            n.subtract("y", x, mean)
        }),
        ("a softmax of the batch on the last axis", |n, x, _| {
            let last = n.transpose("last", x, &[1, 2, 0])?;
            let soft = n.softmax("soft", last, 2, false)?;
            n.transpose("y", soft, &[2, 0, 1])
        }),
        ("batch normalisation in training", |n, x, _| {
            n.batch_norm("y", x, 1e-3, Statistics::Batch { keep: 0.9 })
        }),
    ];
    for (what, make) in meet {
        let parts = ["samples stay apart", "21"];
        refused(what, predicted(make, 1, &samples(SAMPLES)), &parts);
    }
}

/// A run that steps parameters changes what the next samples meet.
#[test]
fn samples_are_not_cut_into_runs_that_train() {
    let mut network = Network::new();
    let x = network.input("x", [6]).expect("a new name");
    let target = network.input("target", [2]).expect("a new name");
    let y = network.linear("y", x, 6, 2).expect("a layer");
    let loss = network.mean_squared_error("loss", y, target);
    let loss = loss.expect("a loss");
    network.output("out", y).expect("a new name");
    let training = network.with_optimizer(loss, Optimizer::sgd(0.0), None);
    let training = training.expect("a training network");
    let options = CompileOptions::plain(BATCH, DType::F64);
    let plan = Plan::compile(&training, &options).expect("it compiles");
    let start = training.initial_parameters(1, DType::F64).expect("weights");
    let mut session = open(&cpu(), Arc::new(plan), &key(2, 6), &start);
    let rows = |width: usize| {
        let numbers = Noise::new(8).numbers(SAMPLES * width, -1.0, 1.0);
        Plaintext::new([SAMPLES, width], &numbers).expect("rows")
    };
    let (x, target) = (rows(6), rows(2));
    let inputs = [("x", (&x).into()), ("target", (&target).into())];
    let parts = ["samples stay apart", "21"];
    refused(
        "a training run",
        session.predict(&inputs, "out", |_| ()),
        &parts,
    );
}
