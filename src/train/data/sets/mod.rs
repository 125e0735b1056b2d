//! The annotated data sets of the field, videos and one of stills. A new one is one file here and one line in [`DATASETS`].
//!
//! None may be passed on, so none is in this project: a user signs its licence, and a loader reads the folder as
//! it was handed out. Every value ends as arousal and valence in [-1, 1] ([`Affect`](crate::render::Affect)).

mod afew_va;
mod affwild2;
mod avec;
mod ferplus;
pub(crate) mod files;
mod msp_face;
pub(crate) mod npz;
mod omg;
mod recola;
mod series;
mod sewa;

use super::record::Loaded;
use super::split::Shares;
use crate::error::{Error, Result};
use std::path::Path;

/// What the annotators of SEWA saw and heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Heard {
    /// Sound alone (`A`).
    Audio,
    /// Video alone (`V`), as a system that only sees does.
    #[default]
    Video,
    /// Both (`AV`).
    Both,
}

/// Choices where a set leaves one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Of the split by people, for sets without an official one.
    pub seed: u64,
    /// Of the same split.
    pub shares: Shares,
    /// Which of SEWA's annotations.
    pub heard: Heard,
    /// Annotators whose mean is the target (SEWA, RECOLA); all if empty.
    pub annotators: Vec<String>,
    /// AVEC 2016 alone: make its development part the test set and take validation people from the training part.
    pub dev_is_test: bool,
}

/// A data set that can be read.
pub struct Dataset {
    /// As on the command line.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// How a user gets it.
    pub get: &'static str,
    /// What its terms mean for a model.
    pub licence: &'static str,
    /// The tree below the folder that is given.
    pub layout: &'static str,
    opener: fn(&Path, &Options) -> Result<Loaded>,
}

/// All of them.
pub const DATASETS: [&Dataset; 11] = [
    &sewa::RAW,
    &sewa::VAERR,
    &avec::AVEC2019,
    &avec::AVEC2017,
    &recola::ORIGINAL,
    &recola::AVEC2016,
    &affwild2::DATASET,
    &msp_face::DATASET,
    &afew_va::DATASET,
    &omg::DATASET,
    &ferplus::DATASET,
];

impl Dataset {
    /// The set called `name`.
    ///
    /// # Errors
    /// Names the sets there are.
    pub fn named(name: &str) -> Result<&'static Self> {
        DATASETS.into_iter().find(|d| d.name == name).ok_or_else(|| {
            let names: Vec<&str> = DATASETS.iter().map(|d| d.name).collect();
            Error::usage(format!("no data set is called {name}")).remedy(format!("data sets: {}", names.join(", ")))
        })
    }

    /// Reads every annotation below `root`; malformed files are in the report.
    ///
    /// # Errors
    /// If `root` is not a folder in this set's layout.
    pub fn open(&self, root: &Path, options: &Options) -> Result<Loaded> {
        let remedy = || format!("expected {}", self.layout);
        if !root.is_dir() {
            return Err(Error::input("is not a folder").at(root.display()).remedy(remedy()));
        }
        let loaded = (self.opener)(root, options)?.settle();
        if loaded.recordings.is_empty() && loaded.report.bad.is_empty() && loaded.report.left_out.is_empty() {
            return Err(Error::input(format!("holds nothing of {}", self.name)).at(root.display()).remedy(remedy()));
        }
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests;
