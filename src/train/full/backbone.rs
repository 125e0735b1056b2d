//! Stem and ResNet-18 trunk: what the pretext tasks train and hand on.

use super::FullSpec;
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::net::normal;
use crate::train::rows::{self, Rows};
use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, FloatDType, Tensor, activation, module};

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
    /// Whether the convolution is taken in bfloat16.
    pub bfloat16: bool,
}

impl ConvNorm {
    /// Normal weights of deviation sqrt(2 / (taps * out)), He et al. 2015 by fan-out; `taps` is the kernel's volume.
    fn draw([out, input, k]: [usize; 3], taps: usize, stride: usize, rng: &mut Rng, device: &Device) -> Self {
        Self {
            conv: normal([out, input, k, k], (2.0 / (taps * out) as f64).sqrt(), rng, device),
            norm: BatchNormConfig::new(out).init(device),
            stride,
            bfloat16: false,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let kernel = self.conv.val();
        let pad = kernel.dims()[3] / 2;
        let options = ConvOptions::new([self.stride; 2], [pad; 2], [1; 2], 1);
        let convolved = if self.bfloat16 {
            let half = |t: Tensor<4>| t.cast(FloatDType::BF16);
            module::conv2d(half(x), half(kernel), None, options).cast(FloatDType::F32)
        } else {
            module::conv2d(x, kernel, None, options)
        };
        self.norm.forward(convolved)
    }

    fn forward_rows(&self, x: &Rows) -> Rows {
        x.convolve(self.conv.val(), self.stride, &self.norm)
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

    /// The same stem without the taps before and after the middle one.
    #[must_use]
    pub fn middle_tap(mut self) -> Self {
        let middle = self.layer.conv.val().narrow(1, TAPS / 2, 1);
        let sides = [(0, 0), (TAPS / 2, TAPS / 2), (0, 0), (0, 0)];
        self.layer.conv = Param::from_tensor(middle.pad(sides, 0.0).detach());
        self
    }

    /// The convolution alone, by rows.
    fn columns(clips: Tensor<4>, kernel: Tensor<4>) -> Rows {
        let [clips_n, frames, _, _] = clips.dims();
        rows::first(clips, clips_n * frames, kernel, 2, |i, tap| {
            let t = (i % frames + tap).checked_sub(TAPS / 2).filter(|t| *t < frames)?;
            Some(i / frames * frames + t)
        })
    }

    /// `B x T x H x W` -> `BT x width x H/4 x W/4`.
    pub fn forward(&self, clips: Tensor<4>) -> Tensor<4> {
        let by_rows = !self.layer.bfloat16 && rows::suit(8 * self.layer.conv.val().dims()[0], &clips);
        self.run(clips, by_rows)
    }

    fn run(&self, clips: Tensor<4>, by_rows: bool) -> Tensor<4> {
        let x = if by_rows {
            Self::columns(clips, self.layer.conv.val()).normalised(&self.layer.norm).planes()
        } else {
            self.layer.forward(Self::windows(clips))
        };
        let x = activation::relu(x);
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

    fn forward_rows(&self, x: &Rows) -> Rows {
        let residual = self.second.forward_rows(&self.first.forward_rows(x).relu());
        let skipped = match &self.shortcut {
            Some(shortcut) => shortcut.forward_rows(x).x,
            None => x.x.clone(),
        };
        residual.with(residual.x.clone() + skipped).relu()
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

    /// In mixed precision: the convolutions' inputs and kernels are rounded to bfloat16 and their sums come back in f32. The weights
    /// that the optimiser moves, BatchNorm and all that follows stay f32. bfloat16 has f32's range, so that no loss need be scaled
    /// (Kalamkar et al., arXiv 1905.12322).
    ///
    /// # Errors
    /// If `device` does not have the type.
    pub fn in_bfloat16(mut self, device: &Device) -> Result<Self> {
        if !device.supports_dtype(FloatDType::BF16) {
            return Err(Error::unsupported("the device has no bfloat16").remedy("set run.mixed_precision=false"));
        }
        self.stem.layer.bfloat16 = true;
        for block in &mut self.trunk {
            let Block { first, second, shortcut } = block;
            [Some(first), Some(second), shortcut.as_mut()].into_iter().flatten().for_each(|c| c.bfloat16 = true);
        }
        Ok(self)
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
        let by_rows = !self.stem.layer.bfloat16 && rows::suit(8 * x.dims()[1], &x.clone().detach());
        let features = self.trunk(x, by_rows);
        let channels = features.dims()[1];
        features.reshape([clips, frames, channels])
    }

    fn trunk(&self, x: Tensor<4>, by_rows: bool) -> Tensor<2> {
        if by_rows {
            return self.trunk.iter().fold(Rows::of(x), |x, block| block.forward_rows(&x)).mean();
        }
        let x = self.trunk.iter().fold(x, |x, block| block.forward(x));
        let [rows, channels, h, w] = x.dims();
        x.reshape([rows, channels, h * w]).mean_dim(2).reshape([rows, channels])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    /// Features, gradients of two kernels, and running statistics after a step.
    fn trained(net: &Backbone, clips: &Tensor<4>, by_rows: bool) -> Vec<TensorData> {
        let features = net.trunk(net.stem.run(clips.clone(), by_rows), by_rows);
        let grads = features.clone().powi_scalar(2).mean().backward();
        let kernels =
            [&net.stem.layer, &net.trunk[0].first, &net.trunk[2].first, net.trunk[4].shortcut.as_ref().unwrap()];
        let mut all = vec![features.into_data()];
        all.extend(kernels.iter().map(|k| k.conv.grad(&grads).unwrap().into_data()));
        all.extend(kernels.iter().map(|k| k.norm.gamma.grad(&grads).unwrap().into_data()));
        let still = net.valid();
        let norm = &still.trunk[3].second.norm;
        all.extend([norm.running_mean.value().into_data(), norm.running_var.value().into_data()]);
        all.push(still.trunk(still.stem.run(clips.clone().inner(), by_rows), by_rows).into_data());
        all
    }

    #[test]
    fn rows_and_planes_train_alike() {
        let device = Device::flex().autodiff();
        // Odd sides, so that every stride meets a border.
        for (clips, frames, height, width) in [(1, 1, 33, 47), (2, 4, 35, 38), (1, 6, 64, 64)] {
            let spec = FullSpec { width: 3, ..FullSpec::default() };
            let net = || Backbone::new(&spec, 3, &device).unwrap();
            let x =
                normal([clips, frames, height, width], 1.0, &mut Rng::new(4, frames as u64), &device).val().detach();
            for (a, b) in trained(&net(), &x, true).iter().zip(trained(&net(), &x, false)) {
                assert_eq!(a.shape(), b.shape());
                let scale = b.iter::<f32>().map(f32::abs).fold(1e-3, f32::max);
                let gap = a.iter::<f32>().zip(b.iter::<f32>()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(gap < 1e-3 * scale, "{frames} frames of {width} x {height}: {gap} of {scale}");
            }
        }
    }

    #[test]
    fn mixed_precision_trains_as_f32_does_up_to_bfloat16s_rounding() {
        let device = Device::flex().autodiff();
        let spec = FullSpec { width: 3, ..FullSpec::default() };
        let net = || Backbone::new(&spec, 3, &device).unwrap();
        let mixed = net().in_bfloat16(&device).unwrap();
        assert!(mixed.trunk[4].shortcut.as_ref().unwrap().bfloat16);
        let x = normal([2, 4, 35, 38], 1.0, &mut Rng::new(4, 1), &device).val().detach();
        let (a, b) = (trained(&mixed, &x, false), trained(&net(), &x, false));
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            // Gradients of a mean that BatchNorm all but fixes are small differences of large numbers.
            let most = if (1..=8).contains(&i) { 0.4 } else { 0.1 };
            let pairs = || a.iter::<f32>().zip(b.iter::<f32>());
            let gap = pairs().map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
            let size = b.iter::<f32>().map(|v| v * v).sum::<f32>().sqrt();
            assert!(gap > 0.0 && gap < most * size, "{i}: {gap} of {size}");
            assert_eq!(a.dtype(), b.dtype());
        }
        // What is forwarded goes the same way, whatever the width.
        let features = |net: &Backbone| net.forward(x.clone()).into_data();
        assert_eq!(
            features(&mixed),
            mixed.trunk(mixed.stem.run(x.clone(), false), false).reshape([2, 4, 24]).into_data()
        );
        assert_ne!(features(&mixed), features(&net()));
    }

    #[test]
    fn wide_networks_and_pictures_with_gradients_go_by_planes() {
        let x = Tensor::<4>::zeros([1, 1, 8, 8], &Device::flex().autodiff());
        assert!(rows::suit(256, &x) && !rows::suit(512, &x) && !rows::suit(16, &x.clone().require_grad()));
    }

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
        for by_rows in [true, false] {
            let gap = (stem.run(clips.clone(), by_rows) - wanted.clone()).abs().max().into_scalar::<f32>();
            assert!(gap < 1e-5, "{gap}");
        }
    }
}
