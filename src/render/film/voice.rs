//! Source-filter synthesis of speech-like sound (Klatt 1980): glottal pulses and noise through three resonators.

use super::speech::{Onset, Speech, Syllable};
use super::subject::Voice;
use crate::render::Rng;
use std::f32::consts::PI;

/// Samples a second.
pub const RATE_HZ: usize = 16_000;
/// Samples between updates of pitch, formants and loudness: 5 ms.
const STEP: usize = 80;
/// Bandwidths of the formants in Hz.
const WIDTH_HZ: [f32; 3] = [80.0, 110.0, 160.0];

/// A second-order resonator of unit gain at 0 Hz.
#[derive(Debug, Clone, Copy, Default)]
struct Resonator {
    a: f32,
    b: f32,
    c: f32,
    last: [f32; 2],
}

impl Resonator {
    fn tune(&mut self, hz: f32, width_hz: f32) {
        let t = 1.0 / RATE_HZ as f32;
        self.c = -(-2.0 * PI * width_hz * t).exp();
        self.b = 2.0 * (-PI * width_hz * t).exp() * (2.0 * PI * hz.min(7000.0) * t).cos();
        self.a = 1.0 - self.b - self.c;
    }

    fn run(&mut self, x: f32) -> f32 {
        let y = self.a * x + self.b * self.last[0] + self.c * self.last[1];
        self.last = [y, self.last[0]];
        y
    }
}

/// What sounds in one step.
#[derive(Debug, Clone, Copy, Default)]
struct Sound {
    f0_hz: f32,
    /// Amplitudes of voice and of noise.
    voiced: f32,
    noise: f32,
    noise_hz: f32,
    formants_hz: [f32; 3],
    /// Weight of the low-passed source, 0 for the brightest voice.
    tilt: f32,
}

impl Sound {
    fn of(s: &Syllable, voice: &Voice, t: f32) -> Self {
        let a = s.affect;
        // A smile draws the lips back and shortens the tract.
        let tract = voice.tract * (1.0 + 0.04 * a.valence.max(0.0) + 0.02 * s.vowel.spread);
        let loud = s.stress * 10f32.powf(0.3 * a.arousal);
        let swell = s.swell(t);
        let into = (t - s.start_s) / (s.onset_share * s.length_s).max(1e-3);
        let starting = into < 1.0;
        let (voiced, noise, noise_hz) = match s.onset {
            Onset::Nasal(_) if starting => (0.15 * loud, 0.0, 300.0),
            Onset::Fricative(khz) if starting => (0.0, 0.12 * loud, 1000.0 * f32::from(khz)),
            Onset::Stop(_) if (0.75..1.0).contains(&into) => (0.0, 0.2 * loud, 1800.0),
            Onset::Stop(_) if starting => (0.0, 0.0, 1800.0),
            _ => (loud * (0.1 + 0.9 * s.vowel.open) * swell, voice.breath * loud * swell, 1500.0),
        };
        let hum = matches!(s.onset, Onset::Nasal(_)) && starting;
        let formants = if hum { [280.0, 1100.0, 2300.0] } else { s.vowel.formants_hz };
        Self {
            f0_hz: (voice.f0_hz * 2f32.powf(s.semitones / 12.0)).clamp(60.0, 600.0),
            voiced,
            noise,
            noise_hz,
            formants_hz: formants.map(|f| f * tract),
            tilt: (0.75 - 0.35 * a.arousal - 0.10 * a.valence).clamp(0.1, 0.95),
        }
    }

    /// Moves a part of the way to `to`: articulators have mass. A closure is sudden.
    fn glide(&mut self, to: &Sound) {
        let go = |from: &mut f32, to: f32, by: f32| *from += (to - *from) * by;
        go(&mut self.f0_hz, to.f0_hz, 0.25);
        go(&mut self.voiced, to.voiced, 0.6);
        go(&mut self.noise, to.noise, 0.7);
        go(&mut self.tilt, to.tilt, 0.3);
        self.noise_hz = to.noise_hz;
        for (f, t) in self.formants_hz.iter_mut().zip(to.formants_hz) {
            go(f, t, 0.35);
        }
    }
}

impl Speech {
    /// `seconds` of sound, mono, [`RATE_HZ`] samples a second, within [-1, 1]; its sample 0 is at 0 s of the recording.
    pub fn wave(&self, seconds: f64) -> Vec<f32> {
        let mut throat = Throat::new(self.seed, &self.voice);
        let mut out = vec![0.0; (seconds * RATE_HZ as f64).round() as usize];
        for (i, piece) in out.chunks_mut(STEP).enumerate() {
            let t = (i * STEP) as f32 / RATE_HZ as f32;
            let quiet = Sound { voiced: 0.0, noise: 0.0, ..throat.sound };
            let to = self.sounding(t).map_or(quiet, |s| Sound::of(s, &self.voice, t));
            throat.sound.glide(&to);
            throat.speak(piece);
        }
        out
    }
}

/// The state of the synthesis.
struct Throat {
    rng: Rng,
    sound: Sound,
    jitter: f32,
    /// Place in the glottal period, in [0, 1).
    phase: f32,
    /// Deviation of this period's length.
    wobble: f32,
    dull: f32,
    formants: [Resonator; 3],
    hiss: Resonator,
}

impl Throat {
    fn new(seed: u64, voice: &Voice) -> Self {
        let formants_hz = [500.0, 1500.0, 2500.0].map(|f: f32| f * voice.tract);
        let sound = Sound { f0_hz: voice.f0_hz, formants_hz, tilt: 0.7, noise_hz: 1500.0, ..Sound::default() };
        Self {
            rng: Rng::new(seed, 16),
            sound,
            jitter: voice.jitter,
            phase: 0.0,
            wobble: 0.0,
            dull: 0.0,
            formants: [Resonator::default(); 3],
            hiss: Resonator::default(),
        }
    }

    fn speak(&mut self, out: &mut [f32]) {
        let s = self.sound;
        for ((r, hz), width) in self.formants.iter_mut().zip(s.formants_hz).zip(WIDTH_HZ) {
            r.tune(hz, width);
        }
        self.hiss.tune(s.noise_hz, 900.0);
        for o in out {
            let white = 2.0 * self.rng.unit() - 1.0;
            let source = s.voiced * self.pulse() + 0.3 * s.noise * white;
            let tract = self.formants.iter_mut().fold(source, |x, r| r.run(x));
            let hiss = self.hiss.run(s.noise * white);
            // Room and microphone hiss under everything.
            *o = (0.25 * tract + 0.5 * hiss + 2e-4 * white).tanh();
        }
    }

    /// The derivative of the flow through the glottis: t^2 (1 - t) while open, 60 % of a period (Klatt and Klatt 1990).
    fn pulse(&mut self) -> f32 {
        const OPEN: f32 = 0.6;
        self.phase += self.sound.f0_hz * (1.0 + self.wobble) / RATE_HZ as f32;
        if self.phase >= 1.0 {
            self.phase -= 1.0;
            self.wobble = self.jitter * self.rng.normal();
        }
        let p = self.phase / OPEN;
        let sharp = if p < 1.0 { 2.0 * p - 3.0 * p * p } else { 0.0 };
        self.dull += 0.25 * (sharp - self.dull);
        sharp + (self.dull - sharp) * self.sound.tilt
    }
}
