//! Reading files without trusting their size or kind.

use super::hex;
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The file's bytes.
///
/// # Errors
/// If it cannot be read, or is larger than `most`, which is found out without reading all of it.
pub(super) fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>> {
    let fail = |e: std::io::Error| Error::model("cannot be read").at(path.display()).caused_by(e);
    let file = File::open(path).map_err(fail)?;
    // What the file system says saves memory, and is not believed beyond the limit.
    let expected = file.metadata().map_err(fail)?.len().min(most) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    file.take(most + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > most {
        return Err(too_large(path, most));
    }
    Ok(bytes)
}

/// The same for a file of a bundle's folder; `None` if it is not there.
///
/// # Errors
/// As [`read_at_most`], and if it is no plain file.
pub(super) fn read_plain(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    if is_plain(path)? { read_at_most(path, most).map(Some) } else { Ok(None) }
}

/// SHA-256 in hexadecimal of a plain file, which is never whole in memory.
///
/// # Errors
/// If it is missing, no plain file, larger than `most`, or cannot be read.
pub(super) fn sha256_of(path: &Path, most: u64) -> Result<String> {
    is_plain(path)?;
    let fail = |e: std::io::Error| Error::model("cannot be read").at(path.display()).caused_by(e);
    let mut all = Sha256::new();
    let read = File::open(path).and_then(|file| std::io::copy(&mut file.take(most + 1), &mut all)).map_err(fail)?;
    if read > most { Err(too_large(path, most)) } else { Ok(hex(&all.finalize())) }
}

fn too_large(path: &Path, most: u64) -> Error {
    Error::model(format!("is damaged: it has more than the {most} bytes that it may have"))
        .at(path.display())
        .remedy("copy the bundle again or export it again")
}

/// Whether there is something at `path`.
///
/// # Errors
/// A symbolic link, which can lead out of what was signed; a folder, pipe or device.
fn is_plain(path: &Path) -> Result<bool> {
    let kind = match path.symlink_metadata() {
        Ok(found) => found.file_type(),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::model("cannot be read").at(path.display()).caused_by(e)),
    };
    let what = match () {
        () if kind.is_file() => return Ok(true),
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a folder",
        () => "a pipe or device",
    };
    Err(Error::model(format!("is {what}, expected a plain file"))
        .at(path.display())
        .remedy("copy the file itself there"))
}
