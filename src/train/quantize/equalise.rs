//! Cross-layer equalisation (Nagel et al. 2019, arXiv 1906.04721, section 4.1): a channel made smaller before its ReLU and
//! its weights in the next layer made larger by the same factor change nothing in fp32, for `relu(a x) = a relu(x)` and the
//! global mean and the GRU's input product are linear. In int8 one scale serves all channels of a layer, so channels of
//! alike ranges lose less.

use super::float::convs;
use crate::error::{Error, Result};
use crate::model::{Conv, Student, Trunk};
use serde::{Deserialize, Serialize};

/// What a channel's range is taken to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Equalise {
    /// Channels are left as trained.
    #[default]
    Off,
    /// The largest weight that makes the channel, as in the paper; needs no data.
    Weights,
    /// The largest value of the channel over the calibration data. Weights have a scale for each output channel here, so
    /// it is the activations that share one (the balance of arXiv 2211.10438 with its exponent at one half).
    Activations,
}

/// Rounds over all pairs of layers; a layer's balance moves its neighbours'.
const ROUNDS: usize = 8;

/// A factor beyond this either way tells of a channel that is as good as dead, and is left out.
const MOST: f64 = 1e3;

/// The fp32 student of the same function (up to rounding) whose channels' ranges equal those of the weights that read
/// them: `s = sqrt(r1 / r2)` divides a channel of range `r1` and multiplies weights of largest size `r2`. `maxima`: the
/// largest value of each channel of each layer, for [`Equalise::Activations`].
///
/// # Errors
/// If the student is int8, or `maxima` has another shape.
pub fn equalise(student: &Student, by: Equalise, maxima: &[Vec<f32>]) -> Result<Student> {
    let mut layers = convs(student)?.to_vec();
    let mut gru = student.gru.clone();
    if by == Equalise::Off {
        return Ok(student.clone());
    }
    let mut maxima = maxima.to_vec();
    let shaped = maxima.iter().map(Vec::len).eq(student.spec.convs.iter().map(|c| c.out));
    if by == Equalise::Activations && !shaped {
        return Err(Error::model("the channels' largest values are not those of this student"));
    }
    for _ in 0..ROUNDS {
        for i in 0..layers.len() {
            let made = match by {
                Equalise::Activations => maxima[i].clone(),
                _ => row_maxima(&layers[i]),
            };
            let (channels, kernel) = (made.len(), student.spec.convs.get(i + 1).map_or(1, |c| c.kernel));
            let reader = layers.get(i + 1).map_or(&gru.w, |c| &c.weight);
            let factors = factors(&made, &column_maxima(reader, channels, kernel * kernel));
            shrink(&mut layers[i], &factors);
            if let Some(row) = maxima.get_mut(i) {
                row.iter_mut().zip(&factors).for_each(|(m, s)| *m = (f64::from(*m) / s) as f32);
            }
            match layers.get_mut(i + 1) {
                Some(next) => grow(&mut next.weight, &factors, kernel * kernel),
                None => grow(&mut gru.w, &factors, 1),
            }
        }
    }
    let student = Student { trunk: Trunk::Fp32(layers), gru, ..student.clone() };
    student.validate()?;
    Ok(student)
}

/// Largest size of each output channel's weights.
fn row_maxima(conv: &Conv) -> Vec<f32> {
    let fan = conv.weight.len() / conv.bias.len();
    conv.weight.chunks_exact(fan).map(|row| row.iter().fold(0.0, |m, w| w.abs().max(m))).collect()
}

/// Largest size of the weights that read each of `channels` channels, each by `area` taps a row.
fn column_maxima(weight: &[f32], channels: usize, area: usize) -> Vec<f32> {
    let mut top = vec![0.0f32; channels];
    for (i, taps) in weight.chunks_exact(area).enumerate() {
        top[i % channels] = taps.iter().fold(top[i % channels], |m, w| w.abs().max(m));
    }
    top
}

/// `sqrt(r1 / r2)` of each channel; 1 for a channel that is dead or as good as.
fn factors(made: &[f32], read: &[f32]) -> Vec<f64> {
    let one = |(&a, &b): (&f32, &f32)| {
        let s = (f64::from(a) / f64::from(b)).sqrt();
        if s.is_finite() && (1.0 / MOST..=MOST).contains(&s) { s } else { 1.0 }
    };
    made.iter().zip(read).map(one).collect()
}

/// Divides each output channel by its factor.
pub(super) fn shrink(conv: &mut Conv, factors: &[f64]) {
    let fan = conv.weight.len() / conv.bias.len();
    for ((row, bias), s) in conv.weight.chunks_exact_mut(fan).zip(&mut conv.bias).zip(factors) {
        row.iter_mut().chain([bias]).for_each(|w| *w = (f64::from(*w) / s) as f32);
    }
}

/// Multiplies the weights that read each channel, by `area` taps, by its factor.
pub(super) fn grow(weight: &mut [f32], factors: &[f64], area: usize) {
    for (i, taps) in weight.chunks_exact_mut(area).enumerate() {
        taps.iter_mut().for_each(|w| *w = (f64::from(*w) * factors[i % factors.len()]) as f32);
    }
}
