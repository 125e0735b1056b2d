//! Makes shards of a data set: decodes, finds and follows the face, levels and cuts it out, puts labels and acoustic features
//! on the frames' times.
//!
//! Recordings are worked on in parallel, each into a file of its own in `OUT/work`; then those files are put together, in the
//! order of splits and ids, whatever was finished first. Both steps go on where a killed run stopped, and the shards are the
//! same to the byte. Memory holds one part of one recording a thread, and its sound.

mod assemble;
mod config;
mod cut;
mod media;
mod plain;
mod spool;

pub use config::{Audio, PICTURE_FPS, PrepareConfig};
pub use plain::plain;

use super::data::record::{Loaded, Media, Note, Recording};
use super::shards::{Index, Writer, WriterConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::train::data::audio::AudioTarget;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// `report.json`: what became of every recording of this rank, and of the files that gave none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub recordings: usize,
    /// Recordings that gave samples.
    pub used: usize,
    pub samples: usize,
    pub frames: usize,
    /// Frames that show the face.
    pub with_face: usize,
    /// Malformed files, and recordings that gave no sample, with the reason.
    pub skipped: Vec<Note>,
    /// Left out by a rule of the data set.
    pub left_out: Vec<Note>,
    /// Used, with a remark.
    pub remarks: Vec<Note>,
}

/// What [`prepare`] made.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Of the shards that this rank wrote.
    pub index: Index,
    pub report: Report,
}

/// Something got done.
enum Tick {
    Frame,
    Recording,
    /// A sample in a shard.
    Sample,
}

type Ticker<'a> = &'a (dyn Fn(Tick) + Sync);

/// One recording of this rank.
struct Job<'a> {
    recording: &'a Recording,
    /// Its file in the work folder, without extension.
    stem: PathBuf,
}

/// Everything the jobs share.
struct Shop<'a> {
    config: &'a PrepareConfig,
    stop: &'a AtomicBool,
    tick: Ticker<'a>,
    /// Targets that no job uses at the moment; to open one may take long.
    targets: Mutex<Vec<Box<dyn AudioTarget>>>,
}

/// Whether the pictures of the data set `name` are face crops already.
pub fn holds_crops(name: &str) -> bool {
    name == "affwild2"
}

/// Fills `out` with the shards of `loaded`, showing progress on a terminal. A run that was stopped goes on where it was; one that
/// was finished with the same settings and data is left as it is.
///
/// # Errors
/// Settings out of range; no recording that gives a sample; a full disk, a missing `ffmpeg`; `stop` was set; `out` holds
/// the work of other settings. A recording that cannot be used is no error but stands in the report.
pub fn prepare(loaded: &Loaded, config: &PrepareConfig, out: &Path, stop: &AtomicBool) -> Result<Prepared> {
    let bar = ProgressBar::new(0);
    let style = "{elapsed_precise} {wide_bar} {pos}/{len} recordings, {msg}, ready in {eta}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_length(loaded.recordings.len().div_ceil(config.ranks.max(1)) as u64);
    let frames = AtomicU64::new(0);
    let tick = |t: Tick| match t {
        Tick::Recording => bar.inc(1),
        Tick::Sample => {}
        Tick::Frame => {
            let n = frames.fetch_add(1, Ordering::Relaxed) + 1;
            if n.is_multiple_of(64) {
                let rate = n as f64 / bar.elapsed().as_secs_f64().max(1e-3);
                bar.set_message(format!("{rate:.0} frames a second"));
            }
        }
    };
    let done = ticking(loaded, config, out, stop, &tick);
    bar.finish_and_clear();
    done
}

fn ticking(
    loaded: &Loaded,
    config: &PrepareConfig,
    out: &Path,
    stop: &AtomicBool,
    tick: Ticker<'_>,
) -> Result<Prepared> {
    config.validate()?;
    let mut recordings: Vec<&Recording> = loaded.recordings.iter().collect();
    recordings.sort_by(|a, b| (a.split, &a.id).cmp(&(b.split, &b.id)));
    ensure_timed(&recordings, config)?;
    let settings = config.settings(&recordings)?;
    let names = Names::new(config, out);
    if let Some(done) = names.finished(&settings)? {
        return Ok(done);
    }
    let writer = Writer::open(
        out,
        WriterConfig {
            size_px: config.size_px,
            shard_bytes: config.shard_bytes,
            settings,
            rank: config.rank,
            ranks: config.ranks,
        },
    )?;
    std::fs::create_dir_all(&names.work)
        .map_err(|e| Error::io("cannot be made").at(names.work.display()).caused_by(e))?;
    let own = recordings.into_iter().enumerate().filter(|(i, _)| i % config.ranks == config.rank);
    let jobs: Vec<Job> =
        own.map(|(i, recording)| Job { recording, stem: names.work.join(format!("{i:06}")) }).collect();
    let shop = Shop { config, stop, tick, targets: Mutex::new(config.audio.open()?.into_iter().collect()) };
    shop.work(&jobs)?;
    let mut report = assemble::report(loaded, &jobs)?;
    let index = assemble::assemble(writer, &jobs, &shop, |index| {
        report.samples = index.splits.values().flatten().map(|s| s.samples).sum();
        names.write(&report)
    })?;
    std::fs::remove_dir_all(&names.work)
        .map_err(|e| Error::io("cannot be removed").at(names.work.display()).caused_by(e))?;
    Ok(Prepared { index, report })
}

/// Refuses pictures of unknown rate before any work is done; a video that would tell it is not looked at yet.
fn ensure_timed(recordings: &[&Recording], config: &PrepareConfig) -> Result<()> {
    let untold = |r: &&&Recording| matches!(&r.media, Media::Frames(frames) if frames.video.is_none());
    recordings.iter().find(untold).map_or(Ok(()), |r| config.rate_of(r).map(drop))
}

impl Shop<'_> {
    /// Works every job off that is not done.
    fn work(&self, jobs: &[Job]) -> Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.config.jobs);
        let pool = pool.build().map_err(|e| Error::io("threads cannot be started").caused_by(e))?;
        pool.install(|| {
            jobs.par_iter().with_max_len(1).try_for_each(|job| {
                if spool::done(&job.stem)?.is_none() {
                    self.one(job)?;
                }
                (self.tick)(Tick::Recording);
                Ok(())
            })
        })
    }

    fn one(&self, job: &Job) -> Result<()> {
        self.ensure_going()?;
        let spare = self.targets.lock().ok().and_then(|mut t| t.pop());
        let mut target = match spare {
            None => self.config.audio.open()?,
            some => some,
        };
        let made = spool::make(job, self, target.as_deref_mut());
        if let (Some(target), Ok(mut targets)) = (target, self.targets.lock()) {
            targets.push(target);
        }
        match made {
            Ok(done) => done.write(&job.stem),
            // What is wrong with one recording leaves it out; anything else would go wrong with the next as well.
            Err(e) if matches!(e.kind(), ErrorKind::Input | ErrorKind::Unsupported) => {
                spool::Done::skipped(e.to_string()).write(&job.stem)
            }
            Err(e) => Err(e),
        }
    }

    fn ensure_going(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted("stopped; the same command goes on from here"));
        }
        Ok(())
    }
}

/// Files beside the shards.
struct Names {
    work: PathBuf,
    report: PathBuf,
    index: PathBuf,
}

impl Names {
    fn new(config: &PrepareConfig, out: &Path) -> Self {
        let (rank, ranks) = (config.rank, config.ranks);
        let ranked = if ranks == 1 { String::new() } else { format!("-{rank:04}-of-{ranks:04}") };
        let name = |name: &str, extension: &str| out.join(format!("{name}{ranked}{extension}"));
        Self { work: name("work", ""), report: name("report", ".json"), index: name("index", ".json") }
    }

    fn write(&self, report: &Report) -> Result<()> {
        let text = serde_json::to_string_pretty(report).map_err(|e| Error::io("cannot be written").caused_by(e))?;
        super::shards::replace(&self.report, (text + "\n").as_bytes())
    }

    /// What an earlier run with these settings made, if it came to its end.
    fn finished(&self, settings: &serde_json::Value) -> Result<Option<Prepared>> {
        if !self.index.exists() {
            return Ok(None);
        }
        let index = Index::read(&self.index)?;
        if index.settings != *settings {
            return Ok(None);
        }
        let wrong = || Error::input("is not a report of prepared data").at(self.report.display());
        let text = std::fs::read(&self.report).map_err(|e| wrong().caused_by(e))?;
        let report = serde_json::from_slice(&text).map_err(|e| wrong().caused_by(e))?;
        // A kill may have come between the index and this.
        let _ = std::fs::remove_dir_all(&self.work);
        Ok(Some(Prepared { index, report }))
    }
}

#[cfg(test)]
mod tests;
