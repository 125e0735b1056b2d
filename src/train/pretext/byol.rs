//! Bootstrap your own latent (Grill et al. 2020, arXiv 2006.07733).
//!
//! Two views of a clip; the online network predicts, from one view, what the target network makes of the other. The
//! target is an exponential moving average of the online network and gets no gradient.

use super::ema::{Ema, Momentum, fresh};
use super::heads::{BnMlp, Pool, constant, unit_rows, values};
use super::views::{Input, ViewConfig, spans, views};
use super::{About, Encoder, Pretext, Setup, collapse};
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::full::Backbone;
use crate::train::run::{At, Batch, Loss, Method};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Settings of BYOL; the default is the paper's at the full model's size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ByolConfig {
    /// Units between the two layers of projector and predictor.
    pub hidden: usize,
    /// Dimensions that are compared.
    pub dims: usize,
    pub pool: Pool,
    /// The target's momentum at the first step.
    pub momentum: Momentum,
    pub views: ViewConfig,
}

impl Default for ByolConfig {
    fn default() -> Self {
        Self {
            hidden: 4096,
            dims: 256,
            pool: Pool::Clip,
            momentum: Momentum::from(0.996),
            views: ViewConfig::strong(80, [0.3, 1.0]),
        }
    }
}

impl ByolConfig {
    /// For narrow backbones and runs of a few hundred steps, on clips of `frames` frames: small heads, views of half
    /// the frames, a target that moves sooner.
    pub fn small(size_px: usize, frames: usize) -> Self {
        let views = ViewConfig::strong(size_px, [0.3, 1.0]);
        Self {
            hidden: 256,
            dims: 64,
            momentum: Momentum::from(0.97),
            views: ViewConfig { frames: frames.div_ceil(2), max_stride: 2, ..views },
            ..Self::default()
        }
    }

    fn validate(&self) -> Result<()> {
        if self.hidden == 0 || self.dims == 0 {
            return Err(Error::usage("byol: hidden and dims must be above 0"));
        }
        self.momentum.validate()?;
        self.views.validate()
    }
}

/// What online network and target share in shape.
#[derive(Module, Debug)]
pub struct Branch<E: Encoder> {
    pub backbone: E,
    pub projector: BnMlp,
}

impl<E: Encoder> Branch<E> {
    /// Clips `n x T x H x W` -> rows `m x dims`.
    fn project(&self, clips: Tensor<4>, pool: Pool) -> Tensor<2> {
        self.projector.forward(pool.rows(self.backbone.encode(clips)))
    }
}

/// The network that learns.
#[derive(Module, Debug)]
pub struct ByolNet<E: Encoder> {
    pub online: Branch<E>,
    pub predictor: BnMlp,
}

impl<E: Encoder> ByolNet<E> {
    /// Puts heads on a backbone of `features` channels.
    pub fn new(backbone: E, features: usize, config: &ByolConfig, rng: &mut Rng, device: &Device) -> Self {
        let ByolConfig { hidden, dims, .. } = *config;
        Self {
            online: Branch { backbone, projector: BnMlp::new(features, hidden, dims, rng, device) },
            predictor: BnMlp::new(dims, hidden, dims, rng, device),
        }
    }
}

/// `2 - 2 cos(prediction, projection)`, the mean over rows (equation 2).
pub fn regression(prediction: Tensor<2>, projection: Tensor<2>) -> Tensor<1> {
    (unit_rows(prediction) * unit_rows(projection)).sum_dim(1).mean() * -2.0 + 2.0
}

/// BYOL with its target network.
pub struct Byol<E: Encoder = Backbone> {
    config: ByolConfig,
    input: Input,
    target: Ema<Branch<E>>,
}

impl<E: Encoder> Byol<E> {
    /// The target starts as a copy of the online network.
    ///
    /// # Errors
    /// Settings that make no sense.
    pub fn new(config: ByolConfig, input: Input, net: &ByolNet<E>) -> Result<Self> {
        config.validate()?;
        Ok(Self { config, input, target: Ema::of(&net.online) })
    }

    /// The target's averaged weights.
    pub fn target(&self) -> &Branch<E> {
        self.target.module()
    }

    /// Both views of every clip: first views, then second ones, `2 clips x T x H x W`.
    fn pair(&self, batch: &Batch, rng: &mut Rng) -> Result<Tensor<4>> {
        let config = &self.config.views;
        let first = spans(batch, config, rng)?;
        let second = match self.config.pool {
            Pool::Clip => spans(batch, config, rng)?,
            Pool::Frame => first.clone(),
        };
        let pair = [first, second].map(|s| views(batch, config, &s, &self.input, rng));
        Ok(Tensor::cat(pair.to_vec(), 0))
    }

    /// The loss of both directions, from 0 to 8, of a pair as [`Self::pair`] makes it. Each network takes both views in
    /// one pass, so a BatchNorm sees them together.
    fn loss_of(&self, net: &ByolNet<E>, pair: Tensor<4>) -> Result<Loss> {
        let pool = self.config.pool;
        let projected = net.online.project(pair.clone(), pool);
        let predicted = net.predictor.forward(projected.clone());
        let target = self.target.forward_copy().project(fresh(pair), pool);
        let target = constant(target, &predicted);
        let [rows, dims] = target.dims();
        let half = rows / 2;
        let swapped = Tensor::cat(vec![target.clone().narrow(0, half, half), target.narrow(0, 0, half)], 0);
        let spread = collapse::feature_std(&values(projected.detach())?, dims);
        Ok(Loss {
            total: regression(predicted, swapped) * 2.0,
            terms: vec![("feature_std", spread), ("collapsed", collapse::by_spread(spread))],
        })
    }

    fn step(&mut self, net: &ByolNet<E>, at: At) {
        self.target.update(&net.online, self.config.momentum.at(at));
    }
}

impl Method for Byol {
    type Net = ByolNet<Backbone>;

    fn loss(&mut self, net: &Self::Net, batch: &Batch, at: At, rng: &mut Rng) -> Result<Loss> {
        let pair = self.pair(batch, rng)?;
        let mut loss = self.loss_of(net, pair)?;
        loss.terms.push(("momentum", self.config.momentum.at(at)));
        Ok(loss)
    }

    fn after_step(&mut self, net: &Self::Net, at: At) {
        self.step(net, at);
    }

    fn save(&self, folder: &Path) -> Result<()> {
        self.target.save(&folder.join("target.bpk"))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        self.target.load(&folder.join("target.bpk"))
    }

    fn backbone<'a>(&self, net: &'a Self::Net) -> Option<&'a Backbone> {
        Some(&net.online.backbone)
    }
}

impl Pretext for Byol {
    const ABOUT: About = About {
        name: "byol",
        about: "predicts what a slow copy of the network makes of another view",
        paper: "arXiv 2006.07733",
    };
    type Config = ByolConfig;

    fn build(config: ByolConfig, setup: Setup) -> Result<(Self, Self::Net)> {
        config.validate()?;
        let rng = &mut setup.head_rng();
        let net = ByolNet::new(setup.backbone, setup.features, &config, rng, &setup.input.device);
        Ok((Self::new(config, setup.input, &net)?, net))
    }
}

#[cfg(test)]
mod tests;
