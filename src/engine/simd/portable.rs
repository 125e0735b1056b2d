//! The kernel in safe Rust, written so that compilers see pairs of 16-bit products.

use super::isa::Plain;
use super::tile::{Kernel, Tile};
use super::{linear, recur, stem};
use crate::quant;

const LANES: usize = 16;

pub(super) const KERNEL: Kernel = Kernel { lanes: LANES, vectors: 1, pixels: 4, paired: false, run };

pub(super) const PLAIN: Plain = Plain { fill: stem::fill, recur: recur::step, read: linear::read };

/// One pixel at a time: with more, the accumulators of 16 channels outgrow the registers of the small targets this is for.
fn run(pixels: usize, t: Tile<'_>) {
    for p in 0..pixels {
        let y = &mut t.y[p * t.y_step..][..2 * LANES];
        pixel(&t.x[p * t.x_step..], t.taps, t.weights, t.bias, t.scale, y);
    }
}

fn pixel(x: &[u8], taps: &[u32], weights: &[u8], bias: &[i32], scale: &[f32], y: &mut [u8]) {
    let mut acc = [0i32; LANES];
    acc.copy_from_slice(&bias[..LANES]);
    for (&tap, w) in taps.iter().zip(weights.as_chunks::<{ 4 * LANES }>().0) {
        let x = &x[tap as usize..][..4];
        let x = [half(x[0], x[1]), half(x[2], x[3])];
        for n in 0..LANES {
            let sum = x[0] * half(w[4 * n], w[4 * n + 1]) + x[1] * half(w[4 * n + 2], w[4 * n + 3]);
            // A bias that holds the zero point may lie outside i32 where the whole sum does not.
            acc[n] = acc[n].wrapping_add(sum);
        }
    }
    for ((y, &acc), &s) in y.as_chunks_mut::<2>().0.iter_mut().zip(&acc).zip(scale) {
        *y = [quant::requantize_branchless(acc, s), 0];
    }
}

#[inline(always)]
fn half(low: u8, high: u8) -> i32 {
    i32::from(i16::from_le_bytes([low, high]))
}
