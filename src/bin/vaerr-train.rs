//! The server-side trainer.

use clap::Parser;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use vaerr::train::export;
use vaerr::train::fit::{self, FitConfig, FitPaths};
use vaerr::train::roll::{self, RollConfig};

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
}

fn run(command: Command) -> vaerr::Result<()> {
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
