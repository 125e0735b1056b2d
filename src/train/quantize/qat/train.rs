//! The run: settings, judge, and the loop around them.

use super::feed::StillFeed;
use super::method::{LabelLoss, Objective, Qat};
use super::net::QatNet;
use crate::error::{Error, Result};
use crate::model::{Student, onnx, sha256_hex};
use crate::spec::{CropRule, StudentSpec};
use crate::train::data::augment::Augment;
use crate::train::evaluate::STEPS;
use crate::train::loss::{Bins, Recipe};
use crate::train::quantize::{Data, Judged, Ptq};
use crate::train::run::checkpoint::load_net;
use crate::train::run::config::LoopConfig;
use crate::train::run::device::DeviceKind;
use crate::train::run::feed::{ClipConfig, ClipFeed};
use crate::train::run::ranks::Ranks;
use crate::train::run::{BEST, Done, Feed, Judge, Training, Verdict};
use burn::module::Module;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Everything that decides the outcome of training in int8, besides the student at the start and the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QatConfig {
    /// Number of one of the losses, or weights of its terms, as `finetune` takes it.
    pub loss: String,
    /// Train the scales as well; else they stay as calibrated.
    pub learn_scales: bool,
    /// Random views of faces.
    pub augment: bool,
    pub device: DeviceKind,
    /// Clips cut from shards.
    pub clips: ClipConfig,
    pub run: LoopConfig,
}

impl Default for QatConfig {
    fn default() -> Self {
        let run = LoopConfig { epochs: 3, batch: 32, learning_rate: 1e-4, weight_decay: 1e-4, ..LoopConfig::default() };
        Self {
            loss: "6".into(),
            learn_scales: true,
            augment: true,
            device: DeviceKind::default(),
            clips: ClipConfig { seconds: 1.0, ..ClipConfig::default() },
            run,
        }
    }
}

impl QatConfig {
    /// # Errors
    /// Names the setting that makes no sense.
    pub fn validate(&self) -> Result<()> {
        self.objective()?;
        self.clips.validate()?;
        self.run.ensure_full_precision()?;
        self.run.validate()
    }

    /// The loss against labels.
    ///
    /// # Errors
    /// If it is none.
    pub fn objective(&self) -> Result<LabelLoss> {
        let recipe: Recipe = self.loss.parse()?;
        recipe.validate()?;
        Ok(LabelLoss { recipe, bins: [Bins::Equal, Bins::Equal] })
    }
}

/// Judges the exported student: mean CCC on what is held out, through the runtime's int8 kernels.
pub struct Int8Judge<'a> {
    pub spec: &'a StudentSpec,
    pub data: &'a Data,
}

impl<O: Objective> Judge<Qat<O>> for Int8Judge<'_> {
    fn judge(&mut self, _method: &Qat<O>, net: &QatNet) -> Result<Verdict> {
        let [arousal, valence] = Judged::of(&net.int8(self.spec)?, self.data)?.agreement();
        let figures = vec![("held_ccc_arousal".into(), arousal.ccc), ("held_ccc_valence".into(), valence.ccc)];
        Ok(Verdict { score: Some(0.5 * (arousal.ccc + valence.ccc)), figures })
    }
}

/// What training starts from and reads.
pub struct QatStart<'a> {
    pub ptq: &'a Ptq,
    pub data: &'a Data,
    /// The run's own folder.
    pub folder: &'a Path,
}

/// What a checkpoint is kept for: the settings, and the student that the run began with.
#[derive(Serialize)]
struct Kept<'a> {
    config: &'a QatConfig,
    start: String,
}

/// Trains `start.ptq` in int8 by `objective`, or with `resume` goes on, and gives the student of the best epoch.
///
/// # Errors
/// As [`Training::train`].
pub fn qat<O: Objective>(
    config: &QatConfig,
    start: &QatStart,
    objective: O,
    resume: bool,
    ranks: &dyn Ranks,
    stop: &AtomicBool,
    show: bool,
) -> Result<(Student, Done)> {
    config.validate()?;
    let device = config.device.open(ranks.local_rank(), config.run.recompute)?;
    let (spec, batch, seed) = (&start.ptq.int8.spec, config.run.batch, config.run.seed);
    let (rule, feed): (CropRule, Box<dyn Feed>) = match start.data {
        Data::Stills { rule, train, .. } => (*rule, Box::new(StillFeed::new(train.clone(), batch, seed)?)),
        Data::Shards { rule, readers, .. } => {
            (*rule, Box::new(ClipFeed::new(readers.clone(), &config.clips, batch, seed)?))
        }
    };
    let method = Qat {
        spec: spec.clone(),
        rule,
        augment: config.augment.then(Augment::default),
        learn_scales: config.learn_scales,
        shown: STEPS,
        objective,
    };
    let net = QatNet::new(start.ptq, &device)?;
    let kept = Kept { config, start: sha256_hex(&onnx::write_student(&start.ptq.int8)) };
    let training = Training {
        config: &config.run,
        settings: serde_json::to_value(&kept).map_err(|e| Error::usage("cannot be kept").caused_by(e))?,
        folder: start.folder,
        method,
        feed: &*feed,
        judge: &mut Int8Judge { spec, data: start.data },
        ranks,
        stop,
        show,
    };
    let done = training.train(net.clone(), resume)?;
    let trained = load_net(net.valid(), &start.folder.join(BEST))?.int8(spec)?;
    Ok((trained, done))
}
