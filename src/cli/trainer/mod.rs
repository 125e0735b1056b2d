//! The command line of `vaerr-train`; one file a subcommand, or a few that belong together.

mod ablate;
mod datasets;
mod detector;
mod import;
mod lag;
mod prepare;
mod quantize;
mod render;
mod score;
mod settings;
mod shards;
mod sign;
mod student;
mod training;
mod verify;

use super::{Outcome, print_text as print};
use crate::{Error, Result};
use clap::Parser;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Trains, quantises and exports students for `vaerr`.
#[derive(Parser)]
#[command(name = "vaerr-train", version, max_term_width = 100)]
enum Command {
    /// Train a student from scratch on FER+ and rendered clips.
    Fit(student::Fit),
    /// Measure the crop rule of a split: how a detector's box must be enlarged and moved to give the split's framing.
    CropRule(student::CropRule),
    /// Train the estimator of head roll and measure it; writes weights.bin and card.md.
    Roll(student::Roll),
    /// Fold a run's best network, calibrate it and make it int8.
    Quantize(Box<quantize::Quantize>),
    /// Measure a quantised run and write its model bundle.
    Export(student::Export),
    /// Write a verified bundle once more, with the figures of its certificate in its card.
    Card(student::Card),
    /// Make a pair of keys to sign bundles with.
    Keygen(sign::Keygen),
    /// Sign a bundle, so that machines that trust the key can tell it from a changed one.
    Sign(sign::Sign),
    /// Render people with designed emotions as training data.
    Render(Box<render::RenderArgs>),
    /// Pre-train the full model's backbone on shards, without labels.
    Pretrain(training::Pretrain),
    /// Fine-tune the full model on labelled shards.
    Finetune(training::FineTune),
    /// Distil a fine-tuned full model into a small causal student.
    Distil(training::Distil),
    /// Train the network that finds faces, or measure one.
    #[command(subcommand)]
    Detector(detector::Detector),
    /// Read a split of shards with a fine-tuned full model.
    Predict(training::Predict),
    /// Compare pretext tasks, or losses, over several seeds.
    Ablate(ablate::Args),
    /// Make one of our checkpoints from the SS-VAERR authors' PyTorch weights.
    Import(import::ImportArgs),
    /// Annotated video data sets.
    #[command(subcommand)]
    Datasets(datasets::Datasets),
    /// Make shards of a data set or a folder of videos: find, level and cut out the face, put labels on the frames.
    Prepare(prepare::Args),
    /// Check or list shards.
    #[command(subcommand)]
    Shards(shards::Shards),
    /// Score predictions of any system against labels.
    Score(score::Args),
    /// Certify that a bundle's students keep what their teacher reads, on held-out shards: certificate.json and
    /// report.html; exit code 1 if a gate fails.
    Verify(Box<verify::Args>),
    /// Measure how late a bundle's students answer on designed steps.
    Lag(lag::Args),
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::io("cannot be written as JSON").caused_by(e))?;
    print(&(text + "\n"))
}

impl Command {
    /// Whether it comes to an orderly end when it is asked to stop; any other ends at once.
    fn stops(&self) -> bool {
        if let Self::Detector(args) = self {
            return args.stops();
        }
        !matches!(
            self,
            Self::CropRule(_)
                | Self::Roll(_)
                | Self::Export(_)
                | Self::Card(_)
                | Self::Keygen(_)
                | Self::Sign(_)
                | Self::Predict(_)
                | Self::Import(_)
                | Self::Datasets(_)
                | Self::Shards(_)
                | Self::Score(_)
        )
    }
}

/// The flag that Ctrl-C sets, with a word to whoever pressed it.
fn interruptible() -> Result<Arc<AtomicBool>> {
    let stop = super::interruptible()?.flag();
    let asked = Arc::clone(&stop);
    std::thread::spawn(move || {
        while !asked.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
        eprintln!("\nvaerr-train: stopping; Ctrl-C once more ends at once");
    });
    Ok(stop)
}

fn run(command: Command) -> Result<Outcome> {
    let stop = if command.stops() { interruptible()? } else { Arc::default() };
    let done = match command {
        Command::Fit(args) => args.run(&stop),
        Command::CropRule(args) => args.run(),
        Command::Roll(args) => args.run(),
        Command::Quantize(args) => args.run(&stop),
        Command::Export(args) => args.run(),
        Command::Card(args) => args.run(),
        Command::Keygen(args) => args.run(),
        Command::Sign(args) => args.run(),
        Command::Render(args) => render::run(&args, &stop),
        Command::Pretrain(args) => args.run(&stop),
        Command::Finetune(args) => args.run(&stop),
        Command::Detector(args) => args.run(&stop),
        Command::Distil(args) => args.run(&stop),
        Command::Predict(args) => args.run(),
        Command::Ablate(args) => args.run(&stop),
        Command::Import(args) => args.run(),
        Command::Datasets(command) => datasets::run(&command),
        Command::Prepare(args) => prepare::run(&args, &stop),
        Command::Shards(command) => shards::run(&command),
        Command::Score(args) => score::run(&args),
        Command::Lag(args) => lag::run(&args, &stop),
        Command::Verify(args) => return verify::run(&args, &stop),
    };
    done.map(|()| Outcome::Done)
}

/// The whole program.
pub fn main() -> ExitCode {
    crate::train::memory::keep();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match run(Command::parse()) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::CheckFailed) => ExitCode::from(1),
        Err(e) => {
            eprintln!("vaerr-train: {e}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests;
