//! `vaerr-train datasets`.

use super::{print, print_json};
use crate::train::data::record::Loaded;
use crate::train::data::sets::{DATASETS, Dataset, Heard, Options};
use crate::train::data::split::Shares;
use crate::train::data::summary::Summary;
use crate::{Error, Result};
use clap::Subcommand;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(super) enum Datasets {
    /// Say which sets can be read, how to get them and what their terms are.
    List,
    /// Read a set's annotations: counts, ranges, and every file left out and why.
    Check {
        /// As `datasets list` names it.
        name: String,
        /// Folder of the set as it was handed out.
        folder: PathBuf,
        #[command(flatten)]
        set: SetArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// How a data set is read.
#[derive(clap::Args)]
pub(super) struct SetArgs {
    /// Leave malformed files out instead of stopping.
    #[arg(long)]
    skip_bad: bool,
    /// Seed of the split by people, for sets without an official one.
    #[arg(long, default_value_t = 0)]
    split_seed: u64,
    /// Share of people held out for validation, in the same case.
    #[arg(long, default_value_t = Shares::default().valid)]
    valid_share: f64,
    /// Share of people held out for tests, in the same case.
    #[arg(long, default_value_t = Shares::default().test)]
    test_share: f64,
    /// SEWA: annotations made from the sound, the video, or both.
    #[arg(long, value_enum, default_value = "video")]
    heard: Heard,
    /// SEWA, RECOLA: annotators whose mean is the target; all if not given.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    annotators: Vec<String>,
    /// AVEC 2016: development is the test set, and validation people come from training.
    #[arg(long)]
    dev_is_test: bool,
}

impl SetArgs {
    pub(super) fn open(&self, name: &str, folder: &Path) -> Result<Loaded> {
        let shares = Shares { valid: self.valid_share, test: self.test_share };
        if !(shares.valid >= 0.0 && shares.test >= 0.0 && shares.valid + shares.test < 1.0) {
            return Err(Error::usage(
                "--valid-share and --test-share must not be negative and leave people for training",
            ));
        }
        let options = Options {
            seed: self.split_seed,
            shares,
            heard: self.heard,
            annotators: self.annotators.clone(),
            dev_is_test: self.dev_is_test,
        };
        Dataset::named(name)?.open(folder, &options)?.accept(folder, self.skip_bad)
    }
}

pub(super) fn run(command: &Datasets) -> Result<()> {
    match command {
        Datasets::List => {
            let one = |d: &&Dataset| {
                format!(
                    "{}: {}\n    get: {}\n    terms: {}\n    layout: {}\n",
                    d.name, d.about, d.get, d.licence, d.layout
                )
            };
            print(&DATASETS.iter().map(one).collect::<String>())
        }
        Datasets::Check { name, folder, set, json } => {
            let summary = Summary::of(&set.open(name, folder)?);
            if *json { print_json(&summary) } else { print(&summary.markdown()) }
        }
    }
}
