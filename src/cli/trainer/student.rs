//! `vaerr-train fit` and `export`: the student from stills and rendered clips; `crop-rule` and `roll`.

use super::print;
use crate::model::Format;
use crate::spec::Metrics;
use crate::train::card;
use crate::train::data::record::Split;
use crate::train::export::{self, Measured, Terms};
use crate::train::fit::{self, FitConfig, FitPaths};
use crate::train::roll::{self, RollConfig};
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

#[derive(clap::Args)]
pub(super) struct Fit {
    /// FER+ training split: folder or zip in the FERPlus layout.
    #[arg(long)]
    train: PathBuf,
    /// Folder for checkpoints and metrics.jsonl.
    #[arg(long)]
    run: PathBuf,
    /// Continue the run from its last whole epoch.
    #[arg(long)]
    resume: bool,
    /// Start from the best network of this finished run (same size and seed), instead of from scratch.
    #[arg(long, conflicts_with = "resume")]
    start_from: Option<PathBuf>,
    /// pico, nano or small.
    #[arg(long, default_value_t = FitConfig::default().size)]
    size: String,
    #[arg(long, default_value_t = FitConfig::default().epochs)]
    epochs: usize,
    #[arg(long, default_value_t = FitConfig::default().seed)]
    seed: u64,
    /// Peak learning rate.
    #[arg(long, default_value_t = FitConfig::default().learning_rate)]
    learning_rate: f64,
    /// Use at most this many training pictures; 0 for all.
    #[arg(long, default_value_t = 0)]
    limit: usize,
}

impl Fit {
    pub(super) fn run(self, stop: &AtomicBool) -> Result<()> {
        let Self { train, run, resume, start_from, size, epochs, seed, learning_rate, limit } = self;
        let config = FitConfig { size, epochs, seed, learning_rate, limit, ..FitConfig::default() };
        let done = fit::fit(&config, &FitPaths { train, run, start_from }, resume, stop)?;
        print(&format!("best epoch {} of {}: held-out mean CCC {:.4}\n", done.best_epoch, done.epochs, done.best_ccc))
    }
}

#[derive(clap::Args)]
pub(super) struct CropRule {
    /// FER+ training split: folder or zip.
    #[arg(long)]
    train: PathBuf,
    /// Pictures shown to the detector, drawn at random by --seed.
    #[arg(long, default_value_t = 800)]
    pictures: usize,
    #[arg(long, default_value_t = FitConfig::default().seed)]
    seed: u64,
}

impl CropRule {
    pub(super) fn run(&self) -> Result<()> {
        let fit = fit::crop_rule(&self.train, self.pictures, self.seed)?;
        let r = fit.rule;
        print(&format!(
            "margin {} shift_x {} shift_y {}\n\
             a face found in {} of {} pictures; interquartile range {:.3} of the crop's side, {:.3} and {:.3} of its place\n",
            r.margin, r.shift_x, r.shift_y, fit.found, fit.pictures, fit.iqr_side, fit.iqr_x, fit.iqr_y
        ))
    }
}

#[derive(clap::Args)]
pub(super) struct Roll {
    /// FER+ training split: folder or zip.
    #[arg(long)]
    train: PathBuf,
    /// FER+ validation split: folder or zip.
    #[arg(long)]
    valid: PathBuf,
    /// Folder for weights.bin and card.md, which are replaced.
    #[arg(long)]
    out: PathBuf,
    #[arg(long, default_value_t = RollConfig::default().seed)]
    seed: u64,
}

impl Roll {
    pub(super) fn run(&self) -> Result<()> {
        let config = RollConfig { seed: self.seed, ..RollConfig::default() };
        print(&roll::roll(&config, &self.train, &self.valid, &self.out)?.to_string())
    }
}

#[derive(clap::Args)]
pub(super) struct Export {
    /// The run's folder.
    #[arg(long)]
    run: PathBuf,
    /// Measure the students on this FER+ validation split, folder or zip.
    #[arg(long, value_name = "SPLIT", required_unless_present = "data", conflicts_with = "data")]
    valid: Option<PathBuf>,
    /// Measure them on these shards instead.
    #[arg(long, value_name = "SHARDS")]
    data: Option<PathBuf>,
    /// Split of the shards.
    #[arg(long, value_enum, default_value = "valid")]
    split: Split,
    /// What the bundle may be used for, for the manifest and the card; known for a run of `fit`.
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// The bundle's folder, which must not exist.
    #[arg(long)]
    out: PathBuf,
    /// Version of the bundle, larger than that of any released before under its name.
    #[arg(long, default_value_t = 1)]
    bundle_version: u32,
    /// Further formats of the int8 student, beside the two ONNX files: onnx-qlinear, tflite, packed.
    #[arg(long, value_delimiter = ',', default_value = "tflite")]
    formats: Vec<Format>,
}

impl Export {
    pub(super) fn run(&self) -> Result<()> {
        let measured = match (&self.valid, &self.data) {
            (Some(split), _) => Measured::Stills(split.clone()),
            (None, Some(shards)) => Measured::Shards(shards.clone(), self.split),
            (None, None) => return Err(Error::usage("--valid or --data is needed")),
        };
        let terms = Terms { version: self.bundle_version, formats: &self.formats, licence: self.licence.as_deref() };
        let made = export::export(&self.run, &measured, &self.out, &terms)?;
        print(&table(&made.metrics))?;
        let out = self.out.display();
        eprintln!(
            "vaerr-train: {out} has no certificate yet: `vaerr run --model {out} --allow-unverified` runs it, marked as unverified in every \
             output; `vaerr-train verify` certifies it against a full model"
        );
        Ok(())
    }
}

fn table(measured: &Metrics) -> String {
    let mut text = format!(
        "{}\n{:7} {:>17} {:>17} {:>17} {:>17} {:>6}\n{:7}",
        measured.split, "student", "CCC", "bias", "gain", "80 % interval", "ECE", ""
    );
    text += &" arousal  valence ".repeat(4);
    for (name, m) in [("fp32", &measured.fp32), ("int8", &measured.int8)] {
        text += &format!(
            "\n{name:7} {:8.4} {:8.4} {:+8.4} {:+8.4} {:8.3} {:8.3} {:8.3} {:8.3} {:6.4}",
            m.ccc_arousal,
            m.ccc_valence,
            m.bias_arousal,
            m.bias_valence,
            m.gain_arousal,
            m.gain_valence,
            m.coverage_arousal,
            m.coverage_valence,
            m.ece
        );
    }
    text + "\n"
}

#[derive(clap::Args)]
pub(super) struct Card {
    /// Folder of the bundle, with the certificate.json that `verify` wrote there.
    bundle: PathBuf,
    /// The new bundle's folder, which must not exist.
    #[arg(long)]
    out: PathBuf,
}

impl Card {
    pub(super) fn run(&self) -> Result<()> {
        let certificate = card::certified(&self.bundle, &self.out)?;
        let sets = certificate.sets.len();
        print(&format!("{}: certificate {}, {sets} sets\n", self.out.display(), certificate.verdict.name()))
    }
}
