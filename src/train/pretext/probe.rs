//! Linear probe: how much of arousal and valence a ridge regression reads off the backbone's frozen features, on people
//! that it has not seen.

use super::Encoder;
use super::heads::values;
use super::views::{Input, Span, ViewConfig, views};
use crate::error::{Error, Result};
use crate::metrics::Agreement;
use crate::render::Rng;
use crate::train::ridge::Ridge;
use crate::train::run::Batch;
use std::collections::BTreeSet;

/// A clip of one person, with labels.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// The person, or whatever else must not stand on both sides.
    pub group: String,
    /// One clip or several.
    pub batch: Batch,
}

/// Clips to fit on and clips of others to judge on.
#[derive(Debug, Clone)]
pub struct ProbeSet {
    fit: Vec<Batch>,
    held: Vec<Batch>,
}

/// What the probe found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeScore {
    /// Arousal, valence on the people held out, all frames concatenated.
    pub agreement: [Agreement; 2],
    /// Frames fitted on.
    pub fitted: usize,
}

impl ProbeScore {
    /// Mean CCC of arousal and valence.
    pub fn ccc(&self) -> f64 {
        0.5 * (self.agreement[0].ccc + self.agreement[1].ccc)
    }
}

impl ProbeSet {
    /// # Errors
    /// If a side is empty, or a group stands on both.
    pub fn new(fit: Vec<Labelled>, held: Vec<Labelled>) -> Result<Self> {
        let groups = |side: &[Labelled]| side.iter().map(|l| l.group.clone()).collect::<BTreeSet<String>>();
        let (known, strangers) = (groups(&fit), groups(&held));
        if let Some(both) = known.intersection(&strangers).next() {
            return Err(Error::input(format!("{both} is both fitted and judged on")).at("linear probe"));
        }
        if known.is_empty() || strangers.is_empty() {
            return Err(Error::input("needs clips to fit on and clips of other people").at("linear probe"));
        }
        let batches = |side: Vec<Labelled>| side.into_iter().map(|l| l.batch).collect();
        Ok(Self { fit: batches(fit), held: batches(held) })
    }

    /// Fits and judges. `encoder` runs as at inference, on whole clips resampled to `size_px`; `penalty` is that of
    /// [`Ridge::solve`] on features of mean 0 and deviation 1.
    ///
    /// # Errors
    /// If no frame of a side is labelled, or the features are not finite.
    pub fn score<E: Encoder>(&self, encoder: &E, size_px: usize, input: &Input, penalty: f64) -> Result<ProbeScore> {
        let encoder = encoder.valid();
        let rows = |side: &[Batch]| -> Result<Rows> {
            let mut rows = Rows::default();
            side.iter().try_for_each(|batch| rows.take(&encoder, batch, size_px, input))?;
            if rows.labels.is_empty() {
                return Err(Error::input("no frame is labelled").at("linear probe"));
            }
            Ok(rows)
        };
        let mut fit = rows(&self.fit)?;
        let scale = fit.scale();
        fit.apply(&scale);
        let mut ridge = Ridge::new(fit.width, 2);
        fit.pairs().for_each(|(row, label)| ridge.add(row, &label.map(f64::from)));
        let weights = ridge.solve(penalty)?;
        let mut held = rows(&self.held)?;
        held.apply(&scale);
        let agreement = [0, 1].map(|d| held.judge(&weights[d * (fit.width + 1)..][..fit.width + 1], d));
        Ok(ProbeScore { agreement, fitted: fit.labels.len() })
    }
}

/// Features and labels of labelled frames.
#[derive(Default)]
struct Rows {
    width: usize,
    features: Vec<f32>,
    labels: Vec<[f32; 2]>,
}

impl Rows {
    fn take<E: Encoder>(&mut self, encoder: &E, batch: &Batch, size_px: usize, input: &Input) -> Result<()> {
        let plain = ViewConfig { size_px, ..ViewConfig::default() };
        let spans = vec![Span { start: 0, stride: 1, frames: batch.frames }; batch.clips];
        // The plain view draws nothing that shows.
        let clips = views(batch, &plain, &spans, input, &mut Rng::new(0, 0)).without_autodiff();
        let features = encoder.encode(clips);
        self.width = features.dims()[2];
        let features = values(features)?;
        if !features.iter().all(|f| f.is_finite()) {
            return Err(Error::input("the backbone's features are not finite")
                .at("linear probe")
                .remedy("lower the learning rate"));
        }
        for (row, label) in features.chunks_exact(self.width).zip(&batch.labels) {
            if label.iter().all(|l| l.is_finite()) {
                self.features.extend_from_slice(row);
                self.labels.push(*label);
            }
        }
        Ok(())
    }

    fn pairs(&self) -> impl Iterator<Item = (&[f32], [f32; 2])> {
        self.features.chunks_exact(self.width).zip(self.labels.iter().copied())
    }

    /// Mean and deviation of each feature; a feature that does not vary keeps its scale.
    fn scale(&self) -> Vec<[f64; 2]> {
        let n = self.labels.len() as f64;
        let column = |k: usize| self.features.iter().skip(k).step_by(self.width).map(|f| f64::from(*f));
        (0..self.width)
            .map(|k| {
                let mean = column(k).sum::<f64>() / n;
                let std = (column(k).map(|f| (f - mean).powi(2)).sum::<f64>() / n).sqrt();
                [mean, if std > 1e-6 { std } else { 1.0 }]
            })
            .collect()
    }

    fn apply(&mut self, scale: &[[f64; 2]]) {
        for row in self.features.chunks_exact_mut(scale.len()) {
            row.iter_mut().zip(scale).for_each(|(f, [mean, std])| *f = ((f64::from(*f) - mean) / std) as f32);
        }
    }

    /// Agreement of label `d` with the values that `weights` give, the intercept last.
    fn judge(&self, weights: &[f64], d: usize) -> Agreement {
        let value =
            |row: &[f32]| row.iter().zip(weights).map(|(f, w)| f64::from(*f) * w).sum::<f64>() + weights[row.len()];
        let predicted: Vec<f64> = self.pairs().map(|(row, _)| value(row)).collect();
        let labels: Vec<f64> = self.labels.iter().map(|l| f64::from(l[d])).collect();
        Agreement::of(&predicted, &labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::pretext::tests::{Flat, clips, input};

    /// Batches whose labels are a linear function of the pixels, one group each.
    fn set(range: std::ops::Range<u64>) -> Vec<Labelled> {
        let one = |seed: u64| {
            let mut batch = clips(seed, 2, 4, 4);
            let frames = batch.video.chunks_exact(16).map(|f| [f[3], f[9]].map(|v| f32::from(v) / 127.5 - 1.0));
            batch.labels = frames.collect();
            batch.labels[1] = [f32::NAN; 2];
            Labelled { group: format!("p{seed}"), batch }
        };
        range.map(one).collect()
    }

    #[test]
    fn a_linear_label_is_read_off_linear_features_of_other_people() {
        let input = input();
        let encoder = Flat::new(16, 16, &mut Rng::new(1, 0), &input.device);
        let set = ProbeSet::new(set(0..20), set(20..24)).unwrap();
        let score = set.score(&encoder, 4, &input, 1e-8).unwrap();
        assert!(score.ccc() > 0.999, "{score:?}");
        assert_eq!((score.fitted, score.agreement[0].n), (20 * 7, 4 * 7));
        // A heavy penalty shrinks the prediction, and CCC with it.
        let shrunk = set.score(&encoder, 4, &input, 100.0).unwrap();
        assert!(shrunk.agreement[0].gain < 0.1 && shrunk.ccc() < 0.2, "{shrunk:?}");
    }

    #[test]
    fn features_without_the_label_score_nothing() {
        let input = input();
        let encoder = Flat::new(16, 3, &mut Rng::new(1, 0), &input.device);
        let mut fit = set(0..10);
        let mut rng = Rng::new(5, 0);
        fit.iter_mut().flat_map(|l| &mut l.batch.labels).for_each(|l| *l = [rng.normal(), rng.normal()]);
        let score = ProbeSet::new(fit, set(10..14)).unwrap().score(&encoder, 4, &input, 1e-3).unwrap();
        assert!(score.ccc().abs() < 0.3, "{score:?}");
    }

    #[test]
    fn a_person_on_both_sides_and_empty_sides_are_refused() {
        let e = ProbeSet::new(set(0..3), set(2..4)).unwrap_err().to_string();
        assert!(e.contains("p2"), "{e}");
        assert!(ProbeSet::new(set(0..3), Vec::new()).is_err());
        let mut blank = set(0..1);
        blank[0].batch.labels.fill([f32::NAN; 2]);
        let input = input();
        let encoder = Flat::new(16, 2, &mut Rng::new(1, 0), &input.device);
        let set = ProbeSet::new(blank, set(1..2)).unwrap();
        assert!(set.score(&encoder, 4, &input, 1.0).unwrap_err().to_string().contains("labelled"));
    }
}
