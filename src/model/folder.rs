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
    let mut bytes = Vec::new();
    File::open(path).map_err(fail)?.take(most + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > most {
        return Err(Error::model(format!("is damaged: it has more than the {most} bytes that it may have"))
            .at(path.display())
            .remedy("copy the bundle again or export it again"));
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

/// SHA-256 in hexadecimal of a plain file of any size.
///
/// # Errors
/// If it is missing, no plain file, or cannot be read.
pub(super) fn sha256_of(path: &Path) -> Result<String> {
    is_plain(path)?;
    let fail = |e: std::io::Error| Error::model("cannot be read").at(path.display()).caused_by(e);
    let mut file = File::open(path).map_err(fail)?;
    let (mut all, mut part) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut part).map_err(fail)? {
            0 => return Ok(hex(&all.finalize())),
            n => all.update(part.get(..n).unwrap_or_default()),
        }
    }
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
