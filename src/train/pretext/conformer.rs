//! The Conformer encoder (Gulati et al. 2020, arXiv 2005.08100), without dropout and with sinusoidal positions added
//! once at its input (Vaswani et al. 2017, section 3.5).

use super::heads::linear;
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::net::uniform;
use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::module::conv1d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};

/// Shape of the encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConformerConfig {
    pub blocks: usize,
    /// Channels within; a multiple of `heads`.
    pub dims: usize,
    pub heads: usize,
    /// The feed-forward layers are this many times wider.
    pub expansion: usize,
    /// Frames that the depthwise convolution spans; odd.
    pub kernel: usize,
}

impl Default for ConformerConfig {
    fn default() -> Self {
        Self { blocks: 2, dims: 256, heads: 4, expansion: 4, kernel: 31 }
    }
}

impl ConformerConfig {
    /// # Errors
    /// Names what does not fit.
    pub fn validate(&self) -> Result<()> {
        let Self { blocks, dims, heads, expansion, kernel } = *self;
        if [blocks, dims, heads, expansion, kernel].contains(&0) {
            return Err(Error::usage("conformer: a size is 0"));
        }
        if !dims.is_multiple_of(heads) {
            return Err(Error::usage(format!("conformer: {dims} dims cannot be shared among {heads} heads")));
        }
        if kernel.is_multiple_of(2) {
            return Err(Error::usage(format!("conformer: the kernel spans {kernel} frames, expected an odd number")));
        }
        Ok(())
    }
}

/// `x + 1/2 FFN(x)`: LayerNorm, linear, swish, linear.
#[derive(Module, Debug)]
pub struct FeedForward {
    pub norm: LayerNorm,
    pub up: Linear,
    pub down: Linear,
}

impl FeedForward {
    fn new(c: &ConformerConfig, rng: &mut Rng, device: &Device) -> Self {
        Self {
            norm: LayerNormConfig::new(c.dims).init(device),
            up: linear(c.dims, c.expansion * c.dims, rng, device),
            down: linear(c.expansion * c.dims, c.dims, rng, device),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let inner = activation::silu(self.up.forward(self.norm.forward(x.clone())));
        x + self.down.forward(inner) * 0.5
    }
}

/// `x + MHSA(x)`: LayerNorm, then scaled dot-product attention over all frames of a clip.
#[derive(Module, Debug)]
pub struct Attention {
    pub norm: LayerNorm,
    /// Queries, keys and values in one product, `dims -> 3 dims`.
    pub inputs: Linear,
    pub output: Linear,
    pub heads: usize,
}

impl Attention {
    fn new(c: &ConformerConfig, rng: &mut Rng, device: &Device) -> Self {
        Self {
            norm: LayerNormConfig::new(c.dims).init(device),
            inputs: linear(c.dims, 3 * c.dims, rng, device),
            output: linear(c.dims, c.dims, rng, device),
            heads: c.heads,
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [clips, frames, dims] = x.dims();
        let each = dims / self.heads;
        let all = self.inputs.forward(self.norm.forward(x.clone()));
        let [q, k, v] = [0, 1, 2].map(|i| {
            let part = all.clone().narrow(2, i * dims, dims).reshape([clips, frames, self.heads, each]);
            part.swap_dims(1, 2)
        });
        let scores = q.matmul(k.swap_dims(2, 3)) / (each as f64).sqrt();
        let mixed = activation::softmax(scores, 3).matmul(v);
        x + self.output.forward(mixed.swap_dims(1, 2).reshape([clips, frames, dims]))
    }
}

/// `x + Conv(x)`: LayerNorm, pointwise convolution with a gate (GLU), depthwise convolution over time, BatchNorm,
/// swish, pointwise convolution.
#[derive(Module, Debug)]
pub struct Convolution {
    pub norm: LayerNorm,
    pub gated: Linear,
    /// `dims x 1 x kernel`.
    pub depthwise: Param<Tensor<3>>,
    pub batch_norm: BatchNorm,
    pub output: Linear,
}

impl Convolution {
    fn new(c: &ConformerConfig, rng: &mut Rng, device: &Device) -> Self {
        Self {
            norm: LayerNormConfig::new(c.dims).init(device),
            gated: linear(c.dims, 2 * c.dims, rng, device),
            depthwise: uniform([c.dims, 1, c.kernel], 1.0 / (c.kernel as f64).sqrt(), rng, device),
            batch_norm: BatchNormConfig::new(c.dims).init(device),
            output: linear(c.dims, c.dims, rng, device),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gated = activation::glu(self.gated.forward(self.norm.forward(x.clone())), 2);
        let kernel = self.depthwise.val();
        let [dims, _, width] = kernel.dims();
        let over_time = conv1d(gated.swap_dims(1, 2), kernel, None, ConvOptions::new([1], [width / 2], [1], dims));
        let inner = activation::silu(self.batch_norm.forward(over_time));
        x + self.output.forward(inner.swap_dims(1, 2))
    }
}

/// Half a feed-forward step, attention, convolution, half a feed-forward step, LayerNorm (section 2.4).
#[derive(Module, Debug)]
pub struct Block {
    pub before: FeedForward,
    pub attention: Attention,
    pub convolution: Convolution,
    pub after: FeedForward,
    pub norm: LayerNorm,
}

impl Block {
    fn new(c: &ConformerConfig, rng: &mut Rng, device: &Device) -> Self {
        Self {
            before: FeedForward::new(c, rng, device),
            attention: Attention::new(c, rng, device),
            convolution: Convolution::new(c, rng, device),
            after: FeedForward::new(c, rng, device),
            norm: LayerNormConfig::new(c.dims).init(device),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.attention.forward(self.before.forward(x));
        self.norm.forward(self.after.forward(self.convolution.forward(x)))
    }
}

/// The encoder.
#[derive(Module, Debug)]
pub struct Conformer {
    pub input: Linear,
    pub blocks: Vec<Block>,
}

impl Conformer {
    /// For inputs of `features` channels; `config` must be valid.
    pub fn new(features: usize, config: &ConformerConfig, rng: &mut Rng, device: &Device) -> Self {
        let input = linear(features, config.dims, rng, device);
        Self { input, blocks: (0..config.blocks).map(|_| Block::new(config, rng, device)).collect() }
    }

    /// `clips x frames x features` -> `clips x frames x dims`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.input.forward(x);
        let [_, frames, dims] = x.dims();
        let positions = Tensor::<2>::from_data(TensorData::new(positions(frames, dims), [frames, dims]), &x.device());
        self.blocks.iter().fold(x + positions.unsqueeze(), |x, block| block.forward(x))
    }
}

/// `sin(t / 10000^(2i/dims))` at even places, the cosine at odd ones; `frames x dims`.
fn positions(frames: usize, dims: usize) -> Vec<f32> {
    let at = |t: usize, k: usize| {
        let angle = t as f64 / 10000f64.powf((k - k % 2) as f64 / dims as f64);
        if k.is_multiple_of(2) { angle.sin() as f32 } else { angle.cos() as f32 }
    };
    (0..frames).flat_map(|t| (0..dims).map(move |k| at(t, k))).collect()
}
