//! Layers that several tasks put on top of the backbone, with weights drawn by a seed.

use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::net::uniform;
use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Linear};
use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};

/// Uniform weights within `1 / sqrt(inputs)`, as PyTorch draws them.
pub fn linear(inputs: usize, outputs: usize, rng: &mut Rng, device: &Device) -> Linear {
    let limit = 1.0 / (inputs as f64).sqrt();
    Linear {
        weight: uniform([inputs, outputs], limit, rng, device),
        bias: Some(uniform([outputs], limit, rng, device)),
    }
}

/// Linear, BatchNorm, ReLU, Linear: BYOL's projector and predictor (arXiv 2006.07733, section 3.3).
#[derive(Module, Debug)]
pub struct BnMlp {
    pub up: Linear,
    pub norm: BatchNorm,
    pub down: Linear,
}

impl BnMlp {
    pub fn new(inputs: usize, hidden: usize, outputs: usize, rng: &mut Rng, device: &Device) -> Self {
        Self {
            up: linear(inputs, hidden, rng, device),
            norm: BatchNormConfig::new(hidden).init(device),
            down: linear(hidden, outputs, rng, device),
        }
    }

    /// Rows `n x inputs` -> `n x outputs`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.down.forward(activation::relu(self.norm.forward(self.up.forward(x))))
    }
}

/// What one row of a loss stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// A clip: its features are averaged over time.
    Clip,
    /// A frame; both views of a clip then take the same frames.
    Frame,
}

impl Pool {
    /// Features `clips x frames x c` -> rows `n x c`, clip by clip.
    pub fn rows(self, features: Tensor<3>) -> Tensor<2> {
        let [clips, frames, c] = features.dims();
        match self {
            Pool::Clip => features.mean_dim(1).reshape([clips, c]),
            Pool::Frame => features.reshape([clips * frames, c]),
        }
    }
}

/// Rows scaled to unit length; a row of zeros stays one.
pub fn unit_rows(x: Tensor<2>) -> Tensor<2> {
    let length = (x.clone().square().sum_dim(1) + 1e-12).sqrt();
    x / length
}

/// A tensor without history, to stand beside `other` in one expression.
pub(super) fn constant<const D: usize, const E: usize>(x: Tensor<D>, other: &Tensor<E>) -> Tensor<D> {
    let x = x.without_autodiff();
    match other.gradient_checkpointing_strategy() {
        Some(strategy) => x.autodiff().with_gradient_checkpointing_strategy(strategy),
        None => x,
    }
}

/// A tensor's values on the host.
pub(super) fn values<const D: usize>(x: Tensor<D>) -> Result<Vec<f32>> {
    x.try_into_vec_as::<f32>().map_err(|e| Error::device("a tensor cannot be read back").caused_by(e.to_string()))
}
