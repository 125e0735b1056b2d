//! A model bundle on disk or embedded: manifest, two graphs, card, and beside them certificate and signature.

use super::signature::Digests;
use super::{Precision, Student, folder, hex, onnx, signature};
use crate::error::{Error, Result};
use crate::spec::{Certificate, FileEntry, Manifest};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MANIFEST: &str = Manifest::BESIDE[0];
const CERTIFICATE: &str = Certificate::FILE;
const SIGNATURE: &str = Manifest::BESIDE[2];
const MOST_MANIFEST_BYTES: u64 = 1 << 20;
const MOST_CERTIFICATE_BYTES: u64 = 16 << 20;

/// A bundle whose files all have the length and digest that its manifest names.
///
/// What it holds was read once; a file that changes later changes nothing here.
#[derive(Debug, Clone)]
pub struct Bundle {
    place: String,
    manifest: Manifest,
    manifest_sha256: String,
    files: BTreeMap<String, Vec<u8>>,
    certificate: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
    /// The folder that it came from.
    folder: Option<PathBuf>,
    /// Names of what else lies in the folder.
    others: Vec<String>,
    embedded: bool,
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
    /// Reads and checks the bundle in `dir`.
    ///
    /// # Errors
    /// A missing folder or file, a malformed manifest, a file whose digest differs, or one that is no plain file.
    pub fn load(dir: &Path) -> Result<Self> {
        let missing = |name: &str| {
            Error::model("cannot be read").at(dir.join(name).display()).caused_by("there is no such file").remedy(
                "a bundle's folder is needed: `vaerr models list` shows those found, `vaerr-train export` makes one",
            )
        };
        let bytes = folder::read_plain(&dir.join(MANIFEST), MOST_MANIFEST_BYTES)?.ok_or_else(|| missing(MANIFEST))?;
        let text = String::from_utf8(bytes)
            .map_err(|e| Error::model("is not UTF-8").at(dir.join(MANIFEST).display()).caused_by(e))?;
        let optional = [CERTIFICATE, SIGNATURE];
        let mut bundle = Self::from_parts(&dir.display().to_string(), &text, |name, most| {
            match folder::read_plain(&dir.join(name), most)? {
                None if !optional.contains(&name) => Err(missing(name)),
                found => Ok(found),
            }
        })?;
        let listed = std::fs::read_dir(dir).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let entries = listed.map_err(|e| Error::model("cannot be listed").at(dir.display()).caused_by(e))?;
        let names = entries.into_iter().map(|e| e.file_name().to_string_lossy().into_owned());
        let read = |n: &String| Manifest::BESIDE.contains(&n.as_str()) || bundle.files.contains_key(n);
        bundle.others = names.filter(|n| !read(n)).collect();
        bundle.others.sort_unstable();
        bundle.folder = Some(dir.to_owned());
        Ok(bundle)
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
        let at = format!("{place}/{MANIFEST}");
        let manifest: Manifest =
            toml::from_str(manifest_text).map_err(|e| Error::model("is malformed").at(&at).caused_by(e))?;
        manifest.validate()?;
        let mut files = BTreeMap::new();
        for (name, entry) in &manifest.files {
            let Some(bytes) = read(name, entry.bytes)? else { continue };
            if bytes.len() as u64 != entry.bytes || sha256_hex(&bytes) != entry.sha256 {
                return Err(damaged(&bytes, entry).at(format!("{place}/{name}")));
            }
            files.insert(name.clone(), bytes);
        }
        Ok(Self {
            place: place.to_owned(),
            manifest_sha256: sha256_hex(manifest_text.as_bytes()),
            manifest,
            files,
            certificate: read(CERTIFICATE, MOST_CERTIFICATE_BYTES)?,
            signature: read(SIGNATURE, signature::MOST_BYTES)?,
            folder: None,
            others: Vec::new(),
            embedded: false,
        })
    }

    /// Marks it as the one that the program carries.
    pub(super) fn embedded(self) -> Self {
        Self { embedded: true, ..self }
    }

    /// Whether the program carries it.
    pub fn is_embedded(&self) -> bool {
        self.embedded
    }

    /// The bundles below `root`, by folder name; damaged ones as errors.
    pub fn list(root: &Path) -> Vec<(PathBuf, Result<Self>)> {
        let mut dirs: Vec<PathBuf> = std::fs::read_dir(root)
            .map(|d| d.flatten().map(|e| e.path()).filter(|p| p.join(MANIFEST).is_file()).collect())
            .unwrap_or_default();
        dirs.sort();
        dirs.into_iter().map(|d| (d.clone(), Self::load(&d))).collect()
    }

    /// Bytes of `certificate.json`, if there is one.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    /// Bytes of `model.sig`, if there is one.
    pub fn signature(&self) -> Option<&[u8]> {
        self.signature.as_deref()
    }

    /// Names of what else lies in the folder: nothing here reads it, yet a signature has to cover it.
    pub fn others(&self) -> &[String] {
        &self.others
    }

    /// SHA-256 of every file but the signature, by name. The manifest's digest stands for a file left out on purpose.
    ///
    /// # Errors
    /// If one of the [`Bundle::others`] cannot be read or is no plain file.
    pub fn digests(&self) -> Result<Digests> {
        let mut all: Digests = self.manifest.files.iter().map(|(n, e)| (n.clone(), e.sha256.clone())).collect();
        all.insert(MANIFEST.into(), self.manifest_sha256.clone());
        all.extend(self.certificate.as_ref().map(|c| (CERTIFICATE.into(), sha256_hex(c))));
        for (name, folder) in self.others.iter().zip(self.folder.iter().cycle()) {
            all.insert(name.clone(), folder::sha256_of(&folder.join(name))?);
        }
        Ok(all)
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

    /// Writes a bundle, with the bytes of its certificate if it has one: fills in `manifest.files`, writes beside `dir` and renames,
    /// so that no half bundle is seen.
    ///
    /// # Errors
    /// If `dir` exists already or cannot be written.
    pub fn write(
        dir: &Path,
        mut manifest: Manifest,
        files: &BTreeMap<String, Vec<u8>>,
        certificate: Option<&[u8]>,
    ) -> Result<()> {
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
        if let Some(bytes) = certificate {
            std::fs::write(part.join(CERTIFICATE), bytes).map_err(fail)?;
        }
        std::fs::rename(&part, dir).map_err(fail)
    }
}
