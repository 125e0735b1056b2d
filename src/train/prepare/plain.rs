//! A folder of videos and pictures without labels.

use crate::capture::pictures;
use crate::error::{Error, Result};
use crate::train::data::record::{Annotation, Clock, Labels, Loaded, Media, Recording, Split};
use crate::train::data::sets::files;
use std::path::Path;

/// How deep folders are searched, which also ends links that loop.
const DEPTH: usize = 8;

/// Every video below `root` (mp4, avi, mov, mkv, m4v, webm, y4m), and every folder that holds pictures itself as one
/// recording, its pictures in the order of their names.
///
/// The id is the path below `root` without extension; what lies in one folder directly below `root` is one group, and a file
/// beside those is a group of its own. None has labels.
///
/// # Errors
/// A folder that cannot be read, or without any video or picture.
pub fn plain(root: &Path, split: Split) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    walk(root, root, split, DEPTH, &mut loaded)?;
    if loaded.recordings.is_empty() {
        return Err(Error::input("holds no video and no picture").at(root.display()));
    }
    Ok(loaded.settle())
}

fn walk(root: &Path, dir: &Path, split: Split, depth: usize, loaded: &mut Loaded) -> Result<()> {
    let (mut pictures, entries) = (false, files::list(dir)?);
    for path in &entries {
        let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).unwrap_or_default();
        if path.is_dir() {
            if depth > 0 {
                walk(root, path, split, depth - 1, loaded)?;
            }
        } else if files::VIDEO.contains(&&*ending) || ending == "y4m" {
            let id = path.strip_prefix(root).unwrap_or(path).with_extension("");
            loaded.push(path, recording(&id, path, split));
        } else {
            pictures |= pictures::is_picture(path);
        }
    }
    if pictures {
        let below = dir.strip_prefix(root).unwrap_or(dir);
        let id = if below.as_os_str().is_empty() { Path::new(files::name(root)) } else { below };
        loaded.push(dir, recording(id, dir, split));
    }
    Ok(())
}

fn recording(id: &Path, media: &Path, split: Split) -> Result<Recording> {
    let wrong = || Error::input("has a name that is not UTF-8").at(media.display()).remedy("rename it");
    let id = id.to_str().ok_or_else(wrong)?.to_owned();
    let group = id.split_once('/').map_or(&*id, |(top, _)| top).to_owned();
    Ok(Recording {
        group,
        id,
        subject: None,
        split,
        media: Media::Video(media.to_owned()),
        fps: None,
        labels: Labels::Series(Annotation { clock: Clock::Seconds(Vec::new()), values: Vec::new() }),
    })
}
