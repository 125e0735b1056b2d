//! Logits to values, confidence and interval.

use crate::quant;
use crate::spec::{BINS, HEADS, Head, bin_width};

/// Half-width of the band that `confidence` speaks of, in units of the label.
pub const TOLERANCE: f32 = 0.25;

/// Share of probability in the reported interval.
pub const CENTRAL: f32 = 0.8;

/// What a frame's logits say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Arousal, valence in [-1, 1].
    pub values: [f32; 2],
    /// Probability by the bins that both labels lie within [`TOLERANCE`] of the values, taking the two as independent.
    pub confidence: f32,
    /// Central 80 % interval of each.
    pub interval: [[f32; 2]; 2],
}

/// Cumulative probability at `BINS + 1` bin edges.
fn cumulative(logits: &[f32]) -> [f32; BINS + 1] {
    let top = logits.iter().copied().fold(f32::MIN, f32::max);
    let mut edges = [0.0; BINS + 1];
    for (i, l) in logits.iter().enumerate().take(BINS) {
        edges[i + 1] = edges[i] + quant::exp(l - top);
    }
    let total = edges[BINS];
    edges.map(|e| e / total)
}

/// Probability below `value`, linear within a bin.
fn below(edges: &[f32; BINS + 1], value: f32) -> f32 {
    let at = ((value + 1.0) / bin_width()).clamp(0.0, BINS as f32);
    let i = (at as usize).min(BINS - 1);
    edges[i] + (at - i as f32) * (edges[i + 1] - edges[i])
}

/// The value below which `share` of the probability lies.
fn quantile(edges: &[f32; BINS + 1], share: f32) -> f32 {
    let i = (0..BINS).find(|&i| edges[i + 1] >= share).unwrap_or(BINS - 1);
    let mass = edges[i + 1] - edges[i];
    let part = if mass > 0.0 { ((share - edges[i]) / mass).clamp(0.0, 1.0) } else { 0.5 };
    -1.0 + (i as f32 + part) * bin_width()
}

/// Applies `2 sigmoid(x) - 1` to the value logits and softmax to the bins.
pub fn decode(logits: &[f32; HEADS]) -> Estimate {
    let mut out = Estimate { values: [0.0; 2], confidence: 1.0, interval: [[0.0; 2]; 2] };
    for (d, head) in Head::ALL.into_iter().enumerate() {
        let value = 2.0 * quant::sigmoid(logits[head.value()]) - 1.0;
        let edges = cumulative(&logits[head.bins()]);
        out.values[d] = value;
        out.confidence *= below(&edges, value + TOLERANCE) - below(&edges, value - TOLERANCE);
        out.interval[d] = [0.5 - CENTRAL / 2.0, 0.5 + CENTRAL / 2.0].map(|s| quantile(&edges, s));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn flat_bins_give_the_uniform_distribution() {
        let e = decode(&[0.0; HEADS]);
        assert_eq!(e.values, [0.0, 0.0]);
        assert!((e.confidence - 0.0625).abs() < 1e-6);
        assert!(e.interval.iter().all(|[l, h]| (l + 0.8).abs() < 1e-5 && (h - 0.8).abs() < 1e-5));
    }

    #[test]
    fn a_sharp_bin_gives_a_narrow_interval_around_it() {
        let mut logits = [0.0; HEADS];
        logits[Head::Arousal.bins().start + 15] = 40.0;
        let [low, high] = decode(&logits).interval[0];
        assert!((low - 0.51).abs() < 1e-3 && (high - 0.59).abs() < 1e-3);
    }

    proptest! {
        #[test]
        fn every_output_is_in_range(v in proptest::collection::vec(-1e4f32..1e4, HEADS)) {
            let e = decode(&v.try_into().unwrap());
            prop_assert!(e.values.iter().all(|x| (-1.0..=1.0).contains(x)));
            prop_assert!((-1e-5..=1.0 + 1e-5).contains(&e.confidence));
            prop_assert!(e.interval.iter().all(|[l, h]| -1.0 <= *l && l <= h && *h <= 1.0));
        }
    }
}
