//! Pre-training of the backbone on shards, without their labels.

use crate::error::{Error, Result};
use crate::train::data::record::Split;
use crate::train::data::still::is_still;
use crate::train::finetune::normalise;
use crate::train::full::{Backbone, FullSpec};
use crate::train::pretext::probe::{Labelled, ProbeSet};
use crate::train::pretext::views::Input;
use crate::train::pretext::{Pretext, Setup, WithPretext, default_settings, with_pretext};
use crate::train::run::config::{LoopConfig, merge};
use crate::train::run::device::DeviceKind;
use crate::train::run::feed::{ClipConfig, ClipFeed, middle_clip};
use crate::train::run::ranks::Ranks;
use crate::train::run::{Done, Judge, Method, Training, Verdict};
use crate::train::shards::Reader;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// The linear probe that watches pre-training. It decides nothing: the backbone of the last epoch is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeConfig {
    /// Recordings of the training split that it is fitted on, and of the validation split that it is judged on; 0 for no probe. They
    /// are the first with labels, in the order of the folders; stills are left out.
    pub recordings: usize,
    /// Of the ridge regression, on features of deviation 1.
    pub penalty: f64,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self { recordings: 40, penalty: 10.0 }
    }
}

/// Everything that decides the outcome of pre-training, besides the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainConfig {
    /// One of [`PRETEXTS`](crate::train::pretext::PRETEXTS).
    pub task: String,
    pub device: DeviceKind,
    pub model: FullSpec,
    pub clips: ClipConfig,
    pub run: LoopConfig,
    pub probe: ProbeConfig,
    /// The task's own settings.
    pub pretext: toml::Table,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            task: "lira".into(),
            device: DeviceKind::default(),
            model: FullSpec { size_px: 80, ..FullSpec::default() },
            clips: ClipConfig { seconds: 1.0, ..ClipConfig::default() },
            run: LoopConfig { batch: 16, epochs: 100, ..LoopConfig::default() },
            probe: ProbeConfig::default(),
            pretext: toml::Table::new(),
        }
    }
}

impl PretrainConfig {
    /// # Errors
    /// Names the setting that makes no sense.
    pub fn validate(&self) -> Result<()> {
        self.model.validate()?;
        self.clips.validate()?;
        self.run.validate()?;
        if !(self.probe.penalty > 0.0 && self.probe.penalty.is_finite()) {
            return Err(Error::usage("probe.penalty must be above 0"));
        }
        self.whole_pretext().map(drop)
    }

    /// The task's settings with those that are not given at their defaults.
    ///
    /// # Errors
    /// If there is no such task.
    pub fn whole_pretext(&self) -> Result<toml::Table> {
        let mut all = default_settings(&self.task)?;
        merge(&mut all, &self.pretext);
        Ok(all)
    }
}

/// What pre-training reads and writes.
#[derive(Debug, Clone)]
pub struct PretrainPaths {
    /// Folders of shards with a training split; labels are read by the probe alone.
    pub shards: Vec<PathBuf>,
    /// Folder of the run; the backbone ends in `backbone.bpk`.
    pub run: PathBuf,
}

/// The probe as a judge; it gives figures and no score.
struct ProbeJudge {
    set: Option<ProbeSet>,
    size_px: usize,
    input: Input,
    penalty: f64,
}

impl<M: Method> Judge<M> for ProbeJudge {
    fn judge(&mut self, method: &M, net: &M::Net) -> Result<Verdict> {
        let Some((set, backbone)) = self.set.as_ref().zip(method.backbone(net)) else { return Ok(Verdict::default()) };
        let found = set.score(backbone, self.size_px, &self.input, self.penalty)?;
        let [arousal, valence] = found.agreement;
        let figures =
            vec![("probe_ccc_arousal".to_owned(), arousal.ccc), ("probe_ccc_valence".to_owned(), valence.ccc)];
        Ok(Verdict { score: None, figures })
    }
}

/// One clip from the middle of each of the first recordings with labels of either split.
fn probe_set(config: &PretrainConfig, readers: &[Reader]) -> Result<Option<ProbeSet>> {
    let side = |split: Split| -> Result<Vec<Labelled>> {
        let mut all = Vec::new();
        for sample in readers.iter().flat_map(|r| r.clone().filtered(|m| !is_still(m)).ordered(split)) {
            if all.len() == config.probe.recordings {
                break;
            }
            let sample = sample?;
            if let Some(batch) = middle_clip(&sample, &config.clips).filter(|_| sample.labelled() > 0) {
                all.push(Labelled { group: sample.meta.person().to_owned(), batch });
            }
        }
        Ok(all)
    };
    let (fit, held) = (side(Split::Train)?, side(Split::Valid)?);
    if fit.is_empty() || held.is_empty() {
        log::info!("no linear probe: recordings of the training and of the validation split must have labels for it");
        return Ok(None);
    }
    ProbeSet::new(fit, held).map(Some)
}

/// Pre-trains, or with `resume` goes on. The backbone of the last epoch stands in `backbone.bpk`.
///
/// # Errors
/// As [`Training::train`]; or settings and data that do not fit each other.
pub fn pretrain(
    config: &PretrainConfig,
    paths: &PretrainPaths,
    resume: bool,
    ranks: &dyn Ranks,
    stop: &AtomicBool,
    show: bool,
) -> Result<Done> {
    struct Run<'a> {
        config: &'a PretrainConfig,
        paths: &'a PretrainPaths,
        feed: &'a ClipFeed,
        judge: ProbeJudge,
        resume: bool,
        ranks: &'a dyn Ranks,
        stop: &'a AtomicBool,
        show: bool,
    }
    impl WithPretext for Run<'_> {
        type Output = Done;

        fn call<P: Pretext>(mut self, task: P, net: P::Net) -> Result<Done> {
            let settings =
                serde_json::to_value(PretrainConfig { pretext: self.config.whole_pretext()?, ..self.config.clone() });
            let training = Training {
                config: &self.config.run,
                settings: settings.map_err(|e| Error::usage("cannot be kept").caused_by(e))?,
                folder: &self.paths.run,
                method: task,
                feed: self.feed,
                judge: &mut self.judge,
                ranks: self.ranks,
                stop: self.stop,
                show: self.show,
            };
            training.train(net, self.resume)
        }
    }
    config.validate()?;
    let device = config.device.open(ranks.local_rank(), config.run.recompute)?;
    let readers = Reader::open_all(&paths.shards)?;
    let feed = ClipFeed::new(readers, &config.clips, config.run.batch, config.run.seed)?;
    let input = Input { normalise: normalise(feed.readers())?, device: device.clone() };
    let mut backbone = Backbone::new(&config.model, config.run.seed, &device)?;
    if config.run.mixed_precision {
        backbone = backbone.in_bfloat16(&device)?;
    }
    let setup = Setup {
        backbone,
        features: config.model.features(),
        audio_dims: feed.readers().iter().find_map(|r| r.index().audio.as_ref()).map(|a| a.dims),
        input: input.clone(),
        seed: config.run.seed,
    };
    // Judging is done without gradients and by process 0 alone.
    let set = if config.probe.recordings > 0 && ranks.rank() == 0 { probe_set(config, feed.readers())? } else { None };
    let judge = ProbeJudge { set, size_px: config.model.size_px, input, penalty: config.probe.penalty };
    let run = Run { config, paths, feed: &feed, judge, resume, ranks, stop, show };
    with_pretext(&config.task, config.whole_pretext()?, setup, run)
}
