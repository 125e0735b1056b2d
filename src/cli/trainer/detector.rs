//! `vaerr-train detector`: trains and judges the network that finds faces.

use super::training::RunArgs;
use super::{print, print_json};
use crate::train::detector::{self, DetectorConfig, DetectorPaths, Figures, Judged, SIZES, TURNS, span};
use crate::train::run::config;
use crate::train::run::ranks;
use crate::{Error, Result};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

#[derive(clap::Subcommand)]
pub(super) enum Detector {
    /// Train a detector on pictures in which faces are marked.
    Train(Train),
    /// Make a trained detector int8, as an ONNX file.
    Quantize(Quantize),
    /// Measure a trained detector on the pictures that were held out.
    Judge(Judge),
    /// Write the card of an int8 detector: what it reaches by size, roll and turn.
    Card(Card),
}

/// Pictures with marked faces.
#[derive(clap::Args)]
struct Scenes {
    /// Zip of JPEG pictures and one .jsonl file with a line for each (see docs/training.md); may be given several times.
    #[arg(long, value_name = "ZIP", required_unless_present = "print_config")]
    scenes: Vec<PathBuf>,
    /// Names of the pictures to judge on, one a line; all others are trained on.
    #[arg(long, value_name = "FILE", required_unless_present = "print_config")]
    held_out: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct Train {
    #[command(flatten)]
    scenes: Scenes,
    #[command(flatten)]
    args: RunArgs,
}

impl Train {
    fn run(&self, stop: &AtomicBool) -> Result<()> {
        let settings: DetectorConfig = self.args.settings(&[])?;
        if self.args.settings.print_config {
            return print(&config::print(&settings)?);
        }
        let missing = || Error::usage("--scenes, --held-out and --run are needed");
        let paths = DetectorPaths {
            scenes: self.scenes.scenes.clone(),
            held_out: self.scenes.held_out.clone().ok_or_else(missing)?,
            run: self.args.run.clone().ok_or_else(missing)?,
        };
        let ranks = ranks::all()?;
        let done = detector::train(&settings, &paths, self.args.resume, &*ranks, stop, true)?;
        if ranks.rank() > 0 {
            return Ok(());
        }
        let (best, epochs, score) = (done.best_epoch, done.epochs, done.best_score.unwrap_or(f64::NAN));
        print(&format!("best epoch {best} of {epochs}: average precision {score:.4} on the pictures held out\n"))
    }
}

#[derive(clap::Args)]
pub(super) struct Quantize {
    /// Folder of a run of `detector train`.
    #[arg(long)]
    run: PathBuf,
    /// The zips that it was trained on.
    #[arg(long, value_name = "ZIP", required = true)]
    scenes: Vec<PathBuf>,
    /// Names of the pictures that were held out; none of them is looked at.
    #[arg(long, value_name = "FILE")]
    held_out: PathBuf,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Quantize {
    fn run(&self) -> Result<()> {
        let bytes = detector::to_int8(&self.run, &self.scenes, &self.held_out)?;
        std::fs::write(&self.out, &bytes)
            .map_err(|e| Error::io("cannot be written").at(self.out.display()).caused_by(e))?;
        print(&format!("{}: {} bytes\n", self.out.display(), bytes.len()))
    }
}

#[derive(clap::Args)]
pub(super) struct Judge {
    /// Folder of a run of `detector train`: its best network in f32.
    #[arg(long, required_unless_present = "model")]
    run: Option<PathBuf>,
    /// A file of `detector quantize`, in int8.
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    model: Option<PathBuf>,
    /// Zip of JPEG pictures and one .jsonl file with a line for each; may be given several times.
    #[arg(long, value_name = "ZIP", required = true)]
    scenes: Vec<PathBuf>,
    /// Names of the pictures to judge on, one a line.
    #[arg(long, value_name = "FILE")]
    held_out: PathBuf,
    /// Longer side of each picture as the network sees it, in pixels.
    #[arg(long, default_value_t = 320, value_parser = clap::value_parser!(u64).range(32..=4096))]
    long_px: u64,
    /// Turn every picture by this, clockwise.
    #[arg(long, value_name = "DEGREES", default_value_t = 0.0, allow_negative_numbers = true)]
    roll: f32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Judge {
    fn run(&self) -> Result<()> {
        let on = Judged {
            scenes: self.scenes.clone(),
            held_out: self.held_out.clone(),
            long_px: self.long_px as usize,
            roll_deg: self.roll,
        };
        let figures = match (&self.model, &self.run) {
            (Some(model), _) => detector::judge_model(model, &on)?,
            (None, Some(run)) => detector::judge(run, &on)?,
            (None, None) => return Err(Error::usage("--run or --model is needed")),
        };
        if self.json { print_json(&figures) } else { print(&table(&figures)) }
    }
}

#[derive(clap::Args)]
pub(super) struct Card {
    /// A file of `detector quantize`.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Zip of JPEG pictures and one .jsonl file with a line for each; may be given several times.
    #[arg(long, value_name = "ZIP", required = true)]
    scenes: Vec<PathBuf>,
    /// Names of the pictures to judge on, one a line.
    #[arg(long, value_name = "FILE")]
    held_out: PathBuf,
    /// Text file that says what it was trained on and what it may be used for.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Card {
    fn run(&self) -> Result<()> {
        let unreadable = |e| Error::io("cannot be read").at(self.data.display()).caused_by(e);
        let data = std::fs::read_to_string(&self.data).map_err(unreadable)?;
        let (scenes, held_out) = (self.scenes.clone(), self.held_out.clone());
        let on = Judged { scenes, held_out, long_px: 320, roll_deg: 0.0 };
        let card = detector::card(&self.model, &on, &data)?;
        std::fs::write(&self.out, card).map_err(|e| Error::io("cannot be written").at(self.out.display()).caused_by(e))
    }
}

fn table(f: &Figures) -> String {
    let mut text = format!(
        "{} pictures; average precision {:.4}; recall at 0.1 false faces a picture, by size in pixels of a picture 640 long:\n",
        f.pictures, f.average_precision
    );
    let bins = |edges: &[f32], unit: &str, faces: &[usize], recall: &[f64], text: &mut String| {
        for ((w, faces), recall) in edges.windows(2).zip(faces).zip(recall) {
            let _ = writeln!(text, "{:>8} {unit}  {recall:.3}  of {faces} faces", span(w));
        }
    };
    bins(&SIZES, "px", &f.faces, &f.recall, &mut text);
    text.push_str("by how far the head is turned:\n");
    bins(&TURNS, "degrees", &f.turned, &f.recall_turned, &mut text);
    for at in &f.at {
        let _ = writeln!(
            text,
            "from a score of {} on: recall {:.3}, false faces a picture {:.3}, {:.3} where there is no face",
            at.score, at.recall, at.false_faces, at.false_faces_without
        );
    }
    text
}

impl Detector {
    pub(super) fn run(&self, stop: &AtomicBool) -> Result<()> {
        match self {
            Detector::Train(args) => args.run(stop),
            Detector::Quantize(args) => args.run(),
            Detector::Judge(args) => args.run(),
            Detector::Card(args) => args.run(),
        }
    }

    /// Whether it comes to an orderly end when it is asked to stop.
    pub(super) fn stops(&self) -> bool {
        matches!(self, Detector::Train(_))
    }
}
