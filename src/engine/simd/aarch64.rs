//! aarch64 kernels: one for the dot-product extension, one for plain NEON. Both multiply signed by signed, so activations are stored
//! less 128 and the bias takes it back.

use super::tile::{Kernel, Tile, by_pixels};
use std::arch::aarch64::*;
use std::arch::asm;

/// 24 accumulators, 4 weights and one activation of 32 registers.
pub(super) const NEON_DOT: Kernel = Kernel { lanes: 4, vectors: 4, pixels: 6, paired: false, run: run_dot };

/// 16 accumulators, 4 weights, and two copies of an activation.
pub(super) const NEON: Kernel = Kernel { lanes: 4, vectors: 4, pixels: 4, paired: true, run: run_neon };

#[target_feature(enable = "neon,dotprod")]
fn run_dot(pixels: usize, t: Tile<'_>) {
    by_pixels!(pixels, t, tile_dot; 1 2 3 4 5 6);
}

#[target_feature(enable = "neon")]
fn run_neon(pixels: usize, t: Tile<'_>) {
    by_pixels!(pixels, t, tile_neon; 1 2 3 4);
}

/// The body of a kernel: `$wide` spreads a dword, `$dot` adds its products with sixteen weights to four accumulators.
macro_rules! tile {
    ($tile:ident, $features:literal, $wide:ident, $dot:ident) => {
        #[target_feature(enable = $features)]
        fn $tile<const P: usize>(t: Tile<'_>) {
            // SAFETY: the contract of `Kernel::run`: bias and scale hold 16 values, weights 64 bytes a tap, every pixel's input
            // reaches four bytes beyond each tap, and its output holds 16 channels.
            unsafe {
                let bias = t.bias.as_ptr();
                let mut acc = [[0, 4, 8, 12].map(|i| vld1q_s32(bias.add(i))); P];
                let mut w = t.weights.as_ptr().cast::<i8>();
                for &tap in t.taps {
                    let x = t.x.as_ptr().add(tap as usize);
                    let weights = [0, 16, 32, 48].map(|i| vld1q_s8(w.add(i)));
                    for (p, acc) in acc.iter_mut().enumerate() {
                        let a = $wide(vdupq_n_s32(x.add(p * t.x_step).cast::<i32>().read_unaligned()));
                        for (acc, weight) in acc.iter_mut().zip(weights) {
                            *acc = $dot(*acc, a, weight);
                        }
                    }
                    w = w.add(64);
                }
                let scales = [0, 4, 8, 12].map(|i| vld1q_f32(t.scale.as_ptr().add(i)));
                for (p, acc) in acc.iter().enumerate() {
                    vst1q_u8(t.y.as_mut_ptr().add(p * t.y_step), requantize(acc, &scales));
                }
            }
        }
    };
}

tile!(tile_dot, "neon,dotprod", whole, dot);
tile!(tile_neon, "neon", halves, multiply);

#[inline]
#[target_feature(enable = "neon")]
fn whole(dword: int32x4_t) -> int8x16_t {
    vreinterpretq_s8_s32(dword)
}

/// `acc[i] + dot(a[4 i..][..4], w[4 i..][..4])`
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(mut acc: int32x4_t, a: int8x16_t, w: int8x16_t) -> int32x4_t {
    // SAFETY: the CPU has the extension, and the instruction touches only these registers. (The intrinsic is not stable.)
    unsafe {
        asm!("sdot {acc:v}.4s, {a:v}.16b, {w:v}.16b", acc = inout(vreg) acc, a = in(vreg) a, w = in(vreg) w,
             options(pure, nomem, nostack, preserves_flags));
    }
    acc
}

/// The low pair of a dword eight times, and the high pair eight times.
#[inline]
#[target_feature(enable = "neon")]
fn halves(dword: int32x4_t) -> [int8x16_t; 2] {
    let pairs = vreinterpretq_s16_s32(dword);
    [vreinterpretq_s8_s16(vuzp1q_s16(pairs, pairs)), vreinterpretq_s8_s16(vuzp2q_s16(pairs, pairs))]
}

/// The same sum as [`dot`] on weights in two planes of pairs. Two products of at most `128 * 127` fit in 16 bits.
#[inline]
#[target_feature(enable = "neon")]
fn multiply(acc: int32x4_t, a: [int8x16_t; 2], w: int8x16_t) -> int32x4_t {
    let low = vmull_s8(vget_low_s8(a[0]), vget_low_s8(w));
    vpadalq_s16(acc, vmlal_high_s8(low, a[1], w))
}

/// Sixteen channels, less 128. Narrowing saturates at both ends, but the conversion is given nothing above 255.
#[inline]
#[target_feature(enable = "neon")]
fn requantize(acc: &[int32x4_t; 4], scales: &[float32x4_t; 4]) -> uint8x16_t {
    let q = |v: usize| {
        let scaled = vmulq_f32(vcvtq_f32_s32(acc[v]), scales[v]);
        vqmovun_s32(vcvtnq_s32_f32(vminq_f32(scaled, vdupq_n_f32(255.0))))
    };
    let bytes = vcombine_u8(vqmovn_u16(vcombine_u16(q(0), q(1))), vqmovn_u16(vcombine_u16(q(2), q(3))));
    veorq_u8(bytes, vdupq_n_u8(0x80))
}
