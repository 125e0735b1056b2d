//! Clips cut at random from shards.

use super::driver::{Batches, Feed};
use super::method::Batch;
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::data::record::Split;
use crate::train::data::still::{self, Motion};
use crate::train::shards::{Meta, Mixed, Reader, Sample};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::mpsc::sync_channel;

/// How clips are cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipConfig {
    /// Length of a clip; a still becomes one by camera motion.
    pub seconds: f64,
    /// Clips cut from each sample in an epoch; from a still, one.
    pub per_sample: usize,
    /// Take every so-manieth frame; 1 takes all.
    pub every: usize,
    /// Clips that wait to be drawn; a larger pool mixes better and holds more memory.
    pub pool: usize,
    /// Share of the training subjects that are used, drawn by the run's seed; 1 for all.
    pub subjects: f64,
    /// Share of the training stills that an epoch takes, others in each; 1 for all. Long clips of stills are many frames that
    /// are nearly alike.
    pub stills: f64,
    /// Batches of stills alone and of recordings alone. The gain that is best for the CCC of both together is, of each kind, in proportion
    /// to its correlation; apart, it is 1 of each. BatchNorm that is trained then normalises each kind by itself.
    pub apart: bool,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self { seconds: 4.0, per_sample: 3, every: 1, pool: 64, subjects: 1.0, stills: 1.0, apart: false }
    }
}

impl ClipConfig {
    /// # Errors
    /// Names the setting that makes no sense.
    pub fn validate(&self) -> Result<()> {
        if !(self.seconds > 0.0 && self.seconds <= 600.0) {
            return Err(Error::usage("clips.seconds must be above 0 and at most 600"));
        }
        if self.per_sample == 0 || self.every == 0 || self.pool == 0 {
            return Err(Error::usage("clips.per_sample, clips.every and clips.pool must be at least 1"));
        }
        if !(self.subjects > 0.0 && self.subjects <= 1.0) {
            return Err(Error::usage("clips.subjects is a share, above 0 and at most 1"));
        }
        if !(0.0..=1.0).contains(&self.stills) {
            return Err(Error::usage("clips.stills is a share, from 0 to 1"));
        }
        Ok(())
    }

    /// Frames of a clip at `fps`.
    fn frames(&self, fps: f64) -> usize {
        ((self.seconds * fps / self.every as f64).round() as usize).max(1)
    }

    /// Frames of a recording that a clip spans.
    fn span(&self, fps: f64) -> usize {
        (self.frames(fps) - 1) * self.every + 1
    }
}

/// The share of number `i` of `n` in `count`, handed out as evenly as whole numbers allow.
pub fn quota(i: usize, n: usize, count: usize) -> usize {
    (i + 1) * count / n - i * count / n
}

/// The share of `subjects` that `seed` draws, at least one.
pub fn drawn_subjects(subjects: &[String], share: f64, seed: u64) -> Vec<String> {
    let mut rng = Rng::new(seed, 6 << 40);
    let mut left = subjects.to_vec();
    let count = ((share * subjects.len() as f64).round() as usize).clamp(1, subjects.len().max(1));
    (0..count.min(left.len())).map(|_| left.swap_remove(rng.below(left.len()))).collect()
}

/// The training samples of `reader` by the share of people that `config` asks for.
fn of_subjects(reader: Reader, config: &ClipConfig, seed: u64) -> Result<Reader> {
    let drawn = drawn_subjects(&reader.subjects(Split::Train)?, config.subjects, seed);
    let chosen: BTreeSet<String> = drawn.into_iter().collect();
    Ok(reader.filtered(move |m| m.split != Split::Train || chosen.contains(m.person())))
}

/// Frames a second of the recordings, which stills take too; of stills alone, that of the first.
///
/// # Errors
/// Recordings of several rates.
fn rate(metas: &[Meta]) -> Result<f64> {
    let recordings = || metas.iter().filter(|m| !still::is_still(m));
    let fps = recordings().chain(metas).next().map_or(25.0, |m| m.fps);
    match recordings().find(|m| (m.fps - fps).abs() > 1e-3 * fps) {
        Some(other) => Err(Error::input(format!("{fps} and {} frames a second in one training", other.fps))
            .at(&other.key)
            .remedy("prepare all with one --fps")),
        None => Ok(fps),
    }
}

/// Clips of the training splits of one or several folders, mixed.
pub struct ClipFeed {
    readers: Vec<Reader>,
    /// Training samples of each.
    samples: Vec<usize>,
    config: ClipConfig,
    batch: usize,
    seed: u64,
    fps: f64,
    batches: usize,
    /// Training stills, and how many of them an epoch takes.
    stills: [usize; 2],
    voted: bool,
}

impl ClipFeed {
    /// Opens the training splits of `readers`, of the share of each one's subjects that `config` asks for.
    ///
    /// # Errors
    /// Recordings of several frame rates; none long enough for a clip.
    pub fn new(readers: Vec<Reader>, config: &ClipConfig, batch: usize, seed: u64) -> Result<Self> {
        config.validate()?;
        let readers: Vec<Reader> = readers.into_iter().map(|r| of_subjects(r, config, seed)).collect::<Result<_>>()?;
        let folders: Vec<Vec<Meta>> = readers.iter().map(|r| r.metas(Split::Train)).collect::<Result<_>>()?;
        let samples = folders.iter().map(Vec::len).collect();
        let metas = folders.concat();
        let fps = rate(&metas)?;
        let stills = metas.iter().filter(|m| still::is_still(m)).count();
        let voted = metas.iter().any(|m| m.votes.is_some());
        let long = metas.iter().filter(|m| !still::is_still(m) && m.frames >= config.span(fps)).count();
        let taken = (stills as f64 * config.stills).floor() as usize;
        let kinds =
            if config.apart { [long * config.per_sample, taken] } else { [long * config.per_sample + taken, 0] };
        let (batches, used, all) = (kinds.map(|clips| clips / batch).iter().sum(), long + stills, metas.len());
        if config.apart && config.pool < 2 * batch {
            let what = format!("a pool of {} clips may hold no batch of {batch} of one kind", config.pool);
            return Err(Error::usage(what).remedy("raise clips.pool to twice run.batch, or set clips.apart=false"));
        }
        if batches == 0 {
            let what = format!("{used} of {all} training samples are as long as a clip of {} s", config.seconds);
            return Err(Error::input(format!("{what}, too few for a batch of {batch}"))
                .remedy("lower clips.seconds or run.batch, or raise clips.per_sample"));
        }
        if let Some(few) = kinds.iter().find(|n| config.apart && (1..batch).contains(*n)) {
            let what = format!("{few} clips of one kind, fewer than a batch of {batch}, would never be drawn");
            return Err(Error::usage(what)
                .remedy("lower run.batch, raise clips.stills or set it to 0, or set clips.apart=false"));
        }
        if used < all {
            log::warn!("{} of {all} training samples are shorter than a clip and are passed over", all - used);
        }
        if stills > 0 {
            let what = format!("{stills} of {all} training samples are stills, {taken} of them in each epoch");
            log::info!("{what}: clips of {} s by camera motion", config.seconds);
        }
        Ok(Self { readers, samples, config: config.clone(), batch, seed, fps, batches, stills: [stills, taken], voted })
    }

    /// Frames a second.
    pub fn fps(&self) -> f64 {
        self.fps
    }

    /// Whether any training sample has votes on emotions.
    pub fn voted(&self) -> bool {
        self.voted
    }

    /// Frames of a clip.
    pub fn frames(&self) -> usize {
        self.config.frames(self.fps)
    }

    /// Side of a frame.
    pub fn size_px(&self) -> usize {
        self.readers.first().map_or(0, |r| r.index().size_px)
    }

    /// The samples of each folder as filtered.
    pub fn readers(&self) -> &[Reader] {
        &self.readers
    }
}

impl Feed for ClipFeed {
    fn batches(&self) -> usize {
        self.batches
    }

    fn epoch(&self, epoch: usize) -> Result<Batches> {
        let mixer = Mixer {
            stream: Mixed::new(&self.readers, &self.samples, Split::Train, self.seed, epoch as u64, 8),
            config: self.config.clone(),
            fps: self.fps,
            batch: self.batch,
            seed: self.seed,
            epoch: epoch as u64,
            rng: Rng::new(self.seed, 7 << 40 | epoch as u64),
            pools: Default::default(),
            stills: self.stills,
            still: 0,
        };
        Ok(ahead(mixer))
    }
}

/// Runs `batches` a few steps ahead on a thread of its own, which ends when the result is dropped.
fn ahead(mut batches: impl Iterator<Item = Result<Batch>> + Send + 'static) -> Batches {
    let (sender, receiver) = sync_channel(3);
    std::thread::spawn(move || while batches.next().is_some_and(|b| sender.send(b).is_ok()) {});
    Box::new(receiver.into_iter())
}

/// Cuts clips and mixes them through a pool.
struct Mixer {
    stream: Mixed,
    config: ClipConfig,
    fps: f64,
    batch: usize,
    seed: u64,
    epoch: u64,
    rng: Rng,
    /// Clips to be drawn: all, or of recordings and of stills where they are kept apart.
    pools: [Vec<Batch>; 2],
    /// As in [`ClipFeed`].
    stills: [usize; 2],
    /// Stills that have come by.
    still: usize,
}

impl Mixer {
    fn refill(&mut self) -> Result<()> {
        while self.pools.iter().map(Vec::len).sum::<usize>() < self.config.pool {
            let Some(sample) = self.stream.next() else { break };
            let sample = sample?;
            if still::is_still(&sample.meta) {
                let [all, taken] = self.stills;
                if quota((self.still + self.epoch as usize) % all, all, taken) > 0 {
                    let moved = self.moved(&sample);
                    self.pools[usize::from(self.config.apart)].push(moved);
                }
                self.still += 1;
                continue;
            }
            let span = self.config.span(self.fps);
            if sample.meta.frames < span {
                continue;
            }
            for _ in 0..self.config.per_sample {
                let start = self.start(&sample, span);
                self.pools[0].push(cut(&sample, start, self.config.frames(self.fps), self.config.every));
            }
        }
        Ok(())
    }

    /// The pool that the next batch is of: each as often as it has clips, of those with enough. `None` at the end of an epoch.
    fn kind(&mut self) -> Result<Option<usize>> {
        self.refill()?;
        let enough = |k: usize| if self.pools[k].len() >= self.batch { self.pools[k].len() } else { 0 };
        let [recordings, stills] = [enough(0), enough(1)];
        Ok((recordings + stills > 0).then(|| usize::from(self.rng.below(recordings + stills) >= recordings)))
    }

    /// The clips of the next batch; `None` at the end of an epoch, of which less than a batch is left.
    fn drawn(&mut self) -> Result<Option<Vec<Batch>>> {
        let kind = if self.config.apart { self.kind()? } else { Some(0) };
        let Some(kind) = kind else { return Ok(None) };
        let mut clips = Vec::with_capacity(self.batch);
        while clips.len() < self.batch {
            if !self.config.apart {
                self.refill()?;
            }
            let pool = &mut self.pools[kind];
            if pool.is_empty() {
                return Ok(None);
            }
            clips.push(pool.swap_remove(self.rng.below(pool.len())));
        }
        Ok(Some(clips))
    }

    /// The clip of a still in this epoch, at the rate of the clips that are cut.
    fn moved(&self, still: &Sample) -> Batch {
        let motion = Motion::in_training(&still.meta.key, self.seed, self.epoch);
        let (frames, fps) = (self.config.frames(self.fps), self.fps / self.config.every as f64);
        cut(&still::clip(still, frames, fps, &motion), 0, frames, 1)
    }

    /// A random start, drawn again a few times if no frame of the clip has a label while others have.
    fn start(&mut self, sample: &Sample, span: usize) -> usize {
        let draw = |rng: &mut Rng| rng.below(sample.meta.frames - span + 1);
        let labelled = |start: usize| sample.labels[start..start + span].iter().flatten().any(|v| !v.is_nan());
        let mut start = draw(&mut self.rng);
        if sample.labelled() > 0 {
            for _ in 0..8 {
                if labelled(start) {
                    break;
                }
                start = draw(&mut self.rng);
            }
        }
        start
    }
}

impl Iterator for Mixer {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        self.drawn().and_then(|clips| clips.map(Batch::join).transpose()).transpose()
    }
}

/// The clip in the middle of `sample`; `None` if the sample is shorter.
pub fn middle_clip(sample: &Sample, config: &ClipConfig) -> Option<Batch> {
    let spare = sample.meta.frames.checked_sub(config.span(sample.meta.fps))?;
    Some(cut(sample, spare / 2, config.frames(sample.meta.fps), config.every))
}

/// One clip of `frames` frames, every `every`-th from `start`.
fn cut(sample: &Sample, start: usize, frames: usize, every: usize) -> Batch {
    let size_px = sample.meta.size_px;
    let area = size_px * size_px;
    let at = (0..frames).map(|i| start + i * every);
    let audio = sample.meta.audio.as_ref().zip(sample.audio.as_ref()).map(|(meta, rows)| {
        (meta.dims, at.clone().flat_map(|t| rows[t * meta.dims..][..meta.dims].iter().copied()).collect())
    });
    Batch {
        clips: 1,
        frames,
        size_px,
        video: at.clone().flat_map(|t| sample.video[t * area..][..area].iter().copied()).collect(),
        labels: at.map(|t| sample.labels[t]).collect(),
        audio,
        votes: sample.meta.votes.map(Some).into_iter().collect(),
        targets: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
