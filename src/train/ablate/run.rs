//! The two analyses of the paper, pretext tasks by ways of fine-tuning and losses; and one of ours, the terms of distillation.

use super::{About, Cell, CurvePoint, Grid, distil, report};
use crate::error::{Error, ErrorKind, Result};
use crate::train::data::record::Split;
use crate::train::data::still::Census;
use crate::train::distil::{DistilConfig, DistilPaths};
use crate::train::finetune::{self, FineTuneConfig, FineTunePaths};
use crate::train::full::FineTune;
use crate::train::pretext::PRETEXTS;
use crate::train::pretrain::{self, PretrainConfig, PretrainPaths};
use crate::train::run::BACKBONE;
use crate::train::run::device::DeviceKind;
use crate::train::run::ranks::Alone;
use crate::train::shards::Reader;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Analysis {
    /// None, LiRA, BYOL and DINO, each fine-tuned in every way.
    Pretext,
    /// The ten losses, from scratch.
    Loss,
    /// The terms of distillation, for students of one teacher.
    Distil,
}

/// Settings of all analyses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AblateConfig {
    pub seeds: Vec<u64>,
    /// Pretext tasks, beside none.
    pub tasks: Vec<String>,
    pub modes: Vec<FineTune>,
    /// Losses, by number or by weights; the first is what the others are compared with.
    pub losses: Vec<String>,
    /// Share of the training subjects whose labels are used when pretext tasks are compared; pre-training sees all, without labels.
    pub pretext_subjects: f64,
    /// The same when losses are compared.
    pub loss_subjects: f64,
    /// Epochs of fine-tuning when losses are compared; 0 for those of `finetune`.
    pub loss_epochs: usize,
    /// Of every pre-training; `task` is each in turn, and `pretext` is left empty for `task_settings`.
    pub pretrain: PretrainConfig,
    /// Of every fine-tuning; `mode`, `loss`, `clips.subjects` and `run.seed` are set by the analysis.
    pub finetune: FineTuneConfig,
    /// Of every distillation; `terms`, `lag.mode` and `run.seed` are set by the analysis.
    pub distil: DistilConfig,
    /// Settings of each task.
    pub task_settings: BTreeMap<String, toml::Table>,
}

impl Default for AblateConfig {
    fn default() -> Self {
        Self {
            seeds: vec![1, 2, 3],
            tasks: PRETEXTS.iter().map(|p| p.name.to_owned()).collect(),
            modes: vec![FineTune::Full, FineTune::Frozen3DConv, FineTune::FullyFrozen],
            losses: (1..=10).map(|n| n.to_string()).collect(),
            pretext_subjects: 0.1,
            loss_subjects: 1.0,
            loss_epochs: 0,
            pretrain: PretrainConfig::default(),
            finetune: FineTuneConfig::default(),
            distil: DistilConfig::default(),
            task_settings: BTreeMap::new(),
        }
    }
}

/// What an analysis reads and writes.
#[derive(Debug, Clone)]
pub struct AblatePaths {
    pub shards: PathBuf,
    /// Folder of a run of `finetune`, for [`Analysis::Distil`].
    pub teacher: Option<PathBuf>,
    /// What every student of [`Analysis::Distil`] starts from, as `distil` takes it; from scratch if not given.
    pub start_from: Option<PathBuf>,
    /// Folder of all analyses; each has its table and plots in a folder of its own.
    pub out: PathBuf,
    /// What the data is and who labelled it, for the tables.
    pub data: String,
    pub labels: String,
}

/// One network to train.
#[derive(Debug, Clone)]
struct Job {
    row: String,
    seed: u64,
    task: Option<String>,
    mode: FineTune,
    loss: String,
    /// Of [`Analysis::Distil`].
    distil: Option<DistilConfig>,
}

/// The work of an analysis.
struct Work<'a> {
    config: &'a AblateConfig,
    paths: &'a AblatePaths,
    analysis: Analysis,
    split: Split,
    stop: &'a AtomicBool,
}

fn mode_name(mode: FineTune) -> &'static str {
    match mode {
        FineTune::Full => "ft",
        FineTune::Frozen3DConv => "frozen-3dconv",
        FineTune::FullyFrozen => "fully-frozen",
    }
}

impl Work<'_> {
    fn folder(&self) -> PathBuf {
        self.paths.out.join(match self.analysis {
            Analysis::Pretext => "pretext",
            Analysis::Loss => "loss",
            Analysis::Distil => "distil",
        })
    }

    /// Rows in the order of the table, the first being what the others are compared with.
    fn rows(&self) -> Vec<Job> {
        let job = |row: String, task: Option<&String>, mode: FineTune, loss: &str| Job {
            row,
            seed: 0,
            task: task.cloned(),
            mode,
            loss: loss.to_owned(),
            distil: None,
        };
        match self.analysis {
            Analysis::Distil => {
                let rows = distil::variants(&self.config.distil).into_iter();
                rows.map(|(n, d)| Job { distil: Some(d), ..job(n.into(), None, FineTune::Full, "") }).collect()
            }
            Analysis::Loss => {
                // A row's name takes no `=` or `,`.
                let name = |loss: &str| format!("loss-{}", loss.replace('=', "").replace(',', "_"));
                self.config.losses.iter().map(|l| job(name(l), None, FineTune::Full, l)).collect()
            }
            Analysis::Pretext => {
                let tasks = std::iter::once(None).chain(self.config.tasks.iter().map(Some));
                let modes = &self.config.modes;
                let row = |task: Option<&String>, m: FineTune| {
                    let name = format!("{}-{}", task.map_or("none", |t| t), mode_name(m));
                    job(name, task, m, &self.config.finetune.loss)
                };
                tasks.flat_map(|t| modes.iter().map(move |m| row(t, *m))).collect()
            }
        }
    }

    fn about(&self) -> Result<About> {
        let rows: Vec<String> = self.rows().into_iter().map(|j| j.row).collect();
        let settings = crate::train::run::config::print(self.config)?;
        let reader = Reader::open(&self.paths.shards)?;
        let stills = Census::of(&reader, self.split, self.config.finetune.clips.every)?.about();
        let stills = stills.map_or(String::new(), |s| format!(" ({s})"));
        let (title, subjects) = match self.analysis {
            Analysis::Pretext => ("Pretext tasks and ways of fine-tuning", self.config.pretext_subjects),
            Analysis::Loss => ("Losses of fine-tuning, from scratch", self.config.loss_subjects),
            Analysis::Distil => ("Terms of distillation", self.config.distil.clips.subjects),
        };
        let mut stated = BTreeMap::from([
            ("settings".into(), settings),
            ("share of training subjects with labels".into(), subjects.to_string()),
        ]);
        if let Some(from) = self.paths.start_from.as_ref().filter(|_| self.analysis == Analysis::Distil) {
            stated
                .insert("SHA-256 of the weights that students start from".into(), crate::train::distil::digest(from)?);
        }
        Ok(About {
            title: title.into(),
            split: format!("{} of {}{stills}", self.split.name(), self.paths.data),
            labels: self.paths.labels.clone(),
            baseline: rows.first().cloned(),
            rows,
            seeds: self.config.seeds.clone(),
            settings: stated,
        })
    }

    fn pretraining(&self, task: &str, seed: u64) -> PathBuf {
        self.paths.out.join("pretrain").join(format!("{task}.{seed}"))
    }

    fn pretrain(&self, task: &str, seed: u64) -> Result<()> {
        let mut config = self.config.pretrain.clone();
        config.task = task.to_owned();
        config.pretext = self.config.task_settings.get(task).cloned().unwrap_or_default();
        config.run.seed = seed;
        let paths = PretrainPaths { shards: vec![self.paths.shards.clone()], run: self.pretraining(task, seed) };
        pretrain::pretrain(&config, &paths, true, &Alone, self.stop, false).map(drop)
    }

    fn distil(&self, job: &Job, config: &DistilConfig) -> Result<Cell> {
        let mut config = config.clone();
        config.run.seed = job.seed;
        let teacher = self.paths.teacher.clone();
        let teacher = teacher.ok_or_else(|| Error::usage("the analysis of distillation needs a teacher"))?;
        let run = self.run_of(job);
        let start_from = self.paths.start_from.iter().cloned().collect();
        let paths = DistilPaths { teacher, shards: vec![self.paths.shards.clone()], run: run.clone(), start_from };
        crate::train::distil::distil(&config, &paths, true, &Alone, self.stop, false)?;
        let videos = distil::predictions(&run, &self.paths.shards, self.split)?;
        Ok(Cell { row: job.row.clone(), seed: job.seed, curve: curve(&run)?, videos })
    }

    fn run_of(&self, job: &Job) -> PathBuf {
        self.folder().join("runs").join(format!("{}.{}", job.row, job.seed))
    }

    /// Trains one network and reads the split with it.
    fn network(&self, job: &Job) -> Result<Cell> {
        match &job.distil {
            Some(config) => self.distil(job, config),
            None => self.finetune(job),
        }
    }

    fn finetune(&self, job: &Job) -> Result<Cell> {
        let mut config = self.config.finetune.clone();
        (config.mode, config.loss, config.run.seed) = (job.mode, job.loss.clone(), job.seed);
        config.clips.subjects = match self.analysis {
            Analysis::Pretext => self.config.pretext_subjects,
            _ => self.config.loss_subjects,
        };
        if self.analysis == Analysis::Loss && self.config.loss_epochs > 0 {
            config.run.epochs = self.config.loss_epochs;
        }
        let run = self.run_of(job);
        let start_from = job.task.as_ref().map(|t| self.pretraining(t, job.seed).join(BACKBONE));
        let paths = FineTunePaths { shards: vec![self.paths.shards.clone()], run: run.clone(), start_from };
        finetune::finetune(&config, &paths, true, &Alone, self.stop, false)?;
        let (net, predictor, _) = finetune::best(&run, &DeviceKind::Cpu.open(0, false)?)?;
        let videos = predictor.split(&net, &Reader::open(&self.paths.shards)?, self.split)?;
        Ok(Cell { row: job.row.clone(), seed: job.seed, curve: curve(&run)?, videos })
    }
}

/// Validation after every epoch, as the run wrote it down.
fn curve(run: &Path) -> Result<Vec<CurvePoint>> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl"))?;
    let point = |line: &str| -> Option<CurvePoint> {
        let v: serde_json::Value = serde_json::from_str(line).ok()?;
        let named = |d: &str| format!("epoch/valid_ccc_{d}");
        // What follows the name tells what the split holds.
        let ccc = |d: &str| v.as_object()?.iter().find(|(k, _)| k.starts_with(&named(d)))?.1.as_f64();
        Some(CurvePoint { step: v["step"].as_u64()?, ccc: [ccc("arousal")?, ccc("valence")?] })
    };
    Ok(text.lines().filter_map(point).collect())
}

/// Does every task of `queue` on `jobs` threads, each with an even share of the cores; the first error ends all.
fn in_parallel<T: Send + Sync>(
    queue: Vec<T>,
    jobs: usize,
    stop: &AtomicBool,
    work: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let queue = Mutex::new(VecDeque::from(queue));
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let next = || queue.lock().ok().and_then(|mut q| q.pop_front());
    let halted = || stop.load(Ordering::Relaxed) || failed.lock().map_or(true, |f| f.is_some());
    let jobs = jobs.clamp(1, cores);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(cores / jobs).build();
                while let Some(task) = if halted() { None } else { next() } {
                    let done = match &pool {
                        Ok(pool) => pool.install(|| work(&task)),
                        Err(e) => Err(Error::io(format!("no threads to work on: {e}"))),
                    };
                    if let (Err(e), Ok(mut failed)) = (done, failed.lock()) {
                        failed.get_or_insert(e);
                    }
                }
            });
        }
    });
    match failed.into_inner() {
        Ok(Some(e)) => Err(e),
        _ if stop.load(Ordering::Relaxed) => {
            Err(Error::new(ErrorKind::Interrupted, "stopped").remedy("give the command again to go on"))
        }
        _ => Ok(()),
    }
}

/// Trains every network of `analysis` that is not there yet, `jobs` at a time, and writes table and plots anew after each. Returns
/// the folder they are in.
///
/// # Errors
/// Those of pre-training and fine-tuning; a folder with an analysis of other settings; `stop`.
pub fn ablate(
    analysis: Analysis,
    config: &AblateConfig,
    paths: &AblatePaths,
    jobs: usize,
    stop: &AtomicBool,
) -> Result<PathBuf> {
    let index = Reader::open(&paths.shards)?;
    let split = if index.index().samples(Split::Test) > 0 { Split::Test } else { Split::Valid };
    if split == Split::Valid {
        log::warn!("no test split: the validation split, which also chooses the epoch, is what is scored");
    }
    let work = Work { config, paths, analysis, split, stop };
    let grid = Grid::open(&work.folder(), work.about()?)?;
    let rows: BTreeMap<String, Job> = work.rows().into_iter().map(|j| (j.row.clone(), j)).collect();
    let missing: Vec<Job> = grid
        .missing()
        .into_iter()
        .filter_map(|(row, seed)| rows.get(&row).map(|job| Job { seed, ..job.clone() }))
        .collect();
    let mut pretrainings: Vec<(String, u64)> =
        missing.iter().filter_map(|j| j.task.clone().map(|t| (t, j.seed))).collect();
    pretrainings.sort();
    pretrainings.dedup();
    let (all, began) = (pretrainings.len() + missing.len(), std::time::Instant::now());
    let done = Mutex::new(0usize);
    let tell = |what: String| {
        let Ok(mut done) = done.lock() else { return };
        *done += 1;
        let left = began.elapsed().as_secs_f64() * (all as f64 / *done as f64 - 1.0);
        log::info!("{what}: {} of {all} networks, about {:.0} min left", *done, left / 60.0);
    };
    in_parallel(pretrainings, jobs, stop, |(task, seed)| {
        work.pretrain(task, *seed)?;
        tell(format!("{task}, seed {seed}"));
        Ok(())
    })?;
    let reporting = Mutex::new(());
    in_parallel(missing, jobs, stop, |job| {
        let cell = work.network(job)?;
        let _one_at_a_time = reporting.lock();
        grid.put(&cell)?;
        report(&grid)?;
        tell(format!("{}, seed {}", job.row, job.seed));
        Ok(())
    })?;
    report(&grid)?;
    Ok(work.folder())
}
