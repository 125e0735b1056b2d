//! Convolutions of narrow networks on CPUs: one pixel a row, so that a convolution is a gather and one matrix product.
//!
//! The backend convolves picture by picture, in tiles of its own, which suits wide layers; for layers of at most 64 channels a
//! product over the whole batch is two to three times as quick, forward and backward. It keeps each layer's columns, nine
//! times its input, for the backward pass.

use burn::nn::BatchNorm;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use rayon::prelude::*;

/// Most channels of a layer in a network that is quicker by rows.
const WIDEST: usize = 256;

/// Whether a network whose widest layer has `channels` is quicker by rows where `x` lies. [`first`] gives `x` no gradient.
pub(super) fn suit(channels: usize, x: &Tensor<4>) -> bool {
    channels <= WIDEST && x.device().without_autodiff() == Device::flex() && !x.is_tracked()
}

/// Feature maps with one pixel a row, frame by frame and line by line: `frames * height * width x channels`.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub x: Tensor<2>,
    frames: usize,
    height: usize,
    width: usize,
}

/// Pixels that an output reads along one side: kernel `k`, stride `s`, padding `k / 2`; `None` in the padding.
fn reached(side: usize, k: usize, s: usize) -> Vec<Vec<Option<usize>>> {
    let outputs = (side + 2 * (k / 2) - k) / s + 1;
    let tap = |i: usize, t: usize| (i * s + t).checked_sub(k / 2).filter(|p| *p < side);
    (0..outputs).map(|i| (0..k).map(|t| tap(i, t)).collect()).collect()
}

impl Rows {
    /// From `frames x channels x height x width`.
    pub(super) fn of(planes: Tensor<4>) -> Self {
        let [frames, channels, height, width] = planes.dims();
        let x = planes.permute([0, 2, 3, 1]).reshape([frames * height * width, channels]);
        Self { x, frames, height, width }
    }

    /// To `frames x channels x height x width`.
    pub(super) fn planes(self) -> Tensor<4> {
        let channels = self.x.dims()[1];
        self.x.reshape([self.frames, self.height, self.width, channels]).permute([0, 3, 1, 2])
    }

    /// Mean over each frame's pixels: `frames x channels`.
    pub(super) fn mean(self) -> Tensor<2> {
        let channels = self.x.dims()[1];
        self.x.reshape([self.frames, self.height * self.width, channels]).mean_dim(1).reshape([self.frames, channels])
    }

    /// These maps through BatchNorm.
    pub(super) fn normalised(self, norm: &BatchNorm) -> Self {
        Self { x: normalise(norm, self.x), ..self }
    }

    /// These maps through ReLU.
    pub(super) fn relu(self) -> Self {
        Self { x: activation::relu(self.x), ..self }
    }

    /// The same maps with other values.
    pub(super) fn with(&self, x: Tensor<2>) -> Self {
        Self { x, ..*self }
    }

    /// Convolution by a kernel `out x in x k x k` without bias, padded by `k / 2`, then BatchNorm.
    pub(super) fn convolve(&self, kernel: Tensor<4>, stride: usize, norm: &BatchNorm) -> Self {
        let [out, channels, k, _] = kernel.dims();
        let (ys, xs) = (reached(self.height, k, stride), reached(self.width, k, stride));
        let device = self.x.device();
        // One more row, of zeros, stands for the padding.
        let padded = Tensor::cat(vec![self.x.clone(), Tensor::zeros([1, channels], &device)], 0);
        let columns = padded.select(0, self.sources(&ys, &xs, &device));
        let (height, width) = (ys.len(), xs.len());
        let columns = columns.reshape([self.frames * height * width, k * k * channels]);
        let x = columns.matmul(kernel.permute([2, 3, 1, 0]).reshape([k * k * channels, out]));
        Self { x: normalise(norm, x), height, width, ..*self }
    }

    /// The rows that each output row reads, kernel line by kernel line.
    fn sources(&self, ys: &[Vec<Option<usize>>], xs: &[Vec<Option<usize>>], device: &Device) -> Tensor<1, Int> {
        let outside = (self.frames * self.height * self.width) as i64;
        let at = |frame: usize, y: Option<usize>, x: Option<usize>| match (y, x) {
            (Some(y), Some(x)) => ((frame * self.height + y) * self.width + x) as i64,
            _ => outside,
        };
        let mut all = Vec::with_capacity(self.frames * ys.len() * xs.len() * 9);
        for frame in 0..self.frames {
            for (row, column) in ys.iter().flat_map(|y| xs.iter().map(move |x| (y, x))) {
                all.extend(row.iter().flat_map(|y| column.iter().map(|x| at(frame, *y, *x))));
            }
        }
        let count = all.len();
        Tensor::from_data(TensorData::new(all, [count]), device)
    }
}

/// BatchNorm of rows. In training the means are products with a row of ones, which reads `x` in its own order; the running
/// statistics move as in [`BatchNorm`].
fn normalise(norm: &BatchNorm, x: Tensor<2>) -> Tensor<2> {
    let device = x.device();
    if !(device.is_autodiff() && norm.training.is_enabled()) {
        return norm.forward(x);
    }
    let rows = x.dims()[0];
    let share = Tensor::<2>::full([1, rows], 1.0 / rows as f64, &device);
    let mean = share.clone().matmul(x.clone());
    let centred = x - mean.clone();
    let variance = share.matmul(centred.clone() * centred.clone());
    for (running, now) in [(&norm.running_mean, &mean), (&norm.running_var, &variance)] {
        let now = now.clone().detach().squeeze_dim::<1>(0).mul_scalar(norm.momentum);
        running.update((running.value_sync().to_device(&device).mul_scalar(1.0 - norm.momentum) + now).detach());
    }
    let scale = norm.gamma.val().unsqueeze::<2>() / (variance + norm.epsilon).sqrt();
    centred * scale + norm.beta.val().unsqueeze::<2>()
}

/// A convolution alone of pictures that have no gradient, padded by `k / 2`, by columns made outside the graph of gradients.
///
/// `planes` is `a x b x H x W`; `plane` gives the number, of the `a * b` in their order, that is a channel of one of the `frames`
/// outputs, `None` where the channel is zeros. The kernel is `out x channels x k x k`, k odd; the output
/// `frames x out x ceil(H / stride) x ceil(W / stride)`.
pub(super) fn first(
    planes: Tensor<4>,
    frames: usize,
    kernel: Tensor<4>,
    stride: usize,
    plane: impl Fn(usize, usize) -> Option<usize> + Sync,
) -> Rows {
    let [out, channels, k, _] = kernel.dims();
    let ([_, _, height, width], device) = (planes.dims(), planes.device());
    let (lines, places) = (height.div_ceil(stride), width.div_ceil(stride));
    let pixels: Vec<f32> = planes.without_autodiff().into_data().iter::<f32>().collect();
    let area = height * width;
    let values = columns([frames, channels, height, width], k, stride, |frame, channel| {
        pixels.get(plane(frame, channel)? * area..)?.get(..area)
    });
    let columns = TensorData::new(values, [frames * lines * places, k * k * channels]);
    let kernel = kernel.permute([2, 3, 1, 0]).reshape([k * k * channels, out]);
    let x = Tensor::<2>::from_data(columns, &device).matmul(kernel);
    Rows { x, frames, height: lines, width: places }
}

/// A row an output pixel, in it kernel lines, kernel places, channels.
fn columns<'a>(
    [frames, channels, height, width]: [usize; 4],
    k: usize,
    stride: usize,
    plane: impl Fn(usize, usize) -> Option<&'a [f32]> + Sync,
) -> Vec<f32> {
    let (pad, line, run) = (k / 2, (width + k - 1) * channels, k * channels);
    let (lines, places) = (height.div_ceil(stride), width.div_ceil(stride));
    let mut columns = vec![0.0; frames * lines * places * k * run];
    columns.par_chunks_mut(lines * places * k * run).enumerate().for_each(|(i, columns)| {
        // All channels, interleaved, with a border of zeros: a kernel line is then one run.
        let mut canvas = vec![0.0; (height + k - 1) * line];
        for (channel, values) in (0..channels).filter_map(|c| Some((c, plane(i, c)?))) {
            for (y, row) in values.chunks_exact(width).enumerate() {
                let to = &mut canvas[(y + pad) * line + pad * channels + channel..];
                to.iter_mut().step_by(channels).zip(row).for_each(|(to, v)| *to = *v);
            }
        }
        for (at, column) in columns.chunks_exact_mut(run).enumerate() {
            let (output, ky) = (at / k, at % k);
            let from = (output / places * stride + ky) * line + output % places * stride * channels;
            column.copy_from_slice(&canvas[from..from + run]);
        }
    });
    columns
}
