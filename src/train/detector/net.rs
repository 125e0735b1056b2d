//! The detector as a trainable network, in the shape of [`DetectorSpec`].
//!
//! The network is a module of burn, which the loop moves, keeps and averages; its passes are
//! [`crate::train::kernels`]'.

use crate::error::Result;
use crate::render::Rng;
use crate::spec::detector::{CELL, DetectorSpec};
use crate::train::fold::values;
use crate::train::kernels::{Geometry, Kernel, Norm, Statistics};
use crate::train::net::normal;
use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor, TensorData};

/// A convolution without bias, BatchNorm, ReLU.
#[derive(Module, Debug)]
pub struct ConvNorm {
    /// `out x in x k x k`.
    pub conv: Param<Tensor<4>>,
    pub norm: BatchNorm,
    pub stride: usize,
}

/// A 1x1 convolution with bias.
#[derive(Module, Debug)]
pub struct Head {
    /// `CELL x in`.
    pub weight: Param<Tensor<2>>,
    pub bias: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
pub struct DetectorNet {
    pub convs: Vec<ConvNorm>,
    pub heads: Vec<Head>,
    pub taps: Vec<usize>,
}

/// Score that every cell has at first.
const FIRST_SCORE: f32 = 0.01;
/// Grey levels that are one unit of the input, and the level that is 0.
pub const UNIT: f32 = 64.0;
pub const ZERO: u8 = 128;

impl DetectorNet {
    /// He et al. 2015 by fan-in.
    pub fn new(spec: &DetectorSpec, seed: u64, device: &Device) -> Self {
        let mut rng = Rng::new(seed, 0xde7);
        let convs = spec.convs.iter().enumerate().map(|(i, c)| {
            let fan = spec.input(i) * c.kernel * c.kernel;
            ConvNorm {
                conv: normal(
                    [c.out, spec.input(i), c.kernel, c.kernel],
                    (2.0f64 / fan as f64).sqrt(),
                    &mut rng,
                    device,
                ),
                norm: BatchNormConfig::new(c.out).init(device),
                stride: c.stride,
            }
        });
        let convs = convs.collect();
        let heads = spec.taps.iter().map(|&t| {
            let mut bias = [0.0; CELL];
            bias[0] = (FIRST_SCORE / (1.0 - FIRST_SCORE)).ln();
            Head {
                weight: normal([CELL, spec.convs[t].out], 0.01, &mut rng, device),
                bias: Param::from_tensor(Tensor::from_floats(bias, device)),
            }
        });
        Self { convs, heads: heads.collect(), taps: spec.taps.clone() }
    }
}

/// What a convolution did in a pass.
struct Layer {
    geometry: Geometry,
    kernel: Kernel,
    /// Its input with a border, what the convolution gave, and that through BatchNorm and ReLU.
    input: Vec<f32>,
    convolved: Vec<f32>,
    statistics: Statistics,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    epsilon: f32,
    y: Vec<f32>,
}

impl Layer {
    fn norm(&self) -> Norm<'_> {
        Norm { gamma: &self.gamma, beta: &self.beta, epsilon: self.epsilon }
    }
}

/// A pass over some pictures, with what the way back needs.
pub struct Pass {
    layers: Vec<Layer>,
    heads: Vec<(Geometry, Kernel)>,
    taps: Vec<usize>,
    /// One for each tap: pictures x height x width x [`CELL`].
    pub maps: Vec<Vec<f32>>,
}

/// Gradients of the parameters, in the order of the network's.
pub struct Gradients {
    /// Of kernel, gamma and beta.
    pub convs: Vec<[Vec<f32>; 3]>,
    /// Of weights and bias.
    pub heads: Vec<[Vec<f32>; 2]>,
}

impl Pass {
    /// Over grey pictures of one size. `batch`: normalised by the pictures' own statistics, else by
    /// the running ones.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn new(net: &DetectorNet, pixels: &[u8], [pictures, height, width]: [usize; 3], batch: bool) -> Result<Self> {
        let picture: Vec<f32> = pixels.iter().map(|&v| (f32::from(v) - f32::from(ZERO)) / UNIT).collect();
        let (mut size, mut input) = ([height, width], 1);
        let mut pass = Self { layers: Vec::new(), heads: Vec::new(), taps: net.taps.clone(), maps: Vec::new() };
        for (i, c) in net.convs.iter().enumerate() {
            let [out, _, kernel, _] = c.conv.val().dims();
            let geometry = Geometry { pictures, height: size[0], width: size[1], input, out, kernel, stride: c.stride };
            let kernel = Kernel::new(&geometry, &values(c.conv.val())?);
            let bordered = Kernel::bordered(&geometry, pass.layers.last().map_or(&picture, |l| &l.y));
            let convolved = kernel.forward(&geometry, &bordered);
            let statistics = if batch {
                Statistics::of(&convolved, out)
            } else {
                Statistics {
                    mean: values(c.norm.running_mean.value_sync())?,
                    variance: values(c.norm.running_var.value_sync())?,
                }
            };
            let (gamma, beta) = (values(c.norm.gamma.val())?, values(c.norm.beta.val())?);
            let epsilon = c.norm.epsilon as f32;
            let y = Norm { gamma: &gamma, beta: &beta, epsilon }.relu(&convolved, &statistics);
            (size, input) = ([geometry.out_height(), geometry.out_width()], out);
            if let Some(head) = net.taps.iter().position(|&t| t == i) {
                let (weight, bias) = (values(net.heads[head].weight.val())?, values(net.heads[head].bias.val())?);
                let g = Geometry { pictures, height: size[0], width: size[1], input, out: CELL, kernel: 1, stride: 1 };
                let kernel = Kernel::new(&g, &weight);
                let mut map = kernel.forward(&g, &Kernel::bordered(&g, &y));
                map.chunks_exact_mut(CELL).for_each(|cell| cell.iter_mut().zip(&bias).for_each(|(v, b)| *v += b));
                pass.maps.push(map);
                pass.heads.push((g, kernel));
            }
            pass.layers.push(Layer {
                geometry,
                kernel,
                input: bordered,
                convolved,
                statistics,
                gamma,
                beta,
                epsilon,
                y,
            });
        }
        Ok(pass)
    }

    /// What each convolution gave, after BatchNorm and ReLU: pictures x height x width x channels.
    pub fn activations(&self) -> impl Iterator<Item = &[f32]> {
        self.layers.iter().map(|l| l.y.as_slice())
    }

    /// From the gradients of the maps, of a pass by the pictures' own statistics.
    pub fn backward(&self, of_maps: &[Vec<f32>]) -> Gradients {
        let mut of_y: Vec<f32> = Vec::new();
        let mut found = Gradients { convs: Vec::new(), heads: Vec::new() };
        for (i, layer) in self.layers.iter().enumerate().rev() {
            if let Some(head) = self.taps.iter().position(|&t| t == i) {
                let ((g, kernel), of_map) = (&self.heads[head], &of_maps[head]);
                let weight = kernel.gradient(g, &Kernel::bordered(g, &layer.y), of_map);
                let mut bias = vec![0.0; CELL];
                of_map.chunks_exact(CELL).for_each(|cell| bias.iter_mut().zip(cell).for_each(|(b, v)| *b += v));
                found.heads.push([weight, bias]);
                let through = kernel.backward(g, of_map);
                if of_y.is_empty() {
                    of_y = through;
                } else {
                    of_y.iter_mut().zip(&through).for_each(|(a, b)| *a += b);
                }
            }
            let [of_convolved, gamma, beta] =
                layer.norm().backward(&layer.convolved, &layer.statistics, &layer.y, &of_y);
            let weight = layer.kernel.gradient(&layer.geometry, &layer.input, &of_convolved);
            found.convs.push([weight, gamma, beta]);
            of_y = if i > 0 { layer.kernel.backward(&layer.geometry, &of_convolved) } else { Vec::new() };
        }
        found.convs.reverse();
        found.heads.reverse();
        found
    }

    /// Moves the running statistics as BatchNorm does.
    pub fn settle(&self, net: &DetectorNet) {
        for (layer, c) in self.layers.iter().zip(&net.convs) {
            let momentum = c.norm.momentum as f32;
            for (running, now) in
                [(&c.norm.running_mean, &layer.statistics.mean), (&c.norm.running_var, &layer.statistics.variance)]
            {
                let old = running.value_sync();
                let (shape, device) = (old.shape(), old.device());
                let Ok(old) = values(old) else { continue };
                let moved: Vec<f32> = old.iter().zip(now).map(|(o, n)| o + momentum * (n - o)).collect();
                running.update(Tensor::from_data(TensorData::new(moved, shape), &device));
            }
        }
    }
}

/// A number whose gradient by the network's parameters is `found`, and whose value is `value`.
pub fn carrying(net: &DetectorNet, found: Gradients, value: f32) -> Tensor<1> {
    let mut total: Option<Tensor<1>> = None;
    let mut add = |product: Tensor<1>| {
        total = Some(match total.take() {
            Some(sum) => sum + product,
            None => product,
        });
    };
    fn product<const D: usize>(param: Tensor<D>, gradient: Vec<f32>) -> Tensor<1> {
        let data = TensorData::new(gradient, param.shape());
        let gradient = Tensor::<D>::from_data(data, &param.device());
        (param * gradient).sum()
    }
    for (c, [weight, gamma, beta]) in net.convs.iter().zip(found.convs) {
        add(product(c.conv.val(), weight));
        add(product(c.norm.gamma.val(), gamma));
        add(product(c.norm.beta.val(), beta));
    }
    for (h, [weight, bias]) in net.heads.iter().zip(found.heads) {
        add(product(h.weight.val(), weight));
        add(product(h.bias.val(), bias));
    }
    let total = total.unwrap_or_else(|| Tensor::zeros([1], &Device::flex()));
    let aside = total.clone().detach();
    total - aside + value
}
