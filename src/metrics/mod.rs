//! Layer 1: agreement and calibration in f64. Population variance throughout (Lin 1989).

mod bootstrap;
mod lag;
mod moments;
mod rise;

use bootstrap::percentile;
pub use bootstrap::{Interval, bootstrap};
pub use lag::{Lag, best_lag};
pub use moments::Moments;
pub use rise::Rises;

/// How well predictions agree with labels, over all frames concatenated.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Agreement {
    /// Frames.
    pub n: usize,
    /// Concordance correlation coefficient (Lin 1989, population variance); 0 if nothing varies.
    pub ccc: f64,
    /// Pearson's correlation; 0 if either side does not vary.
    pub pearson: f64,
    /// Root mean squared error.
    pub rmse: f64,
    /// Mean prediction minus mean label.
    pub bias: f64,
    /// Standard deviation of the prediction over that of the label; 0 if the label does not vary.
    pub gain: f64,
}

impl Agreement {
    /// Compares `prediction` with `label`; pairs past the shorter one's end are ignored.
    pub fn of(prediction: &[f64], label: &[f64]) -> Self {
        let n = prediction.len().min(label.len());
        if n == 0 {
            return Self { n, ccc: 0.0, pearson: 0.0, rmse: 0.0, bias: 0.0, gain: 0.0 };
        }
        let (p, l) = (&prediction[..n], &label[..n]);
        let mean = |v: &[f64]| v.iter().sum::<f64>() / n as f64;
        let (mp, ml) = (mean(p), mean(l));
        let (mut vp, mut vl, mut cov, mut se) = (0.0, 0.0, 0.0, 0.0);
        for (&a, &b) in p.iter().zip(l) {
            vp += (a - mp) * (a - mp);
            vl += (b - ml) * (b - ml);
            cov += (a - mp) * (b - ml);
            se += (a - b) * (a - b);
        }
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        let gap = n as f64 * (mp - ml) * (mp - ml);
        Self {
            n,
            ccc: if p == l && vp > 0.0 { 1.0 } else { ratio(2.0 * cov, vp + vl + gap) },
            pearson: ratio(cov, (vp * vl).sqrt()),
            rmse: (se / n as f64).sqrt(),
            bias: mp - ml,
            gain: ratio(vp.sqrt(), vl.sqrt()),
        }
    }
}

/// -1, 0 or 1; 0 for both zeros.
fn sign(v: f64) -> i8 {
    i8::from(v > 0.0) - i8::from(v < 0.0)
}

/// Share of frames whose prediction and label have the same sign (Nicolaou et al. 2011, SAGR); a zero agrees with a
/// zero alone. Pairs past the shorter one's end are ignored; 0 if there is none.
pub fn sagr(prediction: &[f64], label: &[f64]) -> f64 {
    let n = prediction.len().min(label.len());
    let same = prediction.iter().zip(label).filter(|(p, l)| sign(**p) == sign(**l)).count();
    if n == 0 { 0.0 } else { same as f64 / n as f64 }
}

/// One bin of a reliability curve.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ReliabilityBin {
    /// Predictions in the bin.
    pub n: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share of them that held.
    pub accuracy: f64,
}

/// Reliability curve over ten equal-width confidence bins.
pub fn reliability(confidence: &[f64], held: &[bool]) -> [ReliabilityBin; 10] {
    let mut bins = [ReliabilityBin::default(); 10];
    for (&c, &h) in confidence.iter().zip(held) {
        let bin = &mut bins[((c * 10.0) as usize).min(9)];
        bin.n += 1;
        bin.confidence += c;
        bin.accuracy += f64::from(u8::from(h));
    }
    for bin in bins.iter_mut().filter(|b| b.n > 0) {
        bin.confidence /= bin.n as f64;
        bin.accuracy /= bin.n as f64;
    }
    bins
}

/// Expected calibration error: the gap between confidence and accuracy, weighted by bin counts
/// (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599).
pub fn expected_calibration_error(bins: &[ReliabilityBin]) -> f64 {
    let n: usize = bins.iter().map(|b| b.n).sum();
    let gap = |b: &ReliabilityBin| b.n as f64 * (b.confidence - b.accuracy).abs();
    if n == 0 { 0.0 } else { bins.iter().map(gap).sum::<f64>() / n as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ccc_uses_population_variance() {
        // By hand: cov = 2/3, variances 2/3 and 8/3, means 2 and 4.
        let a = Agreement::of(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]);
        assert!((a.ccc - (2.0 * 4.0 / 3.0) / (2.0 / 3.0 + 8.0 / 3.0 + 4.0)).abs() < 1e-15);
        assert!((a.pearson - 1.0).abs() < 1e-15);
        assert_eq!((a.bias, a.gain), (-2.0, 0.5));
    }

    #[test]
    fn constant_and_empty_series_give_zero_not_nan() {
        assert_eq!(Agreement::of(&[0.5; 4], &[0.5; 4]).ccc, 0.0);
        assert_eq!(Agreement::of(&[], &[]).n, 0);
    }

    #[test]
    fn signs_agree_where_both_lie_on_one_side_or_on_zero() {
        assert_eq!(sagr(&[0.1, -0.1, 0.0, 0.2], &[0.9, 0.1, -0.0, 0.0]), 0.5);
        assert_eq!(sagr(&[], &[]), 0.0);
    }

    #[test]
    fn calibration_error_of_an_overconfident_model() {
        let bins = reliability(&[0.95; 10], &[true, true, true, true, true, false, false, false, false, false]);
        assert!((expected_calibration_error(&bins) - 0.45).abs() < 1e-12);
        assert_eq!(bins[9].n, 10);
    }

    proptest! {
        #[test]
        fn ccc_of_a_series_with_itself_is_exactly_one(v in proptest::collection::vec(-1.0f64..1.0, 2..50)) {
            prop_assume!(v.iter().any(|x| *x != v[0]));
            prop_assert_eq!(Agreement::of(&v, &v).ccc, 1.0);
        }

        #[test]
        fn sagr_of_a_series_with_itself_is_one_and_with_its_negative_zero(v in proptest::collection::vec(0.01f64..1.0, 1..50)) {
            let negative: Vec<f64> = v.iter().map(|x| -x).collect();
            prop_assert_eq!((sagr(&v, &v), sagr(&v, &negative)), (1.0, 0.0));
        }

        #[test]
        fn ccc_is_symmetric_and_bounded_by_pearson(v in proptest::collection::vec((-1.0f64..1.0, -1.0f64..1.0), 2..50)) {
            let (a, b): (Vec<f64>, Vec<f64>) = v.into_iter().unzip();
            let (ab, ba) = (Agreement::of(&a, &b), Agreement::of(&b, &a));
            prop_assert!((ab.ccc - ba.ccc).abs() < 1e-12);
            prop_assert!(ab.ccc.abs() <= ab.pearson.abs() + 1e-12);
        }
    }
}
