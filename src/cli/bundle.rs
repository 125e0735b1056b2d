//! Which bundle, whose signatures, and whether it may run: the same for every command that opens one.

use crate::error::{Error, Result};
use crate::model::Bundle;
use crate::model::admission::Verdict;
use crate::model::signature::Trust;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Read where neither `--trust` nor the environment names a file.
const TRUST_FILE: &str = "/etc/vaerr/trust.toml";
/// The environment's name for a trust file; empty counts as not there.
const TRUST_VARIABLE: &str = "VAERR_TRUST";

/// Where trusted keys stand.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct TrustArgs {
    /// File of trusted keys, one of which must have signed the bundle; else the environment's VAERR_TRUST names it, else
    /// it is /etc/vaerr/trust.toml, if there is one.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
}

impl TrustArgs {
    /// The trusted keys, if any are configured.
    pub(super) fn load(&self) -> Result<Option<Trust>> {
        let named = std::env::var_os(TRUST_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(path) = self.trust.clone().or(named) {
            return Trust::load(&path).map(Some);
        }
        let usual = Path::new(TRUST_FILE);
        match usual.try_exists() {
            Ok(false) => Ok(None),
            Ok(true) => Trust::load(usual).map(Some),
            Err(e) => Err(Error::io("cannot be read").at(TRUST_FILE).caused_by(e)),
        }
    }

    /// What is known of a bundle, by the configured keys and this machine's clock.
    pub(super) fn judge(&self, bundle: &Bundle) -> Result<Verdict> {
        Ok(Verdict::of(bundle, self.load()?.as_ref(), SystemTime::now()))
    }
}

/// The bundle that a command runs.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ModelArgs {
    /// Folder of a model bundle; the shipped one if not given.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Run a bundle though its signature, version or certificate fails; every output says so.
    #[arg(long)]
    allow_unverified: bool,
}

/// A bundle that may run.
pub(super) struct Admitted {
    pub bundle: Bundle,
    /// Why it counts as unverified, if it does; the user has been told.
    pub unverified: Option<String>,
}

impl ModelArgs {
    /// Opens the bundle if it may run, and warns if it runs unverified.
    pub(super) fn open(&self) -> Result<Admitted> {
        admit(open(self.model.as_deref())?, &self.trust, self.allow_unverified)
    }
}

/// Opens a bundle; its digests hold, nothing more is known.
pub(super) fn open(dir: Option<&Path>) -> Result<Bundle> {
    dir.map_or_else(Bundle::shipped, Bundle::load)
}

/// Lets a bundle run or not.
pub(super) fn admit(bundle: Bundle, trust: &TrustArgs, allow_unverified: bool) -> Result<Admitted> {
    let unverified = trust.judge(&bundle)?.admit(allow_unverified)?;
    if let Some(why) = &unverified {
        eprintln!("vaerr: warning: model {} runs unverified: {why}", bundle.manifest().name);
    }
    Ok(Admitted { bundle, unverified })
}
