//! Training of the face detector on pictures in which faces are marked.

mod card;
mod draw;
mod feed;
mod judge;
mod method;
mod net;
mod people;
mod quantize;
mod scenes;
mod score;
mod targets;

pub use draw::DrawConfig;
pub use feed::{CropFeed, Scenes};
pub use judge::PictureJudge;
pub use method::{Detecting, Terms};
pub use net::DetectorNet;
pub use score::{AtScore, Figures, SIZES, TURNS, span};

use crate::engine::simd::MapSimd;
use crate::error::{Error, Result};
use crate::model::onnx::{read_detector, write_detector};
use crate::model::sha256_hex;
use crate::session::Finder;
use crate::spec::detector::DetectorSpec;
use crate::train::data::bounded;
use crate::train::run::checkpoint::{self, load_net};
use crate::train::run::config::LoopConfig;
use crate::train::run::device::DeviceKind;
use crate::train::run::ranks::Ranks;
use crate::train::run::{BEST, Done, Training};
use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Settings of a detector's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectorConfig {
    pub run: LoopConfig,
    pub device: DeviceKind,
    pub draw: DrawConfig,
    pub terms: Terms,
    /// Crops of an epoch.
    pub crops: usize,
    /// Longer side of the pictures that are judged, in pixels.
    pub judge_px: usize,
    pub model: DetectorSpec,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self {
            run: LoopConfig {
                epochs: 40,
                batch: 32,
                learning_rate: 3e-3,
                min_learning_rate: 2e-5,
                warmup: 0.02,
                weight_decay: 1e-3,
                average_decay: 0.998,
                ..LoopConfig::default()
            },
            device: DeviceKind::default(),
            draw: DrawConfig::default(),
            terms: Terms::default(),
            crops: 16_000,
            judge_px: 320,
            model: DetectorSpec::small(),
        }
    }
}

impl DetectorConfig {
    /// # Errors
    /// Names the setting that makes no sense.
    pub fn validate(&self) -> Result<()> {
        self.run.validate()?;
        self.run.ensure_full_precision()?;
        self.model.validate()?;
        let d = &self.draw;
        let shares = d.any_roll >= 0.0 && d.some_roll >= 0.0 && d.any_roll + d.some_roll <= 1.0;
        let sizes = d.faces_px[0] > 0.0 && d.faces_px[0] < d.faces_px[1] && d.faces_px[1].is_finite();
        if !shares || !sizes || !(0.0..1.0).contains(&d.empty) || !(32..=1024).contains(&d.size_px) {
            return Err(Error::usage(format!("draw: {d:?} makes no sense")));
        }
        if self.crops < self.run.batch || !(64..=4096).contains(&self.judge_px) {
            return Err(Error::usage("crops must be at least a batch, and judge_px between 64 and 4096"));
        }
        Ok(())
    }
}

/// What a training reads and writes.
#[derive(Debug, Clone)]
pub struct DetectorPaths {
    /// Zips of pictures with marks.
    pub scenes: Vec<PathBuf>,
    /// Names of the pictures that are judged on and not trained on.
    pub held_out: PathBuf,
    /// Folder of the run.
    pub run: PathBuf,
}

/// Trains a detector, or with `resume` goes on. The best epoch by average precision stands in
/// `best.bpk`.
///
/// # Errors
/// As [`Training::train`]; or settings and data that do not fit each other.
pub fn train(
    config: &DetectorConfig,
    paths: &DetectorPaths,
    resume: bool,
    ranks: &dyn Ranks,
    stop: &AtomicBool,
    show: bool,
) -> Result<Done> {
    config.validate()?;
    let device = config.device.open(ranks.local_rank(), config.run.recompute)?;
    let held_out = scenes::names(&paths.held_out)?;
    let mut judge = PictureJudge { scenes: scenes::read(&paths.scenes, &held_out, true)?, long_px: config.judge_px };
    let seen = Scenes::new(scenes::read(&paths.scenes, &held_out, false)?, config.draw.rendered, config.run.seed)?;
    log::info!("{} pictures with {} faces; {} are held out", seen.pictures(), seen.faces(), judge.scenes.len());
    let feed = CropFeed {
        scenes: Arc::new(seen),
        draw: config.draw.clone(),
        spec: config.model.clone(),
        batch: config.run.batch,
        batches: config.crops / config.run.batch,
        seed: config.run.seed,
    };
    let training = Training {
        config: &config.run,
        settings: serde_json::to_value(config).map_err(|e| Error::usage("cannot be kept").caused_by(e))?,
        folder: &paths.run,
        method: Detecting { terms: config.terms, spec: config.model.clone() },
        feed: &feed,
        judge: &mut judge,
        ranks,
        stop,
        show,
    };
    training.train(DetectorNet::new(&config.model, config.run.seed, &device), resume)
}

/// A finished run's best network, in inference mode, with its settings.
///
/// # Errors
/// If the folder holds no run of a detector with a finished epoch.
pub fn best(run: &Path) -> Result<(DetectorNet, DetectorConfig)> {
    let (config, _): (DetectorConfig, _) = checkpoint::kept(run, "detector train", "run of a detector")?;
    let net = DetectorNet::new(&config.model, 0, &Device::flex().autodiff());
    Ok((load_net(net, &run.join(BEST))?.valid(), config))
}

/// Pictures to judge on, and how.
#[derive(Debug, Clone)]
pub struct Judged {
    pub scenes: Vec<PathBuf>,
    /// Names of those to judge on.
    pub held_out: PathBuf,
    /// Longer side of each picture as the network sees it, in pixels.
    pub long_px: usize,
    /// Each picture is turned by this, clockwise, in degrees.
    pub roll_deg: f32,
}

/// What a run's best network reaches.
///
/// # Errors
/// As [`best`]; or pictures that cannot be read.
pub fn judge(run: &Path, on: &Judged) -> Result<Figures> {
    let (net, config) = best(run)?;
    let scenes = scenes::read(&on.scenes, &scenes::names(&on.held_out)?, true)?;
    judge::judged(&mut judge::Trained { net: &net, spec: &config.model }, &scenes, on.long_px, on.roll_deg)
}

/// What an int8 detector reaches on our own kernels.
///
/// # Errors
/// A model that cannot be read or run; or pictures that cannot be read.
pub fn judge_model(model: &Path, on: &Judged) -> Result<Figures> {
    let bytes = bounded::read(model, MOST_MODEL_BYTES)?;
    let model = read_detector(&bytes).map_err(|e| e.at(model.display()))?;
    let scenes = scenes::read(&on.scenes, &scenes::names(&on.held_out)?, true)?;
    let mut finder = Finder::new(Box::new(MapSimd::open(&model)?), on.long_px, judge::LEAST_SCORE);
    judge::judged(&mut finder, &scenes, on.long_px, on.roll_deg)
}

/// The card of an int8 detector, with what it reaches on `on`'s pictures at every roll of
/// [`card::ROLLS`]; `data` says what it was trained on and what it may be used for.
///
/// # Errors
/// As [`judge_model`].
pub fn card(model: &Path, on: &Judged, data: &str) -> Result<String> {
    let bytes = bounded::read(model, MOST_MODEL_BYTES)?;
    let detector = read_detector(&bytes).map_err(|e| e.at(model.display()))?;
    let rolled = card::ROLLS.iter().map(|&roll_deg| judge_model(model, &Judged { roll_deg, ..on.clone() }));
    let weights = detector.convs.iter().map(|c| c.weight.len() + c.bias.len());
    let heads = detector.heads.iter().map(|h| h.weight.len() + h.bias.len());
    let facts = card::Facts {
        digest: sha256_hex(&bytes),
        bytes: bytes.len(),
        macs: detector.spec.macs([240, 320]),
        weights: weights.chain(heads).sum(),
        data: data.trim().to_owned(),
        rolled: rolled.collect::<Result<_>>()?,
    };
    Ok(facts.card())
}

/// Most bytes of a detector's file.
const MOST_MODEL_BYTES: u64 = 64 << 20;

/// A run's best network in int8, as an ONNX file; its ranges are chosen on pictures that were
/// trained on.
///
/// # Errors
/// As [`best`] and [`quantize::quantize`].
pub fn to_int8(run: &Path, scenes: &[PathBuf], held_out: &Path) -> Result<Vec<u8>> {
    let (net, config) = best(run)?;
    let mut pictures = scenes::read(scenes, &scenes::names(held_out)?, false)?;
    // Evenly from all of them.
    let step = (pictures.len() / CALIBRATED).max(1);
    pictures = pictures.into_iter().step_by(step).take(CALIBRATED).collect();
    let model = quantize::quantize(&net, &config.model, &pictures, config.judge_px)?;
    Ok(write_detector(&model))
}

/// Pictures that ranges are chosen on.
const CALIBRATED: usize = 256;
