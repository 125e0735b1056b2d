//! `vaerr-train prepare`.

use super::datasets::SetArgs;
use super::{print, print_json};
use crate::train::data::record::{Loaded, Split};
use crate::train::prepare::{self, Audio, PrepareConfig, Prepared};
use crate::{Error, Result};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// Acoustic features of the sound track.
#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum AudioArg {
    None,
    /// 80 log-mel bins, energy, pitch, voicing.
    LogMel,
    /// The same with their slopes.
    LogMelDeltas,
}

#[derive(clap::Args)]
pub(super) struct Args {
    /// Folder of a data set as it was handed out (--dataset), or any folder of videos and pictures without labels.
    folder: PathBuf,
    /// Folder for the shards; a run that was stopped goes on in it.
    out: PathBuf,
    /// Data set that the folder holds, as `datasets list` names it.
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    #[command(flatten)]
    set: SetArgs,
    /// Split of a folder that is no data set.
    #[arg(long, value_enum, default_value = "train", conflicts_with = "dataset")]
    split: Split,
    /// Height and width of a crop.
    #[arg(long, default_value_t = PrepareConfig::default().size_px)]
    size: usize,
    /// Finest detail of a crop in pixels a side; --size if not given.
    #[arg(long, value_name = "PIXELS")]
    detail: Option<usize>,
    /// Pictures are face crops already: resize them only. Sets of crops always are.
    #[arg(long)]
    crops: bool,
    /// Frames a second of the shards; those of each recording if not given.
    #[arg(long)]
    fps: Option<f64>,
    /// Frames a second of pictures. If not given, that of the video that they were taken from; 25 for stills and for folders without
    /// labels. A data set of pictures without videos needs it.
    #[arg(long)]
    picture_fps: Option<f64>,
    /// Longest sample; longer recordings are cut into several.
    #[arg(long, value_name = "SECONDS", default_value_t = PrepareConfig::default().part_s)]
    part: f64,
    /// Acoustic features, one row a frame, for the pretext task LiRA.
    #[arg(long, value_enum, default_value = "none")]
    audio: AudioArg,
    /// Take the acoustic features from this ONNX encoder (16 kHz wave to rows of features).
    #[arg(long, value_name = "FILE", conflicts_with = "audio")]
    audio_encoder: Option<PathBuf>,
    /// Threads; 0 for one a core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Number of this process among --ranks that fill OUT together, from 0.
    #[arg(long, default_value_t = 0)]
    rank: usize,
    #[arg(long, default_value_t = 1)]
    ranks: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn load(&self) -> Result<Loaded> {
        match &self.dataset {
            Some(name) => self.set.open(name, &self.folder),
            None => prepare::plain(&self.folder, self.split),
        }
    }

    fn config(&self) -> PrepareConfig {
        let audio = match (&self.audio_encoder, self.audio) {
            (Some(path), _) => Audio::Encoder(path.clone()),
            (None, AudioArg::None) => Audio::None,
            (None, audio) => Audio::LogMel { deltas: audio == AudioArg::LogMelDeltas },
        };
        let set = self.dataset.clone().unwrap_or_else(|| PrepareConfig::default().set);
        PrepareConfig {
            size_px: self.size,
            detail_px: self.detail.unwrap_or(self.size),
            crops: self.crops || prepare::holds_crops(&set),
            fps: self.fps,
            picture_fps: self.picture_fps,
            part_s: self.part,
            audio,
            set,
            jobs: self.jobs,
            rank: self.rank,
            ranks: self.ranks,
            ..PrepareConfig::default()
        }
    }
}

fn text(done: &Prepared, out: &std::path::Path) -> String {
    let report = &done.report;
    let mut text = format!(
        "{} of {} recordings, {} samples, {} frames, {} of them with a face\n",
        report.used, report.recordings, report.samples, report.frames, report.with_face
    );
    // Writing to a String does not fail.
    for (what, notes) in [("skipped", &report.skipped), ("left out", &report.left_out), ("remark", &report.remarks)] {
        for note in notes {
            let _ = writeln!(text, "{what}: {note}");
        }
    }
    let _ = writeln!(text, "in {}", out.display());
    text
}

pub(super) fn run(args: &Args, stop: &AtomicBool) -> Result<()> {
    if args.out.starts_with(&args.folder) && args.dataset.is_none() {
        return Err(Error::usage("OUT must not lie in the folder that is read"));
    }
    let done = prepare::prepare(&args.load()?, &args.config(), &args.out, stop)?;
    if args.json { print_json(&done.report) } else { print(&text(&done, &args.out)) }
}
