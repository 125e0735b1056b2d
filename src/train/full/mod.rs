//! The paper's full model ("teacher"): 3D stem, ResNet-18 trunk, bidirectional GRU, linear head (arXiv 2210.11341).

pub mod backbone;
pub mod gru;
pub mod modes;
pub mod partial;
pub mod pth;
mod safetensors;

pub use backbone::Backbone;
pub use gru::BiGru;
pub use modes::FineTune;
pub(super) use modes::apart;

use super::net::{normal, uniform};
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::spec::HEADS;
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// Shape of the full model. The default is the paper's; a smaller `width` or `hidden` gives the same network narrower,
/// for CPUs and tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullSpec {
    /// Side of the square grey input, 16 to 512.
    pub size_px: usize,
    /// Channels of the stem and of the trunk's first stage, 1 to 256; the trunk ends in 8 times as many.
    pub width: usize,
    /// GRU units in each direction, 1 to 2048.
    pub hidden: usize,
    /// GRU layers, 1 to 8.
    pub layers: usize,
}

impl Default for FullSpec {
    fn default() -> Self {
        Self { size_px: 96, width: 64, hidden: 256, layers: 2 }
    }
}

impl FullSpec {
    /// Channels after the trunk: 512 in the paper's model.
    pub fn features(&self) -> usize {
        8 * self.width
    }

    /// Weights of the backbone's convolutions.
    pub fn backbone_weights(&self) -> u64 {
        let width = self.width as u64;
        let stage = |s: u32| {
            let (out, input) = (width << s, width << s.saturating_sub(1));
            9 * out * (input + 3 * out) + if s > 0 { out * input } else { 0 }
        };
        width * (backbone::TAPS * 7 * 7) as u64 + (0..4).map(stage).sum::<u64>()
    }

    /// Weights of the GRU's matrices.
    pub fn temporal_weights(&self) -> u64 {
        let [features, hidden] = [self.features(), self.hidden].map(|n| n as u64);
        let layer = |i: usize| 2 * 3 * hidden * (hidden + if i == 0 { features } else { 2 * hidden });
        (0..self.layers).map(layer).sum()
    }

    /// # Errors
    /// If a size lies outside its range.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            ("size_px", self.size_px, 16..=512),
            ("width", self.width, 1..=256),
            ("hidden", self.hidden, 1..=2048),
            ("layers", self.layers, 1..=8),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                let wanted = format!("full model: {name} is {value}, expected {} to {}", range.start(), range.end());
                return Err(Error::input(wanted));
            }
        }
        Ok(())
    }
}

/// The full model.
#[derive(Module, Debug)]
pub struct FullNet {
    pub backbone: Backbone,
    pub gru: BiGru,
    /// `2 hidden -> 42`, in the order of [`crate::spec::Head`].
    pub head: Linear,
}

impl FullNet {
    /// Draws the weights by `seed` alone, as the authors' code distributes them: He by fan-out for convolutions, uniform
    /// in ±1/sqrt(hidden) for the GRU, normal of deviation sqrt(2 / inputs) for the head.
    ///
    /// # Errors
    /// If `spec` is out of range.
    pub fn new(spec: &FullSpec, seed: u64, device: &Device) -> Result<Self> {
        spec.validate()?;
        let rng = &mut Rng::new(seed, 2 << 48);
        let inputs = 2 * spec.hidden;
        Ok(Self {
            backbone: Backbone::draw(spec, rng, device),
            gru: BiGru::draw(spec.features(), spec.hidden, spec.layers, rng, device),
            head: Linear {
                weight: normal([inputs, HEADS], (2.0 / inputs as f64).sqrt(), rng, device),
                bias: Some(uniform([HEADS], 1.0 / (inputs as f64).sqrt(), rng, device)),
            },
        })
    }

    /// Normalised clips `B x T x H x W` -> logits `B x T x 42`.
    ///
    /// Frame `t` sees frames `t - 2 ..= t + 2` through the stem and the whole clip through the GRU; beyond the ends of
    /// the clip the stem sees zeros, which is the mean grey.
    pub fn forward(&self, clips: Tensor<4>) -> Tensor<3> {
        self.logits(self.backbone.forward(clips))
    }

    /// Features of the backbone `B x T x 8 width` -> logits `B x T x 42`.
    pub fn logits(&self, features: Tensor<3>) -> Tensor<3> {
        self.head.forward(self.gru.forward(features))
    }
}

#[cfg(test)]
mod tests;
