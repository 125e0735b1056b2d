//! The keys of a trust file.

use super::{PublicKey, access};
use crate::error::{Error, Result};
use crate::spec::{TrustFile, TrustedKey};
use std::collections::BTreeMap;
use std::path::Path;

/// No trust file or key file is larger.
const MOST_BYTES: u64 = 1 << 20;

/// A trust file whose keys have been read.
#[derive(Debug, Clone)]
pub struct Trust {
    place: String,
    keys: Vec<Key>,
    minimum: BTreeMap<String, u32>,
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    pub entry: TrustedKey,
    pub public: PublicKey,
}

impl Trust {
    /// Reads a trust file and the key files that it names. A least version of a name that no key may sign is warned of.
    ///
    /// # Errors
    /// A file that cannot be read, is malformed or can be changed by every account, or a key listed twice.
    pub fn load(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&path.display().to_string(), &text_of(path)?, |key| text_of(&folder.join(key)))
    }

    /// The same from a text; `read` gives the key files.
    ///
    /// # Errors
    /// As [`Trust::load`].
    pub fn parse(place: &str, text: &str, read: impl Fn(&Path) -> Result<String>) -> Result<Self> {
        let file = TrustFile::parse(place, text)?;
        for name in file.unsigned_names() {
            log::warn!(
                "{place}: minimum_version names {name:?}, which no key there may sign: correct the name or a key's models, \
                 unless it is the embedded bundle's"
            );
        }
        let TrustFile { keys: entries, minimum_version, .. } = file;
        let mut keys: Vec<Key> = Vec::new();
        for entry in entries {
            let text = match (&entry.pem, &entry.path) {
                (Some(pem), _) => pem.clone(),
                (None, Some(path)) => read(path)?,
                (None, None) => String::new(),
            };
            let public = PublicKey::from_pem(&text).map_err(|e| e.at(format!("{place}: key {:?}", entry.name)))?;
            // Else a revoked key could be good under another name.
            if let Some(same) = keys.iter().find(|k| k.public == public) {
                return Err(Error::usage(format!("{:?} and {:?} are one key", same.entry.name, entry.name)).at(place));
            }
            keys.push(Key { entry, public });
        }
        Ok(Self { place: place.to_owned(), keys, minimum: minimum_version })
    }

    /// Where it came from.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The least version of the bundle of this name that may run, if one is asked for.
    pub fn minimum_version(&self, name: &str) -> Option<u32> {
        self.minimum.get(name).copied()
    }

    /// The key that a signature names.
    pub(super) fn key(&self, hint: &str) -> Result<&Key> {
        self.keys.iter().find(|k| k.public.hint() == hint).ok_or_else(|| {
            let names: Vec<&str> = self.keys.iter().map(|k| k.entry.name.as_str()).collect();
            let start: String = hint.chars().take(64).collect();
            Error::model(format!("is signed by a key that {} does not list: {start:?}", self.place))
                .remedy(format!("keys trusted here: {}; add the signer's public key if you trust it", names.join(", ")))
        })
    }
}

fn text_of(path: &Path) -> Result<String> {
    let at = |e: Error| e.at(path.display());
    access::ensure_guarded(path)?;
    let bytes = crate::model::folder::read_at_most(path, MOST_BYTES).map_err(at)?;
    String::from_utf8(bytes).map_err(|e| at(Error::usage("is not UTF-8").caused_by(e)))
}
