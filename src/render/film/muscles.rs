//! Affect and speech to action units over time.

use super::course::Course;
use super::speech::Mouth;
use super::subject::Subject;
use crate::render::trajectory::Wave;
use crate::render::{Expression, Rng};

/// Places in [`Expression::mean_units`].
const AU6: usize = 4;
const AU12: usize = 8;
const AU14: usize = 9;
const AU23: usize = 12;
/// Units that twitch without meaning: 1, 2, 4, 14, 23.
const IDLE: [usize; 5] = [0, 1, 2, AU14, AU23];

/// How one recording's affect reaches the face: each unit with its own delay and strength, units that stay out of an
/// episode, a mask over negative ones, idle movements and blinks.
#[derive(Debug, Clone)]
pub struct Muscles {
    /// Seconds by which each unit follows affect, 0 to 0.35.
    delay_s: [f64; 16],
    /// Stronger side of this recording's smiles.
    skew: f32,
    idle: [(Wave, f32); 5],
    /// Start of each blink in seconds.
    blinks: Vec<f32>,
}

/// Seconds a blink takes.
const BLINK_S: f32 = 0.22;

impl Muscles {
    /// The muscles of `seed` over `seconds`.
    pub fn new(seed: u64, subject: &Subject, seconds: f32) -> Self {
        let mut r = Rng::new(seed, 13);
        let mut blinks = Vec::new();
        let every = r.range(1.8, 6.0);
        let mut at = r.range(0.0, every);
        while at < seconds {
            blinks.push(at);
            at += BLINK_S + every * r.range(0.15, 1.85);
        }
        Self {
            delay_s: std::array::from_fn(|_| f64::from(r.range(0.0, 0.35))),
            skew: (subject.skew + 0.08 * r.normal()).clamp(-0.4, 0.4),
            idle: std::array::from_fn(|_| (Wave::new(&mut r, 0.05, 0.5), r.range(0.0, 0.25))),
            blinks,
        }
    }

    /// The same muscles without delays: the face shows what is felt at that moment.
    pub fn prompt(self) -> Self {
        Self { delay_s: [0.0; 16], ..self }
    }

    /// The face at `t` seconds of a course, with the mouth of speech.
    pub fn at(&self, t: f64, course: &Course, subject: &Subject, mouth: &Mouth) -> Expression {
        let mut units = self.felt(t, course, subject);
        for (&unit, (wave, size)) in IDLE.iter().zip(&self.idle) {
            units[unit] += size * (wave.at(t) - 1.2).max(0.0);
        }
        let mask = course.active(t).map(|(e, w)| e.mask * w).fold(0.0, f32::max);
        // A mask lifts the mouth and not the cheeks (Ekman, Friesen and O'Sullivan 1988).
        units[AU12] = units[AU12].max(mask);
        units[AU6] *= 1.0 - 0.6 * mask;
        let mut e = Expression::from_units(units.map(|u| u.clamp(0.0, 1.0)));
        e.skew = self.skew;
        e.au43 = e.au43.max(self.blink(t as f32));
        speak(&mut e, mouth);
        e
    }

    fn felt(&self, t: f64, course: &Course, subject: &Subject) -> [f32; 16] {
        let mut mixture = [1.0; 16];
        for (episode, weight) in course.active(t) {
            for (m, own) in mixture.iter_mut().zip(episode.mixture) {
                *m += (own - *m) * weight;
            }
        }
        let gain = |i: usize| subject.expressiveness * subject.habits[i] * mixture[i];
        let at = |i: usize| Expression::mean_units(course.at(t - self.delay_s[i]))[i];
        std::array::from_fn(|i| subject.rest[i] + gain(i) * at(i))
    }

    /// Eye closure, fast down and slower up.
    fn blink(&self, t: f32) -> f32 {
        let next = self.blinks.partition_point(|&b| b <= t);
        let Some(since) = next.checked_sub(1).map(|i| (t - self.blinks[i]) / BLINK_S) else { return 0.0 };
        if since < 0.35 { since / 0.35 } else { (1.0 - (since - 0.35) / 0.65).max(0.0) }
    }
}

/// Lays speech over an expression: what the mouth must do for a sound outweighs what it shows.
fn speak(e: &mut Expression, mouth: &Mouth) {
    let talk = mouth.active;
    let over = |felt: f32, said: f32| (felt * (1.0 - 0.7 * talk) + said).clamp(0.0, 1.0);
    e.au25 = over(e.au25, mouth.open.sqrt() * 0.8);
    e.au26 = over(e.au26, 0.75 * mouth.open);
    e.au18 = over(e.au18, 0.9 * mouth.round);
    e.au20 = (e.au20 + 0.5 * mouth.spread).min(1.0);
    e.au23 = (e.au23 * (1.0 - talk) + 0.5 * mouth.press).min(1.0);
    e.au12 *= 1.0 - 0.35 * mouth.round;
}
