//! Fine-tuning of the full model on labelled shards.

mod config;
mod predict;

pub use crate::train::ablate::VideoResult;
pub use config::FineTuneConfig;
pub use predict::Predictor;

use crate::error::{Error, Result};
use crate::metrics::Agreement;
use crate::render::Rng;
use crate::train::data::record::Split;
use crate::train::full::{Backbone, FineTune, FullNet, partial, pth};
use crate::train::loss::{Bins, Histogram, Recipe, Targets};
use crate::train::pretext::views::{self, Input, Normalise, ViewConfig};
use crate::train::run::checkpoint::{self, load_net};
use crate::train::run::feed::ClipFeed;
use crate::train::run::ranks::Ranks;
use crate::train::run::{At, BEST, Batch, Done, Judge, Loss, Method, Training, Verdict};
use crate::train::shards::Reader;
use burn::module::Module;
use burn::tensor::Device;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// What fine-tuning reads and writes.
#[derive(Debug, Clone)]
pub struct FineTunePaths {
    /// Folder of shards with a training and a validation split.
    pub shards: PathBuf,
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
        let logits = self.mode.forward(net, clips);
        let [n, t, heads] = logits.dims();
        let targets = Targets::new(&batch.labels, &self.bins, &self.input.device)?;
        let losses = self.recipe.loss(&logits.reshape([n * t, heads]), &targets)?;
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

/// CCC on a split of whole recordings; the score is the mean of the two dimensions', over all frames concatenated.
pub struct CccJudge {
    pub reader: Reader,
    pub split: Split,
    pub predictor: Predictor,
}

impl Judge<Supervised> for CccJudge {
    fn judge(&mut self, _method: &Supervised, net: &FullNet) -> Result<Verdict> {
        let results = self.predictor.split(net, &self.reader, self.split)?;
        let [arousal, valence] = agreement(&results);
        let figures = vec![
            (format!("{}_ccc_arousal", self.split.name()), arousal.ccc),
            (format!("{}_ccc_valence", self.split.name()), valence.ccc),
        ];
        Ok(Verdict { score: Some(0.5 * (arousal.ccc + valence.ccc)), figures })
    }
}

/// Agreement of (arousal, valence) over all labelled frames of all recordings, concatenated.
pub fn agreement(results: &[VideoResult]) -> [Agreement; 2] {
    [0, 1].map(|d| {
        let frames = results.iter().flat_map(|r| r.predicted.iter().zip(&r.labels));
        let (predicted, labels): (Vec<f64>, Vec<f64>) =
            frames.map(|(p, l)| (p[d], l[d])).filter(|(_, l)| !l.is_nan()).unzip();
        Agreement::of(&predicted, &labels)
    })
}

/// Pixel statistics of the training split.
///
/// # Errors
/// If there are none, or all pixels are alike.
pub fn normalise(reader: &Reader) -> Result<Normalise> {
    let pixels = reader.index().pixels.as_ref().filter(|p| p.std > 0.0);
    let pixels = pixels.ok_or_else(|| Error::input("the shards have no training split with pictures in it"))?;
    Ok(Normalise { mean: pixels.mean as f32, std: pixels.std as f32 })
}

/// Bins of arousal and valence: clusters of the training labels where the loss asks for them.
fn bins(recipe: &Recipe, reader: &Reader) -> Result<[Bins; 2]> {
    if !recipe.wants_clusters() {
        return Ok([Bins::Equal, Bins::Equal]);
    }
    let mut histograms = [Histogram::default(), Histogram::default()];
    for sample in reader.ordered(Split::Train) {
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
    if let Some(from) = from {
        let report;
        (net, report) = if from.extension().is_some_and(|e| e == "pth" || e == "pt") {
            pth::start_from(net, &config.model, from)?
        } else {
            partial::start_from(net, from)?
        };
        log::info!("{}: {report}", from.display());
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
    let feed = ClipFeed::new(Reader::open(&paths.shards)?, &config.clips, config.run.batch, config.run.seed)?;
    let normalise = normalise(feed.reader())?;
    let recipe = config.recipe()?;
    let net = start(config, paths.start_from.as_deref(), &device)?;
    let bins = bins(&recipe, feed.reader())?;
    let method = Supervised {
        recipe,
        bins: bins.clone(),
        mode: config.mode,
        views: config.views_of(feed.reader().index().size_px),
        input: Input { normalise, device: device.clone() },
    };
    let mut judge = CccJudge {
        reader: Reader::open(&paths.shards)?,
        split: Split::Valid,
        predictor: Predictor::of(config, normalise, &device),
    };
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
    let folder = checkpoint::find(run).ok_or_else(|| {
        Error::input("holds no run with a finished epoch")
            .at(run.display())
            .remedy("make one with `vaerr-train finetune`")
    })?;
    let progress = checkpoint::read_progress(&folder)?;
    let kept: Kept = serde_json::from_value(progress.settings)
        .map_err(|e| Error::input("is no fine-tuning run").at(run.display()).caused_by(e))?;
    let net = load_net(FullNet::new(&kept.config.model, 0, device)?, &run.join(BEST))?.valid();
    let predictor = Predictor::of(&kept.config, kept.normalise, device);
    Ok((net, predictor, kept))
}
