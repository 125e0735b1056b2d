//! A model bundle on disk or embedded: manifest, two graphs, card, and beside them certificate and signature.

use super::head::{CERTIFICATE, MANIFEST};
use super::{Head, Precision, Student, hex, onnx};
use crate::error::{Error, Result};
use crate::spec::{FileEntry, Manifest};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// A bundle whose files all have the length and digest that its manifest names, behind its [`Head`].
///
/// What it holds was read once; a file that changes later changes nothing here.
#[derive(Debug, Clone)]
pub struct Bundle {
    head: Head,
    files: BTreeMap<String, Vec<u8>>,
}

impl Deref for Bundle {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The file that holds the student in the given arithmetic.
fn graph(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "student.onnx",
        Precision::Int8 => "student-int8.onnx",
    }
}

/// The error of a file that is not what the manifest says.
fn damaged(found: &[u8], entry: &FileEntry) -> Error {
    Error::model(format!(
        "is damaged: {} bytes with SHA-256 {}, the manifest names {} bytes with {}",
        found.len(),
        sha256_hex(found),
        entry.bytes,
        entry.sha256
    ))
    .remedy("copy the bundle again or export it again")
}

impl Bundle {
    /// Reads and checks the bundle in `dir`. To judge it before its files are read, begin with [`Head::read`].
    ///
    /// # Errors
    /// A missing folder or file, a malformed manifest, a file whose digest differs, or one that is no plain file.
    pub fn load(dir: &Path) -> Result<Self> {
        Head::read(dir)?.load()
    }

    /// Checks a bundle whose files come from `read`, which is given a name and the most bytes that such a file may have, and
    /// gives `None` for a file left out on purpose; `place` names the bundle in errors.
    ///
    /// # Errors
    /// As [`Bundle::load`].
    pub fn from_parts(
        place: &str,
        manifest_text: &str,
        read: impl Fn(&str, u64) -> Result<Option<Vec<u8>>>,
    ) -> Result<Self> {
        Self::fill(Head::of_parts(place, manifest_text, &read)?, &read)
    }

    pub(super) fn fill(head: Head, read: &impl Fn(&str, u64) -> Result<Option<Vec<u8>>>) -> Result<Self> {
        let mut files = BTreeMap::new();
        for (name, entry) in &head.manifest().files {
            let Some(bytes) = read(name, entry.bytes)? else { continue };
            if bytes.len() as u64 != entry.bytes || sha256_hex(&bytes) != entry.sha256 {
                return Err(damaged(&bytes, entry).at(format!("{}/{name}", head.place())));
            }
            files.insert(name.clone(), bytes);
        }
        Ok(Self { head, files })
    }

    /// The bundles below `root`, by folder name; damaged ones as errors. One at a time is in memory.
    pub fn list(root: &Path) -> Vec<(PathBuf, Result<Head>)> {
        let mut dirs: Vec<PathBuf> = std::fs::read_dir(root)
            .map(|d| d.flatten().map(|e| e.path()).filter(|p| p.join(MANIFEST).is_file()).collect())
            .unwrap_or_default();
        dirs.sort();
        dirs.into_iter().map(|d| (d.clone(), Self::load(&d).map(|b| b.head))).collect()
    }

    /// Bytes of one of its files.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// Names of the files that are there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether the student is there in the given arithmetic.
    pub fn has(&self, precision: Precision) -> bool {
        self.files.contains_key(graph(precision))
    }

    /// The student in the given arithmetic.
    ///
    /// # Errors
    /// If the graph is not a student's or differs from the manifest's shape.
    pub fn student(&self, precision: Precision) -> Result<Student> {
        let name = graph(precision);
        let at = format!("{}/{name}", self.place());
        let bytes = self.file(name).ok_or_else(|| {
            Error::unsupported("is left out of this build").at(&at).remedy(
                "use --precision int8, name a bundle's folder with --model, or build with --features fp32-model",
            )
        })?;
        let student =
            onnx::read_student(bytes).map_err(|e| Error::new(e.kind(), "cannot be used").at(&at).caused_by(e))?;
        if student.spec != self.manifest().student || student.precision() != precision {
            return Err(Error::model("is not the student that the manifest describes").at(&at));
        }
        Ok(student)
    }

    /// Writes a bundle, with the bytes of its certificate if it has one: fills in `manifest.files`, writes into a new folder beside
    /// `dir` and renames it, so that no half bundle is seen and nothing of an earlier try gets in.
    ///
    /// # Errors
    /// If `dir` exists already or cannot be written; then nothing is left.
    pub fn write(
        dir: &Path,
        mut manifest: Manifest,
        files: &BTreeMap<String, Vec<u8>>,
        certificate: Option<&[u8]>,
    ) -> Result<()> {
        if dir.symlink_metadata().is_ok() {
            return Err(Error::usage("exists already").at(dir.display()).remedy("name another folder or remove it"));
        }
        manifest.files = files
            .iter()
            .map(|(n, b)| (n.clone(), FileEntry { bytes: b.len() as u64, sha256: sha256_hex(b) }))
            .collect();
        manifest.validate()?;
        let text = toml::to_string(&manifest).map_err(|e| Error::model("cannot write the manifest").caused_by(e))?;
        let fail = |e: std::io::Error| Error::io("cannot write the bundle").at(dir.display()).caused_by(e);
        let part = new_folder_beside(dir).map_err(fail)?;
        let own = [(MANIFEST, text.as_bytes())].into_iter().chain(certificate.map(|bytes| (CERTIFICATE, bytes)));
        let listed = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        let mut all = own.chain(listed);
        let written = all.try_for_each(|(name, bytes)| std::fs::write(part.join(name), bytes));
        written.and_then(|()| std::fs::rename(&part, dir)).map_err(|e| {
            // The first error is the one to tell.
            let _ = std::fs::remove_dir_all(&part);
            fail(e)
        })
    }
}

/// Makes a hidden folder beside `dir`, named after it, that was not there.
fn new_folder_beside(dir: &Path) -> std::io::Result<PathBuf> {
    let name = dir.file_name().ok_or_else(|| std::io::Error::other("it is not the name of a folder"))?;
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut tries = 0u32;
    loop {
        let mut part = OsString::from(".");
        part.push(name);
        part.push(format!(".part-{}-{tries}", std::process::id()));
        let part = dir.with_file_name(part);
        match std::fs::create_dir(&part) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && tries < 100 => tries += 1,
            made => return made.map(|()| part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path) -> Result<()> {
        let shipped = Bundle::shipped().unwrap();
        let files = shipped.names().map(|n| (n.to_owned(), shipped.file(n).unwrap().to_vec())).collect();
        Bundle::write(dir, shipped.manifest().clone(), &files, None)
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_name_with_dots_is_kept_and_leftovers_of_an_earlier_try_stay_out() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(format!(".a.v2.part-{}-0", std::process::id()));
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("stale"), "x").unwrap();
        std::fs::create_dir(dir.path().join("a.part")).unwrap();
        for name in ["a.v2", "a.v3"] {
            write(&dir.path().join(name)).unwrap();
            assert_eq!(Bundle::load(&dir.path().join(name)).unwrap().others().len(), 0);
        }
        let left = left.file_name().unwrap().to_str().unwrap();
        assert_eq!(names(dir.path()), [left, "a.part", "a.v2", "a.v3"]);
        assert!(write(&dir.path().join("a.v2")).unwrap_err().to_string().contains("exists already"));
    }

    #[test]
    fn a_bundle_that_cannot_be_written_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let shipped = Bundle::shipped().unwrap();
        let mut files: BTreeMap<String, Vec<u8>> =
            shipped.names().map(|n| (n.to_owned(), shipped.file(n).unwrap().to_vec())).collect();
        files.insert("n".repeat(300), Vec::new());
        let e = Bundle::write(&dir.path().join("b"), shipped.manifest().clone(), &files, None).unwrap_err();
        assert!(e.to_string().contains("b: cannot write the bundle"), "{e}");
        assert!(names(dir.path()).is_empty());
        std::os::unix::fs::symlink("nowhere", dir.path().join("b")).unwrap();
        assert!(write(&dir.path().join("b")).unwrap_err().to_string().contains("exists already"));
    }
}
