//! What `prepare` is told.

use crate::capture;
use crate::error::{Error, Result};
use crate::spec::CropRule;
use crate::train::data::audio::{AudioTarget, LogMel, encoder};
use crate::train::data::record::{Frames, Media, Recording};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::PathBuf;

/// Acoustic features.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Audio {
    #[default]
    None,
    LogMel {
        deltas: bool,
    },
    /// An ONNX file.
    Encoder(PathBuf),
}

impl Audio {
    /// # Errors
    /// An encoder that cannot be opened.
    pub fn open(&self) -> Result<Option<Box<dyn AudioTarget>>> {
        match self {
            Audio::None => Ok(None),
            Audio::LogMel { deltas } => Ok(Some(Box::new(LogMel::new(*deltas)))),
            Audio::Encoder(path) => encoder(path).map(Some),
        }
    }
}

/// Frames a second of the clips that stills become, and of folders of pictures without labels.
pub const PICTURE_FPS: f64 = 25.0;

/// Settings of [`super::prepare`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrepareConfig {
    /// Height and width of a crop.
    pub size_px: usize,
    /// Finest detail of a crop, as in [`CropRule`]; at most `size_px`.
    pub detail_px: usize,
    /// Pictures are crops already: they are only resized. Arrays and stills always are.
    pub crops: bool,
    /// Frames a second of the shards; `None` keeps those of each recording.
    pub fps: Option<f64>,
    /// Frames a second of pictures, where the data set does not say. `None`: of the video that they were taken from, and
    /// [`PICTURE_FPS`] where no label depends on it.
    pub picture_fps: Option<f64>,
    /// Longest sample in seconds.
    pub part_s: f64,
    pub audio: Audio,
    /// Written into `tags` of every sample as `set`.
    pub set: String,
    #[serde(skip)]
    pub shard_bytes: u64,
    /// Threads; 0 for one a core.
    #[serde(skip)]
    pub jobs: usize,
    /// This process takes every `ranks`-th recording from the `rank`-th on.
    #[serde(skip)]
    pub rank: usize,
    #[serde(skip)]
    pub ranks: usize,
}

impl Default for PrepareConfig {
    fn default() -> Self {
        Self {
            size_px: 96,
            detail_px: 96,
            crops: false,
            fps: None,
            picture_fps: None,
            part_s: 60.0,
            audio: Audio::None,
            set: "plain".into(),
            shard_bytes: 128 << 20,
            jobs: 0,
            rank: 0,
            ranks: 1,
        }
    }
}

impl PrepareConfig {
    /// The runtime's crop, in this size.
    pub fn rule(&self) -> CropRule {
        CropRule { size_px: self.size_px, detail_px: self.detail_px, ..CropRule::FERPLUS }
    }

    /// # Errors
    /// Names the setting that is out of range.
    pub fn validate(&self) -> Result<()> {
        self.rule().validate().map_err(|e| Error::usage(e.to_string()))?;
        let rate = |v: f64| (1.0..=240.0).contains(&v);
        if !self.fps.is_none_or(rate) || !self.picture_fps.is_none_or(rate) {
            return Err(Error::usage("frame rates are 1 to 240 a second"));
        }
        if !(1.0..=600.0).contains(&self.part_s) {
            return Err(Error::usage(format!("samples of {} s, expected 1 to 600", self.part_s)));
        }
        if self.rank >= self.ranks {
            return Err(Error::usage(format!("rank {} of {} ranks, counted from 0", self.rank, self.ranks)));
        }
        Ok(())
    }

    /// Frames a second of a recording, for what carries no times of its own.
    ///
    /// # Errors
    /// Labelled pictures whose rate nobody says: at a wrong one, all times would be wrong; a video that cannot be read.
    pub(super) fn rate_of(&self, recording: &Recording) -> Result<f64> {
        match (recording.fps.or(self.picture_fps), &recording.media) {
            (Some(fps), _) => Ok(fps),
            (None, Media::Frames(Frames { video: Some(video), .. })) => capture::rate(video),
            (None, Media::Frames(frames)) => {
                Err(Error::usage("how many frames a second its pictures are is not known")
                    .at(frames.dir.display())
                    .remedy(
                        "say it to `vaerr-train prepare` by --picture-fps N, or put the videos into the set's folder",
                    ))
            }
            (None, Media::Video(_) | Media::Array { .. } | Media::Still(_)) => Ok(PICTURE_FPS),
        }
    }

    /// For the index: these settings, and a digest of the recordings that a resumed run must agree with.
    pub(super) fn settings(&self, recordings: &[&Recording]) -> Result<serde_json::Value> {
        let mut digest = Digesting(Sha256::new());
        for r in recordings {
            let length = match &r.media {
                Media::Video(path) | Media::Array { file: path, .. } | Media::Still(path) => {
                    std::fs::metadata(path).map_or(0, |m| m.len())
                }
                Media::Frames(_) => 0,
            };
            // Hashing does not fail.
            let _ = writeln!(digest, "{r:?} {length}");
        }
        let mut settings =
            serde_json::to_value(self).map_err(|e| Error::usage("settings cannot be written").caused_by(e))?;
        settings["data_sha256"] = format!("{:x}", digest.0.finalize()).into();
        Ok(settings)
    }
}

/// Hashes text as it is written.
struct Digesting(Sha256);

impl Write for Digesting {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.update(text);
        Ok(())
    }
}
