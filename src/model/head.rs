//! What is known of a bundle before its files are read, which is enough to judge its signature.

use super::signature::{self, Digests};
use super::{Bundle, folder, sha256_hex, shipped};
use crate::error::{Error, Result};
use crate::spec::{Certificate, Manifest};
use std::path::{Path, PathBuf};

pub(super) const MANIFEST: &str = Manifest::BESIDE[0];
pub(super) const CERTIFICATE: &str = Certificate::FILE;
const SIGNATURE: &str = Manifest::BESIDE[2];
const MOST_MANIFEST_BYTES: u64 = 64 << 10;
const MOST_CERTIFICATE_BYTES: u64 = 1 << 20;

/// Where a bundle's files are.
#[derive(Debug, Clone)]
enum Source {
    Folder(PathBuf),
    Program,
    /// With whoever gave the manifest.
    Caller,
}

/// Manifest, certificate, signature and the names in a bundle's folder. The files that the manifest lists are not read yet, so that
/// a forged list costs nothing.
#[derive(Debug, Clone)]
pub struct Head {
    place: String,
    manifest: Manifest,
    manifest_sha256: String,
    certificate: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
    source: Source,
    /// Names of what else lies in the folder.
    others: Vec<String>,
}

/// A file of the folder; certificate and signature may be missing.
fn read_from(dir: &Path, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
    match folder::read_plain(&dir.join(name), most)? {
        None if ![CERTIFICATE, SIGNATURE].contains(&name) => {
            Err(Error::model("cannot be read").at(dir.join(name).display()).caused_by("there is no such file").remedy(
                "a bundle's folder is needed: `vaerr models list` shows those found, `vaerr-train export` makes one",
            ))
        }
        found => Ok(found),
    }
}

impl Head {
    /// Reads what stands before the files in `dir`.
    ///
    /// # Errors
    /// A missing folder or manifest, a malformed manifest, one of these files too large or no plain file.
    pub fn read(dir: &Path) -> Result<Self> {
        let bytes = read_from(dir, MANIFEST, MOST_MANIFEST_BYTES)?.unwrap_or_default();
        let text = String::from_utf8(bytes)
            .map_err(|e| Error::model("is not UTF-8").at(dir.join(MANIFEST).display()).caused_by(e))?;
        let read = |name: &str, most| read_from(dir, name, most);
        let mut head = Self::parse(&dir.display().to_string(), &text, Source::Folder(dir.to_owned()), &read)?;
        let listed = std::fs::read_dir(dir).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let entries = listed.map_err(|e| Error::model("cannot be listed").at(dir.display()).caused_by(e))?;
        let names = entries.into_iter().map(|e| e.file_name().to_string_lossy().into_owned());
        let known = |n: &String| Manifest::BESIDE.contains(&n.as_str()) || head.manifest.files.contains_key(n);
        head.others = names.filter(|n| !known(n)).collect();
        head.others.sort_unstable();
        Ok(head)
    }

    /// Of the bundle that the program carries.
    ///
    /// # Errors
    /// If its manifest is damaged, which would be a fault of the build.
    pub fn shipped() -> Result<Self> {
        Self::parse(shipped::PLACE, shipped::MANIFEST, Source::Program, &shipped::read)
    }

    /// Of a bundle whose files the caller has.
    pub(super) fn of_parts(
        place: &str,
        manifest_text: &str,
        read: &impl Fn(&str, u64) -> Result<Option<Vec<u8>>>,
    ) -> Result<Self> {
        Self::parse(place, manifest_text, Source::Caller, read)
    }

    fn parse(
        place: &str,
        manifest_text: &str,
        source: Source,
        read: &impl Fn(&str, u64) -> Result<Option<Vec<u8>>>,
    ) -> Result<Self> {
        let at = format!("{place}/{MANIFEST}");
        let manifest: Manifest =
            toml::from_str(manifest_text).map_err(|e| Error::model("is malformed").at(&at).caused_by(e))?;
        manifest.validate().map_err(|e| Error::new(e.kind(), "cannot be used").at(&at).caused_by(e))?;
        Ok(Self {
            place: place.to_owned(),
            manifest,
            manifest_sha256: sha256_hex(manifest_text.as_bytes()),
            certificate: read(CERTIFICATE, MOST_CERTIFICATE_BYTES)?,
            signature: read(SIGNATURE, signature::MOST_BYTES)?,
            source,
            others: Vec::new(),
        })
    }

    /// Reads the files and checks them against the manifest.
    ///
    /// # Errors
    /// A file that is missing, differs, or is no plain file.
    pub fn load(self) -> Result<Bundle> {
        match self.source.clone() {
            Source::Folder(dir) => Bundle::fill(self, &|name, most| read_from(&dir, name, most)),
            Source::Program => Bundle::fill(self, &shipped::read),
            Source::Caller => Err(Error::usage("its files are with the caller").at(self.place)),
        }
    }

    /// Whether the program carries it.
    pub fn is_embedded(&self) -> bool {
        matches!(self.source, Source::Program)
    }

    /// What the bundle says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it came from.
    pub fn place(&self) -> &str {
        &self.place
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

    /// SHA-256 of every file but the signature, by name. The manifest's digests stand for the files that it lists; the
    /// [`Head::others`] are read.
    ///
    /// # Errors
    /// If one of the others cannot be read, is no plain file, or is larger than a whole bundle may be.
    pub fn digests(&self) -> Result<Digests> {
        let mut all: Digests = self.manifest.files.iter().map(|(n, e)| (n.clone(), e.sha256.clone())).collect();
        all.insert(MANIFEST.into(), self.manifest_sha256.clone());
        all.extend(self.certificate.as_ref().map(|c| (CERTIFICATE.into(), sha256_hex(c))));
        if let Source::Folder(dir) = &self.source {
            for name in &self.others {
                all.insert(name.clone(), folder::sha256_of(&dir.join(name), Manifest::MOST_BYTES)?);
            }
        }
        Ok(all)
    }
}
