//! From the course to labels as raters give them.

use super::course::Course;
use crate::render::trajectory::Wave;
use crate::render::{Affect, Rng};

/// How people who watched a recording would have rated it, moment by moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rating {
    /// Raters whose mean is the label; 0 counts as 1.
    pub raters: usize,
    /// Seconds by which every rater follows what they see.
    pub lag_s: f64,
    /// Standard deviation of one rater's smooth error, waves of 0.02 to 0.3 Hz.
    pub noise: f32,
}

impl Rating {
    /// The course itself.
    pub const TRUE: Self = Self { raters: 1, lag_s: 0.0, noise: 0.0 };

    /// The label `[arousal, valence]`, each in [-1, 1], at each of `times_s`: the course a lag before, plus the mean of the
    /// raters' errors, which `seed` fixes.
    pub fn labels(&self, seed: u64, course: &Course, times_s: &[f64]) -> Vec<[f32; 2]> {
        let mut r = Rng::new(seed, 17);
        let raters: Vec<[Wave; 2]> =
            (0..self.raters.max(1)).map(|_| std::array::from_fn(|_| Wave::new(&mut r, 0.02, 0.3))).collect();
        let error = |i: usize, t: f64| {
            let sum: f32 = raters.iter().map(|waves| waves[i].at(t)).sum();
            self.noise * sum / raters.len() as f32
        };
        let label = |&t: &f64| {
            let Affect { arousal, valence } = course.at(t - self.lag_s);
            [(arousal + error(0, t)).clamp(-1.0, 1.0), (valence + error(1, t)).clamp(-1.0, 1.0)]
        };
        times_s.iter().map(label).collect()
    }
}
