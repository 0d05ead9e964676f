//! The whole-body circulation: a closed loop of heart and vessels whose measurements a network learns
//! from its parameters, and the parameters from measurements.
//!
//! `model` has the equations; [`summaries`] integrates any number of circulations to their periodic
//! state, [`beat`] gives the curves of one, and [`draw`] makes a data set of both.

mod model;
mod periodic;

use rand::RngExt;
use thiserror::Error;

use super::samples::{Part, stream};

pub use model::Parameters;
pub use periodic::{Beat, beat, summaries};

/// A number that a data set holds for every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// Its name.
    pub name: &'static str,
    /// Its unit; 1 for a ratio.
    pub unit: &'static str,
}

const fn quantity(name: &'static str, unit: &'static str) -> Quantity {
    Quantity { name, unit }
}

/// What differs from case to case, in the order of [`Parameters::varied`].
pub const PARAMETERS: [Quantity; 8] = [
    quantity("heart rate", "1/min"),
    quantity("EmaxL", "mmHg/ml"),
    quantity("EminL", "mmHg/ml"),
    quantity("Rsys", "mmHg s/ml"),
    quantity("Csa", "ml/mmHg"),
    quantity("Vtot", "ml"),
    quantity("EmaxR", "mmHg/ml"),
    quantity("Rpul", "mmHg s/ml"),
];

/// Between which values each of [`PARAMETERS`] is drawn, uniformly: combinations of these stay
/// physiological.
pub const RANGES: [[f64; 2]; PARAMETERS.len()] = [
    [50.0, 110.0],
    [1.0, 4.0],
    [0.05, 0.15],
    [0.7, 1.6],
    [0.8, 2.4],
    [900.0, 1400.0],
    [0.35, 0.8],
    [0.05, 0.2],
];

/// What is measured, in the order of [`Summary::values`].
pub const MEASUREMENTS: [Quantity; 8] = [
    quantity("systolic pressure", "mmHg"),
    quantity("diastolic pressure", "mmHg"),
    quantity("mean pressure", "mmHg"),
    quantity("stroke volume", "ml"),
    quantity("ejection fraction", "1"),
    quantity("end-diastolic volume", "ml"),
    quantity("end-systolic volume", "ml"),
    quantity("cardiac output", "l/min"),
];

/// What a clinic would measure of a circulation in its periodic state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Highest pressure in the aorta, in mmHg.
    pub systolic: f64,
    /// Lowest pressure in the aorta, in mmHg.
    pub diastolic: f64,
    /// Mean pressure in the aorta over a beat, in mmHg.
    pub mean: f64,
    /// What the left ventricle ejects in a beat, in ml.
    pub stroke_volume: f64,
    /// Stroke volume over end-diastolic volume.
    pub ejection_fraction: f64,
    /// Largest volume of the left ventricle, in ml.
    pub end_diastolic_volume: f64,
    /// Smallest volume of the left ventricle, in ml.
    pub end_systolic_volume: f64,
    /// What the left ventricle ejects in a minute, in l/min.
    pub cardiac_output: f64,
}

impl Summary {
    /// The numbers in the order of [`MEASUREMENTS`].
    pub fn values(&self) -> [f64; MEASUREMENTS.len()] {
        [
            self.systolic,
            self.diastolic,
            self.mean,
            self.stroke_volume,
            self.ejection_fraction,
            self.end_diastolic_volume,
            self.end_systolic_volume,
            self.cardiac_output,
        ]
    }
}

/// Why a circulation has no periodic state to be measured.
#[derive(Debug, Error, PartialEq)]
pub enum CirculationError {
    /// A parameter has a value that none can have.
    #[error("circulation {case}: {name} is {value}, and has to be {needed}")]
    Parameter {
        /// Position of the circulation among those given.
        case: usize,
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What values there are.
        needed: &'static str,
    },
    /// It still changes from beat to beat, or its numbers have grown without bound.
    #[error("circulation {case}: not periodic after {beats} beats")]
    NotPeriodic {
        /// Position of the circulation among those given.
        case: usize,
        /// Beats that were tried.
        beats: usize,
    },
}

/// One part of a data set: parameters, and what is measured with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Cases {
    /// `len()` x 8, row-major, in the order of [`PARAMETERS`].
    pub parameters: Vec<f32>,
    /// `len()` x 8, row-major, in the order of [`MEASUREMENTS`].
    pub measurements: Vec<f32>,
}

impl Cases {
    /// Number of cases.
    pub fn len(&self) -> usize {
        self.parameters.len() / PARAMETERS.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }
}

/// Draws `train` and `test` circulations with parameters between [`RANGES`], and measures them, in
/// parallel on the current rayon pool.
///
/// The result depends on the arguments alone, and a part not on the size of the other. The
/// measurements are those of the parameters as they stand in f32.
///
/// # Errors
/// When a circulation does not come to a periodic state, which none within the ranges is known to do.
pub fn draw(seed: u64, train: usize, test: usize) -> Result<(Cases, Cases), CirculationError> {
    Ok((
        draw_part(seed, Part::Train, train)?,
        draw_part(seed, Part::Test, test)?,
    ))
}

fn draw_part(seed: u64, part: Part, count: usize) -> Result<Cases, CirculationError> {
    let drawn = |i: usize| {
        let mut rng = stream(seed, part.samples() + i as u64);
        RANGES.map(|[low, high]| rng.random_range(low..=high) as f32)
    };
    let rows: Vec<[f32; PARAMETERS.len()]> = (0..count).map(drawn).collect();
    let cases: Vec<Parameters> = rows
        .iter()
        .map(|row| Parameters::varied(row.map(f64::from)))
        .collect();
    let measured = summaries(&cases)?;
    Ok(Cases {
        parameters: rows.into_flattened(),
        measurements: measured
            .iter()
            .flat_map(|summary| summary.values().map(|x| x as f32))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_differ_and_do_not_depend_on_each_other() {
        let (train, test) = draw(7, 21, 13).expect("cases");
        assert_eq!((train.len(), test.len()), (21, 13));
        assert_eq!(train.measurements.len(), 21 * MEASUREMENTS.len());
        assert_eq!(draw(7, 21, 0).expect("cases").0, train);
        let (none, again) = draw(7, 0, 13).expect("cases");
        assert!(none.is_empty() && none.measurements.is_empty());
        assert_eq!(again, test);
        // A longer part starts as the shorter one.
        let (longer, _) = draw(7, 22, 0).expect("cases");
        assert_eq!(longer.measurements[..21 * 8], train.measurements);
        assert_ne!(train.parameters[..8], test.parameters[..8]);
        assert_ne!(
            draw(8, 21, 0).expect("cases").0.parameters,
            train.parameters
        );
    }

    #[test]
    fn measurements_are_those_of_the_parameters_beside_them() {
        let (cases, _) = draw(3, 9, 0).expect("cases");
        for (row, measured) in cases
            .parameters
            .chunks_exact(8)
            .zip(cases.measurements.chunks_exact(8))
        {
            let row: [f32; 8] = row.try_into().expect("eight");
            let parameters = Parameters::varied(row.map(f64::from));
            let summary = summaries(&[parameters]).expect("periodic")[0];
            assert_eq!(summary.values().map(|x| x as f32), measured);
        }
    }

    #[test]
    fn what_is_drawn_fills_its_ranges_and_is_physiological() {
        let (cases, _) = draw(5, 200, 0).expect("cases");
        let column = |data: &[f32], i: usize| -> (f32, f32) {
            let values = data.iter().skip(i).step_by(8).copied();
            values.fold((f32::MAX, f32::MIN), |(low, high), x| {
                (low.min(x), high.max(x))
            })
        };
        for (i, [low, high]) in RANGES.into_iter().enumerate() {
            let (lowest, highest) = column(&cases.parameters, i);
            let tenth = ((high - low) / 10.0) as f32;
            assert!(
                (low as f32..low as f32 + tenth).contains(&lowest),
                "{lowest}"
            );
            assert!(
                (high as f32 - tenth..=high as f32).contains(&highest),
                "{highest}"
            );
        }
        let limits = [
            [50.0, 220.0],
            [20.0, 170.0],
            [40.0, 190.0],
            [20.0, 150.0],
            [0.2, 0.9],
            [60.0, 260.0],
            [15.0, 180.0],
            [2.0, 10.0],
        ];
        for (i, [low, high]) in limits.into_iter().enumerate() {
            let (lowest, highest) = column(&cases.measurements, i);
            let name = MEASUREMENTS[i].name;
            assert!(
                low <= lowest && highest <= high,
                "{name}: {lowest} to {highest}"
            );
        }
    }
}
