//! `vaerr-train keygen` and `sign`.

use super::print;
use crate::Result;
use crate::train::sign;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Keygen {
    /// File for the private key, which must not exist; the public one goes beside it, with .pub at the end.
    key: PathBuf,
    /// What trust files are to call it; the file's name without its ending if not given.
    #[arg(long)]
    name: Option<String>,
}

impl Keygen {
    pub(super) fn run(&self) -> Result<()> {
        let made = sign::generate(&self.key)?;
        let stem = || self.key.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        let entry = made.trust_entry(self.name.clone().unwrap_or_else(stem))?;
        // Standard output alone is a trust file.
        eprintln!(
            "vaerr-train: private key {}, readable by you alone; public key {}; the trust file of the machines that are to run what it \
             signs:",
            self.key.display(),
            made.public_path.display()
        );
        print(&entry)
    }
}

#[derive(clap::Args)]
pub(super) struct Sign {
    /// File of the private key: P-256, PKCS#8 or SEC1 in PEM, without a password.
    #[arg(long)]
    key: PathBuf,
    /// Folder of the bundle; model.sig is written there, or replaced.
    bundle: PathBuf,
}

impl Sign {
    pub(super) fn run(&self) -> Result<()> {
        let done = sign::sign(&self.bundle, &self.key)?;
        if !done.certified {
            log::warn!(
                "{}: has no certificate, so `vaerr run` refuses it; verify it and sign it again",
                self.bundle.display()
            );
        }
        print(&format!(
            "{} version {}: {} files signed by the key {}\n",
            done.name, done.version, done.files, done.hint
        ))
    }
}
