//! What is said: phrases of syllables, and the mouth that says them. [`Speech::wave`] is how it sounds.
//!
//! Prosody follows affect in the directions that reviews of vocal emotion agree on (Scherer 2003, Speech Communication 40;
//! Juslin and Laukka 2003, Psychological Bulletin 129): with arousal the pitch, its range, the loudness, the high
//! frequencies and the rate rise; with valence, more weakly, pitch rises and a smile shortens the vocal tract. How much is a
//! design choice of this corpus.

use super::course::Course;
use super::subject::{Subject, Voice};
use crate::render::geometry::step;
use crate::render::{Affect, Rng};
use std::f32::consts::PI;

/// How the mouth stands for a sound; all in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Mouth {
    pub open: f32,
    pub round: f32,
    pub spread: f32,
    /// Lips pressed together for p, b, m.
    pub press: f32,
    /// Share of speech in the moment; 0 in pauses.
    pub active: f32,
}

/// A vowel's formants in Hz for a tract of 17 cm (Peterson and Barney 1952, men), and its mouth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Vowel {
    pub formants_hz: [f32; 3],
    pub open: f32,
    pub round: f32,
    pub spread: f32,
}

const fn vowel(formants_hz: [f32; 3], open: f32, round: f32, spread: f32) -> Vowel {
    Vowel { formants_hz, open, round, spread }
}

/// As in heed, hid, head, had, hod, hawed, hood, who'd, hud.
const VOWELS: [Vowel; 9] = [
    vowel([270.0, 2290.0, 3010.0], 0.22, 0.0, 0.7),
    vowel([390.0, 1990.0, 2550.0], 0.35, 0.0, 0.45),
    vowel([530.0, 1840.0, 2480.0], 0.55, 0.0, 0.3),
    vowel([660.0, 1720.0, 2410.0], 0.85, 0.0, 0.3),
    vowel([730.0, 1090.0, 2440.0], 1.0, 0.0, 0.0),
    vowel([570.0, 840.0, 2410.0], 0.75, 0.6, 0.0),
    vowel([440.0, 1020.0, 2240.0], 0.4, 0.6, 0.0),
    vowel([300.0, 870.0, 2240.0], 0.28, 1.0, 0.0),
    vowel([640.0, 1190.0, 2390.0], 0.7, 0.0, 0.0),
];

/// How a syllable begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Onset {
    /// Straight with the vowel.
    None,
    /// Silence, then a burst; lips shut if `true`.
    Stop(bool),
    /// Noise around a frequency in kHz.
    Fricative(u8),
    /// A hum through the nose; lips shut if `true`.
    Nasal(bool),
}

impl Onset {
    fn lips(self) -> bool {
        matches!(self, Onset::Stop(true) | Onset::Nasal(true))
    }
}

/// One syllable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Syllable {
    pub start_s: f32,
    pub length_s: f32,
    /// Share of the length that its onset takes.
    pub onset_share: f32,
    pub onset: Onset,
    pub vowel: Vowel,
    /// 0.6 for a weak, 1 for a stressed one.
    pub stress: f32,
    /// Pitch in semitones over the voice's rest.
    pub semitones: f32,
    pub affect: Affect,
}

impl Syllable {
    pub fn end_s(&self) -> f32 {
        self.start_s + self.length_s
    }

    /// How far the vowel is open at `t`: a hill from the onset's release to the end.
    pub fn swell(&self, t: f32) -> f32 {
        let from = self.start_s + 0.6 * self.onset_share * self.length_s;
        let p = (t - from) / (self.end_s() - from);
        if (0.0..1.0).contains(&p) { (PI * p).sin().powf(0.8) } else { 0.0 }
    }

    /// Weight of the vowel's shape at `t`; it reaches into the neighbours, as lips round early.
    fn reach(&self, t: f32) -> f32 {
        let p = (t - self.start_s - 0.5 * self.length_s) / self.length_s;
        if p.abs() < 1.0 { 0.5 + 0.5 * (PI * p).cos() } else { 0.0 }
    }

    /// Closure of the lips at `t`.
    fn closure(&self, t: f32) -> f32 {
        let p = (t - self.start_s) / (self.onset_share * self.length_s).max(1e-3);
        if self.onset.lips() { step(-0.5, 0.2, p) * (1.0 - step(0.6, 1.1, p)) } else { 0.0 }
    }
}

/// The speech of one recording.
#[derive(Debug, Clone)]
pub struct Speech {
    pub(super) syllables: Vec<Syllable>,
    pub(super) voice: Voice,
    pub(super) seed: u64,
}

impl Speech {
    /// The speech of `seed` over `seconds`: phrases of 3 to 14 syllables, 3 to 6 a second, with pauses between.
    pub fn new(seed: u64, subject: &Subject, course: &Course, seconds: f32) -> Self {
        let mut r = Rng::new(seed, 15);
        let voice = subject.voice;
        let mut syllables = Vec::new();
        let mut at = r.range(0.0, 2.0);
        while at < seconds {
            let from = at;
            let count = 3 + r.below(12);
            for i in 0..count {
                let s = Syllable::draw(&mut r, &voice, course.at(f64::from(at)), at, i as f32 / count as f32);
                at = s.end_s();
                syllables.push(s);
            }
            at += (at - from) * (1.0 - voice.talk) / voice.talk * r.range(0.4, 1.6);
        }
        Self { syllables, voice, seed }
    }

    /// Syllables whose shape may reach `t`: those up to one before and one after.
    fn around(&self, t: f32) -> &[Syllable] {
        let next = self.syllables.partition_point(|s| s.start_s <= t);
        &self.syllables[next.saturating_sub(2)..(next + 1).min(self.syllables.len())]
    }

    /// The syllable that sounds at `t`, if any.
    pub(super) fn sounding(&self, t: f32) -> Option<&Syllable> {
        self.around(t).iter().find(|s| (s.start_s..s.end_s()).contains(&t))
    }

    /// The mouth at `t` seconds.
    pub fn mouth(&self, t: f64) -> Mouth {
        let t = t as f32;
        let mut m = Mouth::default();
        let effort = self.voice.articulation;
        for s in self.around(t) {
            let (reach, loud) = (s.reach(t), 0.55 + 0.45 * s.stress);
            m.open += s.swell(t) * s.vowel.open * loud * effort * (1.0 + 0.2 * s.affect.arousal);
            m.round += reach * s.vowel.round * effort;
            m.spread += reach * s.vowel.spread * effort;
            m.press = m.press.max(s.closure(t));
            m.active += reach;
        }
        m.open *= 1.0 - m.press;
        let unit = |v: f32| v.clamp(0.0, 1.0);
        Mouth { open: unit(m.open), round: unit(m.round), spread: unit(m.spread), active: unit(1.5 * m.active), ..m }
    }

    /// Stress of the moment, in [0, 1]: what heads nod with.
    pub fn stress(&self, t: f64) -> f32 {
        let t = t as f32;
        self.around(t).iter().map(|s| ((s.stress - 0.6) / 0.4) * s.swell(t)).fold(0.0, f32::max)
    }
}

impl Syllable {
    /// A syllable at `at` seconds, at `place` of its phrase in [0, 1).
    fn draw(r: &mut Rng, voice: &Voice, affect: Affect, at: f32, place: f32) -> Self {
        let stressed = r.chance(0.4);
        let rate = (voice.rate_hz * (1.0 + 0.22 * affect.arousal)).clamp(3.0, 6.0);
        let length = if stressed { 1.15 } else { 0.88 } * r.range(0.85, 1.15) / rate;
        let onset = match r.below(8) {
            0 => Onset::None,
            1 | 2 => Onset::Stop(true),
            3 => Onset::Stop(false),
            4 | 5 => Onset::Fricative(2 + r.below(4) as u8),
            6 => Onset::Nasal(true),
            _ => Onset::Nasal(false),
        };
        let melody = voice.melody * (1.0 + 0.6 * affect.arousal).max(0.3);
        let tune = 1.5 - 4.0 * place + if stressed { 2.5 } else { 0.0 } + r.normal();
        Self {
            start_s: at,
            length_s: length,
            onset_share: if onset == Onset::None { 0.05 } else { r.range(0.22, 0.38) },
            onset,
            vowel: VOWELS[r.below(VOWELS.len())],
            stress: if stressed { 1.0 } else { r.range(0.6, 0.8) },
            semitones: melody * tune + 5.0 * affect.arousal + 1.2 * affect.valence,
            affect,
        }
    }
}
