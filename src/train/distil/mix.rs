//! Mixup (Zhang et al., arXiv 1710.09412): views, labels and votes of clips blended in pairs.

use crate::render::Rng;
use crate::train::data::record::Votes;
use crate::train::run::Batch;
use burn::tensor::{Int, Tensor, TensorData};

/// A batch in which every clip is a share of itself and the rest of another.
pub struct Mixed {
    /// As they were given, `clips * frames x ring x size x size`.
    pub rings: Tensor<4>,
    /// (arousal, valence) of every frame; NaN where either clip has none.
    pub labels: Vec<[f32; 2]>,
    /// Of each clip, `None` where it has none.
    pub votes: Vec<Option<Votes>>,
}

/// A share from Beta(`alpha`, `alpha`), `alpha` in (0, 1], after Jöhnk.
fn share(alpha: f64, rng: &mut Rng) -> f32 {
    loop {
        let [x, y] = [0; 2].map(|_| f64::from(rng.unit()).powf(1.0 / alpha));
        let sum = x + y;
        if sum > 0.0 && sum <= 1.0 {
            return (x / sum) as f32;
        }
    }
}

impl Mixed {
    /// `rings` and what `batch` says of them as they are.
    pub fn none(rings: Tensor<4>, batch: &Batch) -> Self {
        Self { rings, labels: batch.labels.clone(), votes: batch.votes.clone() }
    }

    /// Every clip with another, by a share of its own from Beta(`alpha`, `alpha`), the same for all frames of the clip. Clips with votes are mixed
    /// with one another and those without likewise, so that no votes are lost; the other lies as many places on among its kind as `rng` draws, and
    /// a clip that is alone of its kind stays as it is. `alpha` is in (0, 1]; the smaller it is, the more are left nearly as they were.
    pub fn drawn(rings: Tensor<4>, batch: &Batch, alpha: f64, rng: &mut Rng) -> Self {
        let (clips, frames) = (batch.clips, batch.frames);
        let of = |clip: usize| batch.votes.get(clip).copied().flatten();
        let mut others = vec![0; clips];
        let (voted, unvoted): (Vec<usize>, Vec<usize>) = (0..clips).partition(|clip| of(*clip).is_some());
        for kind in [voted, unvoted] {
            let on = if kind.len() > 1 { 1 + rng.below(kind.len() - 1) } else { 0 };
            kind.iter().enumerate().for_each(|(i, clip)| others[*clip] = kind[(i + on) % kind.len()]);
        }
        let shares: Vec<f32> = (0..clips).map(|_| share(alpha, rng)).collect();
        let blend = |clip: usize, a: f32, b: f32| shares[clip] * a + (1.0 - shares[clip]) * b;

        let labels = (0..clips * frames).map(|at| {
            let (clip, frame) = (at / frames, at % frames);
            let (own, its) = (batch.labels[at], batch.labels[others[clip] * frames + frame]);
            std::array::from_fn(|d| blend(clip, own[d], its[d]))
        });
        let votes = (0..clips).map(|clip| {
            let (own, its) = of(clip).zip(of(others[clip]))?;
            Some(std::array::from_fn(|k| blend(clip, own[k], its[k])))
        });
        let (labels, votes) = (labels.collect(), votes.collect());

        let rows = clips * frames;
        let weights: Vec<f32> = (0..rows).map(|at| shares[at / frames]).collect();
        let weights = Tensor::<4>::from_data(TensorData::new(weights, [rows, 1, 1, 1]), &rings.device());
        let at: Vec<i32> = (0..rows).map(|at| (others[at / frames] * frames + at % frames) as i32).collect();
        let its = rings.clone().select(0, Tensor::<1, Int>::from_data(at.as_slice(), &rings.device()));
        Self { rings: (rings - its.clone()) * weights + its, labels, votes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn shares_are_of_the_beta_distribution_that_is_asked_for() {
        for alpha in [0.2, 0.5, 1.0] {
            let rng = &mut Rng::new(3, 0);
            let drawn: Vec<f64> = (0..20_000).map(|_| f64::from(share(alpha, rng))).collect();
            assert!(drawn.iter().all(|s| (0.0..=1.0).contains(s)));
            let mean = drawn.iter().sum::<f64>() / 20_000.0;
            let variance = drawn.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 20_000.0;
            // Of Beta(a, a): 1/2, and 1 / (4 (2 a + 1)).
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            assert!((variance - 0.25 / (2.0 * alpha + 1.0)).abs() < 0.005, "{alpha}: {variance}");
        }
    }

    #[test]
    fn what_is_seen_and_what_is_said_of_it_are_blended_by_the_same_share() {
        let (clips, frames) = (5, 2);
        // Every clip is all of one value, which its labels and its votes say too; clips 1, 2 and 4 say less.
        let value = |clip: usize| 0.1 * (clip + 1) as f32;
        let mut batch = Batch {
            clips,
            frames,
            size_px: 3,
            labels: (0..clips * frames).map(|at| [value(at / frames), -value(at / frames)]).collect(),
            votes: (0..clips).map(|clip| Some([value(clip); 8])).collect(),
            ..Batch::default()
        };
        batch.labels[3][0] = f32::NAN;
        [batch.votes[2], batch.votes[4]] = [None; 2];
        let seen: Vec<f32> = (0..clips * frames * 2 * 9).map(|i| value(i / (frames * 2 * 9))).collect();
        let rings =
            || Tensor::<4>::from_data(TensorData::new(seen.clone(), [clips * frames, 2, 3, 3]), &Device::flex());
        let (mut moved, mut unlabelled, mut unvoted) = (0, 0, 0);
        for seed in 0..20 {
            let mixed = Mixed::drawn(rings(), &batch, 1.0, &mut Rng::new(seed, 0));
            assert_eq!((mixed.rings.dims(), mixed.labels.len(), mixed.votes.len()), ([10, 2, 3, 3], 10, 5));
            let seen: Vec<f32> = mixed.rings.into_data().try_to_vec().unwrap();
            for (at, (view, label)) in seen.chunks_exact(18).zip(&mixed.labels).enumerate() {
                assert!(view.iter().all(|v| (v - view[0]).abs() < 1e-6));
                assert!((label[1] + view[0]).abs() < 1e-6, "{label:?} {}", view[0]);
                assert!(label[0].is_nan() || (label[0] - view[0]).abs() < 1e-6);
                moved += usize::from((view[0] - value(at / frames)).abs() > 1e-3);
                unlabelled += usize::from(label[0].is_nan());
            }
            for (clip, votes) in mixed.votes.iter().enumerate() {
                unvoted += usize::from(votes.is_none());
                assert!(votes.is_none_or(|v| v.iter().all(|v| (v - seen[clip * frames * 18]).abs() < 1e-6)));
            }
        }
        // A frame without a label spoils its own clip and the one that it is mixed into; no clip loses its votes.
        assert!(moved > 100 && (unlabelled, unvoted) == (40, 40), "{moved} {unlabelled} {unvoted}");
        let mut alone = batch.clone();
        alone.votes[2] = Some([value(2); 8]);
        let mixed = Mixed::drawn(rings(), &alone, 1.0, &mut Rng::new(0, 0));
        assert_eq!(mixed.labels[8..], alone.labels[8..], "the only clip without votes stays as it is");
        let none = Mixed::none(rings(), &batch);
        assert_eq!((none.rings.into_data(), none.votes), (rings().into_data(), batch.votes.clone()));
    }
}
