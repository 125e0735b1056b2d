//! P-256 keys and signatures; the primitives are those of the crate `p256`.

use crate::error::{Error, Result};
use crate::model::sha256_hex;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{self, Signature};
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey, LineEnding};

/// A public key, with the name that signatures give it.
#[derive(Debug, Clone, PartialEq)]
pub struct PublicKey {
    key: ecdsa::VerifyingKey,
    pem: String,
    hint: String,
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in PEM.
    ///
    /// # Errors
    /// Anything else, a key of another curve or kind, or a point that is not on the curve.
    pub fn from_pem(text: &str) -> Result<Self> {
        let key = ecdsa::VerifyingKey::from_public_key_pem(text.trim()).map_err(|e| {
            Error::usage("is not a public P-256 key in PEM")
                .caused_by(e.to_string())
                .remedy("expected -----BEGIN PUBLIC KEY-----, as vaerr-train keygen and openssl pkey -pubout write it")
        })?;
        Self::of(key)
    }

    fn of(key: ecdsa::VerifyingKey) -> Result<Self> {
        let pem = key
            .to_public_key_pem(LineEnding::LF)
            .map_err(|e| Error::usage("the public key cannot be written").caused_by(e.to_string()))?;
        let hint = sha256_hex(pem.as_bytes());
        Ok(Self { key, pem, hint })
    }

    /// SubjectPublicKeyInfo in PEM, 64 columns, each line ended.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of [`PublicKey::pem`] in hexadecimal.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Whether `der` is this key's ECDSA signature, in DER, of `message`; zero or oversized numbers, or bytes left over, are not.
    pub(super) fn holds(&self, message: &[u8], der: &[u8]) -> bool {
        Signature::from_der(der).is_ok_and(|s| self.key.verify(message, &s).is_ok())
    }
}

/// A private key; wiped from memory when dropped.
pub struct SigningKey(ecdsa::SigningKey);

impl SigningKey {
    /// Reads a private key in PEM: PKCS#8 (`PRIVATE KEY`) or SEC1 (`EC PRIVATE KEY`, parameters before it left out).
    ///
    /// # Errors
    /// Anything else: an encrypted key, one of another curve or kind.
    pub fn from_pem(text: &str) -> Result<Self> {
        const SEC1: &str = "-----BEGIN EC PRIVATE KEY-----";
        let wrong = |e: String| {
            Error::usage("is not a private P-256 key in PEM")
                .caused_by(e)
                .remedy("expected PKCS#8 or SEC1 without a password, as vaerr-train keygen or openssl genpkey write it")
        };
        let secret = match text.find(SEC1).and_then(|at| text.get(at..)) {
            Some(block) => p256::SecretKey::from_sec1_pem(block.trim()).map_err(|e| wrong(e.to_string()))?,
            None => p256::SecretKey::from_pkcs8_pem(text.trim()).map_err(|e| wrong(e.to_string()))?,
        };
        Ok(Self(secret.into()))
    }

    /// The key that checks its signatures.
    ///
    /// # Errors
    /// If it cannot be written as PEM.
    pub fn public(&self) -> Result<PublicKey> {
        PublicKey::of(*self.0.verifying_key())
    }

    /// ECDSA with SHA-256 and the nonce of RFC 6979, in DER.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let made: Signature =
            self.0.try_sign(message).map_err(|e| Error::usage("the key cannot sign").caused_by(e.to_string()))?;
        Ok(made.to_der().as_bytes().to_vec())
    }
}
