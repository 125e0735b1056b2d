//! Log-mel spectrum, energy, pitch and voicing.

use super::{AudioTarget, PitchTracker, RATE_HZ, stretch};
use crate::error::Result;
use realfft::{RealFftPlanner, RealToComplex};
use std::f64::consts::TAU;
use std::sync::Arc;

/// Mel bins.
const BINS: usize = 80;
/// Samples of a window (25 ms) and from one to the next (10 ms).
const WINDOW: usize = 400;
const HOP: usize = 160;
/// Windows are filled up with zeros to this length, so that the lowest mel bins hold some of the spectrum.
const FFT: usize = 1024;
/// Powers are raised to this before their logarithm (-100 dB).
const FLOOR: f32 = 1e-10;
/// Voicing from which a window's pitch counts.
const VOICED: f32 = 0.5;
/// Log-mel, log-energy, log-pitch, voicing.
const DIMS: usize = BINS + 3;
/// Frames either way that a delta is fitted to.
const DELTA_REACH: usize = 2;

/// The default [`AudioTarget`], 83 numbers a frame, or 166 with deltas:
///
/// | column | what |
/// |---|---|
/// | 0 to 79 | natural logarithm of the power in 80 mel bins, at least `ln(1e-10)` = -23.0 |
/// | 80 | natural logarithm of the mean square, same floor |
/// | 81 | mean of `ln(pitch / 100 Hz)` over voiced windows, 0 if none is |
/// | 82 | mean voicing, in \[0, 1\] |
/// | 83 to 165 | slopes of the above a frame, by regression over two frames either way |
///
/// Windows of 25 ms (Hann) stand every 10 ms, centred on multiples of 10 ms; a frame's row is the mean of those
/// nearer to it than to its neighbours, and of the nearest one where there is none. The mel scale is HTK's,
/// `2595 log10(1 + f / 700)`, with triangles of height 1 from 0 to 8 kHz on a power spectrum over 1,024 points, divided by the
/// window's energy. Pitch is [`PitchTracker`]'s.
pub struct LogMel {
    name: String,
    deltas: bool,
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    /// First spectrum bin and the weights from there, for each mel bin.
    bank: Vec<(usize, Vec<f32>)>,
    pitch: PitchTracker,
}

fn mel(hz: f64) -> f64 {
    2595.0 * (1.0 + hz / 700.0).log10()
}

fn hertz(mel: f64) -> f64 {
    700.0 * (10f64.powf(mel / 2595.0) - 1.0)
}

/// The triangle from `low` over `centre` to `high` hertz, on the spectrum's bins.
fn triangle(low: f64, centre: f64, high: f64) -> (usize, Vec<f32>) {
    let spacing = RATE_HZ as f64 / FFT as f64;
    let first = (low / spacing).floor() as usize + 1;
    let upto = ((high / spacing).ceil() as usize).min(FFT / 2 + 1);
    let weight = |bin: usize| {
        let hz = bin as f64 * spacing;
        ((hz - low) / (centre - low)).min((high - hz) / (high - centre)).max(0.0) as f32
    };
    (first, (first..upto).map(weight).collect())
}

/// Row by row slopes of `rows` of [`DIMS`]; past the ends the end rows repeat.
fn slopes(rows: &[f32]) -> Vec<f32> {
    let count = rows.len() / DIMS;
    let norm: f32 = (1..=DELTA_REACH).map(|k| 2.0 * (k * k) as f32).sum();
    let slope = |t: usize, d: usize| {
        let at = |row: usize| rows[row.min(count - 1) * DIMS + d];
        (1..=DELTA_REACH).map(|k| k as f32 * (at(t + k) - at(t.saturating_sub(k)))).sum::<f32>() / norm
    };
    (0..count).flat_map(|t| (0..DIMS).map(move |d| (t, d))).map(|(t, d)| slope(t, d)).collect()
}

impl LogMel {
    /// With or without deltas.
    pub fn new(deltas: bool) -> Self {
        let top = mel(RATE_HZ as f64 / 2.0);
        let edge = |i: usize| hertz(top * i as f64 / (BINS + 1) as f64);
        let hann = |i: usize| (0.5 - 0.5 * (TAU * (i as f64 + 0.5) / WINDOW as f64).cos()) as f32;
        Self {
            name: format!("logmel{BINS}-htk+energy+pitch+voicing{}", if deltas { "+deltas" } else { "" }),
            deltas,
            fft: RealFftPlanner::new().plan_fft_forward(FFT),
            window: (0..WINDOW).map(hann).collect(),
            bank: (0..BINS).map(|i| triangle(edge(i), edge(i + 1), edge(i + 2))).collect(),
            pitch: PitchTracker::default(),
        }
    }

    /// The row of the window centred at `centre`, with 0 for the pitch of one that is not voiced.
    fn row(&self, wave: &[f32], centre: usize) -> [f32; DIMS] {
        let sample = |i: usize| (centre + i).checked_sub(WINDOW / 2).and_then(|p| wave.get(p)).copied().unwrap_or(0.0);
        let piece: Vec<f32> = (0..WINDOW).map(sample).collect();
        let mut time = vec![0.0; FFT];
        time.iter_mut().zip(piece.iter().zip(&self.window)).for_each(|(t, (v, w))| *t = v * w);
        let mut spectrum = self.fft.make_output_vec();
        // The lengths are the planner's own, for which the transform does not fail.
        let _ = self.fft.process(&mut time, &mut spectrum);
        let energy: f32 = self.window.iter().map(|w| w * w).sum();
        let mut row = [0.0; DIMS];
        for (out, (first, weights)) in row.iter_mut().zip(&self.bank) {
            let power: f32 = weights.iter().zip(&spectrum[*first..]).map(|(w, s)| w * s.norm_sqr()).sum();
            *out = (power / energy).max(FLOOR).ln();
        }
        row[BINS] = (piece.iter().map(|v| v * v).sum::<f32>() / WINDOW as f32).max(FLOOR).ln();
        let pitch = self.pitch.at(wave, centre);
        if pitch.voicing >= VOICED {
            row[BINS + 1] = (pitch.hz / 100.0).ln();
        }
        row[BINS + 2] = pitch.voicing;
        row
    }
}

/// Mean of the rows of windows `from..to`; of the pitch over the voiced ones alone.
fn mean(rows: &[[f32; DIMS]]) -> [f32; DIMS] {
    let mut out = [0.0; DIMS];
    for row in rows {
        out.iter_mut().zip(row).for_each(|(o, v)| *o += v / rows.len() as f32);
    }
    let voiced = rows.iter().filter(|r| r[BINS + 2] >= VOICED).count();
    out[BINS + 1] *= rows.len() as f32 / voiced.max(1) as f32;
    out
}

impl AudioTarget for LogMel {
    fn name(&self) -> &str {
        &self.name
    }

    fn dims(&self) -> usize {
        if self.deltas { 2 * DIMS } else { DIMS }
    }

    fn features(&mut self, wave: &[f32], frame_times_s: &[f64]) -> Result<Vec<f32>> {
        let hop_s = HOP as f64 / RATE_HZ as f64;
        let mut rows = Vec::with_capacity(frame_times_s.len() * DIMS);
        for (i, time) in frame_times_s.iter().enumerate() {
            let (from, to) = stretch(frame_times_s, i);
            // Half a nanosecond forgives the rounding of times written in decimals.
            let number = |t: f64| ((t - 5e-10) / hop_s).ceil().max(0.0) as usize;
            let mut windows = number(from)..number(to);
            if windows.is_empty() {
                let nearest = (time / hop_s).round().max(0.0) as usize;
                windows = nearest..nearest + 1;
            }
            let heard: Vec<[f32; DIMS]> = windows.map(|w| self.row(wave, w * HOP)).collect();
            rows.extend_from_slice(&mean(&heard));
        }
        if !self.deltas {
            return Ok(rows);
        }
        let slopes = slopes(&rows);
        let both = rows.chunks_exact(DIMS).zip(slopes.chunks_exact(DIMS));
        Ok(both.flat_map(|(row, slope)| row.iter().chain(slope).copied()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two seconds of a sine of amplitude 0.5, beginning at `from_s`.
    fn sine(hz: f64, from_s: f64) -> Vec<f32> {
        let sample = |i: usize| {
            let t = i as f64 / RATE_HZ as f64;
            if t < from_s { 0.0 } else { (0.5 * (TAU * hz * t).sin()) as f32 }
        };
        (0..2 * RATE_HZ).map(sample).collect()
    }

    fn times(frames: usize) -> Vec<f64> {
        (0..frames).map(|i| i as f64 / 25.0).collect()
    }

    #[test]
    fn a_sine_peaks_in_the_bin_of_its_frequency() {
        let mut target = LogMel::new(false);
        // Centres of the bins are 2840.02 / 81 mel apart.
        for (hz, bin) in [(450.0, 15), (1020.0, 28), (3040.0, 53), (7000.0, 76)] {
            let at = mel(hz) * 81.0 / mel(8000.0) - 1.0;
            assert_eq!(at.round() as usize, bin, "the bin is where the scale puts it");
            let row = &target.features(&sine(hz, 0.0), &[1.0]).unwrap()[..BINS];
            let peak = (0..BINS).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
            assert_eq!(peak, bin, "{hz} Hz");
        }
    }

    #[test]
    fn energy_is_that_of_the_sine_and_silence_is_the_floor() {
        let mut target = LogMel::new(false);
        let rows = target.features(&sine(200.0, 1.0), &times(50)).unwrap();
        let row = |t: usize| &rows[t * DIMS..][..DIMS];
        assert!((row(40)[BINS] - 0.125_f32.ln()).abs() < 0.02, "{}", row(40)[BINS]);
        assert!((row(40)[BINS + 1] - 2.0_f32.ln()).abs() < 0.03 && row(40)[BINS + 2] > 0.95);
        assert!(row(10)[..=BINS].iter().all(|v| (*v - FLOOR.ln()).abs() < 1e-4) && row(10)[BINS + 1..] == [0.0; 2]);
        // The sine begins with frame 25; a window reaches 12.5 ms, half a frame 20 ms.
        assert!(row(24)[BINS] < row(25)[BINS] && row(23)[BINS] < -22.0 && row(26)[BINS] > -2.2);
    }

    #[test]
    fn deltas_are_slopes_a_frame() {
        let ramp: Vec<f32> = (0..9).flat_map(|t| [3.0 * t as f32; DIMS]).collect();
        let found = slopes(&ramp);
        assert!(found[2 * DIMS..7 * DIMS].iter().all(|v| (v - 3.0).abs() < 1e-5));
        let mut target = LogMel::new(true);
        let rows = target.features(&sine(440.0, 0.0), &times(20)).unwrap();
        assert_eq!((rows.len(), target.dims()), (20 * 166, 166));
        assert!(rows[10 * 166 + DIMS..11 * 166].iter().all(|v| v.abs() < 0.3), "a steady tone has no slope");
        assert_ne!(target.name(), LogMel::new(false).name());
    }

    #[test]
    fn times_past_the_sound_and_no_sound_at_all_are_silent() {
        let mut target = LogMel::new(false);
        for (wave, time) in [(vec![0.1; 160], 5.0), (Vec::new(), 0.0)] {
            let row = target.features(&wave, &[time]).unwrap();
            assert!((row[BINS] - FLOOR.ln()).abs() < 1e-4 && row.iter().all(|v| v.is_finite()));
        }
        assert!(target.features(&[0.5; 100], &[]).unwrap().is_empty());
    }

    #[test]
    fn every_bin_holds_some_of_the_spectrum() {
        let target = LogMel::new(false);
        assert!(target.bank.iter().all(|(_, w)| w.iter().sum::<f32>() > 0.3));
    }
}
