//! Affect to facial action units (FACS).

use super::person::Person;
use super::rng::Rng;

/// A point of the circumplex, both in [-1, 1].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Affect {
    pub arousal: f32,
    pub valence: f32,
}

/// How one clip expresses itself: a gain for each action unit, near 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Style([f32; 16]);

impl Style {
    /// No deviation from the mean expression.
    pub const PLAIN: Self = Self([1.0; 16]);

    /// A random style, gains within 0.8 to 1.2.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 3);
        Self(std::array::from_fn(|_| rng.range(0.8, 1.2)))
    }
}

/// Action unit intensities in [0, 1]; `au14` acts on one side only, `au43` closes the eyes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Expression {
    pub au1: f32,
    pub au2: f32,
    pub au4: f32,
    pub au5: f32,
    pub au6: f32,
    pub au7: f32,
    pub au9: f32,
    pub au10: f32,
    pub au12: f32,
    pub au14: f32,
    pub au15: f32,
    pub au20: f32,
    pub au23: f32,
    pub au25: f32,
    pub au26: f32,
    pub au43: f32,
}

/// Closeness of `a` to an anchor (valence, arousal), 1 at the anchor.
fn near(a: Affect, valence: f32, arousal: f32, width: f32) -> f32 {
    let (dv, da) = (a.valence - valence, a.arousal - arousal);
    (-(dv * dv + da * da) / (2.0 * width * width)).exp()
}

impl Expression {
    /// The face that shows `affect`.
    ///
    /// Smile, frown, eye and jaw opening grow monotonically with the axes; the units that tell the
    /// negative emotions apart peak at the class means of AffectNet (Mollahosseini et al. 2017).
    pub fn from_affect(affect: Affect, person: &Person, style: &Style) -> Self {
        let a = Affect { arousal: affect.arousal.clamp(-1.0, 1.0), valence: affect.valence.clamp(-1.0, 1.0) };
        let (up, down) = (a.arousal.max(0.0), (-a.arousal).max(0.0));
        let (good, bad) = (a.valence.max(0.0), (-a.valence).max(0.0));
        let surprise = near(a, 0.18, 0.75, 0.32);
        let fear = near(a, -0.12, 0.80, 0.25);
        let sad = bad * (0.75 - a.arousal).clamp(0.0, 1.0);
        let disgust = near(a, -0.68, 0.45, 0.28);
        let anger = near(a, -0.43, 0.55, 0.25);
        let contempt = near(a, -0.55, 0.60, 0.18);
        let plain = [
            0.75 * surprise + 0.8 * fear + 1.1 * sad,
            0.95 * surprise + 0.35 * fear + 0.3 * up,
            1.25 * bad + 0.3 * anger,
            1.15 * up,
            1.1 * good,
            0.5 * anger + 0.35 * disgust + 0.3 * down,
            0.9 * disgust,
            0.6 * disgust,
            1.35 * good,
            0.7 * contempt,
            1.3 * sad + 0.35 * disgust,
            0.8 * fear,
            0.9 * anger,
            0.6 * good + 0.8 * up * (1.0 - anger),
            (1.35 * (up - 0.12).max(0.0)) * (1.0 - 0.55 * bad) * (1.0 - 0.6 * anger),
            0.75 * down,
        ];
        let gain = |i: usize| (plain[i] * style.0[i] * person.expressiveness).clamp(0.0, 1.0);
        Self {
            au1: gain(0),
            au2: gain(1),
            au4: gain(2),
            au5: gain(3),
            au6: gain(4),
            au7: gain(5),
            au9: gain(6),
            au10: gain(7),
            au12: gain(8),
            au14: gain(9),
            au15: gain(10),
            au20: gain(11),
            au23: gain(12),
            au25: gain(13),
            au26: gain(14),
            au43: gain(15),
        }
    }
}
