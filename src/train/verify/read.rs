//! Teacher and students over a split: from shards to a table of predictions.

use super::stream::{Pool, Stream, frames};
use super::table::Video;
use crate::error::{Error, Result};
use crate::preprocess::Cropper;
use crate::session::{Estimate, decode};
use crate::spec::{CropRule, StudentSpec};
use crate::train::data::record::Split;
use crate::train::data::still;
use crate::train::finetune::Predictor;
use crate::train::full::FullNet;
use crate::train::shards::{Reader, Sample};
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// The networks that are compared.
pub struct Networks<'a> {
    pub teacher: &'a FullNet,
    pub predictor: &'a Predictor,
    pub spec: &'a StudentSpec,
    pub crop: CropRule,
    /// fp32, int8.
    pub students: [Pool<'a>; 2],
}

/// What a command that was stopped says.
pub fn ensure_going(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        return Err(Error::interrupted("stopped while verifying; nothing was written"));
    }
    Ok(())
}

/// The streams of both students.
type Streams = [Stream; 2];
/// A student's readings of the teacher's frames.
type Readings = Vec<Option<Estimate>>;

impl Networks<'_> {
    /// Reads every recording of `split`, parts joined, in the order of the shards.
    ///
    /// A still is read as a clip ([`still::judged`]) with one labelled frame, its last.
    /// Students run over several samples at a time; the parts of one recording, one after the other.
    ///
    /// # Errors
    /// Damaged shards, a split without recordings, an engine that fails, a teacher that gives what is not a number;
    /// `Interrupted` once `stop` is set.
    pub fn table(&self, reader: &Reader, split: Split, bar: &ProgressBar, stop: &AtomicBool) -> Result<Vec<Video>> {
        let mut videos: Vec<Video> = Vec::new();
        let mut carried: Option<Streams> = None;
        let every = self.predictor.every;
        let mut samples = reader.ordered(split).map(|s| s.map(|s| still::judged(s, every))).peekable();
        let most = rayon::current_num_threads().max(1);
        while let Some(first) = samples.next() {
            let mut batch = vec![first?];
            while batch.len() < most {
                let follows = |s: &Result<Sample>| match (s, batch.last()) {
                    (Ok(s), Some(last)) => s.meta.video != last.meta.video,
                    _ => false,
                };
                let Some(next) = samples.next_if(follows) else { break };
                batch.push(next?);
            }
            let goes_on = videos.last().is_some_and(|v| v.name == batch[0].meta.video);
            let fresh = || [0, 1].map(|_| Stream::new(self.spec));
            let mut streams: Vec<Streams> = batch.iter().map(|_| fresh()).collect();
            if let Some(before) = carried.take().filter(|_| goes_on) {
                streams[0] = before;
            }
            let read: Vec<[Readings; 2]> = batch
                .par_iter()
                .zip(&mut streams)
                .map(|(s, st)| self.students(s, st, bar, stop))
                .collect::<Result<_>>()?;
            for (sample, readings) in batch.iter().zip(read) {
                ensure_going(stop)?;
                join(&mut videos, self.video(sample, readings)?);
                bar.inc(sample.meta.frames as u64);
            }
            carried = streams.pop();
        }
        if videos.is_empty() {
            let what = format!("holds no recording of the {} split", split.name());
            return Err(Error::input(what).at(reader.folder().display()));
        }
        Ok(videos)
    }

    /// Both students over one sample; kept are the readings of the teacher's frames.
    fn students(
        &self,
        sample: &Sample,
        streams: &mut Streams,
        bar: &ProgressBar,
        stop: &AtomicBool,
    ) -> Result<[Readings; 2]> {
        let every = self.predictor.every;
        let mut cropper = Cropper::for_rule(&self.crop);
        let mut all = [Vec::new(), Vec::new()];
        for ((pool, stream), kept) in self.students.iter().zip(streams).zip(&mut all) {
            pool.with(|engine| {
                frames(sample, |i, picture| {
                    ensure_going(stop)?;
                    let seen = stream.step(engine, &mut cropper, picture, sample.meta.fps)?;
                    if i.is_multiple_of(every) {
                        kept.push(seen.then(|| decode(&stream.logits)));
                    }
                    bar.inc(1);
                    Ok(())
                })
            })
            .map_err(|e| e.at(format!("sample {}", sample.meta.key)))?;
        }
        Ok(all)
    }

    /// The sample with the teacher's reading of it.
    fn video(&self, sample: &Sample, [fp32, int8]: [Readings; 2]) -> Result<Video> {
        let result = self.predictor.sample(self.teacher, sample)?;
        if result.predicted.iter().flatten().any(|v| !v.is_finite()) {
            return Err(
                Error::model("the teacher gives what is not a number").at(format!("sample {}", sample.meta.key))
            );
        }
        Ok(Video {
            name: result.video,
            subject: sample.meta.person().to_owned(),
            fps: result.fps,
            tags: sample.meta.tags.clone(),
            labels: result.labels,
            teacher: result.predicted,
            fp32,
            int8,
        })
    }
}

/// Appends the next part of a recording to it, or begins another one.
fn join(videos: &mut Vec<Video>, part: Video) {
    match videos.last_mut().filter(|last| last.name == part.name) {
        Some(last) => {
            last.labels.extend(part.labels);
            last.teacher.extend(part.teacher);
            last.fp32.extend(part.fp32);
            last.int8.extend(part.int8);
        }
        None => videos.push(part),
    }
}
