//! Random views of clips. Everything is drawn once a clip, so that a view moves and looks alike in all of its frames.

use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::data::augment::{Tap, Warp, tone};
use crate::train::run::Batch;
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Mean and standard deviation of a data set's pixels, as shares of the full range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    pub mean: f32,
    pub std: f32,
}

impl Normalise {
    /// # Errors
    /// If the deviation is not above 0.
    pub fn validate(&self) -> Result<()> {
        if self.mean.is_finite() && self.std.is_finite() && self.std > 0.0 {
            return Ok(());
        }
        Err(Error::usage(format!("pixels: mean {} and std {}, expected numbers, std above 0", self.mean, self.std)))
    }

    /// The network's input for a grey level.
    pub fn level(&self, level: u8) -> f32 {
        (f32::from(level) / 255.0 - self.mean) / self.std
    }
}

/// How views are drawn. Chances are in [0, 1]; the default leaves every picture as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewConfig {
    /// Side of a view in pixels.
    pub size_px: usize,
    /// Frames of a view; 0 for all of the clip, one by one.
    pub frames: usize,
    /// Every so many frames of the clip at most; the stride is drawn anew for each clip from those that fit.
    pub max_stride: usize,
    /// Least and greatest share of the picture's area that a crop takes, uniform (arXiv 1409.4842, section 6).
    pub area: [f32; 2],
    /// Greatest ratio of a crop's sides, log-uniform down to its inverse.
    pub aspect: f32,
    /// How far beyond the picture's edge a crop may begin, as a share of the picture's side.
    pub shift: f32,
    /// Greatest roll in radians, uniform.
    pub roll: f32,
    /// Chance of a mirror image.
    pub flip: f32,
    /// Greatest change, as a share of the full range, uniform.
    pub brightness: f32,
    /// Greatest logarithm of the contrast's factor, uniform.
    pub contrast: f32,
    /// Greatest logarithm of the exponent of grey levels, uniform.
    pub gamma: f32,
    /// Chance of a Gaussian blur.
    pub blur: f32,
    /// Standard deviation of the blur, as a share of the view's side.
    pub blur_sigma: [f32; 2],
    /// Chance that the levels of the upper half are inverted (arXiv 2006.07733, appendix B).
    pub solarise: f32,
    /// Chance of a rectangle blanked to the data's mean (arXiv 1708.04552).
    pub cutout: f32,
    /// Sides of that rectangle, as shares of the view's side.
    pub cutout_side: [f32; 2],
    /// Chance of salt and pepper.
    pub salt_pepper: f32,
    /// Share of pixels that salt and pepper turn white or black.
    pub salt_pepper_share: f32,
    /// Chance that a run of frames is blanked to the data's mean.
    pub time_out: f32,
    /// Length of that run, as a share of the view's frames; 1 blanks the whole clip.
    pub time_out_share: [f32; 2],
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self {
            size_px: 80,
            frames: 0,
            max_stride: 1,
            area: [1.0; 2],
            aspect: 1.0,
            shift: 0.0,
            roll: 0.0,
            flip: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            gamma: 0.0,
            blur: 0.0,
            blur_sigma: [0.002, 0.02],
            solarise: 0.0,
            cutout: 0.0,
            cutout_side: [0.1, 0.35],
            salt_pepper: 0.0,
            salt_pepper_share: 0.02,
            time_out: 0.0,
            time_out_share: [0.1, 0.3],
        }
    }
}

impl ViewConfig {
    /// Strong views for tasks that compare two of them: crops of `area`, flips, tones and blur as in arXiv 2006.07733,
    /// table 6, for grey pictures.
    pub fn strong(size_px: usize, area: [f32; 2]) -> Self {
        Self {
            size_px,
            area,
            aspect: 4.0 / 3.0,
            roll: 0.15,
            flip: 0.5,
            brightness: 0.2,
            contrast: 0.4,
            gamma: 0.3,
            blur: 0.5,
            solarise: 0.1,
            ..Self::default()
        }
    }

    /// Mild views for tasks whose target belongs to the picture.
    pub fn mild(size_px: usize) -> Self {
        Self { size_px, area: [0.7, 1.0], flip: 0.5, brightness: 0.1, contrast: 0.2, gamma: 0.1, ..Self::default() }
    }

    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<()> {
        let chances =
            [self.flip, self.blur, self.solarise, self.cutout, self.salt_pepper, self.salt_pepper_share, self.time_out];
        let shares = [self.area, self.cutout_side, self.time_out_share, self.blur_sigma];
        let limits = [self.shift, self.roll, self.brightness, self.contrast, self.gamma];
        let wrong = if self.size_px == 0 {
            "size_px is 0"
        } else if self.max_stride == 0 {
            "max_stride is 0"
        } else if !chances.iter().all(|c| (0.0..=1.0).contains(c)) {
            "a chance is not from 0 to 1"
        } else if !shares.iter().all(|[low, high]| 0.0 < *low && low <= high && *high <= 1.0) {
            "a pair of shares is not two growing numbers from above 0 to 1"
        } else if !limits.iter().all(|l| l.is_finite() && *l >= 0.0) {
            "a greatest change is negative"
        } else if !(self.aspect.is_finite() && self.aspect >= 1.0) {
            "aspect is below 1"
        } else {
            return Ok(());
        };
        Err(Error::usage(format!("views: {wrong}")))
    }

    /// Draws which frames of a clip of `clip_frames` a view takes.
    ///
    /// # Errors
    /// If the clip is shorter than a view.
    pub fn span(&self, clip_frames: usize, rng: &mut Rng) -> Result<Span> {
        if self.frames == 0 {
            return Ok(Span { start: 0, stride: 1, frames: clip_frames });
        }
        if clip_frames < self.frames {
            return Err(Error::usage(format!("clips of {clip_frames} frames, views of {}", self.frames))
                .remedy("cut longer clips, or take shorter views"));
        }
        let widest = if self.frames == 1 { 1 } else { (clip_frames - 1) / (self.frames - 1) };
        let stride = 1 + rng.below(widest.min(self.max_stride));
        let start = rng.below(clip_frames - (self.frames - 1) * stride);
        Ok(Span { start, stride, frames: self.frames })
    }

    /// Draws a view of `frames` frames of `picture_px` a side.
    pub fn draw(&self, picture_px: usize, frames: usize, normalise: Normalise, rng: &mut Rng) -> View {
        let taps = self.taps(picture_px, rng);
        let levels = self.levels(normalise, rng);
        let kernel = rng.chance(self.blur).then(|| gaussian(self.size_px as f32 * between(self.blur_sigma, rng)));
        let hole = rng.chance(self.cutout).then(|| {
            let [w, h] = [0; 2].map(|_| (between(self.cutout_side, rng) * self.size_px as f32).ceil() as usize);
            [rng.below(self.size_px - w + 1), rng.below(self.size_px - h + 1), w, h]
        });
        let pixels = self.size_px * self.size_px;
        let mut specks = Vec::new();
        if rng.chance(self.salt_pepper) {
            let count = (self.salt_pepper_share * pixels as f32) as usize;
            specks.extend((0..count).map(|_| (rng.below(pixels), normalise.level(255 * rng.below(2) as u8))));
        }
        let mut dark = 0..0;
        if rng.chance(self.time_out) {
            let long = ((between(self.time_out_share, rng) * frames as f32).ceil() as usize).min(frames);
            dark.start = rng.below(frames - long + 1);
            dark.end = dark.start + long;
        }
        View { size_px: self.size_px, taps, levels, kernel: kernel.unwrap_or_default(), hole, specks, dark }
    }

    /// Where each pixel of a random crop is read, as many points a pixel as keep their distance below two.
    fn taps(&self, picture_px: usize, rng: &mut Rng) -> Vec<Tap> {
        let side = picture_px as f32;
        let area = between(self.area, rng) * side * side;
        let ratio = (self.aspect.ln() * rng.range(-1.0, 1.0)).exp();
        let crop = [area * ratio, area / ratio].map(|square| square.sqrt().min(side));
        let out = self.shift * side;
        let centre = crop.map(|c| c / 2.0 + rng.range(-out, side - c + out));
        let roll = self.roll * rng.range(-1.0, 1.0);
        let fine = (crop[0].max(crop[1]) / (2.0 * self.size_px as f32)).ceil().max(1.0) as usize;
        let mut step = crop.map(|c| c / (fine * self.size_px) as f32);
        if rng.chance(self.flip) {
            step[0] = -step[0];
        }
        let grid = fine * self.size_px;
        let all: Vec<Tap> =
            Warp { centre, step, roll }.points(grid).map(|point| Tap::new(point, picture_px, picture_px)).collect();
        if fine == 1 {
            return all;
        }
        let pixel = |k: usize| [k / self.size_px * fine, k % self.size_px * fine];
        (0..self.size_px * self.size_px)
            .flat_map(|k| {
                let [y, x] = pixel(k);
                (0..fine * fine).map(move |s| (y + s / fine) * grid + x + s % fine)
            })
            .map(|i| all[i])
            .collect()
    }

    /// The network's input for each grey level.
    fn levels(&self, normalise: Normalise, rng: &mut Rng) -> [f32; 256] {
        let gamma = (self.gamma * rng.range(-1.0, 1.0)).exp();
        let contrast = (self.contrast * rng.range(-1.0, 1.0)).exp();
        let brightness = 255.0 * self.brightness * rng.range(-1.0, 1.0);
        let mut curve = tone(gamma, contrast, brightness);
        if rng.chance(self.solarise) {
            curve.iter_mut().filter(|v| **v >= 128).for_each(|v| *v = 255 - *v);
        }
        curve.map(|v| normalise.level(v))
    }
}

/// Uniform between the two.
fn between([low, high]: [f32; 2], rng: &mut Rng) -> f32 {
    rng.range(low, high)
}

/// Weights of a Gaussian at 0, 1, .. pixels from its middle, to two and a half deviations; sums to 1 both ways.
fn gaussian(sigma: f32) -> Vec<f32> {
    let reach = (2.5 * sigma).ceil() as usize;
    let raw: Vec<f32> = (0..=reach).map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp()).collect();
    let sum = 2.0 * raw.iter().sum::<f32>() - raw[0];
    raw.into_iter().map(|w| w / sum).collect()
}

/// Frames of a clip that a view takes: `start`, `start + stride`, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub stride: usize,
    pub frames: usize,
}

impl Span {
    /// The frames' numbers.
    pub fn indices(self) -> impl Iterator<Item = usize> {
        (0..self.frames).map(move |i| self.start + i * self.stride)
    }
}

/// One drawn view.
#[derive(Debug, Clone)]
pub struct View {
    size_px: usize,
    /// As many a pixel as [`ViewConfig::taps`] put there.
    taps: Vec<Tap>,
    levels: [f32; 256],
    /// Empty for no blur.
    kernel: Vec<f32>,
    /// Left, top, width, height.
    hole: Option<[usize; 4]>,
    specks: Vec<(usize, f32)>,
    /// Frames that are blanked.
    dark: Range<usize>,
}

impl View {
    /// Frame `number` of a clip through this view, normalised, into `size_px x size_px` places.
    pub fn apply(&self, number: usize, picture: &[u8], out: &mut [f32]) {
        if self.dark.contains(&number) {
            out.fill(0.0);
            return;
        }
        let fine = self.taps.len() / out.len();
        for (o, taps) in out.iter_mut().zip(self.taps.chunks_exact(fine)) {
            *o = taps.iter().map(|t| t.read(picture)).sum::<f32>() / fine as f32;
        }
        if self.kernel.len() > 1 {
            self.blur(out);
        }
        out.iter_mut().for_each(|o| *o = self.levels[o.round() as usize]);
        self.specks.iter().for_each(|(i, level)| out[*i] = *level);
        if let Some([x, y, w, h]) = self.hole {
            out.chunks_exact_mut(self.size_px).skip(y).take(h).for_each(|row| row[x..x + w].fill(0.0));
        }
    }

    /// Along rows, then along columns; the edge is repeated.
    fn blur(&self, out: &mut [f32]) {
        let n = self.size_px;
        for step in [1, n] {
            let old = out.to_vec();
            for (k, o) in out.iter_mut().enumerate() {
                let at = k / step % n;
                let base = k - at * step;
                let near = |i: usize| old[base + at.saturating_sub(i) * step] + old[base + (at + i).min(n - 1) * step];
                let sides: f32 = self.kernel.iter().enumerate().skip(1).map(|(i, w)| w * near(i)).sum();
                *o = self.kernel[0] * old[k] + sides;
            }
        }
    }
}

/// What views become to be a network's input.
#[derive(Debug, Clone)]
pub struct Input {
    pub normalise: Normalise,
    /// Where the network is.
    pub device: Device,
}

/// One view of every clip, clip `i` over `spans[i]`, in parallel: `clips x frames x size x size`.
///
/// The spans are all of one length.
pub fn views(batch: &Batch, config: &ViewConfig, spans: &[Span], input: &Input, rng: &mut Rng) -> Tensor<4> {
    let frames = spans.first().map_or(0, |s| s.frames);
    let drawn: Vec<View> = spans.iter().map(|_| config.draw(batch.size_px, frames, input.normalise, rng)).collect();
    let (area, size) = (batch.size_px * batch.size_px, config.size_px);
    let mut out = vec![0.0; spans.len() * frames * size * size];
    let clips = batch.video.par_chunks_exact(batch.frames * area);
    out.par_chunks_exact_mut(frames * size * size).zip(clips).zip(drawn.par_iter().zip(spans)).for_each(
        |((out, clip), (view, span))| {
            for (t, (out, i)) in out.chunks_exact_mut(size * size).zip(span.indices()).enumerate() {
                view.apply(t, &clip[i * area..][..area], out);
            }
        },
    );
    Tensor::from_data(TensorData::new(out, [spans.len(), frames, size, size]), &input.device)
}

/// A span for every clip of a batch.
///
/// # Errors
/// As [`ViewConfig::span`].
pub fn spans(batch: &Batch, config: &ViewConfig, rng: &mut Rng) -> Result<Vec<Span>> {
    (0..batch.clips).map(|_| config.span(batch.frames, rng)).collect()
}

#[cfg(test)]
mod tests;
