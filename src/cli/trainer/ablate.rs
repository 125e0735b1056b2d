//! `vaerr-train ablate`: the paper's two analyses, and that of distillation.

use super::datasets::SetArgs;
use super::print;
use super::settings::Settings;
use crate::train::ablate::{self, AblateConfig, AblatePaths, Analysis};
use crate::train::corpus::{CorpusConfig, Heads, render_corpus};
use crate::train::data::audio::LogMel;
use crate::train::prepare::{self, Audio, PrepareConfig};
use crate::train::recipes;
use crate::train::run::config;
use crate::{Error, Result};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Where the settings begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scale {
    /// A narrow network on small pictures: under an hour on two cores for both analyses on the rendered corpus.
    Small,
    /// The paper's network and schedule.
    Paper,
}

/// Trains the networks of an analysis that are not there yet and writes table.md, table.csv, results.json and plots.
///
/// Stopped at any moment, the same command goes on.
#[derive(clap::Args)]
pub(super) struct Args {
    /// pretext, loss, or both; or distil, the terms of distilling --teacher.
    #[arg(value_parser = ["pretext", "loss", "both", "distil"])]
    analysis: String,
    /// Folder of a run of `finetune`, for distil.
    #[arg(long, value_name = "RUN", required_if_eq("analysis", "distil"))]
    teacher: Option<PathBuf>,
    /// What every student of distil starts from, as `distil` takes it; from scratch if not given.
    #[arg(long, value_name = "RUN|ONNX", requires = "teacher")]
    start_from: Option<PathBuf>,
    /// Folder of the analyses.
    #[arg(long, required_unless_present = "print_config")]
    out: Option<PathBuf>,
    /// Folder of shards, made by `prepare` or `render`. Without it or --dataset a small corpus is rendered into OUT/corpus.
    #[arg(long)]
    shards: Option<PathBuf>,
    /// Data set, as `datasets list` names it, in --folder; it is prepared into OUT/shards first.
    #[arg(long, value_name = "NAME", requires = "folder", conflicts_with = "shards")]
    dataset: Option<String>,
    /// Folder of the data set as it was handed out.
    #[arg(long, requires = "dataset")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    set_args: SetArgs,
    /// What the labels are, for the tables.
    #[arg(long, default_value = "as the data set gives them")]
    labels: String,
    /// Where the settings begin: what --config leaves out is as this says.
    #[arg(long, value_enum, default_value = "small")]
    scale: Scale,
    /// Seeds, each of which trains every network anew.
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    seeds: Vec<u64>,
    #[command(flatten)]
    settings: Settings,
    /// Networks trained at a time [default: one a core].
    #[arg(long)]
    jobs: Option<usize>,
}

impl Args {
    pub(super) fn run(&self, stop: &AtomicBool) -> Result<()> {
        let base = match self.scale {
            Scale::Small => recipes::small_ablation()?,
            Scale::Paper => AblateConfig::default(),
        };
        let mut settings: AblateConfig = self.settings.over(&base, &[])?;
        if !self.seeds.is_empty() {
            settings.seeds.clone_from(&self.seeds);
        }
        if self.settings.print_config {
            return print(&config::print(&settings)?);
        }
        if self.start_from.is_some() && self.analysis != "distil" {
            return Err(Error::usage("--start-from is for distil: the others train from scratch"));
        }
        let out = self.out.as_deref().ok_or_else(|| Error::usage("--out is needed"))?;
        let (teacher, start_from) = (self.teacher.clone(), self.start_from.clone());
        let paths = AblatePaths { teacher, start_from, ..self.paths(out, &settings, stop)? };
        let jobs = self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let analyses: &[Analysis] = match &self.analysis[..] {
            "pretext" => &[Analysis::Pretext],
            "loss" => &[Analysis::Loss],
            "distil" => &[Analysis::Distil],
            _ => &[Analysis::Pretext, Analysis::Loss],
        };
        for analysis in analyses {
            let folder = ablate::ablate(*analysis, &settings, &paths, jobs, stop)?;
            let table = folder.join("table.md");
            let text = std::fs::read_to_string(&table)
                .map_err(|e| Error::io("cannot be read").at(table.display()).caused_by(e))?;
            print(&format!("{text}\n"))?;
        }
        Ok(())
    }

    fn paths(&self, out: &Path, settings: &AblateConfig, stop: &AtomicBool) -> Result<AblatePaths> {
        let of = |shards: PathBuf, data: String, labels: String| AblatePaths {
            shards,
            teacher: None,
            start_from: None,
            out: out.into(),
            data,
            labels,
        };
        if let Some((name, folder)) = self.dataset.as_ref().zip(self.folder.as_ref()) {
            let size_px = match self.scale {
                Scale::Small => settings.finetune.model.size_px,
                Scale::Paper => PrepareConfig::default().size_px,
            };
            let config = PrepareConfig {
                size_px,
                detail_px: size_px,
                crops: prepare::holds_crops(name),
                audio: Audio::LogMel { deltas: true },
                set: name.clone(),
                ..PrepareConfig::default()
            };
            let shards = out.join("shards");
            prepare::prepare(&self.set_args.open(name, folder)?, &config, &shards, stop)?;
            return Ok(of(shards, name.clone(), self.labels.clone()));
        }
        if let Some(shards) = &self.shards {
            let data = shards.file_name().map_or_else(|| shards.display().to_string(), |n| n.to_string_lossy().into());
            return Ok(of(shards.clone(), data, self.labels.clone()));
        }
        let corpus: CorpusConfig = recipes::small_corpus()?;
        let shards = out.join("corpus");
        if !shards.join(crate::train::shards::Index::FILE).exists() {
            log::info!("rendering {} people into {}", corpus.subjects, shards.display());
            render_corpus(&corpus, &Heads::open(&corpus, None)?, &|| Ok(Box::new(LogMel::new(true))), &shards, stop)?;
        }
        let labels =
            "the affect that moved the rendered faces; figures say how well a network reads the renderer, not people";
        Ok(of(shards, format!("{} rendered people, split by person", corpus.subjects), labels.into()))
    }
}
