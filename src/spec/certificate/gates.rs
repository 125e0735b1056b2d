//! Pass or fail, from the figures alone.

use super::Certificate;
use super::figures::{DimensionFigures, EngineCheck, Scores, SetFigures, StudentScores};
use super::protocol::Limits;
use serde::{Deserialize, Serialize};

/// How a gate ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Pass,
    Fail,
    /// The set has no such figure: no label moves in it, so nothing can lag.
    NotApplicable,
}

impl Outcome {
    /// As written in files.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::NotApplicable => "not-applicable",
        }
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// `SET/DIMENSION/PRECISION/WHAT`, `SET/DIMENSION/WHAT` or `engine/ENGINE/PRECISION`.
    pub name: String,
    /// What is held against the limits; `None` if it cannot be had, which fails.
    pub value: Option<f64>,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
    pub outcome: Outcome,
}

impl Gate {
    fn new(name: String, value: Option<f64>, at_least: Option<f64>, at_most: Option<f64>) -> Self {
        let holds = |v: f64| at_least.is_none_or(|low| v >= low) && at_most.is_none_or(|high| v <= high);
        let outcome = if value.is_some_and(holds) { Outcome::Pass } else { Outcome::Fail };
        Self { name, value, at_least, at_most, outcome }
    }
}

/// A student's gates in one dimension.
fn student(at: &str, of: &DimensionFigures, student: &StudentScores, limits: &Limits) -> [Gate; 4] {
    let Scores { bias, gain, lag_s, .. } = &student.scores;
    let lower = student.retained.interval.map(|[low, _]| low);
    let extra = lag_s.zip(of.teacher.lag_s).map(|(s, t)| s - t);
    let mut lag = Gate::new(format!("{at}extra-lag-s"), extra, None, Some(limits.extra_lag_s));
    if of.moving_videos == 0 {
        lag = Gate { value: None, outcome: Outcome::NotApplicable, ..lag };
    }
    [
        Gate::new(format!("{at}retained-ccc"), lower, Some(limits.retained_ccc), None),
        Gate::new(format!("{at}bias"), Some(bias.value), Some(-limits.bias), Some(limits.bias)),
        Gate::new(format!("{at}gain"), Some(gain.value), Some(limits.gain[0]), Some(limits.gain[1])),
        lag,
    ]
}

fn set(set: &SetFigures, limits: &Limits) -> Vec<Gate> {
    let mut gates = Vec::new();
    for (dimension, figures) in set.dimensions.each() {
        for (precision, scores) in figures.students() {
            gates.extend(student(&format!("{}/{dimension}/{precision}/", set.name), figures, scores, limits));
        }
        let most = limits.int8_ccc_difference;
        let name = format!("{}/{dimension}/int8-minus-fp32-ccc", set.name);
        gates.push(Gate::new(name, Some(figures.int8_minus_fp32.value), Some(-most), Some(most)));
    }
    gates
}

fn engine(check: &EngineCheck) -> Gate {
    let name = format!("engine/{}/{}", check.engine, check.precision);
    Gate::new(name, Some(check.worst), None, Some(check.tolerance))
}

impl Certificate {
    /// Every gate, from the figures and limits that stand in the certificate.
    pub fn judge(&self) -> Vec<Gate> {
        let sets = self.sets.iter().flat_map(|s| set(s, &self.protocol.limits));
        sets.chain(self.engines.iter().map(engine)).collect()
    }

    /// With its gates and verdict as its figures give them.
    pub fn judged(mut self) -> Self {
        self.gates = self.judge();
        self.verdict = Self::verdict_of(&self.gates);
        self
    }

    /// Passes if no gate fails.
    pub(super) fn verdict_of(gates: &[Gate]) -> Outcome {
        if gates.iter().any(|g| g.outcome == Outcome::Fail) { Outcome::Fail } else { Outcome::Pass }
    }
}
