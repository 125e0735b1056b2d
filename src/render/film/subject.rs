//! Who a person is: face, habits of expression, mood and voice.

use crate::render::{Affect, Person, Rng};

/// A person with what stays the same in all of their recordings.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    pub person: Person,
    /// Factor on every action unit, about 0.4 to 1.6: people differ widely in how much they show (Kring, Smith and
    /// Neale 1994).
    pub expressiveness: f32,
    /// Factor on each unit, in the order of [`Expression::mean_units`](crate::render::Expression::mean_units).
    pub habits: [f32; 16],
    /// Intensity of each unit at rest, near 0: some faces look a little glad or stern when calm.
    pub rest: [f32; 16],
    /// Stronger side of the smile, as [`Expression::skew`](crate::render::Expression::skew).
    pub skew: f32,
    /// Where the person's affect lies when nothing happens.
    pub mood: Affect,
    /// Share of negative episodes in which a smile is put over what is felt.
    pub masks: f32,
    /// Rank among people by eyesight, uniform in [0, 1): where a share of people wear glasses, those ranked below it do.
    pub eyesight: f32,
    pub voice: Voice,
}

/// A voice and its habits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Voice {
    /// Fundamental frequency at rest in Hz, 85 to 250.
    pub f0_hz: f32,
    /// Factor on the melody, 0.7 to 1.4.
    pub melody: f32,
    /// Factor on formant frequencies: 1 for a vocal tract of 17 cm, more for a shorter one.
    pub tract: f32,
    /// Syllables a second at rest, 3.4 to 5.2.
    pub rate_hz: f32,
    /// Share of breath noise in voiced sound, 0.01 to 0.08.
    pub breath: f32,
    /// Relative standard deviation of the period.
    pub jitter: f32,
    /// Share of time spent in phrases, 0.3 to 0.85.
    pub talk: f32,
    /// Factor on mouth movements in speech, 0.7 to 1.25.
    pub articulation: f32,
}

impl Subject {
    /// The subject of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut r = Rng::new(seed, 11);
        let mut person = Person::new(r.next_u64());
        // Both have their own place here: habits below, glasses in the scene.
        (person.expressiveness, person.glasses) = (1.0, false);
        let voice = Voice::new(&mut r, &person);
        Self {
            person,
            expressiveness: (0.28 * r.normal()).exp().clamp(0.4, 1.6),
            habits: std::array::from_fn(|_| (0.25 * r.normal()).exp().clamp(0.4, 1.8)),
            rest: std::array::from_fn(|_| if r.chance(0.15) { r.range(0.0, 0.2) } else { 0.0 }),
            skew: (0.12 * r.normal()).clamp(-0.3, 0.3),
            mood: Affect {
                arousal: (0.02 + 0.12 * r.normal()).clamp(-0.3, 0.4),
                valence: (0.04 + 0.14 * r.normal()).clamp(-0.4, 0.4),
            },
            masks: r.range(0.0, 0.4),
            eyesight: r.unit(),
            voice,
        }
    }
}

impl Voice {
    /// Two groups of voices, low and high; women's formants lie about 16 % over men's (Peterson and Barney 1952).
    fn new(r: &mut Rng, person: &Person) -> Self {
        let high = if person.beard > 0.0 { false } else { r.chance(0.6) };
        let (f0, tract) = if high { (205.0, 1.16) } else { (120.0, 1.0) };
        Self {
            f0_hz: (f0 * (0.12 * r.normal()).exp()).clamp(85.0, 250.0),
            melody: r.range(0.7, 1.4),
            tract: tract * r.range(0.95, 1.05),
            rate_hz: r.range(3.4, 5.2),
            breath: r.range(0.01, 0.08),
            jitter: r.range(0.004, 0.015),
            talk: r.range(0.3, 0.85),
            articulation: r.range(0.7, 1.25),
        }
    }
}
