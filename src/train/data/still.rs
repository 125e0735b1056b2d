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
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::train::shards::{Writer, WriterConfig};
    use std::path::Path;

    /// A still of `size_px` a side with a soft pattern; key, label and pattern follow from `n`.
    pub fn still(split: Split, n: usize, size_px: usize) -> Sample {
        let level = |i: usize| {
            let (x, y) = ((i % size_px) as f32, (i / size_px) as f32);
            (128.0 + 90.0 * (0.2 * x + n as f32).sin() * (0.15 * y).cos()) as u8
        };
        let meta = Meta {
            key: format!("still{n}"),
            video: format!("still{n}"),
            part: 0,
            subject: None,
            group: format!("still{n}"),
            split,
            fps: 25.0,
            start_s: 0.0,
            frames: 1,
            size_px,
            audio: None,
            tags: Default::default(),
        };
        let label = (n as f32 * 0.37).sin();
        Sample { meta, video: (0..size_px * size_px).map(level).collect(), labels: vec![[label, -label]], audio: None }
    }

    /// `n` frames of a still's picture, as a recording of `fps` frames a second.
    pub fn recording(split: Split, n: usize, size_px: usize, frames: usize, fps: f64) -> Sample {
        let mut all = clip(&still(split, n, size_px), frames, fps, &Motion::in_judging("recording"));
        for name in [&mut all.meta.key, &mut all.meta.video, &mut all.meta.group] {
            *name = format!("recording{n}");
        }
        (0..frames).for_each(|t| all.labels[t] = [0.5 * (t as f32 * 0.9 + n as f32).sin(), 0.1]);
        all
    }

    pub fn write(folder: &Path, samples: &[Sample]) -> Reader {
        let size_px = samples[0].meta.size_px;
        let mut writer = Writer::open(folder, WriterConfig { size_px, ..WriterConfig::default() }).unwrap();
        samples.iter().for_each(|s| writer.push(s).unwrap());
        writer.finish().unwrap();
        Reader::open(folder).unwrap()
    }

    #[test]
    fn motion_is_small_and_smooth_and_starts_at_the_still() {
        for seed in 0..200 {
            let motion = Motion::draw(&mut Rng::new(seed, 0));
            assert_eq!(motion.at(0.0), Pose { shift: [0.0; 2], zoom: 0.0, roll: 0.0 });
            let parts = |i: i32| {
                let Pose { shift: [x, y], zoom, roll } = motion.at(i as f32 / 25.0);
                [x / MOST_SHIFT, y / MOST_SHIFT, zoom / MOST_ZOOM, roll / MOST_ROLL]
            };
            let mut farthest = 0.0f32;
            for i in -100..100 {
                let [before, here, after] = [parts(i - 1), parts(i), parts(i + 1)];
                for ((b, h), a) in before.iter().zip(here).zip(after) {
                    assert!(h.abs() <= 1.0, "seed {seed}");
                    // Of sines of at most 1 Hz whose amplitudes add up to 0.5: the steepest and the most bent there are.
                    let w = TAU / 25.0;
                    assert!((a - h).abs() <= 0.5 * w + 1e-5, "seed {seed}");
                    assert!((a - 2.0 * h + b).abs() <= 0.5 * w * w + 1e-5, "seed {seed}");
                    farthest = farthest.max(h.abs());
                }
            }
            assert!(farthest > 0.1, "seed {seed} hardly moves");
        }
    }

    #[test]
    fn a_clip_repeats_the_labels_moves_and_shows_the_still_in_its_middle() {
        let still = still(Split::Train, 3, 32);
        let whole = clip(&still, 9, 25.0, &Motion::in_training("k", 1, 0));
        assert!(whole.validate().is_ok());
        assert_eq!((whole.meta.frames, whole.labels.clone()), (9, vec![still.labels[0]; 9]));
        let frame = |t: usize| &whole.video[t * 1024..][..1024];
        assert_eq!(frame(4), still.video);
        let gap = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / 1024.0;
        for t in 0..8 {
            assert!(gap(frame(t), frame(t + 1)) > 0.0 && gap(frame(t), frame(t + 1)) < 8.0);
        }
        assert!(gap(frame(0), frame(4)) > gap(frame(3), frame(4)));
    }

    #[test]
    fn motion_follows_from_seed_epoch_and_key() {
        let at = |m: Motion| m.at(0.3);
        let first = at(Motion::in_training("a", 1, 0));
        assert_eq!(first, at(Motion::in_training("a", 1, 0)));
        for other in [Motion::in_training("a", 1, 1), Motion::in_training("a", 2, 0), Motion::in_training("b", 1, 0)] {
            assert_ne!(first, at(other));
        }
        assert_ne!(at(Motion::in_judging("a")), first);
        assert_eq!(at(Motion::in_judging("a")), at(Motion::in_judging("a")));
    }

    #[test]
    fn a_still_is_judged_by_its_last_frame_and_a_recording_is_left_alone() {
        let once = judged(still(Split::Valid, 2, 16), 3);
        assert_eq!(once.meta.frames, 22);
        assert!(once.labels[..21].iter().flatten().all(|v| v.is_nan()));
        assert_eq!(once.labels[21], still(Split::Valid, 2, 16).labels[0]);
        assert_eq!(once.video, judged(still(Split::Valid, 2, 16), 3).video);
        let moving = recording(Split::Valid, 1, 16, 5, 10.0);
        assert_eq!(judged(moving.clone(), 3), moving);
        let mut rest = still(Split::Valid, 2, 16);
        rest.meta.part = 1;
        assert_eq!(judged(rest.clone(), 1), rest, "the rest of a recording is no still");
    }

    #[test]
    fn a_census_says_what_is_judged() {
        let dir = tempfile::tempdir().unwrap();
        let people = |split, n| recording(split, n, 8, 6, 10.0);
        let all =
            [people(Split::Train, 3), still(Split::Valid, 0, 8), still(Split::Test, 1, 8), people(Split::Test, 2)];
        let reader = write(dir.path(), &all);
        let of = |split| Census::of(&reader, split, 1).unwrap();
        assert_eq!(of(Split::Valid).about().unwrap(), "stills as clips of 8 frames by camera motion");
        assert_eq!(of(Split::Test).about().unwrap(), "1 recordings and 1 stills as clips of 8 frames by camera motion");
        assert_eq!((of(Split::Train).about(), of(Split::Test).frames), (None, 14));
    }
}
