//! DINO's projection head.

use super::DinoConfig;
use crate::render::Rng;
use crate::train::net::normal;
use crate::train::pretext::heads::{linear, unit_rows};
use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig, Linear};
use burn::tensor::{Device, Tensor, activation};

/// Three linear layers with GELU between, rows scaled to unit length, then cosines with the prototypes (section 3.1 and
/// appendix C).
#[derive(Module, Debug)]
pub struct DinoHead {
    pub layers: Vec<Linear>,
    /// One after each of the first two layers, or none.
    pub norms: Vec<BatchNorm>,
    /// `bottleneck x prototypes`; each column counts by its direction alone, which is weight normalisation with a gain
    /// of 1.
    pub prototypes: Param<Tensor<2>>,
}

impl DinoHead {
    pub(super) fn new(features: usize, config: &DinoConfig, rng: &mut Rng, device: &Device) -> Self {
        let DinoConfig { hidden, bottleneck, prototypes, .. } = *config;
        let mut layer = |inputs, outputs| linear(inputs, outputs, rng, device);
        let layers = vec![layer(features, hidden), layer(hidden, hidden), layer(hidden, bottleneck)];
        let norms = if config.batch_norm { 2 } else { 0 };
        let norms = (0..norms).map(|_| BatchNormConfig::new(hidden).init(device)).collect();
        Self { layers, norms, prototypes: normal([bottleneck, prototypes], 1.0, rng, device) }
    }

    /// Rows `n x features` -> logits `n x prototypes` in [-1, 1]; `frozen` keeps gradients from the prototypes.
    pub fn forward(&self, x: Tensor<2>, frozen: bool) -> Tensor<2> {
        let last = self.layers.len() - 1;
        let x = self.layers.iter().enumerate().fold(x, |x, (i, layer)| {
            let x = layer.forward(x);
            let x = match self.norms.get(i) {
                Some(norm) => norm.forward(x),
                None => x,
            };
            if i < last { activation::gelu(x) } else { x }
        });
        let prototypes = self.prototypes.val();
        let prototypes = if frozen { prototypes.detach() } else { prototypes };
        let length = (prototypes.clone().square().sum_dim(0) + 1e-12).sqrt();
        unit_rows(x).matmul(prototypes / length)
    }
}
