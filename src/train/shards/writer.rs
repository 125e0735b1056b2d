//! Writes a folder of shards, and goes on where a killed run stopped.

use super::index::{Index, Pixels, Shard, replace};
use super::{AudioMeta, Sample, codec};
use crate::error::{Error, Result};
use crate::train::data::record::Split;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// What a folder is to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct WriterConfig {
    /// Height and width of every frame.
    pub size_px: usize,
    /// A shard is closed before it would pass this many bytes; one larger sample makes a shard of its own.
    pub shard_bytes: u64,
    /// Kept in the index; a run is only resumed with the same.
    pub settings: serde_json::Value,
    /// Number of this writer among `ranks` that fill one folder together, from 0.
    pub rank: usize,
    pub ranks: usize,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self { size_px: 96, shard_bytes: 128 << 20, settings: serde_json::Value::Null, rank: 0, ranks: 1 }
    }
}

/// First line of the journal: what every later run must agree with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    size_px: usize,
    shard_bytes: u64,
    settings: serde_json::Value,
    ranks: usize,
}

/// Every further line: a shard that is whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Closed {
    split: Split,
    shard: Shard,
    audio: Option<AudioMeta>,
    /// Of the training split, else empty.
    histogram: Vec<u64>,
}

/// A file that hashes what is written.
struct Hashed {
    file: BufWriter<File>,
    sha: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(buf)?;
        self.sha.update(&buf[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// The shard being written, as `NAME.part`.
struct Open {
    tar: tar::Builder<Hashed>,
    closed: Closed,
}

/// Writes samples, split by split (train, valid, test), into shards. Whole shards are renamed into place and noted in a
/// journal, so that the same samples pushed again after a kill give the same bytes.
pub struct Writer {
    folder: PathBuf,
    config: WriterConfig,
    closed: Vec<Closed>,
    open: Option<Open>,
    keys: BTreeSet<String>,
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |e| Error::io("cannot be written").at(path.display()).caused_by(e)
}

impl Writer {
    /// Starts in `folder`, made if need be, or goes on after its last whole shard: [`Writer::done`] says how many samples
    /// those hold.
    ///
    /// # Errors
    /// A folder that is finished, or holds unfinished work of other settings; a shard that the journal knows and that is gone.
    pub fn open(folder: &Path, config: WriterConfig) -> Result<Self> {
        if config.rank >= config.ranks {
            return Err(Error::usage(format!("rank {} of {} ranks, counted from 0", config.rank, config.ranks)));
        }
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let mut writer = Self { folder: folder.into(), config, closed: Vec::new(), open: None, keys: BTreeSet::new() };
        if writer.own_index().exists() {
            return Err(Error::usage("already holds finished shards")
                .at(folder.display())
                .remedy("give another folder, or remove this one"));
        }
        let journal = writer.journal();
        let text = std::fs::read_to_string(&journal).unwrap_or_default();
        writer.closed = writer.resume(&text)?;
        // Written anew, because a kill may have left half a line at the end.
        let mut lines = vec![json(&writer.head())?];
        for c in &writer.closed {
            lines.push(json(c)?);
        }
        replace(&journal, lines.concat().as_bytes())?;
        Ok(writer)
    }

    fn head(&self) -> Head {
        let WriterConfig { size_px, shard_bytes, settings, ranks, .. } = self.config.clone();
        Head { size_px, shard_bytes, settings, ranks }
    }

    /// The shards that a journal knows.
    fn resume(&self, text: &str) -> Result<Vec<Closed>> {
        let mut lines = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
        let Some(first) = lines.next() else { return Ok(Vec::new()) };
        if serde_json::from_str::<Head>(first).ok().as_ref() != Some(&self.head()) {
            return Err(Error::usage("holds unfinished work of other settings")
                .at(self.folder.display())
                .remedy("use the same arguments and the same data, or remove the folder to start again"));
        }
        let mut closed = Vec::new();
        for line in lines {
            let c: Closed = serde_json::from_str(line)
                .map_err(|e| Error::input("is malformed").at(self.journal().display()).caused_by(e))?;
            let path = self.folder.join(&c.shard.file);
            if std::fs::metadata(&path).map(|m| m.len()).ok() != Some(c.shard.bytes) {
                return Err(Error::input("is missing or of another length, though it was finished")
                    .at(path.display())
                    .remedy("remove the folder to start again"));
            }
            closed.push(c);
        }
        Ok(closed)
    }

    fn ranked(&self, name: &str, extension: &str) -> PathBuf {
        let WriterConfig { rank, ranks, .. } = self.config;
        self.folder.join(if ranks == 1 {
            format!("{name}.{extension}")
        } else {
            format!("{name}-{rank:04}-of-{ranks:04}.{extension}")
        })
    }

    fn journal(&self) -> PathBuf {
        self.ranked("journal", "jsonl")
    }

    fn own_index(&self) -> PathBuf {
        self.ranked("index", "json")
    }

    /// Samples in whole shards, from this run and those before it: the first `done()` samples need not be pushed again.
    pub fn done(&self) -> usize {
        self.closed.iter().map(|c| c.shard.samples).sum()
    }

    /// Appends a sample.
    ///
    /// # Errors
    /// An invalid sample, a key used twice, frames of another size, audio of another kind, a split that was finished;
    /// a full disk.
    pub fn push(&mut self, sample: &Sample) -> Result<()> {
        self.ensure_fits(sample)?;
        let split = sample.meta.split;
        let full = |o: &Open| o.tar.get_ref().bytes + codec::tar_bytes(sample) > self.config.shard_bytes;
        if self.open.as_ref().is_some_and(|o| o.closed.split != split || full(o)) {
            self.close()?;
        }
        if self.open.is_none() {
            self.open = Some(self.start(split)?);
        }
        let Some(Open { tar, closed }) = &mut self.open else { return Ok(()) };
        codec::append(tar, sample).map_err(io(&self.folder.join(&closed.shard.file)))?;
        closed.shard.samples += 1;
        closed.shard.frames += sample.meta.frames;
        closed.shard.labelled += sample.labelled();
        closed.audio = closed.audio.take().or_else(|| sample.meta.audio.clone());
        let faces = sample.video.chunks_exact(sample.meta.size_px.pow(2)).filter(|f| f.iter().any(|v| *v != 0));
        if !closed.histogram.is_empty() {
            faces.flatten().for_each(|v| closed.histogram[usize::from(*v)] += 1);
        }
        self.keys.insert(sample.meta.key.clone());
        Ok(())
    }

    fn ensure_fits(&self, sample: &Sample) -> Result<()> {
        sample.validate()?;
        let meta = &sample.meta;
        let wrong = |what: String| Err(Error::usage(what).at(format!("sample {}", meta.key)));
        let mut closed = self.closed.iter().chain(self.open.as_ref().map(|o| &o.closed));
        if let Some(last) = closed.clone().next_back().filter(|c| c.split > meta.split) {
            return wrong(format!("is of {}, which ended before {}", meta.split.name(), last.split.name()));
        }
        if meta.size_px != self.config.size_px {
            return wrong(format!("has frames of {} pixels, the folder {}", meta.size_px, self.config.size_px));
        }
        let known = closed.find_map(|c| c.audio.as_ref());
        if known.is_some_and(|k| meta.audio.as_ref().is_some_and(|a| a != k)) {
            return wrong(format!("has audio {:?}, the samples before it {known:?}", meta.audio));
        }
        if self.keys.contains(&meta.key) {
            return wrong("occurs twice".into());
        }
        Ok(())
    }

    fn start(&self, split: Split) -> Result<Open> {
        let WriterConfig { rank, ranks, .. } = self.config;
        let number = self.closed.iter().filter(|c| c.split == split).count() * ranks + rank;
        let name = format!("{}-{number:06}.tar", split.name());
        let path = part(&self.folder.join(&name));
        let file = BufWriter::new(File::create(&path).map_err(io(&path))?);
        let shard = Shard { file: name, bytes: 0, samples: 0, frames: 0, labelled: 0, sha256: String::new() };
        let histogram = if split == Split::Train { vec![0; 256] } else { Vec::new() };
        let tar = tar::Builder::new(Hashed { file, sha: Sha256::new(), bytes: 0 });
        Ok(Open { tar, closed: Closed { split, shard, audio: None, histogram } })
    }

    /// Ends the open shard: on the disk, renamed, in the journal.
    fn close(&mut self) -> Result<()> {
        let Some(Open { tar, mut closed }) = self.open.take() else { return Ok(()) };
        let path = self.folder.join(&closed.shard.file);
        let hashed = tar.into_inner().map_err(io(&path))?;
        let file = hashed.file.into_inner().map_err(|e| io(&path)(e.into_error()))?;
        file.sync_all().and_then(|()| std::fs::rename(part(&path), &path)).map_err(io(&path))?;
        closed.shard.bytes = hashed.bytes;
        closed.shard.sha256 = format!("{:x}", hashed.sha.finalize());
        let journal = self.journal();
        let line = json(&closed)?;
        OpenOptions::new()
            .append(true)
            .open(&journal)
            .and_then(|mut f| f.write_all(line.as_bytes()).and_then(|()| f.sync_all()))
            .map_err(io(&journal))?;
        self.closed.push(closed);
        Ok(())
    }

    /// [`Writer::finish_with`] nothing more to do.
    ///
    /// # Errors
    /// As there.
    pub fn finish(self) -> Result<Index> {
        self.finish_with(|_| Ok(()))
    }

    /// Ends the last shard, writes the index and removes the journal; gives the index of what this writer wrote.
    ///
    /// Of several ranks each writes an index of its own, and the last to finish the one for all.
    ///
    /// # Errors
    /// If a file cannot be written; ranks that worked with different settings; what `before` gives, which is called with
    /// the index just before the folder counts as finished.
    pub(crate) fn finish_with(mut self, before: impl FnOnce(&Index) -> Result<()>) -> Result<Index> {
        self.close()?;
        let mut index = Index::new(self.config.size_px, self.config.settings.clone());
        let mut histogram = vec![0; 256];
        for c in &self.closed {
            histogram.iter_mut().zip(&c.histogram).for_each(|(n, more): (&mut u64, _)| *n += more);
            index.audio = index.audio.take().or_else(|| c.audio.clone());
            index.splits.entry(c.split).or_default().push(c.shard.clone());
        }
        index.pixels = Pixels::of(&histogram);
        before(&index)?;
        index.write(&self.own_index())?;
        self.merge()?;
        let journal = self.journal();
        std::fs::remove_file(&journal).map_err(io(&journal))?;
        Ok(index)
    }

    /// Writes the index for all, once every rank has its own.
    fn merge(&mut self) -> Result<()> {
        let own = self.config.rank;
        let mut paths = Vec::new();
        for rank in 0..self.config.ranks {
            self.config.rank = rank;
            paths.push(self.own_index());
        }
        self.config.rank = own;
        if paths.len() == 1 || !paths.iter().all(|p| p.exists()) {
            return Ok(());
        }
        let parts: Result<Vec<Index>> = paths.iter().map(|p| Index::read(p)).collect();
        Index::merged(parts?)?.write(&self.folder.join(Index::FILE))
    }
}

fn part(path: &Path) -> PathBuf {
    path.with_extension("tar.part")
}

fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|e| Error::io("cannot be written as JSON").caused_by(e))?;
    Ok(text + "\n")
}
