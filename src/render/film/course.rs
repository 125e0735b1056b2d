//! What a person goes through: affect at realistic speed.

use super::subject::Subject;
use crate::render::geometry::step;
use crate::render::trajectory::Wave;
use crate::render::{Affect, Rng};

/// One emotional episode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Episode {
    pub start_s: f32,
    /// Rise from nothing to the apex, 0.5 to 2 s.
    pub onset_s: f32,
    pub apex_s: f32,
    /// Fall back to the mood.
    pub decay_s: f32,
    /// Affect at the apex.
    pub peak: Affect,
    /// Intensity of the smile put over it, 0 for none.
    pub mask: f32,
    /// Factor on each unit: no two smiles use the same muscles equally, and some units stay out.
    pub mixture: [f32; 16],
}

impl Episode {
    /// Weight of the episode at `t` seconds, in [0, 1].
    pub fn weight(&self, t: f32) -> f32 {
        let since = t - self.start_s;
        let left = self.onset_s + self.apex_s + self.decay_s - since;
        step(0.0, self.onset_s, since) * step(0.0, self.decay_s, left)
    }

    /// Seconds from its start to its end.
    pub fn length_s(&self) -> f32 {
        self.onset_s + self.apex_s + self.decay_s
    }
}

/// Class of episode: its centre (arousal, valence), and how often it comes.
///
/// Centres of joy, surprise, anger, sadness, disgust and fear lie near AffectNet's class means (Mollahosseini et al. 2017);
/// contentment and boredom are the circumplex's calm side (Russell 1980).
const CLASSES: [(f32, f32, f32); 9] = [
    (0.30, 0.70, 0.22),
    (0.65, 0.65, 0.10),
    (-0.15, 0.50, 0.14),
    (0.70, 0.15, 0.11),
    (0.55, -0.43, 0.11),
    (-0.27, -0.60, 0.10),
    (0.45, -0.62, 0.08),
    (0.72, -0.20, 0.06),
    (-0.50, -0.15, 0.08),
];

/// Onset and decay of a designed step, within any exposure.
const INSTANT_S: f32 = 1e-3;

/// A subject's affect over one recording: a slow mood, with episodes that rise, stay and fade.
#[derive(Debug, Clone)]
pub struct Course {
    mood: Affect,
    drift: [Wave; 2],
    episodes: Vec<Episode>,
}

impl Course {
    /// The course of `seed` over `seconds`; some of it may have begun before.
    pub fn new(seed: u64, subject: &Subject, seconds: f32) -> Self {
        let mut r = Rng::new(seed, 12);
        let drift = std::array::from_fn(|_| Wave::new(&mut r, 0.01, 0.08));
        let mut episodes = Vec::new();
        let mut at = -r.range(0.0, 8.0);
        while at < seconds {
            let e = Episode::draw(&mut r, at, subject);
            at += e.length_s() - 0.5 * e.decay_s + r.range(0.3, 6.0);
            episodes.push(e);
        }
        Self { mood: subject.mood, drift, episodes }
    }

    /// A designed course: from the mood to an apex and back at once, each held for `hold_s`. Apexes are those of `seed`'s classes.
    pub fn steps(seed: u64, mood: Affect, hold_s: f32, seconds: f32) -> Self {
        let mut r = Rng::new(seed, 12);
        let starts = (0..).map(|k| (2 * k + 1) as f32 * hold_s).take_while(|start| *start < seconds);
        // Over by the frame at the step itself.
        let episodes = starts.map(|step_s| {
            let (arousal, valence) = class(r.unit());
            Episode {
                start_s: step_s - 2.0 * INSTANT_S,
                onset_s: INSTANT_S,
                apex_s: hold_s - INSTANT_S,
                decay_s: INSTANT_S,
                peak: Affect { arousal, valence },
                mask: 0.0,
                mixture: [1.0; 16],
            }
        });
        Self { episodes: episodes.collect(), ..Self::still(mood) }
    }

    /// A course that stays at one point.
    pub fn still(mood: Affect) -> Self {
        Self { mood, drift: [Wave::FLAT; 2], episodes: Vec::new() }
    }

    /// Affect at `t` seconds, both in [-1, 1].
    pub fn at(&self, t: f64) -> Affect {
        let drift = |i: usize| 0.10 * self.drift[i].at(t);
        let base = Affect { arousal: self.mood.arousal + drift(0), valence: self.mood.valence + drift(1) };
        let now = self.active(t).fold(base, |a, (e, w)| Affect {
            arousal: a.arousal + (e.peak.arousal - a.arousal) * w,
            valence: a.valence + (e.peak.valence - a.valence) * w,
        });
        Affect { arousal: now.arousal.clamp(-1.0, 1.0), valence: now.valence.clamp(-1.0, 1.0) }
    }

    /// Episodes under way at `t` seconds, with their weights.
    pub fn active(&self, t: f64) -> impl Iterator<Item = (&Episode, f32)> {
        self.episodes.iter().map(move |e| (e, e.weight(t as f32))).filter(|(_, w)| *w > 0.0)
    }

    /// All episodes by their start.
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }
}

impl Episode {
    fn draw(r: &mut Rng, start_s: f32, subject: &Subject) -> Self {
        let (arousal, valence) = class(r.unit());
        let strength = r.range(0.4, 1.15);
        let near = |r: &mut Rng, centre: f32| (centre * strength + 0.1 * r.normal()).clamp(-0.98, 0.98);
        let peak = Affect { arousal: near(r, arousal), valence: near(r, valence) };
        let masked = peak.valence < -0.15 && r.chance(subject.masks);
        Self {
            start_s,
            onset_s: r.range(0.5, 2.0),
            apex_s: r.range(0.3, 4.0),
            decay_s: r.range(1.0, 4.5),
            peak,
            mask: if masked { r.range(0.25, 0.6) } else { 0.0 },
            mixture: std::array::from_fn(|_| if r.chance(0.15) { 0.2 } else { r.range(0.6, 1.25) }),
        }
    }
}

/// The class at `u` in [0, 1) of the cumulated shares.
fn class(mut u: f32) -> (f32, f32) {
    for (arousal, valence, share) in CLASSES {
        if u < share {
            return (arousal, valence);
        }
        u -= share;
    }
    (CLASSES[0].0, CLASSES[0].1)
}
