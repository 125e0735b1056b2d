//! `vaerr-train score`.

use super::datasets::SetArgs;
use super::{print, print_json};
use crate::train::data::record::Split;
use crate::train::score::{self, Align, Missing, ScoreOptions, Side, Subjects};
use crate::{Error, Result};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Args {
    /// File or folder of predictions: AVEC csv, Aff-Wild2 txt, csv or jsonl of `vaerr run --out`, or any table with
    /// columns arousal and valence.
    predictions: PathBuf,
    /// Labels in the same formats, matched by name without extension; a data set's folder with --dataset.
    labels: PathBuf,
    /// Take the labels from this data set.
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Part of the data set that was predicted.
    #[arg(long, value_enum, default_value = "valid")]
    split: Split,
    #[command(flatten)]
    set: SetArgs,
    /// How a prediction finds its label.
    #[arg(long, value_enum, default_value_t)]
    align: Align,
    /// What stands for a missing prediction.
    #[arg(long, value_enum, default_value_t)]
    missing: Missing,
    /// Score the face with this id, not the one with the most readings.
    #[arg(long)]
    face: Option<u32>,
    /// Rows a second, for labels without times; the lag needs it.
    #[arg(long)]
    fps: Option<f64>,
    /// Search the lag this many seconds either way.
    #[arg(long, default_value_t = ScoreOptions::default().max_lag_s)]
    max_lag: f64,
    /// Table with columns video and subject: intervals over subjects, not videos.
    #[arg(long, value_name = "FILE")]
    subjects: Option<PathBuf>,
    /// Bootstrap resamples; 0 for no intervals.
    #[arg(long, default_value_t = ScoreOptions::default().rounds)]
    rounds: usize,
    #[arg(long, default_value_t = ScoreOptions::default().seed)]
    seed: u64,
    /// Leave out videos that only one side has.
    #[arg(long)]
    skip_unmatched: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    if !(0.0..=60.0).contains(&args.max_lag) || args.fps.is_some_and(|f| !(0.1..=1000.0).contains(&f)) {
        return Err(Error::usage("--max-lag takes 0 to 60 seconds, --fps 0.1 to 1000 rows a second"));
    }
    let predictions = score::read(&args.predictions, Side::Prediction { face: args.face })?;
    let mut subjects = args.subjects.as_deref().map_or(Ok(Subjects::new()), score::subjects)?;
    let labels = match &args.dataset {
        None => score::read(&args.labels, Side::Label)?,
        Some(name) => {
            let loaded = args.set.open(name, &args.labels)?;
            let part: Vec<_> = loaded.recordings.iter().filter(|r| r.split == args.split).collect();
            if subjects.is_empty() {
                subjects = part.iter().map(|r| (r.id.clone(), r.group.clone())).collect();
            }
            part.iter().map(|r| (r.id.clone(), score::of_recording(r))).collect()
        }
    };
    let options = ScoreOptions {
        align: args.align,
        missing: args.missing,
        max_lag_s: args.max_lag,
        fps: args.fps,
        rounds: args.rounds,
        seed: args.seed,
        skip_unmatched: args.skip_unmatched,
    };
    let score = score::score(&predictions, &labels, &subjects, &options)?;
    if args.json { print_json(&score) } else { print(&score.markdown()) }
}
