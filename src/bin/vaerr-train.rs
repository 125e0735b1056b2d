//! The server-side trainer.

use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use vaerr::train::data::record::{Loaded, Split};
use vaerr::train::data::sets::{DATASETS, Dataset, Heard, Options};
use vaerr::train::data::split::Shares;
use vaerr::train::data::summary::Summary;
use vaerr::train::export;
use vaerr::train::fit::{self, FitConfig, FitPaths};
use vaerr::train::roll::{self, RollConfig};
use vaerr::train::score::{self, Align, Missing, ScoreOptions, Side, Subjects};
use vaerr::{Error, Result};

/// Trains, quantises and exports students for `vaerr`.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Train a student from scratch on FER+ and rendered clips.
    Fit {
        /// FER+ training split: folder or zip in the FERPlus layout.
        #[arg(long)]
        train: PathBuf,
        /// Folder for checkpoints and metrics.jsonl.
        #[arg(long)]
        run: PathBuf,
        /// Continue the run from its last whole epoch.
        #[arg(long)]
        resume: bool,
        /// Start from the best network of this finished run (same seed), instead of from scratch.
        #[arg(long, conflicts_with = "resume")]
        start_from: Option<PathBuf>,
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
    },
    /// Measure the crop rule of a split: how a detector's box must be enlarged and moved to give the split's framing.
    CropRule {
        /// FER+ training split: folder or zip.
        #[arg(long)]
        train: PathBuf,
        /// Pictures shown to the detector, drawn at random by --seed.
        #[arg(long, default_value_t = 800)]
        pictures: usize,
        #[arg(long, default_value_t = FitConfig::default().seed)]
        seed: u64,
    },
    /// Train the estimator of head roll and measure it; writes weights.bin and card.md.
    Roll {
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
    },
    /// Fold a run's best network, calibrate it and make it int8.
    Quantize {
        /// The run's folder.
        #[arg(long)]
        run: PathBuf,
        /// The training split that the run used.
        #[arg(long)]
        train: PathBuf,
    },
    /// Measure a quantised run and write its model bundle.
    Export {
        /// The run's folder.
        #[arg(long)]
        run: PathBuf,
        /// FER+ validation split: folder or zip.
        #[arg(long)]
        valid: PathBuf,
        /// The bundle's folder, which must not exist.
        #[arg(long)]
        out: PathBuf,
    },
    /// Annotated video data sets.
    #[command(subcommand)]
    Datasets(Datasets),
    /// Score predictions of any system against labels.
    Score(ScoreArgs),
}

#[derive(Subcommand)]
enum Datasets {
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
struct SetArgs {
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

#[derive(clap::Args)]
struct ScoreArgs {
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

impl SetArgs {
    fn open(&self, name: &str, folder: &Path) -> Result<Loaded> {
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

fn datasets(command: &Datasets) -> Result<()> {
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

fn run_score(args: &ScoreArgs) -> Result<()> {
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

fn print(text: &str) -> Result<()> {
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::io("cannot be written as JSON").caused_by(e))?;
    print(&(text + "\n"))
}

fn run(command: Command) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGINT, 130, Arc::clone(&stop))?;
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&stop))?;
    match command {
        Command::Fit { train, run, resume, start_from, epochs, seed, learning_rate, limit } => {
            let config = FitConfig { epochs, seed, learning_rate, limit, ..FitConfig::default() };
            let done = fit::fit(&config, &FitPaths { train, run, start_from }, resume, &stop)?;
            println!("best epoch {} of {}: held-out mean CCC {:.4}", done.best_epoch, done.epochs, done.best_ccc);
        }
        Command::CropRule { train, pictures, seed } => {
            let fit = fit::crop_rule(&train, pictures, seed)?;
            let r = fit.rule;
            println!("margin {} shift_x {} shift_y {}", r.margin, r.shift_x, r.shift_y);
            println!(
                "a face found in {} of {} pictures; interquartile range {:.3} of the crop's side, {:.3} and {:.3} of its place",
                fit.found, fit.pictures, fit.iqr_side, fit.iqr_x, fit.iqr_y
            );
        }
        Command::Roll { train, valid, out, seed } => {
            print!("{}", roll::roll(&RollConfig { seed, ..RollConfig::default() }, &train, &valid, &out)?);
        }
        Command::Quantize { run, train } => {
            let done = export::quantize_run(&run, &train)?;
            println!("epoch {}: {:?}", done.epoch, done.calibration);
        }
        Command::Datasets(command) => datasets(&command)?,
        Command::Score(args) => run_score(&args)?,
        Command::Export { run, valid, out } => {
            let manifest = export::export(&run, &valid, &out)?;
            println!("{}\nfp32 {:?}\nint8 {:?}", manifest.metrics.split, manifest.metrics.fp32, manifest.metrics.int8);
        }
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match run(Command::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("vaerr-train: {e}");
            std::process::ExitCode::from(2)
        }
    }
}
