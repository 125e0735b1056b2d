//! BatchNorm and ReLU, channels last.

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

/// Sums over rows of what `each` adds, chunk by chunk and then together.
fn sums(rows: &[f32], channels: usize, width: usize, each: impl Fn(usize, &[f32], &mut [f64]) + Sync) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = rows
        .par_chunks(ROWS * channels)
        .enumerate()
        .map(|(chunk, rows)| {
            let mut sums = vec![0.0; width];
            for (i, row) in rows.chunks_exact(channels).enumerate() {
                each(chunk * ROWS + i, row, &mut sums);
            }
            sums
        })
        .collect();
    let mut all = vec![0.0; width];
    parts.iter().for_each(|p| all.iter_mut().zip(p).for_each(|(a, p)| *a += p));
    all
}

impl Statistics {
    pub fn of(x: &[f32], channels: usize) -> Self {
        let n = (x.len() / channels) as f64;
        let mean: Vec<f64> = sums(x, channels, channels, |_, row, s| {
            s.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
        })
        .iter()
        .map(|s| s / n)
        .collect();
        let variance = sums(x, channels, channels, |_, row, s| {
            for ((s, v), m) in s.iter_mut().zip(row).zip(&mean) {
                *s += (f64::from(*v) - m) * (f64::from(*v) - m);
            }
        });
        Self {
            mean: mean.iter().map(|m| *m as f32).collect(),
            variance: variance.iter().map(|v| (v / n) as f32).collect(),
        }
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
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(ROWS * channels).zip(x.par_chunks(ROWS * channels)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for ((y, x), (factor, summand)) in y.iter_mut().zip(x).zip(&affine) {
                    *y = (x * factor + summand).max(0.0);
                }
            }
        });
        y
    }

    /// Gradients of input, gamma and beta, from that of the output `y` of [`Norm::relu`], by the statistics of `x` itself.
    pub fn backward(&self, x: &[f32], s: &Statistics, y: &[f32], of_y: &[f32]) -> [Vec<f32>; 3] {
        let channels = self.gamma.len();
        let n = (x.len() / channels) as f64;
        let inverse: Vec<f32> = s.variance.iter().map(|v| 1.0 / (v + self.epsilon).sqrt()).collect();
        let both = sums(x, channels, 2 * channels, |i, row, sums| {
            let at = i * channels;
            let (of_beta, of_gamma) = sums.split_at_mut(channels);
            for c in 0..channels {
                if y[at + c] > 0.0 {
                    let d = f64::from(of_y[at + c]);
                    of_beta[c] += d;
                    of_gamma[c] += d * f64::from((row[c] - s.mean[c]) * inverse[c]);
                }
            }
        });
        let (of_beta, of_gamma) = both.split_at(channels);
        let mut dx = vec![0.0; x.len()];
        dx.par_chunks_mut(ROWS * channels).enumerate().for_each(|(chunk, dx)| {
            for (i, dx) in dx.iter_mut().enumerate() {
                let (at, c) = (chunk * ROWS * channels + i, i % channels);
                let d = if y[at] > 0.0 { of_y[at] } else { 0.0 };
                let centred = (x[at] - s.mean[c]) * inverse[c];
                let mean = (of_beta[c] / n) as f32 + centred * (of_gamma[c] / n) as f32;
                *dx = self.gamma[c] * inverse[c] * (d - mean);
            }
        });
        let narrow = |v: &[f64]| v.iter().map(|v| *v as f32).collect();
        [dx, narrow(of_gamma), narrow(of_beta)]
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
