//! The student as a trainable network, in the shape of [`StudentSpec`].

use super::rows::{self, Rows};
use crate::render::Rng;
use crate::spec::{ConvSpec, HEADS, StudentSpec};
use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor, TensorData, activation, module::conv2d, ops::ConvOptions};

/// A convolution with re-parameterisable branches in weight space, then BatchNorm, then ReLU.
///
/// The kernel applied is `k x k` + `1 x 1` + `diag(identity)` (RepVGG's three branches, arXiv 2101.03697, summed
/// before the convolution instead of after it, so that training costs one convolution a layer); the identity branch
/// exists where input and output have the same shape. Folding is therefore exact: sum the branches, multiply by the
/// BatchNorm gain.
#[derive(Module, Debug)]
pub struct RepConv {
    /// `out x in x k x k`.
    pub main: Param<Tensor<4>>,
    /// `out x in x 1 x 1`, absent for the stem.
    pub point: Option<Param<Tensor<4>>>,
    /// One factor a channel.
    pub identity: Option<Param<Tensor<1>>>,
    pub norm: BatchNorm,
    pub kernel: usize,
    pub stride: usize,
}

fn drawn<const D: usize>(shape: [usize; D], mut draw: impl FnMut() -> f32, device: &Device) -> Param<Tensor<D>> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw()).collect();
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
}

/// Normal draws of mean 0.
pub(super) fn normal<const D: usize>(shape: [usize; D], std: f64, rng: &mut Rng, device: &Device) -> Param<Tensor<D>> {
    drawn(shape, || std as f32 * rng.normal(), device)
}

/// Uniform draws in `[-limit, limit)`.
pub(super) fn uniform<const D: usize>(
    shape: [usize; D],
    limit: f64,
    rng: &mut Rng,
    device: &Device,
) -> Param<Tensor<D>> {
    drawn(shape, || rng.range(-limit as f32, limit as f32), device)
}

impl RepConv {
    fn new(spec: ConvSpec, input: usize, stem: bool, rng: &mut Rng, device: &Device) -> Self {
        let k = spec.kernel;
        let he = |fan: usize| (2.0 / fan as f64).sqrt();
        let square = input == spec.out && spec.stride == 1;
        Self {
            main: normal([spec.out, input, k, k], he(input * k * k), rng, device),
            point: (!stem).then(|| normal([spec.out, input, 1, 1], 0.5 * he(input), rng, device)),
            identity: square.then(|| Param::from_tensor(Tensor::ones([spec.out], device).mul_scalar(0.5))),
            norm: BatchNormConfig::new(spec.out).init(device),
            kernel: k,
            stride: spec.stride,
        }
    }

    /// The single kernel that the branches add up to, `out x in x k x k`.
    pub fn kernel_sum(&self) -> Tensor<4> {
        let mut sum = self.main.val();
        let pad = self.kernel / 2;
        if let Some(point) = &self.point {
            let mut point = point.val();
            if let Some(identity) = &self.identity {
                let [out, _, _, _] = point.dims();
                let eye = Tensor::<2>::eye(out, &point.device());
                point = point + (eye * identity.val().reshape([out, 1])).reshape([out, out, 1, 1]);
            }
            sum = sum + point.pad((pad, pad, pad, pad), 0.0);
        }
        sum
    }

    /// As the first layer, with all taps of the ring moved into the newest crop: a ring of equal crops is answered as before, one
    /// that moves without the delay of a mean over it.
    fn newest_tap(mut self) -> Self {
        let main = self.main.val();
        let older = main.dims()[1] - 1;
        self.main = Param::from_tensor(main.sum_dim(1).pad([(0, 0), (older, 0), (0, 0), (0, 0)], 0.0).detach());
        self
    }

    /// The convolution alone, by `kernel`.
    pub(super) fn convolve(&self, x: Tensor<4>, kernel: Tensor<4>) -> Tensor<4> {
        let pad = self.kernel / 2;
        conv2d(x, kernel, None, ConvOptions::new([self.stride; 2], [pad; 2], [1; 2], 1))
    }

    /// The kernel for `x`: of one channel where that stands for a ring of equal crops, which meet the kernel's sum over the ring.
    fn kernel_for(&self, x: &Tensor<4>) -> Tensor<4> {
        let kernel = self.kernel_sum();
        if x.dims()[1] == 1 { kernel.sum_dim(1) } else { kernel }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let kernel = self.kernel_for(&x);
        activation::relu(self.norm.forward(self.convolve(x, kernel)))
    }

    fn forward_rows(&self, x: &Rows) -> Rows {
        x.convolve(self.kernel_sum(), self.stride, &self.norm).relu()
    }

    /// As the first layer, which gives its pictures no gradient.
    fn forward_rings(&self, rings: Tensor<4>) -> Rows {
        let [n, ring, _, _] = rings.dims();
        let kernel = self.kernel_for(&rings);
        let x = rows::first(rings, n, kernel, self.stride, |i, c| Some(i * ring + c));
        x.normalised(&self.norm).relu()
    }

    /// Rows of one crop each, `n x 1 x ..`, then rows of a whole ring, `m x ring x ..`.
    ///
    /// A ring of equal crops meets the kernel's sum over the ring, so a still costs one crop, not five.
    fn forward_stills(&self, stills: Tensor<4>, rings: Option<Tensor<4>>) -> Tensor<4> {
        let kernel = self.kernel_sum();
        let mut x = self.convolve(stills, kernel.clone().sum_dim(1));
        if let Some(rings) = rings {
            x = Tensor::cat(vec![x, self.convolve(rings, kernel)], 0);
        }
        activation::relu(self.norm.forward(x))
    }
}

/// Gated recurrent unit in ONNX order (z, r, h) with one fused input product.
#[derive(Module, Debug)]
pub struct GruCell {
    /// `features x 3 hidden`.
    pub w: Param<Tensor<2>>,
    /// `hidden x 3 hidden`.
    pub r: Param<Tensor<2>>,
    pub wb: Param<Tensor<1>>,
    pub rb: Param<Tensor<1>>,
    pub hidden: usize,
}

impl GruCell {
    fn new(features: usize, hidden: usize, rng: &mut Rng, device: &Device) -> Self {
        let limit = 1.0 / (hidden as f64).sqrt();
        Self {
            w: uniform([features, 3 * hidden], limit, rng, device),
            r: uniform([hidden, 3 * hidden], limit, rng, device),
            wb: uniform([3 * hidden], limit, rng, device),
            rb: uniform([3 * hidden], limit, rng, device),
            hidden,
        }
    }

    /// The input's share of the gates, `rows x 3 hidden`; computed once for inputs that repeat.
    pub fn project(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.w.val()) + self.wb.val().unsqueeze()
    }

    /// One step from projected input and state, both `rows x ..`.
    pub fn step(&self, projected: Tensor<2>, h: Tensor<2>) -> Tensor<2> {
        let n = self.hidden;
        let recurrent = h.clone().matmul(self.r.val()) + self.rb.val().unsqueeze();
        let gate = |t: &Tensor<2>, i: usize| t.clone().narrow(1, i * n, n);
        let z = activation::sigmoid(gate(&projected, 0) + gate(&recurrent, 0));
        let r = activation::sigmoid(gate(&projected, 1) + gate(&recurrent, 1));
        let new = activation::tanh(gate(&projected, 2) + r * gate(&recurrent, 2));
        new.clone() + z * (h - new)
    }
}

impl GruCell {
    /// States after each step from a zero state. `x` are rows of features, clip by clip; every frame is shown `shown` times.
    pub fn unroll(&self, x: Tensor<2>, clips: usize, shown: usize) -> Vec<Tensor<2>> {
        let frames = x.dims()[0] / clips;
        let mut h = Tensor::zeros([clips, self.hidden], &x.device());
        let projected = self.project(x).reshape([clips, frames, 3 * self.hidden]);
        let mut states = Vec::with_capacity(frames * shown);
        for t in (0..frames).flat_map(|t| std::iter::repeat_n(t, shown)) {
            h = self.step(projected.clone().narrow(1, t, 1).squeeze_dim(1), h);
            states.push(h.clone());
        }
        states
    }

    /// Logits of the update gate, `rows x hidden`, for rows of features and the states that they meet: of its sigmoid, the share of the
    /// state that a step keeps.
    pub fn update_logits(&self, x: Tensor<2>, h: Tensor<2>) -> Tensor<2> {
        let n = self.hidden;
        let update = |w: Tensor<2>| w.narrow(1, 0, n);
        let bias = (self.wb.val() + self.rb.val()).narrow(0, 0, n).unsqueeze();
        x.matmul(update(self.w.val())) + h.matmul(update(self.r.val())) + bias
    }
}

/// The trainable student.
#[derive(Module, Debug)]
pub struct StudentNet {
    pub convs: Vec<RepConv>,
    pub gru: GruCell,
    /// `hidden x 42`.
    pub head: Param<Tensor<2>>,
    pub head_bias: Param<Tensor<1>>,
}

impl StudentNet {
    /// He-initialised convolutions, uniform recurrent weights, set by `seed` alone: the backend's generator is
    /// one for the whole process.
    pub fn new(spec: &StudentSpec, seed: u64, device: &Device) -> Self {
        let rng = &mut Rng::new(seed, 1 << 48);
        let shapes = spec.shapes();
        let convs = spec.convs.iter().zip(shapes).enumerate();
        Self {
            convs: convs.map(|(i, (c, (input, _, _)))| RepConv::new(*c, input, i == 0, rng, device)).collect(),
            gru: GruCell::new(spec.features(), spec.hidden, rng, device),
            head: uniform([spec.hidden, HEADS], 1.0 / (spec.hidden as f64).sqrt(), rng, device),
            head_bias: Param::from_tensor(Tensor::zeros([HEADS], device)),
        }
    }

    /// With the stem reading the newest crop of the ring alone, by the sum of what its taps weighed: rings of equal crops are
    /// answered as before. Taps that learned on such rings alone average the crops, whose middle is two crops old.
    pub fn newest_tap(mut self) -> Self {
        if let Some(stem) = self.convs.first_mut() {
            *stem = stem.clone().newest_tap();
        }
        self
    }

    /// Rings `n x ring x size x size`, already in real units -> features `n x features`. With one crop in place of the ring, `n x 1 x
    /// size x size`, it stands for a ring of equal crops.
    pub fn features(&self, rings: Tensor<4>) -> Tensor<2> {
        let widest = self.convs.iter().map(|c| c.main.val().dims()[0]).max().unwrap_or(0);
        let by_rows = rows::suit(widest, &rings);
        self.run(rings, by_rows)
    }

    fn run(&self, rings: Tensor<4>, by_rows: bool) -> Tensor<2> {
        match self.convs.split_first() {
            Some((first, rest)) if by_rows => {
                rest.iter().fold(first.forward_rings(rings), |x, conv| conv.forward_rows(&x)).mean()
            }
            _ => Self::pool(self.convs.iter().fold(rings, |x, conv| conv.forward(x))),
        }
    }

    /// As [`Self::features`] of `stills` (`n x 1 x size x size`, each standing for a ring of equal crops)
    /// followed by `rings`, normalised as one batch.
    pub fn features_of_stills(&self, stills: Tensor<4>, rings: Option<Tensor<4>>) -> Tensor<2> {
        let x = self.convs[0].forward_stills(stills, rings);
        Self::pool(self.convs[1..].iter().fold(x, |x, conv| conv.forward(x)))
    }

    fn pool(x: Tensor<4>) -> Tensor<2> {
        let [n, channels, h, w] = x.dims();
        x.reshape([n, channels, h * w]).mean_dim(2).reshape([n, channels])
    }

    /// State `n x hidden` -> logits `n x 42`.
    pub fn logits(&self, h: Tensor<2>) -> Tensor<2> {
        h.matmul(self.head.val()) + self.head_bias.val().unsqueeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_planes_train_alike() {
        let device = Device::flex().autodiff();
        for spec in [StudentSpec::pico(), StudentSpec::nano()] {
            let net = StudentNet::new(&spec, 3, &device);
            let rings = || normal([2, spec.ring, spec.size_px, spec.size_px], 1.0, &mut Rng::new(4, 0), &device);
            let [a, b] = [true, false].map(|by_rows| {
                let features = net.run(rings().val().detach(), by_rows);
                let grads = features.clone().powi_scalar(2).mean().backward();
                let conv = |i: usize| net.convs[i].main.grad(&grads).unwrap().into_data();
                [features.into_data(), conv(0), conv(2), conv(net.convs.len() - 1)]
            });
            for (a, b) in a.iter().zip(&b) {
                let scale = b.iter::<f32>().map(f32::abs).fold(1e-3, f32::max);
                let gap = a.iter::<f32>().zip(b.iter::<f32>()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(a.shape() == b.shape() && gap < 4e-3 * scale, "{gap} of {scale}");
            }
        }
    }

    #[test]
    fn a_still_stands_for_a_ring_of_equal_crops() {
        let device = Device::flex();
        let mut rng = Rng::new(1, 0);
        let spec = StudentSpec::nano();
        let net = StudentNet::new(&spec, 3, &device);
        let mut picture = |n: usize, c: usize| normal([n, c, spec.size_px, spec.size_px], 1.0, &mut rng, &device).val();
        let (stills, rings) = (picture(2, 1), picture(1, spec.ring));
        let all = Tensor::cat(vec![stills.clone().repeat_dim(1, spec.ring), rings.clone()], 0);
        let alone = net.features(stills.clone());
        let mixed = net.features_of_stills(stills, Some(rings));
        for (a, b) in [(mixed.clone(), net.features(all)), (alone, mixed.narrow(0, 0, 2))] {
            assert!((a - b).abs().max().into_scalar::<f32>() < 1e-4);
        }
    }
}
