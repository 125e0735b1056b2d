//! Which bundle, whose signatures, and whether it may run: the same for every command that opens one.

use crate::error::{Error, Result};
use crate::model::admission::Verdict;
use crate::model::signature::Trust;
use crate::model::{Bundle, Head};
use std::io::ErrorKind;
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
        if stands(usual)? { Trust::load(usual).map(Some) } else { Ok(None) }
    }

    /// What is known of a bundle, by the configured keys and this machine's clock.
    fn judge(&self, head: &Head) -> Result<Verdict> {
        Ok(Verdict::of(head, self.load()?.as_ref(), SystemTime::now()))
    }
}

/// Whether there is anything at `path`, a link that leads nowhere counted in: taking that for no file would switch trust off.
fn stands(path: &Path) -> Result<bool> {
    let missing = |e: &std::io::Error| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    for part in path.parent().into_iter().chain([path]) {
        match part.symlink_metadata() {
            Err(e) if missing(&e) => return Ok(false),
            Err(e) => return Err(Error::io("cannot be read").at(part.display()).caused_by(e)),
            Ok(found) if found.is_symlink() && part.metadata().is_err() => {
                return Err(Error::usage("is a link that leads nowhere")
                    .at(part.display())
                    .remedy("mend the link; or remove it if no trust file is wanted"));
            }
            Ok(_) => {}
        }
    }
    Ok(true)
}

/// The bundle that a command runs.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ModelArgs {
    /// Folder of a model bundle; the shipped one if not given.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Run no model but the one of this name, as its manifest has it.
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
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
        let head = open(self.model.as_deref())?;
        if let Some(name) = &self.model_name {
            ensure_named(&head, name)?;
        }
        admit(head, &self.trust, self.allow_unverified)
    }
}

fn ensure_named(head: &Head, wanted: &str) -> Result<()> {
    let name = &head.manifest().name;
    if name == wanted {
        return Ok(());
    }
    Err(Error::usage(format!("is the model {name:?}, --model-name asks for {wanted:?}"))
        .at(head.place())
        .remedy("name that model's folder with --model, or the model that is to run with --model-name"))
}

/// Opens a bundle so far that it can be judged.
pub(super) fn open(dir: Option<&Path>) -> Result<Head> {
    dir.map_or_else(Head::shipped, Head::read)
}

/// Lets a bundle run or not; its files are read only if it may.
pub(super) fn admit(head: Head, trust: &TrustArgs, allow_unverified: bool) -> Result<Admitted> {
    let unverified = trust.judge(&head)?.admit(allow_unverified)?;
    let bundle = head.load()?;
    if let Some(why) = &unverified {
        eprintln!("vaerr: warning: model {} runs unverified: {why}", bundle.manifest().name);
    }
    Ok(Admitted { bundle, unverified })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_trust_file_is_missed_only_where_nothing_stands_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert!(!stands(&at("trust.toml")).unwrap() && !stands(&at("vaerr/trust.toml")).unwrap());
        std::fs::write(at("real.toml"), "").unwrap();
        symlink("real.toml", at("good.toml")).unwrap();
        assert!(stands(&at("real.toml")).unwrap() && stands(&at("good.toml")).unwrap());
        symlink("nowhere", at("dangling")).unwrap();
        for path in ["dangling", "dangling/trust.toml"] {
            let e = stands(&at(path)).unwrap_err().to_string();
            assert!(e.contains("dangling: is a link that leads nowhere (mend the link"), "{e}");
        }
        assert!(!stands(&at("real.toml/trust.toml")).unwrap());
    }
}
