//! Several folders of shards as one.

use super::{Reader, Sample, Stream};
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::data::record::Split;
use std::path::PathBuf;

/// Keeps the choice between folders apart from what else is drawn from the same seed.
const CHOICE: u64 = 0x63_686F_6963;

impl Reader {
    /// Opens folders that one training reads.
    ///
    /// # Errors
    /// As [`Reader::open`]; no folder; two of one name, since figures go by it; frames of different sizes; different acoustic
    /// features.
    pub fn open_all(folders: &[PathBuf]) -> Result<Vec<Self>> {
        let all = folders.iter().map(|f| Self::open(f)).collect::<Result<Vec<_>>>()?;
        let Some((first, others)) = all.split_first() else {
            return Err(Error::usage("there is no folder of shards").remedy("name one with --shards"));
        };
        others.iter().try_for_each(|other| first.ensure_goes_with(other))?;
        for (i, reader) in all.iter().enumerate() {
            if all[..i].iter().any(|r| r.name() == reader.name()) {
                return Err(Error::usage(format!("two folders of shards are called {}", reader.name()))
                    .remedy("figures are named after the folders: give them different names"));
            }
        }
        Ok(all)
    }

    /// The name of its folder.
    pub fn name(&self) -> String {
        let whole = std::fs::canonicalize(self.folder()).unwrap_or_else(|_| self.folder().to_owned());
        whole.file_name().map_or_else(|| "shards".into(), |n| n.to_string_lossy().into_owned())
    }

    fn ensure_goes_with(&self, other: &Self) -> Result<()> {
        let (a, b) = (self.index(), other.index());
        let wrong = |what: String| Error::input(what).at(other.folder().display());
        if a.size_px != b.size_px {
            let what = format!("has frames of {} pixels, {} has {}", b.size_px, self.folder().display(), a.size_px);
            return Err(wrong(what).remedy("prepare one of them again with the other's `prepare --size`"));
        }
        match (&a.audio, &b.audio) {
            (Some(x), Some(y)) if x != y => {
                let what = format!("has the acoustic features {}, {} has {}", y.name, self.folder().display(), x.name);
                Err(wrong(what).remedy("prepare one of them again with the other's `prepare --audio`"))
            }
            _ => Ok(()),
        }
    }
}

/// The streams of several folders as one: the next sample is of a folder drawn by how many samples it has left, so that folders
/// are spread over all of an epoch. Of one folder it is that folder's [`Reader::stream`].
pub struct Mixed {
    /// With what each has left.
    streams: Vec<(Stream, usize)>,
    rng: Rng,
}

impl Mixed {
    /// Every sample of a split once, in an order that depends on `seed`, `epoch` and `buffer` alone. `samples` says how many each
    /// reader gives.
    pub fn new(readers: &[Reader], samples: &[usize], split: Split, seed: u64, epoch: u64, buffer: usize) -> Self {
        let stream = |reader: &Reader| reader.stream(split, seed, epoch, buffer);
        Self {
            streams: readers.iter().map(stream).zip(samples.iter().copied()).collect(),
            rng: Rng::new(seed ^ CHOICE, epoch),
        }
    }
}

impl Iterator for Mixed {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Result<Sample>> {
        let left: usize = self.streams.iter().map(|(_, left)| left).sum();
        let mut drawn = self.rng.below(left);
        for (stream, left) in &mut self.streams {
            if drawn < *left {
                *left -= 1;
                return stream.next();
            }
            drawn -= *left;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sample, write};
    use super::super::{WriterConfig, index::Pixels};
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn folder(path: &Path, from: usize, count: usize, size_px: usize) {
        let config = WriterConfig { size_px, shard_bytes: 16_384, ..WriterConfig::default() };
        let all: Vec<Sample> = (from..from + count).map(|i| sample(Split::Train, i, 3)).collect();
        write(path, config, &all);
    }

    #[test]
    fn folders_are_mixed_whole_and_by_seed_and_one_is_its_own_stream() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|n| dir.path().join(n));
        folder(&paths[0], 0, 30, 4);
        folder(&paths[1], 100, 10, 4);
        let readers = Reader::open_all(&paths).unwrap();
        let mixed = |seed, epoch| -> Vec<String> {
            Mixed::new(&readers, &[30, 10], Split::Train, seed, epoch, 8).map(|s| s.unwrap().meta.key).collect()
        };
        let first = mixed(1, 0);
        assert_eq!((first.len(), first.iter().collect::<BTreeSet<_>>().len()), (40, 40));
        assert_eq!(first, mixed(1, 0));
        assert!(first != mixed(1, 1) && first != mixed(2, 0));
        let small: Vec<usize> = (0..40).filter(|i| first[*i].as_str() >= "v100").collect();
        assert!(small.iter().any(|i| *i < 20) && small.iter().any(|i| *i >= 20), "{small:?}");

        let one: Vec<String> =
            Mixed::new(&readers[..1], &[30], Split::Train, 1, 0, 8).map(|s| s.unwrap().meta.key).collect();
        let own: Vec<String> = readers[0].stream(Split::Train, 1, 0, 8).map(|s| s.unwrap().meta.key).collect();
        assert_eq!(one, own);
    }

    #[test]
    fn folders_that_do_not_go_together_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |n: &str| dir.path().join(n);
        folder(&at("a"), 0, 3, 4);
        let refused = |paths: &[PathBuf]| Reader::open_all(paths).err().unwrap().to_string();
        assert!(refused(&[]).contains("--shards"));
        assert!(refused(&[at("a"), at("a")]).contains("two folders of shards are called a"));
        let larger = Sample {
            video: vec![7; 3 * 64],
            meta: super::super::Meta { size_px: 8, ..sample(Split::Train, 0, 3).meta },
            ..sample(Split::Train, 0, 3)
        };
        write(&at("b"), WriterConfig { size_px: 8, ..WriterConfig::default() }, &[larger]);
        let text = refused(&[at("a"), at("b")]);
        assert!(text.contains("frames of 8 pixels") && text.contains("prepare --size"), "{text}");
    }

    #[test]
    fn pixels_of_several_folders_are_those_of_their_pooled_histograms() {
        let histogram = |values: &[(usize, u64)]| {
            let mut all = vec![0; 256];
            values.iter().for_each(|(v, n)| all[*v] = *n);
            Pixels::of(&all).unwrap()
        };
        let (a, b) = (histogram(&[(0, 3), (255, 1)]), histogram(&[(255, 4)]));
        let both = Pixels::pooled([&a, &b]).unwrap();
        assert_eq!((both.mean, both.histogram[0], both.histogram[255]), (0.625, 3, 5));
        assert_eq!(Pixels::pooled([&a]), Some(a));
        assert_eq!(Pixels::pooled([]), None);
    }
}
