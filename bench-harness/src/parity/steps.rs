//! Commands that step parameters or limit gradients, and the guard's own.

use std::slice::from_ref;

use furthermore::Error;
use furthermore::device::RunOptions;
use furthermore::plan::Kernel;
use furthermore::scheme::Guard;

use super::Parity;
use super::bounds::Precision;
use super::rig::{OPTIONS, Rig, Stored};

const LEN: usize = 29;

/// Whether operands are encrypted, and how long they are: within a workgroup and past it.
fn ways(rig: &Rig<'_>) -> impl Iterator<Item = (bool, usize)> {
    let ways = rig.ways().iter();
    ways.flat_map(|&encrypted| [LEN, 700].map(|len| (encrypted, len)))
}

pub(super) fn sgd(parity: &Parity) {
    let rate = OPTIONS.learning_rate;
    let (momentum, weight_decay) = (0.9, 0.01);
    let kernel = Kernel::Sgd {
        rate: None,
        momentum,
        weight_decay,
    };
    let keep = 0.75;
    let average = Kernel::Sgd {
        rate: Some(keep - 1.0),
        momentum: 0.0,
        weight_decay: -1.0,
    };
    parity.everywhere(251, |rig, noise| {
        for (encrypted, len) in ways(rig) {
            let mut draw = || rig.tensor(encrypted, || noise.numbers(len, -1.0, 1.0));
            let (g, p, v) = (draw(), draw(), draw());
            let step = |g: &[f64], p: &[f64]| -> Vec<f64> {
                g.iter().zip(p).map(|(g, p)| g + weight_decay * p).collect()
            };
            let down = |p: &[f64], step: &[f64]| -> Vec<f64> {
                p.iter()
                    .zip(step)
                    .map(|(p, step)| p - rate * step)
                    .collect()
            };
            let (g, stepped) = ([g], [p, v]);
            rig.check(&kernel, &g, &stepped[..1], (8, 2.0), |read, found| {
                vec![down(found[0], &step(read[0], found[0]))]
            });
            rig.check(&average, &g, &stepped[..1], (8, 2.0), |read, found| {
                let pairs = read[0].iter().zip(found[0]);
                vec![pairs.map(|(g, p)| keep * p + (1.0 - keep) * g).collect()]
            });
            rig.check(&kernel, &g, &stepped, (8, 2.0), |read, found| {
                let pairs = step(read[0], found[0]).into_iter().zip(found[1]);
                let v: Vec<f64> = pairs.map(|(s, v)| momentum * v + s).collect();
                vec![down(found[0], &v), v]
            });
        }
    });
}

pub(super) fn adam(parity: &Parity) {
    let (rate, step) = (OPTIONS.learning_rate, OPTIONS.step as i32);
    let (beta1, beta2, epsilon, weight_decay) = (0.9f64, 0.999f64, 1e-3, 0.01);
    let kernel = Kernel::Adam {
        beta1,
        beta2,
        epsilon,
        weight_decay,
    };
    parity.everywhere(252, |rig, noise| {
        for (encrypted, len) in ways(rig) {
            let mut draw = |low| rig.tensor(encrypted, || noise.numbers(len, low, 1.0));
            let (g, p, m, u) = (draw(-1.0), draw(-1.0), draw(-1.0), draw(0.5));
            // The moments are divided by their corrections, of which the smaller is a quarter.
            rig.check(&kernel, &[g], &[p, m, u], (16, 8.0), |read, found| {
                let mut stepped = vec![Vec::new(); 3];
                for e in 0..len {
                    let (p, m, u) = (found[0][e], found[1][e], found[2][e]);
                    let g = read[0][e] + weight_decay * p;
                    let m = beta1 * m + (1.0 - beta1) * g;
                    let u = (beta2 * u * u + (1.0 - beta2) * g * g).sqrt();
                    let mean = m / (1.0 - beta1.powi(step));
                    let root = u / (1.0 - beta2.powi(step)).sqrt();
                    stepped[0].push(p - rate * mean / (root + epsilon));
                    stepped[1].push(m);
                    stepped[2].push(u);
                }
                stepped
            });
        }
    });
}

pub(super) fn clip(parity: &Parity) {
    let limit = 0.4;
    parity.everywhere(253, |rig, noise| {
        for (encrypted, len) in ways(rig) {
            let g = rig.tensor(encrypted, || noise.numbers(len, -1.0, 1.0));
            rig.check(&Kernel::Clip { limit }, &[], &[g], (8, 1.0), |_, found| {
                vec![found[0].iter().map(|g| g.clamp(-limit, limit)).collect()]
            });
        }
    });
}

/// The guard's command writes nothing; what it sees decides whether the run goes on.
pub(super) fn slot_maxima(parity: &Parity) {
    parity.everywhere(254, |rig, _| {
        let slots = rig.arithmetic.slots();
        // The last slot is a hundred times the others.
        let mut element = vec![0.01; slots];
        element[slots - 1] = 1.0;
        let rows = rig.arithmetic.from_slots().chunks(slots);
        let coordinate = |row: &[f64]| row.iter().zip(&element).map(|(w, x)| w * x).sum();
        let planes: Vec<Vec<f64>> = rows.map(|row| vec![coordinate(row); LEN]).collect();
        let mut odd = planes.clone();
        odd[0][LEN - 1] = f64::NAN;
        let kernel = Kernel::SlotMaxima;
        rig.judge_guard(&kernel, "slots apart", |device| {
            let run = |planes: &Vec<Vec<f64>>, fail: f64| {
                let guard = Guard { warn: fail, fail };
                let options = RunOptions { guard, ..OPTIONS };
                let read = Stored::Numbers(planes.clone());
                rig.run_planes(device, &kernel, from_ref(&read), &[], &options)
            };
            // Half precision has three digits, and the small slot loses two of them to the large.
            let slack = if rig.precision == Precision::F16 {
                25.0
            } else {
                0.1
            };
            match run(&planes, 200.0) {
                Ok(_) => {}
                Err(error) => return Err(format!("refused below the limit: {error}")),
            }
            match run(&planes, 50.0) {
                Ok(_) if slots == 1 => {}
                Err(Error::MaskGuard { ratio, .. }) if (ratio - 100.0).abs() < slack => {}
                other => return Err(format!("at twice the limit: {other:?}")),
            }
            match run(&odd, f64::INFINITY) {
                Err(Error::RunNotFinite { .. }) => Ok(()),
                other => Err(format!("with a number that is not finite: {other:?}")),
            }
        });
    });
}
