//! One sample as members of a tar, and the reverse.

use super::{Meta, Sample};
use crate::error::{Error, Result};
use crate::train::data::npy;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

/// Most bytes of a `KEY.json`.
const MAX_META: u64 = 1 << 20;

/// Endings of the members, in the order in which they are written.
const ENDINGS: [&str; 4] = ["json", "video.npy", "labels.npy", "audio.npy"];

/// Appends `sample`, which must be valid.
///
/// # Errors
/// What the writer refuses.
pub(crate) fn append(to: &mut tar::Builder<impl Write>, sample: &Sample) -> std::io::Result<()> {
    let meta = &sample.meta;
    let json = serde_json::to_vec(meta)?;
    let mut arrays = vec![json, Vec::new(), Vec::new()];
    npy::write(&mut arrays[1], &meta.video_shape(), &sample.video)?;
    npy::write(&mut arrays[2], &[meta.frames, 2], sample.labels.as_flattened())?;
    if let (Some(audio), Some(about)) = (&sample.audio, &meta.audio) {
        arrays.push(Vec::new());
        npy::write(&mut arrays[3], &[meta.frames, about.dims], audio)?;
    }
    for (ending, bytes) in ENDINGS.iter().zip(&arrays) {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Time and owner are constant, so that the same samples give the same bytes.
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        to.append_data(&mut header, format!("{}.{ending}", meta.key), &bytes[..])?;
    }
    Ok(())
}

/// Bytes that [`append`] adds, at least.
pub(super) fn tar_bytes(sample: &Sample) -> u64 {
    let meta = &sample.meta;
    let dims = meta.audio.as_ref().map_or(0, |a| a.dims);
    let video = npy::file_bytes::<u8>(&meta.video_shape(), sample.video.len());
    let labels = npy::file_bytes::<f32>(&[meta.frames, 2], 2 * meta.frames);
    let audio = npy::file_bytes::<f32>(&[meta.frames, dims], dims * meta.frames);
    let padded = |bytes: u64| 512 + bytes.next_multiple_of(512);
    padded(512) + padded(video) + padded(labels) + if dims > 0 { padded(audio) } else { 0 }
}

/// Where a member's bytes lie in its shard.
#[derive(Debug, Clone, Copy)]
struct Span {
    offset: u64,
    bytes: u64,
}

/// A sample that was found in a shard; its arrays are still on the disk.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    pub(crate) meta: Meta,
    shard: Arc<Path>,
    /// Video, labels, audio.
    arrays: [Option<Span>; 3],
}

/// Finds every sample of a shard, reading the `KEY.json` alone.
///
/// # Errors
/// A file that is no tar or is cut off, a sample without one of its members, a malformed `KEY.json`; each names shard and key.
pub(crate) fn scan(path: &Path) -> Result<Vec<Located>> {
    let shard: Arc<Path> = path.into();
    let wrong = |what: &str| Error::input(what).at(path.display());
    let file = File::open(path).map_err(|e| wrong("cannot be opened").caused_by(e))?;
    let length = file.metadata().map_err(|e| wrong("cannot be read").caused_by(e))?.len();
    let mut archive = tar::Archive::new(BufReader::new(file));
    let unreadable = |e| wrong("is not a whole tar archive").caused_by(e);
    let mut groups: Vec<Group> = Vec::new();
    // Raw: a long name of another tool would be read whole, however long; samples have none.
    for entry in archive.entries_with_seek().map_err(unreadable)?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let span = Span { offset: entry.raw_file_position(), bytes: entry.size() };
        if span.offset.checked_add(span.bytes).is_none_or(|end| end > length) {
            return Err(wrong(&format!("is cut off within {name}")));
        }
        let Some((key, ending)) = name.split_once('.') else { continue };
        let Some(which) = ENDINGS.iter().position(|e| *e == ending) else { continue };
        if groups.last().is_none_or(|g| g.key != key) {
            groups.push(Group { key: key.to_owned(), ..Group::default() });
        }
        let Some(group) = groups.last_mut() else { continue };
        if group.spans[which].replace(span).is_some() {
            return Err(wrong(&format!("holds {name} twice")));
        }
        if which == 0 {
            if span.bytes > MAX_META {
                return Err(wrong(&format!("{name} has {} bytes, expected at most {MAX_META}", span.bytes)));
            }
            entry.read_to_end(&mut group.json).map_err(unreadable)?;
        }
    }
    groups.into_iter().map(|g| g.locate(&shard)).collect()
}

/// Members of one key as they are found.
#[derive(Default)]
struct Group {
    key: String,
    json: Vec<u8>,
    /// By [`ENDINGS`].
    spans: [Option<Span>; 4],
}

impl Group {
    fn locate(self, shard: &Arc<Path>) -> Result<Located> {
        let at = |e: Error| e.at(format!("{}: {}", shard.display(), self.key));
        let [json, video, labels, audio] = self.spans;
        for (ending, span) in ENDINGS.iter().zip([json, video, labels]) {
            if span.is_none() {
                return Err(at(Error::input(format!("has no {}.{ending}", self.key))));
            }
        }
        let meta: Meta = serde_json::from_slice(&self.json)
            .map_err(|e| at(Error::input("its json is not a sample's description").caused_by(e)))?;
        meta.validate().map_err(at)?;
        if meta.key != self.key {
            return Err(at(Error::input(format!("its json is of another sample, {}", meta.key))));
        }
        if meta.audio.is_some() && audio.is_none() {
            return Err(at(Error::input(format!("has no {}.audio.npy", self.key))));
        }
        let audio = audio.filter(|_| meta.audio.is_some());
        Ok(Located { meta, shard: shard.clone(), arrays: [video, labels, audio] })
    }
}

impl Located {
    /// Reads the sample's arrays.
    ///
    /// # Errors
    /// An array of another type or shape than the sample's description says, or values outside their ranges.
    pub(crate) fn read(&self) -> Result<Sample> {
        let meta = self.meta.clone();
        let wrong = |e| Error::input("cannot be read").at(self.shard.display()).caused_by(e);
        let mut file = File::open(&self.shard).map_err(wrong)?;
        let [video, labels, audio] = self.arrays;
        let video = self.array(&mut file, video, 1, &meta.video_shape())?.unwrap_or_default();
        let labels: Vec<f32> = self.array(&mut file, labels, 2, &[meta.frames, 2])?.unwrap_or_default();
        let dims = meta.audio.as_ref().map_or(0, |a| a.dims);
        let audio = self.array(&mut file, audio, 3, &[meta.frames, dims])?;
        let sample = Sample { meta, video, labels: labels.as_chunks().0.to_vec(), audio };
        sample.validate().map_err(|e| Error::input(e.to_string()).at(self.shard.display()))?;
        Ok(sample)
    }

    fn array<T: npy::Item>(
        &self,
        file: &mut File,
        span: Option<Span>,
        which: usize,
        shape: &[usize],
    ) -> Result<Option<Vec<T>>> {
        let Some(span) = span else { return Ok(None) };
        let place = || format!("{}: {}.{}", self.shard.display(), self.meta.key, ENDINGS[which]);
        file.seek(SeekFrom::Start(span.offset)).map_err(|e| Error::input("cannot be read").at(place()).caused_by(e))?;
        npy::read(&mut file.take(span.bytes), span.bytes, shape).map(Some).map_err(|e| e.at(place()))
    }
}
