//! Integration of many circulations to their periodic state, and what is measured there.

use rayon::prelude::*;
use wide::f64x4;

use super::model::{Equations, LANES, Moment, Parameters, STATES, State};
use super::{CirculationError, Summary};

/// Steps of a beat: 1.4 to 3 ms at the rates that are drawn. Valves open and close within steps, which
/// leaves errors of at most 2e-4 relative in what is measured; the fastest rate of the equations,
/// Rsys / Lsa, is far from the method's limit.
pub(super) const STEPS: usize = 400;

/// A circulation is periodic when no number of its state has changed by more than this over a beat,
/// relative to itself. What remains changes by about three tenths from beat to beat.
const TOLERANCE: f64 = 1e-6;

/// Beats after which a circulation that is not periodic is given up; those drawn take 60 at most.
const BEATS: usize = 400;

/// Takes [`LANES`] states through one beat by the classical Runge-Kutta method of order 4, and shows
/// every state but the last, with what the equations say of it.
#[inline(always)]
fn one_beat(equations: &Equations, start: State, mut see: impl FnMut(&State, &Moment)) -> State {
    let step = equations.step;
    let half = step * f64x4::HALF;
    let (two, sixth) = (f64x4::splat(2.0), step / f64x4::splat(6.0));
    let advanced = |state: &State, by: f64x4, rates: &State| -> State {
        std::array::from_fn(|i| state[i] + by * rates[i])
    };
    let mut state = start;
    for e in equations.contraction.windows(3).step_by(2) {
        let now = equations.at(&state, e[0]);
        see(&state, &now);
        let k1 = now.rates;
        let k2 = equations.at(&advanced(&state, half, &k1), e[1]).rates;
        let k3 = equations.at(&advanced(&state, half, &k2), e[1]).rates;
        let k4 = equations.at(&advanced(&state, step, &k3), e[2]).rates;
        state = std::array::from_fn(|i| state[i] + sixth * (k1[i] + k4[i] + two * (k2[i] + k3[i])));
    }
    state
}

/// Extremes and means of [`LANES`] beats.
struct Measures {
    highest: f64x4,
    lowest: f64x4,
    sum: f64x4,
    fullest: f64x4,
    emptiest: f64x4,
    /// Arterial pressure at the state before, what it rises by in a step, and how far the ventricle's
    /// pressure is below it.
    before: Option<[f64x4; 3]>,
}

impl Measures {
    fn new() -> Self {
        let (low, high) = (f64x4::splat(f64::MIN), f64x4::splat(f64::MAX));
        Self {
            highest: low,
            lowest: high,
            sum: f64x4::ZERO,
            fullest: low,
            emptiest: high,
            before: None,
        }
    }

    #[inline(always)]
    fn see(&mut self, step: f64x4, state: &State, now: &Moment) {
        let [volume, _, arterial, ..] = *state;
        let pressure = now.aortic_pressure;
        self.highest = self.highest.fast_max(pressure);
        self.lowest = self.lowest.fast_min(pressure);
        self.sum += pressure;
        self.fullest = self.fullest.fast_max(volume);
        self.emptiest = self.emptiest.fast_min(volume);
        // The pressure is lowest at the moment when the valve opens, in the midst of a step: there
        // it turns sharply, and the lowest of the steps' own pressures would be too high.
        let gap = arterial - now.left_pressure;
        if let Some([pressure, rise, before]) = self.before {
            let opens = before.simd_gt(f64x4::ZERO) & gap.simd_lt(f64x4::ZERO);
            let corner = pressure + rise * (before / (before - gap));
            self.lowest = self.lowest.fast_min(opens.select(corner, self.lowest));
        }
        self.before = Some([arterial, step * now.rates[2], gap]);
    }

    /// The summary of one circulation.
    fn summary(&self, lane: usize, parameters: &Parameters, steps: usize) -> Summary {
        let of = |x: f64x4| x.to_array()[lane];
        let (fullest, emptiest) = (of(self.fullest), of(self.emptiest));
        let stroke_volume = fullest - emptiest;
        Summary {
            systolic: of(self.highest),
            diastolic: of(self.lowest),
            mean: of(self.sum) / steps as f64,
            stroke_volume,
            ejection_fraction: stroke_volume / fullest,
            end_diastolic_volume: fullest,
            end_systolic_volume: emptiest,
            cardiac_output: stroke_volume * parameters.heart_rate / 1000.0,
        }
    }
}

/// A circulation in its periodic state.
#[derive(Clone, Copy)]
struct Settled {
    summary: Summary,
    /// The state that the measured beat started from.
    start: [f64; STATES],
}

/// Integrates circulations until each is periodic. A circulation's result does not depend on those
/// beside it: it is of the first beat over which that circulation changed little enough.
fn settle(cases: &[Parameters; LANES], steps: usize) -> [Option<Settled>; LANES] {
    let equations = Equations::new(cases, steps);
    let mut settled = [None; LANES];
    let mut going = [true; LANES];
    let mut start = Equations::guess(cases);
    for _ in 0..BEATS {
        let mut measures = Measures::new();
        let end = one_beat(&equations, start, |state, now| {
            measures.see(equations.step, state, now);
        });
        let (from, to) = (start.map(f64x4::to_array), end.map(f64x4::to_array));
        for lane in 0..LANES {
            if !going[lane] {
                continue;
            }
            let pairs = || from.iter().zip(&to).map(|(a, b)| (a[lane], b[lane]));
            if pairs().all(|(a, b)| (b - a).abs() <= TOLERANCE * b.abs()) {
                settled[lane] = Some(Settled {
                    summary: measures.summary(lane, &cases[lane], steps),
                    start: from.map(|x| x[lane]),
                });
            }
            // Steps too long for a circulation's rates end in numbers without bound.
            going[lane] = settled[lane].is_none() && pairs().all(|(_, b)| b.is_finite());
        }
        if going == [false; LANES] {
            break;
        }
        start = end;
    }
    settled
}

/// Measures the periodic state of every circulation, in parallel on the current rayon pool. Each
/// result depends on its own parameters alone, to the last bit and on every platform.
///
/// # Errors
/// [`CirculationError`] for the first circulation with a number that none can have, or that does not
/// come to a periodic state.
pub fn summaries(cases: &[Parameters]) -> Result<Vec<Summary>, CirculationError> {
    summaries_of_steps(cases, STEPS)
}

fn summaries_of_steps(
    cases: &[Parameters],
    steps: usize,
) -> Result<Vec<Summary>, CirculationError> {
    for (case, parameters) in cases.iter().enumerate() {
        parameters.check(case)?;
    }
    let of_lanes = |chunk: &[Parameters]| {
        let last = chunk.len() - 1;
        settle(&std::array::from_fn(|lane| chunk[lane.min(last)]), steps)
    };
    let settled: Vec<_> = cases.par_chunks(LANES).map(of_lanes).collect();
    let settled = settled.iter().flatten().take(cases.len()).enumerate();
    settled
        .map(|(case, settled)| match settled {
            Some(settled) => Ok(settled.summary),
            None => Err(CirculationError::NotPeriodic { case, beats: BEATS }),
        })
        .collect()
}

/// One beat of a circulation in its periodic state: curves at moments of equal distance, the last of
/// which is a step before the next beat starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    /// What [`summaries`] gives for the same parameters.
    pub summary: Summary,
    /// Moments, in s since the ventricles began to contract.
    pub time: Vec<f64>,
    /// Volume of the left ventricle, in ml.
    pub left_volume: Vec<f64>,
    /// Pressure in the left ventricle, in mmHg.
    pub left_pressure: Vec<f64>,
    /// Volume of the right ventricle, in ml.
    pub right_volume: Vec<f64>,
    /// Pressure in the right ventricle, in mmHg.
    pub right_pressure: Vec<f64>,
    /// Pressure in the aorta, in mmHg.
    pub aortic_pressure: Vec<f64>,
    /// Pressure in the systemic arteries behind the aorta's impedance, in mmHg.
    pub arterial_pressure: Vec<f64>,
    /// Pressure in the systemic veins, the central venous pressure, in mmHg.
    pub venous_pressure: Vec<f64>,
    /// Pressure in the pulmonary arteries, in mmHg.
    pub pulmonary_pressure: Vec<f64>,
    /// Pressure in the pulmonary veins, the wedge pressure, in mmHg.
    pub wedge_pressure: Vec<f64>,
    /// Flow through the aortic valve, in ml/s.
    pub aortic_flow: Vec<f64>,
    /// Flow through the mitral valve, in ml/s.
    pub mitral_flow: Vec<f64>,
    /// Flow from the systemic arteries to the veins, in ml/s.
    pub systemic_flow: Vec<f64>,
}

/// The curves of one beat in the periodic state.
///
/// # Errors
/// As [`summaries`], naming case 0.
pub fn beat(parameters: &Parameters) -> Result<Beat, CirculationError> {
    parameters.check(0)?;
    let cases = [*parameters; LANES];
    let [settled, ..] = settle(&cases, STEPS);
    let Some(Settled { summary, start }) = settled else {
        return Err(CirculationError::NotPeriodic {
            case: 0,
            beats: BEATS,
        });
    };
    let equations = Equations::new(&cases, STEPS);
    let step = parameters.period() / STEPS as f64;
    let mut curves: [Vec<f64>; 12] = std::array::from_fn(|_| Vec::with_capacity(STEPS));
    one_beat(&equations, start.map(f64x4::splat), |state, now| {
        let [v_l, v_r, p_sa, p_sv, p_pa, p_pv, q] = *state;
        let seen = [
            v_l,
            now.left_pressure,
            v_r,
            now.right_pressure,
            now.aortic_pressure,
            p_sa,
            p_sv,
            p_pa,
            p_pv,
            now.aortic_flow,
            now.mitral_flow,
            q,
        ];
        for (curve, value) in curves.iter_mut().zip(seen) {
            curve.push(value.to_array()[0]);
        }
    });
    let [
        left_volume,
        left_pressure,
        right_volume,
        right_pressure,
        aortic_pressure,
        arterial_pressure,
        venous_pressure,
        pulmonary_pressure,
        wedge_pressure,
        aortic_flow,
        mitral_flow,
        systemic_flow,
    ] = curves;
    Ok(Beat {
        summary,
        time: (0..STEPS).map(|k| k as f64 * step).collect(),
        left_volume,
        left_pressure,
        right_volume,
        right_pressure,
        aortic_pressure,
        arterial_pressure,
        venous_pressure,
        pulmonary_pressure,
        wedge_pressure,
        aortic_flow,
        mitral_flow,
        systemic_flow,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{PARAMETERS, RANGES};
    use super::*;

    /// The circulation written down a second time and integrated in the plainest way that is exact
    /// enough: one case, the midpoint rule, steps of some 40 microseconds, a hundred beats from a
    /// state of its own.
    fn oracle(p: &Parameters) -> [f64; 8] {
        const STEPS: usize = 20_000;
        let period = 60.0 / p.heart_rate;
        let (t1, t2) = (0.3 * period.sqrt(), 0.45 * period.sqrt());
        let active = |t: f64| match t {
            t if t < t1 => 0.5 - 0.5 * (std::f64::consts::PI * t / t1).cos(),
            t if t < t2 => 0.5 + 0.5 * (std::f64::consts::PI * (t - t1) / (t2 - t1)).cos(),
            _ => 0.0,
        };
        let valve = |drop: f64, resistance: f64| drop.max(0.0) / resistance;
        let rates = |t: f64, x: [f64; 7]| {
            let e = active(t);
            let left = (p.emin_left * (1.0 - e) + p.emax_left * e) * (x[0] - p.v0_left);
            let right = (p.emin_right * (1.0 - e) + p.emax_right * e) * (x[1] - p.v0_right);
            let aortic = valve(left - x[2], p.r_aortic_valve + p.z_aorta);
            let mitral = valve(x[5] - left, p.r_mitral_valve + p.r_pulmonary_veins);
            let tricuspid = valve(x[3] - right, p.r_tricuspid_valve + p.r_systemic_veins);
            let pulmonary = valve(right - x[4], p.r_pulmonary_valve + p.z_pulmonary);
            let lungs = (x[4] - x[5]) / p.r_pulmonary;
            let dx = [
                mitral - aortic,
                tricuspid - pulmonary,
                (aortic - x[6]) / p.c_systemic_arteries,
                (x[6] - tricuspid) / p.c_systemic_veins,
                (pulmonary - lungs) / p.c_pulmonary_arteries,
                (lungs - mitral) / p.c_pulmonary_veins,
                (x[2] - x[3] - p.r_systemic * x[6]) / p.l_systemic,
            ];
            (dx, x[2] + p.z_aorta * aortic)
        };
        // All blood in the veins.
        let veins = p.v_total / p.c_systemic_veins;
        let mut x = [p.v0_left, p.v0_right, 0.0, veins, 0.0, 0.0, 0.0];
        let h = period / STEPS as f64;
        let along = |x: [f64; 7], by: f64, dx: [f64; 7]| {
            std::array::from_fn::<f64, 7, _>(|i| x[i] + by * dx[i])
        };
        let mut found = [0.0; 8];
        for _ in 0..100 {
            let (mut high, mut low, mut sum) = (f64::MIN, f64::MAX, 0.0);
            let (mut full, mut empty) = (f64::MIN, f64::MAX);
            for k in 0..STEPS {
                let t = k as f64 * h;
                let (dx, pressure) = rates(t, x);
                (high, low, sum) = (high.max(pressure), low.min(pressure), sum + pressure);
                (full, empty) = (full.max(x[0]), empty.min(x[0]));
                let (dx, _) = rates(t + h / 2.0, along(x, h / 2.0, dx));
                x = along(x, h, dx);
            }
            let stroke = full - empty;
            let mean = sum / STEPS as f64;
            let output = stroke * p.heart_rate / 1000.0;
            found = [high, low, mean, stroke, stroke / full, full, empty, output];
        }
        found
    }

    /// The largest relative difference.
    fn difference(a: [f64; 8], b: [f64; 8]) -> f64 {
        let relative = a.iter().zip(&b).map(|(a, b)| (a / b - 1.0).abs());
        relative.fold(0.0, f64::max)
    }

    fn base() -> Parameters {
        Parameters::base()
    }

    /// The base and one change at a time, with systolic, diastolic and mean pressure, largest and
    /// smallest volume, stroke volume and cardiac output, found by another integrator (LSODA) at a
    /// tenth of the inertance.
    fn known() -> [(Parameters, [f64; 7]); 7] {
        let changed = |change: fn(&mut Parameters)| {
            let mut parameters = base();
            change(&mut parameters);
            parameters
        };
        [
            (base(), [119.5, 75.5, 95.4, 122.9, 53.9, 68.9, 4.96]),
            (
                changed(|p| p.heart_rate = 50.0),
                [112.3, 60.8, 84.6, 138.7, 51.6, 87.1, 4.4],
            ),
            (
                changed(|p| p.heart_rate = 110.0),
                [121.0, 86.4, 101.2, 102.4, 54.4, 48.0, 5.3],
            ),
            (
                changed(|p| p.emax_left = 1.0),
                [102.0, 64.6, 81.2, 166.2, 107.9, 58.3, 4.2],
            ),
            (
                changed(|p| p.r_systemic = 1.6),
                [152.1, 111.1, 129.4, 128.8, 67.3, 61.4, 4.4],
            ),
            (
                changed(|p| p.c_systemic_arteries = 0.8),
                [137.9, 64.7, 100.4, 135.3, 62.9, 72.5, 5.2],
            ),
            (
                changed(|p| p.v_total = 1400.0),
                [145.5, 91.9, 116.1, 147.4, 63.5, 83.9, 6.0],
            ),
        ]
    }

    #[test]
    fn known_circulations_are_found_again() {
        let known = known();
        let found = summaries(&known.map(|(parameters, _)| parameters)).expect("periodic");
        for ((_, wanted), found) in known.iter().zip(found) {
            let columns = [
                found.systolic,
                found.diastolic,
                found.mean,
                found.end_diastolic_volume,
                found.end_systolic_volume,
                found.stroke_volume,
                found.cardiac_output,
            ];
            for (found, wanted) in columns.into_iter().zip(wanted) {
                // Cardiac outputs are known to a decimal, the base's alone to two.
                let rounded = *wanted < 10.0 && *wanted != 4.96;
                let rounding = if rounded { 0.05 } else { 0.0 };
                let error = (found - wanted).abs();
                assert!(error < 0.01 * wanted + rounding, "{found} for {wanted}");
            }
            let fraction = found.stroke_volume / found.end_diastolic_volume;
            assert_eq!(found.ejection_fraction, fraction);
        }
    }

    #[test]
    fn lungs_and_veins_are_as_known() {
        let beat = beat(&base()).expect("periodic");
        let mean = |curve: &[f64]| curve.iter().sum::<f64>() / curve.len() as f64;
        for (curve, wanted) in [
            (&beat.pulmonary_pressure, 18.4),
            (&beat.wedge_pressure, 11.0),
            (&beat.venous_pressure, 9.4),
        ] {
            let found = mean(curve);
            assert!((found / wanted - 1.0).abs() < 0.01, "{found} for {wanted}");
        }
        // What leaves the heart is what flows through the body.
        let flows = [&beat.aortic_flow, &beat.mitral_flow, &beat.systemic_flow];
        let output = beat.summary.cardiac_output * 1000.0 / 60.0;
        for flow in flows {
            let found = mean(flow);
            assert!((found / output - 1.0).abs() < 1e-3, "{found} for {output}");
        }
    }

    /// Corners of the ranges and some cases between.
    fn corners() -> Vec<Parameters> {
        let corner = |bits: usize| {
            let side = |i: usize| RANGES[i][bits >> i & 1];
            Parameters::varied(std::array::from_fn(side))
        };
        let between = |k: usize| {
            let at = |i: usize| (k * (2 * i + 3) % 7) as f64 / 6.0;
            Parameters::varied(std::array::from_fn(|i| {
                RANGES[i][0] + at(i) * (RANGES[i][1] - RANGES[i][0])
            }))
        };
        let bits = [0, 255, 0b0101_0101, 0b1010_1010, 0b0000_1001];
        bits.into_iter()
            .map(corner)
            .chain((1..4).map(between))
            .collect()
    }

    #[test]
    fn an_independent_integration_agrees() {
        let cases = corners();
        let found = summaries(&cases).expect("periodic");
        let wanted: Vec<_> = cases.par_iter().map(oracle).collect();
        for ((case, found), wanted) in cases.iter().zip(&found).zip(&wanted) {
            let error = difference(found.values(), *wanted);
            assert!(error < 3e-4, "{error}: {case:?}");
        }
        // The comparison sees a parameter that is off by a hundredth.
        let mut wrong = cases[0];
        wrong.r_systemic *= 1.01;
        let wrong = summaries(&[wrong]).expect("periodic");
        assert!(difference(wrong[0].values(), wanted[0]) > 3e-4);
    }

    #[test]
    fn finer_steps_change_little() {
        let cases = corners();
        let found = summaries(&cases).expect("periodic");
        let finer = summaries_of_steps(&cases, 8 * STEPS).expect("periodic");
        for (found, finer) in found.iter().zip(&finer) {
            let error = difference(found.values(), finer.values());
            assert!(error < 2e-4, "{error}");
        }
    }

    #[test]
    fn a_beat_ends_where_it_started_and_no_blood_is_lost() {
        for parameters in corners() {
            let cases = [parameters; LANES];
            let [settled, ..] = settle(&cases, STEPS);
            let start = settled.expect("periodic").start.map(f64x4::splat);
            let equations = Equations::new(&cases, STEPS);
            let end = one_beat(&equations, start, |_, _| ());
            for (a, b) in start.into_iter().zip(end) {
                let (a, b) = (a.to_array()[0], b.to_array()[0]);
                assert!((a / b - 1.0).abs() <= TOLERANCE);
            }

            let beat = beat(&parameters).expect("periodic");
            assert_eq!(beat.time.len(), STEPS);
            for k in 0..STEPS {
                let volume = beat.left_volume[k] - parameters.v0_left + beat.right_volume[k]
                    - parameters.v0_right
                    + parameters.c_systemic_arteries * beat.arterial_pressure[k]
                    + parameters.c_systemic_veins * beat.venous_pressure[k]
                    + parameters.c_pulmonary_arteries * beat.pulmonary_pressure[k]
                    + parameters.c_pulmonary_veins * beat.wedge_pressure[k];
                assert!((volume / parameters.v_total - 1.0).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn curves_and_summary_are_of_one_beat() {
        let beat = beat(&base()).expect("periodic");
        assert_eq!(summaries(&[base()]).expect("periodic"), [beat.summary]);
        let highest = |curve: &[f64]| curve.iter().copied().fold(f64::MIN, f64::max);
        let lowest = |curve: &[f64]| curve.iter().copied().fold(f64::MAX, f64::min);
        assert_eq!(highest(&beat.aortic_pressure), beat.summary.systolic);
        let seen = lowest(&beat.aortic_pressure);
        assert!(seen >= beat.summary.diastolic && seen < 1.002 * beat.summary.diastolic);
        assert_eq!(
            highest(&beat.left_volume),
            beat.summary.end_diastolic_volume
        );
        assert_eq!(lowest(&beat.left_volume), beat.summary.end_systolic_volume);
        // While both valves are shut the volume stays and the pressure moves.
        let shut = |k: usize| beat.aortic_flow[k] == 0.0 && beat.mitral_flow[k] == 0.0;
        let still: Vec<usize> = (0..STEPS - 1).filter(|&k| shut(k) && shut(k + 1)).collect();
        assert!(still.len() > STEPS / 20, "{}", still.len());
        for k in still {
            assert!((beat.left_volume[k + 1] - beat.left_volume[k]).abs() < 0.2);
        }
    }

    #[test]
    fn a_result_is_that_of_its_own_parameters_alone() {
        let cases = corners();
        let together = summaries(&cases).expect("periodic");
        let [one, three] = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("a pool").install(|| summaries(&cases))
        });
        assert_eq!(one.as_ref(), Ok(&together));
        assert_eq!(three.as_ref(), Ok(&together));
        for (case, wanted) in cases.iter().zip(&together) {
            assert_eq!(summaries(&[*case]), Ok(vec![*wanted]));
        }
        assert_eq!(summaries(&[]), Ok(Vec::new()));
    }

    #[test]
    fn numbers_that_no_circulation_has_are_named() {
        let refused = |change: fn(&mut Parameters)| {
            let mut cases = [base(); 6];
            change(&mut cases[5]);
            summaries(&cases).expect_err("a refusal").to_string()
        };
        for (change, wanted) in [
            (
                (|p| p.heart_rate = 300.0) as fn(&mut Parameters),
                "circulation 5: heart rate is 300, and has to be above 0 and at most 250",
            ),
            (|p| p.heart_rate = f64::NAN, "heart rate is NaN"),
            (
                |p| p.r_systemic = 0.0,
                "Rsys is 0, and has to be finite and above 0",
            ),
            (|p| p.v_total = f64::INFINITY, "Vtot is inf"),
            (
                |p| p.v0_left = -1.0,
                "V0L is -1, and has to be finite and at least 0",
            ),
            // The flow's time constant is a thousandth of a step's length.
            (
                |p| p.l_systemic = 1e-6,
                "circulation 5: not periodic after 400 beats",
            ),
        ] {
            let said = refused(change);
            assert!(said.contains(wanted), "{said}");
        }
        let wrong = Parameters {
            c_pulmonary_veins: f64::NEG_INFINITY,
            ..base()
        };
        let said = beat(&wrong).expect_err("a refusal").to_string();
        assert!(said.contains("circulation 0: Cpv is -inf"), "{said}");
        assert_eq!(PARAMETERS.len(), RANGES.len());
    }
}
