//! Stills as clips: a picture under a small, smooth motion of the camera, so that a network that reads time can read it.
//!
//! The face does not move in such a clip, so a figure on it says nothing of how movement is read: every figure carries what
//! [`Census::about`] says.

use super::augment::{Tap, Warp};
use super::record::Split;
use crate::error::Result;
use crate::render::Rng;
use crate::train::shards::{Meta, Reader, Sample};
use sha2::{Digest, Sha256};
use std::f32::consts::TAU;

/// Frames that a network reads of a still when it is judged; the last one's reading counts.
pub const JUDGED_FRAMES: usize = 8;

/// Farthest that a camera shifts, each way, as a fraction of the picture's side.
pub const MOST_SHIFT: f32 = 0.04;
/// Largest logarithm of the scale.
pub const MOST_ZOOM: f32 = 0.04;
/// Largest roll in radians.
pub const MOST_ROLL: f32 = 0.07;

/// Frequencies of the motion.
const HZ: [f32; 2] = [0.2, 1.0];
/// Sines that a motion is the sum of.
const WAVES: usize = 2;

/// Keep motions apart from what else is drawn from the same seed.
const TRAINING: u64 = 8 << 40;
const JUDGING: u64 = 9 << 40;

/// A sine that is shifted to be 0 at time 0.
#[derive(Debug, Clone, Copy)]
struct Wave {
    amplitude: f32,
    hz: f32,
    phase: f32,
}

impl Wave {
    /// As far as `most` from 0 and no farther.
    fn draw(most: f32, rng: &mut Rng) -> Self {
        Self { amplitude: 0.5 * most * rng.range(0.25, 1.0), hz: rng.range(HZ[0], HZ[1]), phase: rng.unit() }
    }

    fn at(&self, time_s: f32) -> f32 {
        let sine = |t: f32| (TAU * (self.hz * t + self.phase)).sin();
        self.amplitude * (sine(time_s) - sine(0.0))
    }
}

/// Where a camera is, relative to where it took the still.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Of the middle of the view, as fractions of the picture's side, within [`MOST_SHIFT`].
    pub shift: [f32; 2],
    /// Logarithm of the side of the view over the picture's, within [`MOST_ZOOM`].
    pub zoom: f32,
    /// In radians, within [`MOST_ROLL`].
    pub roll: f32,
}

/// How a camera moves: every component a sum of slow sines. At time 0 it is where it took the still.
#[derive(Debug, Clone)]
pub struct Motion([[Wave; WAVES]; 4]);

impl Motion {
    /// One drawn from `rng`.
    pub fn draw(rng: &mut Rng) -> Self {
        let most = [MOST_SHIFT, MOST_SHIFT, MOST_ZOOM, MOST_ROLL];
        Self(most.map(|most| std::array::from_fn(|_| Wave::draw(most / WAVES as f32, rng))))
    }

    /// That of the still called `key` in one epoch of a training; each epoch has another.
    pub fn in_training(key: &str, seed: u64, epoch: u64) -> Self {
        Self::draw(&mut Rng::new(seed ^ digest(key), TRAINING ^ epoch))
    }

    /// That of the still called `key` whenever it is judged.
    pub fn in_judging(key: &str) -> Self {
        Self::draw(&mut Rng::new(digest(key), JUDGING))
    }

    /// The pose at a time before or after the still.
    pub fn at(&self, time_s: f32) -> Pose {
        let [x, y, zoom, roll] = self.0.map(|waves| waves.iter().map(|w| w.at(time_s)).sum());
        Pose { shift: [x, y], zoom, roll }
    }
}

fn digest(key: &str) -> u64 {
    Sha256::digest(key).iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte))
}

impl Pose {
    /// Appends what the camera sees of a picture of `size_px` a side, bilinear, edge repeated. Where it took the still it sees the
    /// picture to the bit.
    fn look(&self, picture: &[u8], size_px: usize, out: &mut Vec<u8>) {
        let (side, step) = (size_px as f32, self.zoom.exp());
        let centre = self.shift.map(|s| (0.5 + s) * side);
        let warp = Warp { centre, step: [step, step], roll: self.roll };
        out.extend(warp.points(size_px).map(|p| Tap::new(p, size_px, size_px).read(picture).round() as u8));
    }
}

/// Whether a sample is a still: one frame, and no rest of a recording that was cut into parts.
pub fn is_still(meta: &Meta) -> bool {
    meta.frames == 1 && meta.part == 0
}

/// `frames` frames of a still, `fps` a second, its labels and acoustic features repeated. The frame in the middle, number
/// `frames / 2` from 0, is the still itself.
///
/// A still's own `fps` is what `prepare --picture-fps` was told, 25 by default.
pub fn clip(still: &Sample, frames: usize, fps: f64, motion: &Motion) -> Sample {
    let size_px = still.meta.size_px;
    let middle = (frames / 2) as f64;
    let mut video = Vec::with_capacity(frames * size_px * size_px);
    for t in 0..frames {
        motion.at(((t as f64 - middle) / fps) as f32).look(&still.video, size_px, &mut video);
    }
    Sample {
        meta: Meta { frames, fps, ..still.meta.clone() },
        video,
        labels: still.labels.repeat(frames),
        audio: still.audio.as_ref().map(|row| row.repeat(frames)),
    }
}

/// Frames of the clip that a still is judged as by a network that reads every `every`-th.
pub fn judged_frames(every: usize) -> usize {
    (JUDGED_FRAMES - 1) * every + 1
}

/// A sample as a network is judged on it that reads every `every`-th frame: a still becomes a clip of [`judged_frames`] at its own
/// rate, whose motion depends on its key alone and of which only the last frame has the label; any other is as it was.
pub fn judged(sample: Sample, every: usize) -> Sample {
    if !is_still(&sample.meta) {
        return sample;
    }
    let frames = judged_frames(every);
    let mut clip = clip(&sample, frames, sample.meta.fps, &Motion::in_judging(&sample.meta.key));
    clip.labels[..frames - 1].fill([f32::NAN; 2]);
    clip
}

/// What a split holds, as it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Samples of one frame that become clips.
    pub stills: usize,
    /// Other samples.
    pub others: usize,
    /// Frames of all, those of the clips included.
    pub frames: usize,
    /// Of a clip.
    clip: usize,
}

impl Census {
    /// Of a split that is read at every `every`-th frame; no array is read.
    ///
    /// # Errors
    /// A damaged shard.
    pub fn of(reader: &Reader, split: Split, every: usize) -> Result<Self> {
        let clip = judged_frames(every);
        let metas = reader.metas(split)?;
        let stills = metas.iter().filter(|m| is_still(m)).count();
        let all: usize = metas.iter().map(|m| m.frames).sum();
        Ok(Self { stills, others: metas.len() - stills, frames: all - stills + stills * clip, clip })
    }

    /// What every figure on the split must say; `None` where there is no still.
    pub fn about(&self) -> Option<String> {
        let clips = format!("stills as clips of {} frames by camera motion", self.clip);
        match (self.stills, self.others) {
            (0, _) => None,
            (_, 0) => Some(clips),
            (stills, others) => Some(format!("{others} recordings and {stills} {clips}")),
        }
    }

    /// What figures on one folder must say: its name, if it is one of several, and [`Census::about`].
    ///
    /// # Errors
    /// A damaged shard.
    pub fn about_one(reader: &Reader, split: Split, every: usize, several: bool) -> Result<Option<String>> {
        let stills = Self::of(reader, split, every)?.about();
        let parts: Vec<String> = several.then(|| reader.name()).into_iter().chain(stills).collect();
        Ok((!parts.is_empty()).then(|| parts.join(", ")))
    }
}

#[cfg(test)]
pub(crate) mod tests;
