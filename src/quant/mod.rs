//! Layer 1: the arithmetic of the specification; every engine agrees with these functions to the bit.
//!
//! Activations are u8 with zero point 0 (the input ring: [`crate::spec::StudentSpec::input_zero_point`]), weights
//! s8 in [-127, 127] per output channel, accumulators i32 and exact. GRU and heads are f32 in a fixed order of
//! operations. Nothing here may be contracted into fused multiply-adds.

mod grid;

pub use grid::Grid;

/// `clamp(rne(f32(acc) * scale), 0, 255)`: requantisation and ReLU in one.
#[inline]
pub fn requantize(acc: i32, scale: f32) -> u8 {
    (acc as f32 * scale).round_ties_even().clamp(0.0, 255.0) as u8
}

/// [`requantize`] to the bit, in steps that every instruction set has vectors for: below 2^22, adding and taking off 2^23 rounds half
/// to even.
#[inline]
pub fn requantize_branchless(acc: i32, scale: f32) -> u8 {
    const ROUND: f32 = 8_388_608.0;
    ((acc as f32 * scale).clamp(0.0, 255.0) + ROUND - ROUND) as i32 as u8
}

/// The requantising factor, `f32(f32(input * weight) / output)` in that order. Stored in the model, never recomputed at run time.
pub fn requant_scale(input: f32, weight: f32, output: f32) -> f32 {
    (input * weight) / output
}

/// Scale of a weight channel: `max |w| / 127`; 1 for a channel of zeros.
pub fn weight_scale(weights: &[f32]) -> f32 {
    let top = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    if top > 0.0 { top / 127.0 } else { 1.0 }
}

/// `rne(w / scale)` in [-127, 127].
pub fn quantize_weight(w: f32, scale: f32) -> i8 {
    (w / scale).round_ties_even().clamp(-127.0, 127.0) as i8
}

/// `rne(bias / (input * weight))`, saturating.
pub fn quantize_bias(bias: f32, input_scale: f32, weight_scale: f32) -> i32 {
    (f64::from(bias) / f64::from(input_scale * weight_scale)).round_ties_even() as i32
}

/// Sum of products in eight interleaved partial sums, joined as `((0+4)+(2+6)) + ((1+5)+(3+7))`.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut s = [0.0f32; 8];
    let (wide_a, rest_a) = a.as_chunks::<8>();
    let (wide_b, rest_b) = b.as_chunks::<8>();
    for (x, y) in wide_a.iter().zip(wide_b) {
        for ((s, x), y) in s.iter_mut().zip(x).zip(y) {
            *s += x * y;
        }
    }
    for ((s, x), y) in s.iter_mut().zip(rest_a).zip(rest_b) {
        *s += x * y;
    }
    ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

/// `e^x` by range reduction to `|r| <= ln 2 / 2` and a polynomial of degree 6; `x` is limited to [-87, 87].
/// Largest relative error against f64 on a grid of 1/1024: 2.37e-7 (tested below 2.5e-7).
#[inline]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 87.0);
    // 1.5 * 2^23: adding it rounds half to even and leaves the whole number in the low bits, as vectors of any machine can do.
    const ROUND: f32 = 12_582_912.0;
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + c;
    }
    p * f32::from_bits((rounded.to_bits() + 127) << 23)
}

/// Logistic function, `1 / (1 + exp(-x))`. Absolute error below 2e-7 (tested).
#[inline]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Hyperbolic tangent as `2 sigmoid(2x) - 1`. Absolute error below 3e-7 (tested).
#[inline]
pub fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requantize_rounds_half_to_even_and_saturates() {
        assert_eq!([1, 3, 5].map(|a| requantize(a, 0.5)), [0, 2, 2]);
        assert_eq!([-9, 0, 1000, i32::MAX, i32::MIN].map(|a| requantize(a, 1.0)), [0, 0, 255, 255, 0]);
    }

    #[test]
    fn approximations_keep_their_stated_errors() {
        let mut worst = [0.0f64; 3];
        for i in -87 * 1024..=87 * 1024 {
            let x = i as f32 / 1024.0;
            let e = f64::from(x).exp();
            worst[0] = worst[0].max((f64::from(exp(x)) / e - 1.0).abs());
            worst[1] = worst[1].max((f64::from(sigmoid(x)) - 1.0 / (1.0 + 1.0 / e)).abs());
            worst[2] = worst[2].max((f64::from(tanh(x)) - f64::from(x).tanh()).abs());
        }
        assert!(worst[0] < 2.5e-7 && worst[1] < 2e-7 && worst[2] < 3e-7, "{worst:?}");
        assert_eq!((tanh(1e9), sigmoid(-1e9) < 1e-37), (1.0, true));
    }

    proptest! {
        #[test]
        fn branchless_requantisation_is_the_same_to_the_bit(acc: i32, small in -5000i32..5000, scale in 1e-9f32..4.0, ties in 0i32..9) {
            let power = 0.5f32.powi(ties);
            for (acc, scale) in [(acc, scale), (small, scale), (small, power), (acc, power), (acc, f32::MAX), (small, 1e-40)] {
                prop_assert_eq!(requantize_branchless(acc, scale), requantize(acc, scale), "{} {}", acc, scale);
            }
        }

        #[test]
        fn dot_agrees_with_f64(v in proptest::collection::vec((-2f32..2.0, -2f32..2.0), 0..70)) {
            let (a, b): (Vec<f32>, Vec<f32>) = v.into_iter().unzip();
            let want: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            prop_assert!((f64::from(dot(&a, &b)) - want).abs() < 1e-4);
        }

        #[test]
        fn weights_come_back_within_half_a_step(w in proptest::collection::vec(-3f32..3.0, 1..40)) {
            let s = weight_scale(&w);
            for &w in &w {
                prop_assert!((f32::from(quantize_weight(w, s)) * s - w).abs() <= 0.5001 * s);
            }
        }
    }
}
