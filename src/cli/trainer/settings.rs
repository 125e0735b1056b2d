//! What commands with many settings share.

use crate::Result;
use crate::train::run::config;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;

/// Settings from a file and from the command line.
#[derive(clap::Args)]
pub(super) struct Settings {
    /// TOML file of settings; what it leaves out has its default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change a setting, over the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print every setting as TOML and stop.
    #[arg(long)]
    pub print_config: bool,
}

impl Settings {
    /// `base`, the file over it, the changes over both, then those of the command's own options.
    pub fn over<C: Serialize + DeserializeOwned>(&self, base: &C, own: &[String]) -> Result<C> {
        config::read(base, self.config.as_deref(), &[&self.set, own].concat())
    }
}
