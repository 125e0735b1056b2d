//! The loops of a convolution.

use crate::model::ConvI8;
use crate::quant;
use crate::spec::ConvSpec;
use std::ops::{AddAssign, Mul};

/// Weights of every layer, and the buffers that a pass through them needs.
pub(super) struct Layers<T> {
    weights: Vec<(Vec<T>, Vec<T>)>,
    /// What the next convolution sees, channel by channel.
    pub x: Vec<T>,
    out: Vec<T>,
    padded: Vec<T>,
}

impl<T: Copy + Default + AddAssign + Mul<Output = T>> Layers<T> {
    pub fn new(weights: Vec<(Vec<T>, Vec<T>)>) -> Self {
        Self { weights, x: Vec::new(), out: Vec::new(), padded: Vec::new() }
    }

    /// Replaces `x`, of so many `channels`, by its convolution in layer `i`: zero-padded, one
    /// accumulator an output, taps in the order input channel, row, column. The sizes are a plane's
    /// height and width before and after.
    pub fn convolve(&mut self, i: usize, spec: ConvSpec, channels: usize, [[height, width], after]: [[usize; 2]; 2]) {
        let (weight, bias) = &self.weights[i];
        let (padded, out) = (&mut self.padded, &mut self.out);
        let pad = spec.kernel / 2;
        let [high, wide] = [height + 2 * pad, width + 2 * pad];
        padded.clear();
        padded.resize(channels * high * wide, T::default());
        for (c, plane) in self.x.chunks_exact(height * width).enumerate() {
            for (y, row) in plane.chunks_exact(width).enumerate() {
                padded[(c * high + y + pad) * wide + pad..][..width].copy_from_slice(row);
            }
        }
        out.clear();
        for (kernel, &bias) in weight.chunks_exact(channels * spec.kernel * spec.kernel).zip(bias) {
            for y in 0..after[0] {
                let start = out.len();
                out.resize(start + after[1], bias);
                for (tap, &w) in kernel.iter().enumerate() {
                    let (c, ky, kx) =
                        (tap / (spec.kernel * spec.kernel), tap / spec.kernel % spec.kernel, tap % spec.kernel);
                    let row = &padded[(c * high + y * spec.stride + ky) * wide + kx..];
                    for (acc, &x) in out[start..].iter_mut().zip(row.iter().step_by(spec.stride)) {
                        *acc += x * w;
                    }
                }
            }
        }
        std::mem::swap(&mut self.x, &mut self.out);
    }
}

impl Layers<i32> {
    pub fn int8(convs: &[ConvI8]) -> Self {
        Self::new(convs.iter().map(|c| (whole(&c.weight), c.bias.clone())).collect())
    }

    /// Replaces the accumulators in `x` by the next layer's input; `factors` has one for each
    /// channel.
    pub fn requantize(&mut self, factors: &[f32]) {
        let area = self.x.len() / factors.len();
        for (plane, &s) in self.x.chunks_exact_mut(area).zip(factors) {
            plane.iter_mut().for_each(|v| *v = i32::from(quant::requantize(*v, s)));
        }
    }
}

pub(super) fn whole(v: &[i8]) -> Vec<i32> {
    v.iter().map(|&w| i32::from(w)).collect()
}
