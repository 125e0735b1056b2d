//! Whether a bundle may run: signature, version and certificate, weighed in one place.
//!
//! It is judged by its [`Head`], before its files are read; what they are held against, the manifest's digests, is part of it. Everything
//! that runs a bundle asks [`Verdict::of`].

use super::Head;
use super::signature::{self, Statement, Trust};
use crate::error::{Error, Result};
use crate::spec::Certificate;
use std::time::SystemTime;

/// What one check found.
#[derive(Debug)]
pub enum Finding {
    /// It held; what exactly.
    Held(String),
    /// Nobody asked for it; why.
    NotAsked(String),
    /// It failed; the bundle does not run.
    Failed(Error),
}

/// All findings on one bundle.
#[derive(Debug)]
pub struct Verdict {
    place: String,
    findings: Vec<(&'static str, Finding)>,
}

impl Verdict {
    /// Checks a bundle. `trust`: the keys to check its signature with, if any are configured; `now`: the machine's clock.
    ///
    /// The embedded bundle came with the program, so it needs no signature; its certificate must hold as any other, and so must
    /// the least version.
    pub fn of(bundle: &Head, trust: Option<&Trust>, now: SystemTime) -> Self {
        let mut findings = vec![("signature", signature(bundle, trust, now))];
        findings.extend(trust.map(|t| ("version", version(bundle, t))));
        findings.push(("certificate", certificate(bundle)));
        Self { place: bundle.place().to_owned(), findings }
    }

    /// What was checked, and what came of it, in order.
    pub fn findings(&self) -> &[(&'static str, Finding)] {
        &self.findings
    }

    /// Why the bundle counts as unverified, if it does.
    pub fn unverified(&self) -> Option<String> {
        let reason = |(check, finding): &(&str, Finding)| match finding {
            Finding::Held(_) | Finding::NotAsked(_) => None,
            Finding::Failed(e) => Some(format!("{check}: {e}")),
        };
        let reasons: Vec<String> = self.findings.iter().filter_map(reason).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Lets the bundle run or not: gives why it counts as unverified, if it does.
    ///
    /// # Errors
    /// The first check that failed, unless `allow_unverified`.
    pub fn admit(self, allow_unverified: bool) -> Result<Option<String>> {
        let unverified = self.unverified();
        let failed = self.findings.into_iter().find_map(|(_, f)| match f {
            Finding::Failed(e) => Some(e),
            _ => None,
        });
        match failed {
            Some(e) if !allow_unverified => Err(Error::new(e.kind(), "is refused")
                .at(self.place)
                .caused_by(e)
                .remedy("--allow-unverified runs it all the same and marks every output")),
            _ => Ok(unverified),
        }
    }
}

fn signature(bundle: &Head, trust: Option<&Trust>, now: SystemTime) -> Finding {
    match (trust, bundle.signature()) {
        (None, None) => Finding::NotAsked("none, and no trust file asks for one".into()),
        (None, Some(_)) => Finding::NotAsked("there, but no trust file names keys to check it with".into()),
        (Some(_), None) if bundle.is_embedded() => Finding::NotAsked("none; the bundle came with the program".into()),
        (Some(trust), None) => Finding::Failed(
            Error::model(format!("is not signed, and {} asks for a signature", trust.place()))
                .at(bundle.place())
                .remedy("have it signed by a trusted key: vaerr-train sign"),
        ),
        (Some(trust), Some(file)) => match signed_by(bundle, file, trust, now) {
            Ok(key) => Finding::Held(format!("by the key {key:?}, over every file")),
            Err(e) => Finding::Failed(e),
        },
    }
}

fn signed_by(bundle: &Head, file: &[u8], trust: &Trust, now: SystemTime) -> Result<String> {
    let signed = signature::verify(file, trust, now).map_err(|e| e.at(format!("{}/model.sig", bundle.place())))?;
    ensure_covered(bundle, &signed.statement)?;
    // The manifest's name is now known to be what was signed.
    signed.key.ensure_may_sign(&bundle.manifest().name).map_err(|e| e.at(bundle.place()))?;
    Ok(signed.key.name)
}

/// Holds a bundle's files against a statement.
///
/// # Errors
/// The first file that was not signed, is missing, differs, or is no plain file.
pub fn ensure_covered(bundle: &Head, statement: &Statement) -> Result<()> {
    // Before any is read, for they can be of any size.
    if let Some(name) = bundle.others().iter().find(|n| !statement.digests().contains_key(*n)) {
        return Err(signature::not_signed(bundle.place(), name));
    }
    statement.ensure_covers(bundle.place(), &bundle.digests()?)
}

fn version(bundle: &Head, trust: &Trust) -> Finding {
    let (have, name) = (bundle.manifest().version, &bundle.manifest().name);
    match trust.minimum_version(name) {
        None => Finding::NotAsked(format!("{have}; {} names no least version of {name}", trust.place())),
        Some(least) if have >= least => Finding::Held(format!("{have}, at least {least} asked for")),
        Some(least) => Finding::Failed(
            Error::model(format!("version {have} of {name} is too old: {} asks for {least} or newer", trust.place()))
                .at(bundle.place())
                .remedy("install the newer bundle"),
        ),
    }
}

fn certificate(bundle: &Head) -> Finding {
    match bundle.certificate() {
        None => Finding::Failed(
            Error::model("has no certificate")
                .at(bundle.place())
                .remedy("`vaerr-train verify` writes certificate.json beside the manifest"),
        ),
        Some(bytes) => match certified(bundle, bytes) {
            Ok(what) => Finding::Held(what),
            Err(e) => Finding::Failed(e),
        },
    }
}

fn certified(bundle: &Head, bytes: &[u8]) -> Result<String> {
    let at = format!("{}/{}", bundle.place(), Certificate::FILE);
    let certificate = Certificate::parse(bytes).map_err(|e| e.at(&at))?;
    certificate.ensure_for(bundle.manifest()).map_err(|e| e.at(&at))?;
    let relaxed = certificate.protocol.limits.relaxed();
    let but = if relaxed.is_empty() { String::new() } else { format!("; limits relaxed: {}", relaxed.join(", ")) };
    Ok(format!("it is of these graphs, and all of its {} gates hold{but}", certificate.gates.len()))
}
