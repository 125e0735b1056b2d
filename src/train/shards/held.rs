//! A shard is held against its SHA-256 in the index when it is opened, once a process.

use super::{Reader, Shard};
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Device, inode, length, time of the last change in seconds and nanoseconds, SHA-256.
type Held = (u64, u64, u64, i64, i64, String);

/// Files that held, of all folders.
static HELD: Mutex<BTreeSet<Held>> = Mutex::new(BTreeSet::new());

fn held(found: &Metadata, sha256: &str) -> Held {
    (found.dev(), found.ino(), found.len(), found.ctime(), found.ctime_nsec(), sha256.to_owned())
}

impl Reader {
    /// Refuses a shard whose bytes are not those that the index names. A file that held is not read again by this process unless it
    /// has changed since.
    ///
    /// # Errors
    /// If it cannot be read, or its SHA-256 differs.
    pub fn ensure_held(&self, shard: &Shard) -> Result<()> {
        let path = self.folder().join(&shard.file);
        let found = path.metadata().map_err(|e| unreadable(&path, e))?;
        if HELD.lock().unwrap_or_else(PoisonError::into_inner).contains(&held(&found, &shard.sha256)) {
            return Ok(());
        }
        self.ensure_written(shard)
    }

    /// The same, the file being read in any case.
    ///
    /// # Errors
    /// As there.
    pub fn ensure_written(&self, shard: &Shard) -> Result<()> {
        let path = self.folder().join(&shard.file);
        let (mut sha, mut file) = (Sha256::new(), File::open(&path).map_err(|e| unreadable(&path, e))?);
        let found = file.metadata().map_err(|e| unreadable(&path, e))?;
        std::io::copy(&mut file, &mut sha).map_err(|e| unreadable(&path, e))?;
        if format!("{:x}", sha.finalize()) != shard.sha256 {
            return Err(Error::input("is not what was written: its SHA-256 is not the index's")
                .at(path.display())
                .remedy("copy the folder again, or prepare the data again"));
        }
        HELD.lock().unwrap_or_else(PoisonError::into_inner).insert(held(&found, &shard.sha256));
        Ok(())
    }
}

fn unreadable(path: &Path, e: std::io::Error) -> Error {
    Error::input("cannot be read").at(path.display()).caused_by(e)
}
