//! The equations of the circulation and the numbers in them.
//!
//! The heart and the vessels are a closed loop of lumped compartments. Each ventricle is a chamber
//! whose elastance rises and falls with every beat, each valve a diode with a resistance, arteries
//! and veins are compliances, and blood in the aorta has inertia. Pressures are in mmHg, volumes in
//! ml, times in s, so flows are in ml/s, resistances in mmHg s/ml, compliances in ml/mmHg,
//! elastances in mmHg/ml and inertances in mmHg s^2/ml.
//!
//! The state is the volumes V of the left and right ventricle (L, R), the pressures P of systemic
//! arteries and veins (sa, sv) and pulmonary arteries and veins (pa, pv), and the systemic flow Q:
//!
//! - contraction: e(t) = (1 - cos(pi t / T1)) / 2 up to T1 = 0.3 sqrt(T), then
//!   (1 + cos(pi (t - T1) / (T2 - T1))) / 2 up to T2 = 0.45 sqrt(T), then 0, T being the beat's length;
//! - ventricles: P = (Emin + (Emax - Emin) e(t)) (V - V0);
//! - valves let through (P before - P behind) / R where that is positive: aortic from P_L to P_sa with
//!   R = Rao + Zsa, mitral from P_pv to P_L with Rmi + Rpv, tricuspid from P_sv to P_R with
//!   Rtr + Rsv, pulmonary from P_R to P_pa with Rpo + Zpa;
//! - V_L' = q_mi - q_ao, V_R' = q_tr - q_po, Csa P_sa' = q_ao - Q, Csv P_sv' = Q - q_tr,
//!   Cpa P_pa' = q_po - q_p, Cpv P_pv' = q_p - q_mi with q_p = (P_pa - P_pv) / Rpul,
//!   Lsa Q' = P_sa - P_sv - Rsys Q.
//!
//! What is measured as aortic pressure is P_sa + Zsa q_ao. No blood is made or lost: the stressed
//! volume V_L - V0L + V_R - V0R + Csa P_sa + Csv P_sv + Cpa P_pa + Cpv P_pv stays what it was.

use std::f64::consts::PI;

use wide::f64x4;

use super::{CirculationError, PARAMETERS};

/// The numbers of one circulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Heart rate, in beats/min.
    pub heart_rate: f64,
    /// Largest elastance of the left ventricle, EmaxL, in mmHg/ml: its contractility.
    pub emax_left: f64,
    /// Smallest elastance of the left ventricle, EminL, in mmHg/ml: how stiff it is when it fills.
    pub emin_left: f64,
    /// Volume of the left ventricle without pressure, V0L, in ml.
    pub v0_left: f64,
    /// Largest elastance of the right ventricle, EmaxR, in mmHg/ml.
    pub emax_right: f64,
    /// Smallest elastance of the right ventricle, EminR, in mmHg/ml.
    pub emin_right: f64,
    /// Volume of the right ventricle without pressure, V0R, in ml.
    pub v0_right: f64,
    /// Systemic resistance, Rsys, in mmHg s/ml.
    pub r_systemic: f64,
    /// Compliance of the systemic arteries, Csa, in ml/mmHg.
    pub c_systemic_arteries: f64,
    /// Inertance of the systemic flow, Lsa, in mmHg s^2/ml.
    pub l_systemic: f64,
    /// Characteristic impedance of the aorta, Zsa, in mmHg s/ml.
    pub z_aorta: f64,
    /// Compliance of the systemic veins, Csv, in ml/mmHg.
    pub c_systemic_veins: f64,
    /// Resistance of the systemic veins, Rsv, in mmHg s/ml.
    pub r_systemic_veins: f64,
    /// Pulmonary resistance, Rpul, in mmHg s/ml.
    pub r_pulmonary: f64,
    /// Compliance of the pulmonary arteries, Cpa, in ml/mmHg.
    pub c_pulmonary_arteries: f64,
    /// Characteristic impedance of the pulmonary artery, Zpa, in mmHg s/ml.
    pub z_pulmonary: f64,
    /// Compliance of the pulmonary veins, Cpv, in ml/mmHg.
    pub c_pulmonary_veins: f64,
    /// Resistance of the pulmonary veins, Rpv, in mmHg s/ml.
    pub r_pulmonary_veins: f64,
    /// Resistance of the open aortic valve, Rao, in mmHg s/ml.
    pub r_aortic_valve: f64,
    /// Resistance of the open mitral valve, Rmi, in mmHg s/ml.
    pub r_mitral_valve: f64,
    /// Resistance of the open tricuspid valve, Rtr, in mmHg s/ml.
    pub r_tricuspid_valve: f64,
    /// Resistance of the open pulmonary valve, Rpo, in mmHg s/ml.
    pub r_pulmonary_valve: f64,
    /// Stressed blood volume, Vtot, in ml: what is there beyond what fills the vessels without
    /// pressure.
    pub v_total: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self::base()
    }
}

impl Parameters {
    /// An adult at rest: 119 / 75 mmHg in the aorta, 5 l/min.
    ///
    /// The inertance is too small to show in the pressures, and large enough that the flow follows
    /// them within milliseconds rather than a fraction of one, which steps of fixed length can do.
    pub const fn base() -> Self {
        Self {
            heart_rate: 72.0,
            emax_left: 2.5,
            emin_left: 0.08,
            v0_left: 10.0,
            emax_right: 0.55,
            emin_right: 0.05,
            v0_right: 10.0,
            r_systemic: 1.0,
            c_systemic_arteries: 1.6,
            l_systemic: 0.005,
            z_aorta: 0.04,
            c_systemic_veins: 70.0,
            r_systemic_veins: 0.03,
            r_pulmonary: 0.09,
            c_pulmonary_arteries: 4.0,
            z_pulmonary: 0.01,
            c_pulmonary_veins: 10.0,
            r_pulmonary_veins: 0.015,
            r_aortic_valve: 0.006,
            r_mitral_valve: 0.006,
            r_tricuspid_valve: 0.006,
            r_pulmonary_valve: 0.006,
            v_total: 1150.0,
        }
    }

    /// [`base`](Self::base) with the eight numbers of [`PARAMETERS`] in their order.
    pub fn varied(values: [f64; PARAMETERS.len()]) -> Self {
        let [
            heart_rate,
            emax_left,
            emin_left,
            r_systemic,
            c_systemic_arteries,
            v_total,
            emax_right,
            r_pulmonary,
        ] = values;
        Self {
            heart_rate,
            emax_left,
            emin_left,
            r_systemic,
            c_systemic_arteries,
            v_total,
            emax_right,
            r_pulmonary,
            ..Self::base()
        }
    }

    /// Length of a beat, in s.
    pub fn period(&self) -> f64 {
        60.0 / self.heart_rate
    }

    /// Checks that these are the numbers of a circulation: finite, and positive where an equation
    /// divides by them or a pressure or flow would turn round.
    pub(super) fn check(&self, case: usize) -> Result<(), CirculationError> {
        let refuse = |name, value, needed| {
            Err(CirculationError::Parameter {
                case,
                name,
                value,
                needed,
            })
        };
        // At 250 a minute a contraction takes nine tenths of the beat.
        if !(self.heart_rate > 0.0 && self.heart_rate <= 250.0) {
            return refuse("heart rate", self.heart_rate, "above 0 and at most 250");
        }
        for (name, value) in [("V0L", self.v0_left), ("V0R", self.v0_right)] {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(name, value, "finite and at least 0");
            }
        }
        let positive = [
            ("EmaxL", self.emax_left),
            ("EminL", self.emin_left),
            ("EmaxR", self.emax_right),
            ("EminR", self.emin_right),
            ("Rsys", self.r_systemic),
            ("Csa", self.c_systemic_arteries),
            ("Lsa", self.l_systemic),
            ("Zsa", self.z_aorta),
            ("Csv", self.c_systemic_veins),
            ("Rsv", self.r_systemic_veins),
            ("Rpul", self.r_pulmonary),
            ("Cpa", self.c_pulmonary_arteries),
            ("Zpa", self.z_pulmonary),
            ("Cpv", self.c_pulmonary_veins),
            ("Rpv", self.r_pulmonary_veins),
            ("Rao", self.r_aortic_valve),
            ("Rmi", self.r_mitral_valve),
            ("Rtr", self.r_tricuspid_valve),
            ("Rpo", self.r_pulmonary_valve),
            ("Vtot", self.v_total),
        ];
        for (name, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return refuse(name, value, "finite and above 0");
            }
        }
        Ok(())
    }

    /// A state near the periodic one, with the stressed volume that these parameters ask for.
    fn guess(&self) -> [f64; STATES] {
        // Flow rises with heart rate, and each pressure stands above the one downstream by the
        // flow's loss between them.
        let flow = 1.1 * self.heart_rate;
        let (veins, pulmonary_veins) = (9.5, 11.0);
        let shape = [
            110.0,
            110.0,
            veins + self.r_systemic * flow,
            veins,
            pulmonary_veins + self.r_pulmonary * flow,
            pulmonary_veins,
            flow,
        ];
        // The equations are homogeneous in pressures, flows and stressed volumes.
        let scale = self.v_total / self.stressed(shape);
        let mut state = shape.map(|x| scale * x);
        state[V_L] += self.v0_left;
        state[V_R] += self.v0_right;
        state
    }

    /// What the compartments hold beyond their unstressed volume, in ml; ventricles are given by
    /// their stressed volumes.
    fn stressed(&self, [v_l, v_r, p_sa, p_sv, p_pa, p_pv, _]: [f64; STATES]) -> f64 {
        v_l + v_r
            + self.c_systemic_arteries * p_sa
            + self.c_systemic_veins * p_sv
            + self.c_pulmonary_arteries * p_pa
            + self.c_pulmonary_veins * p_pv
    }

    /// How far the ventricles' contraction has come, from 0 to 1, at a time in s after the beat's
    /// start.
    fn contraction(&self, time: f64) -> f64 {
        let root = self.period().sqrt();
        let (peak, end) = (0.3 * root, 0.45 * root);
        // The same on every platform, which the standard library's cosine is not.
        if time < peak {
            (1.0 - libm::cos(PI * time / peak)) / 2.0
        } else if time < end {
            (1.0 + libm::cos(PI * (time - peak) / (end - peak))) / 2.0
        } else {
            0.0
        }
    }
}

/// Cases that are integrated side by side.
pub(super) const LANES: usize = 4;

/// Numbers of a state: V_L, V_R, P_sa, P_sv, P_pa, P_pv, Q.
pub(super) const STATES: usize = 7;
const V_L: usize = 0;
const V_R: usize = 1;

/// The states of [`LANES`] circulations.
pub(super) type State = [f64x4; STATES];

/// What the equations say of [`LANES`] states at one moment.
pub(super) struct Moment {
    pub(super) rates: State,
    pub(super) left_pressure: f64x4,
    pub(super) right_pressure: f64x4,
    pub(super) aortic_pressure: f64x4,
    pub(super) aortic_flow: f64x4,
    pub(super) mitral_flow: f64x4,
}

/// The equations of [`LANES`] circulations, with a beat cut into steps of equal length.
pub(super) struct Equations {
    emin_l: f64x4,
    espan_l: f64x4,
    v0_l: f64x4,
    emin_r: f64x4,
    espan_r: f64x4,
    v0_r: f64x4,
    r_sys: f64x4,
    z_sa: f64x4,
    // What the equations divide by is stored as its inverse.
    g_ao: f64x4,
    g_mi: f64x4,
    g_tr: f64x4,
    g_po: f64x4,
    g_pul: f64x4,
    s_sa: f64x4,
    s_sv: f64x4,
    s_pa: f64x4,
    s_pv: f64x4,
    s_q: f64x4,
    /// Length of a step, in s.
    pub(super) step: f64x4,
    /// Contraction at every half step of the beat, both ends included.
    pub(super) contraction: Vec<f64x4>,
}

/// One number of each circulation.
fn gather(cases: &[Parameters; LANES], number: impl Fn(&Parameters) -> f64) -> f64x4 {
    f64x4::new(cases.each_ref().map(number))
}

impl Equations {
    pub(super) fn new(cases: &[Parameters; LANES], steps: usize) -> Self {
        let of = |number: fn(&Parameters) -> f64| gather(cases, number);
        let half_steps = 2 * steps;
        let contraction = |k: usize| {
            let phase = k as f64 / half_steps as f64;
            gather(cases, |p| p.contraction(phase * p.period()))
        };
        Self {
            emin_l: of(|p| p.emin_left),
            espan_l: of(|p| p.emax_left - p.emin_left),
            v0_l: of(|p| p.v0_left),
            emin_r: of(|p| p.emin_right),
            espan_r: of(|p| p.emax_right - p.emin_right),
            v0_r: of(|p| p.v0_right),
            r_sys: of(|p| p.r_systemic),
            z_sa: of(|p| p.z_aorta),
            g_ao: of(|p| 1.0 / (p.r_aortic_valve + p.z_aorta)),
            g_mi: of(|p| 1.0 / (p.r_mitral_valve + p.r_pulmonary_veins)),
            g_tr: of(|p| 1.0 / (p.r_tricuspid_valve + p.r_systemic_veins)),
            g_po: of(|p| 1.0 / (p.r_pulmonary_valve + p.z_pulmonary)),
            g_pul: of(|p| 1.0 / p.r_pulmonary),
            s_sa: of(|p| 1.0 / p.c_systemic_arteries),
            s_sv: of(|p| 1.0 / p.c_systemic_veins),
            s_pa: of(|p| 1.0 / p.c_pulmonary_arteries),
            s_pv: of(|p| 1.0 / p.c_pulmonary_veins),
            s_q: of(|p| 1.0 / p.l_systemic),
            step: gather(cases, |p| p.period() / steps as f64),
            contraction: (0..=half_steps).map(contraction).collect(),
        }
    }

    /// A state near the periodic one for each circulation.
    pub(super) fn guess(cases: &[Parameters; LANES]) -> State {
        let guesses = cases.each_ref().map(Parameters::guess);
        std::array::from_fn(|i| f64x4::new(guesses.map(|guess| guess[i])))
    }

    /// Pressures, flows and rates of change where the contraction has come to `e`.
    #[inline(always)]
    pub(super) fn at(&self, state: &State, e: f64x4) -> Moment {
        let [v_l, v_r, p_sa, p_sv, p_pa, p_pv, q] = *state;
        let p_l = (self.emin_l + self.espan_l * e) * (v_l - self.v0_l);
        let p_r = (self.emin_r + self.espan_r * e) * (v_r - self.v0_r);
        let q_ao = (p_l - p_sa).fast_max(f64x4::ZERO) * self.g_ao;
        let q_mi = (p_pv - p_l).fast_max(f64x4::ZERO) * self.g_mi;
        let q_tr = (p_sv - p_r).fast_max(f64x4::ZERO) * self.g_tr;
        let q_po = (p_r - p_pa).fast_max(f64x4::ZERO) * self.g_po;
        let q_p = (p_pa - p_pv) * self.g_pul;
        Moment {
            rates: [
                q_mi - q_ao,
                q_tr - q_po,
                (q_ao - q) * self.s_sa,
                (q - q_tr) * self.s_sv,
                (q_po - q_p) * self.s_pa,
                (q_p - q_mi) * self.s_pv,
                (p_sa - p_sv - self.r_sys * q) * self.s_q,
            ],
            left_pressure: p_l,
            right_pressure: p_r,
            aortic_pressure: p_sa + self.z_sa * q_ao,
            aortic_flow: q_ao,
            mitral_flow: q_mi,
        }
    }
}
