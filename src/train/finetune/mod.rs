//! Fine-tuning of the full model on labelled shards.

mod config;
mod judge;
mod predict;

pub use crate::train::ablate::VideoResult;
pub use config::FineTuneConfig;
pub use judge::{CccJudge, agreement, judged_sets, verdict, warn_of_length};
pub use predict::Predictor;

use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::data::record::Split;
use crate::train::full::{Backbone, FineTune, FullNet, partial, pth};
use crate::train::loss::{Bins, Histogram, Recipe};
use crate::train::pretext::views::{self, Input, Normalise, ViewConfig};
use crate::train::run::checkpoint::{self, load_net};
use crate::train::run::feed::ClipFeed;
use crate::train::run::ranks::Ranks;
use crate::train::run::{At, BEST, Batch, Done, Loss, Method, Training};
use crate::train::shards::{Pixels, Reader};
use burn::module::Module;
use burn::tensor::Device;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// What fine-tuning reads and writes.
#[derive(Debug, Clone)]
pub struct FineTunePaths {
    /// Folders of shards with a training split, at least one with a validation split.
    pub shards: Vec<PathBuf>,
    /// Folder of the run.
    pub run: PathBuf,
    /// Weights to start from: a file of this trainer, or one of the authors' `.pth`; what does not fit is left as drawn.
    pub start_from: Option<PathBuf>,
}

/// Fine-tuning as a [`Method`]: clips to logits to one of the ten losses.
pub struct Supervised {
    recipe: Recipe,
    bins: [Bins; 2],
    mode: FineTune,
    views: ViewConfig,
    input: Input,
}

impl Method for Supervised {
    type Net = FullNet;

    fn loss(&mut self, net: &FullNet, batch: &Batch, _at: At, rng: &mut Rng) -> Result<Loss> {
        let spans = views::spans(batch, &self.views, rng)?;
        let clips = views::views(batch, &self.views, &spans, &self.input, rng);
        let losses = self.recipe.loss_of_clips(self.mode.forward(net, clips), &batch.labels, &self.bins)?;
        Ok(Loss { terms: losses.terms()?, total: losses.total })
    }

    fn after_step(&mut self, _net: &FullNet, _at: At) {}

    fn save(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, _folder: &Path) -> Result<()> {
        Ok(())
    }

    fn backbone<'a>(&self, net: &'a FullNet) -> Option<&'a Backbone> {
        Some(&net.backbone)
    }
}

/// Pixel statistics of the training splits of all folders, pooled.
///
/// # Errors
/// If there are none, or all pixels are alike.
pub fn normalise(readers: &[Reader]) -> Result<Normalise> {
    let pixels = Pixels::pooled(readers.iter().filter_map(|r| r.index().pixels.as_ref())).filter(|p| p.std > 0.0);
    let pixels = pixels.ok_or_else(|| Error::input("the shards have no training split with pictures in it"))?;
    Ok(Normalise { mean: pixels.mean as f32, std: pixels.std as f32 })
}

/// Bins of arousal and valence: clusters of the training labels where the loss asks for them.
fn bins(recipe: &Recipe, readers: &[Reader]) -> Result<[Bins; 2]> {
    if !recipe.wants_clusters() {
        return Ok([Bins::Equal, Bins::Equal]);
    }
    let mut histograms = [Histogram::default(), Histogram::default()];
    for sample in readers.iter().flat_map(|r| r.ordered(Split::Train)) {
        for label in sample?.labels {
            histograms.iter_mut().zip(label).for_each(|(h, v)| h.add(v));
        }
    }
    Ok(histograms.each_ref().map(Bins::clustered))
}

/// The network that `config` starts from.
///
/// # Errors
/// If `from` cannot be read, or holds nothing that fits.
pub fn start(config: &FineTuneConfig, from: Option<&Path>, device: &Device) -> Result<FullNet> {
    let mut net = FullNet::new(&config.model, config.run.seed, device)?;
    if config.run.mixed_precision {
        net.backbone = net.backbone.in_bfloat16(device)?;
    }
    if let Some(from) = from {
        let report;
        (net, report) = if from.extension().is_some_and(|e| e == "pth" || e == "pt") {
            pth::start_from(net, &config.model, from)?
        } else {
            partial::start_from(net, from)?
        };
        log::info!("{}: {report}", from.display());
        if config.middle_tap {
            net.backbone.stem = net.backbone.stem.middle_tap();
        }
    } else if config.mode != FineTune::Full {
        log::warn!("a part of the network is frozen as it was drawn at random: give weights by --start-from");
    }
    Ok(config.mode.freeze(net))
}

/// Fine-tunes, or with `resume` goes on. The best epoch by mean validation CCC stands in `best.bpk`.
///
/// # Errors
/// As [`Training::train`]; or settings and data that do not fit each other.
pub fn finetune(
    config: &FineTuneConfig,
    paths: &FineTunePaths,
    resume: bool,
    ranks: &dyn Ranks,
    stop: &AtomicBool,
    show: bool,
) -> Result<Done> {
    config.validate()?;
    let device = config.device.open(ranks.local_rank(), config.run.recompute)?;
    let readers = Reader::open_all(&paths.shards)?;
    let feed = ClipFeed::new(readers.clone(), &config.clips, config.run.batch, config.run.seed)?;
    warn_of_length(&readers, config.clips.every, feed.frames())?;
    let normalise = normalise(&readers)?;
    let recipe = config.recipe()?;
    let net = start(config, paths.start_from.as_deref(), &device)?;
    let bins = bins(&recipe, feed.readers())?;
    let method = Supervised {
        recipe,
        bins: bins.clone(),
        mode: config.mode,
        views: config.views_of(feed.size_px()),
        input: Input { normalise, device: device.clone() },
    };
    let mut judge = CccJudge::new(readers, Split::Valid, Predictor::of(config, normalise, &bins, &device)?)?;
    let kept = Kept { config: config.clone(), start_from: paths.start_from.clone(), normalise, bins };
    let training = Training {
        config: &config.run,
        settings: serde_json::to_value(&kept).map_err(|e| Error::usage("cannot be kept").caused_by(e))?,
        folder: &paths.run,
        method,
        feed: &feed,
        judge: &mut judge,
        ranks,
        stop,
        show,
    };
    training.train(net, resume)
}

/// What a run's checkpoint says of the network, for whoever reads it later.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Kept {
    pub config: FineTuneConfig,
    pub start_from: Option<PathBuf>,
    pub normalise: Normalise,
    /// Classes of the bin outputs.
    pub bins: [Bins; 2],
}

/// A finished run's best network, in inference mode, and what reads recordings as it was trained to.
///
/// # Errors
/// If the folder holds no fine-tuning run with a finished epoch.
pub fn best(run: &Path, device: &Device) -> Result<(FullNet, Predictor, Kept)> {
    let (kept, _): (Kept, _) = checkpoint::kept(run, "finetune", "fine-tuning run")?;
    let net = load_net(FullNet::new(&kept.config.model, 0, device)?, &run.join(BEST))?.valid();
    let predictor = Predictor::of(&kept.config, kept.normalise, &kept.bins, device)?;
    Ok((net, predictor, kept))
}
