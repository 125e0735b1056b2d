//! Reads the samples of a folder of shards, one after the other, never all in memory.

use super::codec::{self, Located};
use super::{Index, Meta, Sample, Shard};
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::data::record::Split;
use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Keeps the order of samples apart from what else is drawn from the same seed.
const SHUFFLE: u64 = 0x73_6875_6666_6c65;

type Filter = Arc<dyn Fn(&Meta) -> bool + Send + Sync>;

/// A folder of shards.
#[derive(Clone)]
pub struct Reader {
    folder: PathBuf,
    index: Arc<Index>,
    filters: Vec<Filter>,
    rank: usize,
    ranks: usize,
}

impl Reader {
    /// Opens a folder that [`super::Writer`] finished.
    ///
    /// # Errors
    /// No index, one of another version, a shard that is missing or has another length than the index says. A shard's bytes are held
    /// against its SHA-256 when its samples are first looked for.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(Index::FILE);
        if !path.exists() {
            return Err(Error::input("is no folder of finished shards: it has no index.json")
                .at(folder.display())
                .remedy(
                    "make it with `vaerr-train prepare`; if that was stopped, or not every rank is done, run it again",
                ));
        }
        let index = Arc::new(Index::read(&path)?);
        for shard in index.splits.values().flatten() {
            let path = folder.join(&shard.file);
            let wrong = |what: String| Error::input(what).at(path.display()).remedy("prepare the data again");
            let bytes = std::fs::metadata(&path).map_err(|e| wrong("cannot be read".into()).caused_by(e))?.len();
            if bytes != shard.bytes {
                return Err(wrong(format!("has {bytes} bytes, the index says {}", shard.bytes)));
            }
        }
        Ok(Self { folder: folder.into(), index, filters: Vec::new(), rank: 0, ranks: 1 })
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the folder holds, whatever is filtered.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Keeps only samples that `keep` holds for, in everything below.
    pub fn filtered(mut self, keep: impl Fn(&Meta) -> bool + Send + Sync + 'static) -> Self {
        self.filters.push(Arc::new(keep));
        self
    }

    /// Keeps every `ranks`-th sample from the `rank`-th on: for every epoch, the ranks' streams together give each sample
    /// once.
    ///
    /// # Errors
    /// A rank that is not below `ranks`.
    pub fn ranked(mut self, rank: usize, ranks: usize) -> Result<Self> {
        if rank >= ranks {
            return Err(Error::usage(format!("rank {rank} of {ranks} ranks, counted from 0")));
        }
        (self.rank, self.ranks) = (rank, ranks);
        Ok(self)
    }

    /// Descriptions of the samples of a split in the order of [`Reader::ordered`]; no array is kept.
    ///
    /// # Errors
    /// A damaged shard.
    pub fn metas(&self, split: Split) -> Result<Vec<Meta>> {
        let mut walk = self.walk(split, None);
        let mut metas = Vec::new();
        while let Some(found) = walk.next_located(1)? {
            metas.push(found.meta);
        }
        Ok(metas)
    }

    /// The people of a split ([`Meta::person`]), sorted.
    ///
    /// # Errors
    /// A damaged shard.
    pub fn subjects(&self, split: Split) -> Result<Vec<String>> {
        let people: BTreeSet<String> = self.metas(split)?.iter().map(|m| m.person().to_owned()).collect();
        Ok(people.into_iter().collect())
    }

    /// The samples of a split as they lie in the shards.
    pub fn ordered(&self, split: Split) -> Stream {
        Stream { walk: self.walk(split, None), buffer: 1 }
    }

    /// Every sample of a split once, in an order that depends on `seed`, `epoch` and `buffer` alone: shards shuffled, then each sample
    /// drawn from `buffer` samples that are next. What waits there is a few hundred bytes a sample; arrays are read when it
    /// is drawn.
    pub fn stream(&self, split: Split, seed: u64, epoch: u64, buffer: usize) -> Stream {
        Stream { walk: self.walk(split, Some(Rng::new(seed ^ SHUFFLE, epoch))), buffer: buffer.max(1) }
    }

    fn walk(&self, split: Split, mut rng: Option<Rng>) -> Walk {
        let mut shards = self.index.shards(split).to_vec();
        if let Some(rng) = &mut rng {
            for i in (1..shards.len()).rev() {
                shards.swap(i, rng.below(i + 1));
            }
        }
        Walk { reader: self.clone(), shards: shards.into(), found: VecDeque::new(), waiting: Vec::new(), seen: 0, rng }
    }

    fn keeps(&self, meta: &Meta) -> bool {
        self.filters.iter().all(|keep| keep(meta))
    }

    /// Finds the samples of a shard that holds against its digest, as many as the index says.
    fn scan(&self, shard: &Shard) -> Result<Vec<Located>> {
        let path = self.folder.join(&shard.file);
        self.ensure_held(shard)?;
        let found = codec::scan(&path)?;
        if found.len() != shard.samples {
            let what = format!("holds {} samples, the index says {}", found.len(), shard.samples);
            return Err(Error::input(what).at(path.display()).remedy("prepare the data again"));
        }
        let Some(other) = found.iter().find(|f| f.meta.size_px != self.index.size_px) else { return Ok(found) };
        let what = format!("has frames of {} pixels, the index says {}", other.meta.size_px, self.index.size_px);
        Err(Error::input(what).at(format!("{}: {}", path.display(), other.meta.key)))
    }
}

/// Goes through the descriptions.
struct Walk {
    reader: Reader,
    shards: VecDeque<Shard>,
    /// Of the shard at hand.
    found: VecDeque<Located>,
    /// The shuffle buffer.
    waiting: Vec<Located>,
    /// Samples kept by the filters so far, for the ranks.
    seen: usize,
    rng: Option<Rng>,
}

impl Walk {
    /// The next in the shards' order.
    fn next_in_order(&mut self) -> Result<Option<Located>> {
        loop {
            while let Some(found) = self.found.pop_front() {
                if !self.reader.keeps(&found.meta) {
                    continue;
                }
                self.seen += 1;
                if (self.seen - 1) % self.reader.ranks == self.reader.rank {
                    return Ok(Some(found));
                }
            }
            let Some(shard) = self.shards.pop_front() else { return Ok(None) };
            self.found = self.reader.scan(&shard)?.into();
        }
    }

    /// The next by way of the buffer.
    fn next_located(&mut self, buffer: usize) -> Result<Option<Located>> {
        if self.rng.is_none() {
            return self.next_in_order();
        }
        while self.waiting.len() < buffer
            && let Some(next) = self.next_in_order()?
        {
            self.waiting.push(next);
        }
        let Some(rng) = self.rng.as_mut().filter(|_| !self.waiting.is_empty()) else { return Ok(None) };
        Ok(Some(self.waiting.swap_remove(rng.below(self.waiting.len()))))
    }
}

/// Whole samples; ends after the first error.
pub struct Stream {
    walk: Walk,
    buffer: usize,
}

impl Iterator for Stream {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Result<Sample>> {
        let next = self.walk.next_located(self.buffer).and_then(|found| found.map(|f| f.read()).transpose());
        if next.is_err() {
            (self.walk.shards, self.walk.found, self.walk.waiting) = Default::default();
        }
        next.transpose()
    }
}
