//! x86-64 kernels: one for 512-bit VNNI, one text for the three instruction sets of 256 bits.

use super::canvas::{Canvas, Encoding};
use super::isa::Plain;
use super::linear::{self, Linear};
use super::recur::{self, Recur};
use super::stem;
use super::tile::{Kernel, Tile, by_pixels};
use crate::spec::detector::CELL;
use std::arch::x86_64::*;

/// The AVX-512 kernel for a convolution of `channels` outputs, a multiple of 16: 32 registers hold 20 to 24 accumulators.
pub(super) fn avx512_vnni(channels: usize) -> Kernel {
    let kernel = |vectors, pixels, run| Kernel { lanes: 16, vectors, pixels, paired: false, run };
    match channels / 16 {
        n if n.is_multiple_of(4) => kernel(4, 6, run512x4),
        n if n.is_multiple_of(2) => kernel(2, 12, run512x2),
        _ => kernel(1, 12, run512x1),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn run512x4(pixels: usize, t: Tile<'_>) {
    by_pixels!(pixels, t, tile512, 4; 1 2 3 4 5 6);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn run512x2(pixels: usize, t: Tile<'_>) {
    by_pixels!(pixels, t, tile512, 2; 1 2 3 4 5 6 7 8 9 10 11 12);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn run512x1(pixels: usize, t: Tile<'_>) {
    by_pixels!(pixels, t, tile512, 1; 1 2 3 4 5 6 7 8 9 10 11 12);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tile512<const P: usize, const V: usize>(t: Tile<'_>) {
    let mut acc = [[_mm512_setzero_si512(); V]; P];
    // SAFETY: the contract of `Kernel::run`: bias holds 16 V values, weights 64 V bytes a tap, and every pixel's input reaches four
    // bytes beyond each tap.
    unsafe {
        for v in 0..V {
            let bias = _mm512_loadu_si512(t.bias.as_ptr().add(16 * v).cast());
            acc.iter_mut().for_each(|a| a[v] = bias);
        }
        let mut w = t.weights.as_ptr();
        for &tap in t.taps {
            let x = t.x.as_ptr().add(tap as usize);
            let mut weights = [_mm512_setzero_si512(); V];
            for (v, weight) in weights.iter_mut().enumerate() {
                *weight = _mm512_loadu_si512(w.add(64 * v).cast());
            }
            for (p, acc) in acc.iter_mut().enumerate() {
                let a = _mm512_set1_epi32(x.add(p * t.x_step).cast::<i32>().read_unaligned());
                for (acc, weight) in acc.iter_mut().zip(weights) {
                    *acc = _mm512_dpbusd_epi32(*acc, a, weight);
                }
            }
            w = w.add(64 * V);
        }
        let mut scales = [_mm512_setzero_ps(); V];
        for (v, scale) in scales.iter_mut().enumerate() {
            *scale = _mm512_loadu_ps(t.scale.as_ptr().add(16 * v));
        }
        for (p, acc) in acc.iter().enumerate() {
            store512(acc, &scales, t.y.as_mut_ptr().add(p * t.y_step));
        }
    }
}

/// Requantises and writes one pixel's `16 * V` channels.
///
/// # Safety
/// `y` must be good for as many bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn store512<const V: usize>(acc: &[__m512i; V], scales: &[__m512; V], y: *mut u8) {
    // The upper bound is applied before the conversion, for one that overflows gives the smallest integer.
    let q = |v: usize| {
        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[v]), scales[v]);
        _mm512_cvtps_epi32(_mm512_min_ps(scaled, _mm512_set1_ps(255.0)))
    };
    // SAFETY: the caller's promise.
    unsafe {
        if V == 4 {
            let bytes = _mm512_packus_epi16(_mm512_packus_epi32(q(0), q(1)), _mm512_packus_epi32(q(2), q(3)));
            _mm512_storeu_si512(y.cast(), bytes);
        } else if V == 2 {
            _mm256_storeu_si256(y.cast(), _mm512_cvtepi16_epi8(_mm512_packus_epi32(q(0), q(1))));
        } else {
            let positive = _mm512_max_epi32(q(0), _mm512_setzero_si512());
            _mm_storeu_si128(y.cast(), _mm512_cvtepi32_epi8(positive));
        }
    }
}

/// The kernel of 2 x 8 channels and up to 6 pixels, 12 accumulators of 16 registers, around one instruction `$dot`.
macro_rules! kernel256 {
    ($kernel:ident, $run:ident, $tile:ident, $features:literal, $dot:path, $store:ident) => {
        pub(super) const $kernel: Kernel = Kernel { lanes: 8, vectors: 2, pixels: 6, paired: false, run: $run };

        #[target_feature(enable = $features)]
        fn $run(pixels: usize, t: Tile<'_>) {
            by_pixels!(pixels, t, $tile; 1 2 3 4 5 6);
        }

        #[target_feature(enable = $features)]
        fn $tile<const P: usize>(t: Tile<'_>) {
            // SAFETY: the contract of `Kernel::run`: bias and scale hold 16 values, weights 64 bytes a tap, every pixel's input
            // reaches four bytes beyond each tap, and its output holds 16 channels.
            unsafe {
                let load = |at: *const u8, v: usize| _mm256_loadu_si256(at.add(32 * v).cast());
                let bias = t.bias.as_ptr().cast();
                let mut acc = [[load(bias, 0), load(bias, 1)]; P];
                let mut w = t.weights.as_ptr();
                for &tap in t.taps {
                    let x = t.x.as_ptr().add(tap as usize);
                    let (w0, w1) = (load(w, 0), load(w, 1));
                    for (p, acc) in acc.iter_mut().enumerate() {
                        let a = _mm256_set1_epi32(x.add(p * t.x_step).cast::<i32>().read_unaligned());
                        *acc = [$dot(acc[0], a, w0), $dot(acc[1], a, w1)];
                    }
                    w = w.add(64);
                }
                let scales = [_mm256_loadu_ps(t.scale.as_ptr()), _mm256_loadu_ps(t.scale.as_ptr().add(8))];
                for (p, acc) in acc.iter().enumerate() {
                    $store(requantize256(acc, &scales), t.y.as_mut_ptr().add(p * t.y_step));
                }
            }
        }
    };
}

kernel256!(AVX2, run_avx2, tile_avx2, "avx2", madd, store_u16);
kernel256!(AVX_VNNI, run_avx_vnni, tile_avx_vnni, "avx2,avxvnni", _mm256_dpbusd_avx_epi32, store_u8);
kernel256!(AVX512_VNNI_256, run_256, tile_256, "avx2,avx512f,avx512vl,avx512vnni", _mm256_dpbusd_epi32, store_u8);

/// Two products of 16 bits and their sum in each lane: at most `2 * 255 * 127`, exact.
#[inline]
#[target_feature(enable = "avx2")]
fn madd(acc: __m256i, a: __m256i, w: __m256i) -> __m256i {
    _mm256_add_epi32(acc, _mm256_madd_epi16(a, w))
}

/// Sixteen channels as u16 in order.
#[inline]
#[target_feature(enable = "avx2")]
fn requantize256(acc: &[__m256i; 2], scales: &[__m256; 2]) -> __m256i {
    // The upper bound is applied before the conversion, for one that overflows gives the smallest integer.
    let q = |v: usize| {
        let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[v]), scales[v]);
        _mm256_cvtps_epi32(_mm256_min_ps(scaled, _mm256_set1_ps(255.0)))
    };
    _mm256_packus_epi32(q(0), q(1))
}

/// # Safety
/// `y` must be good for 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store_u16(q: __m256i, y: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { _mm256_storeu_si256(y.cast(), q) }
}

/// # Safety
/// `y` must be good for 16 bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store_u8(q: __m256i, y: *mut u8) {
    let bytes = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi16(q, q));
    // SAFETY: the caller's promise.
    unsafe { _mm_storeu_si128(y.cast(), _mm256_castsi256_si128(bytes)) }
}

/// The plain functions compiled for more than the baseline.
macro_rules! plain {
    ($plain:ident, $features:literal, $fill:ident, $recur:ident, $read:ident) => {
        pub(super) const $plain: Plain = Plain { fill: $fill, recur: $recur, read: $read };

        #[target_feature(enable = $features)]
        fn $fill(encoding: Encoding, ring: &[u8], row: &mut [u8], out: &mut Canvas) {
            stem::fill(encoding, ring, row, out);
        }

        #[target_feature(enable = $features)]
        fn $recur(r: &mut Recur, hidden: &mut [f32], logits: &mut [f32]) {
            recur::step(r, hidden, logits);
        }

        #[target_feature(enable = $features)]
        fn $read(encoding: Encoding, head: &Linear, x: &Canvas, cells: &mut [[f32; CELL]]) {
            linear::read(encoding, head, x, cells);
        }
    };
}

plain!(PLAIN_AVX512, "avx512f,avx512bw,avx512vl", fill_avx512, recur_avx512, read_avx512);
plain!(PLAIN_AVX2, "avx2", fill_avx2, recur_avx2, read_avx2);
