//! Designed motion: affect, head pose and blinks as smooth functions of time.

use super::expression::Affect;
use super::rng::Rng;
use std::f32::consts::TAU;

/// Head pose: angles in radians, drift in head half-heights.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pose {
    /// Positive turns the nose to the right of the picture.
    pub yaw: f32,
    /// Positive turns the nose down.
    pub pitch: f32,
    /// Positive is clockwise.
    pub roll: f32,
    pub dx: f32,
    pub dy: f32,
}

/// Sum of sinusoids with standard deviation near 1.
#[derive(Debug, Clone)]
pub(super) struct Wave([(f32, f32); 4]);

impl Wave {
    /// 0 at all times.
    pub(super) const FLAT: Self = Self([(0.0, 0.0); 4]);

    pub(super) fn new(rng: &mut Rng, low_hz: f32, high_hz: f32) -> Self {
        let step = (high_hz / low_hz).powf(0.25);
        let mut hz = low_hz;
        Self(std::array::from_fn(|_| {
            let own = hz * rng.range(1.0, step);
            hz *= step;
            (own, rng.unit())
        }))
    }

    pub(super) fn at(&self, t: f64) -> f32 {
        let one = |(hz, phase): (f32, f32)| (((f64::from(hz) * t).fract() as f32 + phase) * TAU).sin();
        self.0.iter().map(|&w| one(w)).sum::<f32>() / 2f32.sqrt()
    }
}

/// One person's course through the circumplex.
#[derive(Debug, Clone)]
pub struct Trajectory {
    affect: [Wave; 2],
    pose: [Wave; 5],
    blink_every: f32,
    blink_phase: f32,
}

impl Trajectory {
    /// The course of `seed`; waves of 0.03 to 0.3 Hz.
    pub fn new(seed: u64) -> Self {
        let mut r = Rng::new(seed, 2);
        Self {
            affect: std::array::from_fn(|_| Wave::new(&mut r, 0.03, 0.3)),
            pose: std::array::from_fn(|_| Wave::new(&mut r, 0.05, 0.4)),
            blink_every: r.range(2.5, 5.5),
            blink_phase: r.unit(),
        }
    }

    /// Affect at `t` seconds: valence within [-0.9, 0.9], arousal within [-0.4, 0.85].
    pub fn at(&self, t: f64) -> Affect {
        let valence = 0.9 * (0.55 * self.affect[0].at(t)).tanh();
        let arousal = 0.22 + 0.62 * (0.60 * self.affect[1].at(t)).tanh();
        Affect { arousal, valence }
    }

    /// Head pose at `t` seconds, angles within about 10 degrees.
    pub fn pose(&self, t: f64) -> Pose {
        let w = |i: usize| self.pose[i].at(t).tanh();
        Pose { yaw: 0.15 * w(0), pitch: 0.10 * w(1), roll: 0.10 * w(2), dx: 0.12 * w(3), dy: 0.08 * w(4) }
    }

    /// Eye closure by blinking at `t` seconds, in [0, 1]; a blink lasts 0.2 s.
    pub fn blink(&self, t: f64) -> f32 {
        let every = f64::from(self.blink_every);
        let since = ((t / every + f64::from(self.blink_phase)).fract() * every) as f32;
        if since < 0.2 { (since / 0.2 * TAU / 2.0).sin() } else { 0.0 }
    }
}
