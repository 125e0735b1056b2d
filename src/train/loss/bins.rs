//! The 20 classes that a label is discretised into.

use crate::error::{Error, Result};
use crate::spec::{BINS, bin_center, bin_of};
use serde::{Deserialize, Serialize};

/// How one dimension's labels become 20 classes. Kept with a checkpoint: the bin logits mean nothing without it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bins {
    /// Equal widths over [-1, 1], as in [`crate::spec::bin_of`]; what the runtime reads.
    #[default]
    Equal,
    /// Nearest of 20 rising centres.
    Clusters(Vec<f64>),
}

impl Bins {
    /// The k-means clusters of the collected labels; equal widths if fewer than 20 different cells were seen.
    pub fn clustered(labels: &Histogram) -> Self {
        labels.clusters().map_or(Self::Equal, Self::Clusters)
    }

    /// The class of `value`, below 20.
    pub fn index(&self, value: f32) -> usize {
        match self {
            Self::Equal => bin_of(value),
            Self::Clusters(centres) => {
                let past = |w: &&[f64]| f64::from(value) >= 0.5 * (w[0] + w[1]);
                centres.windows(2).take_while(past).count()
            }
        }
    }

    /// The value that class `i` stands for.
    pub fn centre(&self, i: usize) -> f64 {
        match self {
            Self::Equal => f64::from(bin_center(i)),
            Self::Clusters(centres) => centres.get(i).copied().unwrap_or(f64::NAN),
        }
    }

    /// Checks bins that came from a file.
    ///
    /// # Errors
    /// Centres that are not 20 rising numbers in [-1, 1].
    pub fn validate(&self) -> Result<()> {
        let Self::Clusters(centres) = self else { return Ok(()) };
        let rising = centres.is_sorted_by(|a, b| a < b);
        if centres.len() != BINS || !rising || !centres.iter().all(|c| (-1.0..=1.0).contains(c)) {
            return Err(Error::input(format!("expected {BINS} rising centres of bins in [-1, 1], found {centres:?}")));
        }
        Ok(())
    }
}

/// Cells of a [`Histogram`] over [-1, 1]: a fiftieth of an equal bin each.
const CELLS: usize = 1000;

/// Labels of one dimension, collected one by one: sets of any size fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    cells: Vec<Cell>,
}

/// Number, sum and sum of squares of the labels in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Cell {
    n: f64,
    sum: f64,
    squares: f64,
}

impl Cell {
    fn plus(self, other: Self) -> Self {
        Self { n: self.n + other.n, sum: self.sum + other.sum, squares: self.squares + other.squares }
    }

    /// Sum of squared distances from the mean, of the labels in `self` that are not in `before`.
    fn cost_past(self, before: Self) -> f64 {
        let (n, sum) = (self.n - before.n, self.sum - before.sum);
        (self.squares - before.squares - sum * sum / n).max(0.0)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { cells: vec![Cell::default(); CELLS] }
    }
}

impl Histogram {
    /// Counts `label`; NaN is left out, and what lies outside [-1, 1] counts as the nearest end.
    pub fn add(&mut self, label: f32) {
        if label.is_nan() {
            return;
        }
        let x = f64::from(label.clamp(-1.0, 1.0));
        let cell = ((x + 1.0) * 0.5 * CELLS as f64) as usize;
        let one = Cell { n: 1.0, sum: x, squares: x * x };
        self.cells[cell.min(CELLS - 1)] = self.cells[cell.min(CELLS - 1)].plus(one);
    }

    /// Centres of the best 20 clusters in the sense of k-means, rising; `None` with fewer than 20 cells in use.
    ///
    /// In one dimension clusters are runs of the sorted labels, so that dynamic programming finds the least sum of
    /// squares (Wang and Song 2011, Ckmeans.1d.dp) where Lloyd's iteration depends on its start and may empty a
    /// cluster. Exact up to the cells, which are not divided; f64, no randomness, no cluster empty.
    fn clusters(&self) -> Option<Vec<f64>> {
        let used: Vec<Cell> = self.cells.iter().copied().filter(|c| c.n > 0.0).collect();
        if used.len() < BINS {
            return None;
        }
        // upto[i]: the first i cells together.
        let mut upto = vec![Cell::default()];
        for cell in &used {
            upto.push(upto[upto.len() - 1].plus(*cell));
        }
        let cuts = best_cuts(&upto);
        let mean = |w: &[usize]| (upto[w[1]].sum - upto[w[0]].sum) / (upto[w[1]].n - upto[w[0]].n);
        Some(cuts.windows(2).map(mean).collect())
    }
}

/// Where the 20 clusters of least cost begin and end among the cells, of which there are 20 or more.
fn best_cuts(upto: &[Cell]) -> Vec<usize> {
    let cells = upto.len() - 1;
    // cost[j]: least cost of the first j cells in the clusters so far; starts[k][j]: where the last of them begins.
    let mut cost: Vec<f64> = (0..=cells).map(|j| if j == 0 { 0.0 } else { f64::INFINITY }).collect();
    let mut starts = Vec::with_capacity(BINS);
    for k in 0..BINS {
        let best = |j: usize| {
            let from = |i: usize| (i, cost[i] + upto[j].cost_past(upto[i]));
            (k..j).map(from).fold((k, f64::INFINITY), |a, b| if b.1 < a.1 { b } else { a })
        };
        let row: Vec<(usize, f64)> = (0..=cells).map(|j| if j > k { best(j) } else { (k, f64::INFINITY) }).collect();
        cost = row.iter().map(|(_, c)| *c).collect();
        starts.push(row);
    }
    let mut cuts = vec![cells];
    for row in starts.iter().rev() {
        cuts.push(row[cuts[cuts.len() - 1]].0);
    }
    cuts.reverse();
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;

    fn histogram(labels: impl IntoIterator<Item = f32>) -> Histogram {
        let mut h = Histogram::default();
        labels.into_iter().for_each(|l| h.add(l));
        h
    }

    fn cost(labels: &[f32], centres: &[f64]) -> f64 {
        let nearest = |l: f64| centres.iter().map(|c| (l - c).powi(2)).fold(f64::INFINITY, f64::min);
        labels.iter().map(|l| nearest(f64::from(*l))).sum()
    }

    #[test]
    fn twenty_heaps_are_found() {
        let place = |k: usize| -0.9 + 0.09 * k as f32;
        let labels = (0..BINS).flat_map(|k| [-0.004, 0.0, 0.004].map(|e| place(k) + e));
        let Bins::Clusters(centres) = Bins::clustered(&histogram(labels)) else { panic!("no clusters") };
        for (k, c) in centres.iter().enumerate() {
            assert!((c - f64::from(place(k))).abs() < 1e-6, "{k}: {c}");
        }
    }

    /// Lloyd's iteration, as an independent and slower way to a (local) optimum.
    #[test]
    fn no_run_of_lloyds_iteration_finds_better_clusters() {
        let mut rng = Rng::new(5, 0);
        let labels: Vec<f32> =
            (0..800).map(|i| (0.35 * rng.normal() + if i % 3 == 0 { 0.5 } else { -0.2 }).clamp(-1.0, 1.0)).collect();
        let bins = Bins::clustered(&histogram(labels.clone()));
        bins.validate().unwrap();
        let Bins::Clusters(ours) = bins else { panic!("no clusters") };
        for _ in 0..10 {
            let mut centres: Vec<f64> = (0..BINS).map(|_| f64::from(labels[rng.below(labels.len())])).collect();
            for _ in 0..60 {
                let mut sums = [(0.0, 0.0); BINS];
                for l in labels.iter().map(|l| f64::from(*l)) {
                    let k =
                        (0..BINS).min_by(|a, b| (l - centres[*a]).abs().total_cmp(&(l - centres[*b]).abs())).unwrap();
                    sums[k] = (sums[k].0 + 1.0, sums[k].1 + l);
                }
                for (c, (n, sum)) in centres.iter_mut().zip(sums).filter(|(_, s)| s.0 > 0.0) {
                    *c = sum / n;
                }
            }
            // Cells are not divided, which may cost a little.
            assert!(cost(&labels, &ours) <= 1.01 * cost(&labels, &centres));
        }
        let even: Vec<f64> = (0..BINS).map(|i| Bins::Equal.centre(i)).collect();
        assert!(cost(&labels, &ours) < 0.8 * cost(&labels, &even));
    }

    #[test]
    fn a_label_goes_to_the_nearest_centre() {
        let centres: Vec<f64> = (0..BINS).map(|i| (f64::from(i as u32) / 20.0).powi(2)).collect();
        let bins = Bins::Clusters(centres.clone());
        for v in (-100..=100).map(|i| i as f32 / 99.7) {
            let gap = |i: usize| (f64::from(v) - centres[i]).abs();
            assert!((0..BINS).all(|i| gap(bins.index(v)) <= gap(i)), "{v}");
        }
        assert_eq!((bins.index(-1.0), bins.index(1.0), Bins::Equal.index(0.999)), (0, 19, 19));
    }

    #[test]
    fn few_different_labels_fall_back_to_equal_widths() {
        assert_eq!(Bins::clustered(&histogram((0..500).map(|i| (i % 19) as f32 / 20.0))), Bins::Equal);
        assert_eq!(Bins::clustered(&histogram([f32::NAN; 40])), Bins::Equal);
        assert_ne!(Bins::clustered(&histogram((0..500).map(|i| (i % 20) as f32 / 20.0))), Bins::Equal);
    }

    #[test]
    fn bins_are_kept_as_json_and_checked() {
        let bins = Bins::clustered(&histogram((0..100).map(|i| i as f32 / 100.0)));
        let text = serde_json::to_string(&bins).unwrap();
        assert_eq!(serde_json::from_str::<Bins>(&text).unwrap(), bins);
        assert!(Bins::Clusters(vec![0.0; BINS]).validate().is_err());
        assert!(Bins::Clusters(vec![0.0, 0.1]).validate().is_err());
    }
}
