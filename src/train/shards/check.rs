//! Reads a whole folder of shards and counts what is there.

use super::{Reader, Sample};
use crate::error::{Error, Result};
use crate::train::data::record::Split;
use serde::Serialize;
use std::collections::BTreeSet;

/// What a split holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedPart {
    pub split: Split,
    pub shards: usize,
    pub samples: usize,
    pub recordings: usize,
    /// By subject, or group where that is not known.
    pub people: usize,
    pub frames: usize,
    pub seconds: f64,
    /// Frames with both labels.
    pub labelled: usize,
    /// Frames without a face.
    pub black: usize,
    /// Samples with acoustic features.
    pub with_audio: usize,
}

/// A folder that holds what its index says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    pub parts: Vec<CheckedPart>,
}

/// Names seen so far.
#[derive(Default)]
struct Seen {
    keys: BTreeSet<String>,
    /// Group and the split it is in.
    groups: std::collections::BTreeMap<String, Split>,
}

impl Seen {
    fn add(&mut self, sample: &Sample) -> Result<()> {
        let meta = &sample.meta;
        let wrong = |what: String| Err(Error::input(what).at(format!("sample {}", meta.key)));
        if !self.keys.insert(meta.key.clone()) {
            return wrong("occurs twice".into());
        }
        let split = *self.groups.entry(meta.group.clone()).or_insert(meta.split);
        if split != meta.split {
            return wrong(format!("{} is in {} and in {}", meta.group, split.name(), meta.split.name()));
        }
        Ok(())
    }
}

impl Reader {
    /// Reads every byte, whatever is filtered: digests, types, shapes and ranges, counts, keys that occur twice, groups in
    /// two splits.
    ///
    /// # Errors
    /// The first thing that is not as the index says, naming shard and key.
    pub fn check(&self) -> Result<Checked> {
        let all = Self::open(self.folder())?;
        for shard in all.index().splits.values().flatten() {
            all.ensure_written(shard)?;
        }
        let mut seen = Seen::default();
        let parts = Split::ALL.into_iter().filter(|s| all.index().samples(*s) > 0);
        Ok(Checked { parts: parts.map(|s| all.check_split(s, &mut seen)).collect::<Result<_>>()? })
    }

    fn check_split(&self, split: Split, seen: &mut Seen) -> Result<CheckedPart> {
        let (mut recordings, mut people) = (BTreeSet::new(), BTreeSet::new());
        let shards = self.index().shards(split);
        let mut part = CheckedPart {
            split,
            shards: shards.len(),
            samples: 0,
            recordings: 0,
            people: 0,
            frames: 0,
            seconds: 0.0,
            labelled: 0,
            black: 0,
            with_audio: 0,
        };
        for sample in self.ordered(split) {
            let sample = sample?;
            let meta = &sample.meta;
            seen.add(&sample)?;
            if meta.split != split {
                let what = format!("is of {}, in a shard of {}", meta.split.name(), split.name());
                return Err(Error::input(what).at(format!("sample {}", meta.key)));
            }
            part.samples += 1;
            part.frames += meta.frames;
            part.seconds += meta.frames as f64 / meta.fps;
            part.labelled += sample.labelled();
            part.black += sample.video.chunks_exact(meta.size_px.pow(2)).filter(|f| f.iter().all(|v| *v == 0)).count();
            part.with_audio += usize::from(sample.audio.is_some());
            recordings.insert(meta.video.clone());
            people.insert(meta.person().to_owned());
        }
        (part.recordings, part.people) = (recordings.len(), people.len());
        let counted = (part.frames, part.labelled);
        let said = (self.index().frames(split), shards.iter().map(|s| s.labelled).sum::<usize>());
        if counted != said {
            let what = format!("(frames, labelled) of {} are {counted:?}, the index says {said:?}", split.name());
            return Err(Error::input(what).at(self.folder().display()));
        }
        Ok(part)
    }
}
