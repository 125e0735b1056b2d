//! Percentiles of step times and the spread of ratios.

use serde::Serialize;

/// Percentiles in the unit of the sample; the nearest rank at or above each share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Values in the sample.
    pub n: usize,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p999: f64,
}

fn rank(sorted: &[f64], share: f64) -> f64 {
    let at = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(at.min(sorted.len()) - 1).copied().unwrap_or(0.0)
}

fn sorted(sample: &[f64]) -> Vec<f64> {
    let mut v = sample.to_vec();
    v.sort_by(f64::total_cmp);
    v
}

impl Percentiles {
    /// Of a sample; zeros if it is empty.
    pub fn of(sample: &[f64]) -> Self {
        if sample.is_empty() {
            return Self::default();
        }
        let v = sorted(sample);
        Self { n: v.len(), p50: rank(&v, 0.5), p95: rank(&v, 0.95), p99: rank(&v, 0.99), p999: rank(&v, 0.999) }
    }
}

/// Median and quartiles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    /// Lower quartile.
    pub low: f64,
    /// Upper quartile.
    pub high: f64,
}

impl Spread {
    /// Of a sample; zeros if it is empty.
    pub fn of(sample: &[f64]) -> Self {
        if sample.is_empty() {
            return Self::default();
        }
        let v = sorted(sample);
        Self { median: rank(&v, 0.5), low: rank(&v, 0.25), high: rank(&v, 0.75) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks_whatever_the_order() {
        let sample: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
        let p = Percentiles::of(&sample);
        assert_eq!((p.n, p.p50, p.p95, p.p99, p.p999), (1000, 500.0, 950.0, 990.0, 999.0));
        assert_eq!(Percentiles::of(&[7.0]).p999, 7.0);
        assert_eq!(Percentiles::of(&[]).n, 0);
    }

    #[test]
    fn spread_is_the_quartiles() {
        let s = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!((s.low, s.median, s.high), (1.0, 2.0, 3.0));
    }
}
