//! The kernel in safe Rust, written so that compilers see pairs of 16-bit products.

use super::tile::{Kernel, Tile, by_pixels};
use crate::quant;

const LANES: usize = 16;

pub(super) const KERNEL: Kernel = Kernel { lanes: LANES, vectors: 1, pixels: 4, paired: false, run };

fn run(pixels: usize, t: Tile<'_>) {
    by_pixels!(pixels, t, tile; 1 2 3 4);
}

fn tile<const P: usize>(t: Tile<'_>) {
    let mut acc = [[0i32; LANES]; P];
    acc.iter_mut().for_each(|a| a.copy_from_slice(&t.bias[..LANES]));
    for (&tap, w) in t.taps.iter().zip(t.weights.as_chunks::<{ 4 * LANES }>().0) {
        let pair = |b: &[u8]| [i16::from_le_bytes([b[0], b[1]]), i16::from_le_bytes([b[2], b[3]])].map(i32::from);
        let w: [[i32; 2]; LANES] = std::array::from_fn(|n| pair(&w[4 * n..4 * n + 4]));
        for (p, acc) in acc.iter_mut().enumerate() {
            let a = pair(&t.x[tap as usize + p * t.x_step..][..4]);
            for (acc, w) in acc.iter_mut().zip(&w) {
                *acc = acc.wrapping_add(a[0] * w[0] + a[1] * w[1]);
            }
        }
    }
    for (acc, y) in acc.iter().zip(t.y.chunks_mut(t.y_step)) {
        for ((y, &acc), &s) in y.as_chunks_mut::<2>().0.iter_mut().zip(acc).zip(t.scale) {
            *y = [quant::requantize_branchless(acc, s), 0];
        }
    }
}
