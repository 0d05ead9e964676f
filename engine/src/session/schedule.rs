//! Learning rates, step by step.

use crate::error::{Error, Result};

/// The learning rate of each step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The rate before any decay.
    pub rate: f64,
    /// Over so many steps it grows linearly from nothing to `rate`; decay starts after them.
    pub warmup: u64,
    /// What becomes of it.
    pub decay: Decay,
}

/// How a learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Decay {
    /// It does not.
    None,
    /// Times `factor` after every `every` steps.
    Steps {
        /// Steps between.
        every: u64,
        /// The factor, in (0, 1].
        factor: f64,
    },
    /// Half a cosine down to `floor` times the rate, where it stays (Loshchilov and Hutter, 2017).
    Cosine {
        /// Steps on the way.
        steps: u64,
        /// What part of the rate is left, in [0, 1].
        floor: f64,
    },
}

impl Schedule {
    /// The same rate throughout.
    pub fn constant(rate: f64) -> Self {
        Self {
            rate,
            warmup: 0,
            decay: Decay::None,
        }
    }

    /// The rate of a step, counted from 1.
    pub fn at(&self, step: u64) -> f64 {
        let step = step.max(1);
        if step <= self.warmup {
            return self.rate * step as f64 / self.warmup as f64;
        }
        let past = (step - self.warmup).saturating_sub(1);
        let part = match self.decay {
            Decay::None => 1.0,
            Decay::Steps { every, factor } => factor.powf((past / every.max(1)) as f64),
            Decay::Cosine { steps, floor } => {
                let way = (past as f64 / steps.max(1) as f64).min(1.0);
                floor + (1.0 - floor) * (1.0 + (std::f64::consts::PI * way).cos()) / 2.0
            }
        };
        self.rate * part
    }

    /// # Errors
    /// When a number is out of its range.
    pub(super) fn check(&self) -> Result<()> {
        let reason = match self.decay {
            _ if !(self.rate >= 0.0 && self.rate.is_finite()) => {
                format!("rate {} is negative or not finite", self.rate)
            }
            Decay::Steps { every: 0, .. } => "a decay after every 0 steps".to_owned(),
            Decay::Steps { factor, .. } if !(factor > 0.0 && factor <= 1.0) => {
                format!("decay factor {factor} is not in (0, 1]")
            }
            Decay::Cosine { floor, .. } if !(0.0..=1.0).contains(&floor) => {
                format!("floor {floor} is not in [0, 1]")
            }
            _ => return Ok(()),
        };
        Err(Error::Operation {
            operation: "learning rate".to_owned(),
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_formulas() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} and {b}");
        let mut schedule = Schedule::constant(0.5);
        close(schedule.at(1), 0.5);
        schedule.warmup = 4;
        close(schedule.at(1), 0.125);
        close(schedule.at(4), 0.5);
        close(schedule.at(5), 0.5);
        schedule.decay = Decay::Steps {
            every: 3,
            factor: 0.5,
        };
        close(schedule.at(7), 0.5);
        close(schedule.at(8), 0.25);
        close(schedule.at(11), 0.125);
        schedule.decay = Decay::Cosine {
            steps: 10,
            floor: 0.2,
        };
        close(schedule.at(5), 0.5);
        close(schedule.at(10), 0.5 * 0.6);
        close(schedule.at(15), 0.1);
        close(schedule.at(u64::MAX), 0.1);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let decays = [
            Decay::Steps {
                every: 0,
                factor: 0.5,
            },
            Decay::Steps {
                every: 1,
                factor: 0.0,
            },
            Decay::Cosine {
                steps: 1,
                floor: f64::NAN,
            },
        ];
        for decay in decays {
            let schedule = Schedule {
                decay,
                ..Schedule::constant(0.5)
            };
            assert!(schedule.check().is_err(), "{decay:?}");
        }
        assert!(Schedule::constant(-1.0).check().is_err());
        assert!(Schedule::constant(f64::INFINITY).check().is_err());
        assert!(Schedule::constant(0.0).check().is_ok());
    }
}
