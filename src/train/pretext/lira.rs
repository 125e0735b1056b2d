//! Learning visual speech representations from audio (Ma et al. 2021, arXiv 2106.09171): the backbone, a Conformer and
//! a small perceptron predict the acoustic features of the clip's own sound.

use super::conformer::{Conformer, ConformerConfig};
use super::heads::{linear, values};
use super::standard::{Standard, Statistics};
use super::views::{Input, Span, ViewConfig, spans, views};
use super::{About, Encoder, Pretext, Setup, collapse};
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::full::Backbone;
use crate::train::run::{At, Batch, Loss, Method};
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Settings of LiRA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiraConfig {
    pub conformer: ConformerConfig,
    /// Units between the two layers of the perceptron.
    pub hidden: usize,
    /// Means and deviations that standardise the acoustic features; without them, those of all frames seen so far.
    pub statistics: Option<Statistics>,
    pub views: ViewConfig,
}

impl Default for LiraConfig {
    fn default() -> Self {
        Self { conformer: ConformerConfig::default(), hidden: 256, statistics: None, views: ViewConfig::mild(80) }
    }
}

impl LiraConfig {
    /// For narrow backbones.
    pub fn small(size_px: usize) -> Self {
        Self {
            conformer: ConformerConfig { dims: 64, expansion: 2, kernel: 15, ..ConformerConfig::default() },
            hidden: 64,
            views: ViewConfig::mild(size_px),
            ..Self::default()
        }
    }

    fn validate(&self) -> Result<()> {
        if self.hidden == 0 {
            return Err(Error::usage("lira: hidden must be above 0"));
        }
        self.conformer.validate()?;
        self.views.validate()
    }
}

/// The network that learns.
#[derive(Module, Debug)]
pub struct LiraNet<E: Encoder> {
    pub backbone: E,
    pub conformer: Conformer,
    pub up: Linear,
    pub down: Linear,
}

impl<E: Encoder> LiraNet<E> {
    /// Puts a head that predicts `audio` dimensions on a backbone of `features` channels.
    pub fn new(
        backbone: E,
        [features, audio]: [usize; 2],
        config: &LiraConfig,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        Self {
            backbone,
            conformer: Conformer::new(features, &config.conformer, rng, device),
            up: linear(config.conformer.dims, config.hidden, rng, device),
            down: linear(config.hidden, audio, rng, device),
        }
    }

    /// Features of the backbone `clips x frames x c` -> acoustic features `clips x frames x audio`, standardised.
    pub fn predict(&self, features: Tensor<3>) -> Tensor<3> {
        self.down.forward(activation::relu(self.up.forward(self.conformer.forward(features))))
    }
}

/// LiRA with the statistics of its targets.
pub struct Lira<E: Encoder = Backbone> {
    config: LiraConfig,
    input: Input,
    standard: Standard,
    encoder: std::marker::PhantomData<fn(E)>,
}

/// Standardised targets and which of them count.
struct Targets {
    /// `clips x frames x dims`; 0 where there is no sound.
    values: Vec<f32>,
    /// A frame: whether it has sound.
    heard: Vec<bool>,
}

/// Mean absolute error over the dimensions of the frames with sound; `heard`, `clips x frames x 1`, is 1 or 0.
pub fn l1(prediction: Tensor<3>, target: Tensor<3>, heard: Tensor<3>) -> Tensor<1> {
    let dims = prediction.dims()[2];
    let count = heard.clone().sum() * dims as f64;
    ((prediction - target) * heard).abs().sum() / count
}

impl<E: Encoder> Lira<E> {
    /// For targets of `audio` dimensions.
    ///
    /// # Errors
    /// Settings that make no sense, or statistics of other dimensions.
    pub fn new(config: LiraConfig, input: Input, audio: usize) -> Result<Self> {
        config.validate()?;
        let standard = match &config.statistics {
            Some(given) => Standard::given(given, audio)?,
            None => Standard::running(audio),
        };
        Ok(Self { config, input, standard, encoder: std::marker::PhantomData })
    }

    /// The targets of the frames that the views take; running statistics take them in first.
    fn targets(&mut self, batch: &Batch, spans: &[Span]) -> Result<Targets> {
        let dims = self.standard.dims();
        let silent = || {
            Error::input("no clip of the batch has audio")
                .remedy("pretext lira needs shards made with --audio, from videos that have sound")
        };
        let (given, rows) = batch.audio.as_ref().ok_or_else(silent)?;
        if *given != dims {
            return Err(Error::input(format!("audio features of {given} dimensions, the network predicts {dims}")));
        }
        let row = |clip: usize, frame: usize| rows.get((clip * batch.frames + frame) * dims..)?.get(..dims);
        let mut targets = Targets { values: Vec::new(), heard: Vec::new() };
        for (clip, span) in spans.iter().enumerate() {
            for frame in span.indices() {
                let sound = row(clip, frame).filter(|r| r.iter().all(|v| v.is_finite()));
                targets.heard.push(sound.is_some());
                match sound {
                    Some(sound) => targets.values.extend_from_slice(sound),
                    None => targets.values.resize(targets.values.len() + dims, 0.0),
                }
            }
        }
        let heard = |targets: &mut Targets, f: &mut dyn FnMut(&mut [f32])| {
            let rows = targets.values.chunks_exact_mut(dims).zip(&targets.heard);
            rows.filter(|(_, heard)| **heard).for_each(|(row, _)| f(row));
        };
        if !targets.heard.contains(&true) {
            return Err(silent());
        }
        heard(&mut targets, &mut |row| self.standard.see(row));
        let apply = self.standard.transform();
        heard(&mut targets, &mut |row| apply(row));
        Ok(targets)
    }

    fn loss_of(&self, net: &LiraNet<E>, clips: Tensor<4>, targets: Targets) -> Result<Loss> {
        let [n, frames, _, _] = clips.dims();
        let device = clips.device();
        let features = net.backbone.encode(clips);
        let channels = features.dims()[2];
        let spread = collapse::feature_std(&values(features.clone().detach())?, channels);
        let share = targets.heard.iter().filter(|h| **h).count() as f64 / targets.heard.len() as f64;
        let heard: Vec<f32> = targets.heard.iter().map(|h| f32::from(u8::from(*h))).collect();
        let dims = self.standard.dims();
        let target = Tensor::from_data(TensorData::new(targets.values, [n, frames, dims]), &device);
        let heard = Tensor::from_data(TensorData::new(heard, [n, frames, 1]), &device);
        Ok(Loss {
            total: l1(net.predict(features), target, heard),
            terms: vec![("feature_std", spread), ("collapsed", collapse::by_spread(spread)), ("with_audio", share)],
        })
    }
}

impl Method for Lira {
    type Net = LiraNet<Backbone>;

    fn loss(&mut self, net: &Self::Net, batch: &Batch, _: At, rng: &mut Rng) -> Result<Loss> {
        let spans = spans(batch, &self.config.views, rng)?;
        let targets = self.targets(batch, &spans)?;
        let clips = views(batch, &self.config.views, &spans, &self.input, rng);
        self.loss_of(net, clips, targets)
    }

    fn after_step(&mut self, _: &Self::Net, _: At) {}

    fn save(&self, folder: &Path) -> Result<()> {
        self.standard.save(&folder.join("audio_statistics.json"))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        self.standard.load(&folder.join("audio_statistics.json"))
    }

    fn backbone<'a>(&self, net: &'a Self::Net) -> Option<&'a Backbone> {
        Some(&net.backbone)
    }
}

impl Pretext for Lira {
    const ABOUT: About = About {
        name: "lira",
        about: "predicts the acoustic features of the clip's own sound",
        paper: "arXiv 2106.09171",
    };
    type Config = LiraConfig;

    fn build(config: LiraConfig, setup: Setup) -> Result<(Self, Self::Net)> {
        let audio = setup.audio_dims.ok_or_else(|| {
            Error::input("the data has no audio features")
                .remedy("pretext lira needs shards made with --audio; byol and dino need none")
        })?;
        let rng = &mut setup.head_rng();
        let method = Self::new(config, setup.input, audio)?;
        let sizes = [setup.features, audio];
        let net = LiraNet::new(setup.backbone, sizes, &method.config, rng, &method.input.device);
        Ok((method, net))
    }
}

#[cfg(test)]
mod tests;
