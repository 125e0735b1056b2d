//! Standardisation of acoustic features, dimension by dimension.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Deviations below this count as this: a dimension that does not vary is not to be blown up.
const LEAST_STD: f64 = 1e-3;

/// Mean and standard deviation of each dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
}

/// Fixed statistics, or those of all rows seen so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Standard {
    /// Rows seen; `None` if the statistics were given.
    count: Option<u64>,
    mean: Vec<f64>,
    /// Sum of squared distances from the mean, or the given variance.
    spread: Vec<f64>,
}

/// [`Standard`] on the disk: the numbers' bits, because JSON readers may round.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    count: Option<u64>,
    mean_bits: Vec<u64>,
    spread_bits: Vec<u64>,
}

impl Standard {
    /// Statistics known beforehand.
    ///
    /// # Errors
    /// If they are not of `dims` dimensions, or a deviation is not above 0.
    pub fn given(statistics: &Statistics, dims: usize) -> Result<Self> {
        let Statistics { mean, std } = statistics;
        if mean.len() != dims || std.len() != dims {
            let found = format!("audio statistics of {} and {} dimensions, expected {dims}", mean.len(), std.len());
            return Err(Error::usage(found));
        }
        if !mean.iter().all(|m| m.is_finite()) || !std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err(Error::usage("audio statistics: deviations must be above 0 and all numbers finite"));
        }
        let wide = |v: &[f32]| v.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        Ok(Self { count: None, mean: wide(mean), spread: wide(std).into_iter().map(|s| s * s).collect() })
    }

    /// Statistics that follow the rows; none seen yet.
    pub fn running(dims: usize) -> Self {
        Self { count: Some(0), mean: vec![0.0; dims], spread: vec![0.0; dims] }
    }

    /// Dimensions of a row.
    pub fn dims(&self) -> usize {
        self.mean.len()
    }

    /// Takes in a row (Welford 1962); given statistics stay as they are.
    pub fn see(&mut self, row: &[f32]) {
        let Some(count) = &mut self.count else { return };
        *count += 1;
        for ((mean, spread), v) in self.mean.iter_mut().zip(&mut self.spread).zip(row) {
            let from_old = f64::from(*v) - *mean;
            *mean += from_old / *count as f64;
            *spread += from_old * (f64::from(*v) - *mean);
        }
    }

    /// What turns a row into mean 0 and deviation 1.
    pub fn transform(&self) -> impl Fn(&mut [f32]) + use<> {
        let n = self.count.map_or(1.0, |c| c.max(1) as f64);
        let mean = self.mean.clone();
        let std: Vec<f64> = self.spread.iter().map(|s| (s / n).sqrt().max(LEAST_STD)).collect();
        move |row| {
            for ((v, mean), std) in row.iter_mut().zip(&mean).zip(&std) {
                *v = ((f64::from(*v) - mean) / std) as f32;
            }
        }
    }

    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect();
        let saved = Saved { count: self.count, mean_bits: bits(&self.mean), spread_bits: bits(&self.spread) };
        let fail = |e: std::io::Error| Error::io("cannot be written").at(path.display()).caused_by(e);
        let text = serde_json::to_string(&saved).map_err(|e| fail(e.into()))?;
        std::fs::write(path, text).map_err(fail)
    }

    /// # Errors
    /// If the file is missing, malformed or of other dimensions.
    pub fn load(&mut self, path: &Path) -> Result<()> {
        let fail = |e: std::io::Error| Error::input("no audio statistics").at(path.display()).caused_by(e);
        let text = std::fs::read_to_string(path).map_err(fail)?;
        let saved: Saved = serde_json::from_str(&text).map_err(|e| fail(e.into()))?;
        if [&saved.mean_bits, &saved.spread_bits].iter().any(|v| v.len() != self.dims()) {
            let found = format!("audio statistics of {} dimensions, expected {}", saved.mean_bits.len(), self.dims());
            return Err(Error::input(found).at(path.display()));
        }
        let numbers = |bits: Vec<u64>| bits.into_iter().map(f64::from_bits).collect();
        *self = Self { count: saved.count, mean: numbers(saved.mean_bits), spread: numbers(saved.spread_bits) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;

    #[test]
    fn rows_seen_so_far_get_mean_zero_and_deviation_one() {
        let mut rng = Rng::new(2, 0);
        let mut rows: Vec<[f32; 2]> = (0..300).map(|_| [1000.0 + 3.0 * rng.normal(), 7.0]).collect();
        let mut standard = Standard::running(2);
        rows.iter().for_each(|r| standard.see(r));
        let apply = standard.transform();
        rows.iter_mut().for_each(|r| apply(r));
        let mean = rows.iter().map(|r| f64::from(r[0])).sum::<f64>() / 300.0;
        let square = rows.iter().map(|r| f64::from(r[0]).powi(2)).sum::<f64>() / 300.0;
        assert!(mean.abs() < 1e-4 && (square - 1.0).abs() < 1e-4, "{mean} {square}");
        assert!(rows.iter().all(|r| r[1] == 0.0), "a constant dimension stays at 0");
    }

    #[test]
    fn given_statistics_do_not_move_and_must_fit() {
        let given = Statistics { mean: vec![1.0, 2.0], std: vec![2.0, 4.0] };
        let mut standard = Standard::given(&given, 2).unwrap();
        standard.see(&[100.0, 100.0]);
        let mut row = [5.0, -2.0];
        standard.transform()(&mut row);
        assert_eq!(row, [2.0, -1.0]);
        assert!(Standard::given(&given, 3).unwrap_err().to_string().contains("expected 3"));
        assert!(Standard::given(&Statistics { std: vec![0.0, 1.0], ..given }, 2).is_err());
    }

    #[test]
    fn statistics_survive_the_disk_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.json");
        let mut standard = Standard::running(3);
        let mut rng = Rng::new(8, 0);
        (0..17).for_each(|_| standard.see(&[rng.normal(), rng.normal(), rng.normal()]));
        standard.save(&path).unwrap();
        let mut other = Standard::running(3);
        other.load(&path).unwrap();
        assert_eq!(other, standard);
        assert!(Standard::running(2).load(&path).unwrap_err().to_string().contains("expected 2"));
    }
}
