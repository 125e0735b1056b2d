//! `model.sig`: a bundle's signature in the OpenSSF model-signing format, version 1.0, by a P-256 key.
//!
//! A Sigstore bundle holds a DSSE envelope, which holds an in-toto statement, which names every file of the folder with its
//! SHA-256. What is signed are the statement's bytes (ECDSA with SHA-256 over DSSE's pre-authentication encoding); the public
//! tool `model_signing` reads and writes the same.

mod access;
mod envelope;
mod key;
mod statement;
mod trust;

pub use key::{PublicKey, SigningKey};
pub use statement::{Digests, Statement};
pub use trust::Trust;

pub(super) use statement::not_signed;

use crate::error::{Error, Result};
use crate::spec::TrustedKey;
use std::time::SystemTime;

/// No signature is larger; the statement of a bundle takes about 2 KiB.
pub const MOST_BYTES: u64 = 1 << 20;

/// A statement whose signature holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// The trusted key's entry.
    pub key: TrustedKey,
    /// What was signed.
    pub statement: Statement,
}

/// Checks a signature: its form, that a trusted key made it, and that this key is good at `now`. Whether the files are those
/// of the statement is for [`Statement::ensure_covers`], whether the key may sign this bundle for
/// [`TrustedKey::ensure_may_sign`].
///
/// # Errors
/// A malformed signature, an unknown key, one that did not make the signature, or one that is revoked, expired or not valid yet.
pub fn verify(file: &[u8], trust: &Trust, now: SystemTime) -> Result<Signed> {
    let envelope = envelope::read(file)?;
    let key = trust.key(&envelope.hint)?;
    if !key.public.holds(&envelope::pae(&envelope.payload), &envelope.signature) {
        return Err(Error::model(format!("does not hold: the key {:?} did not sign this statement", key.entry.name))
            .remedy("copy the bundle again from where it was released"));
    }
    key.entry.ensure_good_at(now)?;
    Ok(Signed { key: key.entry.clone(), statement: Statement::read(&envelope.payload)? })
}

/// The bytes of `model.sig` for a statement; the same key and statement always give the same (RFC 6979).
///
/// # Errors
/// If the key cannot sign, which no valid key does.
pub fn sign(statement: &Statement, key: &SigningKey) -> Result<Vec<u8>> {
    let payload = statement.write()?;
    let signature = key.sign(&envelope::pae(&payload))?;
    envelope::write(&payload, &signature, key.public()?.hint())
}

#[cfg(test)]
mod tests;
