//! The kernel in safe Rust, written so that compilers see pairs of 16-bit products.

use super::isa::Plain;
use super::tile::{Kernel, Tile};
use super::{recur, stem};
use crate::quant;

const LANES: usize = 16;

pub(super) const KERNEL: Kernel = Kernel { lanes: LANES, vectors: 1, pixels: 1, paired: false, run };

pub(super) const PLAIN: Plain = Plain { fill: stem::fill, recur: recur::step };

/// One pixel at a time: with more, the accumulators of 16 channels outgrow the registers of the small targets this is for.
fn run(_pixels: usize, t: Tile<'_>) {
    let mut acc = [0i32; LANES];
    acc.copy_from_slice(&t.bias[..LANES]);
    for (&tap, w) in t.taps.iter().zip(t.weights.as_chunks::<{ 4 * LANES }>().0) {
        let x = &t.x[tap as usize..][..4];
        let x = [half(x[0], x[1]), half(x[2], x[3])];
        for n in 0..LANES {
            acc[n] += x[0] * half(w[4 * n], w[4 * n + 1]) + x[1] * half(w[4 * n + 2], w[4 * n + 3]);
        }
    }
    for ((y, &acc), &s) in t.y.as_chunks_mut::<2>().0.iter_mut().zip(&acc).zip(t.scale) {
        *y = [quant::requantize_branchless(acc, s), 0];
    }
}

#[inline(always)]
fn half(low: u8, high: u8) -> i32 {
    i32::from(i16::from_le_bytes([low, high]))
}
