//! A bidirectional GRU, with PyTorch's equations.

use crate::render::Rng;
use crate::train::net::uniform;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};

/// Weights of one layer in one direction; gates in PyTorch's order r, z, n.
///
/// ```text
/// r = sigmoid(x Wr + br + h Ur + cr)        z = sigmoid(x Wz + bz + h Uz + cz)
/// n = tanh(x Wn + bn + r * (h Un + cn))     h' = (1 - z) * n + z * h
/// ```
#[derive(Module, Debug)]
pub struct Direction {
    /// W, `inputs x 3 hidden`.
    pub input: Param<Tensor<2>>,
    /// U, `hidden x 3 hidden`.
    pub recurrent: Param<Tensor<2>>,
    /// b.
    pub input_bias: Param<Tensor<1>>,
    /// c.
    pub recurrent_bias: Param<Tensor<1>>,
}

impl Direction {
    fn draw(inputs: usize, hidden: usize, rng: &mut Rng, device: &Device) -> Self {
        let limit = 1.0 / (hidden as f64).sqrt();
        Self {
            input: uniform([inputs, 3 * hidden], limit, rng, device),
            recurrent: uniform([hidden, 3 * hidden], limit, rng, device),
            input_bias: uniform([3 * hidden], limit, rng, device),
            recurrent_bias: uniform([3 * hidden], limit, rng, device),
        }
    }

    /// The input's share of the gates in all frames at once: `B x T x inputs` -> `B x T x 3 hidden`.
    fn project(&self, x: Tensor<3>) -> Tensor<3> {
        let [clips, frames, inputs] = x.dims();
        let weight = self.input.val();
        let gates = weight.dims()[1];
        let rows = x.reshape([clips * frames, inputs]).matmul(weight) + self.input_bias.val().unsqueeze();
        rows.reshape([clips, frames, gates])
    }
}

/// One layer: a pass from the first frame on and a pass from the last frame back, which run as one batched product.
#[derive(Module, Debug)]
pub struct Layer {
    pub forward: Direction,
    pub backward: Direction,
}

impl Layer {
    /// `B x T x inputs` -> `B x T x 2 hidden`, the forward pass's state first.
    fn run(&self, x: Tensor<3>) -> Tensor<3> {
        let (ahead, back) = (&self.forward, &self.backward);
        let projected = Tensor::stack::<4>(vec![ahead.project(x.clone()), back.project(x).flip([1])], 0);
        let [_, clips, frames, gates] = projected.dims();
        let hidden = gates / 3;
        let weight = Tensor::stack::<3>(vec![ahead.recurrent.val(), back.recurrent.val()], 0);
        let bias = Tensor::stack::<2>(vec![ahead.recurrent_bias.val(), back.recurrent_bias.val()], 0);
        let bias = bias.reshape([2, 1, gates]);
        let mut h = Tensor::<3>::zeros([2, clips, hidden], &projected.device());
        let mut states = Vec::with_capacity(frames);
        for frame in frames_of(projected, frames) {
            let recurrent = h.clone().matmul(weight.clone()) + bias.clone();
            h = step(frame.reshape([2, clips, gates]), recurrent, h);
            states.push(h.clone());
        }
        let states = Tensor::stack::<4>(states, 2);
        let side = |i: usize| states.clone().narrow(0, i, 1).reshape([clips, frames, hidden]);
        Tensor::cat(vec![side(0), side(1).flip([1])], 2)
    }
}

/// The equations of [`Direction`] from both shares of the gates, each `2 x B x 3 hidden`.
fn step(input: Tensor<3>, recurrent: Tensor<3>, h: Tensor<3>) -> Tensor<3> {
    let n = h.dims()[2];
    let both = input.clone().narrow(2, 0, 2 * n) + recurrent.clone().narrow(2, 0, 2 * n);
    let gates = activation::sigmoid(both);
    let (reset, keep) = (gates.clone().narrow(2, 0, n), gates.narrow(2, n, n));
    let new = activation::tanh(input.narrow(2, 2 * n, n) + reset * recurrent.narrow(2, 2 * n, n));
    new.clone() + keep * (h - new)
}

/// The frames of a `2 x B x T x gates` tensor, by halving.
///
/// The gradient of a slice is a tensor of its source's size, so that slicing T frames from the whole costs T squared, and
/// halving T log T.
fn frames_of(x: Tensor<4>, frames: usize) -> Vec<Tensor<4>> {
    if frames <= 1 {
        return vec![x; frames];
    }
    let half = frames / 2;
    let mut all = frames_of(x.clone().narrow(2, 0, half), half);
    all.extend(frames_of(x.narrow(2, half, frames - half), frames - half));
    all
}

/// Layers of bidirectional GRU, each fed the states of the one before.
#[derive(Module, Debug)]
pub struct BiGru {
    pub layers: Vec<Layer>,
}

impl BiGru {
    pub(super) fn draw(inputs: usize, hidden: usize, layers: usize, rng: &mut Rng, device: &Device) -> Self {
        let layer = |i: usize, rng: &mut Rng| {
            let inputs = if i == 0 { inputs } else { 2 * hidden };
            let forward = Direction::draw(inputs, hidden, rng, device);
            Layer { forward, backward: Direction::draw(inputs, hidden, rng, device) }
        };
        Self { layers: (0..layers).map(|i| layer(i, rng)).collect() }
    }

    /// Features `B x T x inputs` -> states `B x T x 2 hidden`, from a zero state at either end.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.layers.iter().fold(x, |x, layer| layer.run(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One direction over one clip in f64, written from the equations; `x` is a row a frame.
    fn oracle(direction: &Direction, x: &[Vec<f64>], hidden: usize) -> Vec<Vec<f64>> {
        let read = |t: Tensor<1>| -> Vec<f64> { t.into_data().iter::<f64>().collect() };
        let [w, u] = [&direction.input, &direction.recurrent].map(|p| read(p.val().flatten(0, 1)));
        let [b, c] = [&direction.input_bias, &direction.recurrent_bias].map(|p| read(p.val()));
        let share = |v: &[f64], w: &[f64], bias: &[f64], g: usize| -> f64 {
            bias[g] + v.iter().enumerate().map(|(i, v)| v * w[i * 3 * hidden + g]).sum::<f64>()
        };
        let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
        let mut h = vec![0.0; hidden];
        let mut out = Vec::new();
        for x in x {
            let next = |j: usize| {
                let r = sigmoid(share(x, &w, &b, j) + share(&h, &u, &c, j));
                let z = sigmoid(share(x, &w, &b, hidden + j) + share(&h, &u, &c, hidden + j));
                let n = (share(x, &w, &b, 2 * hidden + j) + r * share(&h, &u, &c, 2 * hidden + j)).tanh();
                (1.0 - z) * n + z * h[j]
            };
            h = (0..hidden).map(next).collect();
            out.push(h.clone());
        }
        out
    }

    #[test]
    fn both_directions_follow_the_equations() {
        let device = Device::flex();
        for frames in [1, 2, 5, 7] {
            let (clips, inputs, hidden) = (2, 3, 4);
            let gru = BiGru::draw(inputs, hidden, 2, &mut Rng::new(frames as u64, 0), &device);
            let mut rng = Rng::new(9, frames as u64);
            let x: Vec<f32> = (0..clips * frames * inputs).map(|_| rng.normal()).collect();
            let tensor = Tensor::<1>::from_floats(x.as_slice(), &device).reshape([clips, frames, inputs]);
            let found: Vec<f64> = gru.forward(tensor).into_data().iter::<f64>().collect();
            let mut wanted = Vec::new();
            for clip in x.chunks(frames * inputs) {
                let mut rows: Vec<Vec<f64>> =
                    clip.chunks(inputs).map(|r| r.iter().map(|v| f64::from(*v)).collect()).collect();
                for layer in &gru.layers {
                    let ahead = oracle(&layer.forward, &rows, hidden);
                    rows.reverse();
                    let back = oracle(&layer.backward, &rows, hidden);
                    rows = ahead.into_iter().zip(back.into_iter().rev()).map(|(a, b)| [a, b].concat()).collect();
                }
                wanted.extend(rows.concat());
            }
            assert_eq!(found.len(), wanted.len());
            let gap = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(gap < 1e-6, "{frames} frames: {gap}");
        }
    }
}
