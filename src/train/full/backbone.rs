//! Stem and ResNet-18 trunk: what the pretext tasks train and hand on.

use super::FullSpec;
use crate::error::Result;
use crate::render::Rng;
use crate::train::net::normal;
use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, activation, module};

/// Frames that the stem's kernel spans.
pub const TAPS: usize = 5;

/// Blocks in the trunk: two in each of four stages.
pub const BLOCKS: usize = 8;

/// Convolution without bias, then BatchNorm (epsilon 1e-5, momentum 0.1).
#[derive(Module, Debug)]
pub struct ConvNorm {
    /// `out x in x k x k`.
    pub conv: Param<Tensor<4>>,
    pub norm: BatchNorm,
    pub stride: usize,
}

impl ConvNorm {
    /// Normal weights of deviation sqrt(2 / (taps * out)), He et al. 2015 by fan-out; `taps` is the kernel's volume.
    fn draw([out, input, k]: [usize; 3], taps: usize, stride: usize, rng: &mut Rng, device: &Device) -> Self {
        Self {
            conv: normal([out, input, k, k], (2.0 / (taps * out) as f64).sqrt(), rng, device),
            norm: BatchNormConfig::new(out).init(device),
            stride,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let kernel = self.conv.val();
        let pad = kernel.dims()[3] / 2;
        let options = ConvOptions::new([self.stride; 2], [pad; 2], [1; 2], 1);
        self.norm.forward(module::conv2d(x, kernel, None, options))
    }
}

/// Conv3d 1 -> width, kernel 5x7x7, stride 1x2x2; BatchNorm; ReLU; 3x3 max-pool of stride 2.
///
/// With one input channel the Conv3d is a Conv2d whose five input channels are the temporal taps, exactly.
#[derive(Module, Debug)]
pub struct Stem {
    pub layer: ConvNorm,
}

impl Stem {
    /// `B x T x H x W` -> `BT x 5 x H x W`: each frame with its two neighbours on either side, zeros beyond the ends.
    fn windows(clips: Tensor<4>) -> Tensor<4> {
        let [clips_n, frames, height, width] = clips.dims();
        let reach = TAPS / 2;
        let padded = clips.pad([(0, 0), (reach, reach), (0, 0), (0, 0)], 0.0);
        let taps = (0..TAPS).map(|k| padded.clone().narrow(1, k, frames)).collect();
        Tensor::stack::<5>(taps, 2).reshape([clips_n * frames, TAPS, height, width])
    }

    /// `B x T x H x W` -> `BT x width x H/4 x W/4`.
    pub fn forward(&self, clips: Tensor<4>) -> Tensor<4> {
        let x = activation::relu(self.layer.forward(Self::windows(clips)));
        module::max_pool2d(x, MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]))
    }
}

/// Basic block of He et al. 2016 (arXiv 1512.03385): two 3x3 convolutions and a shortcut, which is a 1x1 convolution
/// where the shape changes.
#[derive(Module, Debug)]
pub struct Block {
    pub first: ConvNorm,
    pub second: ConvNorm,
    pub shortcut: Option<ConvNorm>,
}

impl Block {
    fn draw(input: usize, out: usize, stride: usize, rng: &mut Rng, device: &Device) -> Self {
        Self {
            first: ConvNorm::draw([out, input, 3], 9, stride, rng, device),
            second: ConvNorm::draw([out, out, 3], 9, 1, rng, device),
            shortcut: (input != out).then(|| ConvNorm::draw([out, input, 1], 1, stride, rng, device)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let residual = self.second.forward(activation::relu(self.first.forward(x.clone())));
        let skipped = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        activation::relu(residual + skipped)
    }
}

/// Stem and trunk.
#[derive(Module, Debug)]
pub struct Backbone {
    pub stem: Stem,
    /// ResNet-18's eight blocks, of 1, 1, 2, 2, 4, 4, 8 and 8 times the width.
    pub trunk: Vec<Block>,
}

impl Backbone {
    /// Draws the weights by `seed` alone.
    ///
    /// # Errors
    /// If `spec` is out of range.
    pub fn new(spec: &FullSpec, seed: u64, device: &Device) -> Result<Self> {
        spec.validate()?;
        Ok(Self::draw(spec, &mut Rng::new(seed, 3 << 48), device))
    }

    pub(super) fn draw(spec: &FullSpec, rng: &mut Rng, device: &Device) -> Self {
        let width = spec.width;
        let block = |i: usize, rng: &mut Rng| {
            let out = width << (i / 2);
            let opens_stage = i.is_multiple_of(2) && i > 0;
            let (input, stride) = if opens_stage { (out / 2, 2) } else { (out, 1) };
            Block::draw(input, out, stride, rng, device)
        };
        Self {
            stem: Stem { layer: ConvNorm::draw([width, TAPS, 7], TAPS * 49, 2, rng, device) },
            trunk: (0..BLOCKS).map(|i| block(i, rng)).collect(),
        }
    }

    /// Normalised clips `B x T x H x W` -> features `B x T x 8 width`.
    pub fn forward(&self, clips: Tensor<4>) -> Tensor<3> {
        let [clips_n, frames, _, _] = clips.dims();
        self.pooled(self.stem.forward(clips), clips_n, frames)
    }

    /// Trunk and global mean: `BT x width x h x w` -> `B x T x 8 width`.
    pub(super) fn pooled(&self, x: Tensor<4>, clips: usize, frames: usize) -> Tensor<3> {
        let x = self.trunk.iter().fold(x, |x, block| block.forward(x));
        let [rows, channels, h, w] = x.dims();
        x.reshape([rows, channels, h * w]).mean_dim(2).reshape([clips, frames, channels])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stem_is_the_papers_conv3d() {
        let device = Device::flex();
        let rng = &mut Rng::new(5, 0);
        let stem = Backbone::draw(&FullSpec { width: 3, ..FullSpec::default() }, rng, &device).stem;
        let clips: Tensor<4> = normal([2, 4, 18, 22], 1.0, rng, &device).val();
        let options = ConvOptions::new([1, 2, 2], [2, 3, 3], [1; 3], 1);
        let kernel = stem.layer.conv.val().unsqueeze_dim::<5>(1);
        let volume = module::conv3d(clips.clone().unsqueeze_dim::<5>(1), kernel, None, options);
        let [_, _, _, h, w] = volume.dims();
        let frames: Tensor<4> = volume.swap_dims(1, 2).reshape([8, 3, h, w]);
        let layer = stem.layer.norm.forward(frames);
        let wanted = module::max_pool2d(
            activation::relu(layer),
            MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]),
        );
        let gap = (stem.forward(clips) - wanted).abs().max().into_scalar::<f32>();
        assert!(gap < 1e-5, "{gap}");
    }
}
