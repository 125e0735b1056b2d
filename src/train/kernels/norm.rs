//! BatchNorm and ReLU, channels last.

use super::conv::zeros;
use rayon::prelude::*;

/// Rows that one thread takes at a time.
const ROWS: usize = 2048;

/// Mean and variance of each channel, over all rows (population).
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    pub mean: Vec<f32>,
    pub variance: Vec<f32>,
}

/// Gain and shift of each channel, and what is added to variances.
pub struct Norm<'a> {
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub epsilon: f32,
}

/// Rows that are added up in f32 before they go to f64.
const RUN: usize = 64;

/// Sums over rows of what `each` adds: runs of rows in f32, then chunk by chunk, then together.
fn sums(n: usize, width: usize, each: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = (0..n.div_ceil(ROWS))
        .into_par_iter()
        .map(|chunk| {
            let (mut run, mut sums) = (vec![0.0f32; width], vec![0.0f64; width]);
            for first in (chunk * ROWS..n.min((chunk + 1) * ROWS)).step_by(RUN) {
                run.fill(0.0);
                (first..n.min(first + RUN)).for_each(|row| each(row, &mut run));
                sums.iter_mut().zip(&run).for_each(|(s, v)| *s += f64::from(*v));
            }
            sums
        })
        .collect();
    let mut all = vec![0.0; width];
    parts.iter().for_each(|p| all.iter_mut().zip(p).for_each(|(a, p)| *a += p));
    all
}

fn narrow(v: &[f64]) -> Vec<f32> {
    v.iter().map(|v| *v as f32).collect()
}

impl Statistics {
    pub fn of(x: &[f32], channels: usize) -> Self {
        let n = x.len() / channels;
        let means = |sums: Vec<f64>| narrow(&sums.iter().map(|s| s / n as f64).collect::<Vec<_>>());
        let row = |i: usize| &x[i * channels..][..channels];
        let mean = means(sums(n, channels, |i, s| s.iter_mut().zip(row(i)).for_each(|(s, v)| *s += v)));
        let variance = sums(n, channels, |i, s| {
            s.iter_mut().zip(row(i)).zip(&mean).for_each(|((s, v), m)| *s += (v - m) * (v - m));
        });
        let variance = means(variance);
        Self { mean, variance }
    }
}

impl Norm<'_> {
    /// Factor and summand of each channel.
    fn affine(&self, s: &Statistics) -> Vec<(f32, f32)> {
        let of = |i: usize| {
            let factor = self.gamma[i] / (s.variance[i] + self.epsilon).sqrt();
            (factor, self.beta[i] - s.mean[i] * factor)
        };
        (0..self.gamma.len()).map(of).collect()
    }

    /// `max(0, gamma (x - mean) / sqrt(variance + epsilon) + beta)`.
    pub fn relu(&self, x: &[f32], s: &Statistics) -> Vec<f32> {
        let (affine, channels) = (self.affine(s), self.gamma.len());
        let (factors, summands): (Vec<f32>, Vec<f32>) = affine.into_iter().unzip();
        let mut y = zeros(x.len());
        y.par_chunks_mut(ROWS * channels).zip(x.par_chunks(ROWS * channels)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for (((y, x), factor), summand) in y.iter_mut().zip(x).zip(&factors).zip(&summands) {
                    let v = x * factor + summand;
                    *y = if v > 0.0 { v } else { 0.0 };
                }
            }
        });
        y
    }

    /// Gradients of input, gamma and beta, from that of the output `y` of [`Norm::relu`], by the
    /// statistics of `x` itself.
    pub fn backward(&self, x: &[f32], s: &Statistics, y: &[f32], of_y: &[f32]) -> [Vec<f32>; 3] {
        let channels = self.gamma.len();
        let n = x.len() / channels;
        let mean = &s.mean[..channels];
        let both = sums(n, 2 * channels, |i, sums| {
            let (of_beta, of_gamma) = sums.split_at_mut(channels);
            let of_gamma = &mut of_gamma[..channels];
            let (x, y, of_y) =
                (&x[i * channels..][..channels], &y[i * channels..][..channels], &of_y[i * channels..][..channels]);
            for c in 0..channels {
                let d = if y[c] > 0.0 { of_y[c] } else { 0.0 };
                of_beta[c] += d;
                of_gamma[c] += d * (x[c] - mean[c]);
            }
        });
        let (of_beta, by_centred) = both.split_at(channels);
        let inverse: Vec<f64> = s.variance.iter().map(|v| 1.0 / f64::from(v + self.epsilon).sqrt()).collect();
        let of_gamma: Vec<f64> = by_centred.iter().zip(&inverse).map(|(g, i)| g * i).collect();
        // dx = factor (d - mean(d) - (x - mean) / sqrt(variance + epsilon) mean(d x^)), as factor d
        // + slope x + summand.
        let mut parts = Vec::with_capacity(channels);
        for c in 0..channels {
            let factor = f64::from(self.gamma[c]) * inverse[c];
            let slope = -factor * inverse[c] * of_gamma[c] / n as f64;
            let summand = -factor * of_beta[c] / n as f64 - slope * f64::from(s.mean[c]);
            parts.push([factor as f32, slope as f32, summand as f32]);
        }
        let [factor, slope, summand] = [0, 1, 2].map(|k| parts.iter().map(|p| p[k]).collect::<Vec<f32>>());
        let mut dx = zeros(x.len());
        dx.par_chunks_mut(channels * ROWS).enumerate().for_each(|(chunk, dx)| {
            let at = chunk * ROWS * channels;
            let all = [x, y, of_y].map(|v| v[at..][..dx.len()].chunks_exact(channels));
            let [x, y, of_y] = all;
            let (factor, slope, summand) = (&factor[..channels], &slope[..channels], &summand[..channels]);
            for (((dx, x), y), of_y) in dx.chunks_exact_mut(channels).zip(x).zip(y).zip(of_y) {
                let (dx, x, y, of_y) = (&mut dx[..channels], &x[..channels], &y[..channels], &of_y[..channels]);
                for c in 0..channels {
                    let d = if y[c] > 0.0 { of_y[c] } else { 0.0 };
                    dx[c] = factor[c] * d + slope[c] * x[c] + summand[c];
                }
            }
        });
        [dx, narrow(&of_gamma), narrow(of_beta)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;

    #[test]
    fn gradients_are_differences() {
        let mut rng = Rng::new(4, 0);
        let (rows, channels) = (37, 5);
        let mut draw = |n: usize| (0..n).map(|_| rng.normal()).collect::<Vec<f32>>();
        let (x, weight) = (draw(rows * channels), draw(rows * channels));
        let (gamma, beta) = (draw(channels), draw(channels));
        // Linear in the outputs, so that its gradient by them is `weight`.
        let value = |x: &[f32], gamma: &[f32], beta: &[f32]| -> f64 {
            let norm = Norm { gamma, beta, epsilon: 1e-5 };
            let y = norm.relu(x, &Statistics::of(x, channels));
            y.iter().zip(&weight).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum()
        };
        let norm = Norm { gamma: &gamma, beta: &beta, epsilon: 1e-5 };
        let s = Statistics::of(&x, channels);
        let y = norm.relu(&x, &s);
        let [dx, of_gamma, of_beta] = norm.backward(&x, &s, &y, &weight);
        let step = 1e-2;
        let moved = |v: &[f32], i: usize, by: f32| {
            let mut v = v.to_vec();
            v[i] += by;
            v
        };
        let mut wrong = 0;
        for (i, found) in dx.iter().enumerate() {
            let up = value(&moved(&x, i, step), &gamma, &beta);
            let slope = (up - value(&moved(&x, i, -step), &gamma, &beta)) / f64::from(2.0 * step);
            // A kink of ReLU within the step moves a few of them.
            wrong += usize::from((slope - f64::from(*found)).abs() > 0.02);
        }
        assert!(wrong < 8, "{wrong}");
        for c in 0..channels {
            let by_gamma = (value(&x, &moved(&gamma, c, step), &beta) - value(&x, &moved(&gamma, c, -step), &beta))
                / f64::from(2.0 * step);
            let by_beta = (value(&x, &gamma, &moved(&beta, c, step)) - value(&x, &gamma, &moved(&beta, c, -step)))
                / f64::from(2.0 * step);
            assert!((by_gamma - f64::from(of_gamma[c])).abs() < 0.2 && (by_beta - f64::from(of_beta[c])).abs() < 0.2);
        }
    }
}
