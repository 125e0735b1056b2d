//! Training data as tar shards of npy arrays, which WebDataset and NumPy read as well as this trainer.
//!
//! # Format, version 1
//! A folder holds `index.json` ([`Index`]) and the shards `SPLIT-NNNNNN.tar`, each of one split (`train`, `valid`, `test`).
//! A shard is a POSIX tar (ustar) with these members, one sample after the other, a
//! sample's members together:
//!
//! | member | type | shape | what |
//! |---|---|---|---|
//! | `KEY.json` | UTF-8 | | [`Meta`] |
//! | `KEY.video.npy` | u8 (`\|u1`) | T x H x W | grey face crops; a frame that is black throughout shows no face |
//! | `KEY.labels.npy` | f32 (`<f4`) | T x 2 | arousal, valence in [-1, 1]; NaN where there is no label |
//! | `KEY.audio.npy` | f32 (`<f4`) | T x D | one row of acoustic features a frame; only where `audio` in `KEY.json` is not null |
//!
//! Arrays are stored row by row (C order). A key holds no dot, so that WebDataset splits names as meant. Readers pass over
//! members with other endings. Files of a folder depend on the samples alone: times, owners and modes in the tar are constant.
//!
//! A recording longer than a limit is cut into samples that follow each other: same `video`, `part` from 0, and
//! `start_s` telling where the part begins.

mod check;
mod codec;
mod held;
mod index;
mod reader;
mod several;
mod writer;

pub use check::{Checked, CheckedPart};
pub use index::{Index, Pixels, Shard};
pub use reader::{Reader, Stream};
pub use several::Mixed;
pub use writer::{Writer, WriterConfig};

pub(crate) use codec::{append, scan};
pub(crate) use index::replace;

use super::data::record::{Split, Votes};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest key in bytes, so that no name of a member passes the 100 bytes of a ustar header.
const MAX_KEY: usize = 88;

/// What one row of a sample's audio is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioMeta {
    /// Of the target that computed it, with its settings.
    pub name: String,
    /// Numbers a row.
    pub dims: usize,
}

/// `KEY.json`: what a sample is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Unique in the folder; letters, digits, `_`, `-` and `=`.
    pub key: String,
    /// Id of the recording.
    pub video: String,
    /// Which part of the recording, from 0.
    pub part: usize,
    /// The person, where known.
    pub subject: Option<String>,
    /// What must not be split: the subject, or the recording or session it stems from.
    pub group: String,
    pub split: Split,
    /// Frames a second.
    pub fps: f64,
    /// Time of the first frame in the recording, in seconds.
    pub start_s: f64,
    /// Frames in this sample, at least one.
    pub frames: usize,
    /// Height and width of a frame.
    pub size_px: usize,
    /// `None`: the recording has no sound, or none was asked for.
    pub audio: Option<AudioMeta>,
    /// What people saw in the face, where they were asked; holds for the whole recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub votes: Option<Votes>,
    /// Anything else worth keeping.
    pub tags: BTreeMap<String, String>,
}

/// One recording, or one part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub meta: Meta,
    /// `frames * size_px * size_px` grey values.
    pub video: Vec<u8>,
    /// (arousal, valence) of every frame, NaN where there is none.
    pub labels: Vec<[f32; 2]>,
    /// `frames * dims`, one row a frame.
    pub audio: Option<Vec<f32>>,
}

impl Meta {
    /// The subject, or the group where the subject is not known.
    pub fn person(&self) -> &str {
        self.subject.as_deref().unwrap_or(&self.group)
    }

    /// Refuses what no sample can be.
    ///
    /// # Errors
    /// Says which field.
    pub fn validate(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-=".contains(c);
        let bad = |what: String| Err(Error::input(what));
        if self.key.is_empty() || self.key.len() > MAX_KEY || !self.key.chars().all(plain) {
            return bad(format!("key is {:?}, expected 1 to {MAX_KEY} letters, digits, _, - or =", self.key));
        }
        if self.frames == 0 {
            return bad("frames is 0, expected 1 or more".into());
        }
        if !(1..=4096).contains(&self.size_px) {
            return bad(format!("size_px is {}, expected 1 to 4096", self.size_px));
        }
        if !(self.fps.is_finite() && self.fps > 0.0) {
            return bad(format!("fps is {}, expected a number above 0", self.fps));
        }
        if !(self.start_s.is_finite() && self.start_s >= 0.0) {
            return bad(format!("start_s is {}, expected 0 or more", self.start_s));
        }
        if let Some(votes) = &self.votes {
            let shares = votes.iter().all(|v| (0.0..=1.0).contains(v));
            if !shares || (votes.iter().sum::<f32>() - 1.0).abs() > 1e-3 {
                return bad(format!("votes are {votes:?}, expected shares from 0 to 1 that sum to 1"));
            }
        }
        match &self.audio {
            Some(a) if !(1..=65_536).contains(&a.dims) => bad(format!("audio.dims is {}, expected 1 to 65536", a.dims)),
            _ => Ok(()),
        }
    }

    /// Bytes of the video, T x H x W.
    fn video_shape(&self) -> [usize; 3] {
        [self.frames, self.size_px, self.size_px]
    }
}

impl Sample {
    /// Refuses arrays that do not fit [`Meta`], labels outside [-1, 1] and acoustic features that are not finite.
    ///
    /// # Errors
    /// Names the key.
    pub fn validate(&self) -> Result<()> {
        let at = |e: Error| e.at(format!("sample {}", self.meta.key));
        let bad = |what: String| Err(at(Error::input(what)));
        self.meta.validate().map_err(at)?;
        let Meta { frames, size_px, .. } = self.meta;
        if self.video.len() != frames * size_px * size_px {
            return bad(format!("{} bytes of video, expected {frames} x {size_px} x {size_px}", self.video.len()));
        }
        if self.labels.len() != frames {
            return bad(format!("{} labels for {frames} frames", self.labels.len()));
        }
        let fits = |v: &f32| v.is_nan() || (-1.0..=1.0).contains(v);
        if let Some(v) = self.labels.as_flattened().iter().find(|v| !fits(v)) {
            return bad(format!("a label is {v}, expected -1 to 1 or NaN"));
        }
        let dims = self.meta.audio.as_ref().map_or(0, |a| a.dims);
        let audio = self.audio.as_deref().unwrap_or_default();
        if self.audio.is_some() != self.meta.audio.is_some() || audio.len() != frames * dims {
            return bad(format!("{} acoustic values, expected {frames} x {dims}", audio.len()));
        }
        if audio.iter().any(|v| !v.is_finite()) {
            return bad("an acoustic value is not finite".into());
        }
        Ok(())
    }

    /// Frames with both labels.
    pub fn labelled(&self) -> usize {
        self.labels.iter().filter(|l| l.iter().all(|v| v.is_finite())).count()
    }
}

#[cfg(test)]
pub(crate) mod tests;
