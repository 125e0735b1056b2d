//! Keys for bundles, and signing with them. The format is [`crate::model::signature`]'s.

use crate::error::{Error, Result};
use crate::model::Bundle;
use crate::model::admission::ensure_covered;
use crate::model::signature::{self, PublicKey, SigningKey, Statement, Trust};
use crate::spec::{Certificate, Manifest, TRUST_FORMAT, TrustFile, TrustedKey};
use p256::SecretKey;
use p256::elliptic_curve::rand_core::OsRng;
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A new pair of keys.
#[derive(Debug)]
pub struct Generated {
    pub public: PublicKey,
    /// Where the public key was written.
    pub public_path: PathBuf,
}

impl Generated {
    /// The key's entry in a trust file.
    ///
    /// # Errors
    /// If it cannot be written as TOML.
    pub fn trust_entry(&self, name: String) -> Result<String> {
        let pem = Some(self.public.pem().to_owned());
        let key = TrustedKey { name, pem, path: None, models: None, not_before: None, not_after: None, revoked: false };
        let file = TrustFile { format: TRUST_FORMAT, keys: vec![key], minimum_version: BTreeMap::new() };
        file.validate()?;
        toml::to_string(&file).map_err(|e| Error::usage("cannot be written as TOML").caused_by(e))
    }
}

/// Makes a P-256 key from the system's entropy. The private key is written as PKCS#8 in PEM with mode 0600, the public one
/// as SubjectPublicKeyInfo in PEM beside it.
///
/// # Errors
/// If one of the files exists or cannot be written; a private key without its public one is then taken away again.
pub fn generate(path: &Path) -> Result<Generated> {
    let public_path = with_ending(path, ".pub");
    if public_path.exists() {
        return Err(exists(&public_path));
    }
    let secret = SecretKey::random(&mut OsRng);
    let text = secret
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|e| Error::usage("the private key cannot be written").caused_by(e.to_string()))?;
    let public = SigningKey::from_pem(&text)?.public()?;
    write_new(path, text.as_bytes(), 0o600)?;
    if let Err(e) = write_new(&public_path, public.pem().as_bytes(), 0o644) {
        // It has been named nowhere yet.
        let _ = std::fs::remove_file(path);
        return Err(e);
    }
    Ok(Generated { public, public_path })
}

fn exists(path: &Path) -> Error {
    Error::usage("exists already")
        .at(path.display())
        .remedy("name another file: a key that is lost cannot be made again")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Writes a file that must not exist and is never seen with another mode.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let fail = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        _ => Error::io("cannot be written").at(path.display()).caused_by(e),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)
}

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The bundle's name, which is also the statement's subject.
    pub name: String,
    pub version: u32,
    pub files: usize,
    /// The key, as the signature names it.
    pub hint: String,
    pub certified: bool,
}

/// Signs a bundle: `model.sig` covers every other file of its folder, and is checked before it takes its place.
///
/// # Errors
/// A damaged bundle, a file in its folder that belongs to no bundle, a certificate that fails, or a key that cannot be read.
pub fn sign(dir: &Path, key_path: &Path) -> Result<Signed> {
    let key_text = std::fs::read_to_string(key_path)
        .map_err(|e| Error::usage("cannot be read").at(key_path.display()).caused_by(e))?;
    let key = SigningKey::from_pem(&key_text).map_err(|e| e.at(key_path.display()))?;
    let bundle = Bundle::load(dir)?;
    if let Some(name) = bundle.others().first() {
        return Err(Error::usage("belongs to no bundle and is not signed with it")
            .at(dir.join(name).display())
            .remedy("take it out of the folder"));
    }
    let certificate = bundle.certificate().map(Certificate::parse).transpose();
    certificate
        .and_then(|c| c.map_or(Ok(()), |c| c.ensure_for(bundle.manifest())))
        .map_err(|e| e.at(dir.join(Certificate::FILE).display()))?;
    let Manifest { name, version, .. } = bundle.manifest();
    let statement = Statement::new(name, bundle.digests()?)?;
    let file = signature::sign(&statement, &key)?;
    let public = key.public()?;
    ensure_holds(&bundle, &file, &public)?;
    replace(dir, &file)?;
    Ok(Signed {
        name: name.clone(),
        version: *version,
        files: statement.digests().len(),
        hint: public.hint().to_owned(),
        certified: bundle.certificate().is_some(),
    })
}

/// Checks a signature as a machine that trusts the key would.
fn ensure_holds(bundle: &Bundle, file: &[u8], public: &PublicKey) -> Result<()> {
    let trusting = Generated { public: public.clone(), public_path: PathBuf::new() }.trust_entry("signer".into())?;
    let trust =
        Trust::parse("the signer's own key", &trusting, |path| Err(Error::usage("is not read").at(path.display())))?;
    ensure_covered(bundle, &signature::verify(file, &trust, SystemTime::UNIX_EPOCH)?.statement)
}

/// Writes `model.sig` beside the folder and renames it, so that no half signature is seen and nothing else is left in the folder.
fn replace(dir: &Path, bytes: &[u8]) -> Result<()> {
    let path = dir.join("model.sig");
    let fail = |e: std::io::Error| Error::io("cannot be written").at(path.display()).caused_by(e);
    let part = with_ending(&dir.canonicalize().map_err(fail)?, ".sig.part");
    let mut file = File::create(&part).map_err(fail)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&part, &path));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&part);
        fail(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn shipped_copy(dir: &Path) -> PathBuf {
        let to = dir.join("bundle");
        std::fs::create_dir(&to).unwrap();
        for name in ["manifest.toml", "student.onnx", "student-int8.onnx", "card.md"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/vaerr-nano").join(name);
            std::fs::copy(from, to.join(name)).unwrap();
        }
        to
    }

    #[test]
    fn a_new_key_is_private_never_overwritten_and_signs_what_its_trust_entry_accepts() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("dev.key");
        let made = generate(&key).unwrap();
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(dir.path().join("dev.key.pub")).unwrap(), made.public.pem());
        let kept = std::fs::read(&key).unwrap();
        assert!(generate(&key).unwrap_err().to_string().contains("exists already"));
        std::fs::remove_file(dir.path().join("dev.key.pub")).unwrap();
        assert!(generate(&key).unwrap_err().to_string().contains("exists already"));
        assert_eq!(std::fs::read(&key).unwrap(), kept);
        assert!(!dir.path().join("dev.key.pub").exists(), "no public key of another private one");

        let bundle = shipped_copy(dir.path());
        let done = sign(&bundle, &key).unwrap();
        assert_eq!((done.files, done.hint.as_str(), done.certified), (4, made.public.hint(), false));
        let trust = Trust::parse("t", &made.trust_entry("dev".into()).unwrap(), |_| unreachable!()).unwrap();
        let file = std::fs::read(bundle.join("model.sig")).unwrap();
        let signed = signature::verify(&file, &trust, SystemTime::now()).unwrap();
        assert_eq!((signed.key.name.as_str(), signed.statement.name()), ("dev", "vaerr-nano"));
        sign(&bundle, &key).unwrap();
        assert_eq!(std::fs::read(bundle.join("model.sig")).unwrap(), file);
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn two_keys_differ() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|n| generate(&dir.path().join(n)).unwrap().public);
        assert_ne!(a, b);
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_not_signed() {
        let dir = tempfile::tempdir().unwrap();
        let (bundle, key) = (shipped_copy(dir.path()), dir.path().join("k"));
        generate(&key).unwrap();
        std::fs::write(bundle.join("notes.txt"), "x").unwrap();
        let e = sign(&bundle, &key).unwrap_err().to_string();
        assert!(e.contains("notes.txt: belongs to no bundle"), "{e}");
        std::fs::remove_file(bundle.join("notes.txt")).unwrap();
        std::fs::write(bundle.join("certificate.json"), "{}").unwrap();
        assert!(sign(&bundle, &key).unwrap_err().to_string().contains("certificate.json"));
        assert!(!bundle.join("model.sig").exists());
    }
}
