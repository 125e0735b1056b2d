//! Bootstrap intervals (Efron 1979): how much a figure would move with other people.

/// Central 95 % of a statistic over resamples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// 2.5th percentile.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

/// Percentile intervals of `statistics` over `rounds` resamples of `groups` things with replacement.
///
/// `below(n)` draws uniformly from `0..n`: a seeded generator makes the intervals repeat. Resample whole videos or
/// subjects, never frames: frames of one video are not independent. `None` if there are fewer than two groups or no
/// rounds.
pub fn bootstrap<const N: usize>(
    groups: usize,
    rounds: usize,
    mut below: impl FnMut(usize) -> usize,
    mut statistics: impl FnMut(&[usize]) -> [f64; N],
) -> Option<[Interval; N]> {
    if groups < 2 || rounds == 0 {
        return None;
    }
    let mut draws: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(rounds));
    let mut chosen = vec![0; groups];
    for _ in 0..rounds {
        chosen.fill_with(|| below(groups));
        for (draw, value) in draws.iter_mut().zip(statistics(&chosen)) {
            draw.push(value);
        }
    }
    Some(draws.map(|mut draw| {
        draw.sort_by(f64::total_cmp);
        Interval { low: percentile(&draw, 0.025), high: percentile(&draw, 0.975) }
    }))
}

/// Linear between order statistics (type 7 of Hyndman and Fan 1996); `sorted` is not empty.
pub(super) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (i, rest) = (place as usize, place.fract());
    let next = sorted[(i + 1).min(sorted.len() - 1)];
    sorted[i] + rest * (next - sorted[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;
    use proptest::prelude::*;

    fn interval_of_mean(values: &[f64], seed: u64) -> Interval {
        let mut rng = Rng::new(seed, 0);
        let mean = |chosen: &[usize]| [chosen.iter().map(|i| values[*i]).sum::<f64>() / chosen.len() as f64];
        bootstrap(values.len(), 400, |n| rng.below(n), mean).unwrap()[0]
    }

    proptest! {
        #[test]
        fn an_interval_repeats_by_seed_and_holds_within_the_range(
            v in proptest::collection::vec(-1.0f64..1.0, 2..30), seed in any::<u64>()
        ) {
            let a = interval_of_mean(&v, seed);
            prop_assert_eq!(a, interval_of_mean(&v, seed));
            let (low, high) = v.iter().fold((1.0f64, -1.0f64), |(l, h), x| (l.min(*x), h.max(*x)));
            prop_assert!(low - 1e-12 <= a.low && a.low <= a.high && a.high <= high + 1e-12);
        }
    }

    #[test]
    fn the_interval_of_a_mean_is_about_four_standard_errors_wide() {
        let mut rng = Rng::new(7, 0);
        let values: Vec<f64> = (0..200).map(|_| f64::from(rng.normal())).collect();
        let i = interval_of_mean(&values, 1);
        let expected = 2.0 * 1.96 / 200f64.sqrt();
        assert!(((i.high - i.low) / expected - 1.0).abs() < 0.25, "{i:?}");
        assert_ne!(i, interval_of_mean(&values, 2));
    }

    #[test]
    fn one_group_gives_no_interval() {
        assert_eq!(bootstrap(1, 100, |_| 0, |_| [0.0]), None);
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 0.975), 2.95);
    }
}
