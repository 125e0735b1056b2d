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

/// Action unit intensities in [0, 1]; `au14` acts on one side only, `au43` closes the eyes, `au18` puckers the lips.
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
    pub au18: f32,
    /// Share by which the smile is stronger on the right of the picture than on its left, in [-1, 1].
    pub skew: f32,
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
        let plain = Self::mean_units(affect);
        Self::from_units(std::array::from_fn(|i| (plain[i] * style.0[i] * person.expressiveness).clamp(0.0, 1.0)))
    }

    /// How strongly `affect` shows in each unit (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 20, 23, 25, 26, 43) on the mean face,
    /// not negative and not yet held to 1.
    pub fn mean_units(affect: Affect) -> [f32; 16] {
        let a = Affect { arousal: affect.arousal.clamp(-1.0, 1.0), valence: affect.valence.clamp(-1.0, 1.0) };
        let (up, down) = (a.arousal.max(0.0), (-a.arousal).max(0.0));
        let (good, bad) = (a.valence.max(0.0), (-a.valence).max(0.0));
        let surprise = near(a, 0.18, 0.75, 0.32);
        let fear = near(a, -0.12, 0.80, 0.25);
        let sad = bad * (0.75 - a.arousal).clamp(0.0, 1.0);
        let disgust = near(a, -0.68, 0.45, 0.28);
        let anger = near(a, -0.43, 0.55, 0.25);
        let contempt = near(a, -0.55, 0.60, 0.18);
        [
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
        ]
    }

    /// The units in the order of [`Expression::mean_units`]; no pucker, no skew.
    pub fn from_units(u: [f32; 16]) -> Self {
        let [au1, au2, au4, au5, au6, au7, au9, au10, au12, au14, au15, au20, au23, au25, au26, au43] = u;
        Self {
            au1,
            au2,
            au4,
            au5,
            au6,
            au7,
            au9,
            au10,
            au12,
            au14,
            au15,
            au20,
            au23,
            au25,
            au26,
            au43,
            au18: 0.0,
            skew: 0.0,
        }
    }
}
