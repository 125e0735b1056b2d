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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::record::Votes;
    use crate::train::data::still::tests::{recording, still, write};
    use crate::train::shards::{Writer, WriterConfig};
    use std::path::Path;

    /// Ten subjects with a sample each, of 20 frames of which subject 9 has 5; the grey of a frame tells subject and time.
    fn folder(path: &Path) {
        let mut writer = Writer::open(path, WriterConfig { size_px: 4, ..WriterConfig::default() }).unwrap();
        for s in 0..10usize {
            let frames = if s == 9 { 5 } else { 20 };
            let meta = Meta {
                key: format!("s{s}"),
                video: format!("s{s}"),
                part: 0,
                subject: Some(format!("p{s}")),
                group: format!("p{s}"),
                split: Split::Train,
                fps: 10.0,
                start_s: 0.0,
                frames,
                size_px: 4,
                audio: None,
                votes: None,
                tags: Default::default(),
            };
            let video = (0..frames).flat_map(|t| [(20 * s + t) as u8; 16]).collect();
            let labels = (0..frames).map(|t| [t as f32 / 20.0, f32::NAN]).collect();
            writer.push(&Sample { meta, video, labels, audio: None }).unwrap();
        }
        writer.finish().unwrap();
    }

    fn feed(path: &Path, config: &ClipConfig) -> Result<ClipFeed> {
        ClipFeed::new(vec![Reader::open(path)?], config, 2, 5)
    }

    const SHORT: ClipConfig =
        ClipConfig { seconds: 0.8, per_sample: 3, every: 2, pool: 7, subjects: 1.0, stills: 1.0, apart: false };

    #[test]
    fn clips_keep_their_order_and_labels_and_an_epoch_repeats_by_seed() {
        let dir = tempfile::tempdir().unwrap();
        folder(dir.path());
        let feed = feed(dir.path(), &SHORT).unwrap();
        assert_eq!(feed.batches(), 9 * 3 / 2);
        let epoch = |e: usize| feed.epoch(e).unwrap().map(Result::unwrap).collect::<Vec<Batch>>();
        let (first, second) = (epoch(0), epoch(1));
        assert_eq!(first.len(), feed.batches());
        // As text, for labels that are not there are not equal to themselves.
        assert_ne!(format!("{first:?}"), format!("{second:?}"));
        assert!(format!("{first:?}") == format!("{:?}", epoch(0)));
        let mut seen = BTreeSet::new();
        for batch in &first {
            assert_eq!((batch.clips, batch.frames, batch.labels.len(), batch.video.len()), (2, 4, 8, 2 * 4 * 16));
            for (frames, labels) in batch.video.chunks(64).zip(batch.labels.chunks(4)) {
                let (subject, start) = (frames[0] / 20, frames[0] % 20);
                seen.insert(subject);
                for (i, (frame, label)) in frames.chunks(16).zip(labels).enumerate() {
                    assert_eq!(frame[0], 20 * subject + start + 2 * i as u8);
                    assert_eq!(label[0], f32::from(start + 2 * i as u8) / 20.0);
                    assert!(label[1].is_nan());
                }
            }
        }
        assert!(seen.len() >= 8 && !seen.contains(&9), "{seen:?}");
    }

    #[test]
    fn a_share_of_the_subjects_is_drawn_by_seed() {
        let dir = tempfile::tempdir().unwrap();
        folder(dir.path());
        let few = ClipConfig { subjects: 0.3, ..SHORT };
        let used = feed(dir.path(), &few).unwrap().readers()[0].subjects(Split::Train).unwrap();
        assert_eq!(used.len(), 3);
        let all: Vec<String> = (0..10).map(|i| format!("p{i}")).collect();
        assert_eq!(drawn_subjects(&all, 0.3, 5).into_iter().collect::<BTreeSet<_>>(), used.into_iter().collect());
        assert_ne!(drawn_subjects(&all, 0.3, 6), drawn_subjects(&all, 0.3, 5));
        assert_eq!(drawn_subjects(&all, 0.01, 5).len(), 1);
    }

    #[test]
    fn recordings_too_short_for_a_clip_are_an_error_when_none_is_left() {
        let dir = tempfile::tempdir().unwrap();
        folder(dir.path());
        let long = ClipConfig { seconds: 4.0, ..SHORT };
        let e = feed(dir.path(), &long).err().unwrap().to_string();
        assert!(e.contains("0 of 10 training samples") && e.contains("clips.seconds"), "{e}");
    }

    #[test]
    fn stills_and_recordings_of_several_folders_are_mixed_and_stills_move_anew_each_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let at = |n: &str| dir.path().join(n);
        let moving: Vec<Sample> = (0..4).map(|n| recording(Split::Train, n, 16, 20, 10.0)).collect();
        let voted = |n: usize| std::array::from_fn(|k| f32::from(k == n % 8));
        let mut stills: Vec<Sample> = (0..9).map(|n| still(Split::Train, n, 16)).collect();
        (0..9).filter(|n| n % 2 == 0).for_each(|n| stills[n].meta.votes = Some(voted(n)));
        let readers = vec![write(&at("moving"), &moving), write(&at("stills"), &stills)];
        let feed = ClipFeed::new(readers.clone(), &SHORT, 3, 5).unwrap();
        assert_eq!((feed.batches(), feed.fps), ((4 * 3 + 9) / 3, 10.0));
        assert!(feed.voted() && !ClipFeed::new(readers[..1].to_vec(), &SHORT, 3, 5).unwrap().voted());
        let clips = |feed: &ClipFeed, epoch: usize| -> Vec<(Vec<u8>, [f32; 2])> {
            let batches: Vec<Batch> = feed.epoch(epoch).unwrap().map(Result::unwrap).collect();
            assert!(batches.iter().all(|b| (b.clips, b.frames) == (3, 4)));
            for b in &batches {
                let of = |c: usize| stills.iter().find(|s| s.labels[0] == b.labels[4 * c]).and_then(|s| s.meta.votes);
                let want: Vec<Option<Votes>> = (0..3).map(of).collect();
                assert!(b.votes == want || b.votes.is_empty() && want == [None; 3], "votes stay with their clips");
            }
            let of = |b: Batch| {
                let labels = b.labels.chunks(4).map(|l| l[0]).collect::<Vec<_>>();
                b.video.chunks(4 * 256).map(<[u8]>::to_vec).zip(labels).collect::<Vec<_>>()
            };
            batches.into_iter().flat_map(of).collect()
        };
        let of_still = |all: &[(Vec<u8>, [f32; 2])], n: usize| -> Vec<Vec<u8>> {
            all.iter().filter(|(_, l)| *l == stills[n].labels[0]).map(|(v, _)| v.clone()).collect()
        };
        let (first, second) = (clips(&feed, 0), clips(&feed, 1));
        assert_eq!((first.len(), &first), (21, &clips(&feed, 0)));
        for (n, still) in stills.iter().enumerate().take(9) {
            let (a, b) = (of_still(&first, n), of_still(&second, n));
            assert_eq!((a.len(), b.len()), (1, 1), "once an epoch");
            assert_eq!(a[0][2 * 256..3 * 256], still.video, "the middle is the still");
            assert_ne!(a, b);
        }
        // A share of them: as many in each epoch, and others.
        let third = ClipFeed::new(readers.clone(), &ClipConfig { stills: 0.34, ..SHORT }, 3, 5).unwrap();
        assert_eq!(third.batches(), (4 * 3 + 3) / 3);
        let taken = |epoch| (0..9).filter(|n| !of_still(&clips(&third, epoch), *n).is_empty()).collect::<Vec<_>>();
        assert_eq!((taken(0).len(), taken(1).len()), (3, 3));
        assert_ne!(taken(0), taken(1));
        let none = ClipFeed::new(readers.clone(), &ClipConfig { stills: 0.0, ..SHORT }, 3, 5).unwrap();
        assert!(clips(&none, 0).iter().all(|(_, l)| stills.iter().all(|s| s.labels[0] != *l)));
        // Apart: every clip once as well, but no batch of both kinds; what is left of a kind at the end is less than a batch.
        let apart = ClipConfig { apart: true, ..SHORT };
        let feed = ClipFeed::new(readers.clone(), &apart, 3, 5).unwrap();
        assert_eq!(feed.batches(), 4 * 3 / 3 + 9 / 3);
        let is_still = |l: &[f32; 2]| stills.iter().any(|s| s.labels[0] == *l);
        let all = clips(&feed, 0);
        let kinds: Vec<usize> = all.chunks(3).map(|b| b.iter().filter(|(_, l)| is_still(l)).count()).collect();
        assert_eq!(kinds.iter().filter(|n| **n == 3).count(), 3, "{kinds:?}");
        assert_eq!(kinds.iter().filter(|n| **n == 0).count(), 4, "{kinds:?}");
        assert!((0..9).all(|n| of_still(&all, n).len() == 1));
        assert!(kinds.windows(2).filter(|w| w[0] != w[1]).count() > 1, "in turn, not one after the other: {kinds:?}");
        let e = ClipFeed::new(readers.clone(), &apart, 4, 5).err().unwrap().to_string();
        assert!(e.contains("pool of 7") && e.contains("clips.pool"), "{e}");
        // A clip of a still does not depend on what else is in the training, but for its rate.
        let alone = ClipFeed::new(readers[1..].to_vec(), &SHORT, 3, 5).unwrap();
        assert_eq!(alone.fps, 25.0);
    }

    #[test]
    fn recordings_of_two_rates_are_refused_and_stills_take_the_rate_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |n: &str| dir.path().join(n);
        let a = write(&at("a"), &[recording(Split::Train, 0, 8, 20, 10.0), still(Split::Train, 1, 8)]);
        let b = write(&at("b"), &[recording(Split::Train, 2, 8, 20, 12.5)]);
        assert_eq!(ClipFeed::new(vec![a.clone()], &SHORT, 2, 5).unwrap().fps, 10.0);
        let e = ClipFeed::new(vec![a, b], &SHORT, 2, 5).err().unwrap().to_string();
        assert!(e.contains("10 and 12.5 frames a second") && e.contains("--fps"), "{e}");
    }
}
