//! Scales from values: how far the 8 bits of a layer's activations and of a channel's weights reach.

use crate::quant;
use serde::{Deserialize, Serialize};

/// How the range of a layer's activations is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Calibrate {
    /// From 0 to the largest value seen: nothing saturates.
    MinMax,
    /// To a quantile of the positive values; the rest saturates.
    Percentile,
    /// To where the mean squared error of rounding and saturation together is least.
    #[default]
    Mse,
}

/// How the scale of a channel's weights is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum WeightRange {
    /// The largest weight is 127 steps.
    #[default]
    Max,
    /// The mean squared error is least; the largest weights may saturate.
    Mse,
}

/// Bins over [0, largest value] of the search for the least error; about 30 to the finest step that is tried.
const HISTOGRAM: usize = 8192;

/// Candidates lie at these hundredths of the largest value.
const CANDIDATES: std::ops::RangeInclusive<u32> = 20..=100;

/// The real value that 255 stands for, from a layer's outputs after ReLU; `None` if none is positive.
pub fn range(values: &[f32], how: Calibrate, percentile: f64) -> Option<f32> {
    let largest = values.iter().copied().fold(0.0, f32::max);
    if largest <= 0.0 {
        return None;
    }
    Some(match how {
        Calibrate::MinMax => largest,
        Calibrate::Percentile => {
            let mut positive: Vec<f32> = values.iter().copied().filter(|v| *v > 0.0).collect();
            let at = ((positive.len() as f64 * percentile) as usize).min(positive.len() - 1);
            *positive.select_nth_unstable_by(at, f32::total_cmp).1
        }
        Calibrate::Mse => least_error(values, largest),
    })
}

/// The range of least squared error, by trial over a histogram whose bins stand at their middles.
fn least_error(values: &[f32], largest: f32) -> f32 {
    let mut counts = vec![0u64; HISTOGRAM];
    for v in values.iter().filter(|v| **v > 0.0) {
        counts[((v / largest * HISTOGRAM as f32) as usize).min(HISTOGRAM - 1)] += 1;
    }
    let width = f64::from(largest) / HISTOGRAM as f64;
    let error = |range: f32| -> f64 {
        let step = f64::from(range) / 255.0;
        let of = |(bin, count): (usize, &u64)| {
            let v = (bin as f64 + 0.5) * width;
            let gap = v - step * (v / step).round_ties_even().min(255.0);
            *count as f64 * gap * gap
        };
        counts.iter().enumerate().map(of).sum()
    };
    best(CANDIDATES.map(|k| largest * (k as f32 / 100.0)), error)
}

/// The scale of one channel's weights; 1 for a channel of zeros.
pub fn weight_scale(row: &[f32], how: WeightRange) -> f32 {
    let top = quant::weight_scale(row);
    if how == WeightRange::Max || row.iter().all(|w| *w == 0.0) {
        return top;
    }
    let error = |scale: f32| -> f64 {
        let gap = |w: &f32| f64::from(*w) - f64::from(f32::from(quant::quantize_weight(*w, scale)) * scale);
        row.iter().map(gap).map(|g| g * g).sum()
    };
    best(CANDIDATES.map(|k| top * (k as f32 / 100.0)), error)
}

/// The candidate of least error; of equals the last, which reaches furthest.
fn best(candidates: impl Iterator<Item = f32>, error: impl Fn(f32) -> f64) -> f32 {
    let of = |c: f32| (c, error(c));
    let better = |a: (f32, f64), b: (f32, f64)| if b.1 <= a.1 { b } else { a };
    candidates.map(of).reduce(better).map_or(1.0, |(c, _)| c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;

    /// Squared error of quantising to `range`, on the positive values themselves.
    fn error(values: &[f32], range: f32) -> f64 {
        let step = range / 255.0;
        let gap = |v: &f32| f64::from(v - step * (v / step).round_ties_even().min(255.0));
        values.iter().filter(|v| **v > 0.0).map(gap).map(|g| g * g).sum()
    }

    #[test]
    fn min_max_saturates_nothing_a_percentile_its_share_and_mse_errs_least() {
        let mut rng = Rng::new(5, 0);
        // Many within the unit, and one far out.
        let mut values: Vec<f32> = (0..1_000_000).map(|_| rng.range(-1.0, 1.0)).collect();
        values[77] = 2.0;
        let of = |how| range(&values, how, 0.999).unwrap();
        let above = |r: f32| values.iter().filter(|v| **v > r).count();
        let positive = above(0.0) as f64;
        assert_eq!(above(of(Calibrate::MinMax)), 0);
        assert!((above(of(Calibrate::Percentile)) as f64 / positive - 1e-3).abs() < 1e-4);
        let mse = of(Calibrate::Mse);
        for other in [of(Calibrate::MinMax), of(Calibrate::Percentile), 0.9 * mse, 1.1 * mse] {
            assert!(error(&values, mse) <= 1.02 * error(&values, other), "{mse} {other}");
        }
        assert!(error(&values, mse) < 0.7 * error(&values, of(Calibrate::MinMax)));
    }

    #[test]
    fn a_layer_without_a_positive_value_has_no_range() {
        for how in [Calibrate::MinMax, Calibrate::Percentile, Calibrate::Mse] {
            assert_eq!(range(&[0.0, 0.0], how, 0.99), None);
            assert_eq!(range(&[0.0, 2.0], how, 0.99), Some(2.0), "{how:?}");
        }
    }

    #[test]
    fn the_weight_scale_of_least_error_beats_the_largest_weight_where_one_stands_out() {
        let mut rng = Rng::new(6, 0);
        let mut row: Vec<f32> = (0..100_000).map(|_| 0.05 * rng.normal()).collect();
        row[17] = 0.6;
        let error = |scale: f32| -> f64 {
            let gap = |w: &f32| f64::from(w - f32::from(quant::quantize_weight(*w, scale)) * scale);
            row.iter().map(gap).map(|g| g * g).sum()
        };
        let [max, mse] = [WeightRange::Max, WeightRange::Mse].map(|how| weight_scale(&row, how));
        assert!(mse < max && error(mse) < 0.85 * error(max), "{mse} {max}");
        assert_eq!(weight_scale(&[0.0, 0.0], WeightRange::Mse), 1.0);
    }
}
