//! How a student is verified, and what it must reach.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a student must reach on every set, in both dimensions and both precisions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Least share of the teacher's CCC: the lower bound of the paired interval must reach it.
    pub retained_ccc: f64,
    /// Largest bias either way.
    pub bias: f64,
    /// Least and largest gain.
    pub gain: [f64; 2],
    /// Most seconds by which the student may lag more than its teacher.
    pub extra_lag_s: f64,
    /// Largest difference of CCC between int8 and fp32.
    pub int8_ccc_difference: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { retained_ccc: 0.97, bias: 0.02, gain: [0.9, 1.1], extra_lag_s: 0.3, int8_ccc_difference: 0.01 }
    }
}

fn within(name: &str, v: f64, low: f64, high: f64) -> Result<()> {
    if (low..=high).contains(&v) {
        return Ok(());
    }
    Err(Error::usage(format!("{name} is {v}, expected {low} to {high}")))
}

impl Limits {
    /// # Errors
    /// Names the limit that makes no sense.
    pub fn validate(&self) -> Result<()> {
        within("retained_ccc", self.retained_ccc, 0.0, 2.0)?;
        within("bias", self.bias, 0.0, 2.0)?;
        within("the lower gain", self.gain[0], 0.0, 1.0)?;
        within("the upper gain", self.gain[1], 1.0, 100.0)?;
        within("extra_lag_s", self.extra_lag_s, 0.0, 10.0)?;
        within("int8_ccc_difference", self.int8_ccc_difference, 0.0, 2.0)
    }

    /// Names of the limits that ask for less than the defaults do.
    pub fn relaxed(&self) -> Vec<&'static str> {
        let d = Self::default();
        let looser = [
            ("retained_ccc", self.retained_ccc < d.retained_ccc),
            ("bias", self.bias > d.bias),
            ("gain", self.gain[0] < d.gain[0] || self.gain[1] > d.gain[1]),
            ("extra_lag_s", self.extra_lag_s > d.extra_lag_s),
            ("int8_ccc_difference", self.int8_ccc_difference > d.int8_ccc_difference),
        ];
        looser.into_iter().filter(|(_, looser)| *looser).map(|(name, _)| name).collect()
    }
}

/// Settings of a verification; with the same data and files they decide every figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// Resamples of the bootstrap over subjects.
    pub rounds: usize,
    /// Seed of the resamples.
    pub seed: u64,
    /// Lags are searched this far either way, in seconds.
    pub max_lag_s: f64,
    /// Engine of the fp32 figures: a name, or `auto` for tract where it is built in, else the reference.
    pub fp32_engine: String,
    /// Engine of the int8 figures.
    pub int8_engine: String,
    /// Frames on which engines are compared with the reference, which is slow; shared out evenly among the sets.
    pub engine_frames: usize,
    /// Videos listed as the worst in each dimension.
    pub worst_videos: usize,
    /// A tag with more values than this is not sorted by, unless they are numbers: those are cut into thirds.
    pub most_groups: usize,
    pub limits: Limits,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            rounds: 2000,
            seed: 1,
            max_lag_s: 2.0,
            fp32_engine: "auto".into(),
            int8_engine: "simd".into(),
            engine_frames: 500,
            worst_videos: 5,
            most_groups: 24,
            limits: Limits::default(),
        }
    }
}

impl Protocol {
    /// # Errors
    /// Names the setting that makes no sense.
    pub fn validate(&self) -> Result<()> {
        within("rounds", self.rounds as f64, 200.0, 1e6)?;
        within("max_lag_s", self.max_lag_s, 0.0, 60.0)?;
        within("engine_frames", self.engine_frames as f64, 1.0, 1e9)?;
        within("worst_videos", self.worst_videos as f64, 0.0, 1000.0)?;
        within("most_groups", self.most_groups as f64, 3.0, 1000.0)?;
        self.limits.validate()
    }
}
