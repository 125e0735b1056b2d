//! `index.json`: what a folder of shards holds.

use super::AudioMeta;
use crate::error::{Error, Result};
use crate::train::data::bounded;
use crate::train::data::record::Split;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What `format` says.
const FORMAT: &str = "vaerr-shards";
/// The version that is read and written.
const VERSION: u32 = 1;
/// Most bytes of an index: that of 100,000 shards.
const MOST_BYTES: u64 = 32 << 20;
/// No folder holds more samples or frames, and sums of such numbers fit 64 bits.
const MOST_COUNT: u64 = 1 << 40;

/// One tar file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Name in the folder.
    pub file: String,
    pub bytes: u64,
    pub samples: usize,
    pub frames: usize,
    /// Frames with both labels.
    pub labelled: usize,
    /// Of the file, in hexadecimal.
    pub sha256: String,
}

impl Shard {
    /// Refuses counts that no shard has, which would else be believed until it is read.
    fn ensure_possible(&self) -> Result<()> {
        let Self { file, samples, frames, labelled, .. } = self;
        if *samples as u64 > MOST_COUNT || *frames as u64 > MOST_COUNT || labelled > frames {
            return Err(Error::input(format!(
                "{file} is said to hold {samples} samples, and {labelled} labels in {frames} frames"
            )));
        }
        Ok(())
    }
}

/// Grey values of the training split, in [0, 1]; frames that are black throughout (no face) are not counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pixels {
    pub mean: f64,
    /// Standard deviation of the population.
    pub std: f64,
    /// Pixels of each value from 0 to 255.
    pub histogram: Vec<u64>,
}

impl Pixels {
    /// `None` without pixels.
    pub fn of(histogram: &[u64]) -> Option<Self> {
        let count = histogram.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
        let sum = |power: i32| -> f64 {
            histogram.iter().enumerate().map(|(v, n)| (v as f64 / 255.0).powi(power) * *n as f64).sum()
        };
        let mean = sum(1) / count as f64;
        let std = (sum(2) / count as f64 - mean * mean).max(0.0).sqrt();
        (count > 0).then(|| Self { mean, std, histogram: histogram.to_vec() })
    }

    /// Of the pixels of several folders together; of one, what that one says.
    pub fn pooled<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut parts = parts.into_iter();
        let mut all = parts.next()?.clone();
        for part in parts {
            let mut histogram = all.histogram;
            histogram.iter_mut().zip(&part.histogram).for_each(|(n, more)| *n = n.saturating_add(*more));
            all = Self::of(&histogram)?;
        }
        Some(all)
    }
}

/// The whole folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// `vaerr-shards`.
    pub format: String,
    /// 1.
    pub version: u32,
    /// Height and width of every frame.
    pub size_px: usize,
    /// Of the samples with audio; `None` if there are none.
    pub audio: Option<AudioMeta>,
    /// `None` without a training split.
    pub pixels: Option<Pixels>,
    /// How the folder was made.
    pub settings: serde_json::Value,
    /// Shards of each split, by name; a split without samples is not there.
    pub splits: BTreeMap<Split, Vec<Shard>>,
}

impl Index {
    /// Name in the folder.
    pub const FILE: &'static str = "index.json";

    /// Of nothing yet.
    pub fn new(size_px: usize, settings: serde_json::Value) -> Self {
        let splits = BTreeMap::new();
        Self { format: FORMAT.into(), version: VERSION, size_px, audio: None, pixels: None, settings, splits }
    }

    /// Reads and checks an index file.
    ///
    /// # Errors
    /// A missing or malformed file, another format or version, file names that lead out of the folder.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |what: String| Error::input(what).at(path.display());
        let text = bounded::read(path, MOST_BYTES)?;
        let malformed = |e| wrong("is not an index of shards".into()).caused_by(e);
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(malformed)?;
        let (format, version) = (value["format"].as_str().unwrap_or(""), value["version"].as_u64());
        if format != FORMAT || version != Some(VERSION.into()) {
            let shown = version.map_or("none".into(), |v| v.to_string());
            return Err(wrong(format!(
                "format is {format:?}, version {shown}, expected {FORMAT:?}, version {VERSION}"
            ))
            .remedy("prepare the data again with this program"));
        }
        let index: Self = serde_json::from_value(value).map_err(malformed)?;
        for shard in index.splits.values().flatten() {
            if Path::new(&shard.file).file_name().is_none_or(|n| n != shard.file.as_str()) {
                return Err(wrong(format!("{:?} is not the name of a file in its folder", shard.file)));
            }
            shard.ensure_possible().map_err(|e| wrong(e.to_string()))?;
        }
        match index.pixels.as_ref().map(|p| p.histogram.len()) {
            None | Some(256) => Ok(index),
            Some(n) => Err(wrong(format!("pixels.histogram has {n} counts, expected 256"))),
        }
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::io("cannot be written").caused_by(e))?;
        replace(path, (text + "\n").as_bytes())
    }

    /// Shards of a split.
    pub fn shards(&self, split: Split) -> &[Shard] {
        self.splits.get(&split).map_or(&[], |s| s)
    }

    /// Samples of a split.
    pub fn samples(&self, split: Split) -> usize {
        self.shards(split).iter().map(|s| s.samples).sum()
    }

    /// Frames of a split.
    pub fn frames(&self, split: Split) -> usize {
        self.shards(split).iter().map(|s| s.frames).sum()
    }

    /// The folder that several ranks wrote together.
    ///
    /// # Errors
    /// Ranks that worked with different settings.
    pub(super) fn merged(parts: Vec<Self>) -> Result<Self> {
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else { return Err(Error::usage("there is no rank")) };
        let mut histogram = vec![0; 256];
        let mut count = |pixels: &Option<Pixels>| {
            let values = pixels.iter().flat_map(|p| &p.histogram);
            histogram.iter_mut().zip(values).for_each(|(n, more): (&mut u64, _)| *n = n.saturating_add(*more));
        };
        count(&all.pixels);
        for part in parts {
            if (part.size_px, &part.settings) != (all.size_px, &all.settings) {
                return Err(Error::usage("the ranks worked with different settings")
                    .remedy("run every rank with the same arguments, or start again in another folder"));
            }
            count(&part.pixels);
            all.audio = all.audio.or(part.audio);
            for (split, shards) in part.splits {
                all.splits.entry(split).or_default().extend(shards);
            }
        }
        all.splits.values_mut().for_each(|shards| shards.sort_by(|a, b| a.file.cmp(&b.file)));
        all.pixels = Pixels::of(&histogram);
        Ok(all)
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(|e| Error::io("cannot be written").at(path.display()).caused_by(e))
}
