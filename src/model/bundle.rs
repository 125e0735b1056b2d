//! A model bundle on disk or embedded: manifest, two graphs, card.

use super::{Precision, Student, onnx};
use crate::error::{Error, Result};
use crate::spec::{FileEntry, Manifest};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MANIFEST: &str = "manifest.toml";

/// A bundle whose files all have the length and digest that its manifest names.
#[derive(Debug, Clone)]
pub struct Bundle {
    place: String,
    manifest: Manifest,
    files: BTreeMap<String, Vec<u8>>,
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The file that holds the student in the given arithmetic.
fn graph(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "student.onnx",
        Precision::Int8 => "student-int8.onnx",
    }
}

impl Bundle {
    /// Reads and checks the bundle in `dir`.
    ///
    /// # Errors
    /// A missing folder or file, a malformed manifest, or a file whose digest differs.
    pub fn load(dir: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path).map_err(|e| {
                Error::model("cannot be read")
                    .at(path.display())
                    .caused_by(e)
                    .remedy("--model names a bundle's folder; `vaerr models list` shows those found")
            })
        };
        let text = String::from_utf8(read(MANIFEST)?)
            .map_err(|e| Error::model("is not UTF-8").at(dir.join(MANIFEST).display()).caused_by(e))?;
        Self::from_parts(&dir.display().to_string(), &text, |name| read(name).map(Some))
    }

    /// Checks a bundle whose files come from `read`, which gives `None` for a file left out on purpose; `place` names the
    /// bundle in errors.
    ///
    /// # Errors
    /// As [`Bundle::load`].
    pub fn from_parts(place: &str, manifest: &str, read: impl Fn(&str) -> Result<Option<Vec<u8>>>) -> Result<Self> {
        let at = format!("{place}/{MANIFEST}");
        let manifest: Manifest =
            toml::from_str(manifest).map_err(|e| Error::model("is malformed").at(&at).caused_by(e))?;
        manifest.validate()?;
        let mut files = BTreeMap::new();
        for (name, entry) in &manifest.files {
            let Some(bytes) = read(name)? else { continue };
            let found = sha256_hex(&bytes);
            if bytes.len() as u64 != entry.bytes || found != entry.sha256 {
                return Err(Error::model(format!(
                    "is damaged: {} bytes with SHA-256 {found}, the manifest names {} bytes with {}",
                    bytes.len(),
                    entry.bytes,
                    entry.sha256
                ))
                .at(format!("{place}/{name}"))
                .remedy("copy the bundle again or export it again"));
            }
            files.insert(name.clone(), bytes);
        }
        Ok(Self { place: place.to_owned(), manifest, files })
    }

    /// The bundles below `root`, by folder name; damaged ones as errors.
    pub fn list(root: &Path) -> Vec<(PathBuf, Result<Self>)> {
        let mut dirs: Vec<PathBuf> = std::fs::read_dir(root)
            .map(|d| d.flatten().map(|e| e.path()).filter(|p| p.join(MANIFEST).is_file()).collect())
            .unwrap_or_default();
        dirs.sort();
        dirs.into_iter().map(|d| (d.clone(), Self::load(&d))).collect()
    }

    /// What the bundle says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it came from.
    pub fn place(&self) -> &str {
        &self.place
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
        let at = format!("{}/{name}", self.place);
        let bytes = self.file(name).ok_or_else(|| {
            Error::unsupported("is left out of this build").at(&at).remedy(
                "use --precision int8, name a bundle's folder with --model, or build with --features fp32-model",
            )
        })?;
        let student =
            onnx::read_student(bytes).map_err(|e| Error::new(e.kind(), "cannot be used").at(&at).caused_by(e))?;
        if student.spec != self.manifest.student || student.precision() != precision {
            return Err(Error::model("is not the student that the manifest describes").at(&at));
        }
        Ok(student)
    }

    /// Writes a bundle: fills in `manifest.files`, writes beside `dir` and renames, so that no half bundle is seen.
    ///
    /// # Errors
    /// If `dir` exists already or cannot be written.
    pub fn write(dir: &Path, mut manifest: Manifest, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
        if dir.exists() {
            return Err(Error::usage("exists already").at(dir.display()).remedy("name another folder or remove it"));
        }
        manifest.files = files
            .iter()
            .map(|(n, b)| (n.clone(), FileEntry { bytes: b.len() as u64, sha256: sha256_hex(b) }))
            .collect();
        manifest.validate()?;
        let text = toml::to_string(&manifest).map_err(|e| Error::model("cannot write the manifest").caused_by(e))?;
        let part = dir.with_extension("part");
        let fail = |e: std::io::Error| Error::io("cannot write the bundle").at(part.display()).caused_by(e);
        std::fs::create_dir_all(&part).map_err(fail)?;
        std::fs::write(part.join(MANIFEST), text).map_err(fail)?;
        for (name, bytes) in files {
            std::fs::write(part.join(name), bytes).map_err(fail)?;
        }
        std::fs::rename(&part, dir).map_err(fail)
    }
}
