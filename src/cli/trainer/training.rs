//! `vaerr-train pretrain`, `finetune` and `predict`: the full model; `distil`: from it to a student.

use super::print;
use super::settings::Settings;
use crate::train::data::record::Split;
use crate::train::data::still::Census;
use crate::train::distil::{self, DistilConfig, DistilPaths};
use crate::train::finetune::{self, FineTuneConfig, FineTunePaths};
use crate::train::pretrain::{self, PretrainConfig, PretrainPaths};
use crate::train::run::config;
use crate::train::run::device::DeviceKind;
use crate::train::run::ranks::{self, Ranks};
use crate::train::shards::Reader;
use crate::{Error, Result};
use clap::ValueEnum;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// What is trained on.
#[derive(clap::Args)]
struct ShardArgs {
    /// Folder of shards, made by `prepare` or `render`; may be given several times, and the samples of all are mixed.
    #[arg(long, value_name = "SHARDS", required_unless_present = "print_config")]
    shards: Vec<PathBuf>,
}

/// Where a run is and how it is set.
#[derive(clap::Args)]
pub(super) struct RunArgs {
    /// Folder of the run: checkpoint, best network, metrics.jsonl, TensorBoard events.
    #[arg(long, required_unless_present = "print_config")]
    pub(super) run: Option<PathBuf>,
    /// Continue the run from its last checkpoint.
    #[arg(long)]
    pub(super) resume: bool,
    #[command(flatten)]
    pub(super) settings: Settings,
    /// Short for --set run.seed=N.
    #[arg(long)]
    seed: Option<u64>,
    /// Short for --set run.epochs=N.
    #[arg(long)]
    epochs: Option<usize>,
    /// Short for --set device=KIND.
    #[arg(long, value_enum)]
    device: Option<DeviceKind>,
}

impl RunArgs {
    pub(super) fn settings<C: Default + Serialize + DeserializeOwned>(&self, more: &[String]) -> Result<C> {
        let mut changes = Vec::new();
        changes.extend(self.seed.map(|n| format!("run.seed={n}")));
        changes.extend(self.epochs.map(|n| format!("run.epochs={n}")));
        let device = self.device.and_then(|d| d.to_possible_value());
        changes.extend(device.map(|d| format!("device={}", d.get_name())));
        changes.extend(more.iter().cloned());
        self.settings.over(&C::default(), &changes)
    }

    fn folders(&self, on: &ShardArgs) -> Result<(Vec<PathBuf>, PathBuf)> {
        let run = self.run.clone().filter(|_| !on.shards.is_empty());
        Ok((on.shards.clone(), run.ok_or_else(|| Error::usage("--shards and --run are needed"))?))
    }
}

#[derive(clap::Args)]
pub(super) struct Pretrain {
    /// lira, byol or dino; short for --set task=NAME.
    task: Option<String>,
    #[command(flatten)]
    on: ShardArgs,
    #[command(flatten)]
    args: RunArgs,
}

impl Pretrain {
    pub(super) fn run(&self, stop: &AtomicBool) -> Result<()> {
        let task: Vec<String> = self.task.iter().map(|t| format!("task={t}")).collect();
        let settings: PretrainConfig = self.args.settings(&task)?;
        if self.args.settings.print_config {
            return print(&config::print(&settings)?);
        }
        let (shards, run) = self.args.folders(&self.on)?;
        let ranks = ranks::all()?;
        let paths = PretrainPaths { shards, run };
        let done = pretrain::pretrain(&settings, &paths, self.args.resume, &*ranks, stop, true)?;
        told(
            &*ranks,
            &format!("{} epochs; backbone of epoch {} in {}\n", done.epochs, done.best_epoch, paths.run.display()),
        )
    }
}

#[derive(clap::Args)]
pub(super) struct FineTune {
    /// Weights to start from: `best.bpk` of a run of `pretrain` or `finetune`, or the authors' .pth.
    #[arg(long, value_name = "FILE")]
    start_from: Option<PathBuf>,
    /// Loss: 1 to 10 of the paper, or weights as ccc=0.5,ce=0.25; short for --set loss=...
    #[arg(long)]
    loss: Option<String>,
    /// ft, frozen-3dconv or fully-frozen; short for --set mode=...
    #[arg(long)]
    mode: Option<String>,
    #[command(flatten)]
    on: ShardArgs,
    #[command(flatten)]
    args: RunArgs,
}

impl FineTune {
    pub(super) fn run(&self, stop: &AtomicBool) -> Result<()> {
        let mut more: Vec<String> = self.loss.iter().map(|l| format!("loss=\"{l}\"")).collect();
        more.extend(self.mode.iter().map(|m| format!("mode={m}")));
        let settings: FineTuneConfig = self.args.settings(&more)?;
        if self.args.settings.print_config {
            return print(&config::print(&settings)?);
        }
        let (shards, run) = self.args.folders(&self.on)?;
        let ranks = ranks::all()?;
        let paths = FineTunePaths { shards, run, start_from: self.start_from.clone() };
        let done = finetune::finetune(&settings, &paths, self.args.resume, &*ranks, stop, true)?;
        let score = done.best_score.unwrap_or(f64::NAN);
        let on = judged_on(&paths.shards, settings.clips.every)?;
        let (best, epochs) = (done.best_epoch, done.epochs);
        let text = format!("best epoch {best} of {epochs}: mean validation CCC {score:.4}{on}\n");
        told(&*ranks, &text)
    }
}

/// Distils a fine-tuned full model into a small causal student.
#[derive(clap::Args)]
pub(super) struct Distil {
    /// Folder of a run of `finetune`: the teacher.
    #[arg(long, value_name = "RUN", required_unless_present = "print_config")]
    teacher: Option<PathBuf>,
    /// Student to start from: the folder of a run of `distil`, or an fp32 student.onnx; of the same size, or nano for small. Given
    /// several times, the mean of their weights.
    #[arg(long, value_name = "RUN|FILE")]
    start_from: Vec<PathBuf>,
    /// Size of the student: pico, nano or small; short for --set size=...
    #[arg(long)]
    size: Option<String>,
    #[command(flatten)]
    on: ShardArgs,
    #[command(flatten)]
    args: RunArgs,
}

impl Distil {
    pub(super) fn run(&self, stop: &AtomicBool) -> Result<()> {
        let size: Vec<String> = self.size.iter().map(|s| format!("size={s}")).collect();
        let settings: DistilConfig = self.args.settings(&size)?;
        if self.args.settings.print_config {
            return print(&config::print(&settings)?);
        }
        let (shards, run) = self.args.folders(&self.on)?;
        let teacher = self.teacher.clone().ok_or_else(|| Error::usage("--teacher is needed"))?;
        let ranks = ranks::all()?;
        let paths = DistilPaths { teacher, shards, run, start_from: self.start_from.clone() };
        let done = distil::distil(&settings, &paths, self.args.resume, &*ranks, stop, true)?;
        let score = done.best_score.unwrap_or(f64::NAN);
        let on = judged_on(&paths.shards, 1)?;
        let (best, epochs) = (done.best_epoch, done.epochs);
        let text = format!("best epoch {best} of {epochs}: mean validation CCC {score:.4}{on}\n");
        told(&*ranks, &text)
    }
}

/// What a score is the mean over, where more must be said than that it is of recordings.
fn judged_on(shards: &[PathBuf], every: usize) -> Result<String> {
    let sets = finetune::judged_sets(Reader::open_all(shards)?, Split::Valid, every)?;
    let about: Vec<String> = sets.into_iter().filter_map(|(_, about)| about).collect();
    Ok(if about.is_empty() { String::new() } else { format!(" ({})", about.join("; ")) })
}

fn told(ranks: &dyn Ranks, text: &str) -> Result<()> {
    if ranks.rank() == 0 { print(text) } else { Ok(()) }
}

/// Writes a file of predictions a recording, which `score` reads.
#[derive(clap::Args)]
pub(super) struct Predict {
    /// Folder of a run of `finetune`.
    #[arg(long)]
    run: PathBuf,
    /// Folder of shards.
    #[arg(long)]
    shards: PathBuf,
    #[arg(long, value_enum, default_value = "valid")]
    split: Split,
    /// Folder for VIDEO.csv with the columns time, arousal, valence; made if it is not there.
    #[arg(long)]
    out: PathBuf,
    /// Write the labels in the same form to this folder.
    #[arg(long, value_name = "FOLDER")]
    labels: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceKind,
}

impl Predict {
    pub(super) fn run(&self) -> Result<()> {
        let (net, predictor, _) = finetune::best(&self.run, &self.device.open(0, false)?)?;
        let reader = Reader::open(&self.shards)?;
        let results = predictor.split(&net, &reader, self.split)?;
        let stills = Census::of(&reader, self.split, predictor.every)?.about();
        for result in &results {
            write(&self.out, result, &result.predicted)?;
            if let Some(folder) = &self.labels {
                write(folder, result, &result.labels)?;
            }
        }
        let [a, v] = finetune::agreement(&results);
        print(&format!(
            "{} recordings of the {} split{}, all frames concatenated: CCC arousal {:.4}, valence {:.4}\n",
            results.len(),
            self.split.name(),
            stills.map_or(String::new(), |s| format!(" ({s})")),
            a.ccc,
            v.ccc
        ))
    }
}

fn write(folder: &std::path::Path, result: &finetune::VideoResult, rows: &[[f64; 2]]) -> Result<()> {
    let name: String = result.video.chars().map(|c| if c == '/' { '_' } else { c }).collect();
    let path = folder.join(name + ".csv");
    let failed = |e| Error::io("cannot be written").at(path.display()).caused_by(e);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut text = "time,arousal,valence\n".to_owned();
    for (i, [a, v]) in rows.iter().enumerate() {
        text.push_str(&format!("{:.4},{a:.6},{v:.6}\n", i as f64 / result.fps));
    }
    std::fs::write(&path, text).map_err(failed)
}
