//! What can be heard in a recording, as numbers a video frame: the targets of LiRA (Ma et al. 2021, arXiv 2106.09171).
//!
//! LiRA predicts features of a frozen audio encoder (PASE+). [`LogMel`] needs no weights; [`encoder()`] opens any encoder that is
//! an ONNX file.

mod encoder;
mod logmel;
mod pitch;

pub use encoder::encoder;
pub use logmel::LogMel;
pub use pitch::{Pitch, PitchTracker};

use crate::error::Result;

pub use crate::capture::sound::RATE_HZ;

/// Computes acoustic features on the times of video frames.
pub trait AudioTarget: Send {
    /// What it is, with its settings: samples are only mixed with those of the same name.
    fn name(&self) -> &str;

    /// Features a frame.
    fn dims(&self) -> usize;

    /// `frame_times_s.len() * dims()` finite numbers, one row a frame.
    ///
    /// `wave` is one channel of [`RATE_HZ`] samples a second in about [-1, 1] that begins at time 0; past its ends is
    /// silence. The times grow.
    ///
    /// # Errors
    /// An encoder that fails.
    fn features(&mut self, wave: &[f32], frame_times_s: &[f64]) -> Result<Vec<f32>>;
}

/// The stretch of time that is nearer to frame `i` than to its neighbours, in seconds; end frames reach as far outwards
/// as inwards, a single frame 20 ms either way.
fn stretch(times: &[f64], i: usize) -> (f64, f64) {
    let half = |a: usize, b: usize| times.get(a).zip(times.get(b)).map(|(a, b)| 0.5 * (b - a));
    let before = i.checked_sub(1).and_then(|p| half(p, i));
    let after = half(i, i + 1);
    let (before, after) = (before.or(after).unwrap_or(0.02), after.or(before).unwrap_or(0.02));
    (times[i] - before, times[i] + after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_share_time_out_at_the_middles_between_them() {
        let near = |(a, b): (f64, f64), (c, d): (f64, f64)| (a - c).abs() < 1e-12 && (b - d).abs() < 1e-12;
        let times = [1.0, 1.2, 1.6];
        assert!(near(stretch(&times, 0), (0.9, 1.1)) && near(stretch(&times, 1), (1.1, 1.4)));
        assert!(near(stretch(&times, 2), (1.4, 1.8)) && near(stretch(&[3.0], 0), (2.98, 3.02)));
    }
}
