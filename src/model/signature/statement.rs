//! The in-toto statement: which files, which digests.

use super::envelope::malformed;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
const SIGNATURE_FILE: &str = "model.sig";

/// File name -> SHA-256 in lower-case hexadecimal.
pub type Digests = BTreeMap<String, String>;

/// A statement that is consistent in itself: its root digest is that of its files.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    name: String,
    digests: Digests,
}

/// As it stands in JSON. Further fields of the predicate are signed too, and version 1.0 tells readers to ignore them.
#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(rename = "_type")]
    r#type: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: RootDigest,
}

#[derive(Serialize, Deserialize)]
struct RootDigest {
    sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    /// Not believed: every file but the signature has to be signed.
    #[serde(default)]
    ignore_paths: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    digest: String,
    algorithm: String,
}

impl Statement {
    /// What is to be signed for a bundle of this name.
    ///
    /// # Errors
    /// If a digest is not 64 lower-case hexadecimal digits.
    pub fn new(name: &str, digests: Digests) -> Result<Self> {
        root(digests.values())?;
        Ok(Self { name: name.to_owned(), digests })
    }

    /// The signer's name of the bundle; the public tool takes the folder's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The signed files.
    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Self> {
        let wire: Wire =
            serde_json::from_slice(payload).map_err(|e| malformed(format!("its in-toto statement: {e}")))?;
        let Predicate { serialization: how, resources } = wire.predicate;
        for (name, found, wanted) in [
            ("_type", &wire.r#type, TYPE),
            ("predicateType", &wire.predicate_type, PREDICATE_TYPE),
            ("method", &how.method, "files"),
            ("hash_type", &how.hash_type, "sha256"),
        ] {
            if found != wanted {
                return Err(malformed(format!("its statement's {name} is {found:?}, expected {wanted:?}")));
            }
        }
        let [subject] = &wire.subject[..] else {
            return Err(malformed(format!("its statement has {} subjects, expected one", wire.subject.len())));
        };
        if how.allow_symlinks {
            return Err(malformed("it follows symbolic links"));
        }
        // In the order of the statement, which is the signer's.
        if root(resources.iter().map(|r| &r.digest))? != subject.digest.sha256 {
            return Err(malformed("its root digest is not that of the files it lists"));
        }
        let mut digests = Digests::new();
        for Resource { name, digest, algorithm } in resources {
            if algorithm != "sha256" {
                return Err(malformed(format!("{name} has a digest by {algorithm:?}, expected sha256")));
            }
            if let Some(twice) = digests.insert(name.clone(), digest) {
                return Err(malformed(format!("it lists {name} twice, once with {twice}")));
            }
        }
        Ok(Self { name: subject.name.clone(), digests })
    }

    pub(crate) fn write(&self) -> Result<Vec<u8>> {
        let resource = |(name, digest): (&String, &String)| Resource {
            name: name.clone(),
            digest: digest.clone(),
            algorithm: "sha256".into(),
        };
        let wire = Wire {
            r#type: TYPE.into(),
            subject: vec![Subject {
                name: self.name.clone(),
                digest: RootDigest { sha256: root(self.digests.values())? },
            }],
            predicate_type: PREDICATE_TYPE.into(),
            predicate: Predicate {
                serialization: Serialization {
                    method: "files".into(),
                    hash_type: "sha256".into(),
                    allow_symlinks: false,
                    ignore_paths: vec![SIGNATURE_FILE.into()],
                },
                resources: self.digests.iter().map(resource).collect(),
            },
        };
        serde_json::to_vec(&wire).map_err(|e| Error::model("its statement cannot be written").caused_by(e))
    }

    /// Compares the signed files with those found; `place` is the bundle's.
    ///
    /// # Errors
    /// The first file that was not signed, is missing, or differs.
    pub fn ensure_covers(&self, place: &str, found: &Digests) -> Result<()> {
        let at = |e: Error, name: &str| {
            Err(e.at(format!("{place}/{name}")).remedy("copy the bundle again from where it was released"))
        };
        if let Some(name) = found.keys().find(|n| !self.digests.contains_key(*n)) {
            return Err(not_signed(place, name));
        }
        for (name, signed) in &self.digests {
            match found.get(name) {
                None => return at(Error::model("was signed and is missing"), name),
                Some(here) if here != signed => {
                    return at(
                        Error::model(format!("is not the file that was signed: SHA-256 {here}, signed {signed}")),
                        name,
                    );
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// The error of a file that no one signed.
pub(in crate::model) fn not_signed(place: &str, name: &str) -> Error {
    Error::model("is not among the signed files").at(format!("{place}/{name}")).remedy("take it out of the folder")
}

/// SHA-256 over the files' digests, one after the other.
fn root<'a>(digests: impl Iterator<Item = &'a String>) -> Result<String> {
    let mut all = Sha256::new();
    for digest in digests {
        let mut bytes = [0; 32];
        let lower = digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let pairs = digest.as_bytes().chunks(2);
        if digest.len() != 64 || !lower {
            return Err(malformed(format!("{digest:?} is not a SHA-256 in lower-case hexadecimal")));
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let nibble = |b: u8| if b.is_ascii_digit() { b - b'0' } else { b - b'a' + 10 };
            *byte = pair.iter().fold(0, |v, b| v << 4 | nibble(*b));
        }
        all.update(bytes);
    }
    Ok(crate::model::hex(&all.finalize()))
}
