//! Pitch by autocorrelation.

use super::RATE_HZ;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Samples of a window: 40 ms, 2.4 periods of the lowest pitch.
const WINDOW: usize = 640;
/// Room for a window and its longest lag.
const FFT: usize = 1024;
/// Lowest and highest pitch in hertz.
const LOW_HZ: f32 = 60.0;
const HIGH_HZ: f32 = 400.0;
/// Cost of an octave downwards, so that of peaks alike the highest pitch wins.
const OCTAVE_COST: f32 = 0.05;
/// What is above this frequency does not count: it tells noise, and where between samples a pulse falls.
const BAND_HZ: usize = 2000;
/// Mean square below which a window is silent (-80 dB of full scale).
const SILENT: f32 = 1e-8;

/// The pitch of a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pitch {
    /// In hertz, 60 to 400; means nothing where `voicing` is low.
    pub hz: f32,
    /// Normalised autocorrelation at one period, in [0, 1]: 1 is periodic, 0 noise or silence.
    pub voicing: f32,
}

/// Finds the lag of the highest normalised autocorrelation: that of a Hann-windowed piece of 40 ms over that of the
/// window itself (Boersma 1993, "Accurate short-term analysis of the fundamental frequency"), by FFT below 2 kHz, refined by a
/// parabola.
pub struct PitchTracker {
    forward: Arc<dyn RealToComplex<f32>>,
    backward: Arc<dyn ComplexToReal<f32>>,
    window: Vec<f32>,
    /// Autocorrelation of the window, 1 at lag 0.
    window_lags: Vec<f32>,
}

impl Default for PitchTracker {
    fn default() -> Self {
        let mut planner = RealFftPlanner::new();
        let hann = |i: usize| 0.5 - 0.5 * (std::f32::consts::TAU * (i as f32 + 0.5) / WINDOW as f32).cos();
        let mut tracker = Self {
            forward: planner.plan_fft_forward(FFT),
            backward: planner.plan_fft_inverse(FFT),
            window: (0..WINDOW).map(hann).collect(),
            window_lags: Vec::new(),
        };
        tracker.window_lags = tracker.lags(&tracker.window.clone());
        tracker
    }
}

impl PitchTracker {
    /// Autocorrelation at lags 0 up to the longest, as a share of that at 0.
    fn lags(&self, piece: &[f32]) -> Vec<f32> {
        let mut time = vec![0.0; FFT];
        time[..piece.len()].copy_from_slice(piece);
        let mut spectrum = self.forward.make_output_vec();
        // The lengths are the planner's own, for which neither transform fails.
        let _ = self.forward.process(&mut time, &mut spectrum);
        let kept = BAND_HZ * FFT / RATE_HZ;
        for (i, bin) in spectrum.iter_mut().enumerate() {
            *bin = realfft::num_complex::Complex::new(if i <= kept { bin.norm_sqr() } else { 0.0 }, 0.0);
        }
        let _ = self.backward.process(&mut spectrum, &mut time);
        let longest = (RATE_HZ as f32 / LOW_HZ) as usize + 1;
        let whole = time[0].max(f32::MIN_POSITIVE);
        time[..=longest].iter().map(|v| v / whole).collect()
    }

    /// The pitch about sample `centre` of `wave`; past its ends is silence.
    pub fn at(&self, wave: &[f32], centre: usize) -> Pitch {
        let sample = |i: usize| (centre + i).checked_sub(WINDOW / 2).and_then(|p| wave.get(p)).copied().unwrap_or(0.0);
        let mut piece: Vec<f32> = (0..WINDOW).map(sample).collect();
        let mean = piece.iter().sum::<f32>() / WINDOW as f32;
        piece.iter_mut().for_each(|v| *v -= mean);
        if piece.iter().map(|v| v * v).sum::<f32>() / (WINDOW as f32) < SILENT {
            return Pitch { hz: LOW_HZ, voicing: 0.0 };
        }
        piece.iter_mut().zip(&self.window).for_each(|(v, w)| *v *= w);
        let lags: Vec<f32> = self.lags(&piece).iter().zip(&self.window_lags).map(|(v, w)| v / w).collect();
        highest(&lags)
    }
}

/// The best local maximum, or no voicing where there is none.
fn highest(lags: &[f32]) -> Pitch {
    let rate = RATE_HZ as f32;
    let shortest = (rate / HIGH_HZ) as usize;
    let mut best = (f32::NEG_INFINITY, Pitch { hz: LOW_HZ, voicing: 0.0 });
    for (lag, three) in (shortest..).zip(lags[shortest - 1..].windows(3)) {
        let [before, here, after] = [three[0], three[1], three[2]];
        if here <= 0.0 || here < before || here <= after {
            continue;
        }
        // The parabola through three points has its top this far from the middle one.
        let off = 0.5 * (before - after) / (before - 2.0 * here + after);
        let top = here - 0.25 * (before - after) * off;
        let score = top - OCTAVE_COST * (lag as f32 / shortest as f32).log2();
        if score > best.0 {
            best = (score, Pitch { hz: rate / (lag as f32 + off), voicing: top.clamp(0.0, 1.0) });
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;

    /// A second of pulses through a one-pole filter, `hz` a second.
    fn pulses(hz: f32) -> Vec<f32> {
        let (mut phase, mut state) = (0.0_f32, 0.0_f32);
        let step = |_| {
            phase += hz / RATE_HZ as f32;
            state *= 0.9;
            if phase >= 1.0 {
                phase -= 1.0;
                state += 0.5;
            }
            state
        };
        (0..RATE_HZ).map(step).collect()
    }

    #[test]
    fn pulses_are_heard_within_three_per_cent() {
        let tracker = PitchTracker::default();
        for hz in [75.0, 150.0, 220.0, 390.0] {
            let wave = pulses(hz);
            for centre in [2000, 8000, 8037, 14_000] {
                let got = tracker.at(&wave, centre);
                assert!((got.hz / hz - 1.0).abs() < 0.03 && got.voicing > 0.8, "{hz}: {got:?}");
            }
        }
    }

    #[test]
    fn noise_and_silence_are_not_voiced() {
        let tracker = PitchTracker::default();
        let mut rng = Rng::new(3, 0);
        let noise: Vec<f32> = (0..RATE_HZ).map(|_| 0.1 * rng.normal()).collect();
        let mean = (1..20).map(|i| tracker.at(&noise, i * 800).voicing).sum::<f32>() / 19.0;
        assert!(mean < 0.45, "{mean}");
        assert_eq!(tracker.at(&[], 0).voicing, 0.0);
        assert_eq!(tracker.at(&[0.3; 16_000], 8000).voicing, 0.0);
    }
}
