//! The losses: how sure each cell is, where the box, and where its points.

use super::feed::ROW;
use super::net::{DetectorNet, Pass, carrying};
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::spec::detector::{CELL, DetectorSpec};
use crate::train::full::Backbone;
use crate::train::run::{At, Batch, Loss, Method};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Weights of the terms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Terms {
    pub score: f64,
    pub rect: f64,
    pub points: f64,
    pub turn: f64,
}

impl Default for Terms {
    fn default() -> Self {
        Self { score: 1.0, rect: 1.0, points: 0.7, turn: 0.2 }
    }
}

pub struct Detecting {
    pub terms: Terms,
    pub spec: DetectorSpec,
}

/// Where Huber's loss becomes linear.
const BEND: f32 = 0.1;

/// Huber's loss and its slope, quadratic below [`BEND`].
fn huber(d: f32) -> (f32, f32) {
    let near = d.abs().min(BEND);
    (near * (d.abs() - 0.5 * near) / BEND, d.clamp(-BEND, BEND) / BEND)
}

/// Quality focal loss (Li et al. 2020, arXiv 2006.04388), beta 2, of a logit for a score in [0, 1];
/// and its slope.
fn focal(z: f32, t: f32) -> (f32, f32) {
    let p = 1.0 / (1.0 + (-z).exp());
    let entropy = z.max(0.0) + (-z.abs()).exp().ln_1p() - z * t;
    let away = p - t;
    (away * away * entropy, 2.0 * away * p * (1.0 - p) * entropy + away * away * away)
}

/// Sums of score, box, points and turn.
type Sums = [f64; 4];

/// Loss and slope of one cell, by its row of targets; `scales` are the terms' weights over the
/// number of faces.
fn cell(said: &[f32; CELL], row: &[f32; ROW], scales: &[f32; 4], slope: &mut [f32; CELL], sums: &mut Sums) {
    let (loss, d) = focal(said[0], row[0]);
    sums[0] += f64::from(loss * row[1]);
    slope[0] = d * row[1] * scales[0];
    for i in 1..CELL {
        let part = match i {
            1..5 => 1,
            5..15 => 2,
            _ => 3,
        };
        let weight = row[1 + part];
        if weight > 0.0 {
            let (loss, d) = huber(said[i] - row[5 + i]);
            sums[part] += f64::from(loss * weight);
            slope[i] = d * weight * scales[part];
        }
    }
}

/// Loss and its gradient by the maps. Targets stand picture by picture, in each map by map.
fn loss(maps: &[Vec<f32>], targets: &[f32], pictures: usize, terms: &Terms) -> (Sums, Vec<Vec<f32>>) {
    let rows = targets.as_chunks::<ROW>().0;
    let cells = rows.len() / pictures.max(1);
    // Weighted as the boxes are: one face counts for its few cells.
    let faces = rows.iter().map(|r| r[2]).sum::<f32>().max(1.0);
    let scales = [terms.score, terms.rect, terms.points, terms.turn].map(|t| t as f32 / faces);
    let (mut sums, mut from) = ([0.0; 4], 0);
    let slopes = maps.iter().map(|map| {
        let size = map.len() / CELL / pictures.max(1);
        let mut slopes = vec![0.0; map.len()];
        for (i, (said, slope)) in map.as_chunks::<CELL>().0.iter().zip(slopes.as_chunks_mut::<CELL>().0).enumerate() {
            let row = &rows[i / size * cells + from + i % size];
            cell(said, row, &scales, slope, &mut sums);
        }
        from += size;
        slopes
    });
    let slopes = slopes.collect();
    (sums.map(|s| s / f64::from(faces)), slopes)
}

impl Method for Detecting {
    type Net = DetectorNet;

    fn loss(&mut self, net: &DetectorNet, batch: &Batch, _at: At, _rng: &mut Rng) -> Result<Loss> {
        let (n, px) = (batch.clips, batch.size_px);
        let cells: usize = self.spec.taps.iter().map(|&t| self.spec.size(t, [px, px]).iter().product::<usize>()).sum();
        if batch.targets.len() != n * cells * ROW {
            return Err(Error::input("the batch has no targets of a detector of this shape"));
        }
        let pass = Pass::new(net, &batch.video, [n, px, px], true)?;
        let (sums, slopes) = loss(&pass.maps, &batch.targets, n, &self.terms);
        pass.settle(net);
        let t = &self.terms;
        let value: f64 = sums.iter().zip([t.score, t.rect, t.points, t.turn]).map(|(s, t)| s * t).sum();
        let names = ["score", "rect", "points", "turn"];
        let terms = names.into_iter().zip(sums).collect();
        Ok(Loss { total: carrying(net, pass.backward(&slopes), value as f32), terms })
    }

    fn after_step(&mut self, _net: &DetectorNet, _at: At) {}

    fn save(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, _folder: &Path) -> Result<()> {
        Ok(())
    }

    fn backbone<'a>(&self, _net: &'a DetectorNet) -> Option<&'a Backbone> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ConvSpec;
    use crate::train::detector::net::Gradients;
    use burn::module::Param;
    use burn::tensor::{Device, Tensor, TensorData, activation, module::conv2d, ops::ConvOptions};

    #[test]
    fn slopes_are_those_of_the_losses() {
        for z in [-6.0f32, -1.0, 0.0, 0.7, 5.0] {
            for t in [0.0, 0.3, 1.0] {
                let slope = f64::from(focal(z + 1e-2, t).0 - focal(z - 1e-2, t).0) / 2e-2;
                assert!((slope - f64::from(focal(z, t).1)).abs() < 1e-3, "{z} {t}");
            }
        }
        for d in [-2.0f32, -0.05, 0.0, 0.03, 1.0] {
            let slope = f64::from(huber(d + 1e-3).0 - huber(d - 1e-3).0) / 2e-3;
            assert!((slope - f64::from(huber(d).1)).abs() < 1e-2, "{d}");
        }
    }

    /// The same network and loss by burn's own operations, and the gradients that burn finds.
    fn by_burn(net: &DetectorNet, batch: &Batch, terms: &Terms) -> (f32, Gradients) {
        let device = Device::flex().autodiff();
        let (n, px) = (batch.clips, batch.size_px);
        let pixels: Vec<f32> = batch.video.iter().map(|&v| (f32::from(v) - 128.0) / 64.0).collect();
        let mut x = Tensor::<4>::from_data(TensorData::new(pixels, [n, 1, px, px]), &device);
        let (mut said, mut sizes) = (Vec::new(), Vec::new());
        for (i, c) in net.convs.iter().enumerate() {
            let y = conv2d(x, c.conv.val(), None, ConvOptions::new([c.stride; 2], [1; 2], [1; 2], 1));
            let [_, channels, h, w] = y.dims();
            let rows = y.permute([0, 2, 3, 1]).reshape([n * h * w, channels]);
            let mean = rows.clone().mean_dim(0);
            let centred = rows - mean;
            let variance = (centred.clone() * centred.clone()).mean_dim(0);
            let y = centred / (variance + c.norm.epsilon).sqrt() * c.norm.gamma.val().unsqueeze::<2>()
                + c.norm.beta.val().unsqueeze::<2>();
            let y = activation::relu(y);
            if let Some(head) = net.taps.iter().position(|&t| t == i) {
                let head = &net.heads[head];
                said.push(y.clone().matmul(head.weight.val().transpose()) + head.bias.val().unsqueeze::<2>());
                sizes.push(h * w);
            }
            x = y.reshape([n, h, w, channels]).permute([0, 3, 1, 2]);
        }
        let cells: usize = sizes.iter().sum();
        let (mut rows, mut from) = (Vec::new(), 0);
        for size in sizes {
            for picture in batch.targets.chunks_exact(cells * ROW) {
                rows.extend_from_slice(&picture[from * ROW..(from + size) * ROW]);
            }
            from += size;
        }
        let said = Tensor::cat(said, 0);
        let rows = Tensor::<2>::from_data(TensorData::new(rows, [n * cells, ROW]), &device);
        let column = |at: usize, width: usize| rows.clone().narrow(1, at, width);
        let faces = column(2, 1).sum().clamp_min(1.0);
        let logit = said.clone().narrow(1, 0, 1);
        let away = activation::sigmoid(logit.clone()) - column(0, 1);
        let entropy = activation::softplus(logit.clone(), 1.0) - logit * column(0, 1);
        let sure = (away.clone() * away * entropy * column(1, 1)).sum() / faces.clone();
        let part = |at: usize, width: usize, weight: usize| {
            let size = (said.clone().narrow(1, at, width) - column(5 + at, width)).abs();
            let near = size.clone().clamp_max(BEND);
            let loss = near.clone() * (size - near.mul_scalar(0.5)).div_scalar(BEND);
            (loss * column(weight, 1)).sum() / faces.clone()
        };
        let total = sure.mul_scalar(terms.score)
            + part(1, 4, 2).mul_scalar(terms.rect)
            + part(5, 10, 3).mul_scalar(terms.points)
            + part(15, 1, 4).mul_scalar(terms.turn);
        (total.clone().into_scalar::<f32>(), gradients(net, total))
    }

    fn gradients(net: &DetectorNet, total: Tensor<1>) -> Gradients {
        let grads = total.backward();
        fn of<const D: usize>(p: &Param<Tensor<D>>, grads: &burn::tensor::Gradients) -> Vec<f32> {
            p.val().grad(grads).unwrap().into_data().iter::<f32>().collect()
        }
        let convs =
            net.convs.iter().map(|c| [of(&c.conv, &grads), of(&c.norm.gamma, &grads), of(&c.norm.beta, &grads)]);
        let heads = net.heads.iter().map(|h| [of(&h.weight, &grads), of(&h.bias, &grads)]);
        Gradients { convs: convs.collect(), heads: heads.collect() }
    }

    #[test]
    fn loss_and_gradients_are_those_of_burn() {
        let conv = |out, stride| ConvSpec { out, kernel: 3, stride };
        let spec = DetectorSpec { convs: vec![conv(8, 2), conv(12, 2), conv(12, 1), conv(20, 2)], taps: vec![2, 3] };
        let device = Device::flex().autodiff();
        let net = DetectorNet::new(&spec, 5, &device);
        let mut rng = Rng::new(6, 0);
        let (n, px) = (3, 24);
        let cells = 6 * 6 + 3 * 3;
        let row = |rng: &mut Rng| -> Vec<f32> {
            let face = rng.chance(0.3);
            let mut row: Vec<f32> = (0..ROW).map(|_| rng.normal()).collect();
            row[0] = if face { rng.unit() } else { 0.0 };
            row[1] = f32::from(u8::from(rng.chance(0.8)));
            (2..5).for_each(|i| row[i] = if face { rng.unit() } else { 0.0 });
            row
        };
        let batch = Batch {
            clips: n,
            frames: 1,
            size_px: px,
            video: (0..n * px * px).map(|_| rng.below(256) as u8).collect(),
            targets: (0..n * cells).flat_map(|_| row(&mut rng)).collect(),
            ..Batch::default()
        };
        let terms = Terms { score: 1.0, rect: 0.9, points: 0.8, turn: 0.7 };
        let (value, want) = by_burn(&net, &batch, &terms);
        let mut method = Detecting { terms, spec };
        let found = method.loss(&net, &batch, At::default(), &mut rng).unwrap();
        assert!((found.total.clone().into_scalar::<f32>() - value).abs() < 1e-4 * value, "{value}");
        let have = gradients(&net, found.total);
        let all = |g: &Gradients| g.convs.iter().flatten().chain(g.heads.iter().flatten()).cloned().collect::<Vec<_>>();
        for (i, (h, w)) in all(&have).iter().zip(&all(&want)).enumerate() {
            let scale = w.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let gap = h.iter().zip(w).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(h.len() == w.len() && gap < 1e-3 * scale.max(1e-6), "parameter {i}: {gap} of {scale}");
        }
    }
}
