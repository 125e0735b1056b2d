//! A whole corpus as shards.

use super::config::CorpusConfig;
use super::heads::Heads;
use super::plan::{Take, plan};
use super::take::sample;
use crate::error::{Error, Result};
use crate::train::data::audio::AudioTarget;
use crate::train::shards::{Index, Sample, Writer, WriterConfig};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Opens the acoustic target, once a thread.
pub type OpenAudio<'a> = &'a (dyn Fn() -> Result<Box<dyn AudioTarget>> + Sync);

/// Renders the corpus of `config` into the folder `out` as shards, on all cores of rayon's pool; where people speak,
/// `audio` opens what computes acoustic features.
///
/// A run that was stopped goes on after its last whole shard when called again with the same settings, and gives the same
/// bytes as one that was not.
///
/// # Errors
/// Settings that make no sense, a folder that holds something else, a full disk; `Interrupted` once `stop` is set.
pub fn render_corpus(
    config: &CorpusConfig,
    heads: &Heads,
    audio: OpenAudio,
    out: &Path,
    stop: &AtomicBool,
) -> Result<Index> {
    config.validate()?;
    let open = || if config.speech { audio().map(Some) } else { Ok(None) };
    let heard = open()?.map(|target| target.name().to_owned());
    let settings = serde_json::json!({ "rendered": config, "audio": heard });
    let mut writer = Writer::open(out, WriterConfig { size_px: config.size_px, settings, ..WriterConfig::default() })?;
    let takes = plan(config);
    let done = writer.done().min(takes.len());
    let bar = progress(takes.len() * config.frames());
    bar.set_position((done * config.frames()) as u64);
    bar.reset_eta();
    let one = |target: &mut Result<Option<Box<dyn AudioTarget>>>, take: &Take| -> Result<Sample> {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted("stopped while rendering").remedy("run the same command again to go on"));
        }
        let target = target.as_mut().map_err(|e| Error::new(e.kind(), e.to_string()))?;
        let rendered = sample(config, take, heads, target.as_deref_mut());
        bar.inc(config.frames() as u64);
        rendered
    };
    // A few for each core at a time: samples are pushed in order, and not many are held in memory.
    for some in takes[done..].chunks(2 * rayon::current_num_threads().max(1)) {
        let rendered: Vec<Result<Sample>> = some.par_iter().map_init(open, one).collect();
        for s in rendered {
            writer.push(&s?)?;
        }
    }
    bar.finish_and_clear();
    writer.finish()
}

fn progress(frames: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} frames, {per_sec}, {eta} left");
    ProgressBar::new(frames as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
